"""Ways that are left out: what is wrong is found all the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from controller_app.model.allocation import Allocation
from controller_app.model.flow import FlowState, Group, SwitchState
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.compile import compile
from controller_app.verification.classes import packet_classes
from controller_app.verification.coverage import LEAST, Coverage
from controller_app.verification.evaluate import Expectation
from controller_app.verification.verify import Checker, Finding, verify
from controller_app.verification.walk import walk_from
from controller_app.verification.witness import Witness

ROOT = Path(__file__).parents[2]
EXAMPLES = ("firewall_ids", "branching", "function_modes")
slow = settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))


@cache
def example(name: str) -> tuple[Policy, Topology, FlowState, Allocation]:
    topology = Topology.load(str(ROOT / "topologies" / f"{name}.yaml"))
    policy = Policy.load(str(ROOT / "policies" / f"{name}.yaml"))
    return policy, topology, *compile(policy, topology)


def every(name: str, state: FlowState) -> Iterator[Finding]:
    """What is found when every class goes every way."""
    policy, topology, _, allocation = example(name)
    checker = Checker(policy, topology, state, allocation)
    for tried in packet_classes(checker.evaluator, topology, checker.network.runs()):
        yield from checker.check(tried)


def agrees(name: str, state: FlowState) -> None:
    policy, topology, _, allocation = example(name)
    assert verify(policy, topology, state, allocation).ok is (next(every(name, state), None) is None)


@slow
@given(st.sampled_from(EXAMPLES), st.randoms(use_true_random=False))
def test_a_wrong_bucket_is_found(name: str, random) -> None:  # type: ignore[no-untyped-def]
    """One bucket of one group does what another one of the same switch does, or nothing."""
    *_, state, _ = example(name)
    places = [(switch, number) for switch, held in state.items() for number in held.groups]
    switch, number = random.choice(places)
    held = state[switch]
    group = held.groups[number]
    at = random.randrange(len(group.buckets))
    others = [bucket.actions for each in held.groups.values() if each.kind == group.kind for bucket in each.buckets]
    actions = random.choice([(), *others])
    assume(actions != group.buckets[at].actions)
    buckets = (*group.buckets[:at], replace(group.buckets[at], actions=actions), *group.buckets[at + 1:])
    agrees(name, {**state, switch: with_group(held, replace(group, buckets=buckets))})


@slow
@given(st.sampled_from(EXAMPLES), st.randoms(use_true_random=False))
def test_a_missing_flow_is_found(name: str, random) -> None:  # type: ignore[no-untyped-def]
    *_, state, _ = example(name)
    switch = random.choice(sorted(state))
    held = state[switch]
    gone = random.choice(list(held.flows))
    flows = {key: flow for key, flow in held.flows.items() if key != gone}
    agrees(name, {**state, switch: SwitchState(flows, held.groups, held.meters)})


def with_group(held: SwitchState, group: Group) -> SwitchState:
    return SwitchState(held.flows, {**held.groups, group.id: group}, held.meters)


def test_each_bucket_is_tried_of_each_group_and_towards_each_edge() -> None:
    policy, topology, state, allocation = example("firewall_ids")
    witness, coverage = Witness(), Coverage()
    checker = Checker(policy, topology, state, allocation, witness)
    tried: dict[tuple[str, int], set[int]] = {}
    for each in packet_classes(checker.evaluator, topology):
        share = checker.share(each, coverage)
        if share is None:
            continue
        packet, _ = checker.frame(each)
        walks = walk_from(checker.network, packet, each.host, arm=checker.arm(each), share=share)
        for walk in walks:
            for switch, group, index in walk.choices:
                tried.setdefault((switch, group), set()).add(index)
        coverage.done(share, witness.testify())
    assert tried
    for (switch, number), seen in tried.items():
        group = state[switch].groups[number]
        assert {group.buckets[index].actions for index in seen} == {bucket.actions for bucket in group.buckets}


def test_what_rests_upon_something_says_so() -> None:
    state = example("firewall_ids")[2]
    group = max((group for held in state.values() for group in held.groups.values()), key=lambda one: len(one.buckets))
    parts = [(index, 1 << index) for index in range(len(group.buckets))]
    coverage, wanted = Coverage(), Expectation("default", "chain", order=("fw",))
    first = coverage.share(wanted, frozenset({"s1"}), "", True, 4)
    assert first is not None and list(first.of_group("s2", group, parts)) == parts and first.relied == ()
    seen = Witness().testify()
    coverage.done(first, seen)
    for switch, end, some in (("s2", "s1", LEAST), ("s2", "s9", len(parts)), ("s3", "s1", len(parts))):
        again = coverage.share(wanted, frozenset({end}), "", True, 4)
        assert again is not None and len(again.of_group(switch, group, parts)) == some
        assert again.relied == ((seen,) if some == LEAST else ())
    other = coverage.share(Expectation("default", "chain", order=("ids",)), frozenset({"s1"}), "", True, 4)
    assert other is not None and list(other.of_group("s2", group, parts)) == parts
    for kind, tcp, some in (("", False, LEAST), ("fragment", True, LEAST), ("error", False, LEAST)):
        rests = coverage.share(wanted, frozenset({"s1"}), kind, tcp, 4)
        assert rests is not None and len(rests.of_group("s2", group, parts)) == some
        alone = coverage.share(wanted, frozenset({"s7"}), kind, tcp, 4)
        assert alone is not None and list(alone.of_group("s2", group, parts)) == parts
        coverage.done(alone, seen)
    ordinary = coverage.share(wanted, frozenset({"s7"}), "", True, 4)
    assert ordinary is not None and list(ordinary.of_group("s2", group, parts)) == parts
    forgotten = Coverage(coverage, lambda _: False).share(wanted, frozenset({"s1"}), "", True, 4)
    assert forgotten is not None and list(forgotten.of_group("s2", group, parts)) == parts


@pytest.mark.parametrize("name", EXAMPLES)
def test_nothing_is_found_where_nothing_is_wrong(name: str) -> None:
    agrees(name, example(name)[2])
