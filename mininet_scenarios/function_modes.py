"""A chain for every mode of functions, each watched at the function, at both ends and on the way.

Wires that see the label or the original address, routers with one interface and with two, functions that speak NSH,
NAT and a terminating proxy, taps; mixed chains; and what happens when no instance of a function is left.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count

from mininet_scenarios.harness.captures import TcpPacket, settle
from mininet_scenarios.harness.evidence import Arms, compare, hop_limits, met, passages, received_by, sent_by
from mininet_scenarios.harness.hops import trace
from mininet_scenarios.harness.instances import NshHeader
from mininet_scenarios.harness.lab import Lab
from mininet_scenarios.harness.processes import run as command
from mininet_scenarios.harness.traffic import PROGRAMS, PYTHON, Outcome, connect, tally

TOPOLOGY = "function_modes.yaml"
POLICY = "function_modes.yaml"

CLIENT, SERVER, NEIGHBOUR = "10.1.0.11", "10.2.0.21", "10.1.0.12"
CLIENT6, SERVER6 = "fd01::11", "fd02::21"
GATEWAYS = {"10.1.0.254", "10.2.0.254", "10.3.0.254", "fd01::fe", "fd02::fe", "fd03::fe"}
TRANSPARENT, ORIGINAL, ROUTED, TWO_ARMED, NSH, NAT, PROXY, WATCHED, MIXED, HIDDEN = range(8001, 8011)
CLOSED, OPEN, REJECTING, REJECTED = range(8011, 8015)
EACH = 20  # connections a chain, over IPv4; half as many over IPv6
UNREACHED = ("refused", "unreachable")  # by an ICMP error: the port's, or the administrator's
AT_ONCE = 0.5  # seconds: a refusal is faster, a lost SYN is only sent again after one

Check = Callable[..., bool]
_ports = count(20001)


class Bench:
    """The running lab: servers, and witnesses everywhere."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.network = lab, lab.network
        self.servers = {"web": lab.web_server("web", *range(TRANSPARENT, REJECTED + 1)),
                        "c2": lab.web_server("c2", ORIGINAL)}  # fmt: skip
        self.client, self.server = lab.capture("c1"), lab.capture("web")
        self.arms = {name: Arms(lab.capture(name, "in"), lab.capture(name, "out"))
                     for name in ("wire1", "wire2", "strict", "gate")}  # fmt: skip
        self.ports = {name: lab.capture(name) for name in ("hop1", "hop2", "nat1", "nat2", "proxy", "spy1", "spy2")}
        inner = (capture for arms in self.arms.values() for capture in (arms.inner, arms.outer))
        for capture in (self.client, self.server, *inner, *self.ports.values()):
            capture.ready()
        for server in self.servers.values():
            server.ready()

    def browse(self, port: int, to: str = SERVER, number: int = EACH, timeout: float = 5.0) -> list[Outcome]:
        """Connections from c1, each from a port of its own."""
        outcomes = connect(self.network, "c1", to, port, [next(_ports) for _ in range(number)], timeout=timeout)
        settle()
        return outcomes

    def answered(self, check: Check, port: int) -> float:
        """Connections over IPv6 and then IPv4, all of which are to be answered. Returns when the latter began."""
        outcomes = self.browse(port, SERVER6, EACH // 2)
        check("connections over IPv6", _told(outcomes), f"{EACH // 2} web")
        since = self.lab.now()
        check("connections", _told(self.browse(port)), f"{EACH} web")
        return since

    def ends(self, port: int, since: float) -> tuple[list[TcpPacket], list[TcpPacket]]:
        """What the server got from anybody at this port, and what the client got from there."""
        there = [packet for packet in self.server.tcp(since) if packet.target_port == port]
        return there, received_by(self.client.tcp(since), CLIENT, SERVER, port)

    def peers(self, port: int) -> set[str]:
        """Who connected to this port of the server, as it saw them; IPv4 only."""
        return {peer for peer, _, at in self.servers["web"].visits() if at == port and ":" not in peer}


def run(lab: Lab) -> None:
    """The lab, mode by mode."""

    def about(topic: str) -> Check:
        lab.say(topic)
        return partial(lab.checks.that, topic)

    bench = Bench(lab)
    transparent(bench, about("transparent"))
    original(bench, about("transparent, handover: original"))
    routed(bench, about("routed, one interface"))
    two_armed(bench, about("routed, two interfaces"))
    nsh(bench, about("nsh, one arm and then two"))
    translating(bench, about("translating: NAT with two instances"))
    terminating(bench, about("translating: a terminating proxy"))
    watched(bench, about("tap"))
    mixed(bench, about("mixed: routed, nsh, transparent, routed"))
    hidden(bench, about("mixed: transparent, translating, routed"))
    rejected(bench, about("then: reject"))
    failing(bench, about("no instance left"))


def _told(outcomes: Iterable[Outcome]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(tally(outcomes).items()))


def _one_instance(check: Check, found: Iterable[str | None], allowed: Iterable[str]) -> None:
    """Every connection passed one instance, the same one both ways, and no instance was left out."""
    counted = Counter(found)
    good = sum(number for name, number in counted.items() if name is not None)
    check("both ways through the same one instance", f"{good} of {counted.total()}", f"{EACH} of {EACH}")
    used = sorted(name for name in counted if name is not None)
    check("instances that had some of them", ", ".join(used), ", ".join(sorted(allowed)))


def _limits(bench: Bench, check: Check, port: int, since: float, there: int, back: int) -> None:
    """TTLs at both ends; hosts send with 64."""
    arrived, returned = bench.ends(port, since)
    check("TTL at the server, at the client", f"{_set(hop_limits(arrived))}, {_set(hop_limits(returned))}",
          f"{there}, {back}")  # fmt: skip


def _set(values: Iterable[object]) -> str:
    return " ".join(sorted(map(str, values)))


def _hops(bench: Bench, check: Check, port: int, names: Iterable[str]) -> None:
    """Traceroutes over UDP: one of these functions answered, the destination, and nobody else but gateways."""
    hosts = [bench.lab.topology.hosts[name] for name in names]
    for to in (SERVER, SERVER6):
        found = trace(bench.network, "c1", to, "udp", next(_ports), port)
        allowed = [str(ip) for host in hosts for ip in (*host.ips, *host.out_ips) if (":" in str(ip)) == (":" in to)]
        functions = [hop for hop in found[:-1] if hop not in GATEWAYS]
        good = found[-1] == to and len(functions) == 1 and functions[0] in allowed
        check(f"traceroute to {to}", " ".join(map(str, found)), f"{' or '.join(allowed)}, {to}", good)


def transparent(bench: Bench, check: Check) -> None:
    since = bench.answered(check, TRANSPARENT)
    wires = {name: bench.arms[name] for name in ("wire1", "wire2")}
    passed = passages(wires, {CLIENT}, since)
    _one_instance(check, (passage.instance for passage in passed.values()), wires)
    _limits(bench, check, TRANSPARENT, since, 63, 63)


def original(bench: Bench, check: Check) -> None:
    """A firewall that drops what is not addressed as the sender addressed it, towards the gateway and a neighbour."""
    gateway = json.loads(bench.network.on("c1", "ip", "-json", "neigh", "show", "10.1.0.254"))[0]["lladdr"]
    macs = [host.mac for name, host in bench.lab.topology.hosts.items() if name in ("c1", "c2")]
    rules = STRICT.format(macs=", ".join([gateway, *map(str, macs)]))
    command(["nft", "-f", "-"], bench.network.pid("strict"), stdin=rules)
    since = bench.answered(check, ORIGINAL)
    passed = passages({"strict": bench.arms["strict"]}, {CLIENT}, since)
    _one_instance(check, (passage.instance for passage in passed.values()), ["strict"])
    _limits(bench, check, ORIGINAL, since, 63, 63)
    check("connections to a neighbour", _told(bench.browse(ORIGINAL, NEIGHBOUR)), f"{EACH} c2")
    dropped = json.loads(bench.network.on("strict", "nft", "-j", "list", "counter", "bridge", "strict", "wrong"))
    check("packets with another destination MAC", dropped["nftables"][-1]["counter"]["packets"], 0)


STRICT = """
table bridge strict {{
  counter wrong {{ }}
  chain passing {{
    type filter hook forward priority 0; policy accept;
    ether type {{ ip, ip6 }} ether daddr != {{ {macs} }} counter name "wrong" drop
  }}
}}
"""


def routed(bench: Bench, check: Check) -> None:
    since = bench.answered(check, ROUTED)
    hops = {name: bench.ports[name] for name in ("hop1", "hop2")}
    _one_instance(check, (passage.instance for passage in met(hops, {CLIENT}, since).values()), hops)
    _limits(bench, check, ROUTED, since, 62, 62)  # one router, which sends on by its gateway
    _hops(bench, check, ROUTED, hops)
    for name in hops:
        (address,) = (ip for ip in bench.lab.topology.hosts[name].ips if ip.version == 4)
        check(f"{name} answers a ping, as any host", _ping("c1", str(address), bench), True)


def _ping(host: str, to: str, bench: Bench) -> bool:
    return " 1 received" in str(bench.network.mininet.nameToNode[host].cmd(f"ping -c 1 -W 2 {to}"))


def two_armed(bench: Bench, check: Check) -> None:
    since = bench.answered(check, TWO_ARMED)
    arms = bench.arms["gate"]
    _one_instance(check, (p.instance for p in passages({"gate": arms}, {CLIENT}, since).values()), ["gate"])
    _limits(bench, check, TWO_ARMED, since, 63, 63)  # the router is in both networks: no gateway
    host = bench.lab.topology.hosts["gate"]
    for arm, capture, source, mac in (("in", arms.inner, CLIENT, host.mac), ("out", arms.outer, SERVER, host.out_mac)):
        entered = {packet.frame[:6].hex(":") for packet in capture.tcp(since) if packet.source == source}
        check(f"destination MAC of what enters `{arm}` from {source}", _set(entered), mac)
    _hops(bench, check, TWO_ARMED, ["gate"])


def nsh(bench: Bench, check: Check) -> None:
    functions = bench.lab.instances.nsh
    before = {name: len(function.frames()) for name, function in functions.items()}
    since = bench.answered(check, NSH)
    own = bench.client.tcp(since)
    exchanged = len(sent_by(own, CLIENT, SERVER, NSH)) + len(received_by(own, CLIENT, SERVER, NSH))
    for name, function in functions.items():
        frames = function.frames()[before[name] :]
        check(f"frames at {name}, and what was wrong with them", f"{len(_of_ipv4(frames))}, {_wrong(frames)}",
              f"{exchanged}, nothing")  # fmt: skip
        headers = [NshHeader.of(frame["got"]) for frame in frames]
        check(f"TTL at {name}", _set({header.ttl for header in headers}), "63")
        seen = {(frame["arm"], header.service, header.path & 1) for frame, header in zip(frames, headers, strict=True)}
        wanted = ({("eth0", 255, 0), ("eth0", 254, 1)} if name == "talk1" else {("in", 254, 0), ("out", 255, 1)})
        check(f"arm, service index, and backward bit of the path at {name}", _set(seen), _set(wanted))
    check("service paths, without the backward bit",
          len({NshHeader.of(frame["got"]).path >> 1 for function in functions.values() for frame in function.frames()}),
          1)  # fmt: skip
    _limits(bench, check, NSH, since, 63, 63)


def _of_ipv4(frames: list[dict[str, object]]) -> list[dict[str, object]]:
    return [frame for frame in frames if bytes(frame["inner"])[12:14] == b"\x08\x00"]  # type: ignore[call-overload]


def _wrong(frames: list[dict[str, object]]) -> str:
    return ", ".join(sorted({str(frame["why"]) for frame in frames if frame["why"] is not None})) or "nothing"


def translating(bench: Bench, check: Check) -> None:
    since = bench.answered(check, NAT)
    nats = {name: bench.ports[name] for name in ("nat1", "nat2")}
    _one_instance(check, (passage.instance for passage in met(nats, {CLIENT}, since).values()), nats)
    check("who the server saw", _set(bench.peers(NAT)), "10.3.0.21 10.3.0.22")
    _, back = bench.ends(NAT, since)
    check("who the client got answers from", _set({packet.source for packet in back}), SERVER)


def terminating(bench: Bench, check: Check) -> None:
    before = len(bench.lab.instances.proxies["proxy"].connections())
    since = bench.answered(check, PROXY)
    lines = bench.lab.instances.proxies["proxy"].connections()[before:]
    asked = {f"{line['client']} for {line['to']}, port {line['to_port']}" for line in lines}
    wanted = {f"{CLIENT} for {SERVER}, port {PROXY}", f"{CLIENT6} for {SERVER6}, port {PROXY}"}
    check("who asked the proxy for whom", "; ".join(sorted(asked)), "; ".join(sorted(wanted)))
    check("who the server saw", _set(bench.peers(PROXY)), "10.3.0.31")
    _, back = bench.ends(PROXY, since)
    check("who the client got answers from", _set({packet.source for packet in back}), SERVER)


def watched(bench: Bench, check: Check) -> None:
    since = bench.answered(check, WATCHED)
    _copies(bench, check, since, ("spy1", "spy2"))
    bench.network.set_link("s3", 29, False)  # spy1 is gone
    check("with a dead tap: connections", _told(bench.browse(WATCHED)), f"{EACH} web")
    _ready(bench)
    since = bench.lab.now()
    check("and later", _told(bench.browse(WATCHED)), f"{EACH} web")
    _copies(bench, check, since, ("spy2",))
    bench.network.set_link("s3", 29, True)
    _ready(bench)


def _copies(bench: Bench, check: Check, since: float, taps: Iterable[str]) -> None:
    own = bench.client.tcp(since)
    frames = [packet.frame for packet in sent_by(own, CLIENT, SERVER, WATCHED)]
    answers = [packet.without_ttl for packet in received_by(own, CLIENT, SERVER, WATCHED)]
    for name in taps:
        tapped = bench.ports[name].tcp(since)
        there = compare(frames, (packet.frame for packet in sent_by(tapped, CLIENT, SERVER, WATCHED)))
        back = compare(answers, (packet.without_ttl for packet in received_by(tapped, CLIENT, SERVER, WATCHED)))
        found = f"{there.equal} of {there.original}, {back.equal} of {back.original}"
        check(f"{name}'s copies of what the client sent, byte by byte, and of answers, TTL apart",
              f"{found}, {there.strange + back.strange} others", "all, all, 0 others",
              there.complete and back.complete)  # fmt: skip


def mixed(bench: Bench, check: Check) -> None:
    before = len(bench.lab.instances.nsh["talk1"].frames())
    since = bench.answered(check, MIXED)
    found = met({name: bench.ports[name] for name in ("hop1", "hop2")}, {CLIENT}, since)
    check("connections that met one router both ways", sum(p.instance is not None for p in found.values()), EACH)
    for names in (("wire1", "wire2"), ("gate",)):
        passed = passages({name: bench.arms[name] for name in names}, {CLIENT}, since)
        check(f"connections that passed one of {', '.join(names)} both ways",
              sum(passage.instance is not None for passage in passed.values()), EACH)  # fmt: skip
    frames = bench.lab.instances.nsh["talk1"].frames()[before:]
    own = bench.client.tcp(since)
    exchanged = len(sent_by(own, CLIENT, SERVER, MIXED)) + len(received_by(own, CLIENT, SERVER, MIXED))
    check("frames at talk1, and what was wrong with them", f"{len(_of_ipv4(frames))}, {_wrong(frames)}",
          f"{exchanged}, nothing")  # fmt: skip
    _limits(bench, check, MIXED, since, 62, 61)  # two routers; the last one before the client sends to its gateway


def hidden(bench: Bench, check: Check) -> None:
    since = bench.answered(check, HIDDEN)
    passed = passages({name: bench.arms[name] for name in ("wire1", "wire2")}, {CLIENT}, since)
    check("connections that passed one wire both ways, with the client's address",
          sum(passage.instance is not None for passage in passed.values()), EACH)  # fmt: skip
    found = met({name: bench.ports[name] for name in ("nat1", "nat2")}, {CLIENT}, since)
    check("connections that met one NAT both ways", sum(p.instance is not None for p in found.values()), EACH)
    check("who the server saw", _set(bench.peers(HIDDEN)), "10.3.0.21 10.3.0.22")
    translated = met({name: bench.ports[name] for name in ("hop1", "hop2")}, {"10.3.0.21", "10.3.0.22"}, since)
    check("translated connections that met one router both ways",
          sum(passage.instance is not None for passage in translated.values()), EACH)  # fmt: skip


def _refused_at_once(outcomes: list[Outcome]) -> bool:
    return all(one.answered_by is None and one.error != "TimeoutError" and one.seconds < AT_ONCE for one in outcomes)


def _udp(bench: Bench, to: str, port: int) -> str:
    """What a host hears of a datagram: an answer, an ICMP error's meaning, or nothing within a second."""
    words = [*PYTHON, str(PROGRAMS / "datagram.py"), to, str(next(_ports)), str(port)]
    return bench.network.on("c1", *words).strip()


def rejected(bench: Bench, check: Check) -> None:
    for to in (SERVER, SERVER6):
        outcomes = bench.browse(REJECTED, to, 3)
        check(f"TCP to {to}: refused at once", _told(outcomes), "3 refused in 0.5 s", _refused_at_once(outcomes))
        told = _udp(bench, to, REJECTED)
        check(f"UDP to {to}", told, " or ".join(UNREACHED), told in UNREACHED)


def failing(bench: Bench, check: Check) -> None:
    for port in (CLOSED, OPEN, REJECTING):
        check(f"while all is well: port {port}", _told(bench.browse(port, number=5)), "5 web")
    for port in range(31, 37):
        bench.network.set_link("s3", port, False)
    _ready(bench)
    check("on_failure: closed", _told(bench.browse(CLOSED, number=3, timeout=2)), "3 TimeoutError")
    check("on_failure: open", _told(bench.browse(OPEN, number=5)), "5 web")
    for to in (SERVER, SERVER6):
        outcomes = bench.browse(REJECTING, to, 3)
        check(f"on_failure: reject, TCP to {to}", _told(outcomes), "3 refused in 0.5 s", _refused_at_once(outcomes))
        told = _udp(bench, to, REJECTING)
        check(f"on_failure: reject, UDP to {to}", told, " or ".join(UNREACHED), told in UNREACHED)
    for port in range(31, 37):
        bench.network.set_link("s3", port, True)
    _ready(bench)
    for port in (CLOSED, OPEN, REJECTING):
        check(f"after repair: port {port}", _told(bench.browse(port, number=5)), "5 web")


def _ready(bench: Bench) -> None:
    """Wait until the controller saw what changed and the switches hold what follows."""
    settle(1.0)
    if bench.lab.controller is not None:
        bench.lab.controller.wait_ready()

