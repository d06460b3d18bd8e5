"""Captures as tcpdump writes them: the frames of a pcap file (the format of pcap-savefile(5)), with their times."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_RESOLUTION = {0xA1B2C3D4: 1e-6, 0xA1B23C4D: 1e-9}
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_ETHERNET = 1
_LARGEST = 1 << 18  # libpcap's own limit of a frame


class CaptureError(ValueError):
    """What was given is no capture that can be read. The text says why and what to do."""


def frames(data: bytes) -> Iterator[tuple[float, bytes]]:
    """Each frame with its time (seconds since 1970), as far as it was captured. The last one of a file that is
    still being written may be missing. CaptureError when it is no capture of Ethernet."""
    if data[:4] == _PCAPNG:
        raise CaptureError("this is pcapng, and pcap is needed; convert it with `editcap -F pcap FILE NEW`")
    for order in "<>":
        if len(data) >= 24:
            magic, _, _, _, _, _, link = struct.unpack_from(f"{order}IHHiIII", data)
            if magic in _RESOLUTION:
                break
    else:
        raise CaptureError("this is no pcap file; capture with `tcpdump -w FILE -i PORT`")
    if link & 0xFFFF != _ETHERNET:
        raise CaptureError(
            f"its frames have no Ethernet addresses (link type {link & 0xFFFF}); capture at one port: "
            "`tcpdump -w FILE -i PORT`, not `-i any`"
        )
    return _records(data, order, _RESOLUTION[magic])


def _records(data: bytes, order: str, resolution: float) -> Iterator[tuple[float, bytes]]:
    head = struct.Struct(f"{order}IIII")
    at = 24
    while at + 16 <= len(data):
        seconds, fraction, captured, _ = head.unpack_from(data, at)
        at += 16
        if captured > _LARGEST:
            raise CaptureError(f"a frame of {captured} bytes at octet {at}: the file is damaged")
        if at + captured > len(data):
            return
        yield seconds + fraction * resolution, data[at : at + captured]
        at += captured
