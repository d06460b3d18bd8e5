"""Witnesses: tcpdump on an interface for as long as the lab runs, and a reader for what it wrote.

Formats: libpcap's savefile (draft-ietf-opsawg-pcap), Ethernet II, IPv4 (RFC 791), TCP (RFC 9293).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

from mininet_scenarios.harness.processes import Process, Processes
from mininet_scenarios.harness.state import LabError

SYN, ACK = 0x02, 0x10


class TcpPacket(NamedTuple):
    """A TCP packet over IPv4 as it was on the wire; `time` in seconds since 1970, `frame` all its bytes."""

    time: float
    source: str
    source_port: int
    target: str
    target_port: int
    flags: int
    frame: bytes

    @property
    def without_ttl(self) -> bytes:
        """The IP packet with TTL and header checksum zeroed: what no router may change."""
        packet = self.frame[14:]
        return packet[:8] + b"\0" + packet[9:10] + b"\0\0" + packet[12:]


class Capture:
    """A tcpdump writing every packet of one interface to a file, from now until the lab ends."""

    def __init__(self, processes: Processes, label: str, pid: int | None, interface: str, file: Path) -> None:
        # The name ends in .pcap because Ubuntu's AppArmor profile lets tcpdump write no other.
        self.file = file.with_suffix(".pcap")
        self.process: Process = processes.start(
            f"tcpdump-{label}",
            [
                "tcpdump",
                "-i",
                interface,
                "-n",
                "-U",
                "--immediate-mode",
                "-s",
                "0",
                "-B",
                "8192",
                "-Z",
                "root",
                "-w",
                str(self.file),
            ],
            pid,
        )

    def ready(self) -> None:
        """Wait until it records."""
        self.process.wait_for_output("listening on")

    def frames(self) -> Iterator[tuple[float, bytes]]:
        """Every frame recorded so far, with its time. A record still being written is left for later."""
        return read_pcap(self.file)

    def tcp(self, since: float = 0.0) -> list[TcpPacket]:
        """Every TCP packet recorded so far with a time of at least `since`."""
        found = []
        for when, frame in self.frames():
            packet = parse_tcp(when, frame)
            if packet is not None and when >= since:
                found.append(packet)
        return found


def settle(seconds: float = 0.3) -> None:
    """Let packets on their way and records of them arrive."""
    time.sleep(seconds)


def read_pcap(path: Path) -> Iterator[tuple[float, bytes]]:
    """Read a savefile of Ethernet frames; stops quietly at a record that is not complete yet."""
    data = path.read_bytes()
    if len(data) < 24:
        return
    magic = data[:4]
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">"}.get(magic)
    if order is None:
        raise LabError(f"{path}: not a capture with microsecond times (it starts with {magic.hex()})")
    record = struct.Struct(order + "IIII")
    position = 24
    while position + record.size <= len(data):
        seconds, micros, length, _original = record.unpack_from(data, position)
        position += record.size
        if position + length > len(data):
            return
        yield seconds + micros / 1e6, data[position : position + length]
        position += length


def parse_tcp(when: float, frame: bytes) -> TcpPacket | None:
    """The frame's TCP packet, or None when it holds none (or not its first fragment)."""
    if len(frame) < 34 or frame[12:14] != b"\x08\x00" or frame[23] != 6:
        return None
    header = (frame[14] & 0x0F) * 4
    start = 14 + header
    if len(frame) < start + 20 or struct.unpack_from("!H", frame, 20)[0] & 0x1FFF:
        return None
    source_port, target_port = struct.unpack_from("!HH", frame, start)
    return TcpPacket(
        when,
        str(IPv4Address(frame[26:30])),
        source_port,
        str(IPv4Address(frame[30:34])),
        target_port,
        frame[start + 13],
        frame,
    )
