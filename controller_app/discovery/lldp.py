"""The frames that find links: LLDP (IEEE 802.1AB) with the sender's port and a seal.

The seal is a keyed digest, so that neither another controller's frames nor a host's can make up a link.
"""

from __future__ import annotations

import hashlib
import hmac
import struct

from controller_app.discovery.ports import PortId

NEAREST_BRIDGE = 0x0180_C200_000E
_ETH_LLDP = 0x88CC
_CHASSIS, _PORT, _TTL, _ORGANISATION = 1, 2, 3, 127
_LOCAL = 7  # subtype "locally assigned" of chassis and port ids
_OUI = b"\x0a\xc5\x01"  # locally administered: an organisation of our own
_SEAL_BYTES = 16


def frame(sender: PortId, source_mac: int, lifetime: int, key: bytes) -> bytes:
    """The frame to send out of port `sender`. `lifetime` in seconds (at most 65,535)."""
    place = _place(sender)
    body = (
        _tlv(_CHASSIS, bytes((_LOCAL,)) + f"dpid:{sender.dpid:016x}".encode())
        + _tlv(_PORT, bytes((_LOCAL,)) + str(sender.port).encode())
        + _tlv(_TTL, struct.pack("!H", lifetime))
        + _tlv(_ORGANISATION, _OUI + b"\x01" + place + _seal(place, key))
        + _tlv(0, b"")
    )
    header = NEAREST_BRIDGE.to_bytes(6, "big") + source_mac.to_bytes(6, "big") + struct.pack("!H", _ETH_LLDP)
    return (header + body).ljust(60, b"\0")


def read(data: bytes, key: bytes) -> PortId | None:
    """The port a frame was sent out of; None when it is not a frame of ours."""
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
        if kind == _ORGANISATION and value[:4] == _OUI + b"\x01" and length == 4 + 12 + _SEAL_BYTES:
            place, seal = value[4:16], value[16:]
            if hmac.compare_digest(seal, _seal(place, key)):
                return PortId(*struct.unpack("!QI", place))
            return None
    return None


def _place(port: PortId) -> bytes:
    return struct.pack("!QI", port.dpid, port.port)


def _seal(place: bytes, key: bytes) -> bytes:
    return hmac.new(key, place, hashlib.sha256).digest()[:_SEAL_BYTES]


def _tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!H", kind << 9 | len(value)) + value
