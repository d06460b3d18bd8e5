"""Slots for combinations of instances: by weight, with the fewest moves, each instance with its share."""

from __future__ import annotations

from collections import Counter
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from controller_app.balancing.combining import share
from controller_app.balancing.slots import fill, function_slot


def names(count: int, letter: str) -> list[str]:
    return [f"{letter}{number}" for number in range(count)]


def test_nothing_has_no_table() -> None:
    assert share([], []) == ()
    assert share([()], []) == ((),) * 256


def test_where_all_go_together_each_function_has_its_own_table() -> None:
    weights = [{"a0": 2, "a1": 1}, {"b0": 1, "b1": 1, "b2": 1}]
    found = share(list(product(*weights)), weights)
    tables = [fill(each) for each in weights]
    assert found == tuple(tuple(t[function_slot(s, n)] for n, t in enumerate(tables)) for s in range(256))
    assert Counter(a for a, _ in found) == {"a0": 171, "a1": 85}
    assert share(list(product(*weights)), weights, found) == found


def test_an_instance_that_leaves_moves_its_own_slots_only() -> None:
    weights = [dict.fromkeys(names(3, "a"), 1), dict.fromkeys(names(3, "b"), 1)]
    before = share(list(product(*weights)), weights)
    after = share([c for c in product(*weights) if c[0] != "a1"], weights, before)
    for old, new in zip(before, after, strict=True):
        assert new[1] == old[1]
        assert old[0] == "a1" or new[0] == old[0]


def test_weights_count_among_combinations_that_do_not_all_go_together() -> None:
    weights = [{"a0": 3, "a1": 1}, {"b0": 1, "b1": 1}]
    found = share([("a0", "b0"), ("a1", "b1")], weights)
    assert Counter(found) == {("a0", "b0"): 192, ("a1", "b1"): 64}
    again = share([("a1", "b1")], weights, found)
    assert set(again) == {("a1", "b1")}


@settings(max_examples=30, deadline=None)
@given(st.integers(8, 12), st.data())
def test_of_more_combinations_than_slots_every_instance_has_its_share(count: int, data: st.DataObject) -> None:
    weights = [dict.fromkeys(names(count, letter), 1) for letter in "abc"]
    every = list(product(*weights))
    gone = set(data.draw(st.lists(st.sampled_from(every), min_size=1, max_size=20)))
    left = [each for each in every if each not in gone]
    found = share(left, weights)
    assert set(found) <= set(left)
    for position, column in enumerate(zip(*found, strict=True)):
        held = Counter(column)
        for name, number in Counter(each[position] for each in left).items():
            assert abs(held[name] - 256 * number / len(left)) <= 2
    out = "a0"
    after = share([each for each in left if each[0] != out], weights, found)
    moved = sum(old != new for old, new in zip(found, after, strict=True))
    assert out not in {each[0] for each in after}
    assert moved <= 2 * Counter(each[0] for each in found)[out] + 2 * count
    assert share([each for each in left if each[0] != out], weights, after) == after
