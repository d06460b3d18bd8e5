"""Verification finds what is wrong with a flow state, and nothing where nothing is wrong."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from examples import network, policy

from controller_app.model.flow import Action, Flow, FlowState, Output, SetField, SwitchState
from controller_app.model.position import PolicyError
from controller_app.model.topology import End, Topology
from controller_app.pipeline.compile import compile
from controller_app.pipeline.ofctl import format_state, parse_state
from controller_app.pipeline.tables import NUMBER
from controller_app.verification.trace import PacketSpec, TraceError, trace
from controller_app.verification.verify import Report, must_hold, verify

TOPOLOGY = network()
POLICY = policy()
STATE, ALLOCATION = compile(POLICY, TOPOLOGY)


@pytest.mark.parametrize("stickiness", ["connection", "none"])
@pytest.mark.parametrize("returns", ["symmetric", "direct"])
def test_what_is_compiled_is_right(stickiness: str, returns: str) -> None:
    report = verify(policy(stickiness, returns), TOPOLOGY)
    assert report.ok, report.counterexample
    assert report.classes > 100
    assert report.to_json() == {"ok": True, "classes": report.classes, "counterexample": None}


def test_what_was_printed_and_read_back_is_right() -> None:
    read = {name: parse_state(*format_state(state)) for name, state in STATE.items()}
    assert verify(POLICY, TOPOLOGY, read, ALLOCATION).ok


def test_flows_of_any_cookie_are_walked() -> None:
    anonymous = change(STATE, lambda switch, flow: replace(flow, cookie=0))
    assert verify(POLICY, TOPOLOGY, anonymous).ok


def change(state: FlowState, alter: object) -> FlowState:
    """Every flow altered, or left out where `alter` gives None."""
    changed = {}
    for name, switch in state.items():
        flows = [alter(name, flow) for flow in switch.flows.values()]  # type: ignore[operator]
        changed[name] = SwitchState({flow.key: flow for flow in flows if flow is not None}, switch.groups)
    return changed


def without(table: str, switch: str, **fields: int) -> Report:
    """Verify with the flows of one table of one switch gone that match these values (of some bits)."""
    def alter(name: str, flow: Flow) -> Flow | None:
        there = {item.field: item.value for item in flow.match}
        gone = name == switch and flow.table == NUMBER[table] and fields.items() <= there.items()
        return None if gone else flow
    return verify(POLICY, TOPOLOGY, change(STATE, alter), ALLOCATION)


def whats(report: Report) -> str:
    return " | ".join(finding.what for finding in report.findings)


def test_a_black_hole_is_found() -> None:
    report = without("transit", "s2")
    assert "nobody receives it" in whats(report)
    example = report.counterexample
    assert example is not None
    assert example["walk"][-1]["switch"] == "s2"
    assert example["walk"][-1]["rules"][-1]["table"] == "admission"


def test_a_bypass_is_found_and_its_classifier_is_named() -> None:
    report = without("classify", "s1", ip_proto=6, tcp_dst=8080)
    assert "meets no function and should meet fw" in whats(report)
    example = report.counterexample
    assert example is not None
    assert (example["classifier"], example["position"]) == ("web", "policy.yaml:16:5")


def test_a_deny_that_is_gone_is_found() -> None:
    assert "it is denied, and w1 receives it" in whats(without("classify", "s1", tcp_dst=23))


def test_a_tap_without_copies_is_found() -> None:
    assert "tap ids gets 0 copies" in whats(without("tap", "s4"))


def test_a_lost_mac_a_lost_ttl_and_a_wrong_arm_are_found() -> None:
    def swap_arms(name: str, flow: Flow) -> Flow:
        ports = {21: 22, 22: 21}
        actions: tuple[Action, ...] = tuple(
            Output(ports.get(action.port, action.port)) if isinstance(action, Output) else action
            for action in flow.actions)
        return replace(flow, actions=actions) if name == "s2" else flow

    def no_mac(name: str, flow: Flow) -> Flow:
        actions = tuple(replace(action, value=7) if isinstance(action, SetField) else action
                        for action in flow.actions)
        return replace(flow, actions=actions) if flow.table == NUMBER["emit"] else flow

    def no_ttl(name: str, flow: Flow) -> Flow:
        return replace(flow, actions=flow.actions[1:]) if flow.table == NUMBER["leave"] else flow

    def found(alter: object) -> str:
        return whats(verify(POLICY, TOPOLOGY, change(STATE, alter), ALLOCATION))

    assert "its MAC is 02:00:00:00" in found(no_mac)
    assert "its TTL is 64 and should be 63" in found(no_ttl)
    assert "nobody receives it" in found(swap_arms)


def test_an_untranslated_service_is_found() -> None:
    assert "it arrives for 100.1.1.3" in whats(without("translate", "s4", tcp_dst=8080))
    assert "nobody" in whats(without("returning", "s4")) or "comes from" in whats(without("returning", "s4"))


def test_a_connection_that_is_not_remembered_is_found() -> None:
    report = without("commit", "s1")
    assert not report.ok


def test_a_host_that_forges_labels_is_found() -> None:
    # Labels are believed from everyone once the rule against them comes first and lets them on.
    def alter(name: str, flow: Flow) -> Flow | None:
        fields = {item.field for item in flow.match}
        if flow.table != NUMBER["admission"]:
            return flow
        if "in_port" not in fields and "eth_dst" in fields and not flow.actions:
            return replace(flow, priority=45_000, goto=NUMBER["transit"])
        return flow

    report = verify(POLICY, TOPOLOGY, change(STATE, alter), ALLOCATION)
    assert "past the functions" in whats(report)


def test_a_loop_is_found() -> None:
    def alter(name: str, flow: Flow) -> Flow:
        if flow.table == NUMBER["transit"] and name in ("s1", "s2") and flow.actions:
            return replace(flow, actions=(SetField("in_port", 0xFFFF, 0xFFFF), Output(1)))
        return flow

    assert "it loops" in whats(verify(POLICY, TOPOLOGY, change(STATE, alter), ALLOCATION))


def test_a_network_without_hosts_has_no_classes() -> None:
    assert verify(POLICY, Topology(TOPOLOGY.switches, TOPOLOGY.links), {}) == Report(0)


ASKED = PacketSpec("h1", ip_address("100.1.1.3"), "tcp", 40000, 8080)


def test_a_trace_lists_candidates_until_the_slot_is_known() -> None:
    document = trace(POLICY, TOPOLOGY, STATE, ALLOCATION, ASKED)
    assert sum(way["slots"] for way in document["candidates"]) == 256
    assert {tuple(way["functions"]) for way in document["candidates"]} == {("fw1",), ("fw2",)}
    for slot in (0, 100, 255):
        one = trace(POLICY, TOPOLOGY, STATE, ALLOCATION, ASKED, slot)
        assert "candidates" not in one
        assert (one["verdict"], one["return_verdict"], one["taps"]) == ("delivered", "delivered", ["ids1"])
        objects = {(rule["table"], rule["object"]) for hop in one["forward"] for rule in hop["rules"]}
        assert ("classify", "classifiers/web") in objects
        assert one["forward"][0]["switch"] == "s1" == one["return"][-1]["switch"]
        passed = {hop["in_port"] for hop in one["return"]}
        assert {21, 22} & passed


def test_a_trace_of_a_denied_packet_ends_at_the_classifier() -> None:
    spec = PacketSpec("h1", ip_address("10.2.0.21"), "tcp", 40000, 23)
    document = trace(POLICY, TOPOLOGY, STATE, ALLOCATION, spec)
    assert (document["verdict"], document["return"]) == ("dropped", [])
    rule = document["forward"][-1]["rules"][-1]
    assert (rule["table"], rule["object"], rule["actions"]) == ("classify", "classifiers/no-telnet", "drop")
    assert rule["position"] == document["position"] == str(POLICY.tenants["default"].classifiers["no-telnet"].where)
    assert "counters" not in rule


@pytest.mark.parametrize(("spec", "says"), [
    (replace(ASKED, host="nobody"), "nobody"),
    (replace(ASKED, host="fw1"), "fw1"),
    (replace(ASKED, protocol="sctp"), "sctp"),
    (PacketSpec("h2", ip_address("fd02::21")), "IPv6"),
])
def test_a_packet_that_cannot_be_sent(spec: PacketSpec, says: str) -> None:
    with pytest.raises(TraceError, match=says):
        trace(POLICY, TOPOLOGY, STATE, ALLOCATION, spec)


def test_what_fails_is_an_error_with_its_place() -> None:
    with pytest.raises(PolicyError) as caught:
        must_hold(POLICY, TOPOLOGY, change(STATE, lambda name, flow: None if flow.table == NUMBER["advance"] else flow),
                  ALLOCATION)
    (problem,) = caught.value.diagnostics
    assert problem.position.line > 0
    assert "do not do what it says" in problem.what
    assert must_hold(POLICY, TOPOLOGY, STATE, ALLOCATION)[0].ok


def test_a_broken_network_is_no_reason_to_refuse_a_policy_but_a_bypass_is() -> None:
    broken = replace(TOPOLOGY, links=TOPOLOGY.links[:1], down=frozenset({End("s2", 21), End("s3", 21)}))
    state, allocation = compile(POLICY, broken)
    assert not verify(POLICY, broken, state, allocation).ok  # packets are lost
    assert must_hold(POLICY, broken, state, allocation)[0].ok
    direct = replace(TOPOLOGY, down=broken.down)
    bypass = change(compile(POLICY, direct)[0], lambda name, flow: replace(flow, goto=NUMBER["copies"], actions=())
                    if flow.table == NUMBER["remember"] else flow)
    with pytest.raises(PolicyError, match="should meet fw"):
        must_hold(POLICY, direct, bypass, allocation)
