"""Messages from a switch, from bytes: the inverse of `encode`, and what only switches say.

Every function takes one whole message, header included, and raises WireError, and nothing else, when it is
not what it should be. In flow and group replies each entry stands for itself: one that the model has no words
for becomes an UnknownFlow, UnknownGroup or UnknownMeter, because it is someone else's and must be reported, not lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from controller_app.model.flow import Action, Bucket, Flow, FlowKey, Group, Match, Meter, MeterConfig
from controller_app.openflow.decode_parts import (
    UnknownWords,
    WireError,
    decode_actions,
    decode_match,
    read_fields,
)
from controller_app.openflow.encode import ANY, KINDS, ONF, VERSION
from controller_app.openflow.error_names import error_name
from controller_app.openflow.oxm import PCP_SHIFT, VID_MASK

__all__ = ["BundleReply", "FlowEntry", "FlowRemoved", "Header", "PacketIn", "Port", "PortCounters", "PortStatus",
           "SwitchError", "UnknownFlow", "UnknownGroup", "UnknownMeter", "UnknownWords", "WireError", "bundle_reply",
           "decode_actions", "decode_match", "error_message", "flow_mod", "flow_removed", "flow_stats",
           "group_desc", "group_mod", "header", "meter_config", "meter_mod", "more_follows", "multipart_kind",
           "packet_in", "port_desc", "port_stats", "port_status"]

ERROR, EXPERIMENTER, PACKET_IN, FLOW_REMOVED, PORT_STATUS = 1, 4, 10, 11, 12  # message types
FLOW_MOD, GROUP_MOD, MULTIPART_REPLY, BARRIER_REPLY = 14, 15, 19, 21
METER_MOD = 29
FLOW_STATS, PORT_STATS, GROUP_DESC, METER_CONFIG, PORT_DESC = 1, 4, 7, 10, 13  # kinds of multipart

_HEADER = Struct("!BBHI")
_FLOW = Struct("!HBxIIHHHH4xQQQ")
_FLOW_MOD = Struct("!QQBBHHHIIIH2x")
_FLOW_REMOVED = Struct("!QHBBII4xQQ")
_INSTRUCTION = Struct("!HH")
_GROUP = Struct("!HBxI")
_GROUP_MOD = Struct("!HBxI")
_BUCKET = Struct("!HHII4x")
_METER = Struct("!HHI")
_BAND = Struct("!HHII")
_PACKET_IN = Struct("!IHBBQ")
_PORT = Struct("!I4x6s2x16sII16xI4x")
_PORT_STATS = Struct("!I20xQQ64xII")
_UNCOUNTED = 0xFFFF_FFFF_FFFF_FFFF  # OpenFlow 1.3.5, 7.3.5.6: a counter the switch does not have
_ERROR = Struct("!HH")
_BUNDLE = Struct("!IIIHH")


class Header(NamedTuple):
    """The first 8 bytes of every message. `kind` is its OFPT_ number."""

    version: int
    kind: int
    length: int
    xid: int


@dataclass(frozen=True, slots=True)
class UnknownFlow:
    """A flow the model has no words for. `match` is None when it is the match."""

    table: int
    priority: int
    match: Match | None
    cookie: int
    why: str
    raw: bytes  # its entry in the reply

    @property
    def key(self) -> FlowKey | None:
        return None if self.match is None else FlowKey(self.table, self.priority, self.match)


class FlowEntry(NamedTuple):
    """A flow on a switch, and what only the switch knows of it. Timeouts in seconds, 0 for none."""

    flow: Flow | UnknownFlow
    packets: int
    octets: int
    age: float
    idle_timeout: int
    hard_timeout: int
    flags: int


class FlowRemoved(NamedTuple):
    """A flow is gone that was to be told of: what it had counted, and how long it was there in seconds. `key` is None
    where the model has no words for its match."""

    key: FlowKey | None
    cookie: int
    reason: int  # OFPRR_: 0 idle, 1 its time was over, 2 deleted, 3 its group was
    packets: int
    octets: int
    age: float


@dataclass(frozen=True, slots=True)
class UnknownGroup:
    """A group the model has no words for."""

    id: int
    why: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class UnknownMeter:
    """A meter the model has no words for."""

    id: int
    why: str
    raw: bytes


class PacketIn(NamedTuple):
    """A frame the switch sends up. `fields` holds in_port, metadata and registers that are not 0, and what
    else Open vSwitch tells of it; `data` may be cut to max_len, `total` is the frame's real length."""

    reason: int  # OFPR_: 0 table miss, 1 action, 2 TTL
    table: int
    cookie: int
    fields: dict[str, int]
    data: bytes
    total: int


