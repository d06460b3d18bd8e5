"""Slot tables: shares, minimal moves, tables that do not march in step."""

from __future__ import annotations

from collections import Counter
from math import ceil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controller_app.balancing.slots import fill, function_slot, quotas, service_slot

weights = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.integers(1, 256), min_size=1, max_size=60)


def test_the_shares_of_the_lab() -> None:
    assert Counter(fill({"fw1": 2, "fw2": 1})) == {"fw1": 171, "fw2": 85}
    assert Counter(fill({"web1": 1, "web2": 1, "web3": 1})) == {"web1": 86, "web2": 85, "web3": 85}
    assert fill({}) == ()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100, 255, 256])
def test_equal_members_share_equally(count: int) -> None:
    table = Counter(fill({f"m{n}": 1 for n in range(count)}))
    assert len(table) == count
    assert max(table.values()) == ceil(256 / count)


def test_too_many_members() -> None:
    with pytest.raises(ValueError, match="257 members"):
        quotas({str(n): 1 for n in range(257)})


@given(weights)
def test_every_slot_is_given_and_everyone_has_one(members: dict[str, int]) -> None:
    table = Counter(fill(members))
    assert sum(table.values()) == 256
    assert set(table) == set(members)


@given(weights, weights)
def test_moves_are_the_fewest_possible(before: dict[str, int], after: dict[str, int]) -> None:
    old = fill(before)
    new = fill(after, old)
    held, wanted = Counter(old), Counter(new)
    unavoidable = sum(max(0, count - wanted.get(name, 0)) for name, count in held.items())
    assert sum(a != b for a, b in zip(old, new, strict=True)) == unavoidable


@given(weights)
@example({"a": 3, "b": 2, "c": 91, "d": 33, "e": 101, "f": 2, "g": 2, "h": 2, "i": 3, "j": 1})
def test_the_same_weights_change_nothing(members: dict[str, int]) -> None:
    table = fill(members)
    assert fill(members, table) == table


@pytest.mark.parametrize("count", range(2, 30))
def test_one_leaves_only_its_slots_move(count: int) -> None:
    members = {f"m{n}": 1 for n in range(count)}
    old = fill(members)
    gone = f"m{count // 2}"
    new = fill({name: 1 for name in members if name != gone}, old)
    assert {a for a, b in zip(old, new, strict=True) if a != b} == {gone}


def test_two_tables_meet_in_the_product_of_their_shares() -> None:
    for readers in ((function_slot, 0), (function_slot, 1)), ((function_slot, 1), (function_slot, 2)):
        (one, p), (two, q) = readers
        a, b = fill({"x": 2, "y": 1}), fill({"u": 1, "v": 1, "w": 1})
        met = Counter((a[one(s, p)], b[two(s, q)]) for s in range(256))
        for (first, _), seen in met.items():
            assert abs(seen - (57 if first == "x" else 28.4)) < 5
    services = fill({"u": 1, "v": 1, "w": 1})
    met = Counter((fill({"x": 2, "y": 1})[s], services[service_slot(s)]) for s in range(256))
    assert all(abs(seen - (57 if first == "x" else 28.4)) < 5 for (first, _), seen in met.items())


@pytest.mark.parametrize("position", range(9))
def test_every_reader_is_a_permutation(position: int) -> None:
    assert {function_slot(s, position) for s in range(256)} == set(range(256))
    assert {service_slot(s) for s in range(256)} == set(range(256))
