"""Functions of every mode under hand-written flows: what is right passes, and each fault is named."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import examples
import pytest

from controller_app.pipeline.ofctl import parse_state
from controller_app.policy.topology_file import parse_topology
from controller_app.verification.classes import PacketClass
from controller_app.verification.packet import ICMP, TCP
from controller_app.verification.trace import PacketSpec, trace
from controller_app.verification.verify import Checker, Finding

TOPOLOGY = parse_topology("""\
version: 1
switches: {s1: {dpid: 1}}
links: []
hosts:
  h1: {attach: s1:1, ip: 10.1.0.11, mac: 02:00:00:00:01:11}
  w1: {attach: s1:2, ip: 10.2.0.21, mac: 02:00:00:00:02:21}
  r1: {attach: s1:3, ip: 10.1.0.2, mac: 02:00:00:00:0a:01}
  n1: {attach: s1:4, ip: 10.1.0.4, mac: 02:00:00:00:0a:03}
  fw1: {attach: {in: s1:5, out: s1:6}}
  tap1: {attach: s1:7}
  v1: {attach: s1:8, ip: 10.1.0.12, mac: 02:00:00:00:01:12, vlan: 7}
  v2: {attach: s1:8, ip: 10.1.0.13, mac: 02:00:00:00:01:13, vlan: 8}
  ids1: {attach: {in: s1:9, out: s1:10}}
""", "topology.yaml")
HEAD = """\
version: 1
networks:
  clients: {subnet: 10.1.0.0/24, gateway: 10.1.0.254}
  servers: {subnet: 10.2.0.0/24, gateway: 10.2.0.254}
functions:
  router: {kind: other, mode: routed, instances: {r1: {host: r1}}}
  nat: {kind: nat, mode: translating, instances: {n1: {host: n1}}}
  fw: {kind: firewall, HANDOVER instances: {fw1: {host: fw1}}}
  ids: {kind: ids, instances: {ids1: {host: ids1}}}
  tap: {kind: ids, mode: tap, instances: {tap1: {host: tap1}}}
