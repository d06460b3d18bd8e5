"""What the rules of `classify` decide, against the policy language's rules put down naively."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import ip_address, ip_network

import examples
import pytest
from classifying import Lab, OvsTable, Packet, ip_packet, parse
from dummy_ovs import DummyOvs
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
from scapy.layers.l2 import Ether

from controller_app.model.flow import Conjunction, Meter, SetField, SetQueue
from controller_app.model.position import PolicyError
from controller_app.pipeline.boxes import EVERYTHING, PORTS, Box, box_matches, prefix_of
from controller_app.pipeline.tables import NUMBER

HEAD = examples.POLICY[: examples.POLICY.index("classifiers:")]
TAIL = examples.POLICY[examples.POLICY.index("services:") :]
CHAINS = """\
  one: {through: [fw], stickiness: none}
  two: {through: [fw, ids], stickiness: none, return: direct}
classifiers:
"""
ADDRESSES = {
    "h1": ("10.1.0.11", "fd01::11"), "h2": ("10.1.0.12",), "w1": ("10.2.0.21", "fd02::21"),
    "w2": ("10.2.0.22", "fd02::22"), "w3": ("10.2.0.23", "fd02::23"),
}  # fmt: skip
SWITCH = {"h1": "s1", "h2": "s1", "w1": "s4", "w2": "s4", "w3": "s3"}
WEB = tuple(a for w in ("w1", "w2", "w3") for a in ADDRESSES[w])
PARTIES = {
    **{f"{{host: {name}}}": found for name, found in ADDRESSES.items()},
    "{network: clients}": ("10.1.0.0/24", "fd01::/64"),
    "{network: servers}": ("10.2.0.0/24", "fd02::/64"),
    "{selector: tier=web}": WEB,
    "{cidr: 10.2.0.20/31}": ("10.2.0.20/31",),
    "{cidr: 10.0.0.0/8}": ("10.0.0.0/8",),
    "any": ("0.0.0.0/0", "::/0"),
}
TRAFFIC = ("", "[tcp/80]", "[tcp/1-1023]", "[tcp/79-81, udp/53]", "[udp/53]", "[tcp/80, tcp/443]", "[icmp]", "[tcp]")
VERDICTS = ("{chain: one}", "{chain: two}", "allow", "deny", "reject")
ONE, TWO = "default/fw/none", "default/fw+ids/none"


@dataclass(frozen=True)
class Rule:
    """A classifier as it is written."""

    source: str
    target: str
    traffic: str
    then: str
    priority: int
    dscp: str = ""

    def text(self, name: str) -> str:
        traffic = f", traffic: {self.traffic}" if self.traffic else ""
        dscp = f", dscp: {self.dscp}" if self.dscp else ""
        return (
            f"  - {{name: {name}, from: {self.source}, to: {self.target}{traffic}{dscp}, then: {self.then}, "
            f"priority: {self.priority}}}\n"
        )


def policy_text(rules: list[Rule], default: str = "allow") -> str:
    head = HEAD[: HEAD.index("chains:")] + "chains:\n" + CHAINS
    text = head + "".join(rule.text(f"c{n}") for n, rule in enumerate(rules)) + TAIL
    return text.replace("version: 1\n", f"version: 1\ndefault: {default}\n")


def kinds(traffic: str) -> set[tuple[str, int]]:
    """Protocol and port, every one."""
    if not traffic:
        return {("any", 0)}
    found: set[tuple[str, int]] = set()
    for item in traffic.strip("[]").split(", "):
        name, _, ports = item.partition("/")
        low, _, high = (ports or "0-65535").partition("-")
        if name == "icmp":
            found.add(("icmp", 0))
        else:
            found |= {(name, port) for port in range(int(low), int(high or low) + 1)}
    return found


NETWORKS = {party: [ip_network(each) for each in found] for party, found in PARTIES.items()}
ADDRESS = {a: ip_address(a) for found in ADDRESSES.values() for a in found} | {
    a: ip_address(a) for a in ("::1", "9.9.9.9")
}
KINDS = {traffic: kinds(traffic) for traffic in TRAFFIC}


@cache  # the sets of ports are large, and asked after again and again
def inside(one: Rule, other: Rule) -> bool:
    """Whether everything of one rule is also the other's. Addresses of a version that one side lacks do not count."""
    versions = {a.version for a in NETWORKS[one.source]} & {a.version for a in NETWORKS[one.target]}

    def part(small: str, big: str) -> bool:
        return all(
            any(a.version == b.version and a.subnet_of(b) for b in NETWORKS[big])  # type: ignore[arg-type]
            for a in NETWORKS[small] if a.version in versions
        )

    sources = part(one.source, other.source)
    alike = ("any", 0) in KINDS[other.traffic] or KINDS[one.traffic] <= KINDS[other.traffic]
    return sources and part(one.target, other.target) and alike and (not other.dscp or one.dscp == other.dscp)


