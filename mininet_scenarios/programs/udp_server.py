"""Answers every datagram with its own name, and writes down who sent it.

Usage: udp_server.py NAME LOG PORT...    LOG gets one JSON line a datagram: peer, its port, the port it came in at.
"""

import json
import select
import socket
import sys
from contextlib import suppress


def main(name: str, log: str, ports: list[int]) -> None:
    sockets = []
    for port in ports:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # IPv4 as well, as ::ffff:a.b.c.d
        sock.bind(("::", port))
        sockets.append(sock)
    print("listening", flush=True)
    with open(log, "a", encoding="utf-8", buffering=1) as lines:
        while True:
            for sock in select.select(sockets, [], [])[0]:
                with suppress(OSError):  # an earlier answer could not be delivered
                    _, peer = sock.recvfrom(2048)
                    row = {"peer": peer[0].removeprefix("::ffff:"), "peer_port": peer[1], "port": sock.getsockname()[1]}
                    lines.write(json.dumps(row) + "\n")
                    sock.sendto(name.encode(), peer)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], [int(port) for port in sys.argv[3:]])
