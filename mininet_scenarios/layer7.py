"""HAProxy at the edge picks an application by URL, and each application takes a chain of its own.

HAProxy leaves from a different address for each application; classifiers by source address turn that into chains:
/shop through a firewall and under the eyes of an IDS, /static through nothing. No route changes on any host, and with
stickiness `none` the switches keep no connection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from mininet_scenarios.harness import ovs
from mininet_scenarios.harness.captures import Capture, TcpPacket, settle
from mininet_scenarios.harness.controller import chainctl_json
from mininet_scenarios.harness.evidence import Arms, compare, passages
from mininet_scenarios.harness.functions import Tally
from mininet_scenarios.harness.haproxy import Application, HaProxy
from mininet_scenarios.harness.lab import Lab
from mininet_scenarios.harness.live import LivePolicy
from mininet_scenarios.harness.routes import changed, routes
from mininet_scenarios.harness.traffic import Outcome, connect, tally

TOPOLOGY = "layer7.yaml"
POLICY = "layer7.yaml"

EDGE, PORT = "10.1.0.20", 8080
SHOP, STATIC = "10.1.0.21", "10.1.0.22"  # the addresses HAProxy leaves from
SERVERS = {"shop": "10.2.0.21", "static": "10.2.0.22"}
FIREWALLS, CLIENTS, EACH = ("fw1", "fw2"), ("c1", "c2"), 30
LINKS = (("s1", 1), ("s1", 2))  # to s4 at once, and to the functions

Check = Callable[..., bool]


def run(lab: Lab) -> None:
    """The lab, check by check."""

    def about(topic: str) -> Check:
        lab.say(topic)
        return partial(lab.checks.that, topic)

    live = LivePolicy(lab)
    for name in SERVERS:
        lab.web_server(name, 80).ready()
    applications = {name: Application(f"/{name}", f"{SERVERS[name]}:80", source)
                    for name, source in (("shop", SHOP), ("static", STATIC))}  # fmt: skip
    haproxy = HaProxy(lab.network, lab.processes, "lb", (EDGE, PORT), applications)
    seen = Witnesses(lab)
    unsteered(lab, about("Without classifiers: nothing meets a function"), live, seen)
    before = routes(lab)
    live.apply("as-written")
    instances = steered(lab, about("With them: /shop through the chain, /static through none"), haproxy, seen)
    check = about("What it took")
    check("routes and addresses changed on hosts", changed(before, routes(lab)), "none")
    check("connections in the switches' conntrack tables", len(ovs.connections_tracked()), 0)
    labels(about("What chainctl decode reads from the frames between switches"), seen, instances)


class Witnesses:
    """What is recorded: at HAProxy, at the functions, and between switches."""

    def __init__(self, lab: Lab) -> None:
        conditions = {name: (f"ip saddr {address}", f"ip daddr {address}")
                      for name, address in (("shop", SHOP), ("static", STATIC))}  # fmt: skip
        self.tallies = [Tally(lab.network, name, conditions) for name in FIREWALLS]
        self.lb = lab.capture("lb")
        self.arms = {name: Arms(lab.capture(name, "in"), lab.capture(name, "out")) for name in FIREWALLS}
        self.ids = lab.capture("ids1")
        self.links = [lab.capture_port(*end) for end in LINKS]
        inner = (capture for arms in self.arms.values() for capture in (arms.inner, arms.outer))
        for capture in (self.lb, self.ids, *inner, *self.links):
            capture.ready()

    def counted(self, key: str) -> tuple[int, int]:
        """Packets and bytes of an application that the firewalls passed, by nftables."""
        found = [each.read(key) for each in self.tallies]
        return sum(packets for packets, _ in found), sum(size for _, size in found)


def browse(lab: Lab, ports: Iterable[int]) -> dict[str, list[Outcome]]:
    """Requests of every client for both applications, of pages of 20,000 and 5,000 bytes, by application."""
    found: dict[str, list[Outcome]] = {}
    chosen = list(ports)
    for number, (name, size) in enumerate((("shop", 20_000), ("static", 5_000))):
        mine = [port + number * EACH for port in chosen]
        found[name] = [outcome for client in CLIENTS for outcome in
                       connect(lab.network, client, EDGE, PORT, mine, path=f"/{name}/?size={size}")]  # fmt: skip
    settle()
    return found


def _answered(outcomes: list[Outcome], name: str) -> str:
    return f"{tally(outcomes)[name]} of {len(outcomes)}"


def unsteered(lab: Lab, check: Check, live: LivePolicy, seen: Witnesses) -> None:
    live.apply("without-classifiers", lambda policy: policy.pop("classifiers"))
    answers = browse(lab, range(20001, 20001 + EACH))
    for name in SERVERS:
        check(f"/{name} answered by its server", _answered(answers[name], name), f"{2 * EACH} of {2 * EACH}")
    check("packets at the firewalls: shop, static", _packets(seen), "0, 0")
    check("packets at the IDS", len(seen.ids.tcp()), 0)


def _packets(seen: Witnesses) -> str:
    return ", ".join(str(seen.counted(name)[0]) for name in SERVERS)


def steered(lab: Lab, check: Check, haproxy: HaProxy, seen: Witnesses) -> dict[tuple[str, int], str]:
    """Returns the firewall that each connection of /shop passed."""
    since, logged = lab.now(), len(haproxy.requests())
    answers = browse(lab, range(21001, 21001 + EACH))
    for name in SERVERS:
        check(f"/{name} answered by its server", _answered(answers[name], name), f"{2 * EACH} of {2 * EACH}")
    left = Counter(f"{words[1]} from {words[2].split(':')[0]}" for words in haproxy.requests()[logged:])
    told = ", ".join(f"{number} {what}" for what, number in sorted(left.items()))
    check("HAProxy's log: applications, and addresses it left from", told,
          f"{2 * EACH} shop from {SHOP}, {2 * EACH} static from {STATIC}")  # fmt: skip
    behind = [packet for packet in seen.lb.tcp(since) if {packet.source, packet.target} & set(SERVERS.values())]
    of_shop = [packet for packet in behind if SHOP in (packet.source, packet.target)]
    sizes = sum(int.from_bytes(packet.frame[16:18], "big") for packet in of_shop)  # IPv4 total length
    check("/shop was asked for, and its pages came", sizes > 2 * EACH * 20_000, True)
    check("packets and bytes of /shop at the firewalls: those HAProxy exchanged with the server",
          seen.counted("shop"), (len(of_shop), sizes))  # fmt: skip
    check("packets and bytes of /static at the firewalls", seen.counted("static"), (0, 0))
    passed = passages(seen.arms, {SHOP}, since)
    instances = Counter(passage.instance for passage in passed.values())
    check("connections of /shop both ways through the same one firewall",
          f"{sum(count for name, count in instances.items() if name)} of {len(passed)}", f"{2 * EACH} of {2 * EACH}")
    check("firewalls that had some of them", ", ".join(sorted(filter(None, instances))), ", ".join(FIREWALLS))
    copied = compare(_bare(of_shop), _bare(seen.ids.tcp(since)))
    measured = f"{copied.equal} of {copied.original}, {copied.strange} others"
    check("the IDS's copies of /shop, and what else it got", measured, "all, 0 others", copied.complete)
    return {connection: passage.instance for connection, passage in passed.items() if passage.instance is not None}


def _bare(packets: Iterable[TcpPacket]) -> list[bytes]:
    return [packet.without_ttl for packet in packets]


def labels(check: Check, seen: Witnesses, instances: Mapping[tuple[str, int], str]) -> None:
    """What the frames on the way to the functions say of themselves, against what the functions saw. `instances` are
    the firewalls that connections of /shop passed, by their address and port at HAProxy."""
    _, chained = seen.links
    frames = decoded(chained)
    check("chains it names", _set(name for frame in frames for name in frame["names"]), "inspect")
    outward = [frame for frame in frames if frame["direction"] == "forward" and frame["position"] == 0]
    right = sum(frame["next"]["name"] == f"{instances.get(_connection(frame))}:in" == f"{frame['path'][0]}:in"
                for frame in outward)  # fmt: skip
    check("frames on their way to the first function: the firewall they are said to go to is the one they passed",
          f"{right} of {len(outward)}", "all of at least 500", right == len(outward) >= 500)  # fmt: skip
    check("where they leave the network", _set(frame["exit"]["name"] for frame in outward), "shop")
    static = [frame for frame in (*decoded(seen.links[0]), *frames) if f"{STATIC}:" in frame["packet"]]
    check("frames of /static that belong to a chain", sum(bool(frame["names"]) for frame in static), 0)


def _connection(frame: Mapping[str, Any]) -> tuple[str, int]:
    """Source address and port of a frame, from how it is described: "10.1.0.21:49904 > 10.2.0.21:80 tcp"."""
    address, _, port = str(frame["packet"]).partition(" ")[0].rpartition(":")
    return address, int(port)


def _set(values: Iterable[object]) -> str:
    return " ".join(sorted({str(value) for value in values}))


def decoded(capture: Capture) -> list[dict[str, Any]]:
    """What `chainctl decode` says of every frame with a label."""
    return list(chainctl_json("decode", str(capture.file))["frames"])
