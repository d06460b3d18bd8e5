"""Connection tracking as a value: what is remembered goes in, what is remembered then comes out.

What is modelled: entries per zone, their two directions, mark and label, translation of either address and its
reverse, the client's port moved aside where a translated tuple is taken, and that a SYN/ACK opens nothing. A
connection never ends here, TCP's other states are not followed, and an ICMP error is invalid. Sources:
ovs-actions(7), "The ct Action"; ovs-fields(7), "Connection Tracking Fields"; lib/conntrack.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from controller_app.model.flow import CT_EST, CT_INV, CT_NEW, CT_RPL, CT_TRK, Nat
from controller_app.verification.packet import ACK, ICMP, ICMPV6, IPV4, IPV6, SYN, TCP, UDP, Packet

_ECHO = {ICMP: ("icmp_type", (8, 0)), ICMPV6: ("icmpv6_type", (128, 129))}
_PORT_NAMES = {TCP: ("tcp_src", "tcp_dst"), UDP: ("udp_src", "udp_dst")}


class Tuple(NamedTuple):
    """What identifies one direction of a connection. An echo's id stands for both ports."""

    eth_type: int
    protocol: int
    source: int
    destination: int
    sport: int
    dport: int

    def reverse(self) -> Tuple:
        return Tuple(self.eth_type, self.protocol, self.destination, self.source, self.dport, self.sport)


@dataclass(frozen=True, slots=True)
class Connection:
    """A committed connection: the tuple of its first packet, that of its replies (not the first's reverse
    where addresses are translated), and what was written to it."""

    original: Tuple
    reply: Tuple
    mark: int = 0
    label: int = 0
    replied: bool = False


Place = tuple[str, int]  # datapath and zone


@dataclass(frozen=True)
class Connections:
    """Everything remembered, on all datapaths."""

    entries: Mapping[tuple[Place, Tuple], Connection] = field(default_factory=dict)
    replies: Mapping[tuple[Place, Tuple], Tuple] = field(default_factory=dict)  # reply tuple -> original

    def find(self, place: Place, tuple_: Tuple) -> tuple[Connection, bool] | None:
        """The connection this tuple belongs to, and whether it is its reply direction."""
        found = self.entries.get((place, tuple_))
        if found is not None:
            return found, False
        original = self.replies.get((place, tuple_))
        return None if original is None else (self.entries[place, original], True)

    def put(self, place: Place, connection: Connection) -> Connections:
        """With this connection new or changed."""
        key = (place, connection.original)
        return Connections({**self.entries, key: connection},
                           {**self.replies, (place, connection.reply): connection.original})


class Write(NamedTuple):
    """Bits to write: `value` under `mask`."""

    value: int = 0
    mask: int = 0

    def on(self, old: int) -> int:
        return old & ~self.mask | self.value & self.mask


NOTHING = Write()


@dataclass(frozen=True, slots=True)
class Tracked:
    """What tracking a packet gave: connections afterwards, ct_state, mark, label, the fields that translation
    changed, and whether the connection is remembered."""

    connections: Connections
    state: int
    mark: int = 0
    label: int = 0
    translated: Mapping[str, int] = field(default_factory=dict)
    known: bool = False


def tuple_of(packet: Packet) -> Tuple | None:
    """None for what cannot be tracked: no IP, no ports, or an ICMP message that is no echo."""
    eth_type, protocol = packet.get("eth_type", 0), packet.get("ip_proto", 0)
    if eth_type not in (IPV4, IPV6):
        return None
    version = 4 if eth_type == IPV4 else 6
    source, destination = packet.get(f"ipv{version}_src", 0), packet.get(f"ipv{version}_dst", 0)
    if protocol in _PORT_NAMES:
        names = _PORT_NAMES[protocol]
        sport, dport = packet.get(names[0], 0), packet.get(names[1], 0)
        return Tuple(eth_type, protocol, source, destination, sport, dport)
    if protocol in _ECHO:
        name, kinds = _ECHO[protocol]
        if packet.get(name, 0) not in kinds:
            return None
        number = packet.get("icmp_id", 0)
        return Tuple(eth_type, protocol, source, destination, number, number)
    return Tuple(eth_type, protocol, source, destination, 0, 0)


def track(connections: Connections, place: Place, packet: Packet, *, commit: bool = False,
          nat: Nat | None = None, mark: Write = NOTHING, label: Write = NOTHING) -> Tracked:
    """Send a packet through connection tracking, as one ct action does."""
    seen = tuple_of(packet)
    if seen is None:
        return Tracked(connections, CT_TRK | CT_INV)
    found = connections.find(place, seen)
    if found is None:
        if packet.get("tcp_flags", 0) & (SYN | ACK) == SYN | ACK:
            return Tracked(connections, CT_TRK | CT_INV)
        if not commit:
            return Tracked(connections, CT_TRK | CT_NEW)
        entry, is_reply, state = _new(connections, place, seen, nat), False, CT_TRK | CT_NEW
    else:
        entry, is_reply = found
        if is_reply and not entry.replied:
            entry = replace(entry, replied=True)
        state = CT_TRK | (CT_EST if entry.replied else CT_NEW) | (CT_RPL if is_reply else 0)
    if commit:
        entry = replace(entry, mark=mark.on(entry.mark), label=label.on(entry.label))
    translated: dict[str, int] = {}
    if nat is not None:
        # What leaves is the reverse of what the other direction looks like.
        translated = _difference(seen, (entry.original if is_reply else entry.reply).reverse())
    return Tracked(connections.put(place, entry), state, entry.mark, entry.label, translated, True)


def _new(connections: Connections, place: Place, seen: Tuple, nat: Nat | None) -> Connection:
    if nat is None or nat.address is None:
        return Connection(seen, seen.reverse())
    if nat.source:
        sent = seen._replace(source=nat.address, sport=seen.sport if nat.port is None else nat.port)
    else:
        sent = seen._replace(destination=nat.address, dport=seen.dport if nat.port is None else nat.port)
    while connections.find(place, sent.reverse()) is not None and sent.sport < 0xFFFF:
        sent = sent._replace(sport=sent.sport + 1)
    return Connection(seen, sent.reverse())


def _difference(before: Tuple, after: Tuple) -> dict[str, int]:
    version = 4 if before.eth_type == IPV4 else 6
    names = _PORT_NAMES.get(before.protocol, ("icmp_id", "icmp_id"))
    pairs = ((f"ipv{version}_src", before.source, after.source),
             (f"ipv{version}_dst", before.destination, after.destination),
             (names[0], before.sport, after.sport), (names[1], before.dport, after.dport))
    return {name: new for name, old, new in pairs if old != new}
