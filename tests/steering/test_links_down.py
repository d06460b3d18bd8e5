"""Links of real switches fail while nobody controls them: frames go on arriving, with every transport."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bed import Bed
from bed_players import GATEWAY
from dummy_ovs import DummyOvs
from more_examples import FIREWALL, TAP, A, B, both
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from controller_app.model.topology import End, Link
from controller_app.pipeline.compile import compile
from controller_app.pipeline.ofctl import parse_state

LINKS = tuple(
    Link(End(a, p), End(b, q))
    for a, p, b, q in (("s1", 61, "s2", 61), ("s2", 62, "s3", 62), ("s3", 63, "s1", 63), ("s1", 64, "s2", 64))
)


def tcp(source: str, destination: str, sport: int, dport: int, mac: str, flags: str = "S") -> bytes:
    return bytes(
        Ether(src=mac, dst=GATEWAY) / IP(src=source, dst=destination) / TCP(sport=sport, dport=dport, flags=flags)
    )


@pytest.mark.parametrize("transport", ["mac", "vlan", "mpls", "nsh"])
def test_every_single_link_may_fail(dummy_ovs: DummyOvs, transport: str) -> None:
    """There and back, through the same firewall, with a copy for the tap each way, while one link of four is down."""
    topology, policy = both(f"{FIREWALL}\n  {TAP}", "fw, ids", "none", transport)
    topology = replace(topology, links=LINKS)
    bed = Bed(dummy_ovs, topology, policy, cables=True)
    bed.load(compile(policy, topology)[0])
    wait_for_cables(bed)
    usual = walls(bed)
    for link in LINKS:
        bed.set_link(link, "down")
        assert walls(bed) == usual
        bed.set_link(link, "up")
    for links in (LINKS[1:3], LINKS):  # s3 is alone; all are, with a header on and no port left to send it by
        for link in links:
            bed.set_link(link, "down")
        for port in range(1000, 1003):
            assert not bed.send("a", tcp("10.1.0.11", "10.2.0.21", port, 80, A)).at("b")
        assert dummy_ovs.alive


def walls(bed: Bed) -> list[str]:
    """By which firewall each of some connections went; all arrived."""
    found = []
    for port in range(1000, 1003):
        there = bed.send("a", tcp("10.1.0.11", "10.2.0.21", port, 80, A))
        back = bed.send("b", tcp("10.2.0.21", "10.1.0.11", 80, port, B, "SA"))
        assert [len(there.at("b")), len(back.at("a"))] == [1, 1], (there.frames, back.frames)
        assert Ether(there.at("b")[0])[TCP].sport == port
        assert len(there.at("ids1")) == len(back.at("ids1")) == 1
        (one,) = {
            host for seen in (there, back) for host in ("fw1", "fw2") for arm in ("in", "out") if seen.at(host, arm)
        }
        found.append(one)
    return found


def wait_for_cables(bed: Bed) -> None:
    """Until a frame passes: the sockets are connected some time after their ports are made."""
    for _ in range(100):
        if bed.send("a", tcp("10.1.0.11", "10.2.0.21", 999, 80, A)).at("b"):
            return
    raise AssertionError("no frame passes the cables")


def test_the_switch_tells_the_groups_as_they_were_sent(dummy_ovs: DummyOvs) -> None:
    topology, policy = both(FIREWALL, "fw")
    topology = replace(topology, links=LINKS)
    state, _ = compile(policy, topology)
    bed = Bed(dummy_ovs, topology, policy, cables=True)
    bed.load(state)
    for name, bridge in bed.bridges.items():
        flows = dummy_ovs.ofctl("dump-flows", "--no-names", "--no-stats", bridge)
        held = parse_state(flows, dummy_ovs.ofctl("dump-groups", "--no-names", bridge))
        assert held.groups == state[name].groups
        assert any(group.kind == "ff" for group in held.groups.values())
