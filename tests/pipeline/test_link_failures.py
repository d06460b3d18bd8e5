"""What switches do by themselves when a link fails: the compiled rules, walked with ports down and no controller."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from itertools import combinations

import pytest
from more_examples import B2, FIREWALL, TAP, A, B, both

from controller_app.model.flow import Bucket, Flow, Group, Output, SetField, ToGroup
from controller_app.model.policy import Policy
from controller_app.model.topology import End, Link, Topology
from controller_app.pipeline import labels
from controller_app.pipeline.compile import compile, compile_next
from controller_app.pipeline.cookies import is_our_group
from controller_app.pipeline.tables import GATEWAY_MAC, NUMBER
from controller_app.pipeline.transit import FIRST_GROUP, failover
from controller_app.routing.alternates import Alternates, Way
from controller_app.routing.distances import Routes
from controller_app.verification.packet import TCP, Packet, ip_packet
from controller_app.verification.players import players
from controller_app.verification.walk import Network, walk_from

TRANSPORTS = ("mac", "vlan", "mpls", "nsh")
TRIANGLE = (("s1", 61, "s2", 61), ("s2", 62, "s3", 62), ("s3", 63, "s1", 63))
DOUBLED = (*TRIANGLE, ("s1", 64, "s2", 64))
LINE = TRIANGLE[:2]


def number(mac: str) -> int:
    return int(mac.replace(":", ""), 16)


def network(shape: tuple[tuple[str, int, str, int], ...], transport: str) -> tuple[Topology, Policy]:
    topology, policy = both(f"{FIREWALL}\n  {TAP}", "fw, ids", "none", transport)
    links = tuple(Link(End(a, p), End(b, q)) for a, p, b, q in shape)
    return replace(topology, links=links), policy


def request(port: int = 1000) -> Packet:
    return ip_packet(ip_address("10.1.0.11"), ip_address("10.2.0.21"), TCP, port, 80,
                     eth_src=number(A), eth_dst=GATEWAY_MAC)  # fmt: skip


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("shape", [TRIANGLE, DOUBLED], ids=["triangle", "doubled"])
def test_every_single_link_may_fail(shape: tuple[tuple[str, int, str, int], ...], transport: str) -> None:
    """In a triangle each neighbour has a way of its own to the third: every packet arrives, through the same
    functions, with the copy for the tap."""
    topology, policy = network(shape, transport)
    whole = Network(topology, compile(policy, topology)[0], players(policy, topology))
    usual = walk_from(whole, request(), "a")
    for link in topology.links:
        walks = walk_from(whole.without((link.a, link.b)), request(), "a")
        assert len(walks) == len(usual)
        for before, walk in zip(usual, walks, strict=True):
            assert not walk.of("looped")
            assert [fate.host for fate in walk.of("delivered")] == ["b"]
            assert sorted(str(fate.host) for fate in walk.of("tapped")) == ["ids1"]
            (fate,), (earlier,) = walk.of("delivered"), before.of("delivered")
            assert [visit.host for visit in fate.visits] == [visit.host for visit in earlier.visits]
            assert fate.packet == earlier.packet
            ends = {End(hop.switch, hop.out_port) for hop in fate.hops if hop.out_port is not None}
            assert ends.isdisjoint((link.a, link.b))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_several_links_fail_and_nothing_goes_round(transport: str) -> None:
    topology, policy = network(DOUBLED, transport)
    whole = Network(topology, compile(policy, topology)[0], players(policy, topology))
    for links in (*combinations(topology.links, 2), *combinations(topology.links, 3)):
        for walk in walk_from(whole.without(end for link in links for end in (link.a, link.b)), request(), "a"):
            assert not walk.of("looped")
            assert all(fate.kind in ("delivered", "tapped", "dropped") for fate in walk.fates)


def test_without_another_way_packets_are_dropped() -> None:
    topology, policy = network(LINE, "mac")
    state, _ = compile(policy, topology)
    assert not [group for switch in state.values() for group in switch.groups.values() if group.kind == "ff"]
    whole = Network(topology, state, players(policy, topology))
    for link in topology.links:
        for walk in walk_from(whole.without((link.a, link.b)), request(), "a"):
            assert {fate.kind for fate in walk.fates} <= {"lost", "tapped", "dropped"}


def to_transit(flow: Flow) -> bool:
    return flow.table == NUMBER["transit"] and any(isinstance(action, ToGroup) for action in flow.actions)


def test_groups_are_shared_and_stay_put() -> None:
    topology, policy = network(DOUBLED, "mac")
    compiled = compile_next(None, policy, topology)
    for switch in topology.switches:
        held = compiled.state[switch]
        groups = {number: group for number, group in held.groups.items() if group.kind == "ff"}
        assert all(is_our_group(number) and number & FIRST_GROUP for number in groups)
        assert len({group.buckets for group in groups.values()}) == len(groups)
        used = {action.group for flow in held.flows.values() for action in flow.actions if isinstance(action, ToGroup)}
        assert groups.keys() <= used
    failed = replace(topology, links=topology.links[:3])
    after = compile_next(compiled, policy, failed)
    again = compile_next(after, policy, topology)
    cold, _ = compile(policy, failed, compiled.allocation)
    assert after.state == cold
    for switch in topology.switches:
        for number, group in after.state[switch].groups.items():  # what a number means never changes
            assert compiled.state[switch].groups.get(number, group) == group
            assert again.state[switch].groups.get(number, group) == group


def test_more_chains_need_no_more_groups() -> None:
    topology, policy = network(DOUBLED, "mac")
    few = compile(policy, topology)[0]
    tenant = policy.tenants["default"]
    (name, classifier), *_ = tenant.classifiers.items()
    more = {f"{name}-{n}": replace(classifier, name=f"{name}-{n}", priority=100 + n) for n in range(40)}
    many = compile(Policy({"default": replace(tenant, classifiers={**tenant.classifiers, **more})}), topology)[0]
    for switch in topology.switches:
        counts = [
            (sum(group.kind == "ff" for group in held[switch].groups.values()),
             sum(flow.table == NUMBER["transit"] for flow in held[switch].flows.values()))
            for held in (few, many)
        ]  # fmt: skip
        assert counts[0] == counts[1]


def test_detours_are_marked_and_marks_end_at_the_waypoint() -> None:
    group = failover(7, Way((1, 2, 3), 3))
    mark = SetField("eth_dst", 1 << 45, 1 << 45)
    assert group == Group(7, "ff", (
        Bucket((Output(1),), watch_port=1), Bucket((Output(2),), watch_port=2), Bucket((mark, Output(3)), watch_port=3),
    ))  # fmt: skip
    topology, policy = network(TRIANGLE, "mac")
    ways = Alternates(topology, Routes(topology)).towards("s1")
    (at,) = (switch for switch, way in ways.items() if way.detour is not None)
    state, allocation = compile(policy, topology)
    whole = Network(topology, state, players(policy, topology))
    frame = ip_packet(ip_address("10.2.0.21"), ip_address("10.1.0.11"), TCP, 80, 1000,
                      eth_src=number(B), eth_dst=GATEWAY_MAC)  # fmt: skip
    link = next(link for link in topology.links if {link.a.switch, link.b.switch} == {at, "s1"})
    marked = [
        hop.packet["eth_dst"] >> 40 & 0x20
        for walk in walk_from(whole.without((link.a, link.b)), frame, "b")
        for fate in walk.of("delivered")
        for hop in fate.hops
    ]
    assert allocation.ids["ways"]
    assert any(marked)
    assert {labels.Label.read(0x0E0000000000), labels.Label.read(0x2E0000000000)} == {labels.Label(0), None}


def test_hosts_cannot_send_what_looks_like_a_detour() -> None:
    topology, policy = network(TRIANGLE, "mac")
    whole = Network(topology, compile(policy, topology)[0], players(policy, topology))
    for prefix in labels.PREFIXES:
        frame = {**request(), "eth_dst": prefix << 40 | 0x123456}
        for walk in walk_from(whole, frame, "a"):
            assert {fate.kind for fate in walk.fates} == {"dropped"}
    assert number(B2) != number(B)
