"""Classifiers that come and go leave the rules of the others alone, down to their priorities."""

from __future__ import annotations

import pytest
from classifying import Lab, parse
from hypothesis import given
from hypothesis import strategies as st
from test_classify import CHAINS, HEAD, TAIL

from controller_app.model.allocation import Allocation
from controller_app.model.flow import Flow, FlowKey
from controller_app.model.position import PolicyError
from controller_app.pipeline.ranks import Place, place_name, ranks
from controller_app.pipeline.tables import CLASSIFIER_RANKS

FIRST = (
    "{name: a, from: {host: h1}, to: {host: w1}, traffic: [tcp/80], then: {chain: one}}",
    "{name: b, from: {network: clients}, to: {network: servers}, then: {chain: two}}",
    "{name: c, from: {network: clients}, to: any, priority: 3, traffic: [udp/53], then: deny}",
)
SECOND = (
    "{name: d, from: {host: h2}, to: {network: servers}, traffic: [tcp/20-29], then: allow}",
    "{name: e, from: {cidr: 10.0.0.0/8}, to: any, traffic: [tcp/22], priority: 2, then: deny}",
    "{name: f, from: {host: h1}, to: any, priority: -1, then: reject}",
    "{name: g, from: {host: h2}, to: {host: w3}, priority: 700, then: {chain: one}}",
)


def lab(*classifiers: str, before: Lab | None = None) -> Lab:
    head = HEAD[: HEAD.index("chains:")] + "chains:\n" + CHAINS
    text = head + "".join(f"  - {each}\n" for each in classifiers) + TAIL
    return Lab(parse(text), None, Allocation() if before is None else before.allocation)


def flows(found: Lab, switch: str = "s1") -> dict[FlowKey, Flow]:
    return dict(found.at(switch).flows)


def fragments(found: dict[FlowKey, Flow]) -> set[FlowKey]:
    """Rules for fragments are about what other classifiers could mean: they change with them."""
    return {key for key, flow in found.items() if any(c.field == "ip_frag" for c in flow.match)}


@pytest.mark.parametrize("count", range(1, len(SECOND) + 1))
def test_new_classifiers_renumber_nothing(count: int) -> None:
    before = lab(*FIRST)
    after = lab(*FIRST, *SECOND[:count], before=before)
    for switch in ("s1", "s4"):
        old, new = flows(before, switch), flows(after, switch)
        for key in old.keys() - fragments(old):
            assert new[key] == old[key]


def test_gone_classifiers_renumber_nothing() -> None:
    before = lab(*FIRST, *SECOND)
    after = lab(*FIRST, before=before)
    old, new = flows(before), flows(after)
    for key in new.keys() - fragments(new):
        assert old[key] == new[key]


def test_it_is_so_without_a_memory_too_for_usual_priorities() -> None:
    old, new = flows(lab(*FIRST)), flows(lab(*FIRST, *SECOND[:3]))
    strict = {key: flow.actions for key, flow in new.items()}
    for key in old.keys() - fragments(old):
        assert strict[key] == old[key].actions  # cookies are numbers that an allocation keeps


places = st.tuples(
    st.just(3), st.one_of(st.integers(-4, 14), st.integers(-(2**31), 2**31 - 1)), st.integers(0, 1),
    st.integers(0, 299), st.integers(0, 1),
)  # fmt: skip


@given(st.sets(places, max_size=60), st.sets(places, max_size=60))
def test_ranks_follow_the_order_and_are_kept(first: set[Place], second: set[Place]) -> None:
    one = ranks(first, {})
    kept = {place_name(place): number for place, number in one.items()}
    both = ranks(first | second, kept)
    ordered = sorted(both)  # type: ignore[type-var]
    assert [both[place] for place in ordered] == sorted(set(both.values()))
    assert all(1 <= number <= CLASSIFIER_RANKS for number in both.values())
    assert ranks(first | second, {place_name(place): number for place, number in both.items()}) == both
    if len(first) + len(second) < 10:
        assert all(both[place] == one[place] for place in first)


def test_all_are_spread_anew_where_a_gap_is_full() -> None:
    close = {"3:100:1:10:1": 50, "3:100:1:12:1": 51}
    made = ranks([(3, 100, 1, 10, 1), (3, 100, 1, 11, 1), (3, 100, 1, 12, 1)], close)
    assert [made[3, 100, 1, n, 1] for n in (10, 11, 12)] == sorted(made.values())
    assert len(set(made.values())) == 3


def test_numbers_out_of_order_are_not_kept() -> None:
    made = ranks([(3, 0, 1, 10, 1), (3, 0, 1, 20, 1)], {"3:0:1:10:1": 900, "3:0:1:20:1": 100})
    assert made[3, 0, 1, 10, 1] < made[3, 0, 1, 20, 1]


def test_too_many_places_are_said() -> None:
    with pytest.raises(PolicyError, match="sizes and priorities"):
        ranks([(3, n, 1, 0, 1) for n in range(CLASSIFIER_RANKS + 1)], {})
    assert len(ranks([(3, n, 1, 0, 1) for n in range(CLASSIFIER_RANKS)], {})) == CLASSIFIER_RANKS
