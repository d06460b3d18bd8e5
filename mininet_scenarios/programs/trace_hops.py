"""A traceroute in which every probe of one trace has the same addresses and ports: it follows ONE connection.

Usage: trace_hops.py PLAN    PLAN is a JSON list of traces: {"to": address, "protocol": "udp" or "tcp", "source_port",
"port", "most": hops tried, "timeout": seconds each}. Prints for each the list of addresses that answered, in the order
of the hop limits 1, 2, …; null for one that did not; the destination last, where it was reached. Answers are read from
the socket's error queue (ip(7), IP_RECVERR), so no raw socket is needed and no probe differs from real traffic.
"""

import errno
import json
import select
import socket
import struct
import sys
import time
from typing import Any

IP_RECVERR, IPV6_RECVERR = 11, 25  # linux/in.h, linux/in6.h
FROM_ICMP = (2, 3)  # SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6 (linux/errqueue.h)
EXTENDED = struct.Struct("IBBBBII")  # struct sock_extended_err: errno, origin, type, code, pad, info, data


def offender(sock: socket.socket, v6: bool) -> str | None:
    """Who sent the ICMP error that waits in the socket's error queue."""
    try:
        _, control, _, _ = sock.recvmsg(2048, 512, socket.MSG_ERRQUEUE)
    except BlockingIOError:
        return None
    for level, kind, data in control:
        if (level, kind) not in ((socket.SOL_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR)):
            continue
        _, origin, *_ = EXTENDED.unpack_from(data)
        if origin in FROM_ICMP:
            where = EXTENDED.size
            address = data[where + 8 : where + 24] if v6 else data[where + 4 : where + 8]
            return socket.inet_ntop(socket.AF_INET6 if v6 else socket.AF_INET, address)
    return None


def probe(trace: dict[str, Any], limit: int) -> tuple[str | None, bool]:
    """One packet with this hop limit: who answered, and whether that was the destination."""
    v6 = ":" in trace["to"]
    stream = trace["protocol"] == "tcp"
    family = socket.AF_INET6 if v6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, limit)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        else:
            sock.setsockopt(socket.SOL_IP, socket.IP_TTL, limit)
            sock.setsockopt(socket.SOL_IP, IP_RECVERR, 1)
        if stream:  # a reset, not TIME-WAIT: the next probe uses the same ports
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.bind(("::" if v6 else "0.0.0.0", trace["source_port"]))
        sock.connect_ex((trace["to"], trace["port"]))
        if not stream:
            sock.send(b"hop %d" % limit)
        return answered(sock, trace, v6, stream)


def answered(sock: socket.socket, trace: dict[str, Any], v6: bool, stream: bool) -> tuple[str | None, bool]:
    events = select.poll()
    events.register(sock, select.POLLERR | select.POLLIN | (select.POLLOUT if stream else 0))
    deadline = time.monotonic() + trace["timeout"]
    while (left := deadline - time.monotonic()) > 0:
        if not events.poll(left * 1000):
            break
        who = offender(sock, v6)
        if who is not None:
            return who, who == trace["to"]
        if not stream:
            return trace["to"], True  # an answer, not an error
        problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem in (0, errno.ECONNREFUSED):
            return trace["to"], True
        return None, False
    return None, False


def hops(trace: dict[str, Any]) -> list[str | None]:
    found: list[str | None] = []
    for limit in range(1, trace["most"] + 1):
        who, arrived = probe(trace, limit)
        found.append(who)
        if arrived:
            break
    return found


if __name__ == "__main__":
    print(json.dumps([hops(trace) for trace in json.loads(sys.argv[1])]))
