"""Ways around what failed: found wherever there are any, and never in a circle."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pytest
from bench.fat_tree import fat_tree
from drawn_networks import exact_distances, networks, topology
from hypothesis import given, settings
from hypothesis import strategies as st

from controller_app.model.topology import End, Link, Switch, Topology
from controller_app.pipeline.transit import SwitchWays
from controller_app.routing.alternates import Alternates, Way
from controller_app.routing.distances import Routes

Ways = dict[str, dict[str, Way]]  # by destination and switch


def ways_of(network: Topology) -> Ways:
    alternates = Alternates(network, Routes(network))
    return {target: alternates.towards(target) for target in network.switches}


def peers_of(network: Topology) -> dict[tuple[str, object], End]:
    cables = [pair for link in network.links for pair in ((link.a, link.b), (link.b, link.a))]
    return {(near.switch, near.port): far for near, far in cables}


def follow(network: Topology, ways: Ways, start: str, target: str, dead: Callable[[End, End], bool]) -> str:
    """What becomes of a packet by the rules alone: "arrives", "dropped at SWITCH"; an error when it goes round."""
    peers, at, came_by, took_detour = peers_of(network), start, None, False
    passed = []
    while at != target:
        assert (at, took_detour) not in passed, f"a loop from {start} to {target}: {passed}"
        passed.append((at, took_detour))
        way = ways[target].get(at)
        ports = () if way is None else way.nearer if took_detour else way.ports
        live = [port for port in ports if not dead(End(at, port), peers[at, port])]
        if not live or live[0] == came_by:  # the switch does not send back
            return f"dropped at {at}"
        took_detour |= way is not None and live[0] == way.detour
        far = peers[at, live[0]]
        at, came_by = far.switch, far.port
    return "arrives"


def cut(*links: Link) -> Callable[[End, End], bool]:
    ends = {end for link in links for end in (link.a, link.b)}
    return lambda near, far: near in ends or far in ends


def off(*switches: str) -> Callable[[End, End], bool]:
    return lambda near, far: near.switch in switches or far.switch in switches


def tree_way(routes: Routes, start: str, target: str) -> tuple[str, ...]:
    return routes.row(target).walk(start) or ()


@settings(max_examples=150, deadline=None)
@given(networks)
def test_around_every_single_link(found: list[tuple[int, int, float]]) -> None:
    """A packet arrives, or is dropped where no neighbour that is left has a way that does not come back. Wherever
    RFC 5286's inequality 1 holds, one has."""
    network = topology(found)
    routes, ways, peers = Routes(network), ways_of(network), peers_of(network)
    for target in network.switches:
        exact = exact_distances(network, target)
        for link in network.links:
            for start in ways[target]:
                end = follow(network, ways, start, target, cut(link))
                if end == "arrives":
                    continue
                at = end.removeprefix("dropped at ")
                left = [
                    (far.switch, other.cost)
                    for other in network.links
                    if other is not link
                    for near in (other.a, other.b)
                    if near.switch == at and (far := peers[at, near.port]).switch != at
                ]
                assert not [n for n, _ in left if at not in tree_way(routes, n, target)]
                for neighbour, _ in left:
                    there = exact_distances(network, at)[neighbour]
                    assert exact[neighbour] >= there + exact[at]  # none by the RFC either


@settings(max_examples=150, deadline=None)
@given(networks, st.data())
def test_never_in_a_circle_whatever_failed(found: list[tuple[int, int, float]], data: st.DataObject) -> None:
    network = topology(found)
    ways = ways_of(network)
    links = data.draw(st.lists(st.sampled_from(network.links), max_size=6)) if network.links else []
    dead = off(*data.draw(st.lists(st.sampled_from(sorted(network.switches)), max_size=2)))
    for target in network.switches:
        for start in ways[target]:
            follow(network, ways, start, target, lambda near, far: cut(*links)(near, far) or dead(near, far))


@settings(max_examples=150, deadline=None)
@given(networks)
def test_around_the_next_switch_where_a_neighbour_can(found: list[tuple[int, int, float]]) -> None:
    """RFC 5286 3.2: of several, one that does not need the switch that the first leads to."""
    network = topology(found)
    routes, ways, peers = Routes(network), ways_of(network), peers_of(network)
    for target in network.switches:
        for at, (_, broken) in routes.row(target).hop.items():
            if broken == target:
                continue
            able = [
                far.switch
                for (switch, _), far in peers.items()
                if switch == at
                and (way := tree_way(routes, far.switch, target))
                and not {at, broken}.intersection(way)
            ]
            if able:
                assert follow(network, ways, at, target, off(broken)) == "arrives"


@settings(max_examples=60, deadline=None)
@given(networks, st.randoms(use_true_random=False))
def test_the_order_of_declaration_does_not_matter(found: list[tuple[int, int, float]], dice: random.Random) -> None:
    network = topology(found)
    links = [link if dice.random() < 0.5 else replace(link, a=link.b, b=link.a) for link in network.links]
    dice.shuffle(links)
    names = list(network.switches)
    dice.shuffle(names)
    assert ways_of(Topology({name: network.switches[name] for name in names}, tuple(links))) == ways_of(network)


def square(*costs: float) -> Topology:
    """a–b–c–d–a, ports: 1 to the one before, 2 to the one after."""
    names = "abcd"
    links = tuple(
        Link(End(names[at], 2), End(names[(at + 1) % 4], 1), cost=cost) for at, cost in enumerate(costs or (1,) * 4)
    )
    return Topology({name: Switch(name, at) for at, name in enumerate(names, 1)}, links)


