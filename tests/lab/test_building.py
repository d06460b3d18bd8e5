"""Networks are built as the topology says, live beside others, and go away whatever happens."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from machine import look, look_again
from rich.console import Console

from controller_app.model.topology import Topology
from mininet_scenarios.harness import ovs
from mininet_scenarios.harness.hosts import with_hosts
from mininet_scenarios.harness.lab import Lab, running_lab
from mininet_scenarios.harness.state import HOME, LabError, clean
from mininet_scenarios.harness.traffic import connect, tally

SMALL = """
version: 1
switches: {s1: {dpid: 0x1}, a-long-switch-n: {dpid: 0x2}}
links: [[s1:7, a-long-switch-n:3]]
hosts:
  h1: {attach: s1:1, ip: 10.0.0.1, mac: 02:00:00:00:00:01}
  h2: {attach: a-long-switch-n:1, ip: [10.0.0.2, fd00::2], mac: 02:00:00:00:00:02}
  wire: {attach: {in: s1:4, out: s1:5}}
"""


@pytest.fixture
def small(tmp_path: Path) -> Topology:
    file = tmp_path / "small.yaml"
    file.write_text(SMALL, encoding="utf-8")
    return Topology.load(str(file))


def quiet() -> Console:
    return Console(quiet=True)


def by_hand(*flows: tuple[str, str]) -> None:
    for switch, flow in flows:
        subprocess.run(["ovs-ofctl", "-O", ovs.OPENFLOW, "add-flow", switch, flow], check=True)


def joined(lab: Lab) -> None:
    """h1 to h2 through the wire, and straight back."""
    by_hand(
        ("s1", "in_port=1,actions=output:4"),
        ("s1", "in_port=5,actions=output:7"),
        ("s1", "in_port=7,actions=output:1"),
        ("a-long-switch-n", "in_port=3,actions=output:1"),
        ("a-long-switch-n", "in_port=1,actions=output:3"),
    )


def test_hosts_talk_through_a_two_armed_host_and_nothing_is_left(small: Topology, tmp_path: Path) -> None:
    before = look()
    with running_lab("small", small, [], tmp_path / "out", quiet(), controlled=False) as lab:
        joined(lab)
        server = lab.web_server("h2", 80)
        server.ready()
        witness = lab.capture("wire", "out")
        witness.ready()
        assert tally(connect(lab.network, "h1", "10.0.0.2", 80, [5001, 5002])) == {"h2": 2}
        assert server.visits() == [("10.0.0.1", 5001, 80), ("10.0.0.1", 5002, 80)]
        assert {packet.source for packet in witness.tcp()} == {"10.0.0.1"}  # only one way passes the wire
        assert "fd00::2" in lab.network.on("h2", "ip", "-6", "addr", "show", "eth0")
        assert lab.network.on("h1", "cat", "/sys/class/net/eth0/address").strip() == "02:00:00:00:00:01"
    assert look_again(before) == before


def test_port_numbers_are_the_topologys(small: Topology, tmp_path: Path) -> None:
    with running_lab("small", small, [], tmp_path / "out", quiet(), controlled=False):
        text = subprocess.run(
            ["ovs-ofctl", "-O", ovs.OPENFLOW, "show", "s1"], capture_output=True, text=True, check=True
        )
        assert {f" {number}(" for number in (1, 4, 5, 7)} <= {line[:3] for line in text.stdout.splitlines()}


def test_two_labs_at_once_do_not_meet(small: Topology, tmp_path: Path) -> None:
    with running_lab("one", small, [], tmp_path / "1", quiet(), controlled=False) as first:
        joined(first)
        with running_lab("two", small, [], tmp_path / "2", quiet(), controlled=False):
            assert ovs.dump_flows("s1") == []
        assert len(ovs.dump_flows("s1")) == 3
        first.web_server("h2", 80).ready()
        assert tally(connect(first.network, "h1", "10.0.0.2", 80, [5003])) == {"h2": 1}


@pytest.mark.parametrize("problem", [KeyboardInterrupt, LabError("no")])
def test_what_breaks_a_lab_leaves_nothing(small: Topology, tmp_path: Path, problem: BaseException) -> None:
    before = look()
    with (
        pytest.raises((KeyboardInterrupt, LabError)),
        running_lab("small", small, [], tmp_path / "out", quiet(), controlled=False) as lab,
    ):
        lab.web_server("h2", 80).ready()
        raise problem
    assert look_again(before) == before


def test_a_lab_that_cannot_be_built_leaves_nothing(
    small: Topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = look()
    monkeypatch.setattr("mininet_scenarios.harness.net.port_numbers", lambda: {"s1-eth1": 9})
    monkeypatch.setattr("mininet_scenarios.harness.net.NUMBERING", 0.2)
    with (
        pytest.raises(LabError, match="number the ports"),
        running_lab("small", small, [], tmp_path / "out", quiet(), controlled=False),
    ):
        pass
    assert look_again(before) == before


def test_a_kept_lab_lives_until_it_is_cleaned_away(small: Topology, tmp_path: Path) -> None:
    before = look()
    with running_lab("kept", small, [], tmp_path / "out", quiet(), controlled=False) as lab:
        joined(lab)
        lab.web_server("h2", 80).ready()
        names = lab.keep()
        record = next(path for path in HOME.iterdir() if path.name.startswith("kept-"))
    try:
        page = subprocess.run(
            [
                "ip",
                "netns",
                "exec",
                names["h1"],
                "/usr/bin/python3",
                "-c",
                "import urllib.request as u;print(u.urlopen('http://10.0.0.2/', timeout=5).read().decode())",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert page.stdout.strip() == "h2", page.stderr
        # as if this process, which is the lab's, had ended
        text = (record / "state.json").read_text(encoding="utf-8")
        (record / "state.json").write_text(
            text.replace('"runner": {"name": "lab", "pid": ', '"runner": {"name": "lab", "pid": 9'),
            encoding="utf-8",
        )
    finally:
        done = clean()
    assert not record.exists()
    assert not [name for name in os.listdir("/run/netns") if name.startswith(record.name)]
    assert any(line.startswith(record.name) and "namespace" in line for line in done)
    assert look_again(before) == before


def test_clean_leaves_a_running_lab_alone(small: Topology, tmp_path: Path) -> None:
    with running_lab("busy", small, [], tmp_path / "out", quiet(), controlled=False) as lab:
        assert any(line.startswith("busy-") and "left alone" in line for line in clean())
        joined(lab)
        assert len(ovs.dump_flows("s1")) == 3


def test_a_bare_graph_gets_hosts(tmp_path: Path) -> None:
    file = tmp_path / "ring.json"
    file.write_text(
        '{"directed": false, "multigraph": false, "graph": {}, "nodes": [{"id": "x"}, {"id": "y"}],'
        ' "links": [{"source": "x", "target": "y"}]}',
        encoding="utf-8",
    )
    topology = with_hosts(Topology.load(str(file)))
    with running_lab("ring", topology, [], tmp_path / "out", quiet(), controlled=False) as lab:
        by_hand(
            ("x", "in_port=1,actions=output:2"),
            ("x", "in_port=2,actions=output:1"),
            ("y", "in_port=1,actions=output:2"),
            ("y", "in_port=2,actions=output:1"),
        )
        assert "1 received" in lab.network.on("h1", "ping", "-c", "1", "-W", "2", "10.0.0.2")
