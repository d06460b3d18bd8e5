"""Sends as fast as TCP takes it, for some seconds.

Usage: tcp_source.py ADDRESS PORT SECONDS
"""

import socket
import sys
import time


def main(address: str, port: int, seconds: float) -> None:
    data = bytes(1 << 17)
    with socket.create_connection((address, port), timeout=10) as connection:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            connection.sendall(data)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
