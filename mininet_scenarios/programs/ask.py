"""Sends one UDP datagram from each of some source ports, and prints what came of it, as JSON.

Usage: ask.py PLAN    where PLAN is JSON: {"to": address, "port": number, "source_ports": [numbers], "timeout":
seconds}. Prints [{"source_port", "answered_by", "error", "seconds"}, …]: what was answered, or why nothing was
("refused": an ICMP port unreachable; "silence").
"""

import json
import socket
import sys
import time
from typing import Any

IP_RECVERR, IPV6_RECVERR = 11, 25  # linux/in.h, linux/in6.h: all ICMP errors are told


def ask(plan: dict[str, Any], source_port: int) -> dict[str, Any]:
    v6 = ":" in plan["to"]
    answered, error, began = None, None, time.monotonic()
    with socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(*((socket.IPPROTO_IPV6, IPV6_RECVERR, 1) if v6 else (socket.SOL_IP, IP_RECVERR, 1)))
        sock.settimeout(plan["timeout"])
        sock.bind(("::" if v6 else "0.0.0.0", source_port))
        try:
            sock.connect((plan["to"], plan["port"]))
            sock.send(b"who is there?")
            answered = sock.recv(2048).decode()
        except TimeoutError:
            error = "silence"
        except ConnectionRefusedError:
            error = "refused"
        except OSError as problem:
            error = str(problem)
    seconds = round(time.monotonic() - began, 4)
    return {"source_port": source_port, "answered_by": answered, "error": error, "seconds": seconds}


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    print(json.dumps([ask(wanted, source_port) for source_port in wanted["source_ports"]]))
