"""Classifiers after a function, chains cut by translating functions, explicit ways back, and packets that are
classified again."""

from __future__ import annotations

from dataclasses import replace

import examples
import pytest
from classifying import Lab, ip_packet, parse, winner

from controller_app.model.flow import FRAG_ANY, Meter, Move, SetField
from controller_app.model.position import PolicyError
from controller_app.pipeline import labels
from controller_app.pipeline.build import Rules
from controller_app.pipeline.tables import FROM, NUMBER, RESUMED
from controller_app.policy.topology_file import parse_topology

NETWORK = examples.NETWORK.replace("  fw1:", "  n1: {attach: s3:31, ip: 10.2.0.77, mac: 02:00:00:00:03:33}\n"
                                   "  r1: {attach: s2:41, ip: 10.2.0.78, mac: 02:00:00:00:03:34}\n"
                                   "  dpi1: {attach: {in: s4:41, out: s4:42}}\n  fw1:")
POLICY = """\
version: 1
networks:
  clients: {subnet: 10.1.0.0/24, gateway: 10.1.0.254}
  servers: {subnet: 10.2.0.0/24, gateway: 10.2.0.254}
functions:
  fw: {kind: firewall, instances: {fw1: {host: fw1}, fw2: {host: fw2}}}
  dpi: {kind: ids, instances: {dpi1: {host: dpi1}}}
  nat: {kind: nat, mode: translating, instances: {n1: {host: n1}}}
  rt: {kind: other, mode: routed, instances: {r1: {host: r1}}}
chains:
  cut: {through: [fw, nat, dpi], stickiness: none, return: RETURN}
  end: {through: [fw, nat], stickiness: none}
  plain: {through: [fw], stickiness: none}
  deep: {through: [dpi], stickiness: none}
  only: {through: [rt], stickiness: none}
  walk: {through: [rt, fw], stickiness: none}
classifiers:
"""
H1, H2, W1, NAT = "10.1.0.11", "10.1.0.12", "10.2.0.21", "10.2.0.77"
CLIENT_TO_WEB = "{name: web, from: {network: clients}, to: {host: w1}, traffic: [tcp/80], then: {chain: CHAIN}}"


def lab(*classifiers: str, returns: str = "symmetric") -> Lab:
    text = POLICY.replace("RETURN", returns) + "".join(f"  - {each}\n" for each in classifiers)
    return Lab(parse(text), parse_topology(NETWORK, "network.yaml"))


def key(*functions: str) -> str:
    return f"default/{'+'.join(functions)}/none"


def again(found: Lab, switch: str, host: str, packet: dict[str, int], arm: str = "") -> str:
    """What is decided of a packet that comes out of a function without its label."""
    rules = {name: Rules(name, found.allocation.ids["objects"]) for name in found.world.topology.switches}
    found.made.branch(found.world, rules)
    flows = {**found.at(switch).flows, **rules[switch].flows}
    came = out_of(found, host, arm)["reg6"] | 1 << RESUMED.offset
    flow = winner({key: f for key, f in flows.items() if f.table == NUMBER["classify"]},
                  {"reg0": found.world.tenants["default"], **packet, "reg6": came})
    return "deny" if flow is None else found.said(flow)


# -- chains that are cut -----------------------------------------------------------------------------------------


def test_the_pieces_of_a_chain_and_of_its_way_back() -> None:
    found = lab(CLIENT_TO_WEB.replace("CHAIN", "cut"))
    assert found.decided("s1", ip_packet(H1, W1, "tcp", 5, 80)) == key("fw", "nat")
    assert found.decided("s3", ip_packet(NAT, W1, "tcp", 5, 80)) == key("dpi")
    assert found.decided("s4", ip_packet(W1, NAT, "tcp", 80, 5)) == key("dpi") + "<"
    # what the function sends on to the client has the server's address, and is classified again where it comes out
    assert again(found, "s3", "n1", ip_packet(W1, H1, "tcp", 80, 5)) == key("fw", "nat") + "<"
    # nobody else's packets are taken for that
    assert found.decided("s4", ip_packet(W1, H1, "tcp", 80, 5)) == "allow"
    assert found.decided("s3", ip_packet(NAT, H1, "tcp", 80, 5)) == "allow"
    assert found.decided("s3", ip_packet(NAT, W1, "tcp", 5, 81)) == "allow"


