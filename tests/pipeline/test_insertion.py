"""What networks and segments insert: between which addresses, in which direction, and what overrules it."""

from __future__ import annotations

import examples
import pytest
from classifying import Lab, ip_packet, parse

from controller_app.policy.topology_file import parse_topology

NETWORK = examples.NETWORK.replace("  fw1:", "  h3: {attach: s1:13, ip: 10.1.0.201, mac: 02:00:00:00:01:13}\n"
                                   "  out: {attach: s2:31, mac: 02:00:00:00:09:09, prefixes: [0.0.0.0/0]}\n"
                                   "  r1: {attach: s3:31, ip: 10.2.0.77, mac: 02:00:00:00:03:33}\n  fw1:")
POLICY = """\
version: 1
default: DEFAULT
networks:
  clients: {subnet: [10.1.0.0/24, "fd01::/64"], gateway: 10.1.0.254, insert: [fw]}
  servers: {subnet: 10.2.0.0/24, gateway: 10.2.0.254, insert: [ids, rt]}
  others: {subnet: 10.3.0.0/24}
segments:
  kiosks: {network: clients, cidr: 10.1.0.192/26, insert: [ids]}
functions:
  fw: {kind: firewall, instances: {fw1: {host: fw1}, fw2: {host: fw2}}}
  ids: {kind: ids, mode: tap, instances: {ids1: {host: ids1}}}
  rt: {kind: other, mode: MODE, instances: {r1: {host: r1}}}
chains:
  one: {through: [fw], stickiness: none}
classifiers:
  - {from: {host: h2}, to: {host: w1}, traffic: [tcp/22], priority: -9, then: allow}
"""
H1, H2, KIOSK, W1, ROUTER = "10.1.0.11", "10.1.0.12", "10.1.0.201", "10.2.0.21", "10.2.0.77"
FW, SERVERS = "default/fw/connection", "default/ids+rt/connection"
BOTH, KIOSK_LIST = "default/fw+rt+ids/connection", "default/ids/connection"
KIOSK_SERVERS = "default/ids+rt/connection"


def lab(default: str = "allow", mode: str = "routed") -> Lab:
    text = POLICY.replace("DEFAULT", default).replace("MODE", mode)
    return Lab(parse(text), parse_topology(NETWORK, "network.yaml"))


@pytest.mark.parametrize("default", ["allow", "deny"])
def test_what_leaves_and_enters(default: str) -> None:
    found = lab(default)
    assert found.decided("s1", ip_packet(H1, "9.9.9.9", "tcp", 5, 80)) == FW
    assert found.decided("s2", ip_packet("9.9.9.9", H1, "udp", 80, 5)) == FW + "<"
    assert found.decided("s1", ip_packet(KIOSK, "9.9.9.9")) == KIOSK_LIST
    assert found.decided("s4", ip_packet(W1, "9.9.9.9")) == SERVERS
    assert found.decided("s1", ip_packet("fd01::11", "fd09::9")) == FW


def test_between_two_places_both_ways_meet_the_same() -> None:
    found = lab()
    there = found.decided("s1", ip_packet(H1, W1, "tcp", 5, 80))
    back = found.decided("s4", ip_packet(W1, H1, "tcp", 80, 5))
    assert {there, back} == {BOTH, BOTH + "<"}


@pytest.mark.parametrize("default", ["allow", "deny"])
def test_inside_a_place_nothing_is_inserted(default: str) -> None:
    assert lab(default).decided("s1", ip_packet(H1, H2)) == default


def test_a_segment_is_left_when_its_network_is_not() -> None:
    found = lab()
    assert found.decided("s1", ip_packet(KIOSK, H1)) == KIOSK_LIST
    assert found.decided("s1", ip_packet(H1, KIOSK)) == KIOSK_LIST + "<"


def test_its_own_functions_count_instead_of_its_networks() -> None:
    found = lab()
    there, back = found.decided("s1", ip_packet(KIOSK, W1)), found.decided("s4", ip_packet(W1, KIOSK))
    assert {there.rstrip("<"), back.rstrip("<")} <= {"default/ids+rt/connection", "default/rt+ids/connection"}
    assert there.endswith("<") != back.endswith("<")


def test_classifiers_and_mirrors_overrule_it_whatever_their_priority() -> None:
    found = lab()
    assert found.decided("s1", ip_packet(H2, W1, "tcp", 5, 22)) == "allow"
    assert found.decided("s4", ip_packet(W1, H2, "tcp", 22, 5)) == "allow"
    assert found.decided("s1", ip_packet(H2, W1, "tcp", 5, 23)).startswith(BOTH)


@pytest.mark.parametrize(("default", "mode"), [("allow", "translating"), ("deny", "translating")])
def test_a_functions_own_addresses_are_spared(default: str, mode: str) -> None:
    text = POLICY.replace("insert: [ids, rt]", "insert: [ids]").replace("DEFAULT", default).replace("MODE", mode)
    found = Lab(parse(text), parse_topology(NETWORK, "network.yaml"))
    assert found.decided("s3", ip_packet(ROUTER, "9.9.9.9")) == default
    assert found.decided("s2", ip_packet("9.9.9.9", ROUTER)) == default


def test_errors_of_what_passes_come_straight() -> None:
    assert lab("deny").decided("s4", ip_packet(W1, H1, "icmp", 3)) == "allow"
