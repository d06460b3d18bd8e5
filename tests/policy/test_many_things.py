"""Very many of something: found out in a time that does not grow with every pair, and the same as looking at each."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import ip_network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller_app.model.position import Diagnostic, PolicyError
from controller_app.policy.policy_file import check_against, parse_policy
from controller_app.policy.topology_file import parse_topology

MANY, SECONDS = 4000, 6.0  # of this process's own time; all pairs took half a minute and more
TAP = "functions: {tap: {mode: tap, instances: {t: {host: t}}}}\n"


def problems(text: str) -> tuple[Diagnostic, ...]:
    try:
        parse_policy({"p": "version: 1\n" + text})
    except PolicyError as error:
        return error.diagnostics
    return ()


def networks(subnets: list[str]) -> str:
    return "networks: {" + ", ".join(f"n{n}: {{subnet: {each}}}" for n, each in enumerate(subnets)) + "}\n"


def segments(labelled: list[set[int]], hosts: int) -> str:
    """Segment number n has the hosts in the set of that place."""
    labels = [
        ", ".join(f"s{n}: x" for n, members in enumerate(labelled) if host in members) for host in range(hosts)
    ]
    endpoints = ", ".join(f"e{n}: {{host: h{n}, network: n, labels: {{{found}}}}}" for n, found in enumerate(labels))
    parts = ", ".join(f"s{n}: {{network: n, selector: s{n}=x, insert: [tap]}}" for n in range(len(labelled)))
    return f"networks: {{n: {{subnet: 10.0.0.0/8}}}}\nendpoints: {{{endpoints}}}\nsegments: {{{parts}}}\n{TAP}"


PREFIXES = st.tuples(st.integers(0, 15), st.integers(28, 32)).map(
    lambda drawn: str(ip_network((f"10.0.0.{drawn[0]}", drawn[1]), strict=False))
)


@given(st.lists(PREFIXES, max_size=8))
def test_networks_that_overlap(subnets: list[str]) -> None:
    prefixes = [ip_network(each) for each in subnets]
    pairs = {(one, other) for one, other in combinations(range(len(prefixes)), 2)
             if prefixes[one].overlaps(prefixes[other])}  # fmt: skip
    told = [problem for problem in problems(networks(subnets)) if "overlaps" in problem.what]
    said = {
        (int(problem.what.partition("network 'n")[2].partition("'")[0]), int(problem.path[10:].partition(".")[0]))
        for problem in told
    }
    assert said <= pairs
    assert bool(said) == bool(pairs)
    every = {number for pair in pairs for number in pair}
    assert {number for pair in said for number in pair} == every, "each has a part in a problem"


@given(st.lists(st.sets(st.integers(0, 5)), max_size=6))
def test_segments_with_hosts_in_common(labelled: list[set[int]]) -> None:
    pairs = {(one, other) for one, other in combinations(range(len(labelled)), 2)
             if labelled[one] & labelled[other]
             and not (labelled[one] < labelled[other] or labelled[other] < labelled[one])}  # fmt: skip
    told = [problem for problem in problems(segments(labelled, 6)) if "neither segment" in problem.what]
    said = {
        (int(problem.what.partition("segment 's")[2].partition("'")[0]), int(problem.path[10:])) for problem in told
    }
    assert said <= pairs
    assert bool(said) == bool(pairs)


def _own(count: int) -> str:
    return networks([f"10.{n >> 8}.{n & 255}.0/24" for n in range(count)])


def _same(count: int) -> str:
    return networks(["10.0.0.0/8"] * count)


@pytest.mark.parametrize(("make", "count"), [(_own, 0), (_same, MANY - 1)])
def test_very_many_networks(make: Callable[[int], str], count: int) -> None:
    text = make(MANY)
    started = time.process_time()
    assert len(problems(text)) == count
    assert time.process_time() - started < SECONDS


def test_very_many_segments_by_prefix() -> None:
    parts = ", ".join(
        f"s{n}: {{network: n, cidr: 10.{n >> 8}.{n & 255}.0/24, insert: [tap]}}" for n in range(MANY)
    )
    text = f"networks: {{n: {{subnet: 10.0.0.0/8}}}}\nsegments: {{{parts}}}\n{TAP}"
    started = time.process_time()
    assert problems(text) == ()
    assert time.process_time() - started < SECONDS


def test_very_many_segments_by_prefix_and_by_selector_on_a_network() -> None:
    """Half of them by prefix; each selector's host is in one, and one of them has a host outside as well."""
    half = 400
    hosts = "".join(f"  h{n}: {{attach: s1:{n + 1}, ip: 10.{n >> 8}.{n & 255}.1}}\n" for n in range(half))
    text = f"version: 1\nswitches: {{s1: {{dpid: 1}}}}\nhosts:\n{hosts}  t: {{attach: s1:9999}}\n"
    topology = parse_topology(text, "t")
    endpoints = ", ".join(f"e{n}: {{host: h{n}, network: n, labels: {{a: v{max(n, 1)}}}}}" for n in range(half))
    parts = ", ".join(
        f"s{n}: {{network: n, selector: a=v{n}, insert: [tap]}}, "
        f"p{n}: {{network: n, cidr: 10.{n >> 8}.{n & 255}.0/24, insert: [tap]}}"
        for n in range(1, half)
    )
    text = f"networks: {{n: {{subnet: 10.0.0.0/8}}}}\nendpoints: {{{endpoints}}}\nsegments: {{{parts}}}\n{TAP}"
    policy = parse_policy({"p": "version: 1\n" + text}).policy
    started = time.process_time()
    found = [each for each in check_against(policy, topology) if each.severity == "error"]
    assert time.process_time() - started < SECONDS
    assert [each.path for each in found] == ["segments.s1"]
    assert "host 'h1' is in segment 'p1' too" in found[0].what and "host 'h0' is not" in found[0].what
