"""Numbers stay with their names; waypoints of a switch share prefixes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller_app.model.allocation import Allocation
from controller_app.model.position import PolicyError
from controller_app.pipeline.ids import assign, assign_waypoints
from controller_app.pipeline.labels import WAYPOINTS

names = st.lists(st.text("abc", min_size=1, max_size=3), unique=True, max_size=12)
attached = st.dictionaries(st.sampled_from(["s1", "s2", "s3", "s4"]), names, max_size=4)


@given(names, names)
def test_names_keep_their_numbers_and_never_share(first: list[str], second: list[str]) -> None:
    one = assign(first, {})
    two = assign(second, one)
    assert len(set(two.values())) == len(second)
    for name in second:
        if name in one:
            assert two[name] == one[name]
        else:
            assert two[name] not in one.values()  # what was just given up is not taken in the same step


def test_a_full_space_says_so() -> None:
    with pytest.raises(PolicyError, match="more than 3 widgets"):
        assign("abcd", {}, limit=4, what="widgets")


@given(attached, attached)
def test_waypoints(first: dict[str, list[str]], second: dict[str, list[str]]) -> None:
    def own(given: dict[str, list[str]]) -> dict[str, list[str]]:
        return {switch: [f"{switch}/{name}" for name in found] for switch, found in given.items()}

    ids, blocks = assign_waypoints(own(first), Allocation())
    again, more = assign_waypoints(own(second), Allocation(blocks=blocks, waypoints=ids))
    for numbers, held, given_names in ((ids, blocks, own(first)), (again, more, own(second))):
        assert sorted(numbers) == sorted(name for found in given_names.values() for name in found)
        assert len(set(numbers.values())) == len(numbers)
        covered: set[int] = set()
        for found in held.values():
            for base, size in found:
                assert size & (size - 1) == 0
                assert base % size == 0  # one mask matches the block
                assert covered.isdisjoint(range(base, base + size))
                covered |= set(range(base, base + size))
        assert 0 not in covered
        for name, number in numbers.items():
            assert any(base <= number < base + size for base, size in held[name.split("/")[0]])
    assert all(again[name] == ids[name] for name in again if name in ids)


def test_too_many_attachments() -> None:
    with pytest.raises(PolicyError, match="attachments"):
        assign_waypoints({"s1": [str(n) for n in range(WAYPOINTS)]}, Allocation())
