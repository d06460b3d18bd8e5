"""Links on real switches: what is forged and replayed, what flaps, and what is busy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dummy_ovs as dummy
import pytest
from plain_controller import PlainController
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from test_end_to_end import Controller

from controller_app.api import link_views, views
from controller_app.discovery import damping, links, utilisation
from controller_app.discovery.merge import LinkState
from controller_app.discovery.ports import PortId
from controller_app.model.topology import Topology
from controller_app.policy.topology_file import parse_topology
from controller_app.runtime import link_load

LLDP = b"\x88\xcc"
TWO_CABLES = """\
version: 1
switches: {s1: {dpid: 1}, s2: {dpid: 2}}
links:
  - {ends: [s1:1, s2:1], bandwidth: 1Mbps}
  - {ends: [s1:2, s2:2], bandwidth: 1Mbps}
hosts:
  h1: {attach: s1:3, ip: 10.0.0.1, mac: 02:00:00:00:00:01}
  h2: {attach: s2:3, ip: 10.0.0.2, mac: 02:00:00:00:00:02}
"""


def cable(ovs: dummy.DummyOvs, number: int) -> None:
    """Joins port `number` of both bridges by a wire whose ends have a carrier, unlike a patch."""
    for bridge, options in (("s1", "pstream=punix"), ("s2", "stream=unix")):
        port = f"{bridge}w{number}"
        ovs.vsctl(
            "add-port", bridge, port, "--", "set", "Interface", port, "type=dummy", f"ofport_request={number}",
            f"options:{options}:{ovs.dir}/wire{number}",
        )  # fmt: skip


@contextmanager
def running(
    ovs: dummy.DummyOvs, topology: Topology | None, count: int, wires: bool = True
) -> Iterator[PlainController]:
    """s1 and s2, joined at ports 1 and 2, with a host each at port 3."""
    with ovs.transaction():
        for number in (1, 2):
            ovs.add_bridge(f"s{number}", dpid=number)
            ovs.add_port(f"s{number}", f"h{number}", 3, tx_pcap=True)
    for number in (1, 2):
        if wires:
            cable(ovs, number)
        else:
            ovs.patch("s1", number, "s2", number)
    with PlainController(topology) as controller:
        for number in (1, 2):
            ovs.set_controller(f"s{number}", "127.0.0.1", controller.port)
        controller.wait(lambda c: len(c.topology.links) == count and all(state.state == "up" for state in c.links))
        controller.wait_switches(2)
        ovs.follow_flows()
        yield controller


def states(controller: PlainController) -> list[LinkState]:
    return controller.do(lambda: list(controller.conductor.links))


def test_forged_and_replayed_discovery_makes_no_link_and_is_counted(
    dummy_ovs: dummy.DummyOvs, caplog: pytest.LogCaptureFixture
) -> None:
    with running(dummy_ovs, None, 2, wires=False) as controller:
        guard = controller.conductor.discovery._links.guard
        guard._window = 1.0
        (heard, *_) = [frame for frame in dummy_ovs.sent("h1") if frame[12:14] == LLDP]
        forged = bytearray(heard)
        forged[forged.index(b"\x0a\xc5\x01\x02") + 15] ^= 1  # another port
        time.sleep(1.1)
        dummy_ovs.receive("h2", heard, bytes(forged), heard)
        place = PortId(2, 3)
        controller.wait(lambda c: sum(c.discovery.dropped.values()) == 3)
        assert controller.do(lambda: dict(controller.conductor.discovery.dropped)) == {
            (place, "forged"): 1,
            (place, "replayed"): 2,
        }
        assert len(states(controller)) == 2
        metrics = controller.do(lambda: link_views.metrics(controller.conductor))
        assert 'chainsteer_discovery_dropped_total{switch="s2",port="3",reason="replayed"} 2' in metrics
        switches = controller.do(lambda: views.switches(controller.conductor))["switches"]
        assert switches[1]["dropped_discovery"][0] == {"port": 3, "reason": "forged", "frames": 1}
        said = [record.getMessage() for record in caplog.records if "discovery frames at port 0x2:3" in record.message]
        assert len(said) == 2  # one of each kind


def test_what_comes_from_a_declared_hosts_port_makes_no_link(dummy_ovs: dummy.DummyOvs) -> None:
    declared = parse_topology(TWO_CABLES.replace("  h1: {attach: s1:3", "  h1: {attach: s1:9"), "n.yaml")
    with running(dummy_ovs, declared, 2, wires=False) as controller:
        (heard, *_) = [frame for frame in dummy_ovs.sent("h1") if frame[12:14] == LLDP]  # nobody declared that port
        dummy_ovs.receive("h2", heard)
        controller.wait(lambda c: dict(c.discovery.dropped) == {(PortId(2, 3), "misplaced"): 1})
        assert len(states(controller)) == 2
        assert not [frame for frame in dummy_ovs.sent("h2") if frame[12:14] == LLDP]  # and hears nothing to repeat


def test_a_cable_that_flaps_is_held_down_and_comes_back(
    dummy_ovs: dummy.DummyOvs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(damping, "HALF_LIFE", 1.5)
    with running(dummy_ovs, parse_topology(TWO_CABLES, "n.yaml"), 2) as controller:

        def admin(word: str) -> None:
            dummy_ovs.appctl("netdev-dummy/set-admin-state", "s1w1", word)

        for count in (1, 2, 3):
            admin("down")
            controller.wait(lambda c: c.links[0].state == "down")
            controller.wait(lambda c, n=count: c.discovery.damping.failures[c.links[0].ends] == n)  # type: ignore[misc]
            admin("up")
            if count < 3:
                controller.wait(lambda c: c.links[0].used, 1)
        controller.wait(lambda c: c.links[0].state == "damped")
        (first, second) = controller.do(lambda: link_views.links(controller.conductor))["links"]
        assert 1 < first["back_in"] < 4
        assert first["note"].endswith(f"back in {first['back_in']:.0f} s")
        assert (first["used"], first["failures"], second["state"]) == (False, 3, "up")
        controller.wait(lambda c: c.links[0].state == "up", 6)
        controller.wait_switches(2)
        # and when the other one is gone as well, it is used though it flaps
        for _ in range(3):
            admin("down")
            controller.wait(lambda c: c.links[0].state == "down")
            admin("up")
            controller.wait(lambda c: c.links[0].state != "down")
        monkeypatch.setattr(damping, "HALF_LIFE", 60.0)
        dummy_ovs.appctl("netdev-dummy/set-admin-state", "s1w2", "down")
        controller.wait(lambda c: [s.state for s in c.links] == ["only-way", "down"], damping.QUIET + 2)


def test_a_link_declared_but_not_there_and_one_there_but_not_declared_are_reported(
    dummy_ovs: dummy.DummyOvs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "NOT_SEEN", 6.0)  # more than a round
    text = TWO_CABLES.replace("s1:2, s2:2", "s1:2, s2:4")
    with dummy_ovs.transaction():
        for number in (1, 2):
            dummy_ovs.add_bridge(f"s{number}", dpid=number)
        dummy_ovs.add_port("s1", "loose1", 2)
        dummy_ovs.add_port("s2", "loose2", 4)
        dummy_ovs.patch("s1", 1, "s2", 1)
        dummy_ovs.patch("s1", 7, "s2", 7)
    with PlainController(parse_topology(text, "n.yaml")) as controller:
        for number in (1, 2):
            dummy_ovs.set_controller(f"s{number}", "127.0.0.1", controller.port)
        controller.wait(lambda c: len(c.links) == 3)
        assert [(s.state, s.declared) for s in states(controller)] == [("up", True), ("declared", True), ("up", False)]
        assert controller.do(lambda: controller.conductor.disagreements) == (
            "s1:7 - s2:7 was found, but is not declared: it is used; declare it",
        )
        controller.wait(lambda c: c.links[1].state == "not-seen", 15)
        assert "link s1:2 - s2:4 is declared, but not seen" in controller.do(
            lambda: controller.conductor.disagreements[-1]
        )


def burst(host: int, count: int) -> list[bytes]:
    """Frames of 1,042 bytes from one host to the other."""
    head = Ether(src=f"02:00:00:00:00:0{host}", dst=f"02:00:00:00:00:0{3 - host}")
    packet = head / IP(src=f"10.0.0.{host}", dst=f"10.0.0.{3 - host}") / UDP(sport=4000, dport=4000) / (b"x" * 1000)
    return [bytes(packet)] * count


def test_counters_of_real_ports_give_the_use_of_a_link_and_its_cost(
    dummy_ovs: dummy.DummyOvs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_load, "INTERVAL", 1.0)
    monkeypatch.setattr(utilisation, "SUSTAIN", 1.5)
    with running(dummy_ovs, parse_topology(TWO_CABLES, "n.yaml"), 2, wires=False) as controller:
        controller.conductor.load.weight = 4.0
        started, sent = time.monotonic(), 0
        most = 0.0
        while time.monotonic() < started + 20:
            dummy_ovs.receive("h1", *burst(1, 20))
            sent += 20
            uses = controller.do(lambda: link_views.links(controller.conductor)["links"])
            most = max(most, *(link["utilisation"] or 0 for link in uses))
            if max(link["cost"] for link in uses) > 1:
                break
            time.sleep(max(0.0, started + sent / 100 - time.monotonic()))  # 100 a second, 834 kbps
        assert 0.5 < most < 1.2  # of 1 Mbps, as declared
        busy = max(uses, key=lambda link: link["cost"])
        idle = min(uses, key=lambda link: link["cost"])
        assert (busy["cost_steps"], busy["cost"], idle["cost"]) == (3, 4.0, 1)
        forward, backward = busy["bits_per_second"]
        assert forward > 500e3 > backward
        controller.wait_switches(2)
        # what follows goes the other way
        number = int(idle["name"].split(":")[1].split("-")[0])
        before = counted(dummy_ovs, number)
        dummy_ovs.follow_flows()
        dummy_ovs.receive("h1", *burst(1, 20))
        deadline = time.monotonic() + 3
        while counted(dummy_ovs, number) < before + 20 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert counted(dummy_ovs, number) >= before + 20
        metrics = controller.do(lambda: link_views.metrics(controller.conductor))
        assert f'chainsteer_link_cost{{link="{busy["name"]}"}} 4' in metrics
        assert f'chainsteer_link_bits_per_second{{link="{busy["name"]}",from="{busy["ends"][0]}"}} ' in metrics


def counted(ovs: dummy.DummyOvs, port: int) -> int:
    """Frames that s1 sent out of one of its ports."""
    text = ovs.ofctl("dump-ports", "s1", str(port))
    return int(text.partition("tx pkts=")[2].partition(",")[0])


def test_a_switch_started_anew_again_and_again_is_gone_around(dummy_ovs: dummy.DummyOvs) -> None:
    with running(dummy_ovs, parse_topology(TWO_CABLES, "n.yaml"), 2, wires=False) as controller:
        for count in (1, 2, 3):
            controller.wait(lambda c: all(talk.sync.in_sync for talk in c.conversations.values()))
            dummy_ovs.vsctl("del-controller", "s2")
            controller.wait(lambda c: not c.conversations[2].connected)
            dummy_ovs.ofctl("del-flows", "s2")
            dummy_ovs.ofctl("del-groups", "s2")
            dummy_ovs.set_controller("s2", "127.0.0.1", controller.port)
            controller.wait(lambda c, n=count: c.discovery.damping.failures[2] == n)  # type: ignore[misc]
        controller.wait(lambda c: all(state.held for state in c.links))
        # nothing else leads there, so one link is used all the same, after a moment
        controller.wait(lambda c: sorted(s.state for s in c.links) == ["damped", "only-way"], damping.QUIET + 2)
        assert controller.do(lambda: views.switches(controller.conductor))["switches"][1]["restarts"] == 3


def test_the_launched_controller_shows_the_load_too(dummy_ovs: dummy.DummyOvs, tmp_path: Path) -> None:
    """os-ken hands its answers on, and has read what ports run at."""
    with dummy_ovs.transaction():
        for number in (1, 2):
            dummy_ovs.add_bridge(f"s{number}", dpid=number)
            dummy_ovs.add_port(f"s{number}", f"h{number}", 3)
    for number in (1, 2):
        cable(dummy_ovs, number)
    controller = Controller(tmp_path, "--utilisation-cost", "4", network=TWO_CABLES, policy="version: 1\n")
    try:
        for number in (1, 2):
            dummy_ovs.set_controller(f"s{number}", "127.0.0.1", controller.port)
        deadline = time.monotonic() + 30
        while True:
            found = controller.ctl("get", "links")["links"]
            if all(None not in link["bits_per_second"] and link["state"] == "up" for link in found[:2]):
                break
            assert time.monotonic() < deadline, found
            time.sleep(0.5)
        assert all(0 <= link["utilisation"] < 0.1 for link in found[:2])
        assert {link["capacity"] for link in found[:2]} == {1e6}
    finally:
        controller.process.terminate()
        assert controller.process.wait(10) == 0
    assert "Traceback" not in controller.log.read_text()
