"""Multicast over IPv4: one says something, others listen for it.

Usage: multicast.py listen GROUP PORT           prints `listening`, then what comes, one line each, until it is ended
       multicast.py say GROUP PORT TEXT...      one datagram a word
"""

import socket
import sys


def listen(group: str, port: int) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((group, port))
    index = socket.if_nametoindex("eth0")
    member = socket.inet_aton(group) + bytes(4) + index.to_bytes(4, sys.byteorder)  # struct ip_mreqn (ip(7))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    print("listening", flush=True)
    while True:
        print(sock.recv(2048).decode(errors="replace"), flush=True)


def say(group: str, port: int, words: list[str]) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    index = socket.if_nametoindex("eth0")
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, bytes(8) + index.to_bytes(4, sys.byteorder))
    for word in words:
        sock.sendto(word.encode(), (group, port))


if __name__ == "__main__":
    if sys.argv[1] == "listen":
        listen(sys.argv[2], int(sys.argv[3]))
    else:
        say(sys.argv[2], int(sys.argv[3]), sys.argv[4:])
