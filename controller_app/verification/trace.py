"""One packet's way through the network and its reply's way back, as a document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controller_app.model.allocation import Allocation
from controller_app.model.flow import FlowState
from controller_app.model.policy import Policy
from controller_app.model.position import NOWHERE
from controller_app.model.topology import IPAddress, Topology
from controller_app.policy.diagnostics import nearest
from controller_app.verification.classes import PacketClass
from controller_app.verification.evaluate import Expectation
from controller_app.verification.explain import Explainer, Told
from controller_app.verification.packet import ICMP, ICMPV6, PROTOCOLS, Packet, addresses, describe
from controller_app.verification.verify import Checker
from controller_app.verification.walk import ALL_SLOTS, Fate, Walk, walk_from


@dataclass(frozen=True, slots=True)
class PacketSpec:
    """The packet asked about: from a host to an address, `protocol` tcp, udp, icmp or an IANA number.

    `source` is the sender's address; None is the host's first of the same IP version.
    """

    host: str
    destination: IPAddress
    protocol: str = "tcp"
    sport: int = 40000
    dport: int = 80
    source: IPAddress | None = None


class TraceError(ValueError):
    """The packet asked about cannot be sent; the text says why and what to do."""


def trace(policy: Policy, topology: Topology, state: FlowState, allocation: Allocation | None,
          packet: PacketSpec, slot: int | None = None, told: list[Told] | None = None,
          checker: Checker | None = None) -> dict[str, Any]:
    """The packet's way there and back.

    `{"forward": [hop...], "return": [hop...], "functions": ["fw1"], "verdict": "delivered", ...}` with hops
    as in `explain.Explainer.hops`; `verdict` is delivered, dropped, controller, lost or looped; `functions` are
    instance names in the order they are met; `ttl_hops` name who takes one off the TTL, in order, as a traceroute
    lists them: `[{"ttl": 1, "name": "r2", "address": "10.0.0.2"}, {"ttl": 2, "name": "gateway"}]`; `copies` and
    `return_copies` list `{"tap": "ids1", "hops": [...]}` from the switch on that makes the copy. Where only a
    switch's hash decides, the main document is the way that most of the 256 slots take, and `candidates` lists
    every way with its number of slots. With `slot`
    (0 to 255, asked of the switch) there is one way and no candidates. `told` gets every rule in the document, with
    the flow that it is. `checker`: one of the same network, where there is one already.
    """
    checker = checker or Checker(policy, topology, state, allocation)
    asked = class_of(checker, topology, packet)
    frame, wanted = checker.frame(asked)
    slots = ALL_SLOTS if slot is None else 1 << slot
    explainer = Explainer(policy, checker.network, allocation)
    ways = [way_document(checker, explainer, frame, wanted, packet.host, walk)
            for walk in walk_from(checker.network, frame, packet.host, arm=checker.arm(asked), slots=slots)]
    if told is not None:
        told += explainer.told
    return {**main_document(ways), "packet": describe(frame), "expected": wanted.verdict, **by_classifier(wanted),
            **({"candidates": ways} if len(ways) > 1 else {})}


def main_document(ways: list[dict[str, Any]]) -> dict[str, Any]:
    """The way that most slots take. The ways are put in order, that one first."""
    ways.sort(key=lambda way: -way["slots"])
    return {key: value for key, value in ways[0].items() if key != "slots"}


def by_classifier(wanted: Expectation) -> dict[str, Any]:
    """Which classifier decides, and where it is written."""
    classifier = wanted.classifier
    return {"classifier": None if classifier is None else classifier.name,
            "position": None if classifier is None or classifier.where == NOWHERE else str(classifier.where)}


def class_of(checker: Checker, topology: Topology, packet: PacketSpec) -> PacketClass:
    """The packet as the checker takes it; TraceError says what is missing to build it."""
    host = topology.hosts.get(packet.host)
    if host is None or packet.host not in checker.evaluator.members:
        guess = nearest(packet.host, checker.evaluator.members)
        raise TraceError(f"there is no host {packet.host!r} that sends packets of its own; "
                         + (f"did you mean {guess!r}?" if guess and guess != packet.host else
                            "name a host of the topology that is no function"))
    if host.mac is None:
        raise TraceError(f"the MAC address of {packet.host} is not known; declare it in the topology")
    source = packet.source or next((ip for ip in host.ips if ip.version == packet.destination.version), None)
    if source is None:
        raise TraceError(f"{packet.host} has no IPv{packet.destination.version} address; "
                         "declare one in the topology")
    if packet.protocol == "icmp":
        protocol = ICMP if packet.destination.version == 4 else ICMPV6
    elif packet.protocol in PROTOCOLS:
        protocol = PROTOCOLS[packet.protocol]
    elif packet.protocol.isdigit() and int(packet.protocol) < 256:
        protocol = int(packet.protocol)
    else:
        raise TraceError(f"protocol {packet.protocol!r} is not known; use tcp, udp, icmp or a number")
    ports = (packet.sport, packet.dport) if packet.protocol in PROTOCOLS else (packet.sport & 0xFFFF, 0)
    return PacketClass(checker.evaluator.members[packet.host][0], packet.host, source, packet.destination,
                       protocol, *ports)


def way_document(checker: Checker, explainer: Explainer, frame: Packet, wanted: Expectation, sender: str | None,
                 walk: Walk) -> dict[str, Any]:
    """One way of a packet and of its answer. sender: who sent it; None where that is not known."""
    main = walk.main
    document: dict[str, Any] = {
        "slots": walk.slots.bit_count(),
        "forward": [] if main is None else explainer.hops(main.hops, walk),
        "return": [],
        "functions": [] if main is None else _instances(checker, main),
        "ttl_hops": [] if main is None else _ttl_hops(checker, frame, main),
        "taps": [_instance(checker, fate.host) for fate in walk.of("tapped")],
        "copies": _copies(checker, explainer, walk),
        "return_copies": [],
        "verdict": "dropped" if main is None else main.kind,
        "host": None if main is None else main.host,
    }
    if main is not None and main.kind != "delivered":
        document["reason"] = main.reason
    if main is not None and main.host is not None and main.kind == "delivered" and main.host != sender \
            and sender is not None and addresses(frame) is not None:
        answer, _, _ = checker.reply(frame, wanted, main)
        back = walk_from(checker.network, answer, main.host, arm=main.arm, connections=walk.connections,
                         slots=walk.slots_of(answer), hashes=walk.hashes)
        returned = back[0].main
        document["return"] = [] if returned is None else explainer.hops(returned.hops, back[0])
        document["return_copies"] = _copies(checker, explainer, back[0])
        document["return_verdict"] = "dropped" if returned is None else returned.kind
    return document


def _copies(checker: Checker, explainer: Explainer, walk: Walk) -> list[dict[str, Any]]:
    """The ways of a packet's copies: which tap, and the hops from the switch on that made the copy."""
    main = walk.main
    found = []
    for fate in walk.of("tapped"):
        together = 0  # hops at which copy and packet still arrived as one
        for own, others in zip(fate.hops, main.hops if main is not None else (), strict=False):
            if (own.switch, own.in_port, own.packet) != (others.switch, others.in_port, others.packet):
                break
            together += 1
        hops = explainer.hops(fate.hops[max(together - 1, 0):], walk)
        found.append({"tap": _instance(checker, fate.host), "hops": hops})
    return found


