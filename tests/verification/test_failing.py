"""What holds while everything works has to hold when one thing fails, before the controller answers and after."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from examples import network, policy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller_app.model.allocation import Allocation
from controller_app.model.flow import Bucket, FlowState, Group, Output, SetField, SwitchState
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.compile import Compiled, compile, compile_next
from controller_app.verification.classes import PacketClass
from controller_app.verification.failing import Answer, Failure, _Lenient, failures_of, verify_failures
from controller_app.verification.passages import Gate
from controller_app.verification.verified import Verified
from controller_app.verification.verify import Checker, verify_change
from controller_app.verification.walk import Fate, Hop, walk_from

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.stem for path in (ROOT / "policies").iterdir() if path.is_dir() or path.suffix == ".yaml")
TOPOLOGY, POLICY = network(), policy()
MAC = (1 << 48) - 1


def verified_of(policy: Policy, topology: Topology, state: FlowState, allocation: Allocation) -> Verified:
    report, verified = verify_change(policy, topology, state, allocation)
    assert report.ok, report.counterexample
    return verified


@cache
def small() -> tuple[Compiled, Verified]:
    compiled = compile_next(None, POLICY, TOPOLOGY)
    return compiled, verified_of(POLICY, TOPOLOGY, compiled.state, compiled.allocation)


def answering(policy: Policy, compiled: Compiled) -> Answer:
    """As a controller does that holds this."""
    def answer(topology: Topology) -> tuple[FlowState, Allocation]:
        made = compile_next(compiled, policy, topology)
        return made.state, made.allocation
    return answer


@pytest.mark.parametrize("name", EXAMPLES)
def test_nothing_is_found_in_the_examples(name: str) -> None:
    examined = Policy.load(str(next(path for path in (ROOT / "policies").iterdir() if path.stem == name)))
    topology = Topology.load(str(ROOT / "topologies" / f"{name}.yaml"))
    compiled = compile_next(None, examined, topology)
    verified = verified_of(examined, topology, compiled.state, compiled.allocation)
    outcome = verify_failures(verified, answering(examined, compiled))
    assert outcome.ok, outcome.counterexample
    assert outcome.failures == len(list(failures_of(examined, topology))) > 0


def test_what_can_fail_is_named() -> None:
    names = [failure.what for failure in failures_of(POLICY, TOPOLOGY)]
    assert "link s1:1-s2:1 is down" in names
    assert "instance fw/fw1 does not answer" in names and "instance ids/ids1 does not answer" in names
    assert "no instance of function fw answers" in names
    assert "no instance of function ids answers" not in names  # it has only one
    assert len(names) == len(TOPOLOGY.links) + 3 + 1


def put(state: FlowState, switch: str, group: Group) -> FlowState:
    held = state[switch]
    return {**state, switch: SwitchState(held.flows, {**held.groups, group.id: group}, held.meters)}


def chained(checker: Checker, classes: Iterable[PacketClass]) -> Fate:
    """Of one that goes through functions to a host, not on the switch of the first of them."""
    for tried in classes:
        frame, wanted = checker.frame(tried)
        for walk in walk_from(checker.network, frame, tried.host):
            for fate in walk.of("delivered") if wanted.functions and not tried.kind else ():
                if fate.visits[0].hop > 1:
                    return fate
    raise AssertionError("no packet goes through functions")


def bypassing() -> tuple[FlowState, Hop]:
    """A state in which the bucket for a link that is down leads past the functions: to whom the packet is for."""
    compiled, verified = small()
    checker = Checker(POLICY, TOPOLOGY, compiled.state, compiled.allocation)
    fate = chained(checker, verified.evidence)
    first, label = fate.hops[0], fate.hops[-1].packet["eth_dst"]
    assert first.out_port is not None
    ports = {end.port for link in TOPOLOGY.links for end in (link.a, link.b) if end.switch == first.switch}
    other = min(port for port in ports if isinstance(port, int) and port != first.out_port)
    state = compiled.state
    for group in compiled.state[first.switch].groups.values():
        if group.kind == "ff" and group.buckets[0].watch_port == first.out_port:
            past = Bucket((SetField("eth_dst", label, MAC), Output(other)), watch_port=other)
            state = put(state, first.switch, replace(group, buckets=(group.buckets[0], past)))
    return state, first


def test_a_bucket_that_leads_past_a_function_is_found() -> None:
    state, first = bypassing()
    outcome = verify_failures(verified_of(POLICY, TOPOLOGY, state, small()[0].allocation))
    assert not outcome.ok
    assert {fault.failure for fault in outcome.faults} == {
        f"link {link.a}-{link.b} is down" for link in TOPOLOGY.links
        for end in (link.a, link.b) if (end.switch, end.port) == (first.switch, first.out_port)}
    assert any("should meet fw" in fault.finding.what for fault in outcome.faults)
    example = outcome.to_json()["counterexample"]
    assert example["failure"] == outcome.faults[0].failure and example["walk"]


@pytest.mark.parametrize("says, does", [("closed", "open"), ("open", "closed"), ("reject", "closed")])
def test_another_answer_than_on_failure_says_is_found(says: str, does: str) -> None:
    def failing(how: str) -> Policy:
        tenant = POLICY.tenants["default"]
        functions = {**tenant.functions, "fw": replace(tenant.functions["fw"], on_failure=how)}
        return Policy({"default": replace(tenant, functions=functions)})
    compiled = compile_next(None, failing(says), TOPOLOGY)
    verified = verified_of(failing(says), TOPOLOGY, compiled.state, compiled.allocation)
    assert verify_failures(verified, answering(failing(says), compiled)).ok
    outcome = verify_failures(verified, answering(failing(does), compiled))
    assert {fault.failure for fault in outcome.faults} == {"no instance of function fw answers"}


def test_a_controller_that_does_nothing_is_found() -> None:
    """By what becomes of packets when no instance is left; one that does not answer only loses them."""
    compiled, verified = small()
    outcome = verify_failures(verified, lambda topology: (compiled.state, compiled.allocation))
    assert {fault.failure for fault in outcome.faults} == {"no instance of function fw answers"}


def stretches(gate: Gate) -> int:
    found = [stretch for _, known in gate.shapes for stretch in known.values()]
    return len(found) + sum(stretches(behind) for stretch in found for behind in stretch.answers.values())


def test_what_was_verified_is_left_as_it_was() -> None:
    compiled = compile_next(None, POLICY, TOPOLOGY)
    verified = verified_of(POLICY, TOPOLOGY, compiled.state, compiled.allocation)

    def known() -> tuple[int, int]:
        lookups = sum(len(list(verified.witness.known((switch, table))))
                      for switch in TOPOLOGY.switches for table in range(64))
        return sum(map(stretches, verified.network.gates.values())), lookups

    before = known()
    assert min(before) > 0
    verify_failures(verified, answering(POLICY, compiled))
    assert known() == before


@settings(deadline=None, max_examples=2, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_what_trying_everything_finds_is_found(random) -> None:  # type: ignore[no-untyped-def]
    """Alternates that lead anywhere, also with somebody else's label."""
    compiled = compile(POLICY, TOPOLOGY)
    state, allocation = compiled
    places = [(switch, group) for switch, held in state.items() for group in held.groups.values()
              if group.kind == "ff" and len(group.buckets) > 1]
    labels = sorted({action.value for held in state.values() for group in held.groups.values()
                     for bucket in group.buckets for action in bucket.actions
                     if isinstance(action, SetField) and action.field == "eth_dst"})
    for switch, group in random.sample(places, min(4, len(places))):
        own = sorted({bucket.watch_port or 0 for other, each in places if other == switch for bucket in each.buckets})
        port = random.choice(own)
        label = SetField("eth_dst", random.choice(labels), MAC)
        actions = random.choice(((Output(port),), (label, Output(port))))
        wrong = replace(group, buckets=(group.buckets[0], Bucket(actions, watch_port=port)))
        state = put(state, switch, wrong)
    verified = verified_of(POLICY, TOPOLOGY, state, allocation)
    for failure in failures_of(POLICY, TOPOLOGY):
        if failure.unready:
            continue
        assert verify_failures(verified, failures=[failure]).ok is not bool(list(everything(verified, failure)))


