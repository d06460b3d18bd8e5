"""Receives what udp_source.py sends, and tells of each run the largest hole in it, as a line of JSON.

Usage: udp_sink.py PORT

gap: the longest time between two sent datagrams, following each other here, of which the second is not the next one
(seconds; 0 where none is missing); at: when the first of them was sent; lost: how many did not arrive between the first
and the last; received: how many did.
"""

import json
import socket
import struct
import sys
from itertools import pairwise


def main(port: int) -> None:
    message = struct.Struct("!QQ")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as into:
        into.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
        into.bind(("", port))
        print("listening", flush=True)
        found: dict[int, int] = {}
        while True:
            data = into.recv(64)
            if data != b"end":
                number, sent = message.unpack(data)
                found[number] = sent
            elif found:
                print(json.dumps(tell(found)), flush=True)
                found = {}


def tell(found: dict[int, int]) -> dict[str, float]:
    """found: number -> time sent in ns."""
    numbers = sorted(found)
    holes = [(found[b] - found[a], found[a]) for a, b in pairwise(numbers) if b != a + 1]
    gap, at = max(holes, default=(0, 0))
    lost = numbers[-1] - numbers[0] + 1 - len(numbers)
    return {"gap": gap / 1e9, "at": at / 1e9, "lost": lost, "received": len(numbers)}


if __name__ == "__main__":
    main(int(sys.argv[1]))
