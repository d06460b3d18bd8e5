"""What a change is about, where no rule of it tells."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import examples

from controller_app.model.allocation import SLOTS
from controller_app.model.policy import Policy, Tenant
from controller_app.pipeline.compile import compile_next
from controller_app.reconcile.extent import Held
from controller_app.reconcile.plan import plan

TWO = examples.POLICY + "  other: {network: vips, selector: tier=web, ports: 80/tcp}\n"
POLICY = TWO.replace("STICKINESS", "connection").replace("RETURN", "symmetric")


def affected(before: Policy, after: Policy) -> tuple[tuple[str, ...], tuple[str, ...]]:
    topology = examples.network()
    first = compile_next(None, before, topology)
    then = compile_next(first, after, topology)
    found = plan(then.state, first.state, (after, then.allocation), (before, first.allocation))
    return found.chains, found.services


def compared(before: Policy, after: Policy, **known: Any) -> dict[str, Any]:
    topology = examples.network()
    first = compile_next(None, before, topology)
    then = compile_next(first, after, topology)
    found = plan(then.state, first.state, (after, then.allocation), (before, first.allocation), **known)
    return json.loads(json.dumps(found.to_json()))


def parsed(text: str = POLICY) -> Policy:
    return examples.policy(text=text)


def test_a_drain_is_about_every_service_whose_slots_move() -> None:
    draining = POLICY.replace("web2: {host: w2, ", "web2: {host: w2, drain: true, ")
    assert affected(parsed(), parsed(draining)) == ((), ("app-svc", "other"))
    assert affected(parsed(draining), parsed()) == ((), ("app-svc", "other"))


def test_a_weight_is_about_the_chains_through_its_function() -> None:
    assert affected(parsed(), parsed(POLICY.replace("host: fw1, weight: 2", "host: fw1"))) == (("inspect",), ())


def test_labels_that_choose_nobody_are_about_nothing() -> None:
    assert affected(parsed(), parsed(POLICY.replace("labels: {tier: web}", "labels: {tier: web, a: b}"))) == ((), ())


def test_who_goes_is_said_once_and_what_is_gone_with_him_too() -> None:
    tenant = parsed().tenants["default"]
    alone = replace(tenant, services={}, classifiers={}, chains={})
    assert affected(parsed(), Policy({"default": alone, "blue": Tenant("blue")}))[1] == ("app-svc", "other")


WEIGHED = POLICY.replace("host: fw1, weight: 2", "host: fw1")
OPEN = {("default", "app-svc", "web1"): 10, ("default", "app-svc", "web2"): 20, ("default", "other", "web1"): 1}


def test_rules_groups_and_slots_are_counted_apart_and_add_up() -> None:
    found = compared(parsed(), parsed(WEIGHED))
    assert found["changes"]
    for counts in found["changes"].values():
        for word in ("add", "modify", "delete"):
            assert counts[word] == sum(counts[kind][word] for kind in ("rules", "groups", "meters"))
    # From 171 and 85 slots to 128 and 128: no more than that change hands.
    changed = {name: each["slots"]["modify"] for name, each in found["changes"].items() if each["groups"]["modify"]}
    assert set(changed) == {"s1", "s3", "s4"}
    for name, slots in changed.items():
        assert 0 < slots <= 43 * found["changes"][name]["groups"]["modify"]
        assert found["changes"][name]["slots"]["add"] == 0
    first = compared(Policy(), parsed())
    for name, state in compile_next(None, parsed(), examples.network()).state.items():
        choices = sum(group.kind == "select" for group in state.groups.values())
        assert first["changes"][name]["slots"] == {"add": SLOTS * choices, "modify": 0, "delete": 0}
    gone = compared(parsed(), Policy())
    assert gone["changes"]["s1"]["slots"]["delete"] == first["changes"]["s1"]["slots"]["add"] > 0


def test_slots_that_rules_look_up_count_too() -> None:
    topology = examples.network()
    states = []
    previous = None
    for text in (POLICY, WEIGHED):
        previous = compile_next(previous, parsed(text), topology, portable=True)
        states.append((previous.state, (parsed(text), previous.allocation)))
    found = plan(states[1][0], states[0][0], states[1][1], states[0][1]).to_json()["changes"]["s1"]
    assert found["groups"] == {"add": 0, "modify": 0, "delete": 0}
    assert found["slots"]["modify"] + found["slots"]["add"] >= 43


def test_table_space_counts_others_and_says_what_a_switch_takes() -> None:
    held = {"s1": Held({120: 7, 5: 1}, {120: 50}, 1000, None)}
    found = compared(Policy(), parsed(), held=held)["space"]
    tables = {table["number"]: table for table in found["s1"]["tables"]}
    topology = examples.network()
    after = compile_next(None, parsed(), topology).state["s1"]
    assert tables[120] == {
        "table": "classify", "number": 120, "before": tables[120]["before"],
        "after": sum(key.table == 120 for key in after.flows), "foreign": 7, "most": 50,
    }  # fmt: skip
    assert tables[5] == {"table": "5", "number": 5, "before": 0, "after": 0, "foreign": 1, "most": None}
    assert found["s1"]["groups"] == {"before": 2, "after": len(after.groups), "most": 1000}
    assert found["s1"]["meters"]["most"] is None
    assert {table["most"] for table in found["s2"]["tables"]} == {None}


def test_connections_that_are_remembered_stay() -> None:
    (fw,) = compared(parsed(), parsed(WEIGHED), known=OPEN)["moves"]
    assert (fw["kind"], fw["name"], fw["slots"], fw["keeps"], fw["connections"]) == ("function", "fw", 43, True, 0)


def test_without_stickiness_as_many_connections_move_as_slots() -> None:
    def forgetful(text: str) -> Policy:
        return parsed(text.replace("stickiness: connection", "stickiness: none"))

    (fw,) = compared(forgetful(POLICY), forgetful(WEIGHED), known=OPEN)["moves"]
    # It carries also what is no service's: nobody knows how much that is.
    assert (fw["keeps"], fw["open"], fw["connections"]) == (False, None, None)
    start = POLICY.index("  - {name: direct")
    alone = POLICY[:start] + POLICY[POLICY.index("  - {name: no-telnet") :]
    lighter = alone.replace("host: fw1, weight: 2", "host: fw1")
    (fw,) = compared(forgetful(alone), forgetful(lighter), known=OPEN)["moves"]
    assert (fw["keeps"], fw["open"], fw["connections"]) == (False, 30, round(30 * 43 / 256))


def test_who_drains_keeps_his_connections_and_who_goes_does_not() -> None:
    drained = parsed(POLICY.replace("web2: {host: w2, ", "web2: {host: w2, drain: true, "))
    app, other = compared(parsed(), drained, known=OPEN)["moves"]
    assert (app["name"], app["keeps"], app["open"], app["connections"]) == ("app-svc", True, 30, 0)
    assert (other["name"], other["open"]) == ("other", 1)
    without = parsed(POLICY.replace("web2: {host: w2, network: servers, labels: {tier: web}}", "web2: {host: w2}"))
    app, other = compared(parsed(), without, known=OPEN)["moves"]
    assert (app["keeps"], app["open"], app["connections"]) == (False, 30, 20)
    assert (other["keeps"], other["open"], other["connections"]) == (False, 1, None)


def test_the_same_again_moves_nothing() -> None:
    found = compared(parsed(), parsed())
    assert (found["changes"], found["moves"], found["space"]) == ({}, [], {})
