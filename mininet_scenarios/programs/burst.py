"""Sends UDP datagrams at a steady pace.

Usage: burst.py ADDRESS PORT COUNT SIZE PAUSE    SIZE in bytes of payload, PAUSE in seconds between two.
"""

import socket
import sys
import time


def main(address: str, port: int, count: int, size: int, pause: float) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        due = time.monotonic()
        for _ in range(count):
            sock.sendto(b"." * size, (address, port))
            due += pause
            time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
