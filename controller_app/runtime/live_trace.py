"""A packet's way as the switches really take it: where only a hash decides, the switch itself is asked."""

from __future__ import annotations

import queue
import struct
from collections.abc import Iterable, Mapping
from typing import Any

from controller_app.model.allocation import Allocation
from controller_app.model.checksum import internet_checksum
from controller_app.model.flow import Flow
from controller_app.openflow.decode import PacketIn
from controller_app.pipeline.cookies import is_ours
from controller_app.pipeline.labels import Label
from controller_app.pipeline.probe import REPLY_TABLES, host_at, instances_of, probe_packet_out, read_probe
from controller_app.runtime.computed import Computed
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.control import Runtime
from controller_app.runtime.live_counters import Counted, Wanted, read
from controller_app.verification.captured import read_frame
from controller_app.verification.explain import Told
from controller_app.verification.packet import ICMP, ICMPV6, IPV4, TCP, UDP, Packet
from controller_app.verification.pcap import CaptureError
from controller_app.verification.trace import PacketSpec, TraceError, class_of, trace
from controller_app.verification.trace_frame import Start, port_of, spec_of, summary, trace_frame
from controller_app.verification.verify import Checker

ANSWER_TIME = 2.0  # seconds a switch has to say what it would do


def live_trace(runtime: Runtime, spec: PacketSpec) -> dict[str, Any]:
    """The `trace` document of a packet on the running network, with what each rule has counted (see `with_counters`).

    Where the way depends on a switch's hash the switch is asked, and the one way it takes is given; when it
    does not answer, the candidates stay, with a `note`. Raises TraceError when the packet cannot be sent.
    """
    now = runtime.call(lambda conductor: conductor.computed)
    told: list[Told] = []
    document = trace(now.policy, now.topology, now.state, now.allocation, spec, told=told)
    return with_counters(runtime, _decided(runtime, now, spec, document), told)


def live_frame(runtime: Runtime, frame: bytes, port: str | None, host: str | None) -> dict[str, Any]:
    """The `trace_frame` document of a captured frame on the running network, with what each rule has counted. From a
    host, the way that the switch chooses. CaptureError or TraceError where there is nothing to trace."""
    now = runtime.call(lambda conductor: conductor.computed)
    start = Start(None if port is None else port_of(port, now.topology), host)
    told: list[Told] = []
    document = trace_frame(now.policy, now.topology, now.state, now.allocation, frame, start, told)
    if start.at is None:
        checker = Checker(now.policy, now.topology, now.state, now.allocation)
        document = _decided(runtime, now, spec_of(checker, read_frame(frame), host)[0], document)
    return with_counters(runtime, document, told)


def live_flows(runtime: Runtime, frames: Iterable[bytes], port: str | None, host: str | None) -> list[dict[str, Any]]:
    """The same of many, in short (`trace_frame.summary`); of a frame that cannot be traced, why not (`problem`)."""
    now = runtime.call(lambda conductor: conductor.computed)
    start = Start(None if port is None else port_of(port, now.topology), host)
    checker = Checker(now.policy, now.topology, now.state, now.allocation)
    found: list[dict[str, Any]] = []
    for frame in frames:
        try:
            document = trace_frame(now.policy, now.topology, now.state, now.allocation, frame, start, checker=checker)
            if start.at is None:
                document = _decided(runtime, now, spec_of(checker, read_frame(frame), host)[0], document)
            found.append(summary(document))
        except (CaptureError, TraceError) as error:
            found.append({"problem": str(error)})
    return found


def _decided(runtime: Runtime, now: Computed, spec: PacketSpec, document: dict[str, Any]) -> dict[str, Any]:
    """The document with the one way that the switch chooses."""
    if "candidates" not in document:
        return document
    checker = Checker(now.policy, now.topology, now.state, now.allocation)
    frame = wire_frame(checker.frame(class_of(checker, now.topology, spec))[0])
    switch, label = _ask(runtime, now, spec.host, frame)
    if label is None:
        return noted(document, f"switch {switch} did not say which of the candidates it takes")
    wanted = _chosen(label, now.allocation)
    for way in document["candidates"]:
        if way["host"] == wanted[1] and set(way["functions"]) <= set(wanted[0]):
            chosen = {key: value for key, value in way.items() if key != "slots"}
            rest = {k: v for k, v in document.items() if k not in ("candidates", *way)}
            return {**chosen, **rest}
    return noted(
        document,
        f"switch {switch} chose {', '.join(wanted[0])} to {wanted[1]}, which the computed state does not offer: it "
        "may have changed meanwhile",
    )


def with_counters(runtime: Runtime, document: dict[str, Any], told: Iterable[Told]) -> dict[str, Any]:
    """The document with `counters` beside each rule of its main way: packets, bytes, and age in seconds, as its switch
    has counted them for all packets so far. Beside a group `counters` too, and in them, of the buckets that lead to
    the same, `bucket_packets` and `bucket_bytes`.

    Every switch is asked once. Null where it does not hold the rule; where it does not answer there are no counters,
    and a `note` says so.
    """
    shown = _shown(document)
    mine = [each for each in told if id(each.document) in shown]
    wanted: dict[str, tuple[dict[Flow, None], dict[int, None]]] = {}
    for each in mine:
        flows, groups = wanted.setdefault(each.switch, ({}, {}))
        if isinstance(each.what, Flow):
            flows[each.what] = None
        else:
            groups[each.what.id] = None
    counted = read(runtime, {name: Wanted([*flows], [*groups]) for name, (flows, groups) in wanted.items()})
    for each in mine:
        answers = counted.counted.get(each.switch)
        if answers is not None:
            each.document["counters"] = _counters(each, answers)
    for name, why in counted.silent.items():
        document = noted(document, f"what rules of {name} counted is not known: it {why}")
    return document


