"""What a sender is told whose packet ends in the network: a TCP reset, or an ICMP error.

Frames as bytes in, frames as bytes out; who may be told nothing gets None. TCP resets are RFC 9293 3.10.7.1,
ICMP errors RFC 792, RFC 1122 3.2.2, RFC 1191 4 and RFC 1812 4.3.2, ICMPv6 errors RFC 4443 2.4 and 3.

No error is sent about an error, about a fragment other than the first, to or about a group of machines, or when
what the packet carries cannot be read as far as these rules need it. Checksums of what came are not looked at:
with offloads on, hosts' virtual interfaces leave them open.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from controller_app.discovery.frames import ETH_IPV4, ETH_IPV6, ETH_VLAN
from controller_app.model.checksum import internet_checksum
from controller_app.model.topology import IPAddress

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
SMALLEST_MTU = {4: 68, 6: 1280}  # RFC 791 3.1, RFC 8200 5

_LIFETIME = 64
_CONTROL = 0xC0  # RFC 1812 4.3.2.5: errors travel as internetwork control
_LONGEST = {4: 576, 6: 1280}  # of an error: RFC 1812 4.3.2.3, RFC 4443 2.4 (c)
_ERRORS = frozenset((3, 4, 5, 11, 12))  # ICMP types that are errors (RFC 1122 3.2.2)
_REDIRECT = 137  # of ICMPv6: no error is about one (RFC 4443 2.4 (e.2)), nor about types below 128
_FRAGMENT, _AUTHENTICATION = 44, 51
_OPTIONS = frozenset((0, 43, 60, 135, 139, 140))  # IPv6 extension headers of 8 bytes and more (RFC 8200 4)
_RESERVED = IPv4Network("240.0.0.0/4")
_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10


@dataclass(frozen=True, slots=True)
class Refused:
    """The policy refuses it. `source` says so in an ICMP error; None lets the destination itself say it."""

    source: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """Nobody listens at that port of that address: what the machine itself would say (RFC 1122 3.2.2.1)."""


@dataclass(frozen=True, slots=True)
class Expired:
    """Its TTL or hop limit is used up; `source`, a gateway, says so."""

    source: IPAddress


@dataclass(frozen=True, slots=True)
class TooBig:
    """It does not fit. `mtu`: the largest IP packet, in bytes, that would; `source` as in Refused."""

    mtu: int
    source: IPAddress | None = None


Why = Refused | Closed | Expired | TooBig


@dataclass(frozen=True, slots=True)
class _Packet:
    """What of an IP packet decides the answer. `upper` is where its payload's header begins."""

    data: bytes  # without what Ethernet pads
    version: int
    source: IPAddress
    destination: IPAddress
    protocol: int
    upper: int
    fragment: bool  # the first of several


def answer(frame: bytes, why: Why, sender: int, teller: int, vlan: int | None = None) -> bytes | None:
    """The frame that tells `sender` (its MAC) what became of its frame, from the MAC `teller`, with the
    sender's 802.1Q tag where it has one; None when it must not be told."""
    if len(frame) < 14 or frame[6] & 1 or frame[0] & 1:
        return None
    packet = read(int.from_bytes(frame[12:14], "big"), frame[14:])
    if packet is None or not _one_machine(packet.source) or not _one_machine(packet.destination):
        return None
    if isinstance(why, Refused | Closed) and packet.protocol == TCP and not packet.fragment:
        body = _reset(packet)
    else:
        body = _error(packet, why)
    if body is None:
        return None
    tag = b"" if vlan is None else struct.pack("!HH", ETH_VLAN, vlan)
    kind = ETH_IPV4 if packet.version == 4 else ETH_IPV6
    header = sender.to_bytes(6, "big") + teller.to_bytes(6, "big") + tag + kind.to_bytes(2, "big")
    return (header + body).ljust(60 + len(tag), b"\0")


def addresses(frame: bytes) -> tuple[IPAddress, IPAddress] | None:
    """Source and destination of an untagged frame's IP packet; None when there is none."""
    kind, body = int.from_bytes(frame[12:14], "big"), frame[14:]
    if kind == ETH_IPV4 and len(body) >= 20 and body[0] >> 4 == 4:
        return IPv4Address(body[12:16]), IPv4Address(body[16:20])
    if kind == ETH_IPV6 and len(body) >= 40 and body[0] >> 4 == 6:
        return IPv6Address(body[8:24]), IPv6Address(body[24:40])
    return None


def read(eth_type: int, data: bytes) -> _Packet | None:
    """An IP packet about which something may be said; None for fragments beyond the first, and for what is
    damaged, or cut, or hides what it carries."""
    if eth_type == ETH_IPV4:
        return _read4(data)
    return _read6(data) if eth_type == ETH_IPV6 else None


