"""What happens, in order, for whoever reads along."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_rest import Api, files, problem

from controller_app.api import events as served
from controller_app.api.access import Access
from controller_app.cli.events import Message, read
from controller_app.runtime.control import Runtime
from controller_app.runtime.events import Event, Events, Upload, uploading
from controller_app.settings import Settings

EXTRA = "version: 1\nnetworks: {extra: {subnet: 10.99.0.0/24}}\n"


def wall() -> float:
    return 1_800_000_000.0


# -- the ring ----------------------------------------------------------------------------------------------


def test_the_newest_are_kept_and_what_is_lost_is_counted() -> None:
    events = Events(wall, kept=3)
    assert (events.after(0), events.number) == (([], 0), 0)
    for number in range(5):
        events.add("link.up", link=str(number))
    found, lost = events.after(0)
    assert ([event.number for event in found], lost) == ([3, 4, 5], 2)
    assert found[0] == Event(3, wall(), "link.up", {"link": "2"})
    assert events.after(3) == (found[1:], 0)
    assert events.after(5) == ([], 0)
    assert Events(wall).start != Events(wall).start


def test_events_of_a_change_have_its_id() -> None:
    events = Events(wall)
    with uploading(Upload("ci", "key")) as upload:
        assert not upload.accepted
        events.add("change.accepted", who="ci", what="apply web")
        events.add("change.sent", revision=7)
        events.add("switch.lost", switch="s1")
    events.add("change.confirmed", revision=7)
    events.add("change.waiting", revision=8)
    assert [dict(event.data) for event in events.after(0)[0]] == [
        {"change": upload.change, "who": "ci", "what": "apply web", "key": "key"},
        {"change": upload.change, "revision": 7},
        {"switch": "s1"},
        {"change": upload.change, "revision": 7},
        {"revision": 8},
    ]
    assert (upload.accepted, upload.revision) == (True, 7)


def test_whoever_watches_is_woken_until_he_ends_it() -> None:
    events, woken = Events(wall), []
    stop = events.watch(lambda: woken.append(events.number))
    events.add("link.up")
    events.add("link.down")
    stop()
    stop()
    events.add("link.up")
    assert woken == [1, 2]


def test_many_threads_add() -> None:
    events = Events(wall)
    threads = [threading.Thread(target=lambda: [events.add("link.up") for _ in range(100)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.number for event in events.after(0)[0]] == list(range(1, 801))


# -- one reader --------------------------------------------------------------------------------------------


class Reader:
    """What a stream sends to somebody who takes as long as he likes."""

    def __init__(self) -> None:
        self.text = ""
        self.takes = asyncio.Event()
        self.takes.set()
        self.leaves = asyncio.Event()

    async def send(self, message: Any) -> None:
        await self.takes.wait()
        self.text += message.get("body", b"").decode()

    async def receive(self) -> Any:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    @property
    def messages(self) -> list[Message]:
        return [*read(self.text.splitlines())]


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def stream(events: Events, last: str | None = None, past: bool = True, follow: bool = True) -> Any:
    return served._Stream(events, last, past, follow, lambda: True)


def test_a_reader_comes_back_where_he_was() -> None:
    events = Events(wall)
    for number in range(3):
        events.add("link.up", link=str(number))

    def sent(last: str | None, past: bool = True) -> list[tuple[str, Any]]:
        reader = Reader()
        asyncio.run(stream(events, last, past, follow=False)({}, reader.receive, reader.send))
        return [(message.kind, message.data.get("link", message.data.get("lost"))) for message in reader.messages]

    every = [("link.up", "0"), ("link.up", "1"), ("link.up", "2")]
    assert sent(None) == every
    assert sent(None, past=False) == []
    assert sent(f"{events.start}.2") == every[2:]
    assert sent(f"{events.start}.3", past=False) == []
    assert sent(f"{events.start}.999") == []
    assert sent("other.2") == [("lost", None), *every]  # of an earlier start: they count from the beginning again
    for strange in (f"{events.start}.", f"{events.start}.x", f"{events.start}.²", f"{events.start}." + "9" * 5000):
        assert len(sent(strange)) in (0, 3)
    assert sent("") == [("lost", None), *every]


def test_a_slow_reader_loses_the_oldest_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow() -> Reader:
        events, reader = Events(wall, kept=10), Reader()
        events.add("link.up", link="first")
        reading = asyncio.ensure_future(stream(events)({}, reader.receive, reader.send))
        await until(lambda: "first" in reader.text)
        reader.takes.clear()
        for number in range(30):
            events.add("link.up", link=str(number))
        await asyncio.sleep(0.05)
        reader.takes.set()
        await until(lambda: '"29"' in reader.text)
        reader.leaves.set()
        await reading
        return reader

    reader = asyncio.run(slow())
    lost = [message.data["lost"] for message in reader.messages if message.kind == "lost"]
    got = [message.data["link"] for message in reader.messages if message.kind == "link.up"]
    assert len(lost) == 1
    assert got[-1] == "29"
    assert len(set(got)) == len(got) == 31 - lost[0]


def test_who_takes_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "SEND_TIME", 0.05)

    async def stuck() -> None:
        events, reader = Events(wall), Reader()
        reader.takes.clear()
        one, done = stream(events), []
        one.done = lambda: done.append(True)
        async with asyncio.timeout(5):
            await one({}, reader.receive, reader.send)
        assert done == [True]
        assert events._watchers == []

    asyncio.run(stuck())


def test_silence_is_filled_and_a_token_that_is_gone_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "HEARTBEAT", 0.02)

    async def quiet() -> Reader:
        reader, known = Reader(), [True]
        one = served._Stream(Events(wall), None, True, True, lambda: known[0])
        reading = asyncio.ensure_future(one({}, reader.receive, reader.send))
        await until(lambda: reader.text.count(": nothing new") >= 2)
        known[0] = False
        async with asyncio.timeout(5):
            await reading
        return reader

    assert asyncio.run(quiet()).messages == []


# -- over HTTP ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    runtime = Runtime(files(tmp_path_factory.mktemp("events")))
    runtime.start()
    yield Api(runtime)
    runtime.close()


@contextmanager
def following(api: Api, **headers: str) -> Iterator[Iterator[Message]]:
    with api.client.stream("GET", "/api/v1/events?past=false", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        yield read(answer.iter_lines())


def test_an_upload_is_followed_from_its_arrival(api: Api) -> None:
    with following(api) as messages:
        done = api.client.put("/api/v1/policies/extra", content=EXTRA, headers={"Idempotency-Key": "mine"})
        change, number = done.headers["chainsteer-change"], done.json()["revision"]
        own = (message for message in messages if message.data.get("change") == change)
        accepted, verified, sent, waiting = (next(own) for _ in range(4))
        assert accepted.kind == "change.accepted"
        said = [accepted.data[word] for word in ("who", "what", "key")]
        assert said == ["loopback", "apply extra", "mine"]
        assert (verified.kind, verified.data["classes"] > 0) == ("change.verified", True)
        assert (sent.kind, sent.data["revision"]) == ("change.sent", number)
        assert (waiting.kind, waiting.data["revision"]) == ("change.waiting", number)  # no switch is there
        assert waiting.data["waiting"][0].startswith("s1 (")
        refused = api.client.put("/api/v1/policies/extra", content="version: [")
        last = next(message for message in messages if message.kind == "change.refused")
        assert last.data["change"] == refused.headers["chainsteer-change"] != change
        assert "The policy cannot be used" in last.data["why"]
        dry = api.client.put("/api/v1/policies/extra?dry_run=true", content=EXTRA)
        assert "chainsteer-change" not in dry.headers


def test_files_that_are_read_again_are_told_too(api: Api) -> None:
    with following(api) as messages:
        api.runtime.reload()
        accepted = next(message for message in messages if message.kind == "change.accepted")
        verified = next(message for message in messages if message.kind == "change.verified")
    assert accepted.data["who"] == "signal"
    assert accepted.data["change"] == verified.data["change"]


def test_too_many_readers(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "MOST", 2)
    with following(api), following(api):
        problem(api.client.get("/api/v1/events?follow=false"), 503)
    deadline = time.monotonic() + 5
    while api.client.get("/api/v1/events?follow=false").status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert api.client.get("/api/v1/events?follow=false").status_code == 200


def test_a_reader_that_reads_nothing_costs_nobody_anything(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "SEND_TIME", 0.5)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(api.runtime.api_address)
        connection.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        before = time.monotonic()
        for _ in range(3000):  # more than any buffer between us takes
            api.runtime.events.add("link.up", link="x" * 20_000)
        assert time.monotonic() - before < 2
        assert api.client.get("/api/v1/hosts").status_code == 200
        deadline = time.monotonic() + 10
        while api.runtime.events._watchers and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not api.runtime.events._watchers


def test_the_controller_ends_without_waiting_for_readers(tmp_path: Path) -> None:
    runtime = Runtime(files(tmp_path))
    runtime.start()
    with following(Api(runtime)) as messages:
        before = time.monotonic()
        runtime.close()
        assert time.monotonic() - before < 1.5
        assert [*messages] == []


def test_a_reader_whose_token_is_gone_reads_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "HEARTBEAT", 0.05)
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text("a: {token: a-token-to-read-with, scope: read}\n")
    tokens.chmod(0o600)
    settings: Settings = replace(files(tmp_path), api_tokens=str(tokens))
    runtime = Runtime(settings)
    runtime.start()
    try:
        host, port = runtime.api_address
        headers = {"Authorization": "Bearer a-token-to-read-with"}
        with httpx.stream("GET", f"http://{host}:{port}/api/v1/events", headers=headers, trust_env=False) as answer:
            tokens.write_text("b: {token: another-token-to-read-with, scope: read}\n")
            runtime.reload()
            assert answer.read() is not None  # it ends
    finally:
        runtime.close()
    assert not Access(None, str(tokens)).knows("a")


def test_data_is_one_line_whatever_is_in_it() -> None:
    text = served._written("change.refused", {"why": "a\nb\r\n\ndata: x\u2028"}, "1.1")
    assert [message.data for message in read(text.split("\n"))] == [{"why": "a\nb\r\n\ndata: x\u2028"}]
    assert json.loads(text.split("data: ", 1)[1])
