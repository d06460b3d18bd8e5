"""What a switch did it does again with what it cannot tell from it: walks are those of one that knows nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.compile import compile
from controller_app.pipeline.ofctl import parse_state
from controller_app.verification import walk as walking
from controller_app.verification.classes import packet_classes
from controller_app.verification.packet import Packet
from controller_app.verification.verify import Checker
from controller_app.verification.walk import Fate, Network, Walk, walk_from, walk_packet
from controller_app.verification.witness import Witness

ROOT = Path(__file__).parents[2]
EXAMPLES = ("firewall_ids", "function_modes", "branching", "transports", "contiv_walkthrough", "layer7")
MOST = 120  # classes of each


def plain(walks: list[Walk]) -> list[tuple[object, ...]]:
    """Everything of them, with packets that can be compared."""

    def of(fate: Fate) -> tuple[object, ...]:
        hops = [(hop.switch, hop.in_port, dict(hop.packet), hop.rules, hop.out_port) for hop in fate.hops]
        visits = [(visit.host, visit.arm, dict(visit.packet), visit.hop, visit.sent and dict(visit.sent))
                  for visit in fate.visits]
        return fate.kind, dict(fate.packet), hops, visits, fate.host, fate.arm, fate.reason

    return [(walk.slots, [of(fate) for fate in walk.fates], walk.connections, walk.choices, walk.hashes)
            for walk in walks]


@pytest.mark.parametrize("name", EXAMPLES)
def test_walks_are_the_same_where_switches_did_it_before(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    topology = Topology.load(str(ROOT / "topologies" / f"{name}.yaml"))
    policy = Policy.load(str(ROOT / "policies" / f"{name}.yaml"))
    state, allocation = compile(policy, topology)
    witness = Witness()
    checker = Checker(policy, topology, state, allocation, witness)
    classes = list(packet_classes(checker.evaluator, topology))
    found_out = {True: 0, False: 0}
    for tried in classes[:: max(1, len(classes) // MOST)]:
        packet, _ = checker.frame(tried)
        walks, seen = {}, {}
        for knowing, network in ((True, checker.network), (False, replace(checker.network, gates={}))):
            with counting(monkeypatch) as count:
                walks[knowing] = plain(walk_from(network, packet, tried.host, arm=checker.arm(tried)))
            found_out[knowing] += len(count)
            seen[knowing] = witness.testify()
        assert walks[True] == walks[False], tried
        assert seen[True].lookups == seen[False].lookups and seen[True].groups == seen[False].groups
        assert seen[True].visited == seen[False].visited
    assert found_out[True] < found_out[False]


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[None]]:
    """One entry for each time that a switch has to find out."""
    count: list[None] = []
    record = walking.Recording

    def counted(*given: Any) -> walking.Recording:
        count.append(None)
        return record(*given)

    with monkeypatch.context() as patched:
        patched.setattr(walking, "Recording", counted)
        yield count


HEAD = {"eth_src": 1, "eth_dst": 2, "eth_type": 0x800, "ipv4_src": 1, "ipv4_dst": 2, "ip_proto": 6, "ttl": 64,
        "length": 100, "tcp_src": 1, "tcp_dst": 80}
FLOWS = """\
priority=9,in_port=1,tcp,tp_dst=0x50/0xfff0,actions=move:NXM_OF_TCP_DST[0..3]->NXM_NX_REG0[0..3],resubmit(,1)
priority=5,in_port=1,ip,actions=dec_ttl,output:3
table=1,priority=7,reg0=1,actions=set_field:0x0b0000000000/0xff0000000000->eth_dst,output:4
table=1,priority=3,actions=ct(commit,zone=7,table=2)
table=2,priority=1,ct_state=+trk+new,actions=output:5
table=2,priority=1,ct_state=+trk-new,actions=output:6
"""


def ways(monkeypatch: pytest.MonkeyPatch, network: Network, *packets: Packet) -> tuple[list[Any], int]:
    """What becomes of packets, one after the other, and how often a switch had to find out."""
    with counting(monkeypatch) as count:
        found = [[(fate.packet.get("eth_dst"), fate.packet.get("ttl"), fate.hops[-1].out_port) for fate in walk.fates]
                 for packet in packets for walk in walk_packet(network, packet, ("s1", 1))]
    return found, len(count)


def test_only_the_bits_that_were_looked_at_count(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(Topology(), {"s1": parse_state(FLOWS, "")})
    first = {**HEAD, "tcp_dst": 0x51}
    others = [{**first, "tcp_src": 7}, {**first, "ipv4_dst": 9}, {**first, "eth_dst": 0xFF00_0000_0077}]
    found, count = ways(monkeypatch, network, first, *others)
    assert found == [[(0x0B00_0000_0002, 64, 4)]] * 3 + [[(0x0B00_0000_0077, 64, 4)]]
    assert count == 1


def test_what_was_looked_at_makes_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(Topology(), {"s1": parse_state(FLOWS, "")})
    packets = [{**HEAD, "tcp_dst": 0x51}, {**HEAD, "tcp_dst": 0x91}, {**HEAD, "tcp_dst": 0x91, "ttl": 9},
               {**HEAD, "tcp_dst": 0x91, "ttl": 1}, {**HEAD, "tcp_dst": 0x51}]
    found, count = ways(monkeypatch, network, *packets)
    assert [way[0][1:] for way in found] == [(64, 4), (63, 3), (8, 3), (1, walking.CONTROLLER), (64, 4)]
    assert count == 4


def test_what_is_remembered_is_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(Topology(), {"s1": parse_state(FLOWS, "")})
    first = {**HEAD, "tcp_dst": 0x52}
    (walk,) = walk_packet(network, first, ("s1", 1))
    (answer,) = walk_packet(network, {**first, "tcp_src": 0x52, "tcp_dst": 1, "ipv4_src": 2, "ipv4_dst": 1},
                            ("s1", 1), connections=walk.connections)
    assert [fate.hops[-1].out_port for fate in walk.fates + answer.fates] == [5, 3]
    found, count = ways(monkeypatch, network, first, {**first, "ipv4_src": 77})
    assert [way[0][2] for way in found] == [5, 5] and count == 0
    (later,) = walk_packet(network, first, ("s1", 1), connections=walk.connections)
    assert [fate.hops[-1].out_port for fate in later.fates] == [5]  # not answered yet: still new
