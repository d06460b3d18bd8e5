"""Numbered UDP datagrams, and which of them arrived.

Usage: numbered.py send ADDRESS PORT OWN-ADDRESS,… OWN-PORT PAUSE SECONDS
       numbered.py receive PORT

`send` sends on each stream (from each of its addresses) one datagram every PAUSE seconds, and prints in the end as
JSON, by address, when (seconds by the machine's monotonic clock) each was sent. `receive` prints a line with address,
port and number for each that arrives.
"""

import contextlib
import json
import socket
import sys
import time


def send(address: str, port: int, sources: list[str], own: int, pause: float, seconds: float) -> None:
    sockets = []
    for source in sources:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((source, own))
        made.connect((address, port))
        sockets.append(made)
    sent: dict[str, list[float]] = {source: [] for source in sources}
    begin = time.monotonic()
    count = 0
    while (due := begin + count * pause / len(sources)) < begin + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        turn = count % len(sources)
        times = sent[sources[turn]]
        times.append(time.monotonic())
        with contextlib.suppress(ConnectionRefusedError):  # of one before it: it counts as lost by itself
            sockets[turn].send(len(times).to_bytes(4, "big"))
        count += 1
    print(json.dumps(sent))


def receive(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        sock.bind(("", port))
        print("listening", flush=True)
        while True:
            data, (address, source) = sock.recvfrom(2048)
            sys.stdout.write(f"{address} {source} {int.from_bytes(data, 'big')}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1] == "send":
        own = sys.argv[4].split(",")
        send(sys.argv[2], int(sys.argv[3]), own, int(sys.argv[5]), float(sys.argv[6]), float(sys.argv[7]))
    else:
        receive(int(sys.argv[2]))