def test_nothing_is_left_after_the_last_function() -> None:
    found = lab(CLIENT_TO_WEB.replace("CHAIN", "end"))
    assert found.decided("s3", ip_packet(NAT, W1, "tcp", 5, 80)) == "allow"
    assert found.decided("s4", ip_packet(W1, NAT, "tcp", 80, 5)) == "allow"


def test_an_explicit_way_back() -> None:
    found = lab(CLIENT_TO_WEB.replace("CHAIN", "cut"), returns="[dpi, nat, rt]")
    assert found.decided("s4", ip_packet(W1, NAT, "tcp", 80, 5)) == key("dpi")
    assert again(found, "s3", "n1", ip_packet(W1, H1, "tcp", 80, 5)) == key("rt")
    without = lab(CLIENT_TO_WEB.replace("CHAIN", "cut"), returns="[rt, nat]")
    assert without.decided("s4", ip_packet(W1, NAT, "tcp", 80, 5)) == key("rt")
    assert again(without, "s3", "n1", ip_packet(W1, H1, "tcp", 80, 5)) == "allow"
    direct = lab(CLIENT_TO_WEB.replace("CHAIN", "cut"), returns="direct")
    assert direct.decided("s4", ip_packet(W1, NAT, "tcp", 80, 5)) == "allow"


def test_two_chains_that_part_after_the_same_function_need_an_order() -> None:
    two = "{name: two, from: {host: h2}, to: {host: w1}, traffic: [tcp/80], then: {chain: end}}"
    with pytest.raises(PolicyError, match="translating function"):
        lab(CLIENT_TO_WEB.replace("CHAIN", "cut"), two)
    found = lab(CLIENT_TO_WEB.replace("CHAIN", "cut"), two.replace("then:", "priority: 1, then:"))
    assert found.decided("s3", ip_packet(NAT, W1, "tcp", 5, 80)) == "allow"


# -- classified again --------------------------------------------------------------------------------------------


def test_a_switch_of_a_router_knows_the_packets_it_gives_back() -> None:
    wide = "{from: {host: h1}, to: any, priority: -1, then: {chain: plain}}"
    found = lab(CLIENT_TO_WEB.replace("CHAIN", "walk"), wide)
    assert found.decided("s2", ip_packet(H2, W1, "tcp", 5, 80)) == key("rt", "fw")
    assert found.decided("s2", ip_packet(W1, H2, "tcp", 80, 5)) == key("rt", "fw") + "<"
    assert (key("rt", "fw"), True, "") in found.at("s2").choices


def test_a_limit_counts_once() -> None:
    limited = CLIENT_TO_WEB.replace("{chain: CHAIN}", "{chain: walk, limit: 5Mbps}")
    found = lab(limited)
    register = {"reg0": 1, "reg6": 1 << RESUMED.offset}
    again = winner(found.at("s2").flows, {**ip_packet(H1, W1, "tcp", 5, 80), **register})
    assert again is not None
    assert not any(isinstance(action, Meter) for action in again.actions)
    assert not found.at("s2").meters
    first = winner(found.at("s1").flows, {**ip_packet(H1, W1, "tcp", 5, 80), "reg0": 1})
    assert first is not None
    assert isinstance(first.actions[0], Meter)


def test_a_packet_with_a_new_dscp_is_known_again() -> None:
    found = lab(CLIENT_TO_WEB.replace("then: {chain: CHAIN}", "dscp: 0, then: {chain: walk, dscp: 10}"))
    again = winner(found.at("s2").flows, {**ip_packet(H1, W1, "tcp", 5, 80, dscp=10), "reg0": 1,
                                          "reg6": 1 << RESUMED.offset})
    assert again is not None
    assert found.said(again) == key("rt", "fw")


# -- after a function --------------------------------------------------------------------------------------------

FIRST = CLIENT_TO_WEB.replace("CHAIN", "plain")
AFTER = "{{name: {0}, after: {1}, from: {2}, to: {3}, traffic: [{4}], then: {5}}}"


def branched(found: Lab, switch: str, packet: dict[str, int]) -> tuple[tuple[object, ...], int | None] | None:
    """What `branch` does there; None where it leaves the packet on its chain."""
    rules = {name: Rules(name, found.allocation.ids["objects"]) for name in found.world.topology.switches}
    found.made.branch(found.world, rules)
    flow = winner(rules[switch].flows, packet)
    return None if flow is None else (flow.actions, flow.goto)


