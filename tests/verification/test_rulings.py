"""The plain evaluator on what came with kinds of functions: each word of the language by itself."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import examples
import pytest

from controller_app.model.topology import Topology
from controller_app.policy.topology_file import parse_topology
from controller_app.verification.classes import special
from controller_app.verification.evaluate import Evaluator, Expectation
from controller_app.verification.packet import ICMP, ICMPV6, TCP, UDP, changed, ip_packet

TOPOLOGY = parse_topology("""\
version: 1
switches: {s1: {dpid: 1}}
links: []
hosts:
  h1: {attach: s1:11, ip: [10.1.0.11, "fd01::11"], mac: 02:00:00:00:01:11}
  h2: {attach: s1:12, ip: 10.1.0.130, mac: 02:00:00:00:01:12}
  w1: {attach: s1:13, ip: [10.2.0.21, "fd02::21"], mac: 02:00:00:00:02:21}
  w2: {attach: s1:14, ip: 10.3.0.22, mac: 02:00:00:00:02:22}
  fw1: {attach: {in: s1:21, out: s1:22}}
  ids1: {attach: {in: s1:23, out: s1:24}}
  tap1: {attach: s1:25}
  r1: {attach: s1:26, ip: 10.1.0.2, mac: 02:00:00:00:0a:01}
  n1: {attach: s1:27, ip: 10.1.0.4, mac: 02:00:00:00:0a:03}
""", "topology.yaml")
HEAD = """\
version: 1
networks:
  clients: {subnet: [10.1.0.0/24, "fd01::/64"], gateway: [10.1.0.254, "fd01::fe"]}
  servers: {subnet: [10.2.0.0/24, "fd02::/64"], gateway: [10.2.0.254, "fd02::fe"]}
  others: {subnet: 10.3.0.0/24, gateway: 10.3.0.254}
segments:
  kiosks: {network: clients, cidr: 10.1.0.128/26}
functions:
  fw: {kind: firewall, instances: {fw1: {host: fw1}}}
  ids: {kind: ids, ON_FAILURE, instances: {ids1: {host: ids1}}}
  tap: {kind: ids, mode: tap, instances: {tap1: {host: tap1}}}
  router: {kind: other, mode: routed, instances: {r1: {host: r1}}}
  nat: {kind: nat, mode: translating, instances: {n1: {host: n1}}}
chains:
  both: {through: [fw, tap, ids]}
  one: {through: [fw]}
  other: {through: [ids]}
  routed: {through: [router]}
  there-and-back: {through: [fw, ids], return: [tap, ids]}
  out: {through: [fw, nat, ids]}
  out-direct: {through: [fw, nat, ids], return: direct}
  out-listed: {through: [fw, nat, ids], return: [ids, nat, tap, fw]}
  last: {through: [nat]}
