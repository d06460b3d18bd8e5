"""Slots for `spread: cost`: only the cheapest, by weight, few of them move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise, product
from math import prod

import numpy as np
import pytest
from drawn_networks import EQUAL, FREE, NAMES, WHOLE, cables, topology
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_layered import every_cost

from controller_app.model.topology import Topology
from controller_app.routing.distances import Routes
from controller_app.routing.layered import Cheapest, Journey, Layer, Layered
from controller_app.routing.spread import Combination, Table, spread, spread_cheapest

name = st.sampled_from(NAMES)
drawn = st.sampled_from((EQUAL, WHOLE, FREE)).flatmap(cables).map(topology)
chains = st.lists(st.lists(st.tuples(name, name), min_size=1, max_size=4), min_size=1, max_size=3)


def names_of(sizes: Sequence[int]) -> list[list[str]]:
    return [[f"{letter}{number}" for number in range(size)] for letter, size in zip("abcdef", sizes, strict=False)]


def ones(names: Sequence[Sequence[str]]) -> list[dict[str, int]]:
    return [dict.fromkeys(layer, 1) for layer in names]


def held(table: Table, layer: int) -> Counter[str]:
    return Counter(combination[layer] for combination in table)


@settings(deadline=None)
@given(drawn, chains, name, name, st.data())
def test_the_mean_cost_is_the_least_possible(
    network: Topology, arms: list[list[tuple[str, str]]], ingress: str, egress: str, data: st.DataObject
) -> None:
    """Against every combination tried out: no table of 256 slots can cost less than the cheapest combination 256
    times, and this one costs that. All of the cheapest have slots where there is room; none of them is left out of
    what its weight is due by more than one."""
    chain = [Layer([a for a, _ in layer], [b for _, b in layer]) for layer in arms]
    names = names_of([len(layer) for layer in arms])
    weights = [{one: data.draw(st.integers(1, 4)) for one in layer} for layer in names]
    costs = {
        tuple(names[layer][at] for layer, at in enumerate(combination)): cost
        for combination, cost in every_cost(network, chain, ingress, egress).items()
    }
    (cheapest,) = Layered(Routes(network), chain).cheapest([Journey([(ingress, egress)])])[1]
    assume(cheapest is not None)
    assert cheapest is not None
    least = [combination for combination, cost in costs.items() if cost == min(costs.values())]
    listed = [tuple(names[n][at] for n, at in enumerate(row)) for row in cheapest.combinations().tolist()]
    for table in (spread_cheapest(cheapest, names, weights), spread(listed, weights)):
        assert len(table) == 256
        assert sum(costs[combination] for combination in table) == 256 * min(costs.values())
        share = {combination: prod(w[n] for w, n in zip(weights, combination, strict=True)) for combination in least}
        if min(share.values()) * 256 >= sum(share.values()):
            given_ = Counter(table)
            for combination in least:
                assert abs(given_[combination] - 256 * share[combination] / sum(share.values())) <= 1


def everything(*sizes: int) -> tuple[list[list[str]], list[Combination]]:
    names = names_of(sizes)
    return names, list(product(*names))


def test_weights_are_respected() -> None:
    table = spread([("fw1",), ("fw2",)], [{"fw1": 2, "fw2": 1}])
    assert Counter(table) == {("fw1",): 171, ("fw2",): 85}


@pytest.mark.parametrize("sizes", [(16, 16, 16), (5, 100), (3, 7, 11, 13)])
def test_too_many_combinations_for_a_slot_each_still_share_evenly(sizes: tuple[int, ...]) -> None:
    names, combinations = everything(*sizes)
    assert len(combinations) > 256
    joins = tuple(np.ones(pair, np.bool_) for pair in pairwise(sizes))
    cheapest = Cheapest.of(np.ones(sizes[0], np.bool_), joins)
    for table in (spread(combinations, ones(names)), spread_cheapest(cheapest, names, ones(names))):
        for layer, size in enumerate(sizes):
            counts = held(table, layer)
            assert len(counts) == size
            assert max(counts.values()) - min(counts.values()) <= 1
        assert len(set(table)) > 200  # and not the same few over and over


def test_heavy_instances_have_their_share_where_combinations_are_many() -> None:
    names, combinations = everything(2, 100)
    weights = [{"a0": 10, "a1": 1}, dict.fromkeys(names[1], 1)]
    table = spread(combinations, weights)
    assert held(table, 0) == {"a0": 233, "a1": 23}  # 256 · 10/11, 256 · 1/11
    assert set(held(table, 1).values()) == {2, 3}


@pytest.mark.parametrize("sizes", [(3,), (4, 4), (16, 16, 16), (2, 200)])
@pytest.mark.parametrize("layer", [0, -1])
def test_when_an_instance_goes_only_its_slots_move(sizes: tuple[int, ...], layer: int) -> None:
    names, combinations = everything(*sizes)
    gone = names[layer][1]
    table = spread(combinations, ones(names))
    after = spread([one for one in combinations if gone not in one], ones(names), table)
    moved = [old for old, new in zip(table, after, strict=True) if old != new]
    own = sum(gone in combination for combination in table)
    # 200 instances cannot share 128 slots of either of 2 evenly: a slot more may have to make room
    assert own <= len(moved) <= own + (sizes == (2, 200))
    back = spread(combinations, ones(names), after)
    assert held(back, layer)[gone] >= 256 // sizes[layer]


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 8)] * 3), min_size=1, max_size=300, unique=True), st.data())
def test_any_set_of_combinations_is_stable_and_held_to(found: list[tuple[int, ...]], data: st.DataObject) -> None:
    """Also sets that constraints left, in which not everything goes with everything."""
    combinations = [tuple(f"{letter}{n}" for letter, n in zip("abc", one, strict=True)) for one in found]
    weights = [{f"{letter}{n}": data.draw(st.integers(1, 9)) for n in range(9)} for letter in "abc"]
    table = spread(combinations, weights)
    assert len(table) == 256 and set(table) <= set(combinations)
    assert spread(combinations, weights, table) == table
    fewer = combinations[: len(combinations) // 2]
    again = spread(fewer, weights, table)
    assert spread(fewer, weights, again) == again
    assert (len(again) == 256 and set(again) <= set(fewer)) if fewer else again == ()


def test_nothing_to_choose() -> None:
    assert spread([], [{"a": 1}]) == ()
    assert spread([()], []) == ((),) * 256
    with pytest.raises(ValueError, match="names 1 instances for 2 functions"):
        spread([("a",)], [{"a": 1}, {"b": 1}])
