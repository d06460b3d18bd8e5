"""The frames that find links: LLDP (IEEE 802.1AB) with the sender's port, a serial number and a seal.

The seal is a keyed digest (HMAC, RFC 2104) over port and number, so that neither another controller's frames nor a
host's can make up a link; the number lets a frame that is sent again be told from a new one (see `guard`). What this
cannot tell: two machines that hand our frames to each other at once, each at its own port, look like a cable.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass

from controller_app.discovery.ports import PortId

NEAREST_BRIDGE = 0x0180_C200_000E
_ETH_LLDP = 0x88CC
_CHASSIS, _PORT, _TTL, _ORGANISATION = 1, 2, 3, 127
_LOCAL = 7  # subtype "locally assigned" of chassis and port ids
_MARK = b"\x0a\xc5\x01\x02"  # an organisation of our own (locally administered), and what of its says this
_SENDER = struct.Struct("!QIQ")  # datapath id, port, serial number
_SEAL_BYTES = 16


@dataclass(frozen=True, slots=True)
class Said:
    """What a frame with our mark says: the port it was sent out of, and its number. `genuine`: its seal fits."""

    sender: PortId
    serial: int
    genuine: bool


def frame(sender: PortId, source_mac: int, lifetime: int, serial: int, key: bytes) -> bytes:
    """The frame to send out of port `sender`. `lifetime` in seconds (at most 65,535); `serial` of 64 bits."""
    sealed = _SENDER.pack(sender.dpid, sender.port, serial)
    body = (
        _tlv(_CHASSIS, bytes((_LOCAL,)) + f"dpid:{sender.dpid:016x}".encode())
        + _tlv(_PORT, bytes((_LOCAL,)) + str(sender.port).encode())
        + _tlv(_TTL, struct.pack("!H", lifetime))
        + _tlv(_ORGANISATION, _MARK + sealed + _seal(sealed, key))
        + _tlv(0, b"")
    )
    header = NEAREST_BRIDGE.to_bytes(6, "big") + source_mac.to_bytes(6, "big") + struct.pack("!H", _ETH_LLDP)
    return (header + body).ljust(60, b"\0")


def read(data: bytes, key: bytes) -> Said | None:
    """What a frame says; None when it does not bear our mark, and so is someone else's."""
    if len(data) < 14 or data[12:14] != b"\x88\xcc":
        return None
    offset = 14
    while offset + 2 <= len(data):
        (head,) = struct.unpack_from("!H", data, offset)
        kind, length = head >> 9, head & 0x1FF
        value = data[offset + 2 : offset + 2 + length]
        offset += 2 + length
        if kind == 0 or len(value) < length:
            return None
        if kind == _ORGANISATION and value[:4] == _MARK and length == 4 + _SENDER.size + _SEAL_BYTES:
            sealed, seal = value[4 : 4 + _SENDER.size], value[4 + _SENDER.size :]
            dpid, port, serial = _SENDER.unpack(sealed)
            return Said(PortId(dpid, port), serial, hmac.compare_digest(seal, _seal(sealed, key)))
    return None


def _seal(sealed: bytes, key: bytes) -> bytes:
    return hmac.digest(key, sealed, hashlib.sha256)[:_SEAL_BYTES]


def _tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!H", kind << 9 | len(value)) + value
