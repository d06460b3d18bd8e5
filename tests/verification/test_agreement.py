"""The evaluator, which knows no flows, and the walk through the compiled flows agree about random packets."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest
from examples import POLICY, network, policy
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from controller_app.model.policy import (
    Chain,
    Classifier,
    Party,
    Policy,
    Requirement,
    Selector,
    Tenant,
    Traffic,
    Verdict,
)
from controller_app.model.position import PolicyError
from controller_app.pipeline.compile import compile
from controller_app.verification.classes import PacketClass
from controller_app.verification.verify import Checker, verify

TOPOLOGY = network()
BASE = policy().tenants["default"]
PORTS = (1, 22, 79, 80, 81, 8080, 40000, 65535)
HOSTS = ("h1", "h2", "w1", "w2", "w3")

parties = st.one_of(
    st.just(Party("any")),
    st.builds(Party, st.just("host"), st.sampled_from(HOSTS)),
    st.builds(Party, st.just("network"), st.sampled_from(["clients", "servers"])),
    st.builds(Party, st.just("endpoint"), st.sampled_from(["web1", "web2"])),
    st.just(Party("selector", Selector((Requirement("tier", "in", ("web",)),)))),
    st.builds(Party, st.just("cidr"), st.sampled_from([ip_network(text) for text in (
        "10.0.0.0/8", "10.2.0.20/30", "10.1.0.11/32", "100.1.1.0/24", "fd01::/64", "0.0.0.0/0")])),
)
targets = st.one_of(parties, st.just(Party("service", "app-svc")))
port_ranges = st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS)).map(sorted)
traffic = st.one_of(
    st.builds(lambda name, ports: Traffic(name, *ports), st.sampled_from(["tcp", "udp"]), port_ranges),
    st.just(Traffic("icmp")),
)
CHAINS = {
    chain.name: chain
    for chain in (
        Chain("both", ("fw", "ids")),
        Chain("tap-first", ("ids", "fw"), stickiness="none"),
        Chain("firewall", ("fw",), stickiness="none"),
        Chain("one-way", ("fw",), returns="direct"),
        Chain("watched", ("ids",)),
    )
}
verdicts = st.one_of(
    st.builds(Verdict, st.just("chain"), st.sampled_from(sorted(CHAINS))),
    st.just(Verdict("allow")),
    st.just(Verdict("deny")),
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    classifiers = {}
    for number in range(draw(st.integers(1, 5))):
        wanted = Classifier(f"c{number}", draw(parties), draw(targets), draw(verdicts),
                            tuple(draw(st.lists(traffic, max_size=2))), priority=draw(st.integers(0, 4)))
        classifiers[wanted.name] = wanted
    tenant: Tenant = replace(BASE, chains=CHAINS, classifiers=classifiers, default_allow=draw(st.booleans()))
    return Policy({"default": tenant})


def addresses() -> list[object]:
    return [ip for name in HOSTS for ip in TOPOLOGY.hosts[name].ips]


@st.composite
def packets(draw: st.DrawFn) -> PacketClass:
    host = TOPOLOGY.hosts[draw(st.sampled_from(HOSTS))]
    source = draw(st.sampled_from(host.ips))
    service = next(iter(BASE.services["app-svc"].ips))
    known = [ip for ip in (*addresses(), service) if ip not in host.ips]
    destination = draw(st.sampled_from([ip for ip in known if ip.version == source.version]))  # type: ignore[attr-defined]
    protocol = draw(st.sampled_from([6, 6, 6, 17, 1 if source.version == 4 else 58, 47]))
    return PacketClass("default", host.name, source, destination, protocol, draw(st.sampled_from(PORTS)),
                       draw(st.sampled_from(PORTS)))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(policies(), st.lists(packets(), min_size=5, max_size=20))
def test_random_packets_go_where_the_evaluator_says(wanted: Policy, tried: list[PacketClass]) -> None:
    try:
        state, allocation = compile(wanted, TOPOLOGY)
    except PolicyError:
        assume(False)
        return
    checker = Checker(wanted, TOPOLOGY, state, allocation)
    for packet in tried:
        found = checker.check(packet)
        assert not found, found[0].document(allocation)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(policies())
def test_random_policies_verify(wanted: Policy) -> None:
    try:
        state, allocation = compile(wanted, TOPOLOGY)
    except PolicyError:
        assume(False)
        return
    report = verify(wanted, TOPOLOGY, state, allocation)
    assert report.ok, report.counterexample


@pytest.mark.parametrize("traffic", ["", ", traffic: [udp/53]"])
def test_who_is_refused_a_service_is_told_on_every_port(traffic: str) -> None:
    refused = f"  - {{name: web, from: {{network: clients}}, to: {{service: app-svc}}{traffic}, then: reject}}\n"
    text = "\n".join(line for line in POLICY.splitlines() if "name: web," not in line)
    text = text.replace("classifiers:\n", "classifiers:\n" + refused)
    report = verify(policy(text=text), network())
    assert report.ok, report.counterexample
