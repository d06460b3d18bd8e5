"""Opens connections as fast as it can, so many at a time, waits for each to be answered and closed, and counts.

Usage: open_rate.py SECONDS PARALLEL PORT ADDRESS...    Addresses in turn. Prints {"opened", "failed", "seconds",
"answers": {answer: number}} as JSON.
"""

import errno
import json
import select
import socket
import sys
import time
from collections import Counter
from itertools import cycle


def main(seconds: float, parallel: int, port: int, addresses: list[str]) -> None:
    poll, to = select.epoll(), cycle(addresses)
    under_way: dict[int, socket.socket] = {}
    failed, answers = 0, Counter[str]()
    began = time.monotonic()
    until = began + seconds
    while True:
        now = time.monotonic()
        while len(under_way) < parallel and now < until:
            one = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            problem = one.connect_ex((next(to), port))
            if problem not in (0, errno.EINPROGRESS):
                raise OSError(problem, "connect")
            poll.register(one, select.EPOLLIN)
            under_way[one.fileno()] = one
        if now >= until:
            break  # what is under way does not count
        for number, _ in poll.poll(0.5, parallel):
            one = under_way.pop(number)
            try:
                answer = one.recv(64)
            except OSError:
                answer = b""
            one.close()
            if answer:
                answers[answer.decode()] += 1
            else:
                failed += 1
    spent = time.monotonic() - began
    print(json.dumps({"opened": answers.total(), "failed": failed, "seconds": spent, "answers": answers}))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
