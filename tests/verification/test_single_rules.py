"""Rules for one member of many, and for a part of a range, are tried as well: verification finds each that is wrong."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from examples import NETWORK, POLICY, network, policy

from controller_app.model.flow import Ct, Flow, FlowState, SwitchState, match
from controller_app.pipeline.compile import compile
from controller_app.pipeline.tables import NUMBER
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.topology_file import parse_topology
from controller_app.verification.boundaries import Boundaries, Run, runs_of
from controller_app.verification.classes import PacketClass
from controller_app.verification.packet import TCP
from controller_app.verification.verify import Checker, Report, verify


def changed(state: FlowState, switch: str, flow: Flow, now: Flow | None) -> FlowState:
    """The state with another flow, or none, in the place of one."""
    held = state[switch]
    flows = {key: each for key, each in held.flows.items() if each is not flow}
    if now is not None:
        flows[now.key] = now
    return {**state, switch: SwitchState(flows, held.groups, held.meters)}


def whats(report: Report) -> str:
    return " | ".join(finding.what for finding in report.findings)


def test_ports_of_flows_are_runs() -> None:
    between = {"ipv4_src": (0x0A000000, 0xFF000000), "ipv4_dst": 0x0A020015}
    flows = [Flow(120, 9, match(eth_type=0x0800, ip_proto=6, tcp_dst=(24, 0xFFFC), **between)),
             Flow(120, 8, match(eth_type=0x86DD, ip_proto=17, udp_src=(52, 0xFFFE))),
             Flow(120, 8, match(eth_type=0x86DD, ip_proto=17, udp_src=80)),  # is no part of a range
             Flow(120, 7, match(eth_type=0x0800, ip_proto=6, tcp_dst=(1, 1)))]  # odd ports are no range
    runs = runs_of(flows)
    assert runs == {Run(4, (0x0A000000, 0xFF000000), (0x0A020015, 0xFFFFFFFF), "tcp", False, 24, 27),
                    Run(6, (0, 0), (0, 0), "udp", True, 52, 53)}
    found = Boundaries(runs, {})
    assert found.between(ip_address("10.1.0.11"), ip_address("10.2.0.21"), "tcp") == ([], [(24, 27)])
    assert found.between(ip_address("10.1.0.11"), ip_address("10.2.0.22"), "tcp") == ([], [])
    assert found.between(ip_address("fd01::11"), ip_address("fd02::21"), "udp") == ([(52, 53)], [])
    known = Boundaries(runs, {"udp": {52, 54}})
    assert known.between(ip_address("fd01::11"), ip_address("fd02::21"), "udp") == ([], [])


def test_each_part_of_a_range_of_ports() -> None:
    state, allocation = compile(policy(), network())
    parts = [flow for flow in state["s1"].flows.values() if flow.table == NUMBER["classify"]
             and any(item.field == "tcp_dst" and item.mask != 0xFFFF and 20 <= item.value < 30 for item in flow.match)]
    assert len(parts) > 2
    for flow in parts:
        report = verify(policy(), network(), changed(state, "s1", flow, None), allocation)
        assert "meets no function and should meet fw" in whats(report), flow


def test_each_member_of_what_a_classifier_is_from() -> None:
    hosts = [f"c{number}" for number in range(5)]
    attached = "".join(f"  {name}: {{attach: s1:{50 + n}, ip: 10.1.0.{50 + n}, mac: 02:00:00:00:05:{n:02x}}}\n"
                       for n, name in enumerate(hosts))
    topology = parse_topology(NETWORK + attached, "network.yaml")
    endpoints = "".join(f"  {name}: {{host: {name}, network: clients, labels: {{role: desk}}}}\n" for name in hosts)
    text = POLICY.replace("endpoints:\n", "endpoints:\n" + endpoints).replace("STICKINESS", "none").replace(
        "RETURN", "symmetric") + "\n"
    text = text.replace("classifiers:\n", "classifiers:\n  - {name: desks, from: {selector: role=desk}, "
                        "to: {endpoint: web3}, traffic: [tcp/9000], then: deny}\n")
    several = parse_policy({"policy.yaml": text}).policy
    state, allocation = compile(several, topology)
    members = [flow for flow in state["s1"].flows.values() if flow.table == NUMBER["classify"]
               and any(item.field == "tcp_dst" for item in flow.match)
               and any(item.field == "ipv4_src" and item.value & 0xFF in range(50, 55) for item in flow.match)]
    assert len(members) >= len(hosts)
    for flow in members:
        report = verify(several, topology, changed(state, "s1", flow, None), allocation)
        assert not report.ok, flow


def test_a_provider_that_asks_its_own_service() -> None:
    """It is asked from the address of the service, and its answer comes back to itself."""
    state, allocation = compile(policy(), network())
    assert verify(policy(), network(), state, allocation).ok
    back = [(name, flow) for name, held in state.items() for flow in held.flows.values()
            if flow.table == NUMBER["guard"] and any(isinstance(action, Ct) and action.nat for action in flow.actions)]
    there = [(name, flow) for name, held in state.items() for flow in held.flows.values()
             if flow.table == NUMBER["hairpin"] and flow.match]
    assert len(back) >= 3 and len(there) >= 3
    for name, flow in (*back, *there):
        without = verify(policy(), network(), changed(state, name, flow, None), allocation)
        assert not without.ok, flow
    name, flow = there[0]
    nothing = verify(policy(), network(), changed(state, name, flow, replace(flow, actions=(), goto=None)), allocation)
    assert not nothing.ok


def test_a_provider_that_asks_itself_from_the_port_it_serves_at() -> None:
    """Nothing tells its answers from its questions: only the first packet is judged."""
    from_anywhere = POLICY.replace("8080:80/tcp", "80:80/tcp").replace("tcp/8080", "tcp/80").replace(
        "{name: web, from: {network: clients}", "{name: web, from: any")
    several = policy(text=from_anywhere, stickiness="none")
    state, allocation = compile(several, network())
    checker = Checker(several, network(), state, allocation)
    for host, own in (("w1", "10.2.0.21"), ("w2", "10.2.0.22"), ("w3", "10.2.0.23")):
        asked = PacketClass("default", host, ip_address(own), ip_address("100.1.1.3"), TCP, 80, 80)
        assert checker.check(asked) == []