"""
GW, H1, W1 = "0a:00:00:00:00:01", "02:00:00:00:01:11", "02:00:00:00:02:21"
R1, N1, V1 = "02:00:00:00:0a:01", "02:00:00:00:0a:03", "02:00:00:00:01:12"
TO_W1 = f"dec_ttl,set_field:{GW}->eth_src,set_field:{W1}->eth_dst,output:2"
TO_H1 = f"dec_ttl,set_field:{GW}->eth_src,set_field:{H1}->eth_dst,output:1"
LABEL = "0e:00:00:00:00:07"


def checker(policy: str, flows: str, handover: str = "label") -> Checker:
    text = HEAD.replace("HANDOVER", f"handover: {handover},") + policy
    return Checker(examples.policy(text=text), TOPOLOGY, {"s1": parse_state(flows, "")})


def check(policy: str, flows: str, source: str = "h1", destination: str = "w1", protocol: int = TCP, kind: str = "",
          handover: str = "label", forge: str | None = None) -> list[Finding]:
    hosts = TOPOLOGY.hosts
    sport, dport = (40000, 80) if protocol == TCP else (1, 0)
    tried = PacketClass("default", source, hosts[forge or source].ips[0], hosts[destination].ips[0], protocol, sport,
                        dport, kind=kind)
    return checker(policy, flows, handover).check(tried)


def said(found: list[Finding]) -> str:
    return " | ".join(f"{finding.way}: {finding.what}" for finding in found)


def chain(*functions: str, more: str = "", classifiers: str = "") -> str:
    return (f"chains:\n  c: {{through: [{', '.join(functions)}], stickiness: none{more}}}\n"
            f"  d: {{through: [ids], stickiness: none}}\n"
            "classifiers:\n  - {name: web, from: {network: clients}, to: {network: servers}, then: {chain: c}}\n"
            + classifiers)


ROUTED = f"""\
in_port=1,ip,actions=set_field:{R1}->eth_dst,output:3
in_port=2,ip,actions=set_field:{R1}->eth_dst,output:3
in_port=3,ip,eth_dst={GW},nw_dst=10.2.0.21,actions={TO_W1}
in_port=3,ip,eth_dst={H1},nw_dst=10.1.0.11,actions=output:1
"""


def test_a_router_on_the_way() -> None:
    assert not check(chain("router"), ROUTED)


@pytest.mark.parametrize(("wrong", "right", "says"), [
    (f"set_field:{R1}->eth_dst,output:3", "output:3", "and its MAC is 02:00:00:00:0a:01"),
    (f"in_port=1,ip,actions=set_field:{R1}->eth_dst", f"in_port=1,ip,actions=dec_ttl,set_field:{R1}->eth_dst",
     "router (r1) sees TTL 63 and should see 64"),
    (f"in_port=1,ip,actions=set_field:{R1}->eth_dst",
     f"in_port=1,ip,actions=set_field:{GW}->eth_src,set_field:{R1}->eth_dst", "sees sender 0a:00:00:00:00:01"),
    ("actions=dec_ttl,", "actions=", "its TTL is 63 and should be 62"),
    (f"set_field:{GW}->eth_src,", "", "its sender is 02:00:00:00:0a:01 and should be 0a:00:00:00:00:01"),
    ("nw_dst=10.2.0.21", "nw_dst=10.9.9.9", "forward: nobody receives it"),
    (f"eth_dst={H1},nw_dst=10.1.0.11,actions=", f"eth_dst={H1},nw_dst=10.1.0.11,actions=dec_ttl,",
     "return: its TTL is 62 and should be 63"),
    (f"in_port=2,ip,actions=set_field:{R1}->eth_dst,output:3", f"in_port=2,ip,actions={TO_H1}",
     "return: it meets no function and should meet router"),
])
def test_faults_around_a_router(wrong: str, right: str, says: str) -> None:
    assert wrong in ROUTED
    assert says in said(check(chain("router"), ROUTED.replace(wrong, right)))


def test_a_router_answers_for_itself() -> None:
    flows = ("in_port=1,icmp,nw_dst=10.1.0.2,actions=output:3\n"
             f"in_port=3,icmp,nw_src=10.1.0.2,eth_dst={H1},actions=output:1")
    assert not check(chain("router"), flows, destination="r1", protocol=ICMP)
    assert not check(chain("router"), flows, source="r1", destination="h1", protocol=ICMP)
    assert "nobody receives it" in said(check(chain("router"), "actions=drop", destination="r1", protocol=ICMP))


def test_a_trace_names_who_takes_from_the_ttl() -> None:
    found = checker(chain("router"), ROUTED)
    document = trace(examples.policy(text=HEAD.replace("HANDOVER ", "") + chain("router")), TOPOLOGY,
                     found.network.state, None, PacketSpec("h1", ip_address("10.2.0.21")))
    assert document["functions"] == ["r1"]
    assert document["ttl_hops"] == [{"ttl": 1, "name": "r1", "address": "10.1.0.2"}, {"ttl": 2, "name": "gateway"}]
    assert (document["verdict"], document["return_verdict"]) == ("delivered", "delivered")


TRANSLATED = f"""\
in_port=4,ip,nw_src=10.1.0.4,nw_dst=10.2.0.21,actions=set_field:{LABEL}->eth_dst,output:9
in_port=1,ip,actions=set_field:{LABEL}->eth_dst,output:5
in_port=6,ip,actions=set_field:{N1}->eth_dst,output:4
in_port=10,ip,actions={TO_W1}
in_port=2,ip,nw_dst=10.1.0.4,actions=set_field:{LABEL}->eth_dst,output:10
in_port=9,ip,actions=dec_ttl,set_field:{GW}->eth_src,set_field:{N1}->eth_dst,output:4
in_port=4,ip,eth_dst={H1},actions=output:6
in_port=5,ip,actions=set_field:{H1}->eth_dst,output:1
"""


def test_a_chain_with_a_translating_function() -> None:
    assert not check(chain("fw", "nat", "ids"), TRANSLATED)


@pytest.mark.parametrize(("wrong", "right", "says"), [
    (f"nw_src=10.1.0.4,nw_dst=10.2.0.21,actions=set_field:{LABEL}->eth_dst,output:9",
     f"nw_src=10.1.0.4,nw_dst=10.2.0.21,actions={TO_W1}", "forward: it meets fw, nat and should meet fw, nat, ids"),
    (f"in_port=1,ip,actions=set_field:{LABEL}->eth_dst,output:5",
     f"in_port=1,ip,actions=set_field:{N1}->eth_dst,output:4",
     "forward: it meets nat and should meet fw, nat"),
    (f"in_port=2,ip,nw_dst=10.1.0.4,actions=set_field:{LABEL}->eth_dst,output:10",
     f"in_port=2,ip,actions=dec_ttl,set_field:{GW}->eth_src,set_field:{N1}->eth_dst,output:4",
     "return: it meets nat and should meet ids"),
    (f"in_port=4,ip,eth_dst={H1},actions=output:6", f"in_port=4,ip,eth_dst={H1},actions=output:1",
     "return: it meets ids, nat and should meet ids, nat, fw"),
    (f"in_port=9,ip,actions=dec_ttl,set_field:{GW}->eth_src,", "in_port=9,ip,actions=",
     "return: its sender is 02:00:00:00:02:21"),
    (f"in_port=6,ip,actions=set_field:{N1}->eth_dst,output:4", "in_port=6,ip,actions=output:4",
     "nat (n1) sees it for 0e:00:00:00:00:07"),
    ("output:10", "output:9", "return: it enters ids (ids1) by its arm 'in' and should by 'out'"),
])
def test_faults_around_a_translating_function(wrong: str, right: str, says: str) -> None:
    assert wrong in TRANSLATED
    assert says in said(check(chain("fw", "nat", "ids"), TRANSLATED.replace(wrong, right)))


def test_what_a_translating_function_gets_again_loops() -> None:
    again = TRANSLATED.replace(f"nw_src=10.1.0.4,nw_dst=10.2.0.21,actions=set_field:{LABEL}->eth_dst,output:9",
                               f"nw_src=10.1.0.4,nw_dst=10.2.0.21,actions=set_field:{LABEL}->eth_dst,output:5")
    assert "it loops: n1 translates it again" in said(check(chain("fw", "nat", "ids"), again))


ORIGINAL = f"""\
in_port=1,ip,actions=output:5
in_port=6,ip,actions={TO_W1}
in_port=2,ip,actions=output:6
in_port=5,ip,actions={TO_H1}
"""


def test_a_function_that_is_to_see_the_original_mac() -> None:
    assert not check(chain("fw"), ORIGINAL, handover="original")
    labelled = ORIGINAL.replace("actions=output:5", f"actions=set_field:{LABEL}->eth_dst,output:5")
    assert "fw (fw1) sees it for 0e:00:00:00:00:07 and should see 0a:00:00:00:00:01, as its sender wrote" in said(
        check(chain("fw"), labelled, handover="original"))
    assert not check(chain("fw"), labelled)
    aged = ORIGINAL.replace("in_port=1,ip,actions=", "in_port=1,ip,actions=dec_ttl,")
    assert "fw (fw1) sees TTL 63 and should see 64" in said(check(chain("fw"), aged))


TAPPED = f"""\
in_port=1,ip,actions=set_field:{R1}->eth_dst,output:3
in_port=3,ip,eth_dst={GW},actions=output:7,{TO_W1}
in_port=2,ip,actions=output:7,set_field:{R1}->eth_dst,output:3
in_port=3,ip,eth_dst={H1},nw_dst=10.1.0.11,actions=output:1
"""


def test_a_tap_gets_the_frame_as_it_is_at_its_place() -> None:
    assert not check(chain("router", "tap"), TAPPED)
    early = TAPPED.replace(f"in_port=1,ip,actions=set_field:{R1}", f"in_port=1,ip,actions=output:7,set_field:{R1}")
    early = early.replace(f"eth_dst={GW},actions=output:7,", f"eth_dst={GW},actions=")
    assert "tap tap (tap1) gets its copy after 0 functions and should after 1" in said(
        check(chain("router", "tap"), early))
    late = TAPPED.replace(f"actions=output:7,{TO_W1}", f"actions={TO_W1},output:7")
    found = said(check(chain("router", "tap"), late))
    assert "tap tap (tap1) sees TTL 62 and should see 63" in found and "sender 0a:00:00:00:00:01" in found
    assert "sees it for 02:00:00:00:02:21 and should see 0a:00:00:00:00:01" in found


@pytest.mark.parametrize("action", ["push_mpls:0x8847", "push_vlan:0x8100,set_field:0x1005->vlan_tci"])
def test_what_switches_put_on_between_themselves_is_not_for_others(action: str) -> None:
    for port, who in ((5, "fw (fw1)"), (1, "h1"), (7, "tap (tap1)")):
        flows = ORIGINAL.replace(f"output:{port}", f"{action},output:{port}")
        if port == 7:
            flows = ORIGINAL.replace("in_port=1,ip,actions=", f"in_port=1,ip,actions=clone({action},output:7),")
        found = said(check(chain("tap", "fw") if port == 7 else chain("fw"), flows))
        assert f"{who} sees" in found and ("between themselves" in found or "VLAN 5" in found), found


BRANCH = ("  - {name: odd, from: any, to: {network: servers}, after: fw, dscp: ef, then: %s}\n")
AFTER = f"""\
in_port=1,ip,actions=output:5
priority=40000,in_port=6,ip,ip_dscp=46,actions=output:9
in_port=6,ip,actions={TO_W1}
in_port=10,ip,actions={TO_W1}
in_port=2,ip,actions=output:6
in_port=5,ip,actions={TO_H1}
"""


def marked(policy: str, flows: str, dscp: int) -> list[Finding]:
    tried = PacketClass("default", "h1", TOPOLOGY.hosts["h1"].ips[0], TOPOLOGY.hosts["w1"].ips[0], TCP, 40000, 80, dscp)
    return checker(policy, flows).check(tried)


def test_what_comes_out_of_a_function_takes_another_chain() -> None:
    policy = chain("fw", classifiers=BRANCH % "{chain: d}")
    assert not marked(policy, AFTER, 46) and not marked(policy, AFTER, 0)
    straight = AFTER.replace("priority=40000,in_port=6,ip,ip_dscp=46,actions=output:9\n", "")
    assert "it meets fw and should meet fw, ids" in said(marked(policy, straight, 46))
    always = straight.replace(f"in_port=6,ip,actions={TO_W1}", "in_port=6,ip,actions=output:9")
    assert "it meets fw, ids and should meet fw" in said(marked(policy, always, 0))
    shorter = chain("fw", "ids", classifiers=BRANCH % "allow")
    assert "forward" not in said(marked(shorter, straight, 46))
    assert "forward: it meets fw and should meet fw, ids" in said(marked(shorter, straight, 0))


def test_what_comes_out_of_a_function_is_denied_or_rejected() -> None:
    gone = AFTER.replace("ip_dscp=46,actions=output:9", "ip_dscp=46,actions=drop")
    told = AFTER.replace("ip_dscp=46,actions=output:9", "ip_dscp=46,actions=controller")
    for word in ("deny", "reject"):
        policy = chain("fw", classifiers=BRANCH % word)
        assert not marked(policy, told, 46)
        verb = {"deny": "denied", "reject": "rejected"}[word]
        assert f"it is {verb} after fw, and w1 receives it" in said(marked(policy, AFTER, 46))
    assert not marked(chain("fw", classifiers=BRANCH % "deny"), gone, 46)
    assert "its sender is not told" in said(marked(chain("fw", classifiers=BRANCH % "reject"), gone, 46))


def test_a_mark_is_on_what_functions_see_and_what_arrives_but_not_on_replies() -> None:
    policy = chain("fw").replace("then: {chain: c}", "then: {chain: c, dscp: af21}")
    right = ORIGINAL.replace("in_port=1,ip,actions=", "in_port=1,ip,actions=set_field:18->ip_dscp,")
    assert not check(policy, right)
    assert "its DSCP is 0 and should be 18" in said(check(policy, ORIGINAL))
    late = ORIGINAL.replace("in_port=6,ip,actions=", "in_port=6,ip,actions=set_field:18->ip_dscp,")
    assert "fw (fw1) sees DSCP 0 and should see 18" in said(check(policy, late))
    both = right.replace("in_port=2,ip,actions=", "in_port=2,ip,actions=set_field:18->ip_dscp,")
    assert "return: its DSCP is 18 and should be 0" in said(check(policy, both))


def test_rejected_is_told() -> None:
    policy = "classifiers:\n  - {from: any, to: any, traffic: [tcp], then: reject}\n"
    assert not check(policy, "in_port=1,actions=controller")
    assert "its sender is not told" in said(check(policy, "actions=drop"))
    assert "it is rejected, and w1 receives it" in said(check(policy, f"actions=controller,{TO_W1}"))
    assert not check(policy, "actions=drop", kind="fragment")


TAGGED = f"""\
in_port=8,dl_vlan=7,ip,actions=pop_vlan,{TO_W1}
in_port=2,ip,nw_dst=10.1.0.12,actions=dec_ttl,set_field:{GW}->eth_src,set_field:{V1}->eth_dst,\
push_vlan:0x8100,set_field:0x1007->vlan_tci,output:8
"""


def test_hosts_on_one_port_are_told_apart_by_their_tags() -> None:
    assert not check("", TAGGED, source="v1")
    kept = TAGGED.replace("pop_vlan,", "")
    assert "w1 sees VLAN 7 and should see no VLAN tag" in said(check("", kept, source="v1"))
    wrong = TAGGED.replace("0x1007", "0x1008")
    assert "v2 receives it, and only v1 may" in said(check("", wrong, source="v1"))
    bare = TAGGED.replace("push_vlan:0x8100,set_field:0x1007->vlan_tci,", "")
    assert "nothing is attached" in said(check("", bare, source="v1"))


def test_a_forged_source_has_to_be_dropped() -> None:
    flows = f"in_port=1,ip,nw_src=10.1.0.11,actions={TO_W1}\nin_port=1,ip,nw_src=10.1.0.12,actions={TO_W1}"
    assert "forged: it is denied, and w1 receives it" in said(check("", flows, kind="forged", forge="v1"))
    assert not check("", flows.splitlines()[0], kind="forged", forge="v1")


def test_fragments_and_errors_are_not_to_get_past_functions() -> None:
    policy = chain("fw").replace("to: {network: servers}, then", "to: {network: servers}, traffic: [tcp/80], then")
    bypass = f"in_port=1,actions={TO_W1}\nin_port=2,actions={TO_H1}"
    for kind in ("fragment", "first fragment"):
        assert "it meets no function and should meet fw" in said(check(policy, bypass, kind=kind))
        assert not check(policy, ORIGINAL, kind=kind)
        assert not check(policy, "actions=drop", kind=kind)
    assert not check(policy, bypass, source="w1", destination="h1", protocol=ICMP, kind="error")
    assert not check(policy, ORIGINAL, source="w1", destination="h1", protocol=ICMP, kind="error")
    lost = said(check(policy, "actions=drop", source="w1", destination="h1", protocol=ICMP, kind="error"))
    assert "nobody receives it" in lost


def test_what_no_instance_can_take() -> None:
    down = replace(TOPOLOGY, down=frozenset({TOPOLOGY.hosts["fw1"].attach["in"]}))
    tried = PacketClass("default", "h1", TOPOLOGY.hosts["h1"].ips[0], TOPOLOGY.hosts["w1"].ips[0], TCP, 40000, 80)
    for word, flows, says in (
        ("closed", "actions=drop", None),
        ("closed", f"actions={TO_W1}", "it should meet fw, of which no instance works"),
        ("reject", "actions=controller", None), ("reject", "actions=drop", "its sender is not told"),
        ("open", f"in_port=1,actions={TO_W1}\nin_port=2,actions={TO_H1}", None),
        ("open", "actions=drop", "nobody receives it"),
    ):
        text = HEAD.replace("HANDOVER", f"on_failure: {word},") + chain("fw")
        found = said(Checker(examples.policy(text=text), down, {"s1": parse_state(flows, "")}).check(tried))
        assert (says or "") in found and bool(found) == (says is not None), (word, flows, found)
