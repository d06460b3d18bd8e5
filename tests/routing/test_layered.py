"""The layered minimum against every combination tried out, and its ways hop by hop."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from bench.fat_tree import fat_tree
from drawn_networks import DECIMAL, EQUAL, FREE, NAMES, WHOLE, cables, exact_distances, topology
from hypothesis import given, settings
from hypothesis import strategies as st

from controller_app.model.topology import Topology
from controller_app.routing.distances import Routes
from controller_app.routing.layered import NONE, Cheapest, Journey, Layer, Layered

Combination = tuple[int, ...]
Queries = Sequence[tuple[str, str]]

name = st.sampled_from(NAMES)
layer = st.lists(st.tuples(name, name), max_size=4).map(lambda arms: Layer([a for a, _ in arms], [b for _, b in arms]))
layers = st.lists(layer, max_size=4)
queries = st.lists(st.tuples(name, name), max_size=6)
drawn = st.sampled_from((EQUAL, WHOLE, FREE, DECIMAL)).flatmap(cables).map(topology)


def every_cost(network: Topology, chain: Sequence[Layer], ingress: str, egress: str) -> dict[Combination, float]:
    """What every combination that can be walked costs."""
    to = {target: exact_distances(network, target) for target in network.switches}
    found = {}
    for combination in product(*(range(len(layer.entries)) for layer in chain)):
        at, cost = ingress, to[ingress][ingress]
        for number, layer in zip(combination, chain, strict=True):
            cost += to[layer.entries[number]].get(at, float("inf"))
            at = layer.exits[number]
        cost += to[egress].get(at, float("inf"))
        if cost != float("inf"):
            found[combination] = float(cost)
    return found


@settings(deadline=None)
@given(drawn, layers, queries)
def test_the_least_of_all_combinations_the_first_of_those(
    network: Topology, chain: list[Layer], asked: Queries
) -> None:
    answers = Layered(Routes(network), chain).least([a for a, _ in asked], [b for _, b in asked])
    for (ingress, egress), cost, instances in zip(asked, answers.cost, answers.instances, strict=True):
        costs = every_cost(network, chain, ingress, egress)
        if not costs:
            assert cost == np.inf and (instances == NONE).all()
        else:
            assert cost == min(costs.values())
            assert tuple(instances) == min(costs, key=lambda combination: (costs[combination], combination))


@settings(deadline=None)
@given(drawn, layers, queries, queries)
def test_all_the_cheapest_of_several_ways_together(
    network: Topology, chain: list[Layer], asked: Queries, others: Queries
) -> None:
    """Each journey is one way, or that and all of the others there and back, or they only have to be there."""
    journeys = [Journey([way], some) for way in asked for some in ([], others)]
    journeys += [Journey([way, *others]) for way in asked]
    costs, found = Layered(Routes(network), chain).cheapest(journeys)
    for journey, cost, cheapest in zip(journeys, costs, found, strict=True):
        counted = [every_cost(network, chain, *way) for way in journey.counted]
        others = [every_cost(network, chain, *way) for way in journey.others]
        there = set.intersection(*(set(each) for each in (*counted, *others)))
        sums = {combination: sum(exact(each[combination]) for each in counted) for combination in there}
        if cheapest is None:
            assert not sums and cost == np.inf
            continue
        least = sorted(combination for combination, each in sums.items() if each == min(sums.values()))
        assert cost == pytest.approx(float(min(sums.values())))
        assert [tuple(row) for row in cheapest.combinations().tolist()] == least
        assert cheapest.count() == len(least)
        columns = [sorted(set(column)) for column in zip(*least, strict=True)]
        assert [each.tolist() for each in cheapest.used()] == columns
        assert cheapest.free == (list(product(*columns)) == least)
        assert cheapest == (Cheapest.of(cheapest.first, cheapest.joins) if chain else Cheapest((), b""))


def exact(cost: float) -> Fraction:
    return Fraction(str(cost)).limit_denominator(10)  # costs here are tenths


@settings(deadline=None)
@given(drawn, layers, queries)
def test_ways_are_what_rows_walk(network: Topology, chain: list[Layer], asked: Queries) -> None:
    """As packets go: to the entry of each instance by the hops of its row, on from its exit."""
    routes = Routes(network)
    answers = Layered(routes, chain).least([a for a, _ in asked], [b for _, b in asked])
    ways = answers.ways()
    assert len(ways) == len(asked) and list(ways) == [tuple(way) for way in ways.lists()]
    for (ingress, egress), cost, instances, way in zip(asked, answers.cost, answers.instances, ways, strict=True):
        if cost == np.inf:
            assert way == ()
            continue
        expected, at = [ingress], ingress
        for number, layer in zip(instances, chain, strict=True):
            expected += (routes.row(layer.entries[number]).walk(at) or ())[1:]
            at = layer.exits[number]
            expected += [at] if at != expected[-1] else []
        assert way == (*expected, *(routes.row(egress).walk(at) or ())[1:])


def test_ten_thousand_answers_are_as_many_single_ones() -> None:
    """Many queries at once, against the same asked one by one; numbers of nodes do for names."""
    tree = fat_tree(8, 5)
    routes = Routes(tree.topology)
    arms = [[tree.topology.hosts[i.host].attach for i in f.instances.values()] for f in tree.functions.values()]
    chain = [Layer([a["in"].switch for a in layer], [a["out"].switch for a in layer]) for layer in arms]
    pairs = list(product(tree.edge, tree.edge))
    layered = Layered(routes, chain)
    together = layered.least(routes.graph.nodes(a for a, _ in pairs), routes.graph.nodes(b for _, b in pairs))
    ways = together.ways()
    for number in range(0, len(pairs), 37):
        alone = layered.least([pairs[number][0]], [pairs[number][1]])
        assert alone.cost[0] == together.cost[number] == len(ways[number]) - 1
        assert (alone.instances[0] == together.instances[number]).all()
        assert alone.ways()[0] == ways[number]
    assert ways[-1] == tuple(ways.lists()[-1]) and ways[1:3] == [ways[1], ways[2]]


def test_a_layer_has_an_exit_for_every_entry_and_stands_in_the_network() -> None:
    routes = Routes(topology([]))
    with pytest.raises(ValueError, match="layer 0 has 2 entries and 1 exits"):
        Layered(routes, [Layer(["s0", "s1"], ["s0"])])
    with pytest.raises(KeyError):
        Layered(routes, [Layer(["nowhere"], ["s0"])])
