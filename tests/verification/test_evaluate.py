"""The plain evaluator, on the rules of the policy language one by one."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from examples import network, policy

from controller_app.model.policy import Policy
from controller_app.verification.evaluate import Expectation, evaluate
from controller_app.verification.packet import ICMP, TCP, UDP, ip_packet

TOPOLOGY = network()
HEAD = """\
version: 1
networks:
  clients: {subnet: 10.1.0.0/24, gateway: 10.1.0.254}
  servers: {subnet: 10.2.0.0/24, gateway: 10.2.0.254}
functions:
  fw: {kind: firewall, instances: {fw1: {host: fw1}, fw2: {host: fw2}}}
  ids: {kind: ids, mode: tap, instances: {ids1: {host: ids1}}}
chains:
  both: {through: [fw, ids]}
  one-way: {through: [fw], return: direct}
classifiers:
"""


def ask(wanted: Policy | str, host: str, destination: str, dport: int = 80, sport: int = 40000,
        protocol: int = TCP, source: str | None = None) -> Expectation:
    if isinstance(wanted, str):
        wanted = policy(text=HEAD + wanted)
    sender = ip_address(source) if source else TOPOLOGY.hosts[host].ips[0]
    packet = ip_packet(sender, ip_address(destination), protocol, sport, dport, eth_src=1, eth_dst=2)
    return evaluate(wanted, TOPOLOGY, packet, host)


def test_without_a_classifier_the_default_counts() -> None:
    assert ask(Policy(), "h1", "10.2.0.21").verdict == "allow"
    assert ask("  []\ndefault: deny\n", "h1", "10.2.0.21").verdict == "deny"


def test_a_chain_and_its_mirror() -> None:
    text = "  - {from: {network: clients}, to: {network: servers}, traffic: [tcp/80], then: {chain: both}}\n"
    there = ask(text, "h1", "10.2.0.21")
    assert (there.verdict, there.functions, there.taps, there.reversed) == ("chain", ("fw",), ("ids",), False)
    back = ask(text, "w1", "10.1.0.11", sport=80, dport=40000)
    assert (back.verdict, back.functions, back.taps, back.reversed) == ("chain", ("fw",), ("ids",), True)
    assert ask(text, "w1", "10.1.0.11", sport=81, dport=80).verdict == "allow"
    assert ask(text, "h1", "10.2.0.21", protocol=UDP).chain is None


def test_direct_returns_pass_also_where_the_default_denies() -> None:
    text = ("  - {from: {network: clients}, to: any, traffic: [tcp/80], then: {chain: one-way}}\n"
            "default: deny\n")
    back = ask(text, "w1", "10.1.0.11", sport=80, dport=40000)
    assert (back.verdict, back.functions) == ("allow", ())
    assert ask(text, "w1", "10.1.0.11", sport=79, dport=40000).verdict == "deny"


def test_the_larger_priority_then_the_explicit_then_the_subset() -> None:
    wide = "  - {name: wide, from: any, to: any, then: {chain: both}, priority: %d}\n"
    narrow = "  - {name: narrow, from: {host: w1}, to: any, traffic: [tcp/80], then: deny}\n"
    won = ask(wide % 1 + narrow, "w1", "10.1.0.11").classifier
    assert won is not None and won.name == "wide"
    won = ask(wide % 0 + narrow, "w1", "10.1.0.11").classifier
    assert won is not None and won.name == "narrow"
    mirror = "  - {name: there, from: {host: h1}, to: {host: w1}, then: {chain: both}}\n"
    explicit = "  - {name: back, from: {network: servers}, to: any, then: deny}\n"
    assert ask(mirror + explicit, "w1", "10.1.0.11").verdict == "deny"


def test_a_tie_is_a_conflict_and_agreement_is_none() -> None:
    text = ("  - {name: a, from: {host: h1}, to: any, then: %s}\n"
            "  - {name: b, from: any, to: {host: w1}, then: allow}\n")
    assert [classifier.name for classifier in ask(text % "deny", "h1", "10.2.0.21").conflict] == ["a", "b"]
    assert ask(text % "allow", "h1", "10.2.0.21").conflict == ()


def test_a_service_names_its_providers_and_its_target_port() -> None:
    found = ask(policy(), "h1", "100.1.1.3", dport=8080)
    assert found.service is not None and found.service.name == "app-svc"
    assert [(target.host, str(target.address), target.port) for target in found.targets] == [
        ("w1", "10.2.0.21", 80), ("w2", "10.2.0.22", 80), ("w3", "10.2.0.23", 80)]
    assert ask(policy(), "h1", "100.1.1.3", dport=8081).targets == ()
    assert ask(policy(), "h1", "100.1.1.3", protocol=ICMP).targets == ()


def test_the_target_of_an_address_and_whether_it_is_routed() -> None:
    assert [(t.host, t.routed) for t in ask(policy(), "h1", "10.2.0.21").targets] == [("w1", True)]
    assert [(t.host, t.routed) for t in ask(policy(), "h1", "10.1.0.12").targets] == [("h2", False)]
    assert ask(policy(), "h1", "10.1.0.99").targets == ()


@pytest.mark.parametrize(("party", "host", "expected"), [
    ("{host: h1}", "h1", True),
    ("{host: h2}", "h1", False),
    ("{cidr: 10.1.0.0/28}", "h1", True),
    ("{cidr: 10.1.0.0/29}", "h1", False),
    ("{network: clients}", "h1", True),
    ("{network: clients}", "w1", False),
    ("any", "h1", True),
])
def test_who_a_party_is(party: str, host: str, expected: bool) -> None:
    found = ask(f"  - {{from: {party}, to: any, then: deny}}\n", host, "10.2.0.23")
    assert (found.verdict == "deny") is expected


def test_icmp_means_the_icmp_of_either_version() -> None:
    text = "  - {from: any, to: any, traffic: [icmp], then: deny}\n"
    assert ask(text, "h1", "10.2.0.21", protocol=ICMP).verdict == "deny"
    assert ask(text, "h1", "fd02::21", protocol=58, source="fd01::11").verdict == "deny"
    assert ask(text, "h1", "fd02::21", protocol=ICMP, source="fd01::11").verdict == "allow"
    assert ask(text, "h1", "10.2.0.21", protocol=47).verdict == "allow"
