"""Sends Ethernet frames as they are, whatever they claim.

Usage: send_frames.py INTERFACE    one frame a line on stdin, in hex.
"""

import socket
import sys


def main(interface: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((interface, 0))
        for line in sys.stdin:
            sock.send(bytes.fromhex(line))


if __name__ == "__main__":
    main(sys.argv[1])
