"""Enough of DHCP (RFC 2131) to see whether it gets through: a discovery, and an offer.

Usage: dhcp.py serve OFFERED    answers every discovery on port 67 with an offer, until it is ended
       dhcp.py discover MAC             asks, and prints the offered address, or `nobody` after two seconds
"""

import os
import socket
import sys

BROADCAST = ("255.255.255.255", 68)
COOKIE, MESSAGE_TYPE, DISCOVER, OFFER = bytes.fromhex("63825363"), 53, 1, 2
BROADCAST_FLAG = b"\x80\x00"


def message(op: int, number: bytes, mac: bytes, offered: str, kind: int) -> bytes:
    """A BOOTP message with one DHCP option, its type."""
    head = bytes([op, 1, 6, 0]) + number + bytes(2) + BROADCAST_FLAG + bytes(4)
    addresses = socket.inet_aton(offered) + bytes(8)
    return head + addresses + mac + bytes(10 + 64 + 128) + COOKIE + bytes([MESSAGE_TYPE, 1, kind, 255])


def opened(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    sock.bind(("0.0.0.0", port))
    return sock


def serve(offered: str) -> None:
    sock = opened(67)
    print("listening", flush=True)
    while True:
        asked, _ = sock.recvfrom(2048)
        if asked[:1] == b"\1" and COOKIE + bytes([MESSAGE_TYPE, 1, DISCOVER]) in asked:
            sock.sendto(message(2, asked[4:8], asked[28:34], offered, OFFER), BROADCAST)


def discover(mac: str) -> str:
    sock, number = opened(68), os.urandom(4)
    sock.settimeout(2.0)
    sock.sendto(message(1, number, bytes.fromhex(mac.replace(":", "")), "0.0.0.0", DISCOVER), ("255.255.255.255", 67))
    try:
        while True:
            answer, _ = sock.recvfrom(2048)
            if answer[4:8] == number:
                return socket.inet_ntoa(answer[16:20])
    except TimeoutError:
        return "nobody"


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        print(discover(sys.argv[2]))
