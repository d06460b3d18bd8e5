"""What a switch tells and shows of itself: its version, its meters, and how it hashes.

Its description (OFPMP_DESC) has the version, OFPMP_METER_FEATURES the number of meters. How it hashes is not told
anywhere in OpenFlow, and depends on the datapath behind the bridge, so it is tried: one of the groups it holds is
asked, with made-up connections that go nowhere, what it chooses for either direction. A symmetric hash chooses the
same; two switches with the same hash cannot choose what lies in different slots. (Before Linux 6.6 the kernel's is
not symmetric, and since then it is keyed anew at each boot.) Nothing is written for that, so what is not yet there
cannot be tried, and where all slots are the same nothing shows, nor matters. What a datapath knows of NSH, MPLS or
conntrack is not asked: a switch refuses the rules it cannot have, and that is said with the rule.

Knows message bytes, but no sockets and no clock.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address

from controller_app.discovery.frames import ETH_IPV4, ETH_IPV6
from controller_app.model.allocation import SLOTS
from controller_app.model.flow import CONTROLLER, Group, SetField, ToGroup
from controller_app.openflow import decode, encode
from controller_app.pipeline.build import put
from controller_app.pipeline.cookies import is_ours
from controller_app.pipeline.probe import REPLY_TABLES
from controller_app.pipeline.tables import GATEWAY_MAC, PROBE

QUESTIONS = 32  # made-up connections; a hash that is not symmetric agrees on all of them once in 2 ** 32 at most
PATIENCE = 5.0  # seconds until what came is all that is known
_MARK = b"chainsteer: hash?"  # the end of each question
_DESC, _METER_FEATURES = 0, 11  # OFPMP_
_MULTIPART = struct.Struct("!BBHIHH4x")
_DESCRIPTION = struct.Struct("!256s256s256s32s256s")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a switch; None where it has not said, or could not be tried.

    slots: for each made-up connection the slots that it may have there and back, as numbers of 256 bits.
    """

    hardware: str | None = None
    version: str | None = None
    meters: int | None = None
    slots: tuple[tuple[int, int], ...] | None = None

    @property
    def symmetric(self) -> bool | None:
        """Do both directions of a connection get the same slot?"""
        return None if self.slots is None else all(there & back for there, back in self.slots)


@dataclass
class Probe:
    """The questions to one switch, from its connection on. `next_xid` gives transaction ids."""

    next_xid: Callable[[], int]
    facts: Facts = Facts()
    tried: bool = False  # its hash, or there was no answer
    _until: float | None = None  # answers are waited for
    _xids: set[int] = field(default_factory=set)
    _slots: dict[int, int] = field(default_factory=dict)  # destination MAC that a bucket writes -> its slots
    _found: dict[int, int] = field(default_factory=dict)  # number of the question -> slots

    def start(self) -> bytes:
        """The messages that ask what a switch tells of itself."""
        xids = self.next_xid(), self.next_xid()
        self._xids.update(xids)
        return b"".join(
            _MULTIPART.pack(encode.VERSION, 18, 16, xid, kind, 0)
            for xid, kind in zip(xids, (_DESC, _METER_FEATURES), strict=True)
        )

    def try_hash(self, groups: Iterable[Group], now: float) -> bytes:
        """The messages that try the hash with one of the groups the switch holds; none when that is done, or no
        group has anything to choose."""
        if self.tried or self._until is not None:
            return b""
        choices = [(group, written) for group in groups if len(written := _written(group)) > 1]
        if not choices:
            return b""
        group, self._slots = max(choices, key=lambda choice: (len(choice[1]), choice[0].id))
        self._until = now + PATIENCE
        actions = (put(PROBE, 1), ToGroup(group.id))
        xid = self.next_xid()
        self._xids.add(xid)
        return b"".join(
            encode.packet_out(CONTROLLER, actions, question(number), xid) for number in range(2 * QUESTIONS)
        )

    def told(self, raw: bytes, xid: int) -> bool:
        """A multipart answer or an error came; answers whether it was for us."""
        if xid not in self._xids:
            return False
        if raw[1] == decode.MULTIPART_REPLY:
            kind = decode.multipart_kind(raw)
            if kind == _DESC and len(raw) >= 16 + _DESCRIPTION.size:
                _, hardware, software, _, _ = _DESCRIPTION.unpack_from(raw, 16)
                self.facts = replace(self.facts, hardware=_text(hardware), version=_text(software))
            elif kind == _METER_FEATURES and len(raw) >= 20:
                self.facts = replace(self.facts, meters=int.from_bytes(raw[16:20], "big"))
        return True

    def packet(self, packet: decode.PacketIn) -> bool:
        """A frame came up; answers whether it is an answer to a question of ours."""
        if not (is_ours(packet.cookie) and packet.table in REPLY_TABLES and packet.data.endswith(_MARK)):
            return False
        number, mac = packet.data[-len(_MARK) - 1], int.from_bytes(packet.data[:6], "big")
        if self._until is not None and mac in self._slots:
            self._found[number] = self._slots[mac]
        if self._until is not None and len(self._found) == 2 * QUESTIONS:
            slots = tuple((self._found[2 * n], self._found[2 * n + 1]) for n in range(QUESTIONS))
            self.facts = replace(self.facts, slots=slots)
            self.tried, self._until = True, None
        return True

    def tick(self, now: float) -> None:
        """Time went by."""
        if self._until is not None and now >= self._until:
            self.tried, self._until = True, None  # changed under way, or overloaded: nothing is known