def out_of(found: Lab, host: str, arm: str = "out") -> dict[str, int]:
    name = f"host:{host}:{arm}" if arm else f"host:{host}"
    return {"reg6": found.allocation.waypoints[name] << FROM.offset}


def test_what_comes_out_of_a_function_takes_another_chain() -> None:
    found = lab(FIRST, AFTER.format("more", "fw", "{host: h1}", "{host: w1}", "tcp/80", "{chain: deep}"))
    packet = ip_packet(H1, W1, "tcp", 5, 80)
    for arm in ("in", "out"):
        did = branched(found, "s2", {**packet, **out_of(found, "fw1", arm)})
        assert did is not None
        assert did[1] == NUMBER["remember"]
        assert SetField("reg6", 0, 0x1FFF) in did[0]
    assert branched(found, "s2", {**ip_packet(H2, W1, "tcp", 5, 80), **out_of(found, "fw1")}) is None
    assert branched(found, "s2", packet) is None  # a host's own
    assert found.decided("s1", packet) == key("fw")  # nothing changes where it starts
    assert (key("dpi"), False, "") in found.made.branch(found.world, {
        name: Rules(name, found.allocation.ids["objects"]) for name in found.world.topology.switches})["s3"]


def test_a_packet_on_its_other_chain_is_known_again() -> None:
    """A router on the other chain gives it back without its label."""
    found = lab(FIRST, AFTER.format("more", "fw", "{host: h1}", "{host: w1}", "tcp/80", "{chain: only}"))
    packet = ip_packet(H1, W1, "tcp", 5, 80)
    assert again(found, "s2", "r1", packet) == key("rt")
    assert found.decided("s1", packet) == key("fw")


def test_a_function_that_forgets_is_not_met_before_and_after() -> None:
    """Otherwise a packet would go round, or past what comes between."""
    first = CLIENT_TO_WEB.replace("CHAIN", "walk")
    with pytest.raises(PolicyError, match="come out of 'rt' before 'fw' and again after it"):
        lab(first, AFTER.format("more", "fw", "{host: h1}", "{host: w1}", "tcp/80", "{chain: only}"))
    lab(first, AFTER.format("more", "fw", "{host: h1}", "{host: w1}", "tcp/81", "{chain: only}"))


def test_the_other_verdicts_after_a_function() -> None:
    found = lab(
        FIRST,
        AFTER.format("go", "fw", "any", "any", "tcp/81", "allow"),
        AFTER.format("no", "fw", "any", "any", "tcp/82", "deny"),
        AFTER.format("say", "fw", "any", "any", "tcp/83", "reject"),
    )
    came = out_of(found, "fw1")
    straight = branched(found, "s2", {**ip_packet(H1, W1, "tcp", 5, 81), **came})
    assert straight is not None
    assert straight[1] == NUMBER["transit"]
    assert Move(labels.EXIT, labels.WAYPOINT) in straight[0]
    assert branched(found, "s2", {**ip_packet(H1, W1, "tcp", 5, 82), **came}) == ((), None)
    assert branched(found, "s2", {**ip_packet(H1, W1, "tcp", 5, 83), **came}) == ((), NUMBER["reject"])
    fragment = {**ip_packet(H1, W1, "tcp", frag=FRAG_ANY), **came}
    assert branched(found, "s2", fragment) == ((), None)  # it may be one that is denied


def test_an_order_is_needed_after_a_function_too() -> None:
    one = AFTER.format("one", "fw", "{host: h1}", "any", "tcp/80", "deny")
    other = AFTER.format("other", "fw", "any", "{host: w1}", "tcp/80", "allow")
    with pytest.raises(PolicyError, match="overlap"):
        lab(FIRST, one, other)
    lab(FIRST, one, other.replace("after: fw", "after: dpi"))


def test_gone_instances_have_no_rules() -> None:
    found = lab(FIRST, AFTER.format("more", "fw", "any", "any", "tcp/80", "deny"))
    without = replace(found.world, instances={k: v for k, v in found.world.instances.items() if k[1] != "fw"})
    rules = {name: Rules(name, {}) for name in found.world.topology.switches}
    found.made.branch(without, rules)
    assert not any(held.flows for held in rules.values())
    assert found.made.fits(without, found.allocation.ids["objects"])