"""
H1, H2, W1, W2, R1, N1 = "10.1.0.11", "10.1.0.130", "10.2.0.21", "10.3.0.22", "10.1.0.2", "10.1.0.4"
HOST_OF = {H1: "h1", H2: "h2", W1: "w1", W2: "w2", R1: "r1", N1: "n1", "fd01::11": "h1", "fd02::21": "w1"}


def evaluator(classifiers: str, topology: Topology = TOPOLOGY, on_failure: str = "closed") -> Evaluator:
    text = HEAD.replace("ON_FAILURE", f"on_failure: {on_failure}")
    if classifiers.lstrip().startswith("-"):
        text += "classifiers:\n"
    return Evaluator(examples.policy(text=text + classifiers), topology)


def ask(rules: Evaluator | str, source: str, destination: str, dport: int = 80, sport: int = 40000,
        protocol: int = TCP, kind: str = "", out_of: str | None = None, **fields: int) -> Expectation:
    found = evaluator(rules) if isinstance(rules, str) else rules
    packet = ip_packet(ip_address(source), ip_address(destination), protocol, sport, dport, eth_src=1, eth_dst=2)
    sender = HOST_OF[N1 if out_of == "nat" else source]  # which has put the address back
    return found.evaluate(changed(special(packet, kind), **fields), sender, out_of)


def outcome(wanted: Expectation) -> tuple[str, tuple[str, ...]]:
    return wanted.verdict, wanted.order


def outcomes(wanted: Expectation) -> set[tuple[str, tuple[str, ...]]]:
    return {outcome(each) for each in wanted.alternatives or (wanted,)}


CLIENTS = "  - {name: web, from: {network: clients}, to: {network: servers}, traffic: [tcp/80], then: %s}\n"


def test_reject_has_no_mirror() -> None:
    assert ask(CLIENTS % "reject", H1, W1).verdict == "reject"
    assert ask(CLIENTS % "reject" + "default: deny\n", W1, H1, 40000, 80).classifier is None


def test_an_explicit_way_back_is_met_in_its_order() -> None:
    text = CLIENTS % "{chain: there-and-back}"
    there, back = ask(text, H1, W1), ask(text, W1, H1, 40000, 80)
    assert (outcome(there), there.reversed) == (("chain", ("fw", "ids")), False)
    assert (outcome(back), back.reversed, back.mirrored) == (("chain", ("tap", "ids")), False, True)
    assert (back.functions, back.taps) == (("ids",), ("tap",))


@pytest.mark.parametrize(("on_failure", "expected"), [
    ("closed", ("deny", ())), ("reject", ("reject", ())), ("open", ("chain", ("fw", "tap"))),
])
def test_what_is_done_when_no_instance_works(on_failure: str, expected: tuple[str, tuple[str, ...]]) -> None:
    down = replace(TOPOLOGY, down=frozenset({TOPOLOGY.hosts["ids1"].attach["out"]}))
    hosts = {name: host for name, host in TOPOLOGY.hosts.items() if name != "ids1"}
    for topology in (down, replace(TOPOLOGY, hosts=hosts)):
        wanted = ask(evaluator(CLIENTS % "{chain: both}", topology, on_failure), H1, W1)
        assert outcome(wanted) == expected
        assert wanted.missing == (None if on_failure == "open" else "ids")
    assert ask(evaluator(CLIENTS % "{chain: both}", on_failure=on_failure), H1, W1).order == ("fw", "tap", "ids")


def test_a_tap_that_is_not_there_is_left_out() -> None:
    hosts = {name: host for name, host in TOPOLOGY.hosts.items() if name != "tap1"}
    wanted = ask(evaluator(CLIENTS % "{chain: both}", replace(TOPOLOGY, hosts=hosts)), H1, W1)
    assert outcome(wanted) == ("chain", ("fw", "ids"))


def test_dscp_is_matched_and_written() -> None:
    text = ("  - {name: voice, from: any, to: any, dscp: [ef, 10], then: {chain: one, dscp: af21}}\n"
            "  - {name: rest, from: any, to: any, then: {chain: other}}\n")
    for value, functions, mark in ((46, ("fw",), 18), (10, ("fw",), 18), (0, ("ids",), None), (18, ("ids",), None)):
        wanted = ask(text, H1, W1, ip_dscp=value)
        assert (wanted.order, wanted.dscp, wanted.conflict) == (functions, mark, ())


def test_a_mirror_asks_for_the_same_dscp_and_writes_none() -> None:
    text = "  - {name: voice, from: {host: h1}, to: {host: w1}, dscp: ef, then: {chain: one, dscp: af21}}\n"
    back = ask(text, W1, H1, 40000, 80, ip_dscp=46)
    assert (back.order, back.dscp, back.mirrored) == (("fw",), None, True)
    assert ask(text, W1, H1, 40000, 80).classifier is None


def test_a_segment_is_a_party() -> None:
    text = "  - {from: {segment: kiosks}, to: any, then: {chain: one}}\n"
    assert ask(text, H2, W1).order == ("fw",)
    assert ask(text, H1, W1).order == ()


def test_a_segment_by_labels_is_its_endpoints_in_its_network() -> None:
    text = HEAD.replace("ON_FAILURE", "on_failure: open").replace(
        "cidr: 10.1.0.128/26", "selector: kind=kiosk") + """\
