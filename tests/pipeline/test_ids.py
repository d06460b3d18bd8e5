"""Numbers stay with their names and are not soon used again; waypoints of a switch share prefixes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller_app.model.allocation import Allocation
from controller_app.model.position import PolicyError
from controller_app.pipeline.ids import Numbers, aligned
from controller_app.pipeline.labels import WAYPOINTS

names = st.lists(st.text("abc", min_size=1, max_size=3), unique=True, max_size=12)
attached = st.dictionaries(st.sampled_from(["s1", "s2", "s3", "s4"]), names, max_size=4)


@given(names, names)
def test_names_keep_their_numbers_and_never_share(first: list[str], second: list[str]) -> None:
    numbers = Numbers(Allocation())
    one = numbers.assign("x", first, {})
    two = numbers.assign("x", second, one)
    assert len(set(two.values())) == len(second)
    for name in second:
        if name in one:
            assert two[name] == one[name]
        else:
            assert two[name] not in one.values()  # what was just given up is not taken in the same step


def test_what_was_given_up_is_taken_again_last() -> None:
    allocation, seen = Allocation(), []
    for turn in range(7):
        numbers = Numbers(allocation)
        seen += numbers.assign("x", [f"n{turn}"], {}, first=1, limit=6).values()
        allocation = Allocation(next=numbers.next)
    assert seen == [1, 2, 3, 4, 5, 1, 2]


def test_a_full_space_says_so() -> None:
    with pytest.raises(PolicyError, match="more than 3 widgets"):
        Numbers(Allocation()).assign("widgets", "abcd", {}, limit=4)


@given(attached, attached)
def test_waypoints(first: dict[str, list[str]], second: dict[str, list[str]]) -> None:
    def own(given: dict[str, list[str]]) -> dict[str, list[str]]:
        return {switch: [f"{switch}/{name}" for name in found] for switch, found in given.items()}

    numbers = Numbers(Allocation())
    ids, blocks = numbers.waypoints(own(first))
    again, more = Numbers(Allocation(blocks=blocks, waypoints=ids, next=numbers.next)).waypoints(own(second))
    for given_ids, held, given_names in ((ids, blocks, own(first)), (again, more, own(second))):
        assert sorted(given_ids) == sorted(name for found in given_names.values() for name in found)
        assert len(set(given_ids.values())) == len(given_ids)
        covered: set[int] = set()
        for found in held.values():
            for base, size in found:
                assert size & (size - 1) == 0
                assert base % size == 0  # one mask matches the block
                assert covered.isdisjoint(range(base, base + size))
                covered |= set(range(base, base + size))
        assert 0 not in covered
        for name, number in given_ids.items():
            assert any(base <= number < base + size for base, size in held[name.split("/")[0]])
    for name, number in again.items():
        assert number == ids[name] if name in ids else number not in ids.values()
    assert set(blocks) <= set(more)  # a switch that is away may come back with its old rules


def test_a_switch_that_grows_slowly_has_few_blocks() -> None:
    allocation = Allocation()
    for count in range(1, 201):
        numbers = Numbers(allocation)
        ids, blocks = numbers.waypoints({"s1": [f"h{n}" for n in range(count)]})
        allocation = Allocation(blocks=blocks, waypoints=ids, next=numbers.next)
    assert len(allocation.blocks["s1"]) <= 9


def test_too_many_attachments() -> None:
    with pytest.raises(PolicyError, match="waypoints"):
        Numbers(Allocation()).waypoints({"s1": [str(n) for n in range(WAYPOINTS)]})


@given(st.sets(st.integers(0, 4095)))
def test_ids_are_matched_by_masks_and_no_others_are(numbers: set[int]) -> None:
    masks = aligned(numbers)
    assert {n for n in range(4096) if any(n & mask == value for value, mask in masks)} == numbers


def test_many_new_numbers_start_where_few_masks_match_them() -> None:
    numbers = Numbers(Allocation(next={"paths": 37}))
    found = numbers.assign("paths", [f"p{n}" for n in range(64)], {}, first=1, limit=2048, together=True)
    assert aligned(found.values()) == [(64, 0xFFF & ~63)]
    more = numbers.assign("paths", ["another"], found, first=1, limit=2048, together=True)
    assert more == {"another": 128}