def naive(rules: list[Rule], packet: tuple[str, str, str, int, int, int], default: str = "allow") -> str:
    """The decision by the language's words: priority, explicit before mirror, the strict subset."""
    source, target, protocol, sport, dport, dscp = packet
    found: list[tuple[tuple[int, bool], Rule]] = []
    for rule in rules:
        for mirror in (False, True):
            if mirror and rule.then in ("deny", "reject"):
                continue
            start, end, port = (target, source, sport) if mirror else (source, target, dport)
            wanted = KINDS[rule.traffic]
            fits = ("any", 0) in wanted or (protocol, port if protocol in ("tcp", "udp") else 0) in wanted
            if (
                fits and (not rule.dscp or int(rule.dscp) == dscp)
                and any(ADDRESS[start] in each for each in NETWORKS[rule.source])
                and any(ADDRESS[end] in each for each in NETWORKS[rule.target])
            ):
                found.append(((rule.priority, not mirror), rule))
    if not found:
        return default
    level = max(key for key, _ in found)
    best = [rule for key, rule in found if key == level]
    (winner, *_) = [rule for rule in best if all(inside(rule, o) or not inside(o, rule) for o in best)]
    for rule in best:
        if inside(rule, winner) and not inside(winner, rule):
            winner = rule
    return {
        "{chain: one}": ONE if level[1] else ONE + "<",
        "{chain: two}": TWO if level[1] else "allow",
    }.get(winner.then, winner.then)


@st.composite
def policies(draw: st.DrawFn) -> list[Rule]:
    rule = st.builds(
        Rule, st.sampled_from([*PARTIES]), st.sampled_from([*PARTIES]), st.sampled_from(TRAFFIC),
        st.sampled_from(VERDICTS), st.integers(0, 2), st.sampled_from(["", "", "", "10"]),
    )  # fmt: skip
    return draw(st.lists(rule, min_size=1, max_size=6))


def meaningful(rules: list[Rule], default: str) -> Lab:
    try:
        return Lab(parse(policy_text(rules, default)))
    except PolicyError:
        assume(False)
        raise


@st.composite
def packets(draw: st.DrawFn) -> tuple[str, str, str, str, int, int, int]:
    host = draw(st.sampled_from([*ADDRESSES]))
    source = draw(st.sampled_from(ADDRESSES[host]))
    others = [a for name, found in ADDRESSES.items() if name != host for a in found if (":" in a) == (":" in source)]
    target = draw(st.sampled_from([*others, "::1" if ":" in source else "9.9.9.9"]))
    protocol = draw(st.sampled_from(["tcp", "tcp", "udp", "icmp"]))
    port = st.sampled_from([1, 53, 79, 80, 81, 443, 1023, 1024, 50000])
    return host, source, target, protocol, draw(port), draw(port), draw(st.sampled_from([0, 10]))


@settings(max_examples=100, deadline=None)
@given(policies(), st.lists(packets(), min_size=30, max_size=30), st.sampled_from(["allow", "deny"]))
def test_rules_decide_as_the_language_says(
    rules: list[Rule], sent: list[tuple[str, str, str, str, int, int, int]], default: str
) -> None:
    lab = meaningful(rules, default)
    for host, source, target, protocol, sport, dport, dscp in sent:
        if protocol == "icmp":
            sport = dport = 8
        packet = ip_packet(source, target, protocol, sport, dport, dscp=dscp)
        wanted = naive(rules, (source, target, protocol, sport, dport, dscp), default)
        assert lab.decided(SWITCH[host], packet) == wanted, (source, target, protocol, sport, dport, dscp)


