"""Who connects and does not ask, asks slowly or too much at once, and who stays when that is so, over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from controller_app.api import connections
from controller_app.api.connections import Limits

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
PUT = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
SLACK = 5.0  # seconds that a busy machine may be late


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """`/` is answered at once, whatever the body; `/slow` after a second, piece by piece."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    if scope["path"] == "/slow":
        await send({"type": "http.response.body", "body": b"o", "more_body": True})
        await asyncio.sleep(1.0)
        await send({"type": "http.response.body", "body": b"k"})
    else:
        await send({"type": "http.response.body", "body": b"ok"})


@contextmanager
def served(limits: Limits) -> Iterator[tuple[str, int]]:
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        application, http=connections.limited(limits), ws="none", lifespan="off", log_config=None, access_log=False,
        timeout_keep_alive=limits.idle,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[:2]
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


def connect(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=20)


def answer(connection: socket.socket) -> bytes:
    """What comes until two bytes of body are there."""
    found = b""
    while not found.endswith(b"\r\n\r\nok"):
        piece = connection.recv(4096)
        assert piece, found
        found += piece
    return found


def rest(connection: socket.socket) -> tuple[bytes, float]:
    """All that comes until the other side closes, and the seconds until it did."""
    started, found = time.monotonic(), b""
    try:
        while piece := connection.recv(4096):
            found += piece
    except ConnectionError:
        pass
    return found, time.monotonic() - started


def problem(found: bytes) -> dict[str, Any]:
    head, _, body = found.partition(b"\r\n\r\n")
    assert b"\r\nContent-Type: application/problem+json\r\n" in head
    document: dict[str, Any] = json.loads(body)
    assert head.startswith(f"HTTP/1.1 {document['status']} {document['title']}".encode())
    return document


def test_a_head_that_trickles_in_is_refused_in_time() -> None:
    with served(Limits(head=0.5)) as address, connect(address) as slow:
        started = time.monotonic()
        slow.sendall(b"GET / HTTP/1.1\r\n")
        found = b""
        slow.settimeout(0.1)
        while time.monotonic() < started + 20:  # a byte now and then does not help
            try:
                found = slow.recv(4096)
                break
            except TimeoutError:
                slow.sendall(b"X")
        assert time.monotonic() - started >= 0.5
        assert problem(found)["status"] == 408
        assert "within 0.5 s: send it again" in problem(found)["detail"]
        slow.settimeout(20)
        assert rest(slow)[0] == b""


def test_who_asks_nothing_is_not_kept() -> None:
    with served(Limits(head=0.5)) as address, connect(address) as silent:
        found, seconds = rest(silent)
        assert found == b""
        assert 0.3 < seconds < 0.5 + SLACK


def test_between_two_requests_there_may_be_some_time_and_not_more() -> None:
    with served(Limits(head=0.5, idle=2)) as address, connect(address) as one:
        for _ in range(2):
            one.sendall(GET)
            answer(one)
            time.sleep(1.0)  # longer than a head may take
        one.sendall(GET)
        answer(one)
        found, seconds = rest(one)
        assert found == b""
        assert 1.5 < seconds < 2 + SLACK


def test_a_second_head_has_to_arrive_in_time_too() -> None:
    with served(Limits(head=0.5, idle=60)) as address, connect(address) as one:
        one.sendall(GET)
        answer(one)
        one.sendall(GET[:20])
        found, seconds = rest(one)
        assert problem(found)["status"] == 408
        assert seconds < 0.5 + SLACK


def test_a_body_nobody_waits_for_any_more_keeps_nothing_open() -> None:
    with served(Limits(head=0.5, idle=60)) as address, connect(address) as one:
        one.sendall(PUT)
        answer(one)
        started = time.monotonic()
        one.settimeout(0.1)
        for _ in range(100):
            try:
                if one.recv(4096) == b"":
                    break
            except TimeoutError:
                one.sendall(b"x")  # in time, each
            except ConnectionError:
                break
        assert 0.3 < time.monotonic() - started < 0.5 + SLACK


def test_an_answer_under_way_may_take_its_time() -> None:
    with served(Limits(head=0.3, idle=1)) as address, connect(address) as one:
        one.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer(one).endswith(b"ok")
        one.sendall(GET)  # it is still there
        answer(one)


def test_two_requests_at_once_are_answered_one_after_the_other() -> None:
    with served(Limits(head=0.3, idle=60)) as address, connect(address) as one:
        one.sendall(GET.replace(b"/ ", b"/slow ") + GET)
        found = b""
        while found.count(b"\r\n\r\nok") < 2:
            piece = one.recv(4096)
            assert piece, found
            found += piece


@pytest.mark.parametrize("limits", [Limits(connections=3), Limits(of_one=3)])
def test_there_may_be_so_many_connections_and_then_others_again(limits: Limits) -> None:
    with served(limits) as address:
        open_ones = [connect(address) for _ in range(3)]
        for one in open_ones:
            one.sendall(GET)
            answer(one)
        with connect(address) as late:
            found = problem(rest(late)[0])
        assert found["status"] == 503
        assert ("of your address" in found["detail"]) == (limits.of_one == 3)
        for one in open_ones:
            one.sendall(GET)  # those that are there go on
            answer(one)
        open_ones.pop().close()
        deadline = time.monotonic() + SLACK
        while time.monotonic() < deadline:
            with connect(address) as again:
                again.sendall(GET)
                if again.recv(12) == b"HTTP/1.1 200":
                    break
        else:
            raise AssertionError("nobody was let in again")
        for one in open_ones:
            one.close()
