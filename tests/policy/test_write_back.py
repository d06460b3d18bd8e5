"""A topology that a lab writes for the controller reads back as the one it built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from test_topology_file import GOOD

from controller_app.model.topology import Topology
from controller_app.policy.topology_file import parse_topology
from mininet_scenarios.harness.topology_text import write_topology


def test_nothing_of_hosts_and_links_is_lost(tmp_path: Path) -> None:
    topology = parse_topology(GOOD, "t.yaml")
    # what a link is for the simulation, the lab sets by other means
    links = tuple(replace(link, latency=None, bandwidth=None) for link in topology.links)
    write_topology(topology, tmp_path / "t.yaml")
    again = Topology.load(str(tmp_path / "t.yaml"))
    assert again.hosts == topology.hosts
    assert again.links == links
