"""Real frames for the packets of the model, each with a number by which it is known again wherever it comes out.

The number is the identification of an IPv4 header, the flow label of an IPv6 one: routers and functions leave both
alone.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet as Frame
from scapy.packet import Raw

from controller_app.model.flow import TCP_ACK, TCP_SYN
from controller_app.verification.packet import Packet, addresses, mac_text

MOST = 0xFFFF  # numbers; 0 is none
_CHECKED = {1: 2, 6: 16, 17: 6, 58: 2}  # where a protocol has its checksum


class Inside(NamedTuple):
    """Where in a frame its innermost IP header is."""

    at: int
    version: int
    protocol: int
    transport: int  # where what follows begins; 0 where it is a later fragment


def built(packet: Packet, flags: int = TCP_SYN) -> bytes:
    """The frame on the wire for a packet of the model."""
    ends = addresses(packet)
    assert ends is not None
    source, destination = str(ends[0]), str(ends[1])
    fragment, dscp, protocol = packet.get("ip_frag", 0), packet.get("ip_dscp", 0), packet["ip_proto"]
    ether: Frame = Ether(src=mac_text(packet["eth_src"]), dst=mac_text(packet["eth_dst"]))
    if packet.get("vlan_tci", 0):
        ether = ether / Dot1Q(vlan=packet["vlan_tci"] & 0xFFF)
    rest = _transport(packet, fragment != 3, flags) / bytes(24)
    if ends[0].version == 4:
        network: Frame = IP(src=source, dst=destination, tos=dscp << 2, proto=protocol)
        if fragment:
            network.frag, network.flags = (100, 0) if fragment == 3 else (0, "MF")
    else:
        network = IPv6(src=source, dst=destination, tc=dscp << 2)
        if fragment:
            network = network / IPv6ExtHdrFragment(nh=6 if protocol == 44 else protocol, m=int(fragment != 3), id=7,
                                                   offset=100 if fragment == 3 else 0)
        elif protocol not in (6, 17, 58):
            network.nh = protocol
    return bytes(ether / network / rest)


def _transport(packet: Packet, first: bool, flags: int) -> Frame:
    """What follows the IP header; `first`: it is there."""
    ends = addresses(packet)
    assert ends is not None
    here, there = str(ends[0]), str(ends[1])
    match packet["ip_proto"]:
        case 6 if first:
            return TCP(sport=packet.get("tcp_src", 40001), dport=packet.get("tcp_dst", 80), flags=flags)
        case 17 if first:
            return UDP(sport=packet.get("udp_src", 40001), dport=packet.get("udp_dst", 80))
        case 1 if packet.get("icmp_type", 8) == 3:
            return ICMP(type=3, code=3) / IP(src=there, dst=here) / UDP(sport=1, dport=2) / bytes(80)
        case 58 if packet.get("icmpv6_type", 128) == 1:
            return ICMPv6DestUnreach(code=4) / IPv6(src=there, dst=here) / UDP(sport=1, dport=2) / bytes(80)
        case 1:
            return ICMP(id=packet.get("icmp_id", 0))
        case 58:
            return ICMPv6EchoRequest(id=packet.get("icmp_id", 0))
    return Raw(bytes(20))


def inside(frame: bytes) -> Inside | None:
    """The innermost IP header of a frame, behind tags, labels and an NSH; None where there is none."""
    at = 12
    for _ in range(12):
        if at + 2 > len(frame):
            return None
        kind = int.from_bytes(frame[at : at + 2], "big")
        if kind in (0x8100, 0x88A8):
            at += 4
        elif kind == 0x8847:
            while not frame[at + 4 : at + 5] or not frame[at + 4] & 1:
                at += 4
                if at + 6 > len(frame):
                    return None
            return _header(frame, at + 6)
        elif kind == 0x894F:
            at += 2 + (frame[at + 3] & 0x3F) * 4 + 12 if at + 3 < len(frame) else len(frame)
        elif kind in (0x0800, 0x86DD):
            return _header(frame, at + 2)
        else:
            return None
    return None


def _header(frame: bytes, at: int) -> Inside | None:
    version = frame[at] >> 4 if at < len(frame) else 0
    if version == 4 and len(frame) >= at + 20:
        later = int.from_bytes(frame[at + 6 : at + 8], "big") & 0x1FFF
        return Inside(at, 4, frame[at + 9], 0 if later else at + (frame[at] & 15) * 4)
    if version == 6 and len(frame) >= at + 40:
        protocol, transport = frame[at + 6], at + 40
        if protocol == 44 and len(frame) >= at + 48:
            later = int.from_bytes(frame[at + 42 : at + 44], "big") & 0xFFF8
            return Inside(at, 6, frame[at + 40], 0 if later else at + 48)
        return Inside(at, 6, protocol, transport)
    return None


def is_fragment(frame: bytes, where: Inside) -> bool:
    """Whether the packet that begins there is one, the first or a later one."""
    if where.version == 4:
        return bool(int.from_bytes(frame[where.at + 6 : where.at + 8], "big") & 0x3FFF)
    return frame[where.at + 6] == 44


def number_of(frame: bytes) -> int:
    """The number of a frame; 0 where it has none."""
    found = inside(frame)
    if found is None:
        return 0
    at = found.at + (4 if found.version == 4 else 2)
    return int.from_bytes(frame[at : at + 2], "big")


def numbered(frame: bytes, number: int) -> bytes:
    """The same frame with another number; what is no IP stays without."""
    found = inside(frame)
    if found is None:
        return frame
    new = bytearray(frame)
    if found.version == 4:
        _put(new, found.at + 4, number, found.at + 10)
    else:
        struct.pack_into("!H", new, found.at + 2, number)
    return bytes(new)


def with_port(frame: bytes, source: bool, port: int) -> bytes:
    """The same frame of TCP or UDP with another source or destination port; of an echo with another identifier."""
    found = inside(frame)
    assert found is not None and found.protocol in _CHECKED and found.transport
    new = bytearray(frame)
    place = 4 if found.protocol in (1, 58) else 0 if source else 2
    _put(new, found.transport + place, port, found.transport + _CHECKED[found.protocol])
    return bytes(new)


def conversation(frame: bytes) -> object:
    """What two frames share that switches may take for one connection, whichever way they go; None for what they track
    nothing of."""
    found = inside(frame)
    if found is None or is_fragment(frame, found):
        return None
    size, start = (4, found.at + 12) if found.version == 4 else (16, found.at + 8)
    ends = frozenset((frame[start : start + size], frame[start + size : start + 2 * size]))
    if not found.transport or found.protocol not in _CHECKED:
        return ends, found.protocol
    at = found.transport
    if found.protocol in (1, 58):
        return ends, found.protocol, frame[at + 4 : at + 6]
    return ends, found.protocol, frozenset((frame[at : at + 2], frame[at + 2 : at + 4]))


def _put(frame: bytearray, at: int, value: int, checked: int) -> None:
    """Two bytes, and the checksum that covers them (RFC 1624, 3)."""
    (old,), (total,) = struct.unpack_from("!H", frame, at), struct.unpack_from("!H", frame, checked)
    struct.pack_into("!H", frame, at, value)
    new = (~total & 0xFFFF) + (~old & 0xFFFF) + value
    while new >> 16:
        new = (new & 0xFFFF) + (new >> 16)
    struct.pack_into("!H", frame, checked, ~new & 0xFFFF)


def plain(frame: bytes, port: int) -> bytes:
    """A frame without what differs between packets of one kind: number, checksums, and this port (0: none)."""
    found = inside(frame)
    if found is None:
        return frame
    new = bytearray(frame)
    at = found.at
    if found.version == 4:
        new[at + 4 : at + 6] = new[at + 10 : at + 12] = b"\0\0"
    else:
        new[at + 2 : at + 4] = b"\0\0"
    if found.transport and found.protocol in _CHECKED:
        where = found.transport + _CHECKED[found.protocol]
        new[where : where + 2] = b"\0\0"
        places = (found.transport, found.transport + 2) if found.protocol in (6, 17) else (found.transport + 4,)
        for side in places if port else ():
            if int.from_bytes(new[side : side + 2], "big") == port:
                new[side : side + 2] = b"\0\0"
    return bytes(new)


def answer(frame: bytes) -> bytes | None:
    """What a host answers to a packet for it, sent to whom it came from; None where it answers nothing."""
    found = inside(frame)
    if found is None or not found.transport or frame[0] & 1:
        return None
    new = bytearray(frame)
    new[0:6], new[6:12] = frame[6:12], frame[0:6]
    size, start = (4, found.at + 12) if found.version == 4 else (16, found.at + 8)
    new[start : start + size], new[start + size : start + 2 * size] = (frame[start + size : start + 2 * size],
                                                                      frame[start : start + size])
    at = found.transport
    if found.version == 4:
        _put_byte(new, found.at + 8, 64, found.at + 10)
    else:
        new[found.at + 7] = 64
    match found.protocol:
        case 6 | 17:
            new[at : at + 2], new[at + 2 : at + 4] = frame[at + 2 : at + 4], frame[at : at + 2]
            if found.protocol == 6:
                _put_byte(new, at + 13, frame[at + 13] | TCP_ACK, at + 16)
        case 1 | 58:
            asked, answered = (8, 0) if found.protocol == 1 else (128, 129)
            if frame[at] not in (asked, answered):
                return None
            _put_byte(new, at, answered if frame[at] == asked else asked, at + 2)
    return bytes(new)


def _put_byte(frame: bytearray, at: int, value: int, checked: int) -> None:
    """One byte, and the checksum of the header that it is in: these begin at even places of their headers."""
    whole = at - (checked - at) % 2  # the first of its two bytes
    pair = frame[whole : whole + 2]
    pair[at - whole] = value
    _put(frame, whole, int.from_bytes(pair, "big"), checked)
