"""A cable is pulled out while the controller stands still: packets arrive all the same; then it repairs the rest."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator

import pytest
from rich.console import Console

from controller_app.model.topology import Link, Topology
from controller_app.pipeline.ofctl import parse_groups
from mininet_scenarios.harness.lab import Lab, running_lab
from mininet_scenarios.harness.ovs import OPENFLOW
from mininet_scenarios.harness.processes import run, wait_for

TOPOLOGY = """
version: 1
switches: {s1: {dpid: 0x1}, s2: {dpid: 0x2}, s3: {dpid: 0x3}}
links: [[s1:1, s2:1], [s2:2, s3:1], [s3:2, s1:2]]
hosts:
  c1: {attach: s1:11, ip: 10.1.0.11, mac: 02:00:00:00:01:11}
  w1: {attach: s3:11, ip: 10.1.0.21, mac: 02:00:00:00:02:21}
  fw1: {attach: {in: s2:21, out: s2:22}}
"""
POLICY = """
version: 1
networks:
  lan: {subnet: 10.1.0.0/24}
functions:
  fw: {kind: firewall, instances: {fw1: {host: fw1}}}
chains:
  inspect: {through: [fw], stickiness: none, transport: vlan}
classifiers:
  - {name: pings, from: {host: c1}, to: {host: w1}, traffic: [icmp], then: {chain: inspect}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("failover")
    (folder / "topology.yaml").write_text(TOPOLOGY, encoding="utf-8")
    (folder / "policy.yaml").write_text(POLICY, encoding="utf-8")
    topology = Topology.load(str(folder / "topology.yaml"))
    with running_lab("failover", topology, [folder / "policy.yaml"], folder / "out", Console(quiet=True)) as lab:
        yield lab


def lost(lab: Lab, count: int = 100) -> int:
    """Of pings, 20 ms apart, there and back through the firewall."""
    said = lab.network.on("c1", "ping", "-q", "-c", str(count), "-i", "0.02", "-W", "1", "10.1.0.21")
    found = re.search(r"(\d+) received", said)
    assert found is not None, said
    return count - int(found[1])


def watched(switch: str) -> set[int | None]:
    """The ports that groups of a switch have alternates for, or as alternates."""
    groups = parse_groups(run(["ovs-ofctl", "-O", OPENFLOW, "--no-names", "dump-groups", switch]))
    return {bucket.watch_port for group in groups if group.kind == "ff" for bucket in group.buckets}


def test_no_controller_is_needed(lab: Lab) -> None:
    assert lab.controller is not None
    assert lost(lab, 10) == 0
    assert {1, 2} in [watched(switch) for switch in lab.topology.switches]
    for link in lab.topology.links:
        lab.controller.process.popen.send_signal(signal.SIGSTOP)
        try:
            pull(lab, link, out=True)
            time.sleep(0.2)  # a kernel may take that long to tell of a lost carrier
            assert lost(lab) == 0
        finally:
            lab.controller.process.popen.send_signal(signal.SIGCONT)
        # and then there is one way left everywhere
        wait_for("the controller to repair", lambda: not any(watched(s) for s in lab.topology.switches))
        assert lost(lab, 20) == 0
        pull(lab, link, out=False)
        wait_for("alternates again", lambda: {1, 2} in [watched(switch) for switch in lab.topology.switches], 20)
        lab.controller.wait_ready()


def pull(lab: Lab, link: Link, out: bool) -> None:
    """Take a cable out, or plug it in."""
    lab.network.set_link(link.a.switch, link.a.port, not out)
