"""Classifiers against each other: who wins, and what is refused."""

from __future__ import annotations

import itertools

import examples
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller_app.model.allocation import Allocation
from controller_app.model.position import PolicyError
from controller_app.pipeline.compile import compile
from controller_app.pipeline.regions import port_masks, regions
from controller_app.pipeline.world import build_world

HEAD = examples.POLICY[: examples.POLICY.index("classifiers:")]
TAIL = examples.POLICY[examples.POLICY.index("services:") :]


def ranks(*classifiers: str) -> dict[tuple[str, bool], int]:
    text = HEAD + "classifiers:\n" + "".join(f"  - {c}\n" for c in classifiers) + TAIL
    world, _ = build_world(examples.policy(text=text), examples.network(), Allocation())
    return {(r.classifier.name, r.mirror): r.rank for r in regions(world)}


NET = "{name: net, from: {network: clients}, to: {network: servers}, traffic: [tcp/80-90], then: {chain: inspect}}"
HOST = "{name: host, from: {host: h1}, to: {network: servers}, traffic: [tcp/80], then: allow}"


def test_the_strict_subset_wins() -> None:
    found = ranks(NET, HOST)
    assert found["host", False] > found["net", False]
    assert found["host", True] > found["net", True]  # the replies of what was exempted are exempt too


def test_priority_comes_first() -> None:
    found = ranks(NET.replace("then:", "priority: 5, then:"), HOST)
    assert found["net", False] > found["host", False]


def test_an_explicit_one_beats_a_mirror() -> None:
    back = "{name: back, from: {network: servers}, to: {network: clients}, then: deny}"
    found = ranks(NET, back)
    assert found["back", False] > found["net", True]


def test_the_same_chain_is_no_conflict() -> None:
    ranks(
        "{name: a, from: {host: h1}, to: any, traffic: [tcp/80], then: {chain: inspect}}",
        "{name: b, from: any, to: {host: w1}, traffic: [tcp/80], then: {chain: inspect}}",
    )


@pytest.mark.parametrize("verdict", ["deny", "allow"])
def test_an_overlap_without_order_is_refused_with_both_places(verdict: str) -> None:
    with pytest.raises(PolicyError) as caught:
        ranks(
            "{name: a, from: {host: h1}, to: any, traffic: [tcp/80], then: {chain: inspect}}",
            f"{{name: b, from: any, to: {{host: w1}}, traffic: [tcp/80], then: {verdict}}}",
        )
    (problem, *_) = caught.value.diagnostics
    line = HEAD.count("\n") + 3
    assert problem.position.line == line
    assert "a (policy.yaml:" in problem.what
    assert "overlap" in problem.what
    assert "priority" in problem.remedy


def test_disjoint_ones_need_no_order() -> None:
    ranks(
        "{name: a, from: {host: h1}, to: any, traffic: [tcp/80], then: {chain: inspect}}",
        "{name: b, from: any, to: {host: w1}, traffic: [udp/80], then: deny}",
        "{name: c, from: {cidr: 10.9.0.0/16}, to: {host: w1}, traffic: [tcp/80], then: deny}",
    )


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_port_masks_cover_exactly_the_range(one: int, other: int) -> None:
    low, high = sorted((one, other))
    covered: list[tuple[int, int]] = []
    for value, mask in port_masks(low, high):
        assert value & ~mask == 0
        covered.append((value, value | (0xFFFF & ~mask)))
    covered.sort()
    assert covered[0][0] == low
    assert covered[-1][1] == high
    assert all(a[1] + 1 == b[0] for a, b in itertools.pairwise(covered))


def test_a_full_policy_compiles() -> None:
    state, _ = compile(examples.policy(), examples.network())
    assert all(held.flows for held in state.values())