def acceptable(said: str, possible: set[str]) -> bool:
    """Whether a way is right whatever of these a fragment would have met: it may meet more than it had to."""
    return said in ("deny", "reject") or all(
        said == each or (each == "allow" and said != "allow") for each in possible
    )


def meant(rules: list[Rule], packet: Packet, source: str, target: str, dscp: int, default: str) -> set[str]:
    """Every decision that the whole packet of a fragment can have met."""
    ports = {53, 79, 80, 443, 1000, 50000}
    number = packet["ip_proto"]
    names = {6: ["tcp"], 17: ["udp"], 1: ["icmp"], 58: ["icmp"]}.get(number, ["tcp", "udp", "icmp", "other"])
    return {
        naive(rules, (source, target, name, sport, dport, dscp), default)
        for name in names
        for sport in (ports if name in ("tcp", "udp") else {0})
        for dport in (ports if name in ("tcp", "udp") else {0})
    }


@settings(max_examples=40, deadline=None)
@given(policies(), st.lists(packets(), min_size=6, max_size=6), st.sampled_from(["allow", "deny"]))
def test_fragments_never_pass_what_their_packet_could_not(
    rules: list[Rule], sent: list[tuple[str, str, str, str, int, int, int]], default: str
) -> None:
    lab = meaningful(rules, default)
    for host, source, target, protocol, sport, dport, dscp in sent:
        if protocol == "icmp":
            continue
        for frag in (1, 3):
            packet = ip_packet(source, target, protocol, sport, dport, frag, dscp)
            possible = meant(rules, packet, source, target, dscp, default)
            said = lab.decided(SWITCH[host], packet)
            assert acceptable(said, possible), (said, possible, source, target, protocol, frag)


# -- fragments by example ----------------------------------------------------------------------------------------

H1, H2, W1, W2 = "10.1.0.11", "10.1.0.12", "10.2.0.21", "10.2.0.22"


def lab(*classifiers: str, default: str = "allow") -> Lab:
    head = HEAD[: HEAD.index("chains:")] + "chains:\n" + CHAINS
    text = head + "".join(f"  - {each}\n" for each in classifiers) + TAIL
    return Lab(parse(text.replace("version: 1\n", f"version: 1\ndefault: {default}\n")))


def test_fragments_take_the_chain_of_the_only_classifier_they_can_be_meant_for() -> None:
    found = lab("{from: {host: h1}, to: {host: w1}, traffic: [tcp/80], then: {chain: one}}")
    assert found.decided("s1", ip_packet(H1, W1, "tcp", frag=3)) == ONE
    assert found.decided("s4", ip_packet(W1, H1, "tcp", frag=3)) == ONE + "<"
    assert found.decided("s1", ip_packet(H1, W1, "udp", frag=3)) == "allow"
    assert found.decided("s1", ip_packet(H1, W2, "tcp", frag=3)) == "allow"


def test_a_range_with_port_0_is_not_for_fragments() -> None:
    """They have port 0, as Open vSwitch sees them."""
    box = Box(EVERYTHING, prefix_of(ip_address(W1)), "udp", PORTS, (0, 1023))
    asked = [{c.field: c.value for c in found} for found, _ in box_matches(box)]
    assert [fields.get("ip_frag") for fields in asked] == [0]
    without = box_matches(box._replace(destination_ports=(1, 1023)))
    assert not any(c.field == "ip_frag" for found, _ in without for c in found)


def test_fragments_between_two_chains_end() -> None:
    found = lab(
        "{from: {host: h1}, to: {host: w1}, traffic: [tcp/80], then: {chain: one}}",
        "{from: {host: h1}, to: {host: w1}, traffic: [tcp/81], then: {chain: two}}",
        "{from: {host: h1}, to: {network: servers}, then: allow}",
    )
    assert found.decided("s1", ip_packet(H1, W1, "tcp", frag=3)) == "deny"
    assert found.decided("s1", ip_packet(H1, W2, "tcp", frag=3)) == "allow"


def test_a_classifier_without_ports_that_comes_first_decides_for_fragments_too() -> None:
    found = lab(
        "{from: {host: h1}, to: {host: w1}, priority: 9, then: {chain: two}}",
        "{from: any, to: {host: w1}, traffic: [tcp/80], then: deny}",
    )
    assert found.decided("s1", ip_packet(H1, W1, "tcp", frag=3)) == TWO
    assert found.decided("s1", ip_packet(H2, W1, "tcp", frag=3)) == "deny"


