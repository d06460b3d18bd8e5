"""Frames that go through a function to check it: put together, and known again.

A frame goes out of the port of arm `in` and has to come back by the other arm; then its answer goes the other way. It
is what hosts send all the time, a small UDP datagram over IPv4 (RFC 768, RFC 791), and nobody's: its addresses are of
the block for tests of devices (RFC 2544 appendix C, 198.18.0.0/15), its port is `discard` (RFC 863). Its MACs are those
of no host, one for each side, so that a bridge that learns finds each on its own. A function that speaks NSH gets it
with a service header (RFC 8300).

It carries a number and a seal over that number, the direction and both ports, which nobody without the controller's
secret can make. Each number is good once, and only while its check is on the way.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from ipaddress import IPv4Address
from typing import NamedTuple

from controller_app.discovery.frames import ETH_IPV4
from controller_app.discovery.ports import PortId
from controller_app.discovery.refusals import UDP, read
from controller_app.model.checksum import internet_checksum
from controller_app.pipeline.crossed import FIRST_INDEX
from controller_app.pipeline.tables import CHECK_MACS, CHECK_PATH, GATEWAY_MAC
from controller_app.transports.nsh import NSH

SIDES = IPv4Address("198.18.0.1"), IPv4Address("198.18.0.2")  # who sends on the side of arm `in`, and on the other
DISCARD = 9
EVERYBODY = 0xFFFF_FFFF_FFFF
WORDS = b"chainsteer health check "  # for who looks at captures
_NUMBER, _SEAL = 8, 16  # bytes
_LIFETIME, _NSH_LIFETIME = 64, 63
_NSH_ETHERNET = 3  # next protocol (RFC 8300 2.2)


class Crossed(NamedTuple):
    """A frame of a check that came up. `backward`: it was sent to come out of arm `in`."""

    number: int
    seal: bytes
    backward: bool


def seal(secret: bytes, number: int, into: PortId, out: PortId, backward: bool) -> Crossed:
    """What the frame with this number carries that goes in by one port and has to come out of another."""
    text = f"{number} {into} {out} {backward}".encode()
    made = blake2b(text, key=secret[:64], person=b"crossing", digest_size=_SEAL).digest()
    return Crossed(number, made, backward)


def datagram(said: Crossed, port: int) -> bytes:
    """The frame that says it. port: the one of ours that answers go to, so that a firewall knows them for answers."""
    source, target = SIDES[::-1] if said.backward else SIDES
    ports = (DISCARD, port) if said.backward else (port, DISCARD)
    data = WORDS + said.number.to_bytes(_NUMBER, "big") + said.seal
    ends, length = source.packed + target.packed, 8 + len(data)
    summed = internet_checksum(ends + struct.pack("!HH4H", UDP, length, *ports, length, 0) + data)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, _LIFETIME, UDP, 0)
    header = header[:10] + internet_checksum(header + ends).to_bytes(2, "big") + ends
    macs = CHECK_MACS if said.backward else CHECK_MACS[::-1]
    return _ethernet(*macs, ETH_IPV4) + header + struct.pack("!4H", *ports, length, summed or 0xFFFF) + data


def wrapped(frame: bytes, mac: int) -> bytes:
    """A frame for a function that speaks NSH and has this MAC: MD type 1 (RFC 8300 2.2 to 2.4), without metadata."""
    first = (_NSH_LIFETIME >> 2) << 8 | (_NSH_LIFETIME & 3) << 6 | 6  # version 0, TTL, length in words of 4 bytes
    head = struct.pack("!HBBI", first, 1, _NSH_ETHERNET, CHECK_PATH << 8 | FIRST_INDEX)
    return _ethernet(mac, GATEWAY_MAC, NSH) + head + bytes(16) + frame


def crossed(frame: bytes) -> Crossed | None:
    """What an untagged frame says if it looks like one of these; whether it is ours its seal tells."""
    if frame[12:14] == NSH.to_bytes(2, "big"):
        length = (frame[15] & 0x3F) * 4 if len(frame) > 22 else 0
        if length < 8 or frame[17] != _NSH_ETHERNET:
            return None
        frame = frame[14 + length :]
    to, kind = int.from_bytes(frame[:6], "big"), int.from_bytes(frame[12:14], "big")
    packet = read(kind, frame[14:]) if kind == ETH_IPV4 and to in CHECK_MACS else None
    if packet is None or packet.protocol != UDP or packet.fragment:
        return None
    data = packet.data[packet.upper + 8 :]
    if len(data) != len(WORDS) + _NUMBER + _SEAL or not data.startswith(WORDS):
        return None
    number, sealed = data[len(WORDS) : -_SEAL], data[-_SEAL:]
    return Crossed(int.from_bytes(number, "big"), sealed, to == CHECK_MACS[0])


def _ethernet(target: int, source: int, kind: int) -> bytes:
    return target.to_bytes(6, "big") + source.to_bytes(6, "big") + kind.to_bytes(2, "big")