def _counters(told: Told, answers: Counted) -> dict[str, Any] | None:
    """What a rule or group counted; None where the switch does not hold it."""
    if isinstance(told.what, Flow):
        entry = answers.flows.get(told.what)
        return None if entry is None else {
            "packets": entry.packets, "bytes": entry.octets, "age": round(entry.age, 3)}  # fmt: skip
    group = answers.groups.get(told.what.id)
    if group is None:
        return None
    found: dict[str, Any] = {"packets": group.packets, "bytes": group.octets, "age": round(group.age, 3)}
    for word, at in (("bucket_packets", 0), ("bucket_bytes", 1)):
        counts = [group.buckets[number][at] for number in told.buckets if number < len(group.buckets)]
        known = [count for count in counts if count is not None]
        found[word] = sum(known) if known and len(known) == len(counts) else None
    return found


def _shown(document: Mapping[str, Any]) -> set[int]:
    """Which documents of rules and groups are part of a trace, the candidates' apart, by their identity."""
    hops = [*document["forward"], *document["return"]]
    hops += [hop for copies in ("copies", "return_copies") for copy in document[copies] for hop in copy["hops"]]
    rules = [rule for hop in hops for rule in hop["rules"]]
    return {id(each) for rule in rules for each in (rule, *rule["groups"])}


def noted(document: dict[str, Any], note: str) -> dict[str, Any]:
    """The document with one more thing to say."""
    return {**document, "note": f"{document['note']}; {note}" if document.get("note") else note}


def _ask(runtime: Runtime, now: Computed, host: str, frame: bytes) -> tuple[str, Label | None]:
    """Let the host's switch choose for this frame, and return what it chose."""
    switch, in_port, actions = probe_packet_out(now.topology, host)
    answers: queue.SimpleQueue[Label | None] = queue.SimpleQueue()

    def listen(name: str, packet: PacketIn) -> bool:
        # Everything behind the destination MAC is as it was sent.
        mine = name == switch and packet.table in REPLY_TABLES and packet.data[6:] == frame[6:]
        if mine and is_ours(packet.cookie):
            answers.put(read_probe(packet.data))
            return True
        return False

    def send(conductor: Conductor) -> Any:
        end = conductor.listen(listen)
        if not conductor.ask_switch(switch, in_port, actions, frame):
            answers.put(None)
        return end

    end = runtime.call(send)
    try:
        return switch, answers.get(timeout=ANSWER_TIME)
    except queue.Empty:
        return switch, None
    finally:
        runtime.call(lambda _: end())


def _chosen(label: Label, allocation: Allocation) -> tuple[tuple[str, ...], str | None]:
    """The instances and the receiver that a label stands for."""
    found = instances_of(label.path, allocation) if label.path else None
    return (found[1] if found else ()), host_at(label.exit, allocation)


def wire_frame(packet: Packet) -> bytes:
    """A real frame with the fields of a packet: Ethernet, IP, and TCP (a SYN), UDP or an ICMP echo."""
    version = 4 if packet["eth_type"] == IPV4 else 6
    octets = 4 if version == 4 else 16
    source = packet[f"ipv{version}_src"].to_bytes(octets, "big")
    destination = packet[f"ipv{version}_dst"].to_bytes(octets, "big")
    protocol = packet["ip_proto"]
    body = _transport(packet, protocol)
    if protocol in _CHECKSUM_AT:
        pseudo = b"" if protocol == ICMP else source + destination + struct.pack("!II", len(body), protocol)
        checksum = internet_checksum(pseudo + body) or (0xFFFF if protocol == UDP else 0)
        at = _CHECKSUM_AT[protocol]
        body = body[:at] + checksum.to_bytes(2, "big") + body[at + 2 :]
    ttl = packet.get("ttl", 64)
    if version == 4:
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0x4000, ttl, protocol, 0)
        checksum = internet_checksum(header + source + destination)
        header = header[:10] + checksum.to_bytes(2, "big") + source + destination
    else:
        header = struct.pack("!IHBB", 6 << 28, len(body), protocol, ttl) + source + destination
    ethernet = packet["eth_dst"].to_bytes(6, "big") + packet["eth_src"].to_bytes(6, "big")
    return (ethernet + packet["eth_type"].to_bytes(2, "big") + header + body).ljust(60, b"\0")


_CHECKSUM_AT = {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}


def _transport(packet: Packet, protocol: int) -> bytes:
    if protocol == TCP:
        return struct.pack("!HHIIHHHH", packet["tcp_src"], packet["tcp_dst"], 1, 0, 0x5002, 0xFFFF, 0, 0)
    if protocol == UDP:
        return struct.pack("!HHHH", packet["udp_src"], packet["udp_dst"], 8, 0)
    if protocol in (ICMP, ICMPV6):
        kind = packet["icmp_type" if protocol == ICMP else "icmpv6_type"]
        return struct.pack("!BBHHH", kind, 0, 0, packet.get("icmp_id", 0), 1)
    return b""

