"""Sets × sets as conjunctions: the same decisions, by fewer rules."""

from __future__ import annotations

import random

import pytest
from classifying import Lab, OvsTable, ip_packet
from dummy_ovs import DummyOvs
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

from controller_app.model.flow import Conjunction
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.topology_file import parse_topology

SIDES = ("a", "b")
ONE, TWO = "default/fw/none", "default/ids/none"


def network(hosts: int) -> str:
    """Two switches with so many hosts each, and two functions."""
    lines = ["version: 1", "switches: {s1: {dpid: 1}, s2: {dpid: 2}}", "links: [[s1:1, s2:1]]", "hosts:"]
    for number, side in enumerate(SIDES, start=1):
        for n in range(hosts):
            lines.append(f"  {side}{n}: {{attach: s{number}:{10 + n}, ip: 10.{number}.0.{n + 1}, "
                         f"mac: '02:00:00:00:0{number}:{n:02x}'}}")
    lines.append("  fw1: {attach: {in: s1:100, out: s1:101}}")
    lines.append("  ids1: {attach: {in: s2:100, out: s2:101}}")
    return "\n".join(lines) + "\n"


def policy(hosts: int, classifiers: str) -> str:
    labels = "\n".join(
        f"  {side}{n}: {{host: {side}{n}, labels: {{side: {side}, odd: '{n % 2}'}}}}"
        for side in SIDES
        for n in range(hosts)
    )
    return f"""\
version: 1
default: deny
endpoints:
{labels}
functions:
  fw: {{kind: firewall, instances: {{fw1: {{host: fw1}}}}}}
  ids: {{kind: ids, instances: {{ids1: {{host: ids1}}}}}}
chains:
  one: {{through: [fw], stickiness: none}}
  two: {{through: [ids], stickiness: none}}
classifiers:
{classifiers}"""


ALL = """\
  - {name: all,
     from: {selector: side=a}, to: {selector: side=b}, traffic: [tcp/80, tcp/443], then: {chain: one}}
"""
PART = """\
  - {name: part,
     from: {selector: "side=a,odd=1"}, to: {selector: "side=b,odd=1"}, traffic: [tcp/80], then: {chain: two}}
"""
PAIR = """\
  - {name: pair,
     from: {host: a3}, to: {host: b5}, traffic: [tcp/80], then: allow}
"""
OTHER = """\
  - {name: other,
     from: {selector: odd=0}, to: {selector: side=b}, traffic: [udp/53, udp/54], then: {chain: two}}
"""


def lab(hosts: int, classifiers: str) -> Lab:
    made = parse_policy({"policy.yaml": policy(hosts, classifiers)}).policy
    return Lab(made, parse_topology(network(hosts), "network.yaml"))


def wanted(classifiers: str, a: int, b: int, protocol: str, dport: int) -> str:
    if protocol == "udp":
        return TWO if OTHER in classifiers and a % 2 == 0 and dport in (53, 54) else "deny"
    if dport == 80 and PAIR in classifiers and (a, b) == (3, 5):
        return "allow"
    if dport == 80 and PART in classifiers and a % 2 and b % 2:
        return TWO
    return ONE if dport in (80, 443) else "deny"


def conjunctions(found: Lab, switch: str) -> int:
    return len({a.id for f in found.at(switch).flows.values() for a in f.actions if isinstance(a, Conjunction)})


def test_as_many_rules_as_members() -> None:
    few, many = (len(lab(n, ALL).at("s1").flows) for n in (8, 16))
    assert many - few == 16  # one rule for each host more, on either side


def test_no_conjunction_where_it_costs_as_many() -> None:
    one = "  - {from: {host: a1}, to: {selector: side=b}, traffic: [tcp/80], then: {chain: one}}\n"
    assert conjunctions(lab(12, one), "s1") == 0
    two = "  - {from: {selector: side=a}, to: {selector: side=b}, traffic: [tcp/80], then: {chain: one}}\n"
    assert conjunctions(lab(2, two), "s1") == 0  # 2 x 2 rules, or 2 + 2 + 1
    assert conjunctions(lab(3, two), "s1") == 1  # 3 x 3 rules, or 3 + 3 + 1
    assert len(lab(3, two).at("s1").flows) < len(lab(3, one).at("s1").flows) + 6


def test_the_way_back_is_a_product_too() -> None:
    found = lab(12, ALL)
    assert conjunctions(found, "s2") == 1
    assert found.decided("s2", ip_packet("10.2.0.3", "10.1.0.4", "tcp", 443, 999)) == ONE + "<"
    assert found.decided("s2", ip_packet("10.2.0.3", "10.1.0.4", "tcp", 444, 999)) == "deny"


def test_what_a_fragment_may_be_meant_for_counts_in_products_too() -> None:
    found = lab(12, ALL)
    assert found.decided("s1", ip_packet("10.1.0.3", "10.2.0.4", "tcp", frag=3)) == "deny"


@pytest.mark.parametrize("classifiers", [ALL, ALL + PART, ALL + PAIR, ALL + PART + PAIR + OTHER])
def test_the_same_decisions_as_one_by_one(classifiers: str) -> None:
    found = lab(8, classifiers)
    assert conjunctions(found, "s1") > 0
    for a in range(8):
        for b in range(8):
            for protocol, port in (("tcp", 80), ("tcp", 443), ("tcp", 81), ("udp", 53), ("udp", 80)):
                packet = ip_packet(f"10.1.0.{a + 1}", f"10.2.0.{b + 1}", protocol, 5000, port)
                assert found.decided("s1", packet) == wanted(classifiers, a, b, protocol, port), (a, b, protocol, port)


def test_a_real_switch_agrees(dummy_ovs: DummyOvs) -> None:
    classifiers = ALL + PART + PAIR + OTHER
    found = lab(10, classifiers)
    assert conjunctions(found, "s1") >= 2
    table = OvsTable(dummy_ovs, found, "s1")
    draw = random.Random(7)
    sent, expected = [], []
    pairs = [(3, 5, "tcp", 80), (5, 3, "tcp", 80), (3, 5, "tcp", 443)]
    pairs += [
        (draw.randrange(10), draw.randrange(10), *draw.choice([("tcp", 80), ("tcp", 443), ("tcp", 81), ("udp", 53),
                                                               ("udp", 55)]))
        for _ in range(400)
    ]
    for serial, (a, b, protocol, port) in enumerate(pairs):
        layer = (TCP if protocol == "tcp" else UDP)(sport=1000 + serial, dport=port)
        head = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        sent.append(bytes(head / IP(src=f"10.1.0.{a + 1}", dst=f"10.2.0.{b + 1}") / layer / f"{serial:08}"))
        expected.append(wanted(classifiers, a, b, protocol, port))
    assert table.all_decided(sent) == expected
    assert set(expected) == {ONE, TWO, "allow", "deny"}


def test_numbers_stay_when_others_come() -> None:
    def numbers(classifiers: str, before: Lab | None = None) -> set[int]:
        made = parse_policy({"policy.yaml": policy(8, classifiers)}).policy
        found = Lab(made, parse_topology(network(8), "n.yaml"), None if before is None else before.allocation)
        return {a.id for f in found.at("s1").flows.values() for a in f.actions if isinstance(a, Conjunction)}

    before = lab(8, ALL)
    assert numbers(ALL) < numbers(OTHER + ALL, before)
