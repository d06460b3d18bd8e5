"""Which packets are tried: one for every difference that a policy makes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import ip_address

import pytest
from examples import network, policy

from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.verification.classes import PacketClass, packet_classes, special
from controller_app.verification.evaluate import Evaluator
from controller_app.verification.packet import ICMP, ICMPV6, TCP, ip_packet, ports
from controller_app.verification.rulings import is_fragment, is_icmp_error

TOPOLOGY = network()
HEAD = """\
version: 1
networks:
  clients: {subnet: [10.1.0.0/24, "fd01::/64"], gateway: [10.1.0.254, "fd01::fe"]}
  servers: {subnet: [10.2.0.0/24, "fd02::/64"], gateway: [10.2.0.254, "fd02::fe"]}
functions:
  fw: {kind: firewall, instances: {fw1: {host: fw1}}}
chains:
  one: {through: [fw]}
"""


def classes(wanted: Policy | str, topology: Topology = TOPOLOGY) -> list[PacketClass]:
    found = policy(text=HEAD + wanted) if isinstance(wanted, str) else wanted
    return list(packet_classes(Evaluator(found, topology), topology))


def undeclared() -> Topology:
    return replace(TOPOLOGY, hosts={name: replace(host, declared=False) for name, host in TOPOLOGY.hosts.items()})


def test_one_dscp_on_each_side_of_what_classifiers_look_at() -> None:
    text = ("classifiers:\n"
            "  - {from: {host: h1}, to: any, dscp: [ef, 10], then: {chain: one}, priority: 1}\n"
            "  - {from: {host: h1}, to: {network: servers}, dscp: ef, then: deny, priority: 2}\n")
    found = [each for each in classes(text) if each.host == "h1" and not each.kind]
    assert {each.dscp for each in found if str(each.destination) == "10.2.0.21"} == {0, 10, 46}
    assert {each.dscp for each in found if str(each.destination) == "10.1.0.12"} == {0, 10}
    others = [each for each in classes(text) if each.host == "h2" and str(each.destination).startswith("10.2.")]
    assert {each.dscp for each in others} == {0}


def test_the_ports_of_a_branch_are_boundaries_too() -> None:
    text = ("classifiers:\n  - {from: any, to: any, then: {chain: one}}\n"
            "  - {from: any, to: any, traffic: [tcp/70-72], after: fw, then: deny}\n")
    found = {each.dport for each in classes(text) if each.protocol == TCP and not each.kind}
    assert {(port >= 70) + (port > 72) for port in found} == {0, 1, 2}


def test_fragments_and_errors_are_tried_where_ports_and_mirrors_are() -> None:
    text = "classifiers:\n  - {from: any, to: any, traffic: [tcp/80], then: deny}\n"
    kinds = Counter(each.kind for each in classes(text))
    assert kinds["fragment"] and kinds["first fragment"] and not kinds["error"]
    kinds = Counter(each.kind for each in classes("classifiers:\n  - {from: any, to: any, then: {chain: one}}\n"))
    assert not kinds["fragment"] and not kinds["first fragment"] and kinds["error"]
    assert not any(each.kind for each in classes("", undeclared()))


def test_every_host_with_declared_addresses_tries_another_one() -> None:
    found = [each for each in classes("") if each.kind == "forged"]
    hosts = {name for name, host in TOPOLOGY.hosts.items() if host.ips}
    assert all(TOPOLOGY.hosts[name].declared for name in hosts)
    assert {each.host for each in found} == hosts
    assert all(each.source not in TOPOLOGY.hosts[each.host].ips for each in found)
    assert not [each for each in classes("", undeclared()) if each.kind == "forged"]


def test_what_is_inserted_makes_a_difference() -> None:
    gateway = 'gateway: [10.1.0.254, "fd01::fe"]'
    inserting = policy(text=HEAD.replace(gateway, f"{gateway}, insert: [fw]")
                       + "segments:\n  one: {network: clients, cidr: 10.1.0.12/32, insert: [fw]}\n")
    pairs = {(str(each.source), str(each.destination)) for each in classes(inserting) if each.protocol == ICMP}
    assert {("10.1.0.11", "10.1.0.12"), ("10.1.0.12", "10.1.0.11")} <= pairs
    assert {source for source, destination in pairs if destination.startswith("10.2.")} >= {"10.1.0.11", "10.1.0.12"}


def test_the_rare_kinds_are_at_most_as_many_again() -> None:
    kinds = Counter(bool(each.kind) for each in classes(policy()))
    assert 0 < kinds[True] <= kinds[False]


@pytest.mark.parametrize(("source", "destination", "protocol"), [
    ("10.1.0.11", "10.2.0.21", ICMP), ("fd01::11", "fd02::21", ICMPV6),
])
def test_special_packets(source: str, destination: str, protocol: int) -> None:
    ends = ip_address(source), ip_address(destination)
    echo = ip_packet(*ends, protocol, 7, eth_src=1, eth_dst=2)
    assert is_icmp_error(special(echo, "error")) and not is_icmp_error(echo)
    segment = ip_packet(*ends, TCP, 40000, 80, eth_src=1, eth_dst=2)
    for kind in ("fragment", "first fragment"):
        fragment = special(segment, kind)
        assert is_fragment(fragment) and not is_fragment(segment)
        assert "tcp_dst" not in fragment and ports(fragment) in (None, (0, 0))
    assert special(segment, "forged") == special(segment, "") == segment