def test_rules_for_fragments_are_as_many_as_hosts_not_as_classifiers() -> None:
    def flows(count: int) -> int:
        found = lab(*(
            f"{{from: {{host: h1}}, to: {{cidr: 10.3.{n // 200}.{n % 200}}}, traffic: [tcp/80], then: {{chain: one}}}}"
            for n in range(count)
        ))
        return len(found.at("s1").flows)

    assert flows(1000) - flows(500) == 500


# -- marks, reject, DSCP ----------------------------------------------------------------------------------------


def test_marks_go_with_the_forward_direction() -> None:
    found = lab("{name: m, from: {host: h1}, to: {host: w1}, then: {chain: one, limit: 10Mbps, dscp: 46, queue: 3}}")
    (flow,) = [f for f in found.at("s1").flows.values() if any(isinstance(a, Meter) for a in f.actions
               ) and any(c.field == "ipv4_src" for c in f.match)]
    assert isinstance(flow.actions[0], Meter)
    assert SetQueue(3) in flow.actions
    assert SetField("ip_dscp", 46, 0x3F) in flow.actions
    (meter,) = found.at("s1").meters
    assert (meter.rate, meter.id) == (10_000, flow.actions[0].meter)
    assert not found.at("s4").meters
    assert not any(isinstance(a, Meter | SetQueue) for f in found.at("s4").flows.values() for a in f.actions)


def test_reject_goes_to_its_table() -> None:
    found = lab("{from: {host: h1}, to: {host: w1}, traffic: [tcp/80], then: reject}")
    assert found.decided("s1", ip_packet(H1, W1, "tcp", 5, 80)) == "reject"
    assert found.decided("s4", ip_packet(W1, H1, "tcp", 80, 5)) == "allow"


def test_two_limits_on_the_same_traffic_need_an_order() -> None:
    with pytest.raises(PolicyError, match="overlap"):
        lab(
            "{name: a, from: {host: h1}, to: any, then: {limit: 1Mbps}}",
            "{name: b, from: any, to: {host: w1}, then: {limit: 2Mbps}}",
        )


# -- ICMP errors -------------------------------------------------------------------------------------------------


def test_icmp_errors_get_through_a_default_of_deny() -> None:
    found = lab("{from: {host: h1}, to: {host: w1}, traffic: [tcp/80], then: {chain: one}}", default="deny")
    for kind in (3, 11, 12):
        assert found.decided("s4", ip_packet(W1, H1, "icmp", kind)) == "allow"
    assert found.decided("s4", ip_packet("fd02::21", "fd01::11", "icmp", 2)) == "allow"
    for kind in (0, 5, 8):
        assert found.decided("s4", ip_packet(W1, H1, "icmp", kind)) == "deny"


def test_a_classifier_overrules_what_is_said_of_icmp_errors() -> None:
    found = lab(
        "{from: {host: h1}, to: {host: w1}, traffic: [tcp/80], then: {chain: one}}",
        "{from: {host: w1}, to: any, traffic: [icmp], then: deny}",
        default="deny",
    )
    assert found.decided("s4", ip_packet(W1, H1, "icmp", 3)) == "deny"


def test_where_nothing_passes_no_icmp_error_does() -> None:
    found = lab("{from: {host: h1}, to: {host: w1}, then: deny}", default="deny")
    assert found.decided("s4", ip_packet(W1, H1, "icmp", 3)) == "deny"


# -- on real switches --------------------------------------------------------------------------------------------


def frames_of(source: str, target: str, protocol: str, sport: int, dport: int, serial: int) -> bytes:
    layer = TCP(sport=sport, dport=dport) if protocol == "tcp" else UDP(sport=sport, dport=dport)
    network = IPv6(src=source, dst=target) if ":" in source else IP(src=source, dst=target, id=serial)
    return bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / network / layer / f"{serial:08}")


def pieces_of(source: str, target: str, protocol: str, sport: int, dport: int) -> list[bytes]:
    """A packet in fragments."""
    layer = TCP(sport=sport, dport=dport) if protocol == "tcp" else UDP(sport=sport, dport=dport)
    head = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    if ":" in source:
        whole = IPv6(src=source, dst=target) / IPv6ExtHdrFragment() / layer / ("x" * 1200 + f"{dport:08}")
        return [bytes(head / piece) for piece in fragment6(whole, 600)]
    whole = IP(src=source, dst=target, id=dport) / layer / ("x" * 1200 + f"{dport:08}")
    return [bytes(head / piece) for piece in fragment(whole, 600)]


