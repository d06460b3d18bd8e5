"""Ethernet frames of the address resolution protocols, taken apart and put together.

ARP is RFC 826 (probes and announcements RFC 5227); neighbour discovery is RFC 4861 (4.3, 4.4, 4.6).
MAC addresses are 48-bit ints.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from controller_app.model.topology import IPAddress

ETH_IPV4, ETH_ARP, ETH_VLAN, ETH_IPV6, ETH_LLDP = 0x0800, 0x0806, 0x8100, 0x86DD, 0x88CC
BROADCAST = 0xFFFF_FFFF_FFFF
_ICMPV6, _NS, _NA = 58, 135, 136
_SOURCE_LINK_OPTION, _TARGET_LINK_OPTION = 1, 2
_NA_SOLICITED_OVERRIDE = 0x6000_0000


@dataclass(frozen=True, slots=True)
class Asks:
    """An ARP request or a neighbour solicitation. `sender` is None in a probe for an address in use."""

    sender: IPAddress | None
    sender_mac: int
    target: IPAddress


@dataclass(frozen=True, slots=True)
class Tells:
    """An ARP reply or a neighbour advertisement: `address` is at `mac`."""

    address: IPAddress
    mac: int


@dataclass(frozen=True, slots=True)
class Carries:
    """Any other IP packet."""

    source: IPAddress
    destination: IPAddress


@dataclass(frozen=True, slots=True)
class Frame:
    """What of an Ethernet frame matters here."""

    eth_dst: int
    eth_src: int
    eth_type: int
    content: Asks | Tells | Carries | None = None


def parse(data: bytes) -> Frame | None:
    """Take a frame apart; None when it is too short for Ethernet. What is malformed above that, or carries a
    VLAN tag, has no content."""
    if len(data) < 14:
        return None
    eth_dst = int.from_bytes(data[0:6], "big")
    eth_src = int.from_bytes(data[6:12], "big")
    eth_type = int.from_bytes(data[12:14], "big")
    body = data[14:]
    content: Asks | Tells | Carries | None = None
    if eth_type == ETH_ARP:
        content = _arp(body)
    elif eth_type == ETH_IPV4 and len(body) >= 20 and body[0] >> 4 == 4:
        content = Carries(IPv4Address(body[12:16]), IPv4Address(body[16:20]))
    elif eth_type == ETH_IPV6 and len(body) >= 40 and body[0] >> 4 == 6:
        content = _ipv6(body, eth_src)
    return Frame(eth_dst, eth_src, eth_type, content)


def _arp(body: bytes) -> Asks | Tells | None:
    if len(body) < 28 or body[:6] != b"\x00\x01\x08\x00\x06\x04":
        return None
    operation = int.from_bytes(body[6:8], "big")
    sender_mac = int.from_bytes(body[8:14], "big")
    sender, target = IPv4Address(body[14:18]), IPv4Address(body[24:28])
    if operation == 1:
        return Asks(None if sender == IPv4Address(0) else sender, sender_mac, target)
    if operation == 2 and sender != IPv4Address(0):
        return Tells(sender, sender_mac)
    return None


def _ipv6(body: bytes, eth_src: int) -> Asks | Tells | Carries | None:
    source, destination = IPv6Address(body[8:24]), IPv6Address(body[24:40])
    if body[6] != _ICMPV6 or len(body) < 64 or body[40] not in (_NS, _NA):
        return Carries(source, destination)
    if body[7] != 255 or _checksum(source, destination, body[40 : 40 + int.from_bytes(body[4:6], "big")]):
        return None  # RFC 4861, 7.1: forwarded by someone, or damaged
    target = IPv6Address(body[48:64])
    if target.is_multicast:
        return None
    if body[40] == _NS:
        return Asks(None if source == IPv6Address(0) else source, eth_src, target)
    return Tells(target, _link_option(body[64:], _TARGET_LINK_OPTION) or eth_src)


def _link_option(options: bytes, kind: int) -> int | None:
    while len(options) >= 8 and options[1]:
        if options[0] == kind and options[1] == 1:
            return int.from_bytes(options[2:8], "big")
        options = options[8 * options[1] :]
    return None


def _checksum(source: IPv6Address, destination: IPv6Address, message: bytes) -> int:
    """The internet checksum over pseudo header and message; 0 when the message carries the right one."""
    data = source.packed + destination.packed + struct.pack("!II", len(message), _ICMPV6) + message
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def _ethernet(destination: int, source: int, eth_type: int, body: bytes) -> bytes:
    frame = destination.to_bytes(6, "big") + source.to_bytes(6, "big") + eth_type.to_bytes(2, "big") + body
    return frame.ljust(60, b"\0")


def question(target: IPAddress, sender: IPAddress, sender_mac: int) -> bytes:
    """The frame that asks everyone who has `target`."""
    if isinstance(target, IPv4Address):
        return _ethernet(BROADCAST, sender_mac, ETH_ARP, _arp_body(1, sender_mac, sender, 0, target))
    group = IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | int(target) & 0xFFFFFF)
    message = struct.pack("!BBHI", _NS, 0, 0, 0) + target.packed + _option(_SOURCE_LINK_OPTION, sender_mac)
    multicast = 0x3333_0000_0000 | int(group) & 0xFFFF_FFFF
    return _ethernet(multicast, sender_mac, ETH_IPV6, _ipv6_body(sender, group, message))


def answer(address: IPAddress, mac: int, asks: Asks) -> bytes:
    """The frame that tells who asked that `address` is at `mac`."""
    if isinstance(address, IPv4Address):
        body = _arp_body(2, mac, address, asks.sender_mac, asks.sender or IPv4Address(0))
        return _ethernet(asks.sender_mac, mac, ETH_ARP, body)
    to = asks.sender or IPv6Address("ff02::1")
    flags = _NA_SOLICITED_OVERRIDE if asks.sender else 0x2000_0000
    message = struct.pack("!BBHI", _NA, 0, 0, flags) + address.packed + _option(_TARGET_LINK_OPTION, mac)
    destination = asks.sender_mac if asks.sender else 0x3333_0000_0001
    return _ethernet(destination, mac, ETH_IPV6, _ipv6_body(address, to, message))


def _arp_body(operation: int, sender_mac: int, sender: IPAddress, target_mac: int, target: IPAddress) -> bytes:
    return (
        b"\x00\x01\x08\x00\x06\x04"
        + operation.to_bytes(2, "big")
        + sender_mac.to_bytes(6, "big")
        + sender.packed
        + target_mac.to_bytes(6, "big")
        + target.packed
    )


def _option(kind: int, mac: int) -> bytes:
    return bytes((kind, 1)) + mac.to_bytes(6, "big")


def _ipv6_body(source: IPAddress, destination: IPv6Address | IPAddress, message: bytes) -> bytes:
    assert isinstance(source, IPv6Address)
    assert isinstance(destination, IPv6Address)
    checksum = _checksum(source, destination, message)
    message = message[:2] + checksum.to_bytes(2, "big") + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(message), _ICMPV6, 255)
    return header + source.packed + destination.packed + message
