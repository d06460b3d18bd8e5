"""Clients reach a load-balanced service through one of two firewalls and under the eyes of an IDS.

The main lab. Real hosts, real Open vSwitch, nftables and ngrep as functions; every claim is checked on
captured packets, counters of switches and functions, and what the servers wrote down.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from mininet_scenarios.harness import counters, ovs
from mininet_scenarios.harness.bench import Bench
from mininet_scenarios.harness.captures import settle
from mininet_scenarios.harness.chain_picture import draw_chain
from mininet_scenarios.harness.controller import chainctl_json
from mininet_scenarios.harness.evidence import (
    chi_square,
    compare,
    passages,
    portable_choices,
    received_by,
    sent_by,
    servers_seen,
    slots_on_switch,
    table_of_slots,
)
from mininet_scenarios.harness.lab import Lab
from mininet_scenarios.harness.traffic import Outcome, connect, tally
from mininet_scenarios.harness.way import (
    counted_crossings,
    crossings,
    table_hits,
    traced_classifiers,
    traced_tables,
)

TOPOLOGY = "firewall_ids.yaml"
POLICY = "firewall_ids.yaml"

SERVICE, WEB, BLOCKED = "100.1.1.3", 8080, 9090
ADDRESS = {"c1": "10.1.0.11", "c2": "10.1.0.12", "c3": "10.1.0.13", "db": "10.2.0.31"}
CLIENTS = {"c1": "s1", "c2": "s2"}  # and their switches
SERVERS = {"web1": (80,), "web2": (80,), "web3": (80,), "db": (9000, 9001)}
FIREWALL_SLOTS = {"fw1": 171, "fw2": 85}  # 256 slots in the proportion 2:1
PROVIDER_SLOTS = {"web1": 86, "web2": 85, "web3": 85}
PLANTED, SIGNATURE = "/download?file=../../etc/passwd", "etc/passwd"
BY_CHANCE = 0.001  # a fair choice fails the chi-square test for one in a thousand sets of source ports
PLACES = {  # for the picture: where nodes are, to the right and up
    "s1": (2.1, 1.9), "s2": (2.1, 0.9), "s3": (4.2, 2.55), "s4": (4.2, 0.25),
    "s5": (6.3, 1.9), "s6": (6.3, 0.9),
    "c1": (0.5, 2.3), "c3": (0.5, 1.6), "c2": (0.5, 0.7), "fw1": (4.2, 3.5), "fw2": (4.2, -0.7),
    "ids1": (6.3, 3.0), "web1": (8.3, 2.3), "web2": (8.3, 1.6), "web3": (8.3, 0.9), "db": (8.3, 0.1),
}  # fmt: skip

Check = Callable[..., bool]  # Checks.that with its topic filled in


def run(lab: Lab) -> None:
    """The lab, check by check."""
    bench = Bench(lab, firewalls=FIREWALL_SLOTS, drop_ports=(BLOCKED,), tap="ids1", signature=SIGNATURE,
                  clients=CLIENTS, servers=SERVERS, service=(SERVICE, WEB))  # fmt: skip

    def about(topic: str) -> Check:
        lab.say(topic)
        return partial(lab.checks.that, topic)

    ways = chainctl_json("path", "-t", str(lab.topology_file), "-p", str(lab.policy_file))["chains"]
    draw_chain(lab.topology, lab.policy, ways, PLACES, ("s1", "s5"), lab.out / "firewall_ids.png")
    slot_tables(about("Slot tables"), ways)
    through_the_chain(bench, about("300 connections, stickiness: connection"), 20001)
    bench.apply("stateless", lambda policy: policy["chains"]["inspect-web"].update(stickiness="none"))
    through_the_chain(bench, about("300 connections, stickiness: none"), 30001)
    # without state every packet of a connection takes the same tables, so each can be held against counters
    trace_against_counters(bench, about("chainctl trace against counters"))
    bench.apply("as-before", None)
    the_firewalls_own_rule(bench, about("A port the firewalls' own rules drop"))
    no_classifier(bench, about("Traffic that no classifier matches"))
    verdicts(bench, about("Verdicts and defaults"))
    live_replacement(bench, about("The policy replaced live"))
    killed_ids(bench, about("The IDS is killed"))


def slot_tables(check: Check, ways: list[dict[str, Any]]) -> None:
    """The tables as computed, and as read back from the switches."""
    for client, switch in CLIENTS.items():
        told = table_of_slots(ways, "inspect-web", switch)
        check(
            f"firewalls, for {client} at {switch}, by chainctl path",
            " or ".join(sorted({_slashed(slots.values()) for slots in told})),
            "171/85",
            bool(told) and all(slots == FIREWALL_SLOTS for slots in told),
        )
        # the choice of the chain towards the service decides both; others decide one of the two
        choices = ovs.dump_groups(switch) or portable_choices(ovs.dump_flows(switch))
        found = [slots_on_switch(choice) for choice in choices]
        held = [f"{_slashed(ways.values())} and {_slashed(exits.values())}" for ways, exits in found
                if len(ways) > 1 and len(exits) > 1]  # fmt: skip
        check(f"firewalls and providers, by the rules on {switch}", "; ".join(held), "171/85 and 86/85/85")


def _slashed(slots: Any) -> str:
    return "/".join(map(str, sorted(slots, reverse=True)))


def through_the_chain(bench: Bench, check: Check, first_port: int) -> None:
    """300 connections from fixed source ports, by two clients at two switches."""
    since, ports = time.time(), range(first_port, first_port + 150)
    outcomes = [outcome for client in CLIENTS for outcome in bench.browse(client, ports)]
    check(f"connections to {SERVICE}:{WEB}", _answered(outcomes), "300 of 300 answered")
    addresses = {ADDRESS[client] for client in CLIENTS}
    visits = Counter(port for server in bench.servers.values() for address, number, port in server.visits()
                     if address in addresses and number in ports)  # fmt: skip
    check("ports they came in at, by the providers' logs", _listed(visits), "300 at 80")
    settle()
    passed = passages(bench.arms, addresses, since)
    one = Counter(passage.instance for passage in passed.values() if passage.instance)
    check("both ways through the same one firewall", f"{one.total()} of {len(passed)}", "300 of 300")
    there, back = servers_seen(bench.arms, addresses, since)
    measured = f"{' '.join(sorted(there))}, {' '.join(sorted(back))}"
    check("the server as the firewalls saw it, there and back", measured, f"{SERVICE}:{WEB}, {SERVICE}:{WEB}")
    _fair(check, "firewalls", {name: one[name] for name in FIREWALL_SLOTS}, FIREWALL_SLOTS)
    providers = tally(outcomes)
    _fair(check, "providers", {name: providers[name] for name in PROVIDER_SLOTS}, PROVIDER_SLOTS)
    _copied(bench, check, since)
    before, planted = len(bench.ids.alerts()), first_port + 500
    bench.browse("c1", [planted], path=PLANTED)
    settle()
    alerts = bench.ids.alerts()[before:]
    check(
        "alerts of the IDS for the planted request",
        len(alerts),
        1,
        len(alerts) == 1 and f"{ADDRESS['c1']}:{planted}" in alerts[0] and PLANTED in alerts[0],
    )


def _answered(outcomes: list[Outcome]) -> str:
    return f"{sum(outcome.answered_by is not None for outcome in outcomes)} of {len(outcomes)} answered"


def _listed(counted: Counter[Any]) -> str:
    return ", ".join(f"{count} at {name}" for name, count in sorted(counted.items()))


def _fair(check: Check, what: str, counted: dict[str, int], slots: dict[str, int]) -> None:
    p = chi_square(counted, slots)
    shares = ", ".join(f"{name} {count}" for name, count in counted.items())
    measured = f"{shares}: p = {p:.3f}"
    check(f"{what} as their slots say, by chi-square", measured, f"p > {BY_CHANCE}", p > BY_CHANCE)


def _copied(bench: Bench, check: Check, since: float) -> None:
    """Every frame of the clients reached the IDS unchanged, and every answer as the same packet."""
    tapped, sent, copied, received, answers = bench.seen_by_ids.tcp(since), [], [], [], []
    for client in CLIENTS:
        own, address = bench.seen_by_client[client].tcp(since), ADDRESS[client]
        sent += [packet.frame for packet in sent_by(own, address, SERVICE, WEB)]
        copied += [packet.frame for packet in sent_by(tapped, address, SERVICE, WEB)]
        received += [packet.without_ttl for packet in received_by(own, address, SERVICE, WEB)]
        answers += [packet.without_ttl for packet in received_by(tapped, address, SERVICE, WEB)]
    for what, found in (("clients' frames, byte by byte", compare(sent, copied)),
                        ("answers, TTL apart", compare(received, answers))):  # fmt: skip
        check(f"the IDS's copies of the {what}", f"{found.equal} of {found.original}, {found.strange} others",
              "all, 0 others", found.complete)  # fmt: skip


def the_firewalls_own_rule(bench: Bench, check: Check) -> None:
    outcomes = bench.browse("c1", range(40001, 40007), BLOCKED, timeout=1.5)
    check(f"connections to port {BLOCKED}", _told(outcomes), "6 TimeoutError")
    dropped = sum(firewall.packets()["dropped"] for firewall in bench.firewalls.values())
    check("packets in nftables' drop counters", dropped, "at least 6", dropped >= 6)
    for firewall in bench.firewalls.values():
        firewall.open_all()
    outcomes = bench.browse("c1", range(40011, 40017), BLOCKED)
    check("connections with that nftables rule removed", _answered(outcomes), "6 of 6 answered")
    for firewall in bench.firewalls.values():
        firewall.close(BLOCKED)


def _told(outcomes: list[Outcome]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(tally(outcomes).items()))


def no_classifier(bench: Bench, check: Check) -> None:
    """From c1 to db, which are two cables apart."""
    switches, burst = bench.lab.topology.switches, 40
    functions, tapped = bench.firewall_packets(), len(bench.seen_by_ids.tcp())
    before = counters.read(switches)
    outcomes = connect(bench.network, "c1", ADDRESS["db"], 9000, [41000], requests=burst)
    settle()
    counted = counted_crossings(counters.difference(before, counters.read(switches)), burst)
    check("c1 to db", _answered(outcomes), "1 of 1 answered")
    way = sorted({switch for switch, _, _ in counted})
    check("switches it passed: a shortest path's", " ".join(way), "s1 s5 s6 or s1 s2 s6",
          way in (["s1", "s5", "s6"], ["s1", "s2", "s6"]))  # fmt: skip
    measured = f"{bench.firewall_packets() - functions}, {len(bench.seen_by_ids.tcp()) - tapped}"
    check("packets that reached a firewall, the IDS", measured, "0, 0")


def verdicts(bench: Bench, check: Check) -> None:
    def ask(client: str, port: int, source_port: int) -> str:
        return _told(connect(bench.network, client, ADDRESS["db"], port, [source_port], timeout=1.5))

    check("then: deny (c3 to db, port 9001)", ask("c3", 9001, 42001), "1 TimeoutError")
    check("then: allow inside of it (c3 to db, port 9000)", ask("c3", 9000, 42002), "1 db")
    check("default: allow (c1 to db, port 9001)", ask("c1", 9001, 42003), "1 db")
    bench.apply("default-deny", lambda policy: policy.update(default="deny"))
    check("default: deny (c1 to db, port 9001)", ask("c1", 9001, 42011), "1 TimeoutError")
    check("default: deny, and allowed (c3 to db, port 9000)", ask("c3", 9000, 42012), "1 db")
    outcomes = bench.browse("c2", range(42021, 42027))
    check("default: deny, and sent through the chain (c2)", _answered(outcomes), "6 of 6 answered")
    bench.apply("as-before", None)


def live_replacement(bench: Bench, check: Check) -> None:
    def without_chain(policy: dict[str, Any]) -> None:
        del policy["chains"], policy["functions"]
        policy["classifiers"] = [item for item in policy["classifiers"] if item["then"] in ("allow", "deny")]

    bench.apply("without-chain", without_chain)
    before, tapped = bench.firewall_packets(), len(bench.seen_by_ids.tcp())
    outcomes = bench.browse("c1", range(43001, 43021)) + bench.browse("c1", range(43021, 43025), BLOCKED)
    settle()
    check("without it: connections, some to the blocked port", _answered(outcomes), "24 of 24 answered")
    measured = f"{bench.firewall_packets() - before}, {len(bench.seen_by_ids.tcp()) - tapped}"
    check("without it: packets that reached a firewall, the IDS", measured, "0, 0")
    bench.apply("as-before", None)
    since = time.time()
    outcomes = bench.browse("c1", range(43101, 43121))
    settle()
    passed = passages(bench.arms, {ADDRESS["c1"]}, since)
    check("with it again: connections", _answered(outcomes), "20 of 20 answered")
    check("with it again: both ways through the same one firewall",
          sum(passage.instance is not None for passage in passed.values()), 20)  # fmt: skip
    sent, copied = (sent_by(witness.tcp(since), ADDRESS["c1"], SERVICE, WEB)
                    for witness in (bench.seen_by_client["c1"], bench.seen_by_ids))  # fmt: skip
    found = compare((packet.frame for packet in sent), (packet.frame for packet in copied))
    measured = f"{found.equal} of {found.original}, {found.strange} others"
    check("with it again: the IDS's copies", measured, "all, 0 others", found.complete)


def trace_against_counters(bench: Bench, check: Check) -> None:
    """One connection with many packets, and what the running controller says about it."""
    switches, source_port = bench.lab.topology.switches, 44001
    ports, tables, since = counters.read(switches), table_hits(switches), time.time()
    bench.browse("c1", [source_port], requests=60)
    settle()
    counted = counters.difference(ports, counters.read(switches))
    hits = table_hits(switches) - tables
    trace = chainctl_json("trace", "--from", "c1", "--to", SERVICE, "--proto", "tcp",
                          "--sport", str(source_port), "--dport", str(WEB))  # fmt: skip
    own = bench.seen_by_client["c1"].tcp(since)
    there, back = (len(find(own, ADDRESS["c1"], SERVICE, WEB)) for find in (sent_by, received_by))
    noise = min(there, back) // 2  # link discovery and address resolution send some packets of their own
    told, found = crossings(trace, there, back), counted_crossings(counted, noise)
    wrong = [f"{switch}:{port} {direction}" for switch, port, direction in sorted({*told, *found})
             if not 0 <= found[switch, port, direction] - told[switch, port, direction] < noise]  # fmt: skip
    check(f"switch ports crossed by {there} packets there and {back} back",
          f"{len(found)}, {len(wrong)} wrong {' '.join(wrong)}".strip(), f"{len(told)}, 0 wrong",
          bool(told) and not wrong)  # fmt: skip
    named, used = traced_tables(trace), {key for key, count in hits.items() if count >= noise}
    odd = " ".join(f"{switch}/{table}" for switch, table in sorted(used ^ named))
    check("tables hit by these packets, and of them or of the trace's not in the other",
          f"{len(used)}, {odd or 'none'}", f"{len(named)}, none", bool(used) and used == named)  # fmt: skip
    passed = passages(bench.arms, {ADDRESS["c1"]}, since).get((ADDRESS["c1"], source_port))
    check("the firewall it names: the one passed", " ".join(trace["functions"]), passed and passed.instance)
    check("the classifier it names", " ".join(sorted(traced_classifiers(trace))), "clients-to-web")
    check("the verdict", trace["verdict"], "delivered")


def killed_ids(bench: Bench, check: Check) -> None:
    """The detector dies without a word: nothing else changes."""
    before = {switch: ovs.dump_flows(switch) for switch in bench.lab.topology.switches}
    bench.ids.crash()
    since = time.time()
    outcomes = [outcome for client in CLIENTS for outcome in bench.browse(client, range(45001, 45061))]
    settle()
    passed = passages(bench.arms, {ADDRESS[client] for client in CLIENTS}, since)
    one = Counter(passage.instance for passage in passed.values() if passage.instance)
    check("connections", _answered(outcomes), "120 of 120 answered")
    check("both ways through the same one firewall", f"{one.total()} of {len(passed)}", "120 of 120")
    _fair(check, "firewalls", {name: one[name] for name in FIREWALL_SLOTS}, FIREWALL_SLOTS)
    changed = [switch for switch, flows in before.items() if ovs.dump_flows(switch) != flows]
    check("switches whose flows changed", " ".join(changed) or "none", "none")
