"""What goes to services and comes back, what is refused, and who may not."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mininet_scenarios.harness import ovs
from mininet_scenarios.harness.captures import settle
from mininet_scenarios.harness.traffic import Outcome, connect
from mininet_scenarios.services.bench import (
    ADDRESSES,
    AT_ONCE,
    BLUE,
    DNS,
    OTHER,
    RED,
    UNHEARD,
    UNHEARD_UDP,
    VIP,
    VIP6,
    WEB,
    Bench,
    Check,
    answered,
    labelled,
    refused_at_once,
    service,
    told,
    who,
)

PROVIDERS = ", ".join(RED)


def documentation(bench: Bench) -> None:
    """The walk-through in short; command by command it is the lab `contiv_walkthrough`."""
    check = bench.about("S1, S2, S5: the documentation in short")
    found = bench.service("app")
    check("its address", found["ips"][0], VIP)
    check("its providers", bench.states("app"), dict.fromkeys(RED, "serving"))
    outcomes = bench.browse("c1", number=64)
    check("connections that were answered, of 64", answered(outcomes, *RED), 64)
    check("who answered", who(outcomes), PROVIDERS)
    said = bench.refused("same-address", service("other", selector="tier=web", ports="80/tcp", ip=[VIP, VIP6]))
    owner = "another service that asks for the address is told whose it is"
    check(owner, said or "nothing", "app has it", VIP in said and "app" in said)
    check("who answers after that", who(bench.browse("c1", number=32)), PROVIDERS)
    bench.change("p4-is-not-stable", labelled("p4", release="canary"))
    check("who answers when p4 stops matching", who(bench.browse("c1", number=32)), "p1, p2, p3")
    bench.change("p4-is-stable")
    check("who answers when it matches again", who(bench.browse("c1", number=32)), PROVIDERS)


def traffic(bench: Bench) -> None:
    for version, to in ((4, VIP), (6, VIP6)):
        check = bench.about(f"traffic over IPv{version}")
        for client in ("c1", "c2"):
            own = ADDRESSES[client][version == 6]
            seen = {name: len(bench.web[name].visits()) for name in RED}
            for port, target in ((WEB, 80), (OTHER, 81)):
                outcomes = bench.browse(client, to, port, 24)
                what = f"{client}, TCP port {port}"
                check(f"{what}: answered, of 24", answered(outcomes, *RED), 24)
                new = {name: bench.web[name].visits()[seen[name] :] for name in RED}
                peers = {peer for visits in new.values() for peer, _, at in visits if at == target}
                check(f"{what}: whom providers saw at {target}", ", ".join(sorted(peers - _GATEWAYS)), own)
            outcomes = bench.ask(client, to)
            check(f"{client}, UDP: answered, of 16", answered(outcomes, *RED), 16)
            peers = {peer for name in RED for peer, port, _ in bench.asked_over_udp(name) if port in _ports(outcomes)}
            check(f"{client}, UDP: whom providers saw", ", ".join(sorted(peers)), own)
            check(f"{client}: echoes answered by the address, of 3", bench.pinged(client, to), 3)
        check("a port whose target nobody listens on: the provider's reset",
              _refusals(outcomes := bench.browse("c1", to, UNHEARD, 4)), "refused at once", refused_at_once(outcomes))
        check("the same over UDP: the provider's ICMP error",
              _refusals(outcomes := bench.ask("c1", to, UNHEARD_UDP, 4)), "refused at once", refused_at_once(outcomes))
        itself(bench, check, to)
    alone(bench)
    both_ways_at_once(bench)


_GATEWAYS = {"10.2.0.254", "fd02::fe"}  # whose checks come to the same servers


def _ports(outcomes: Sequence[Outcome]) -> set[int]:
    return {outcome.source_port for outcome in outcomes}


def _refusals(outcomes: Sequence[Outcome]) -> str:
    """What was said, and how long that took at most."""
    said = {str(outcome.error or outcome.answered_by) for outcome in outcomes}
    return f"{', '.join(sorted(said))} within {max(outcome.seconds for outcome in outcomes):.2f} s"


def itself(bench: Bench, check: Check, to: str) -> None:
    """A provider that is a client of its own service meets itself as well."""
    outcomes = bench.browse("p1", to, number=48)
    check("p1 asks its own service over TCP: answered, of 48", answered(outcomes, *RED), 48)
    own = answered(outcomes, "p1")
    check("by itself", own, "some, not all", 0 < own < 48)
    from_service = sum((to, outcome.source_port) in _visitors(bench) for outcome in outcomes)
    check("connections that it saw come from the service's address", from_service, own)
    check("p1 asks its own service over UDP: answered, of 32", answered(bench.ask("p1", to, number=32), *RED), 32)
    outcomes = bench.browse("p1", to, number=4, requests=20, pause=0.05)
    check("p1's connections of 20 requests each: answered, of 4", answered(outcomes, *RED), 4)


def _visitors(bench: Bench) -> set[tuple[str, int]]:
    return {(peer, port) for peer, port, _ in bench.web["p1"].visits()}


def alone(bench: Bench) -> None:
    """The only provider asks its own service, and gets nobody but itself."""
    check = bench.about("a provider that is alone asks itself")
    bench.change("p1-alone", *(labelled(name, release="old") for name in RED if name != "p1"))
    for to in (VIP, VIP6):
        check(f"{to}: TCP", told(bench.browse("p1", to, requests=5, pause=0.05)), "16 p1")
        check(f"{to}: UDP", told(bench.ask("p1", to)), "16 p1")
        check(f"{to}: others ask it meanwhile", told(bench.browse("c2", to)), "16 p1")
    bench.change("as-written")


def both_ways_at_once(bench: Bench) -> None:
    check = bench.about("to the service and to a provider directly, at once")
    with ThreadPoolExecutor(2) as pool:
        asked = [
            pool.submit(connect, bench.network, "c1", to, port, bench.ports(32), requests=10, pause=0.05)
            for to, port in ((VIP, WEB), ("10.2.0.21", 80))
        ]
        by_service, direct = (each.result() for each in asked)
    check("through the service, of 32", answered(by_service, *RED), 32)
    check("directly", told(direct), "32 p1")


def refusals(bench: Bench) -> None:
    check = bench.about("S8: nobody there")
    nobody = service("idle", selector="tier=none", ports=["80/tcp", "53/udp"], ip=["100.1.1.99", "fd03::99"])
    bench.change("a-service-without-providers", nobody)
    for client in ("c1", "c2", "p1"):
        for version, app, idle in ((4, VIP, "100.1.1.99"), (6, VIP6, "fd03::99")):
            found = {
                "no such port, TCP": bench.browse(client, app, 8081, 4),
                "no such port, UDP": bench.ask(client, app, 5000, 4),
                "no providers, TCP": bench.browse(client, idle, 80, 4),
                "no providers, UDP": bench.ask(client, idle, 53, 4),
            }
            for what, outcomes in found.items():
                check(f"{client}, IPv{version}, {what}", _refusals(outcomes), f"refused within {AT_ONCE:g} s",
                      refused_at_once(outcomes))  # fmt: skip
    bench.change("as-written")


def tenants(bench: Bench) -> None:
    """The same connections, address by address and port by port, at the same time in both tenants."""
    check = bench.about("S7: two tenants with the same service, address and hosts")
    for to in (VIP, VIP6):
        ports = bench.ports(24)
        with ThreadPoolExecutor(2) as pool:
            asked = [
                pool.submit(connect, bench.network, client, to, WEB, ports, requests=10, pause=0.05)
                for client in ("c1", "bc")
            ]
            red, blue = (each.result() for each in asked)
        check(f"{to}: red's by red's, of 24", answered(red, *RED), 24)
        check(f"{to}: blue's by blue's, of 24", answered(blue, *BLUE), 24)
        check(f"{to}: blue's over UDP, of 16", answered(bench.ask("bc", to), *BLUE), 16)
    only_red = bench.browse("bc", bench.address("inner"), 80, 2, timeout=1.0)
    check("blue asks a service that only red has: answered", answered(only_red), 0)

    def without_services(policy: dict[str, Any]) -> None:
        del policy["services"]

    bench.blue.apply("blue-without-services", without_services)
    check("blue's service is gone: answered", answered(bench.browse("bc", number=2, timeout=1.0)), 0)
    check("and red's is not, of 24", answered(bench.browse("c1", number=24), *RED), 24)
    bench.blue.apply("blue-as-written")
    check("blue's is back, of 24", answered(bench.browse("bc", number=24), *BLUE), 24)


def reach(bench: Bench) -> None:
    """An internal service, and a wildcard that looks as if it opened it."""
    check = bench.about("expose: internal")
    wildcard = {"name": "anybody", "from": "any", "to": {"service": "inner"}, "then": "allow"}
    bench.change("anybody-may", lambda policy: policy["classifiers"].append(wildcard))
    inner, inner6 = bench.service("inner")["ips"]
    for to in (inner, inner6):
        check(f"{to}: whom a classifier names, of 16", answered(bench.browse("c1", to, 80), *RED), 16)
        for client in ("c2", "g1", "p1"):
            outcomes = bench.browse(client, to, 80, 4)
            check(f"{to}: {client}, under `from: any`", _refusals(outcomes), "refused at once",
                  refused_at_once(outcomes))  # fmt: skip
    bench.change("as-written")
    forged(bench)


def forged(bench: Bench) -> None:
    """A host that gives itself the address of a service."""
    check = bench.about("nobody sends from the address of a service")
    for to, source in (("10.2.0.23", VIP), ("10.1.0.11", VIP), ("fd02::23", VIP6)):
        bench.pinged("c2", to)  # it knows who is asked for the way: what is dropped below are no questions
        family = "-6" if ":" in source else "-4"
        bench.network.on("c2", "ip", family, "addr", "add", source, "dev", "lo")
        before = ovs.dropped_in_table("s3", 0)
        outcomes = bench.browse("c2", to, 80, 4, source=source, timeout=1.5)
        settle()
        check(f"{source} to {to}: connections that came about", answered(outcomes), 0)
        dropped = ovs.dropped_in_table("s3", 0) - before
        check(f"{source} to {to}: packets dropped at admission", dropped, "4 or more", dropped >= 4)
        bench.network.on("c2", "ip", family, "addr", "del", source, "dev", "lo")
    seen = {peer for peer, _, _ in bench.web["p3"].visits()}
    check("connections from there that a provider saw, who asked nobody himself", len(seen & {VIP6, VIP}), 0)
    check("c2 as itself, of 16", answered(bench.browse("c2"), *RED), 16)
    check("over UDP", answered(bench.ask("c2", VIP, DNS), *RED), 16)
