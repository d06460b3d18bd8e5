"""Sends numbered datagrams at a steady pace, each with the time it was sent (CLOCK_MONOTONIC, ns), and a last one.

Usage: udp_source.py ADDRESS PORT INTERVAL SECONDS
"""

import socket
import struct
import sys
import time


def main(address: str, port: int, interval: float, seconds: float) -> None:
    message = struct.Struct("!QQ")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect((address, port))
        start = time.monotonic()
        print("sending", flush=True)
        for number in range(int(seconds / interval)):
            while (left := start + number * interval - time.monotonic()) > 0:
                time.sleep(left)
            out.send(message.pack(number, time.monotonic_ns()))
        for _ in range(20):  # some of these shall arrive
            time.sleep(0.01)
            out.send(b"end")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
