"""Connections that go on until they end: each asks again and again, whether or not it was answered.

Usage: talk.py PLAN    where PLAN is JSON: {"protocol": "tcp" or "udp", "to": address, "port": number, "source_ports":
[numbers], "pause": seconds between two requests on a connection, "patience": seconds to connect in}. Prints one JSON
line for every answer, {"at": seconds since 1970, "source_port", "answered_by"}, and for every error {"at",
"source_port", "error"}. TCP ends with its first error ("closed": by the other side, in order); UDP goes on.
"""

import json
import re
import select
import socket
import sys
import threading
import time
from typing import Any

_REPLY = re.compile(rb"\AHTTP/1\.1 \d+ .*?server: (\S+)\r\n.*?content-length: (\d+)\r\n\r\n", re.DOTALL | re.IGNORECASE)
_lock = threading.Lock()


def say(source_port: int, **what: str) -> None:
    with _lock:
        print(json.dumps({"at": time.time(), "source_port": source_port, **what}), flush=True)


def answers(protocol: str, heard: bytes) -> tuple[list[str], bytes]:
    """Who answered in what was heard so far, and what is left of it: the beginning of the next answer."""
    if protocol == "udp":
        return [heard.decode()], b""
    found = []
    while (reply := _REPLY.match(heard)) and len(heard) >= reply.end() + int(reply[2]):
        found.append(reply[1].decode())
        heard = heard[reply.end() + int(reply[2]) :]
    return found, heard


def talk(plan: dict[str, Any], source_port: int) -> None:
    """One connection, to its end."""
    v6, stream = ":" in plan["to"], plan["protocol"] == "tcp"
    family = socket.AF_INET6 if v6 else socket.AF_INET
    request = f"GET / HTTP/1.1\r\nHost: {plan['to']}\r\n\r\n".encode()
    left = b""
    with socket.socket(family, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("::" if v6 else "0.0.0.0", source_port))
        sock.settimeout(plan["patience"])
        begun = False
        while True:
            try:
                if not begun:
                    sock.connect((plan["to"], plan["port"]))
                    begun = True
                sock.send(request)
                due = time.monotonic() + plan["pause"]
                while select.select([sock], [], [], max(0.0, due - time.monotonic()))[0]:
                    heard = sock.recv(65536)
                    if not heard:
                        say(source_port, error="closed")
                        return
                    found, left = answers(plan["protocol"], left + heard)
                    for name in found:
                        say(source_port, answered_by=name)
            except OSError as problem:
                say(source_port, error=str(problem))
                if stream:
                    return
                time.sleep(plan["pause"])


def main(plan: dict[str, Any]) -> None:
    for source_port in plan["source_ports"]:
        threading.Thread(target=talk, args=(plan, source_port), daemon=True).start()
    threading.Event().wait()  # until it is ended


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
