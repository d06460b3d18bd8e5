"""Frames of checks, put together and taken apart: TCP segments (RFC 9293 3.1), echoes (RFC 792, RFC 4443 4), and
answers to ARP and ND.

What comes in is not trusted: a frame that is cut or makes no sense says nothing. Checksums of what came are not looked
at: with offloads on, virtual interfaces leave them open.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from controller_app.discovery.frames import ETH_IPV4, ETH_IPV6, ETH_VLAN, Tells, parse, question
from controller_app.discovery.refusals import ICMP, ICMPV6, TCP, ip_packet, read
from controller_app.model.topology import IPAddress

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
LARGEST = {4: 536, 6: 1220}  # bytes of data in a segment, by IP version, that every path takes (RFC 9293 3.7.1)
WINDOW = 4096  # bytes that the other side may send unacknowledged
_MSS_OPTION = 2
_ECHO = {4: (ICMP, 8, 0), 6: (ICMPV6, 128, 129)}  # by IP version: protocol, types of request and reply


class Ends(NamedTuple):
    """Both ends of a connection, ours first."""

    local: IPAddress
    local_port: int
    remote: IPAddress
    remote_port: int

    @property
    def there(self) -> str:
        """The other end as people write it: 10.2.0.21:80, [fd02::21]:80."""
        return authority(self.remote, self.remote_port)


class Segment(NamedTuple):
    """A TCP segment that came from the other end. `number` and `acknowledged` are sequence numbers."""

    ends: Ends
    number: int
    acknowledged: int
    flags: int
    data: bytes = b""


class Echo(NamedTuple):
    """An echo: of the request what we send, of the reply what came back. `local` is ours."""

    local: IPAddress
    remote: IPAddress
    identifier: int
    sequence: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Wire:
    """How a host is reached: its MAC, the MAC that frames for it come from, its 802.1Q tag if it has one."""

    mac: int
    gateway_mac: int
    vlan: int | None = None

    def segment(self, ends: Ends, number: int, acknowledged: int, flags: int, data: bytes = b"") -> bytes:
        """The frame of a segment to the other end. A SYN says how much data a segment may have."""
        options = b""
        if flags & SYN:
            options = struct.pack("!BBH", _MSS_OPTION, 4, LARGEST[ends.local.version])
        header = struct.pack(
            "!HHIIBBHHH",
            ends.local_port,
            ends.remote_port,
            number & 0xFFFF_FFFF,
            acknowledged & 0xFFFF_FFFF,
            (20 + len(options)) // 4 << 4,
            flags,
            WINDOW,
            0,
            0,
        )
        return self._frame(ip_packet(ends.local, ends.remote, TCP, header + options + data, 16))

    def echo(self, asked: Echo) -> bytes:
        """The frame of an echo request."""
        protocol, request, _ = _ECHO[asked.local.version]
        message = struct.pack("!BBHHH", request, 0, 0, asked.identifier, asked.sequence) + asked.data
        return self._frame(ip_packet(asked.local, asked.remote, protocol, message, 2))

    def question(self, target: IPAddress, sender: IPAddress) -> bytes:
        """The frame that asks who has `target`, as the gateway `sender`."""
        return self.tagged(question(target, sender, self.gateway_mac))

    def _frame(self, packet: bytes) -> bytes:
        kind = ETH_IPV4 if packet[0] >> 4 == 4 else ETH_IPV6
        ethernet = self.mac.to_bytes(6, "big") + self.gateway_mac.to_bytes(6, "big") + kind.to_bytes(2, "big")
        return self.tagged((ethernet + packet).ljust(60, b"\0"))

    def tagged(self, frame: bytes) -> bytes:
        """A frame with the host's tag."""
        if self.vlan is None:
            return frame
        return frame[:12] + struct.pack("!HH", ETH_VLAN, self.vlan) + frame[12:]


def authority(address: IPAddress, port: int) -> str:
    """Address and port as in a URI (RFC 3986 3.2)."""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def untag(frame: bytes) -> tuple[bytes, int | None]:
    """A frame without its 802.1Q tag, and the tag's VLAN."""
    if frame[12:14] != b"\x81\x00" or len(frame) < 18:
        return frame, None
    return frame[:12] + frame[16:], int.from_bytes(frame[14:16], "big") & 0xFFF


def hear(frame: bytes) -> Segment | Tells | Echo | None:
    """What an untagged frame from a host says: a TCP segment, an echo reply, or who has an address; None for all
    else."""
    parsed = parse(frame)
    if parsed is None:
        return None
    if isinstance(parsed.content, Tells):
        return parsed.content
    packet = read(parsed.eth_type, frame[14:])
    if packet is None or packet.fragment:
        return None
    protocol, _, reply = _ECHO[packet.version]
    if packet.protocol == protocol and len(packet.data) >= packet.upper + 8:
        kind, code, _, identifier, sequence = struct.unpack_from("!BBHHH", packet.data, packet.upper)
        data = packet.data[packet.upper + 8 :]
        ours = Echo(packet.destination, packet.source, identifier, sequence, data)
        return ours if (kind, code) == (reply, 0) else None
    if packet.protocol != TCP or len(packet.data) < packet.upper + 20:
        return None
    tcp = packet.data[packet.upper :]
    source_port, destination_port, number, acknowledged, offset, flags = struct.unpack_from("!HHIIBB", tcp)
    begin = 4 * (offset >> 4)
    if begin < 20 or begin > len(tcp):
        return None
    ends = Ends(packet.destination, destination_port, packet.source, source_port)
    return Segment(ends, number, acknowledged, flags & 0x3F, tcp[begin:])