def _read4(data: bytes) -> _Packet | None:
    if len(data) < 20 or data[0] >> 4 != 4:
        return None
    upper, total = (data[0] & 15) * 4, int.from_bytes(data[2:4], "big")
    flags = int.from_bytes(data[6:8], "big")
    if upper < 20 or total < upper or len(data) < upper or flags & 0x1FFF:
        return None
    source, destination = IPv4Address(data[12:16]), IPv4Address(data[16:20])
    return _Packet(data[:total], 4, source, destination, data[9], upper, bool(flags & 0x2000))


def _read6(data: bytes) -> _Packet | None:
    if len(data) < 40 or data[0] >> 4 != 6:
        return None
    data = data[: 40 + int.from_bytes(data[4:6], "big")]
    protocol, at, fragment = data[6], 40, False
    while protocol in _OPTIONS or protocol in (_FRAGMENT, _AUTHENTICATION):
        if at + 8 > len(data):
            return None
        length = 8 * (data[at + 1] + 1)
        if protocol == _FRAGMENT:
            offset = int.from_bytes(data[at + 2 : at + 4], "big")
            if offset & 0xFFF8:
                return None
            fragment, length = bool(offset & 1), 8
        elif protocol == _AUTHENTICATION:
            length = 4 * (data[at + 1] + 2)
        protocol, at = data[at], at + length
    source, destination = IPv6Address(data[8:24]), IPv6Address(data[24:40])
    return _Packet(data, 6, source, destination, protocol, at, fragment)


def _one_machine(address: IPAddress) -> bool:
    """Does an address stand for one machine that can be told something (RFC 1122 3.2.2)?"""
    if address.is_multicast or address.is_unspecified or address.is_loopback:
        return False
    return address.version == 6 or address not in _RESERVED


def _reset(packet: _Packet) -> bytes | None:
    """The reset that a closed port answers with."""
    tcp = packet.data[packet.upper :]
    if len(tcp) < 20:
        return None
    source_port, destination_port, sequence, acknowledged, offset, flags = struct.unpack_from("!HHIIBB", tcp)
    if flags & _RST:
        return None
    if flags & _ACK:
        numbers = acknowledged, 0, _RST
    else:
        length = max(0, len(tcp) - 4 * (offset >> 4)) + bool(flags & _SYN) + bool(flags & _FIN)
        numbers = 0, (sequence + length) & 0xFFFF_FFFF, _RST | _ACK
    number, expects, flag = numbers
    body = struct.pack("!HHIIBBHHH", destination_port, source_port, number, expects, 5 << 4, flag, 0, 0, 0)
    return ip_packet(packet.destination, packet.source, TCP, body, 16)


def _error(packet: _Packet, why: Why) -> bytes | None:
    protocol = ICMP if packet.version == 4 else ICMPV6
    if packet.protocol == protocol:
        if packet.upper >= len(packet.data):
            return None
        kind = packet.data[packet.upper]
        if kind in _ERRORS if packet.version == 4 else kind < 128 or kind == _REDIRECT:
            return None
    source = packet.destination if isinstance(why, Closed) else why.source or packet.destination
    if source.version != packet.version:
        return None
    rest = 0
    match why:
        case Closed() if packet.protocol == UDP:
            number, code = (3, 3) if packet.version == 4 else (1, 4)  # port unreachable
        case Refused() | Closed():
            number, code = (3, 13) if packet.version == 4 else (1, 1)  # administratively prohibited
        case Expired():
            number, code = (11, 0) if packet.version == 4 else (3, 0)
        case TooBig(mtu=mtu):
            # IPv4 without "do not fragment" too: no switch cuts packets up, but who knows the limit can.
            number, code = (3, 4) if packet.version == 4 else (2, 0)
            rest = max(mtu, SMALLEST_MTU[packet.version])
    head = 28 if packet.version == 4 else 48
    quoted = packet.data[: _LONGEST[packet.version] - head]
    return ip_packet(source, packet.source, protocol, struct.pack("!BBHI", number, code, 0, rest) + quoted, 2)


def ip_packet(source: IPAddress, destination: IPAddress, protocol: int, body: bytes, checksum_at: int) -> bytes:
    """An IP packet around a message whose checksum, still 0, is at `checksum_at`."""
    ends = source.packed + destination.packed
    pseudo = b"" if protocol == ICMP else ends + struct.pack("!II", len(body), protocol)
    checksum = internet_checksum(pseudo + body).to_bytes(2, "big")
    body = body[:checksum_at] + checksum + body[checksum_at + 2 :]
    service = 0 if protocol == TCP else _CONTROL
    if source.version == 6:
        return struct.pack("!IHBB", 6 << 28 | service << 20, len(body), protocol, _LIFETIME) + ends + body
    header = struct.pack("!BBHHHBBH", 0x45, service, 20 + len(body), 0, 0x4000, _LIFETIME, protocol, 0)
    return header[:10] + internet_checksum(header + ends).to_bytes(2, "big") + ends + body

