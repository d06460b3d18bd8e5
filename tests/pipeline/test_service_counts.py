"""What services cost in slots, rules and messages: the counts of `make bench` that are cheap, on smaller networks."""

from __future__ import annotations

from collections import Counter

import pytest
from bench.service_speed import ONLY_SHARES, check, messages
from bench.services import idle, in_a_service, leaving_and_joining, needless, shares
from bench.slots import bound, unevenness


def test_what_moved_needlessly_is_counted() -> None:
    """b's slots have to move when it goes, and come back; the swap of a and c asked nobody."""
    assert needless("aabbcc", "aaaccc") == 0
    assert needless("aabbcc", "acacca") == 2
    assert needless("aaaccc", "aabbcc") == 0
    assert needless("aaaccc", "cabbac") == 2
    with pytest.raises(ValueError, match="one member"):
        needless("aabbcc", "aaaaaa")


@pytest.mark.parametrize("members", [*range(2, 34), 100, 128, 200])
def test_no_slot_moves_but_those_of_who_leaves_or_joins(members: int) -> None:
    assert set(leaving_and_joining(members)) == {(0, 0)}


@pytest.mark.parametrize("members", [2, 3, 7, 50])
def test_nor_in_a_service(members: int) -> None:
    """A label goes, and comes back."""
    assert in_a_service(members) == (0, 0)


@pytest.mark.parametrize("members", [1, 2, 3, 5, 64, 85, 100])
def test_equal_providers_have_the_most_even_shares_there_are(members: int) -> None:
    table = shares(members)
    assert len(set(table)) == members
    assert unevenness(table) == bound(members)


def test_a_switch_that_has_nothing_to_do_with_a_service_holds_nothing_for_it() -> None:
    found = idle(k=4, number=5)
    assert (found.rules, found.groups) == (0, 0)
    assert found.switches == 17
    assert found.elsewhere > 5 * 3  # the others do


def test_a_change_of_shares_sends_a_group_to_every_edge_and_nothing_else() -> None:
    edges, found = messages(number=6)
    assert edges == 8
    for what in ONLY_SHARES:
        assert found[what].values(), what
        assert list(found[what].values()) == [Counter({"a group": 1})] * edges, what


def test_what_is_timed_gives_what_compiling_all_of_it_gives() -> None:
    check(8)