class Port(NamedTuple):
    """A port of a switch. `mac` is a 48-bit number; config and state are OFPPC_ and OFPPS_ bits; `speed` is what it
    runs at, in kbit/s, 0 where the switch does not say."""

    number: int
    name: str
    mac: int
    config: int
    state: int
    speed: int = 0

    @property
    def up(self) -> bool:
        """Neither switched off nor without a carrier."""
        return not (self.config & 1 or self.state & 1)

    @property
    def live(self) -> bool:
        """Whether the switch says that fast-failover groups may take it (OFPPS_LIVE)."""
        return bool(self.state & 4)


class PortCounters(NamedTuple):
    """What a port counted: bytes in and out, None where the switch does not count; `age`: for how long, in seconds."""

    number: int
    received: int | None
    sent: int | None
    age: float


class PortStatus(NamedTuple):
    """A port came (reason 0), went (1) or changed (2)."""

    reason: int
    port: Port


class SwitchError(NamedTuple):
    """What a switch refused. `xid` is that of the refused message, `data` its beginning."""

    xid: int
    kind: int
    code: int
    data: bytes
    experimenter: int | None = None

    def __str__(self) -> str:
        return error_name(self.kind, self.code, self.experimenter)


class BundleReply(NamedTuple):
    """An answer about a bundle. kind: 1 opened, 3 closed, 5 committed, 7 discarded."""

    xid: int
    bundle_id: int
    kind: int


def header(message: bytes) -> Header:
    """Read and check the header: OpenFlow 1.3, and as long as it says."""
    if len(message) < 8:
        raise WireError(f"a message of {len(message)} bytes")
    found = Header._make(_HEADER.unpack_from(message))
    if found.version != VERSION or found.length != len(message):
        raise WireError(f"a message of version {found.version} that says {found.length} bytes and has "
                        f"{len(message)}")
    return found


def _expect(message: bytes, kind: int, shortest: int) -> Header:
    found = header(message)
    if found.kind != kind or found.length < shortest:
        raise WireError(f"a message of type {found.kind} and {found.length} bytes, where type {kind} and at "
                        f"least {shortest} were expected")
    return found


def multipart_kind(message: bytes) -> int:
    """The OFPMP_ number of a multipart reply."""
    _expect(message, MULTIPART_REPLY, 16)
    return int.from_bytes(message[8:10], "big")


def more_follows(message: bytes) -> bool:
    """Is this multipart reply followed by another of the same xid?"""
    _expect(message, MULTIPART_REPLY, 16)
    return bool(message[11] & 1)


def entries(message: bytes, kind: int, shortest: int, step: int = 0) -> list[bytes]:
    """Cut a multipart reply into entries, each of `step` bytes or as long as its first two bytes say."""
    if multipart_kind(message) != kind:
        raise WireError(f"a multipart reply of type {multipart_kind(message)} instead of {kind}")
    entries = []
    at = 16
    while at < len(message):
        length = step or int.from_bytes(message[at:at + 2], "big")
        if length < shortest or at + length > len(message):
            raise WireError(f"an entry of {length} bytes, where {len(message) - at} are left")
        entries.append(message[at:at + length])
        at += length
    return entries


def flow_stats(message: bytes) -> list[FlowEntry]:
    """The flows of one OFPMP_FLOW reply."""
    return [_flow_entry(entry) for entry in entries(message, FLOW_STATS, 56)]


