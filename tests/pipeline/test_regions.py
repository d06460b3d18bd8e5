"""Classifiers against each other: who wins, and what is refused."""

from __future__ import annotations

import itertools

import examples
import pytest
from classifying import Lab, ip_packet
from hypothesis import given
from hypothesis import strategies as st

from controller_app.model.position import PolicyError
from controller_app.pipeline.compile import compile
from controller_app.pipeline.regions import port_masks

HEAD = examples.POLICY[: examples.POLICY.index("classifiers:")]
TAIL = examples.POLICY[examples.POLICY.index("services:") :]


def lab(*classifiers: str) -> Lab:
    text = HEAD + "classifiers:\n" + "".join(f"  - {c}\n" for c in classifiers) + TAIL
    return Lab(examples.policy(text=text))


NET = "{name: net, from: {network: clients}, to: {network: servers}, traffic: [tcp/80-90], then: {chain: inspect}}"
HOST = "{name: host, from: {host: h1}, to: {network: servers}, traffic: [tcp/80], then: allow}"
INSPECT = "default/fw+ids/connection"
H1, H2, W1 = "10.1.0.11", "10.1.0.12", "10.2.0.21"


def test_the_strict_subset_wins() -> None:
    found = lab(NET, HOST)
    assert found.decided("s1", ip_packet(H1, W1, "tcp", 999, 80)) == "allow"
    assert found.decided("s1", ip_packet(H1, W1, "tcp", 999, 81)) == INSPECT
    assert found.decided("s1", ip_packet(H2, W1, "tcp", 999, 80)) == INSPECT
    # the replies of what was exempted are exempt too
    assert found.decided("s4", ip_packet(W1, H1, "tcp", 80, 999)) == "allow"
    assert found.decided("s4", ip_packet(W1, H2, "tcp", 80, 999)) == INSPECT + "<"


def test_priority_comes_first() -> None:
    found = lab(NET.replace("then:", "priority: 5, then:"), HOST)
    assert found.decided("s1", ip_packet(H1, W1, "tcp", 999, 80)) == INSPECT


def test_a_negative_priority_comes_last() -> None:
    found = lab(NET, HOST.replace("then:", "priority: -3, then:"))
    assert found.decided("s1", ip_packet(H1, W1, "tcp", 999, 80)) == INSPECT


def test_an_explicit_one_beats_a_mirror() -> None:
    back = "{name: back, from: {network: servers}, to: {network: clients}, then: deny}"
    found = lab(NET, back)
    assert found.decided("s4", ip_packet(W1, H1, "tcp", 80, 999)) == "deny"
    assert found.decided("s1", ip_packet(H1, W1, "tcp", 999, 80)) == INSPECT


def test_a_subset_with_the_same_match_wins() -> None:
    """Sets of hosts hold each other without any rule of the one being inside a rule of the other."""
    found = lab(
        "{name: all, from: {selector: tier=web}, to: {host: h1}, then: {chain: inspect}}",
        "{name: one, from: {endpoint: web1}, to: {host: h1}, then: deny}",
    )
    assert found.decided("s4", ip_packet(W1, H1, "tcp", 1, 2)) == "deny"
    assert found.decided("s4", ip_packet("10.2.0.22", H1, "tcp", 1, 2)) == INSPECT
    assert found.decided("s1", ip_packet(H1, W1, "tcp", 1, 2)) == INSPECT + "<"


def test_the_same_chain_is_no_conflict() -> None:
    lab(
        "{name: a, from: {host: h1}, to: any, traffic: [tcp/80], then: {chain: inspect}}",
        "{name: b, from: any, to: {host: w1}, traffic: [tcp/80], then: {chain: inspect}}",
    )


@pytest.mark.parametrize("verdict", ["deny", "allow"])
def test_an_overlap_without_order_is_refused_with_both_places(verdict: str) -> None:
    with pytest.raises(PolicyError) as caught:
        lab(
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
    lab(
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
