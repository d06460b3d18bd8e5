"""What services become: who has rules for them, who is chosen where, and what a change of a provider changes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from service_examples import network, policy, with_endpoint

from controller_app.model.allocation import Allocation
from controller_app.model.flow import FlowState
from controller_app.model.policy import Party, Policy
from controller_app.pipeline.compile import compile
from controller_app.pipeline.cookies import object_name
from controller_app.pipeline.tables import TABLE_NAMES
from controller_app.policy.selectors_grammar import parse_selector
from controller_app.verification.verify import verify


def shares(made: Allocation, table: str = "services/default/app") -> Counter[str]:
    return Counter(made.slots[table])


def of_service(state: FlowState, made: Allocation, switch: str) -> list[str]:
    """The tables of a switch in which the service has flows."""
    return [TABLE_NAMES[flow.table] for flow in state[switch].flows.values()
            if object_name(flow.cookie, made) == "services/default/app"]


def test_nobody_gets_slots_who_does_not_serve() -> None:
    gone = replace(network(), unready=frozenset({"services/default/app/p2"}))
    drained = with_endpoint(policy(), "p3", drain=True)
    _, made = compile(drained, gone)
    assert set(shares(made)) == {"p1", "p4"}
    # who is to go serves again where nobody else is left
    alone = frozenset(f"services/default/app/{name}" for name in ("p1", "p2", "p4"))
    _, made = compile(drained, replace(network(), unready=alone), made)
    assert set(shares(made)) == {"p3"}


@pytest.mark.parametrize(("prefer", "tables"), [
    ("switch", {"switch:s1": {"p1"}, "switch:s2": {"p2"}, "switch:s3": {"p3"}, "switch:s4": {"p4"}}),
    ("rack", {"rack:r1": {"p1", "p2"}, "rack:r2": {"p3"}, "rack:r3": {"p4"}}),
    ("zone", {"zone:z1": {"p1", "p2", "p3"}, "zone:z2": {"p4"}}),
    ("cost", {"switch:s1": {"p1"}, "switch:s2": {"p2"}, "switch:s3": {"p3"}, "switch:s4": {"p4"}}),
])
def test_who_is_near_comes_first(prefer: str, tables: dict[str, set[str]]) -> None:
    wanted = policy(prefer=prefer)
    state, made = compile(wanted, network())
    near = {name.partition("@")[2]: set(table) for name, table in made.slots.items() if "@" in name}
    assert near == tables
    report = verify(wanted, network(), state, made)
    assert report.ok, report.counterexample


def test_where_nobody_is_near_the_next_wider_place_serves() -> None:
    wanted = policy(prefer="switch")
    without = replace(network(), unready=frozenset({"services/default/app/p1"}))
    state, made = compile(wanted, without)
    assert set(made.slots["services/default/app@rack:r1"]) == {"p2"}
    report = verify(wanted, without, state, made)
    assert report.ok, report.counterexample


@pytest.mark.parametrize("changes", [
    {}, {"session_affinity": 600.0}, {"expose": "internal"}, {"prefer": "rack", "session_affinity": 600.0},
    {"expose": (Party("host", "c1"), Party("endpoint", "p2"))},
])
@pytest.mark.parametrize("stickiness", ["none", "connection"])
@pytest.mark.parametrize("portable", [False, True])
def test_every_kind_of_service_is_what_the_policy_says(changes: dict[str, object], stickiness: str,
                                                       portable: bool) -> None:
    wanted = policy(**changes)
    tenant = wanted.tenants["default"]
    chains = {"walled": replace(tenant.chains["walled"], stickiness=stickiness)}
    wanted = Policy({"default": replace(tenant, chains=chains)})
    state, made = compile(wanted, network(), portable=portable)
    report = verify(wanted, network(), state, made)
    assert report.ok, report.counterexample


def test_no_rule_is_where_nobody_may_ask_and_nobody_serves() -> None:
    wanted = policy(expose=(Party("host", "c1"),), selector=parse_selector("tier=none"))
    tenant = wanted.tenants["default"]
    some = with_endpoint(Policy({"default": replace(tenant, classifiers={})}), "p2", labels={"tier": "none"})
    state, made = compile(some, network())
    assert {switch for switch in state if of_service(state, made, switch)} == {"s1", "s2"}
    groups = {switch for switch, held in state.items() if held.groups}
    assert groups == {"s1"}


def test_what_a_change_of_a_weight_sends() -> None:
    """A group an edge for each list of functions in front of the service, and nothing else."""
    wanted = policy()
    before, made = compile(wanted, network())
    after, _ = compile(with_endpoint(wanted, "p2", weight=3), network(), made)
    for switch, held in before.items():
        assert held.flows == after[switch].flows
        assert held.groups.keys() == after[switch].groups.keys()
    changed = {switch: sum(after[switch].groups[n] != group for n, group in held.groups.items())
               for switch, held in before.items()}
    assert changed == {"s1": 1, "s2": 1, "s3": 1, "s4": 2}


def test_who_left_is_not_taken_again() -> None:
    wanted = policy()
    _, made = compile(wanted, network())
    gone = replace(network(), unready=frozenset({"services/default/app/p2"}))
    without, later = compile(wanted, gone, made)
    left = [flow for flow in without["s1"].flows.values()
            if TABLE_NAMES[flow.table] == "pinned-provider" and flow.priority >= 40_000
            and any(condition.field == "ct_label" for condition in flow.match)]
    assert len(left) == 1
    again, _ = compile(wanted, network(), later)
    first, _ = compile(wanted, network())
    assert again["s1"].flows.keys() == first["s1"].flows.keys()


