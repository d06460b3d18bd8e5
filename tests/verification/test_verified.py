"""What was verified before and is not touched need not be tried again: the findings are those of trying everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from controller_app.model.allocation import Allocation
from controller_app.model.flow import Flow, FlowState, Output, SwitchState, match
from controller_app.model.policy import Party, Policy, Tenant
from controller_app.model.position import PolicyError
from controller_app.model.topology import End, Host, Link, Switch, Topology
from controller_app.pipeline.compile import Compiled, compile_next
from controller_app.policy.policy_file import parse_policy
from controller_app.verification.verified import Verified
from controller_app.verification.verify import Report, verify_change

ROOT = Path(__file__).parents[2]
EXAMPLES = ("firewall_ids", "function_modes", "branching", "services")
slow = settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))


LEAVES = 5
SERVICES = """
version: 1
networks:
  clients: {subnet: 10.1.0.0/24, gateway: 10.1.0.254}
  servers: {subnet: 10.2.0.0/24, gateway: 10.2.0.254}
  vips: {subnet: 100.1.1.0/24, kind: service}
endpoints:
  c1: {host: c1, network: clients}
  c2: {host: c2, network: clients, labels: {tier: web}}
  p1: {host: p1, network: servers, labels: {tier: web}}
  p2: {host: p2, network: servers, labels: {tier: web}}
  p3: {host: p3, network: servers, labels: {app: web}}
functions:
  fw: {kind: firewall, instances: {fw1: {host: fw1}, fw2: {host: fw2}}}
chains:
  guard: {through: [fw]}
  none: {through: [fw], stickiness: none}
services:
  tier: {network: vips, ip: 100.1.1.3, selector: tier=web, ports: [80:8080/tcp, 53:53/udp]}
  app: {network: vips, ip: 100.1.1.4, selector: app=web, ports: [80:8080/tcp], expose: [{endpoint: c1}]}
classifiers:
  - {name: to-tier, from: {network: clients}, to: {service: tier}, traffic: [tcp/80], then: {chain: guard}}
  - {name: direct, from: {network: clients}, to: {endpoint: p3}, then: {chain: none}}
