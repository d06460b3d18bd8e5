"""Providers, services and the controller itself come and go while connections run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

from mininet_scenarios.harness import ovs
from mininet_scenarios.harness.lab import Lab
from mininet_scenarios.harness.processes import wait_for
from mininet_scenarios.harness.state import LabError
from mininet_scenarios.services.bench import (
    BLUE,
    DNS,
    RED,
    VIP,
    VIP6,
    Bench,
    Change,
    Check,
    Talk,
    answered,
    endpoint,
    labelled,
    refused_at_once,
    service,
    who,
)

ROUNDS = 20
DRAIN = 5.0  # seconds
SOON = 6.0  # seconds in which the connections of a dead provider end, and flows move
QUICKLY = 2.0  # seconds in which connections are reset once the controller ends them


def labels(bench: Bench) -> None:
    check = bench.about("labels change under connections")
    tcp = {"IPv4": [bench.talk("c1")], "IPv6": [bench.talk("c2", VIP6)]}
    flows = [bench.talk(client, VIP, DNS, 8, "udp") for client in ("c1", "c2", "p1", "p3")]
    talks = {**tcp, "UDP": flows}
    gone = _most(flows[0])
    others = _without(gone)
    stay = {what: [(talk, talk.of(*others)) for talk in each] for what, each in talks.items()}
    since = bench.lab.now()
    bench.change("one-leaves", labelled(gone, release=None))
    check("one has left: who answers", who(bench.browse("c1", number=32)), ", ".join(others))
    for what in talks:
        _unbroken(check, f"one has left, {what}", stay[what], since)
    _moves(check, flows[0], gone)
    since = bench.lab.now()
    bench.change("it-joins")
    check("it has joined: who answers", who(bench.browse("c1", number=32)), ", ".join(RED))
    for what, each in talks.items():
        _unbroken(check, f"it has joined, {what}", stay[what], since)
        for talk in each:
            talk.end()


def _most(flow: Talk) -> str:
    """The provider that has most of these. (All of a client's UDP may have one: switches leave out UDP's ports.)"""
    return Counter(flow.answered_by().values()).most_common(1)[0][0]


def _without(*gone: str) -> tuple[str, ...]:
    return tuple(name for name in RED if name not in gone)


def _moves(check: Check, flow: Talk, *gone: str) -> None:
    """UDP flows of providers that are gone get others."""
    with suppress(LabError):  # what is found is said by the check
        wait_for("UDP flows to move", lambda: not flow.of(*gone), SOON)
    check("UDP flows that are still with who is gone", len(flow.of(*gone)), 0)
    time.sleep(0.5)
    check("UDP flows that others answer", flow.well(flow.source_ports, Lab.now() - 0.5), len(flow.source_ports))


def _unbroken(check: Check, what: str, wanted: Iterable[tuple[Talk, Iterable[int]]], since: float) -> None:
    """None of these connections had an error since then, and all go on."""
    time.sleep(0.5)
    found = [(talk, set(ports)) for talk, ports in wanted]
    number = sum(len(ports) for _, ports in found)
    well = sum(talk.well(ports, since) for talk, ports in found)
    check(f"{what}: connections with other providers that go on", well, number, 0 < number == well)


def halves(bench: Bench) -> None:
    check = bench.about("S4: half of the providers go, and come back")
    talk, flow = bench.talk("c1"), bench.talk("c2", VIP, DNS, protocol="udp")
    first = _most(flow)
    gone = first, _without(first)[0]
    others = _without(*gone)
    stay = talk.of(*others)
    since = bench.lab.now()
    _plug(bench, gone, False)
    bench.wait_states("app", dict.fromkeys(gone, "down"))
    for client in ("c1", "c2"):
        check(f"{client}, half are gone: who answers", who(bench.browse(client, number=32)), ", ".join(others))
    _unbroken(check, "half are gone", [(talk, stay)], since)
    _moves(check, flow, *gone)
    check("TCP connections to those who are gone were reset", *_ends(talk, set(talk.source_ports) - stay))
    since = bench.lab.now()
    _plug(bench, gone, True)
    bench.wait_states("app", dict.fromkeys(gone, "serving"))
    for client in ("c1", "c2"):
        check(f"{client}, all are back: who answers", who(bench.browse(client, number=48)), ", ".join(RED))
    _unbroken(check, "all are back, TCP", [(talk, stay)], since)
    _unbroken(check, "all are back, UDP", [(flow, flow.source_ports)], since)
    talk.end()
    flow.end()


def _plug(bench: Bench, names: Iterable[str], up: bool) -> None:
    for name in names:
        (end,) = bench.lab.topology.hosts[name].attach.values()
        bench.network.set_link(end.switch, end.port, up)


def _ends(talk: Talk, ports: set[int]) -> tuple[str, str]:
    """What came of connections that are to be reset, and what has to; waits for it."""
    with suppress(LabError):  # what is found is said by the check
        wait_for("connections to be reset", lambda: ports <= talk.errors().keys(), SOON)
    errors = talk.errors()
    found = sorted(errors[port].error or "" if port in errors else "nothing" for port in ports)
    return ", ".join(sorted(set(found))) if found else "there were none", "[Errno 104] Connection reset by peer"


def draining(bench: Bench) -> None:
    check = bench.about("drain")
    talk = bench.talk("c1")
    mine, others = talk.of("p2"), talk.of("p1", "p3", "p4")
    began = bench.lab.now()
    bench.change("p2-drains", endpoint("p2", drain=f"{DRAIN:g}s"))
    check("its state", bench.states("app"), {"p1": "serving", "p2": "draining", "p3": "serving", "p4": "serving"})
    check("new connections", who(bench.browse("c1", number=32)), "p1, p3, p4")
    time.sleep(1.0)
    well = talk.well(mine, began)
    check("its connections go on meanwhile", well, len(mine), bool(mine) and well == len(mine))
    before = bench.counted("app")
    check("when its time is over its connections are reset", *_ends_after(talk, mine, began + DRAIN))
    when = min((talk.errors()[port].at - began for port in mine & talk.errors().keys()), default=0.0)
    check("seconds after it was told to", f"{when:.1f}", f"{DRAIN:g} or more", when >= DRAIN - 1)
    last = max((talk.errors()[port].at - began for port in mine & talk.errors().keys()), default=99.0)
    check("until the last was", f"{last:.1f}", f"{DRAIN + QUICKLY:g} at most", last <= DRAIN + QUICKLY)
    check("its state then", bench.states("app")["p2"], "unready")
    after = bench.counted("app")
    check("it was given, and has left", after["p2"], (before["p2"][0], 0))
    for name in _without("p2"):
        check(f"{name} was given, and has left", after[name], before[name])
    _unbroken(check, "meanwhile", [(talk, others)], began)
    check("and new connections", who(bench.browse("c1", number=32)), "p1, p3, p4")
    talk.end()
    everybody(bench, check)
    bench.change("p2-is-back")
    check("it drains no more: who answers", who(bench.browse("c1", number=32)), ", ".join(RED))


def _ends_after(talk: Talk, ports: set[int], when: float) -> tuple[str, str]:
    time.sleep(max(0.0, when - Lab.now()))
    return _ends(talk, ports)


def everybody(bench: Bench, check: Check) -> None:
    """All drain: somebody has to serve."""
    bench.change("all-drain", *(endpoint(name, drain=True) for name in RED))
    outcomes = bench.browse("c1", number=32)
    check("all providers drain: answered, of 32", answered(outcomes, *RED), 32)


def checks(bench: Bench) -> None:
    dead(bench, "it is dead", "near")
    dead(bench, "its server hangs", "ready")


def dead(bench: Bench, what: str, name: str) -> None:
    """A provider dies without a word; its check says so, and later that it lives."""
    check = bench.about(f"a provider fails its check ({bench.service(name)['health']['probe']}): {what}")
    to, hangs = bench.address(name), name == "ready"
    talk = bench.talk("c2", to, 80)
    flow = bench.talk("c2", to, DNS, protocol="udp") if hangs else None
    victim = _most(talk if flow is None else flow)
    mine, theirs = talk.of(victim), talk.of(*_without(victim))
    had = bench.counted(name)
    died = bench.lab.now()
    if hangs:
        bench.web[victim].hang()
    else:
        bench.freeze(victim)
    bench.wait_states(name, {victim: "unready"})
    check("new connections", who(bench.browse("c2", to, 80, 32)), _near(bench, name, victim))
    check("its connections are reset", *_ends(talk, mine))
    last = max((talk.errors()[port].at - died for port in mine & talk.errors().keys()), default=99.0)
    check("seconds until the last was", f"{last:.1f}", f"{SOON:g} at most", bool(mine) and last <= SOON)
    _unbroken(check, "meanwhile", [(talk, theirs)], died)
    has = bench.counted(name)
    for each in RED:
        check(f"{each} has left", has[each][1], 0 if each == victim else had[each][1])
    if flow is not None:
        _moves(check, flow, victim)
        flow.end()
    lives = bench.lab.now()
    if hangs:
        bench.web[victim].hang(False)
    else:
        bench.freeze(victim, False)
    bench.wait_states(name, {victim: "serving"})
    check("it is well again: new connections", who(bench.browse("c2", to, 80, 48)), _near(bench, name))
    _unbroken(check, "afterwards", [(talk, theirs)], lives)
    talk.end()


def _near(bench: Bench, name: str, without: str = "") -> str:
    """Who answers c2 then: of its rack, where that is preferred."""
    near = ("p2", "p3") if bench.service(name)["prefer"] else RED
    return ", ".join(each for each in near if each != without)


def over_and_over(bench: Bench) -> None:
    check = bench.about(f"S3: services made and removed, {ROUNDS} rounds")
    running = bench.talk("c1")
    before, since = _held(bench), bench.lab.now()
    found = {"made": 0, "given an address": 0, "connections answered": 0, "removed": 0}
    clients, each, number = ("c1", "c2", "g1"), 2, 4
    for round_ in range(ROUNDS):
        names = [f"round{round_}-{n}" for n in range(each)]
        made: list[Change] = [service(name, selector="release in (stable)", ports=["80/tcp"]) for name in names]
        bench.change("made", *made)
        found["made"] += each
        for client, name in ((client, name) for client in clients for name in names):
            found["connections answered"] += answered(bench.browse(client, bench.address(name), 80, number), *RED)
        found["given an address"] += sum(bench.address(name).startswith("100.1.1.") for name in names)
        bench.change("removed")
        found["removed"] += each
    for what, wanted in (("given an address", each * ROUNDS),
                         ("connections answered", each * ROUNDS * len(clients) * number)):  # fmt: skip
        check(f"{what}, of {wanted}", found[what], wanted)
    _unbroken(check, "the service that stayed", [(running, running.source_ports)], since)
    running.end()
    after = _held(bench)
    for switch, (flows, groups) in before.items():
        for what, old, new in (("flows", flows, after[switch][0]), ("groups", groups, after[switch][1])):
            left, lost = sorted(set(new) - set(old)), sorted(set(old) - set(new))
            told = f"{len(old)} {what} as before" if not left + lost else f"more: {left}, less: {lost}"
            check(f"{switch} at the end", told, f"{len(old)} {what} as before", not left + lost)


def _held(bench: Bench) -> dict[str, tuple[list[str], list[str]]]:
    return {name: (ovs.dump_flows(name), ovs.dump_groups(name)) for name in bench.lab.topology.switches}


def restart(bench: Bench) -> None:
    check = bench.about("S6: the controller is killed and started again")
    new = service("mine", selector="tier=web", ports="80/tcp")
    bench.change("before-it-dies", new)
    given = bench.service("mine")["ips"]
    talks = bench.talk("c1"), bench.talk("c2", given[0], 80), bench.talk("c1", VIP, DNS, protocol="udp")
    since = bench.lab.now()
    bench.controller.process.kill()
    time.sleep(1.0)
    for client in ("c1", "c2"):
        check(f"{client}, while it is away: answered, of 16", answered(bench.browse(client), *RED), 16)
    bench.controller.start_again()
    bench.network.wait_connected()
    bench.effective()
    for number, talk in enumerate(talks):
        _unbroken(check, f"it is back, connections {number + 1}", [(talk, talk.source_ports)], since)
    check("addresses are kept", bench.service("mine")["ips"], given)
    check("the switches are as they were", bench.states("app"), dict.fromkeys(RED, "serving"))
    leaves = _without(_most(talks[2]))[0]
    stay = [(talk, talk.of(*_without(leaves))) for talk in talks]
    since = bench.lab.now()
    bench.change("after-it-came-back", new, service("later", selector="tier=web", ports="80/tcp"),
                 labelled(leaves, tier="db"))  # fmt: skip
    later = bench.service("later")["ips"]
    for to in later:
        check(f"{to}, a service made afterwards", who(bench.browse("c1", to, 80, 32)), ", ".join(_without(leaves)))
    check("its address is its own", set(later) & set(given), set())
    for number, (talk, ports) in enumerate(stay):
        _unbroken(check, f"{leaves} is removed, connections {number + 1}", [(talk, ports)], since)
        talk.end()
    bench.change("as-written")
    gone = bench.browse("c1", given[0], 80, 4)
    check("a service removed afterwards: its address", who(gone), "nobody answers", answered(gone) == 0)
    check("at once", max(outcome.seconds for outcome in gone), "below 1 s", refused_at_once(gone))
    check("all are back: who answers", who(bench.browse("c1", number=32)), ", ".join(RED))
    check("blue's, of 16", answered(bench.browse("bc"), *BLUE), 16)
