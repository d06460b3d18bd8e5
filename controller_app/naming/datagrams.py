"""UDP datagrams in frames (RFC 768): a question taken out, its answer put in. MAC addresses are 48-bit ints.

Checksums of what came are not looked at: with offloads on, hosts' virtual interfaces leave them open.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from controller_app.discovery import refusals
from controller_app.discovery.frames import ETH_IPV4, ETH_IPV6, ETH_VLAN
from controller_app.model.checksum import internet_checksum
from controller_app.model.topology import IPAddress

UDP = 17
_LIFETIME = 64


@dataclass(frozen=True, slots=True)
class Datagram:
    """A datagram with all that its answer needs. `tag`: the frame's 802.1Q tag (priority and VLAN), if it has one."""

    sender: int
    tag: int | None
    source: IPAddress
    destination: IPAddress
    source_port: int
    destination_port: int
    payload: bytes


def read(frame: bytes) -> Datagram | None:
    """The datagram of a frame; None for other frames, fragments, what is cut or damaged, and what nobody, or a group,
    says it sent."""
    sender, kind, at, tag = int.from_bytes(frame[6:12], "big"), int.from_bytes(frame[12:14], "big"), 14, None
    if kind == ETH_VLAN:
        tag, kind, at = int.from_bytes(frame[14:16], "big"), int.from_bytes(frame[16:18], "big"), 18
    packet = refusals.read(kind, frame[at:])
    if packet is None or packet.fragment or packet.protocol != UDP or sender >> 40 & 1:
        return None
    source, udp = packet.source, packet.data[packet.upper :]
    if source.is_multicast or source.is_unspecified or source.is_loopback or len(udp) < 8:
        return None
    source_port, destination_port, length, _ = struct.unpack_from("!HHHH", udp)
    if not 8 <= length <= len(udp) or not source_port:
        return None
    return Datagram(sender, tag, source, packet.destination, source_port, destination_port, udp[8:length])


def reply(to: Datagram, payload: bytes, mac: int) -> bytes:
    """The frame that answers a datagram, from whom it was sent to, at `mac`, with the tag it came with."""
    ends = to.destination.packed + to.source.packed
    length = 8 + len(payload)
    udp = struct.pack("!HHHH", to.destination_port, to.source_port, length, 0) + payload
    checksum = internet_checksum(ends + struct.pack("!II", length, UDP) + udp) or 0xFFFF  # 0 is none
    udp = udp[:6] + checksum.to_bytes(2, "big") + udp[8:]
    if to.source.version == 6:
        kind, header = ETH_IPV6, struct.pack("!IHBB", 6 << 28, length, UDP, _LIFETIME)
    else:
        kind = ETH_IPV4
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, _LIFETIME, UDP, 0)
        header = header[:10] + internet_checksum(header + ends).to_bytes(2, "big")
    tag = b"" if to.tag is None else struct.pack("!HH", ETH_VLAN, to.tag)
    ethernet = to.sender.to_bytes(6, "big") + mac.to_bytes(6, "big") + tag + kind.to_bytes(2, "big")
    return (ethernet + header + ends + udp).ljust(60 + len(tag), b"\0")

