"""The way of a frame that was captured: from its sender, or on from the port by which a switch got it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from controller_app.model.allocation import Allocation
from controller_app.model.flow import FlowState
from controller_app.model.policy import Policy
from controller_app.model.topology import End, IPAddress, Topology
from controller_app.policy.diagnostics import nearest
from controller_app.verification.captured import FlowKey, inner, key_of, read_frame
from controller_app.verification.decode_label import decode, names_of
from controller_app.verification.evaluate import Expectation
from controller_app.verification.explain import Explainer, Told, label_of
from controller_app.verification.packet import ICMP, ICMPV6, PROTOCOLS, Packet, describe, mac_text
from controller_app.verification.trace import (
    PacketSpec,
    TraceError,
    by_classifier,
    main_document,
    trace,
    way_document,
)
from controller_app.verification.verify import Checker
from controller_app.verification.walk import walk_packet

_NAMES = {number: name for name, number in PROTOCOLS.items()}
_ECHO = (0, 8, 128, 129)


@dataclass(frozen=True, slots=True)
class Start:
    """Where a frame is traced from: the port by which it came into a switch, or else its sender, a host; neither: the
    host whose addresses it has."""

    at: End | None = None
    host: str | None = None


def port_of(text: str, topology: Topology) -> End:
    """SWITCH:PORT as a place. TraceError where there is none."""
    name, colon, port = text.rpartition(":")
    if not colon or not port.isdigit():
        raise TraceError(f"{text!r} is no port of a switch; write SWITCH:NUMBER, such as s1:2")
    if name not in topology.switches:
        guess = nearest(name, topology.switches)
        raise TraceError(f"there is no switch named {name!r}" + (f"; did you mean {guess!r}?" if guess else
                         f"; there are {', '.join(list(topology.switches)[:20])}"))  # fmt: skip
    return End(name, int(port))


def trace_frame(policy: Policy, topology: Topology, state: FlowState, allocation: Allocation | None, frame: bytes,
                start: Start = Start(), told: list[Told] | None = None,
                checker: Checker | None = None) -> dict[str, Any]:
    """The `trace` document of a frame, with `captured`: what its label says (see `decode_label.decode`), where it has
    one. From a port of a switch it is the very frame's way from there on, without an answer's; from a host it is that
    of a packet of the same connection. CaptureError or TraceError where there is nothing to trace."""
    packet = read_frame(frame)
    labelled = {"captured": captured(policy, topology, allocation, frame, packet)}
    checker = checker or Checker(policy, topology, state, allocation)
    if start.at is None:
        spec, note = spec_of(checker, packet, start.host)
        document = {**trace(policy, topology, state, allocation, spec, told=told, checker=checker), **labelled}
        return {**document, "note": note} if note else document
    place = start.at
    if place.port not in checker.network.ports.get(place.switch, ()):
        known = ", ".join(str(port) for port in checker.network.ports.get(place.switch, ()))
        raise TraceError(f"nothing is known to be at {place}; {place.switch} has links and hosts at {known or 'none'}")
    assert isinstance(place.port, int)
    wanted = _expected(checker, packet, place)
    explainer = Explainer(policy, checker.network, allocation)
    found = wanted or Expectation("", "")
    ways = [way_document(checker, explainer, packet, found, None, walk)
            for walk in walk_packet(checker.network, packet, (place.switch, place.port))]
    if told is not None:
        told += explainer.told
    return {**main_document(ways), "packet": describe(packet), "expected": None if wanted is None else wanted.verdict,
            **by_classifier(found), **({"candidates": ways} if len(ways) > 1 else {}), **labelled}


def captured(policy: Policy, topology: Topology, allocation: Allocation | None, frame: bytes,
             packet: Packet) -> dict[str, Any] | None:
    """What a frame's label says; None for one without."""
    return None if label_of(packet) is None else decode(frame, names_of(policy, topology, allocation))


def spec_of(checker: Checker, packet: Packet, host: str | None) -> tuple[PacketSpec, str]:
    """The packet to trace for a captured one: from its sender, and what is to be said about that. An answer that
    has a service's address, whom no host is, is traced as what it answers. TraceError where nobody can be found."""
    key = key_of(packet)
    if key is None:
        raise TraceError(f"it is no IP packet ({describe(inner(packet))}): give the port by which a switch got it "
                         "(--port SWITCH:PORT)")
    kind = inner(packet).get("icmp_type", inner(packet).get("icmpv6_type", 8))
    if key.protocol in (ICMP, ICMPV6) and kind not in _ECHO:
        raise TraceError(f"it is no echo, but ICMP of type {kind}: give the port by which a switch got it "
                         "(--port SWITCH:PORT)")
    if host is not None:
        return _spec(key, host), ""
    senders = _hosts(checker, key.source, inner(packet))
    if senders:
        return _spec(key, _only(senders, key.source, "sends from")), ""
    senders = _hosts(checker, key.destination, None)
    label = label_of(packet)
    if senders and ((label is not None and label.backward) or key.source in _services(checker)):
        return _spec(key.turned(), _only(senders, key.destination, "has")), (
            f"{key.source} is no host's address: this is taken for an answer, and what it answers is traced")
    raise TraceError(f"no host of the topology sends from {key.source} ({mac_text(packet.get('eth_src', 0))}): say "
                     "which one it is (--from HOST), or by which port a switch got it (--port SWITCH:PORT)")


def _spec(key: FlowKey, host: str) -> PacketSpec:
    protocol = "icmp" if key.protocol in (ICMP, ICMPV6) else _NAMES.get(key.protocol, str(key.protocol))
    return PacketSpec(host, key.destination, protocol, key.sport, key.dport, key.source)


def _only(names: Iterable[str], address: IPAddress, does: str) -> str:
    first, *more = names
    if more:
        raise TraceError(f"more than one host {does} {address}: {', '.join((first, *more))}; say which one it is "
                         "(--from HOST), or by which port a switch got it (--port SWITCH:PORT)")
    return first


def _hosts(checker: Checker, address: IPAddress, packet: Packet | None) -> list[str]:
    """The hosts that have an address, or an uplink's prefix around it; where the packet tells by its MAC address, that
    one alone."""
    found = [(length, station) for station in checker.evaluator.stations
             if (length := station.reach(address)) is not None]
    best = max((length for length, _ in found), default=0)
    closest = [station for length, station in found if length == best]
    mac = None if packet is None else packet.get("eth_src")
    own = [station for station in closest if station.mac == mac]
    return list(dict.fromkeys(station.host for station in own or closest))


def _services(checker: Checker) -> set[IPAddress]:
    return {ip for tenant in checker.evaluator.policy.tenants for ip in checker.evaluator.service_ips(tenant)}


def _expected(checker: Checker, packet: Packet, place: End) -> Expectation | None:
    """What the policy says of the packet in a frame, where its sender is known: who is at the port, or has its
    address."""
    key = key_of(packet)
    if key is None:
        return None
    host, _ = checker.network.attached_at(place, packet)
    known = [host] if host in checker.evaluator.members else _hosts(checker, key.source, inner(packet))
    known = [name for name in known if name is not None]
    return checker.evaluator.evaluate(inner(packet), known[0]) if len(known) == 1 else None


def summary(document: dict[str, Any]) -> dict[str, Any]:
    """Of a trace what a list of many shows."""
    keys = ("packet", "verdict", "host", "functions", "taps", "classifier", "position", "expected")
    found = {key: document[key] for key in keys}
    return {**found, "reason": document.get("reason"), "note": document.get("note"),
            "ways": len(document.get("candidates", ())) or 1}
