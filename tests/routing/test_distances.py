"""Rows: least costs, hops that lead there without loops, the same whatever order the network was written in."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from bench.fat_tree import fat_tree
from drawn_networks import DECIMAL, EQUAL, FREE, NAMES, ODD, WHOLE, Cable, cables, exact_distances, hops_of, topology
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller_app.model.topology import End, Host, Link, Switch, Topology
from controller_app.routing.distances import Routes
from controller_app.routing.graph import Graph
from controller_app.routing.search import weights_to

sums_are_exact = st.sampled_from((EQUAL, WHOLE, FREE, DECIMAL)).flatmap(cables)


@settings(deadline=None)
@given(sums_are_exact)
@example([(0, 1, 0), (1, 2, 0), (2, 0, 0), (2, 3, 0)])
@example([(0, 1, 0.1), (1, 2, 0.2), (0, 2, 0.3)])
def test_costs_are_the_least_there_are(found: list[Cable]) -> None:
    network = topology(found)
    routes = Routes(network)
    for target in network.switches:
        expected = exact_distances(network, target)
        cost = dict(routes.row(target).cost)
        assert cost.keys() == expected.keys()
        assert all(cost[name] == float(expected[name]) for name in cost)


@settings(deadline=None)
@given(cables(ODD))
def test_odd_costs_are_the_least_to_within_rounding(found: list[Cable]) -> None:
    network = topology(found)
    for target in network.switches:
        expected = exact_distances(network, target)
        cost = Routes(network).row(target).cost
        assert cost.keys() == expected.keys()
        assert all(cost[name] == pytest.approx(float(expected[name]), rel=1e-13, abs=1e-5) for name in cost)


@settings(deadline=None)
@given(st.sampled_from((EQUAL, WHOLE, FREE, DECIMAL, ODD)).flatmap(cables))
@example([(0, 1, 0), (1, 2, 0), (2, 0, 0), (2, 3, 0)])
@example([(0, 1, 1e-30), (1, 2, 1e9), (0, 2, 1e9)])
def test_hops_follow_links_and_arrive_at_the_cost_they_promise(found: list[Cable]) -> None:
    network = topology(found)
    routes = Routes(network)
    links = {end: (link, other) for link in network.links for end, other in ((link.a, link.b), (link.b, link.a))}
    for target in network.switches:
        row = routes.row(target)
        assert row.hop.keys() == row.cost.keys() - {target}
        for start in row.cost:
            way = row.walk(start)
            assert way is not None and way[0] == start and way[-1] == target
            assert len(set(way)) == len(way)
            total = Fraction(0)
            for here, there in pairwise(way):
                port, onward = row.hop[here]
                link, other = links[End(here, port)]
                assert onward == there == other.switch
                total += Fraction(str(link.cost))
            assert float(total) == pytest.approx(row.cost[start], rel=1e-13, abs=1e-5)
        assert all(row.walk(name) is None for name in network.switches if name not in row.cost)


@settings(deadline=None)
@given(sums_are_exact, st.randoms(use_true_random=False))
def test_order_of_declaration_does_not_matter(found: list[Cable], drawn: object) -> None:
    network = topology(found)
    links = [Link(link.b, link.a, cost=link.cost) if drawn.random() < 0.5 else link for link in network.links]  # type: ignore[attr-defined]
    names = list(network.switches)
    drawn.shuffle(links)  # type: ignore[attr-defined]
    drawn.shuffle(names)  # type: ignore[attr-defined]
    other = Topology({name: network.switches[name] for name in names}, tuple(links))
    assert hops_of(Routes(network), NAMES) == hops_of(Routes(other), NAMES)


@settings(deadline=None)
@given(sums_are_exact, st.lists(st.sampled_from(NAMES), max_size=12))
def test_rows_prepared_together_are_those_computed_alone(found: list[Cable], targets: list[str]) -> None:
    network = topology(found)
    together, alone = Routes(network), Routes(network)
    together.prepare([*targets, "no such switch"])
    for target in targets:
        assert together.row(target) == alone.row(target)


def test_wide_and_long_networks_agree_with_networkx() -> None:
    """More targets than go abreast, and more levels than a search abreast takes on."""
    line = [Link(End(f"n{i}", 1), End(f"n{i + 1}", 2)) for i in range(150)]
    far = Topology({f"n{i}": Switch(f"n{i}", i + 1) for i in range(151)}, tuple(line))
    for network in (fat_tree(8).topology, far):
        routes = Routes(network)
        routes.prepare(network.switches)
        for target, expected in nx.all_pairs_shortest_path_length(nx.Graph(network.graph)):
            assert routes.row(target).cost == expected


def test_hosts_and_functions_are_never_crossed() -> None:
    """The two switches have nothing in common but a function with an arm at each."""
    box = Host("fw", {"in": End("a", 1), "out": End("b", 1)})
    routes = Routes(Topology({"a": Switch("a", 1), "b": Switch("b", 2)}, hosts={"fw": box}))
    assert dict(routes.row("a").cost) == {"a": 0}
    assert routes.row("a").walk("b") is None
    assert routes.parts["a"] != routes.parts["b"]


def test_of_parallel_links_the_cheapest_counts_then_the_lowest_port() -> None:
    def port(*links: Link) -> int:
        return Routes(Topology({"a": Switch("a", 1), "b": Switch("b", 2)}, links)).row("b").hop["a"][0]

    dear, cheap = Link(End("a", 1), End("b", 1), cost=2), Link(End("a", 5), End("b", 5))
    twin, unnumbered = Link(End("b", 4), End("a", 7)), Link(End("a", "eth9"), End("b", 9))
    assert port(dear, cheap) == port(cheap, dear) == 5
    assert port(twin, cheap) == 5
    assert port(unnumbered, twin) == 7


def test_a_network_without_links_or_without_anything() -> None:
    assert dict(Routes(Topology()).parts) == {}
    alone = Routes(Topology({"a": Switch("a", 1)}))
    assert (dict(alone.row("a").cost), dict(alone.row("a").hop)) == ({"a": 0}, {})
    with pytest.raises(KeyError):
        alone.row("b")


def test_a_cost_below_nothing_is_refused_and_an_infinite_one_is_no_link() -> None:
    switches = {"a": Switch("a", 1), "b": Switch("b", 2)}
    with pytest.raises(ValueError, match="from a to b costs -1; a cost is 0 or more"):
        Routes(Topology(switches, (Link(End("a", 1), End("b", 1), cost=-1),)))
    without = Routes(Topology(switches, (Link(End("a", 1), End("b", 1), cost=float("inf")),)))
    assert "b" not in without.row("a").cost


def test_arcs_may_cost_more_one_way() -> None:
    """a to b straight costs 9, round by c costs 3; b to a straight costs 1."""
    arcs = [(0, 1, 9.0), (1, 0, 1.0), (0, 2, 1.0), (2, 1, 2.0)]
    tail, head, cost = (np.array(column) for column in zip(*arcs, strict=True))
    graph = Graph(("a", "b", "c"), tail, head, cost, np.arange(1, 5))
    routes = Routes.of(graph)
    assert dict(routes.row("b").cost) == {"a": 3, "b": 0, "c": 2}
    assert routes.row("b").walk("a") == ("a", "c", "b")
    assert dict(routes.row("a").cost) == {"a": 0, "b": 1, "c": 3}
    assert dict(routes.row("c").cost) == {"a": 1, "b": 2, "c": 0}


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 3)), max_size=20))
def test_directed_arcs_agree_with_networkx(arcs: list[tuple[int, int, int]]) -> None:
    columns = np.array(arcs, np.int64).reshape(-1, 3).T
    graph = Graph(tuple("abcdefg"), columns[0], columns[1], columns[2].astype(float), np.arange(len(arcs)) + 1)
    plain = nx.MultiDiGraph()
    plain.add_nodes_from(range(7))
    plain.add_edges_from((head, tail, {"w": cost}) for tail, head, cost in arcs)
    rows = graph.unit.costs(weights_to(graph, np.arange(7)))
    for target in range(7):
        expected = nx.single_source_dijkstra_path_length(plain, target, weight="w")
        assert {at: cost for at, cost in enumerate(rows[target]) if cost < np.inf} == expected


def test_equal_ways_are_spread_over_destinations() -> None:
    """Every edge switch of a fat-tree has 4 equal ways up. Over the destinations each carries about a quarter."""
    tree = fat_tree(8)
    routes = Routes(tree.topology)
    used: Counter[str] = Counter()
    for target in tree.edge:
        for switch in tree.edge:
            if switch.partition("x")[0] != target.partition("x")[0]:
                used[routes.row(target).hop[switch][1]] += 1
    assert len(used) == len(tree.aggregation)
    mean = sum(used.values()) / len(used)
    assert mean / 2 < min(used.values()) <= max(used.values()) < 2 * mean


def test_a_link_that_goes_moves_only_the_destinations_that_used_it() -> None:
    tree = fat_tree(4)
    before = Routes(tree.topology)
    gone = next(link for link in tree.topology.links if {link.a.switch, link.b.switch} == {"a0x0", "e0x0"})
    after = Routes(Topology(tree.topology.switches, tuple(x for x in tree.topology.links if x is not gone)))
    for target in tree.edge[2:]:
        was, now = before.row(target).hop["e0x0"], after.row(target).hop["e0x0"]
        assert now == was or was[1] == "a0x0"


def test_the_same_hops_in_every_process_and_version() -> None:
    """Hops are rules on switches: a new version must not turn them all."""
    routes = Routes(fat_tree(4).topology)
    ways = ["-".join(routes.row(target).walk("e0x0") or ()) for target in ("e1x0", "e1x1", "e2x0", "e3x1")]
    assert ways == [
        "e0x0-a0x1-c1x0-a1x1-e1x0",
        "e0x0-a0x0-c0x1-a1x0-e1x1",
        "e0x0-a0x0-c0x1-a2x0-e2x0",
        "e0x0-a0x1-c1x1-a3x1-e3x1",
    ]
