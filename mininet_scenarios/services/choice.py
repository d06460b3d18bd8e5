"""Who is chosen: by client, by weight, by place; and with firewalls before the choice."""

from __future__ import annotations

from typing import Any

from mininet_scenarios.harness.evidence import chi_square, servers_seen
from mininet_scenarios.harness.traffic import tally
from mininet_scenarios.services.bench import (
    ADDRESSES,
    RED,
    VIP,
    VIP6,
    WEB,
    Bench,
    Change,
    answered,
    endpoint,
    labelled,
    service,
    who,
)

UNLIKELY = 1e-6  # shares that chance would bring about less often than this are wrong


def affinity(bench: Bench) -> None:
    check = bench.about("session_affinity")
    bench.change("affinity", service("app", session_affinity="10m"))
    for client in ("c1", "c2", "p3"):
        for what, outcomes in (
            ("TCP", bench.browse(client, number=15)),
            ("UDP", bench.ask(client, number=15)),
            ("IPv6", bench.browse(client, VIP6, number=15)),
        ):
            check(f"{client}, {what}: answered, of 15", answered(outcomes, *RED), 15)
            check(f"{client}, {what}: providers that answered", len(tally(outcomes)), 1)
    bench.change("as-written")
    check("without it: providers that answer c1", who(bench.browse("c1", number=32)), ", ".join(RED))


def weights(bench: Bench) -> None:
    check = bench.about("weights")
    given = {"p1": 5, "p2": 1, "p3": 1, "p4": 1}
    bench.change("weights", *(endpoint(name, weight=weight) for name, weight in given.items()))
    slots = {item["endpoint"]: item["slots"] for item in bench.service("app")["providers"]}
    check("slots by weights 5, 1, 1, 1", slots, {name: 32 * weight for name, weight in given.items()})
    for client in ("c1", "c2"):
        outcomes = bench.browse(client, number=128)
        check(f"{client}: connections by provider", dict(tally(outcomes)), "as the slots, as chance allows",
              chi_square(tally(outcomes), slots) > UNLIKELY)  # fmt: skip
    bench.change("as-written")


def nearness(bench: Bench) -> None:
    """Racks: a has c1 and p1; b has c2, p2 and p3; c, in another zone, p4. Its check finds out who is dead."""
    check = bench.about("prefer: rack")
    to = bench.address("near")

    def nearest(client: str) -> str:
        return who(bench.browse(client, to, 80, 32))

    check("c1, of rack a", nearest("c1"), "p1")
    check("c2, of rack b", nearest("c2"), "p2, p3")
    bench.freeze("p1")
    bench.wait_states("near", {"p1": "unready"})
    check("c1 when p1 is dead: its zone", nearest("c1"), "p2, p3")
    bench.freeze("p2")
    bench.wait_states("near", {"p2": "unready"})
    check("c2 when p2 is dead", nearest("c2"), "p3")
    bench.freeze("p3")
    bench.wait_states("near", {"p3": "unready"})
    check("c1 when only p4 lives: wherever there is one", nearest("c1"), "p4")
    check("c2 then", nearest("c2"), "p4")
    for name in ("p1", "p2", "p3"):
        bench.freeze(name, False)
    bench.wait_states("near", dict.fromkeys(("p1", "p2", "p3"), "serving"))
    check("c1 when all live again", nearest("c1"), "p1")
    check("c2 then, again", nearest("c2"), "p2, p3")


def chained(bench: Bench) -> None:
    """Guests come through a pool of firewalls, and then have a choice of servers."""
    for stickiness in ("connection", "none"):
        topic = f"behind a chain with stickiness {stickiness}"
        check = bench.about(topic)
        bench.change(f"stickiness-{stickiness}", _sticky(stickiness))
        everyone(bench, check, 64)
        since = bench.lab.now()
        for to in (VIP, VIP6):
            check(f"{to}: UDP answered, of 16", answered(bench.ask("g1", to), *RED), 16)
        check("IPv6: answered, of 16", answered(bench.browse("g1", VIP6), *RED), 16)
        check("connections of c1 that met a firewall", len(bench.passed("c1", since)), 0)
        running = bench.talk("g1")
        began = bench.lab.now()
        bench.change(f"fw2-retires-{stickiness}", _sticky(stickiness), labelled("fw2", role="retired"))
        everyone(bench, check, 32, {"fw1"})
        check("connections that go on when a firewall leaves, of 24", running.well(running.source_ports, began), 24)
        running.end()
        bench.change(f"p1-and-p2-{stickiness}", _sticky(stickiness), *(labelled(n, tier="db") for n in ("p3", "p4")))
        everyone(bench, check, 32, {"fw1", "fw2"}, ("p1", "p2"))
    bench.change("as-written")


def _sticky(stickiness: str) -> Change:
    def change(policy: dict[str, Any]) -> None:
        policy["chains"]["guarded"]["stickiness"] = stickiness

    return change


def everyone(
    bench: Bench,
    check: Any,
    number: int,
    walls: set[str] | frozenset[str] = frozenset({"fw1", "fw2"}),
    providers: tuple[str, ...] = RED,
) -> None:
    """Connections of the guest: all answered, each by one firewall both ways, and all that there are get some."""
    what = f"{' and '.join(sorted(walls))}, then {', '.join(providers)}"
    since = bench.lab.now()
    outcomes = bench.browse("g1", number=number)
    check(f"{what}: answered, of {number}", answered(outcomes, *providers), number)
    check(f"{what}: who answered", who(outcomes), ", ".join(providers))
    own = {outcome.source_port for outcome in outcomes}
    met = {port: passage for port, passage in bench.passed("g1", since).items() if port in own}
    check(f"{what}: by one firewall, both ways", sum(each.instance is not None for each in met.values()), number)
    check(f"{what}: firewalls that got some", sorted({str(each.instance) for each in met.values()}), sorted(walls))
    seen = servers_seen(bench.walls, {ADDRESSES["g1"][0]}, since)
    check(f"{what}: what firewalls saw, there and back", seen, ({f"{VIP}:{WEB}"}, {f"{VIP}:{WEB}"}))