def everything(verified: Verified, failure: Failure) -> Iterable[str]:
    """What is found when every class goes every way, on switches that nothing is known of."""
    network = verified.network
    checker = copy(Checker(POLICY, network.topology, network.state, verified.evaluator.allocation))
    checker.judge = _Lenient(checker.evaluator, network.topology, checker.judge.functions)
    checker.network = replace(checker.network.without(failure.ends), gates={})
    for tried in verified.evidence:
        yield from (found.what for found in checker.check(tried) if not found.loss)


@pytest.mark.parametrize("name", ["firewall_ids", "layer7", "insertion", "branching"])
def test_a_function_that_fails_touches_what_it_is_about(name: str) -> None:
    """What is tried again for it finds what trying everything does, with rules that know nothing of the failure."""
    examined = Policy.load(str(next(path for path in (ROOT / "policies").iterdir() if path.stem == name)))
    topology = Topology.load(str(ROOT / "topologies" / f"{name}.yaml"))
    state, allocation = compile(examined, topology)
    verified = verified_of(examined, topology, state, allocation)
    outcomes = []
    for failure in failures_of(examined, topology):
        if not failure.unready:
            continue
        without = replace(topology, unready=failure.unready)
        report, _ = verify_change(examined, without, state, allocation, verified)
        anew, _ = verify_change(examined, without, state, allocation)
        assert report.ok is anew.ok
        outcomes.append(report.ok)
    assert not all(outcomes)