endpoints:
  e1: {host: h1, network: clients, labels: {kind: kiosk}}
  e2: {host: h2, network: clients}
  e3: {host: w1, network: servers, labels: {kind: kiosk}}
classifiers:
  - {from: {segment: kiosks}, to: any, then: {chain: one}}
"""
    found = Evaluator(examples.policy(text=text), TOPOLOGY)
    assert [ask(found, source, W2).order for source in (H1, H2, W1)] == [("fw",), (), ()]


def test_a_classifier_after_a_function_is_for_what_comes_out_of_it_only() -> None:
    text = ("  - {name: all, from: any, to: any, then: {chain: one}}\n"
            "  - {name: marked, from: any, to: {network: servers}, after: fw, dscp: ef, "
            "then: {chain: other, dscp: 8}}\n"
            "  - {name: telnet, from: any, to: any, traffic: [tcp/23], after: fw, then: deny}\n")
    found = evaluator(text)
    wanted = ask(found, H1, W1, ip_dscp=46)
    assert (wanted.order, wanted.classifier is not None and wanted.classifier.name) == (("fw",), "all")
    packet = ip_packet(ip_address(H1), ip_address(W1), TCP, 40000, 80, eth_src=1, eth_dst=2)
    assert found.branch("default", "fw", packet) is None
    assert found.branch("default", "ids", changed(packet, ip_dscp=46)) is None
    branch = found.branch("default", "fw", changed(packet, ip_dscp=46))
    assert branch is not None and (branch.order, branch.dscp) == (("ids",), 8)
    denied = found.branch("default", "fw", changed(packet, dport=23))
    assert denied is not None and denied.verdict == "deny"
    # It says nothing of replies.
    answer = ip_packet(ip_address(W1), ip_address(H1), TCP, 80, 40000, eth_src=1, eth_dst=2)
    assert found.branch("default", "fw", changed(answer, ip_dscp=46)) is None
    assert ask(found, W1, H1, 40000, 80, ip_dscp=46).order == ("fw",)


def test_a_chain_is_cut_after_a_translating_function() -> None:
    found = evaluator(CLIENTS % "{chain: out}" + "default: deny\n")
    assert ask(found, H1, W1).order == ("fw", "nat")
    onward = ask(found, N1, W1)
    assert (onward.order, onward.reversed) == (("ids",), False)
    answer = ask(found, W1, N1, 40000, 80)
    assert (answer.order, answer.reversed, [target.host for target in answer.targets]) == (("ids",), True, ["n1"])
    # What comes out of it with the addresses put back, and what only looks like that
    assert ask(found, W1, H1, 40000, 80, out_of="nat").order == ("nat", "fw")
    assert ask(found, W1, H1, 40000, 80).verdict == "deny"
    assert ask(found, N1, W1, 81).verdict == "deny"


def test_what_a_translating_function_sends_has_the_mark_that_was_written() -> None:
    text = "  - {{from: {{host: h1}}, to: any, dscp: ef, then: {{chain: out{}}}}}\n"
    plain, marked = evaluator(text.format("")), evaluator(text.format(", dscp: 10"))
    for value, orders in ((46, [("ids",), ()]), (10, [(), ("ids",)]), (0, [(), ()])):
        assert [ask(found, N1, W1, ip_dscp=value).order for found in (plain, marked)] == orders
    assert ask(marked, W1, N1, 40000, 80, ip_dscp=46).order == ("ids",)
    assert ask(marked, N1, W1, ip_dscp=10).dscp is None


def test_a_branch_into_a_translating_function_says_nothing_of_replies() -> None:
    found = evaluator("  - {from: any, to: {network: servers}, after: router, then: {chain: out}}\ndefault: deny\n")
    assert ask(found, N1, W1).order == ("ids",)
    assert {ask(found, *ends).verdict for ends in ((H1, W1), (W1, H1), (W1, N1))} == {"deny"}


def test_what_ends_with_a_translating_function_goes_on_directly() -> None:
    found = evaluator(CLIENTS % "{chain: last}" + "default: deny\n")
    assert ask(found, H1, W1).order == ("nat",)
    assert [outcome(ask(found, *ends)) for ends in ((N1, W1, 80, 40000), (W1, N1, 40000, 80))] == [("allow", ())] * 2


def test_the_way_back_of_a_cut_chain() -> None:
    direct = evaluator(CLIENTS % "{chain: out-direct}" + "default: deny\n")
    assert outcome(ask(direct, W1, N1, 40000, 80)) == ("allow", ())
    assert outcome(ask(direct, W1, H1, 40000, 80, out_of="nat")) == ("allow", ())
    listed = evaluator(CLIENTS % "{chain: out-listed}")
    assert ask(listed, W1, N1, 40000, 80).order == ("ids",)
    assert ask(listed, W1, H1, 40000, 80, out_of="nat").order == ("nat", "tap", "fw")


def test_what_a_translating_function_sends_is_the_part_even_of_a_wide_classifier() -> None:
    found = evaluator("  - {from: any, to: {network: servers}, then: {chain: out}}\n")
    assert ask(found, N1, W1).order == ("ids",)
    assert ask(found, H1, W1).order == ("fw", "nat")


def test_a_skipped_translating_function_does_not_cut() -> None:
    text = HEAD.replace("ON_FAILURE", "on_failure: closed")
    text = text.replace("mode: translating", "mode: translating, on_failure: open")
    hosts = {name: host for name, host in TOPOLOGY.hosts.items() if name != "n1"}
    found = Evaluator(examples.policy(text=text + "classifiers:\n" + CLIENTS % "{chain: out}"),
                      replace(TOPOLOGY, hosts=hosts))
    assert ask(found, H1, W1).order == ("fw", "ids")


def test_a_router_meets_no_chain_with_its_own_packets() -> None:
    found = evaluator("  - {from: any, to: any, then: {chain: routed}}\n"
                      "  - {from: any, to: any, traffic: [tcp/23], then: deny}\n")
    assert ask(found, H1, W1).order == ("router",)
    assert outcome(ask(found, R1, W1)) == outcome(ask(found, W1, R1)) == ("allow", ())
    assert ask(found, H1, R1, 23).verdict == "deny"
    assert [target.host for target in ask(found, W1, R1).targets] == ["r1"]
    closed = evaluator("default: deny\n")
    assert outcomes(ask(closed, R1, W1)) == {("deny", ()), ("allow", ())}


def test_a_fragment_never_gets_past_what_may_be_meant_for_it() -> None:
    narrow = "  - {name: web, from: any, to: {network: servers}, traffic: [tcp/80], then: %s}\n"
    kinds = ("fragment", "first fragment")
    for kind in kinds:
        # nothing asks for ports: it is what it is
        assert ask("  - {from: any, to: any, then: {chain: one}}\n", H1, W1, kind=kind).alternatives == ()
        assert ask(narrow % "deny", H1, W1, kind=kind).verdict == "deny"
        assert ask(narrow % "deny", H1, W1, protocol=UDP, kind=kind).verdict == "allow"
        chained = ask(narrow % "{chain: one}", H1, W1, kind=kind)
        assert outcomes(chained) == {("chain", ("fw",)), ("deny", ())}
        two = narrow % "{chain: one}" + "  - {from: any, to: any, traffic: [tcp/22], then: {chain: other}}\n"
        assert outcomes(ask(two, H1, W1, kind=kind)) == {("deny", ())}
        # what surely is covered by something that comes first
        assert outcomes(ask(narrow % "deny" + "  - {from: any, to: any, then: {chain: one}, priority: 9}\n",
                            H1, W1, kind=kind)) == {("chain", ("fw",)), ("deny", ())}
        assert ask(narrow % "allow" + "  - {from: any, to: any, traffic: [tcp], then: deny}\n", H1, W1,
                   kind=kind).verdict == "deny"


def test_a_fragment_from_a_sender_that_is_steered_may_be_steered_too() -> None:
    text = "  - {from: {host: h1}, to: {host: w1}, traffic: [tcp/80], then: {chain: one}}\n"
    assert outcomes(ask(text, H1, W2, kind="fragment")) == {("allow", ()), ("chain", ("fw",)), ("deny", ())}
    assert outcomes(ask(text, H2, W2, kind="fragment")) == {("allow", ())}


def test_a_later_fragment_of_ipv6_shows_no_protocol() -> None:
    text = "  - {from: any, to: any, traffic: [udp], then: deny}\n"
    assert ask(text, "fd01::11", "fd02::21", protocol=TCP, kind="fragment").verdict == "deny"
    assert ask(text, "fd01::11", "fd02::21", protocol=TCP, kind="first fragment").verdict == "allow"


@pytest.mark.parametrize(("source", "destination", "protocol"), [
    (W1, H1, ICMP), ("fd02::21", "fd01::11", ICMPV6),
])
def test_an_error_goes_the_way_of_replies_or_directly(source: str, destination: str, protocol: int) -> None:
    web = CLIENTS % "{chain: one}" + "default: deny\n"
    wanted = ask(web, source, destination, protocol=protocol, kind="error")
    assert {("chain", ("fw",)), ("allow", ())} <= outcomes(wanted)
    explicit = "  - {from: any, to: any, traffic: [icmp], then: deny}\n"
    assert outcomes(ask(CLIENTS % "{chain: one}" + explicit, source, destination, protocol=protocol,
                        kind="error")) == {("deny", ())}
    # an echo is none, and neither are two that have nothing to do with each other
    assert ask(web, source, destination, protocol=protocol).verdict == "deny"
    assert ask(web, W2, H1, protocol=ICMP, kind="error").verdict == "deny"


INSERTED = """\
networks:
  clients: {subnet: 10.1.0.0/24, gateway: 10.1.0.254, insert: [fw, tap]}
  servers: {subnet: 10.2.0.0/24, gateway: 10.2.0.254, insert: [ids, fw]}
  others: {subnet: 10.3.0.0/24, gateway: 10.3.0.254}