def _flow_entry(entry: bytes) -> FlowEntry:
    (_, table, seconds, nanoseconds, priority, idle, hard, flags, cookie, packets,
     octets) = _FLOW.unpack_from(entry)
    flow: Flow | UnknownFlow
    match: Match | None = None
    try:
        match, at = decode_match(entry, 48)
        actions, goto = _instructions(entry, at)
        flow = Flow(table, priority, match, actions, goto, cookie)
    except UnknownWords as unknown:
        flow = UnknownFlow(table, priority, match, cookie, str(unknown), entry)
    return FlowEntry(flow, packets, octets, seconds + nanoseconds / 1e9, idle, hard, flags)


def _instructions(data: bytes, at: int) -> tuple[tuple[Action, ...], int | None]:
    actions: tuple[Action, ...] = ()
    meter: tuple[Action, ...] = ()
    goto = None
    while at < len(data):
        if at + 8 > len(data):
            raise WireError("the instructions end within one")
        kind, length = _INSTRUCTION.unpack_from(data, at)
        if length < 8 or at + length > len(data):
            raise WireError(f"an instruction of {length} bytes, where {len(data) - at} are left")
        if kind == 1:
            goto = data[at + 4]
        elif kind == 4 and not actions:
            actions = decode_actions(data, at + 8, at + length)
        elif kind == 6 and not meter:
            meter = (Meter(int.from_bytes(data[at + 4:at + 8], "big")),)
        else:
            raise UnknownWords(f"instruction of type {kind}")
        at += length
    return meter + actions, goto


def group_desc(message: bytes) -> list[Group | UnknownGroup]:
    """The groups of one OFPMP_GROUP_DESC reply."""
    groups: list[Group | UnknownGroup] = []
    for entry in entries(message, GROUP_DESC, 8):
        _, kind, number = _GROUP.unpack_from(entry)
        try:
            groups.append(_group(number, kind, entry, 8))
        except UnknownWords as unknown:
            groups.append(UnknownGroup(number, str(unknown), entry))
    return groups


def _group(number: int, kind: int, data: bytes, at: int) -> Group:
    if kind >= len(KINDS):
        raise UnknownWords(f"group of type {kind}")
    buckets = []
    while at < len(data):
        if at + 16 > len(data):
            raise WireError("a group ends within a bucket")
        length, weight, port, group = _BUCKET.unpack_from(data, at)
        if length < 16 or at + length > len(data):
            raise WireError(f"a bucket of {length} bytes, where {len(data) - at} are left")
        if group != ANY:
            raise UnknownWords("a bucket that watches a group")
        buckets.append(Bucket(decode_actions(data, at + 16, at + length), weight if kind == 1 else 1,
                              None if port == ANY else port))
        at += length
    return Group(number, KINDS[kind], tuple(buckets))


def meter_config(message: bytes) -> list[MeterConfig | UnknownMeter]:
    """The meters of one OFPMP_METER_CONFIG reply."""
    meters: list[MeterConfig | UnknownMeter] = []
    for entry in entries(message, METER_CONFIG, 8):
        _, flags, number = _METER.unpack_from(entry)
        try:
            meters.append(_meter(number, flags, entry))
        except UnknownWords as unknown:
            meters.append(UnknownMeter(number, str(unknown), entry))
    return meters


def _meter(number: int, flags: int, data: bytes) -> MeterConfig:
    """The bands begin at octet 8, where there are any. Flag 8 asks for statistics and means nothing here."""
    if len(data) != 24 or flags & 3 not in (1, 2) or flags & ~0xF:
        raise UnknownWords(f"meter with flags {flags:#x} and {(len(data) - 8) // 16} bands")
    kind, length, rate, burst = _BAND.unpack_from(data, 8)
    if (kind, length) != (1, 16):
        raise UnknownWords(f"meter band of type {kind}")
    return MeterConfig(number, rate, burst if flags & 4 else 0, bool(flags & 2))


def meter_mod(message: bytes) -> tuple[int, MeterConfig]:
    """The command and the meter of an OFPT_METER_MOD that adds or changes one; see `flow_mod`."""
    _expect(message, METER_MOD, 16)
    command, flags, number = _METER.unpack_from(message, 8)
    return command, _meter(number, flags, message[8:])


