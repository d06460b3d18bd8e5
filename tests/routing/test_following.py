"""Routes that follow a change are those computed from nothing, and say which hops turned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from bench.fat_tree import fat_tree
from drawn_networks import NAMES, PALETTES, Cable, cable, cables, hops_of, topology
from hypothesis import given, settings
from hypothesis import strategies as st

from controller_app.model.topology import End, Link, Switch, Topology
from controller_app.routing.distances import Routes
from controller_app.routing.search import weights_to

State = tuple[dict[int, Cable], frozenset[str]]  # links by number, and the switches there are


@st.composite
def histories(draw: st.DrawFn) -> list[Topology]:
    """A network, and what it becomes: links and switches go and come, links change their cost or order."""
    palette = draw(st.sampled_from(PALETTES))
    links = dict(enumerate(draw(cables(palette))))
    switches = dict.fromkeys(NAMES)
    known: dict[tuple[int, Cable], object] = {}
    order = list(links)

    def network() -> Topology:
        full = topology([links.get(number, (0, 0, 1)) for number in range(max(links, default=-1) + 1)], NAMES)
        kept = []
        for number in order:
            if number in links:
                link = full.links[number]
                # the same object while the link is the same, as in a running controller; sometimes another, equal one
                if draw(st.booleans()):
                    link = known.setdefault((number, links[number]), link)  # type: ignore[assignment]
                kept.append(link)
        there = {name: full.switches[name] for name in switches}
        return Topology(there, tuple(x for x in kept if x.a.switch in there and x.b.switch in there))

    found = [network()]
    for _ in range(draw(st.integers(1, 6))):
        event = draw(st.sampled_from(["fails", "comes", "cost", "switch", "order", "several"]))
        for _ in range(4 if event == "several" else 1):
            if event in ("fails", "several") and links:
                del links[draw(st.sampled_from(sorted(links)))]
            if event in ("comes", "several"):
                number = max(order, default=-1) + 1
                links[number] = draw(cable(palette))
                order.append(number)
            if event == "cost" and links:
                number = draw(st.sampled_from(sorted(links)))
                links[number] = (*links[number][:2], draw(st.sampled_from(palette)))
        if event == "switch":
            name = draw(st.sampled_from(NAMES))
            if name in switches and len(switches) > 1:
                del switches[name]
            else:
                switches[name] = None
        if event == "order":
            order = draw(st.permutations(order))
            switches = dict.fromkeys(draw(st.permutations(list(switches))))
        found.append(network())
    return found


def assert_same(followed: Routes, network: Topology, targets: Sequence[str]) -> None:
    cold = Routes(network)
    assert followed.parts.keys() == cold.parts.keys()
    for target in targets:
        assert dict(followed.row(target).cost) == dict(cold.row(target).cost)
        assert dict(followed.row(target).hop) == dict(cold.row(target).hop)


@settings(deadline=None)
@given(histories(), st.sets(st.sampled_from(NAMES)))
def test_after_any_events_the_same_as_from_nothing(history: list[Topology], asked: set[str]) -> None:
    """To the last hop; also of rows that were never asked for before, and the rows of before stay what they were."""
    routes = Routes(history[0])
    for before, network in pairwise(history):
        routes.prepare(sorted(asked))
        kept, was = routes, hops_of(routes, [name for name in before.switches if name in asked])
        routes = routes.following(network)
        assert hops_of(kept, was) == was
        assert_same(routes, network, list(network.switches))


@settings(deadline=None)
@given(histories(), st.sets(st.sampled_from(NAMES)))
def test_what_turned_is_exactly_what_is_different(history: list[Topology], asked: set[str]) -> None:
    first, last = history[0], history[-1]
    before = Routes(first)
    before.prepare(sorted(asked))
    after = before
    for network in history[1:]:
        after = after.following(network)
    old, new = Routes(first), Routes(last)
    expected = {}
    for target in asked & first.switches.keys() & last.switches.keys():
        was, now = old.row(target).hop, new.row(target).hop
        turned = frozenset(switch for switch in last.switches if was.get(switch) != now.get(switch))
        if turned:
            expected[target] = turned
    assert after.turned_since(before) == expected


def brute_turned(first: Topology, last: Topology) -> dict[str, frozenset[str]]:
    """Every hop of every row, compared."""
    old, new = Routes(first), Routes(last)
    found = {}
    for target in last.switches:
        was, now = old.row(target).hop, new.row(target).hop
        found[target] = frozenset(switch for switch in last.switches if was.get(switch) != now.get(switch))
    return {target: switches for target, switches in found.items() if switches}


@pytest.mark.parametrize("number", range(0, 256, 23))
@pytest.mark.parametrize("cost", [None, 3, 0.5])
def test_what_turned_in_a_large_network(number: int, cost: float | None) -> None:
    """One link of a fat-tree fails, or gets another cost: also switches far from it turn, and most do not."""
    tree = fat_tree(8)
    links = tree.topology.links
    now = () if cost is None else (replace(links[number], cost=cost),)
    network = replace(tree.topology, links=(*links[:number], *now, *links[number + 1 :]))
    before = Routes(tree.topology)
    before.prepare(tree.topology.switches)
    turned = before.following(network).turned_since(before)
    assert turned == brute_turned(tree.topology, network)
    assert any(
        link_end not in {links[number].a.switch, links[number].b.switch} for x in turned.values() for link_end in x
    )


def test_a_port_that_gives_way_to_its_twin_has_turned() -> None:
    """Two links join a and b, at the same cost; no row changes, but the port does."""
    twins = Link(End("a", 1), End("b", 1)), Link(End("a", 2), End("b", 2))
    both = Topology(
        {name: Switch(name, at) for at, name in enumerate("abc", 1)}, (*twins, Link(End("b", 3), End("c", 1)))
    )
    before = Routes(both)
    before.prepare("abc")
    after = before.following(replace(both, links=both.links[1:]))
    assert before.row("c").hop["a"] == (1, "b") and after.row("c").hop["a"] == (2, "b")
    assert after.turned_since(before) == {"a": frozenset("b"), "b": frozenset("a"), "c": frozenset("a")}


def test_nothing_changed_is_the_same_object() -> None:
    network = fat_tree(4).topology
    routes = Routes(network)
    assert routes.following(network) is routes
    assert routes.following(replace(network, links=tuple(replace(link) for link in network.links))) is routes
    assert routes.following(replace(network, hosts={}, unready=frozenset({"services/t/s/e"}))) is routes
    assert routes.turned_since(routes) == {}


def test_rows_that_a_link_does_not_touch_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edge switch that loses one of its uplinks has others: only ways to it, and from its other neighbour, get
    longer."""
    tree = fat_tree(8)
    routes = Routes(tree.topology)
    routes.prepare(tree.edge)
    gone = next(link for link in tree.topology.links if {link.a.switch, link.b.switch} == {"a0x0", "e0x0"})
    asked: list[int] = []
    monkeypatch.setattr(
        "controller_app.routing.distances.weights_to",
        lambda graph, targets: asked.extend(targets.tolist()) or weights_to(graph, targets),
    )
    after = routes.following(replace(tree.topology, links=tuple(x for x in tree.topology.links if x is not gone)))
    assert [routes.graph.names[number] for number in asked] == ["e0x0"]
    shared = [name for name in tree.edge if shares(routes, after, name)]
    assert set(tree.edge) - set(shared) == {"e0x0"}


def shares(one: Routes, other: Routes, target: str) -> bool:
    number = one.graph.index[target]
    return one.weights_of(number) is other.weights_of(number)


def test_routes_of_a_graph_cannot_follow_a_topology() -> None:
    graph = Routes(fat_tree(4).topology).graph
    with pytest.raises(ValueError, match="of a graph"):
        Routes.of(graph).following(Topology())
