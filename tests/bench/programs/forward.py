"""A transparent function in user space: every frame that comes in by one interface goes out of the other.

Usage: forward.py INTERFACE INTERFACE    Killed, it leaves interfaces that are up and pass nothing on.
"""

import selectors
import socket
import sys

ETH_P_ALL, SOL_PACKET, ADD_MEMBERSHIP, PROMISCUOUS, OUTGOING = 3, 263, 1, 1, 4  # linux/if_packet.h
BUFFER = 1 << 22


def opened(interface: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    made.bind((interface, ETH_P_ALL))
    wanted = socket.if_nametoindex(interface).to_bytes(4, sys.byteorder) + bytes((PROMISCUOUS, 0)) + bytes(10)
    made.setsockopt(SOL_PACKET, ADD_MEMBERSHIP, wanted)
    return made


def main(one: str, other: str) -> None:
    ends = opened(one), opened(other)
    chosen = selectors.DefaultSelector()
    for end, far in (ends, ends[::-1]):
        chosen.register(end, selectors.EVENT_READ, far)
    print("forwarding", flush=True)
    while True:
        for key, _ in chosen.select():
            frame, (_, _, kind, *_) = key.fileobj.recvfrom(65535)  # type: ignore[union-attr]
            if kind != OUTGOING:
                key.data.send(frame)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
