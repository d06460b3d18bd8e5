"""chainctl and a controller whose connection breaks, a policy that somebody else changed, and how events are shown."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_chainctl import Capture, Result

from controller_app.cli import events
from controller_app.cli.client import Client
from controller_app.cli.common import Failure

POLICY = "version: 1\nnetworks: {extra: {subnet: 10.99.0.0/24}}\n"
DONE = {
    "changes": {},
    "affected": {"chains": [], "services": []},
    "warnings": [],
    "verification": None,
    "revision": 1,
    "confirmed": True,
    "waiting": [],
    "connected": 0,
}


def answer(status: str, document: object, *headers: str) -> bytes:
    body = json.dumps(document).encode()
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers, "", ""]
    return "\r\n".join(head).encode() + body


class Broken:
    """A controller that answers each connection's request with what it is told to, b"" being nothing at all."""

    def __init__(self, *answers: bytes) -> None:
        self.requests: list[bytes] = []
        self._answers = [*answers]
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while self._answers:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                while self._answers and (data := self._request(connection)):
                    self.requests.append(data)
                    said = self._answers.pop(0)
                    if not said:
                        break
                    connection.sendall(said)

    @staticmethod
    def _request(connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return b""
            data += piece
        length = re.search(rb"content-length: (\d+)", data, re.IGNORECASE)
        missing = int(length[1]) - len(data.partition(b"\r\n\r\n")[2]) if length else 0
        while missing > 0:
            piece = connection.recv(missing)
            data, missing = data + piece, missing - len(piece)
        return data

    def header(self, number: int, name: str) -> str | None:
        found = re.search(rb"\r\n" + name.encode() + rb": ([^\r]*)", self.requests[number], re.IGNORECASE)
        return found[1].decode() if found else None

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def broken() -> Iterator[Callable[..., Broken]]:
    made: list[Broken] = []

    def make(*answers: bytes) -> Broken:
        made.append(Broken(*answers))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_broken_connection_is_tried_once_more_with_the_same_key(broken: Callable[..., Broken]) -> None:
    still = answer("409 Conflict", {"title": "Still being worked on", "detail": "wait"}, "Retry-After: 0")
    controller = broken(b"", still, answer("200 OK", DONE))
    assert Client(controller.url, None).put("/policies/web", POLICY) == DONE
    assert len({controller.header(number, "idempotency-key") for number in range(3)}) == 1
    assert re.fullmatch(r'"[0-9a-f-]{36}"', controller.header(0, "idempotency-key") or "")
    assert controller.requests[0] == controller.requests[1] == controller.requests[2]


def test_each_call_has_its_own_key_and_what_is_only_read_has_none(broken: Callable[..., Broken]) -> None:
    controller = broken(*[answer("200 OK", DONE)] * 3)
    client = Client(controller.url, None)
    client.delete("/policies/web")
    client.delete("/policies/web")
    client.get("/policies")
    assert controller.header(0, "idempotency-key") != controller.header(1, "idempotency-key")
    assert controller.header(2, "idempotency-key") is None


def test_it_is_not_tried_for_ever(broken: Callable[..., Broken]) -> None:
    controller = broken(b"", b"", answer("200 OK", DONE))
    with pytest.raises(Failure, match="cannot be reached"):
        Client(controller.url, None).put("/policies/web", POLICY)
    assert len(controller.requests) == 2
    other = answer("409 Conflict", {"title": "In use", "detail": "by others"})
    controller = broken(b"", other, answer("200 OK", DONE))
    with pytest.raises(Failure, match="In use: by others"):
        Client(controller.url, None).delete("/policies/web")


@pytest.mark.parametrize(("given", "sent"), [("abc", '"abc"'), ('"abc"', '"abc"'), ("*", "*")])
def test_apply_only_what_is_still_the_same(
    broken: Callable[..., Broken], tmp_path: Path, capsys: Capture, given: str, sent: str
) -> None:
    (tmp_path / "web.yaml").write_text(POLICY)
    said = "policy 'web' has the ETag \"d\", changed last by ci"
    document = {"title": "The policy is not what you took it for", "detail": "for programs", "command": said}
    controller = broken(answer("412 Precondition Failed", document))
    done = Result(capsys, "--controller", controller.url, "apply", str(tmp_path / "web.yaml"), "--if-match", given)
    assert controller.header(0, "if-match") == sent
    assert (done.code, done.err) == (1, f"{document['title']}: {said}\n")
    (tmp_path / "more.yaml").write_text("version: 1\n")
    files = [str(tmp_path / name) for name in ("web.yaml", "more.yaml")]
    assert "give one file" in Result(capsys, "apply", *files, "--if-match", given).err


EVENTS = """\
retry: 2000

id: a.1
event: change.sent
data: {"at": "2026-11-21T20:31:05.123Z", "kind": "change.sent", "revision": 7, "switches": ["s1", "s2"]}

: nothing new

event: lost
data: {"lost": 3, "why": "they came too long ago"}

id: a.5
event: link.up
data: {"at": "2026-11-21T20:31:06.123Z", "kind": "link.up", "link": "s1:1 - s2:1"}

"""


def stream(text: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {len(text.encode())}\r\n\r\n"
    return head.encode() + text.encode()


def test_events_for_people_and_for_programs(broken: Callable[..., Broken], capsys: Capture) -> None:
    controller = broken(stream(EVENTS), stream(EVENTS))
    done = Result(capsys, "--controller", controller.url, "events")
    assert done.out == (
        "2026-11-21T20:31:05.123Z  change.sent        revision: 7  switches: s1, s2\n"
        "2026-11-21T20:31:06.123Z  link.up            link: s1:1 - s2:1\n"
    )
    assert done.err == "3 events are lost: they came too long ago\n"
    assert b"GET /api/v1/events?follow=false " in controller.requests[0]
    done = Result(capsys, "--controller", controller.url, "events", "-o", "json")
    assert [json.loads(line)["kind"] for line in done.out.splitlines()] == ["change.sent", "link.up"]


def test_a_follower_comes_back_where_it_was(
    broken: Callable[..., Broken], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PAUSE", 0)
    refused = answer("503 Service Unavailable", {"title": "Too many readers", "detail": "64 read along already"})
    controller = broken(stream(EVENTS), b"", refused)
    done = Result(capsys, "--controller", controller.url, "events", "--follow")
    assert (done.code, done.err.splitlines()[-1]) == (1, "Too many readers: 64 read along already")
    assert [controller.header(number, "last-event-id") for number in range(3)] == [None, "a.5", "a.5"]


def test_what_is_no_stream_of_events(broken: Callable[..., Broken], capsys: Capture) -> None:
    for said in (stream("data: hello\n\n"), stream("data: [\n\n")):
        done = Result(capsys, "--controller", broken(said).url, "events")
        assert (done.code, done.err) == (1, "the events are not JSON: is this a Chainsteer controller?\n")
    done = Result(capsys, "--controller", broken(b"").url, "events")
    assert done.code == 1
    assert "broke" in done.err
    assert "cannot be reached" in Result(capsys, "--controller", "http://127.0.0.1:1", "events", "--follow").err