segments:
  kiosks: {network: clients, cidr: 10.1.0.128/26, insert: [ids]}
"""


def inserting(classifiers: str = "") -> Evaluator:
    text = "version: 1\n" + INSERTED + HEAD[HEAD.index("functions:"):].replace("ON_FAILURE", "on_failure: closed")
    return Evaluator(examples.policy(text=text + classifiers), TOPOLOGY)


@pytest.mark.parametrize(("source", "destination", "order", "backward"), [
    (H1, W2, ("fw", "tap"), False),
    (W2, H1, ("tap", "fw"), True),
    (H2, W2, ("ids",), False),
    (W2, H2, ("ids",), True),
    (H2, H1, ("ids",), False),  # out of the segment, and within the network
    (H1, H2, ("ids",), True),
    (H1, W1, ("fw", "tap", "ids"), None),  # out of one and into the other, each function once
    (H2, W1, ("ids", "fw"), None),
])
def test_what_is_inserted(source: str, destination: str, order: tuple[str, ...], backward: bool | None) -> None:
    wanted = ask(inserting(), source, destination)
    assert (wanted.verdict, wanted.order, wanted.reversed) == ("chain", order, backward)


def test_where_both_insert_replies_may_turn_the_order_round() -> None:
    assert outcomes(ask(inserting(), H1, W1)) == {("chain", ("fw", "tap", "ids")), ("chain", ("tap", "fw", "ids"))}
    assert {each[::-1] for _, each in outcomes(ask(inserting(), H1, W1))} & {
        each for _, each in outcomes(ask(inserting(), W1, H1))}


def test_every_classifier_and_mirror_comes_before_an_insertion() -> None:
    found = inserting("classifiers:\n  - {from: {host: h1}, to: any, traffic: [tcp/80], then: allow}\n")
    assert outcome(ask(found, H1, W2)) == outcome(ask(found, W2, H1, 40000, 80)) == ("allow", ())
    assert ask(found, H1, W2, 81).order == ("fw", "tap")


def test_functions_own_addresses_are_spared() -> None:
    assert outcome(ask(inserting(), R1, W2)) == outcome(ask(inserting(), N1, W2)) == ("allow", ())
    assert outcome(ask(inserting(), W2, N1)) == ("allow", ())