def _written(group: Group) -> dict[int, int]:
    """What the buckets of a group of slots make of a question's destination MAC, with the slots that do so."""
    found: dict[int, int] = {}
    if group.kind != "select" or len(group.buckets) != SLOTS:
        return found
    for slot, bucket in enumerate(group.buckets):
        mac = 0
        for action in bucket.actions:
            if isinstance(action, SetField) and action.field == "eth_dst":
                mac = mac & ~action.mask | action.value
        found[mac] = found.get(mac, 0) | 1 << slot
    return found


def question(number: int) -> bytes:
    """The frame of a question: connection `number // 2`, there (even) or back (odd), as a TCP segment."""
    n, back = divmod(number, 2)
    mixed = (n + 1) * 0x9E37_79B9_7F4A_7C15  # spreads over all bits: no hash can leave out just what differs
    client = mixed >> 32 & 0xFF, 1024 + (mixed >> 8 & 0x7FFF)
    server = mixed >> 40 & 0xFF, 1 + (mixed >> 24 & 0x3FF)
    version = 6 if n % 4 == 3 else 4
    ends = [(_address(version, side, host), port) for side, (host, port) in enumerate((client, server))]
    (source, source_port), (destination, destination_port) = reversed(ends) if back else ends
    tcp = struct.pack("!HHIIHHHH", source_port, destination_port, 1, 0, 0x5002, 0xFFFF, 0, 0)
    tcp += bytes((number,)) + _MARK
    if version == 4:
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0)
    else:
        ip = struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64)
    kind = ETH_IPV4 if version == 4 else ETH_IPV6
    ethernet = bytes(6) + GATEWAY_MAC.to_bytes(6, "big") + kind.to_bytes(2, "big")
    return ethernet + ip + source + destination + tcp


def _address(version: int, side: int, host: int) -> bytes:
    """An address that documentation may use (RFC 5737, RFC 3849) and no machine has."""
    if version == 4:
        return IPv4Address(f"{('192.0.2', '198.51.100')[side]}.{host}").packed
    return IPv6Address(f"2001:db8::{side}:{host:x}").packed


def why_portable(facts: Mapping[str, Facts]) -> str | None:
    """Why the switches' own hash cannot be used, by what is known of each; None when it can."""
    for name, known in facts.items():
        if known.symmetric is False:
            return f"{name} hashes the two directions of a connection differently"
    together: list[int] = []  # the slots that every switch so far may have chosen
    first = ""
    for name, known in facts.items():
        for number, (there, _) in enumerate(known.slots or ()):
            if not first or number >= len(together):
                together.append(there)
            elif not together[number] & there:
                return f"{first} and {name} hash the same connection differently"
            else:
                together[number] &= there
        first = first or (name if known.slots else "")
    return None


def _text(data: bytes) -> str | None:
    return data.partition(b"\0")[0].decode("utf-8", "replace") or None