def test_both_ways_round_a_square() -> None:
    """Equal costs: across it each way stands in for the other; to a neighbour, only the way that does not come back."""
    ways = ways_of(square())["a"]
    assert set(ways["c"].ports) == {1, 2}
    assert ways["c"].detour is None
    c_over_b = ways["c"].ports[0] == 1
    assert ways["d" if c_over_b else "b"].ports == ((2, 1) if c_over_b else (1, 2))
    assert len(ways["b" if c_over_b else "d"].ports) == 1


def test_two_that_lead_around_a_dead_switch_do_not_play_ping_pong() -> None:
    """b and c are each other's way around a. When a is off, a packet makes one detour and ends."""
    links = [("a", 1, "b", 1), ("a", 2, "c", 1), ("b", 2, "c", 2), ("b", 3, "c", 3)]
    network = Topology(
        {name: Switch(name, at) for at, name in enumerate("abc", 1)},
        tuple(Link(End(a, p), End(b, q)) for a, p, b, q in links),
    )
    ways = ways_of(network)
    assert (ways["a"]["b"].detour, ways["a"]["c"].detour) == (2, None)  # c comes after b, so b leads nearer
    assert follow(network, ways, "b", "a", cut(network.links[0])) == "arrives"
    assert follow(network, ways, "c", "a", cut(network.links[1])) == "arrives"
    assert follow(network, ways, "b", "a", off("a")).startswith("dropped")
    assert follow(network, ways, "c", "a", off("a")).startswith("dropped")


def test_parallel_links_come_first_and_leave_room_for_another_switch() -> None:
    links = [Link(End("s", port), End("e", port)) for port in (1, 2, 3, 4, 5)]
    links += [Link(End("s", 6), End("n", 1)), Link(End("n", 2), End("d", 1)), Link(End("e", 9), End("d", 2), cost=0.5)]
    network = Topology({name: Switch(name, at) for at, name in enumerate("dens", 1)}, tuple(links))
    assert ways_of(network)["d"]["s"] == Way((1, 2, 3, 6))


@pytest.mark.parametrize(("k", "one_in"), [(6, 50), (8, 200)])
def test_a_fat_tree_goes_on_without_any_one_link(k: int, one_in: int) -> None:
    """Also downwards, where no neighbour meets RFC 5286's inequality: nearly every packet of every pair arrives."""
    network = fat_tree(k).topology
    ways = ways_of(network)
    edge = [name for name in network.switches if name.startswith("e")]
    pairs = [(switch, target) for target in edge for switch in ways[target]]
    alone = [pair for pair in pairs if len(ways[pair[1]][pair[0]].ports) == 1]
    assert len(alone) < len(pairs) / one_in
    dice = random.Random(5)
    for link in dice.sample(network.links, 12):
        for target in dice.sample(edge, 6):
            for start in edge:
                end = follow(network, ways, start, target, cut(link)) if start != target else "arrives"
                assert end == "arrives" or (end.removeprefix("dropped at "), target) in alone


def test_few_ways_differ() -> None:
    """What a switch needs groups for: a handful for each port, of hundreds of destinations."""
    network = fat_tree(12).topology
    ways = ways_of(network)
    edge = [name for name in network.switches if name.startswith("e")]
    for switch in network.switches:
        found = {ways[target][switch] for target in edge if target != switch}
        assert len(found) <= 3 * 12


def test_costs_count_before_the_order_of_ports() -> None:
    links = [Link(End("s", 1), End("d", 1)), *(
        part for port, name, cost in ((2, "far", 5.0), (3, "near", 1.0))
        for part in (Link(End("s", port), End(name, 1), cost=cost), Link(End(name, 2), End("d", port), cost=0.5))
    )]  # fmt: skip
    network = Topology({name: Switch(name, at) for at, name in enumerate(("d", "far", "near", "s"), 1)}, tuple(links))
    assert ways_of(network)["d"]["s"].ports == (1, 3, 2)


def test_the_name_says_everything() -> None:
    ways = [Way(ports, detour) for ports in ((1,), (1, 2), (1, 2, 3), (12, 3)) for detour in (None, *ports)]
    for one, other in combinations(ways, 2):
        assert one.name != other.name
    assert Way((3, 4, 5), 5).name == "3,4,5~"
    assert Way((3, 5, 4), 5).nearer == (3, 4)


def test_nothing_to_choose_from() -> None:
    assert ways_of(topology([])) == {name: {} for name in topology([]).switches}


@settings(max_examples=150, deadline=None)
@given(networks, st.data())
def test_after_a_change_it_is_what_it_would_be_from_nothing(
    found: list[tuple[int, int, float]], data: st.DataObject
) -> None:
    """Links go, come back and change their cost; switches go and come back."""
    network = topology(found)
    routes = Routes(network)
    ways = SwitchWays(network, routes, sorted(network.switches))
    for _ in range(data.draw(st.integers(1, 4))):
        links = data.draw(st.sets(st.sampled_from(found))) if found else set()
        costs = data.draw(st.sampled_from([1, 1, 1, 2]))
        gone = data.draw(st.sets(st.sampled_from(sorted(network.switches)), max_size=1))
        left = topology([(a, b, cost * costs) if (a, b, cost) in links else (a, b, cost) for a, b, cost in found])
        there = {name: switch for name, switch in left.switches.items() if name not in gone}
        kept = data.draw(st.integers(0, len(left.links)))
        links_now = tuple(
            link for n, link in enumerate(left.links) if n != kept and {link.a.switch, link.b.switch} <= there.keys()
        )
        now = Topology(there, links_now)
        routes = routes.following(now)
        ways = ways.following(now, routes, sorted(there))
        cold = SwitchWays(now, Routes(now), sorted(there))
        assert ways.by_switch == cold.by_switch
        assert ways.names == cold.names