def flow_mod(message: bytes) -> tuple[int, Flow]:
    """The command and the flow of an OFPT_FLOW_MOD: for fake switches and for reading a refused message.

    Raises UnknownWords when the model has no words for it.
    """
    _expect(message, FLOW_MOD, 56)
    cookie, _, table, command, _, _, priority, *_ = _FLOW_MOD.unpack_from(message, 8)
    match, at = decode_match(message, 48)
    return command, Flow(table, priority, match, *_instructions(message, at), cookie)


def group_mod(message: bytes) -> tuple[int, Group]:
    """The command and the group of an OFPT_GROUP_MOD; see `flow_mod`."""
    _expect(message, GROUP_MOD, 16)
    command, kind, number = _GROUP_MOD.unpack_from(message, 8)
    return command, _group(number, kind, message, 16)


def packet_in(message: bytes) -> PacketIn:
    """An OFPT_PACKET_IN. Fields the model does not know are left out."""
    _expect(message, PACKET_IN, 34)
    _, total, reason, table, cookie = _PACKET_IN.unpack_from(message, 8)
    found, at, _ = read_fields(message, 24)
    if at + 2 > len(message):
        raise WireError("a packet-in ends before its frame")
    fields = {name: value for name, (value, _) in found.items()}
    vid, pcp = fields.pop("vlan_vid", None), fields.pop("vlan_pcp", 0)
    if vid is not None:
        fields["vlan_tci"] = vid & VID_MASK | (pcp & 7) << PCP_SHIFT
    return PacketIn(reason, table, cookie, fields, message[at + 2:], total)


def flow_removed(message: bytes) -> FlowRemoved:
    """An OFPT_FLOW_REMOVED (OpenFlow 1.3.5, 7.4.2)."""
    _expect(message, FLOW_REMOVED, 56)
    cookie, priority, reason, table, seconds, nanoseconds, packets, octets = _FLOW_REMOVED.unpack_from(message, 8)
    try:
        key: FlowKey | None = FlowKey(table, priority, decode_match(message, 48)[0])
    except UnknownWords:
        key = None
    return FlowRemoved(key, cookie, reason, packets, octets, seconds + nanoseconds / 1e9)


def port_desc(message: bytes) -> list[Port]:
    """The ports of one OFPMP_PORT_DESC reply."""
    return [_port(entry, 0) for entry in entries(message, PORT_DESC, 64, step=64)]


def port_stats(message: bytes) -> list[PortCounters]:
    """The ports of one OFPMP_PORT_STATS reply."""
    found = []
    for entry in entries(message, PORT_STATS, 112, step=112):
        number, received, sent, seconds, nanoseconds = _PORT_STATS.unpack(entry)
        counted = [None if count == _UNCOUNTED else count for count in (received, sent)]
        found.append(PortCounters(number, counted[0], counted[1], seconds + nanoseconds / 1e9))
    return found


def port_status(message: bytes) -> PortStatus:
    """An OFPT_PORT_STATUS."""
    _expect(message, PORT_STATUS, 80)
    return PortStatus(message[8], _port(message, 16))


def _port(data: bytes, at: int) -> Port:
    number, mac, name, config, state, speed = _PORT.unpack_from(data, at)
    text = name.partition(b"\0")[0].decode("utf-8", "replace")
    return Port(number, text, int.from_bytes(mac, "big"), config, state, speed)


def error_message(message: bytes) -> SwitchError:
    """An OFPT_ERROR."""
    found = _expect(message, ERROR, 12)
    kind, code = _ERROR.unpack_from(message, 8)
    if kind != 0xFFFF:
        return SwitchError(found.xid, kind, code, message[12:])
    if found.length < 16:
        raise WireError("an experimenter's error without the experimenter")
    return SwitchError(found.xid, kind, code, message[16:], int.from_bytes(message[12:16], "big"))


def bundle_reply(message: bytes) -> BundleReply | None:
    """An ONF bundle control reply; None for another experimenter's message."""
    found = _expect(message, EXPERIMENTER, 16)
    if found.length < 24:
        return None
    experimenter, kind, bundle_id, control, _ = _BUNDLE.unpack_from(message, 8)
    return BundleReply(found.xid, bundle_id, control) if (experimenter, kind) == (ONF, 2300) else None