def test_no_fragment_passes_a_chain_or_a_deny_on_a_real_switch(dummy_ovs: DummyOvs) -> None:
    rules = [
        Rule("{host: h1}", "{host: w1}", "[tcp/80]", "{chain: one}", 0),
        Rule("{host: h1}", "{host: w2}", "[tcp/1-1023]", "deny", 0),
        Rule("{host: h2}", "{network: servers}", "[udp/53]", "deny", 0),
        Rule("{host: h2}", "{network: servers}", "", "{chain: two}", 0),
    ]
    found = Lab(parse(policy_text(rules)))
    table = OvsTable(dummy_ovs, found, "s1")

    def said(source: str, target: str, protocol: str, port: int) -> set[str]:
        return set(table.all_decided(pieces_of(source, target, protocol, 40000, port)))

    assert said(H1, W1, "tcp", 80) == {ONE}
    assert said(H1, W1, "tcp", 81) == {ONE}  # it cannot be told from the one before
    assert said(H1, W1, "udp", 80) == {"allow"}
    assert said(H1, W2, "tcp", 80) == {"deny"}
    assert said(H2, W1, "udp", 53) == {"deny"}
    assert said(H2, W1, "tcp", 53) == {TWO}
    assert said("fd01::11", "fd02::21", "tcp", 80) == {ONE}
    assert said("fd01::11", "fd02::22", "tcp", 80) == {"deny"}
    assert set(table.all_decided([frames_of(H1, W2, "tcp", 7, 2000, 1)])) == {"allow"}
    assert set(table.all_decided([frames_of(H1, W2, "tcp", 7, 2, 1)])) == {"deny"}


@pytest.mark.parametrize("seed", range(4))
def test_a_real_switch_decides_as_the_language_says(dummy_ovs: DummyOvs, seed: int) -> None:
    draw = random.Random(seed)
    while True:
        rules = [
            Rule(draw.choice([*PARTIES]), draw.choice([*PARTIES]), draw.choice(TRAFFIC), draw.choice(VERDICTS), n % 5)
            for n in range(10)
        ]
        try:
            found = Lab(parse(policy_text(rules, "deny")))
            break
        except PolicyError:
            continue
    table = OvsTable(dummy_ovs, found, "s1")
    sent, wanted = [], []
    for serial in range(200):
        source = draw.choice([*ADDRESSES["h1"], *ADDRESSES["h2"]])
        target = draw.choice([a for a in WEB if (":" in a) == (":" in source)])
        protocol, sport, dport = draw.choice(["tcp", "udp"]), draw.choice([80, 5000]), draw.choice([53, 79, 80, 443, 9])
        sent.append(frames_of(source, target, protocol, sport, dport, serial))
        wanted.append(naive(rules, (source, target, protocol, sport, dport, 0), "deny"))
    assert table.all_decided(sent) == wanted
    fragments = [
        (source, target, protocol, piece)
        for source in (H1, H2, "fd01::11")
        for target in WEB
        if (":" in source) == (":" in target)
        for protocol in ("tcp", "udp")
        for piece in pieces_of(source, target, protocol, 5000, 80)
    ]
    said = table.all_decided([piece for *_, piece in fragments])
    for (source, target, protocol, _), each in zip(fragments, said, strict=True):
        packet = ip_packet(source, target, protocol, frag=3 if ":" in source else 1)
        assert acceptable(each, meant(rules, packet, source, target, 0, "deny")), (source, target, protocol)


def test_declared_tables_hold() -> None:
    found = lab("{from: {host: h1}, to: {host: w1}, then: {chain: one}}")
    flows = found.at("s1").flows
    assert {flow.table for flow in flows.values()} == {NUMBER["classify"]}
    assert not any(isinstance(a, Conjunction) for flow in flows.values() for a in flow.actions)
    assert found.made.fits(found.world, found.allocation.ids["objects"], found.made.ranks)
    changed = replace(found.world, hosts={name: h for name, h in found.world.hosts.items() if name != "w1"})
    assert not found.made.fits(changed, found.allocation.ids["objects"])
