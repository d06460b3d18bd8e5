"""A service function that speaks NSH itself (RFC 8300): checks, counts, decrements the service index, sends back.

Usage: nsh_function.py LOG INTERFACE [INTERFACE]    With one interface frames go back where they came from, with two
they leave by the other. LOG gets one JSON line a frame: "arm"; "got" and "sent", the bytes from the outer Ethernet
header to the end of the NSH, in hex ("sent" null where it was not sent on); "inner", the first 64 bytes of what the
NSH carries; "why", what was wrong with it, or null.
"""

import json
import select
import socket
import sys
from typing import Any

NSH, ETHERNET_INSIDE = 0x894F, 3  # ether type; next protocol (RFC 8300 2.2)
PACKET_OUTGOING = 4  # linux/if_packet.h


def judge(frame: bytes) -> tuple[int, str | None]:
    """The length of the NSH in bytes, and what is wrong with the frame (RFC 8300 2.2 to 2.4)."""
    header = frame[14:]
    if len(header) < 8:
        return len(header), "shorter than an NSH"
    length = (header[1] & 0x3F) * 4
    if header[0] >> 6:
        return length, f"version {header[0] >> 6}"
    if header[2] & 0x0F == 1 and length != 24:
        return length, f"MD type 1 of {length} bytes"
    if length < 8 or len(header) < length:
        return length, f"a length of {length} bytes"
    if header[3] != ETHERNET_INSIDE:
        return length, f"next protocol {header[3]}"
    if (header[0] & 0x0F) << 2 | header[1] >> 6 == 0:
        return length, "TTL 0"
    if header[7] == 0:
        return length, "service index 0"
    return length, None


def answer(frame: bytes, own: bytes) -> bytes:
    """The same frame back to who sent it, one service further. Every other bit stays as it was."""
    return frame[6:12] + own + frame[12:21] + bytes([frame[21] - 1]) + frame[22:]


def main(log: str, names: list[str]) -> None:
    arms = []
    for name in names:
        arm = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(NSH))
        arm.bind((name, NSH))
        arms.append(arm)
    print("listening", flush=True)
    with open(log, "a", encoding="utf-8", buffering=1) as lines:
        while True:
            ready, _, _ = select.select(arms, [], [])
            for arm in ready:
                frame, address = arm.recvfrom(65535)
                if address[2] != PACKET_OUTGOING:
                    lines.write(json.dumps(serve(frame, arms, arm)) + "\n")


def serve(frame: bytes, arms: list[socket.socket], arm: socket.socket) -> dict[str, Any]:
    """Handle one frame; returns its line for the log."""
    length, why = judge(frame)
    other = arms[len(arms) - 1 - arms.index(arm)]
    sent = None
    if why is None:
        sent = answer(frame, other.getsockname()[4])
        other.send(sent)
    end = 14 + length
    return {
        "arm": arm.getsockname()[0],
        "got": frame[:end].hex(),
        "sent": sent[:end].hex() if sent is not None else None,
        "inner": frame[end : end + 64].hex(),
        "why": why,
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