"""


def leaf_spine() -> Topology:
    """A spine and leaves with a host and an arm of a firewall each."""
    switches = {"spine": Switch("spine", 99)} | {f"s{n}": Switch(f"s{n}", n) for n in range(1, LEAVES + 1)}
    links = tuple(Link(End("spine", n), End(f"s{n}", 1)) for n in range(1, LEAVES + 1))
    hosts = {name: Host(name, {"": End(f"s{n}", 2)}, (ip_address(ip),), f"02:00:00:00:00:{n:02x}", declared=True)
             for n, (name, ip) in enumerate((("c1", "10.1.0.1"), ("c2", "10.1.0.2"), ("p1", "10.2.0.1"),
                                             ("p2", "10.2.0.2"), ("p3", "10.2.0.3")), 1)}
    firewalls = {f"fw{n}": Host(f"fw{n}", {"in": End(f"s{n}", 3), "out": End(f"s{n}", 4)}) for n in (1, 2)}
    return Topology(switches, links, {**hosts, **firewalls})


@cache
def example(name: str) -> tuple[Policy, Topology, Compiled, Verified]:
    if name == "services":
        topology, policy = leaf_spine(), parse_policy({"p.yaml": SERVICES}).policy
    else:
        topology = Topology.load(str(ROOT / "topologies" / f"{name}.yaml"))
        policy = Policy.load(str(ROOT / "policies" / f"{name}.yaml"))
    compiled = compile_next(None, policy, topology)
    report, verified = verify_change(policy, topology, compiled.state, compiled.allocation)
    assert report.ok and report.tried == report.classes
    return policy, topology, compiled, verified


def both(policy: Policy, topology: Topology, state: FlowState, allocation: Allocation,
         before: Verified) -> tuple[Report, Report]:
    """Verified with what is known, and without."""
    return (verify_change(policy, topology, state, allocation, before)[0],
            verify_change(policy, topology, state, allocation)[0])


def same(known: Report, anew: Report) -> None:
    assert known.findings == anew.findings
    assert known.classes == anew.classes


@pytest.mark.parametrize("name", EXAMPLES)
def test_nothing_is_tried_again_where_nothing_changed(name: str) -> None:
    policy, topology, compiled, verified = example(name)
    report, again = verify_change(policy, topology, compiled.state, compiled.allocation, verified)
    assert (report.tried, report.ok) == (0, True)
    assert again.evidence == verified.evidence


def _gone(flow: Flow) -> None:
    return None


def _dropping(flow: Flow) -> Flow:
    return replace(flow, actions=(), goto=None)


def _elsewhere(flow: Flow) -> Flow:
    return replace(flow, actions=(Output(1),), goto=None)


def _above(flow: Flow) -> Flow:
    return replace(flow, priority=flow.priority + 1, actions=(), goto=None)


def _wider(flow: Flow) -> Flow:
    """Another flow above it that looks at fewer fields."""
    return replace(flow, priority=flow.priority + 1, match=flow.match[:-1], actions=(), goto=None)


def _other_field(flow: Flow) -> Flow:
    """Another flow above it that looks at a field which perhaps no other flow looks at."""
    fields = {item.field: (item.value, item.mask) for item in flow.match} | {"tcp_src": (40001, 0xFFFF)}
    return replace(flow, priority=flow.priority + 1, match=match(**fields), actions=(Output(2),), goto=None)


@slow
@given(st.sampled_from(EXAMPLES), st.randoms(use_true_random=False),
       st.sampled_from([_gone, _dropping, _elsewhere, _above, _wider, _other_field]))
def test_every_fault_of_flows_is_found(name: str, random, alter: Callable[[Flow], Flow | None]) -> None:  # type: ignore[no-untyped-def]
    policy, topology, compiled, verified = example(name)
    state = dict(compiled.state)
    switch = random.choice(sorted(state))
    flows = dict(state[switch].flows)
    flow = random.choice(list(flows.values()))
    other = alter(flow)
    if other is None or other.key == flow.key:
        del flows[flow.key]
    if other is not None:
        flows[other.key] = other
    state[switch] = SwitchState(flows, state[switch].groups, state[switch].meters)
    same(*both(policy, topology, state, compiled.allocation, verified))


@slow
@given(st.sampled_from(EXAMPLES), st.randoms(use_true_random=False))
def test_every_fault_of_groups_is_found(name: str, random) -> None:  # type: ignore[no-untyped-def]
    policy, topology, compiled, verified = example(name)
    places = [(switch, number) for switch, held in compiled.state.items() for number in held.groups]
    assume(places)
    switch, number = random.choice(places)
    held = compiled.state[switch]
    group = held.groups[number]
    other = replace(group, buckets=(*group.buckets[1:], group.buckets[0]))
    state = {**compiled.state, switch: SwitchState(held.flows, {**held.groups, number: other}, held.meters)}
    same(*both(policy, topology, state, compiled.allocation, verified))


def edits(policy: Policy, random) -> Iterator[Policy]:  # type: ignore[no-untyped-def]
    """Policies that differ in one thing."""
    def with_tenant(**changes: object) -> Policy:
        return Policy({**policy.tenants, tenant.name: replace(tenant, **changes)})  # type: ignore[arg-type]

    tenant: Tenant = random.choice(list(policy.tenants.values()))
    yield with_tenant(default_allow=not tenant.default_allow)
    if tenant.classifiers:
        classifier = random.choice(list(tenant.classifiers.values()))
        others = {name: each for name, each in tenant.classifiers.items() if each is not classifier}
        yield with_tenant(classifiers=others)
        deny = replace(classifier, then=replace(classifier.then, action="deny", chain=None), priority=77)
        yield with_tenant(classifiers={**others, classifier.name: deny})
        yield with_tenant(classifiers={**others, classifier.name: replace(classifier, source=Party("any"))})
    if tenant.chains:
        chain = random.choice(list(tenant.chains.values()))
        yield with_tenant(chains={**tenant.chains, chain.name: replace(chain, through=chain.through[:1])})
        kind = "none" if chain.stickiness == "connection" else "connection"
        yield with_tenant(chains={**tenant.chains, chain.name: replace(chain, stickiness=kind)})
    if tenant.endpoints:
        endpoint = random.choice(list(tenant.endpoints.values()))
        for labels in ({}, {"tier": "web", "app": "web", "role": "firewall"}):
            yield with_tenant(endpoints={**tenant.endpoints, endpoint.name: replace(endpoint, labels=labels)})
        yield with_tenant(endpoints={**tenant.endpoints, endpoint.name: replace(endpoint, drain=True)})
    if tenant.services:
        service = random.choice(list(tenant.services.values()))
        for changed in (replace(service, expose="internal"), replace(service, ports=service.ports[:1]),
                        replace(service, session_affinity=60.0)):
            yield with_tenant(services={**tenant.services, service.name: changed})
        yield with_tenant(services={name: each for name, each in tenant.services.items() if each is not service})
    if tenant.functions:
        function = random.choice(list(tenant.functions.values()))
        fewer = dict(list(function.instances.items())[1:])
        yield with_tenant(functions={**tenant.functions, function.name: replace(function, instances=fewer)})


@slow
@given(st.sampled_from(EXAMPLES), st.randoms(use_true_random=False))
def test_another_policy_is_judged_anew_where_it_says_something_else(name: str, random) -> None:  # type: ignore[no-untyped-def]
    policy, topology, compiled, verified = example(name)
    other = random.choice(list(edits(policy, random)))
    # the old rules under the new policy: everything that the new one asks for is missing
    try:
        same(*both(other, topology, compiled.state, compiled.allocation, verified))
        following = compile_next(compiled, other, topology)
    except (KeyError, PolicyError):  # something is missing that something else names, or comes first no more
        assume(False)
    known, anew = both(other, topology, following.state, following.allocation, verified)
    same(known, anew)


def test_a_change_of_labels_tries_what_it_touches() -> None:
    policy, topology, compiled, verified = example("services")
    tenant = policy.tenants["default"]
    endpoint = tenant.endpoints["p3"]
    other = Policy({**policy.tenants, tenant.name: replace(
        tenant, endpoints={**tenant.endpoints, endpoint.name: replace(endpoint, labels={"none": "at-all"})})})
    following = compile_next(compiled, other, topology)
    report, after = verify_change(other, topology, following.state, following.allocation, verified)
    assert report.ok and 0 < report.tried < report.classes / 2
    back = compile_next(following, policy, topology)
    report, _ = verify_change(policy, topology, back.state, back.allocation, after)
    assert report.ok and 0 < report.tried < report.classes / 2


def test_another_network_is_other_ground() -> None:
    policy, topology, compiled, verified = example("firewall_ids")
    down = frozenset({next(iter(topology.hosts.values())).attach[""]})
    following = compile_next(compiled, policy, replace(topology, down=down))
    report, _ = verify_change(policy, replace(topology, down=down), following.state, following.allocation, verified)
    assert report.tried == report.classes