def _instances(checker: Checker, fate: Fate) -> list[str]:
    return [_instance(checker, visit.host) for visit in fate.visits]


def _ttl_hops(checker: Checker, frame: Packet, fate: Fate) -> list[dict[str, Any]]:
    """Everyone on the way who takes one off the TTL: routers that the packet went through, and the gateway."""
    found: list[dict[str, Any]] = []
    ttl = frame.get("ttl", 0)
    for visit in fate.visits:
        if visit.packet.get("ttl", ttl) < ttl:
            found.append({"name": "gateway"})
        ttl = visit.packet.get("ttl", ttl)
        if visit.sent is None or visit.sent.get("ttl", ttl) >= ttl:
            continue
        ttl = visit.sent["ttl"]
        ends = addresses(visit.packet)
        ips = checker.network.topology.hosts[visit.host].arm_ips(visit.arm)
        own = next((str(ip) for ip in ips if ends is not None and ip.version == ends[0].version), None)
        found.append({"name": _instance(checker, visit.host), **({} if own is None else {"address": own})})
    if fate.kind == "delivered" and fate.packet.get("ttl", ttl) < ttl:
        found.append({"name": "gateway"})
    return [{"ttl": number, **hop} for number, hop in enumerate(found, start=1)]


def _instance(checker: Checker, host: str | None) -> str:
    member = checker.judge.functions.get(host or "")
    return str(host) if member is None else member.instance
