"""What happens, as server-sent events (WHATWG HTML, section 9.2): GET /api/v1/events.

Each has an `id`, by which a reader that comes back (Last-Event-ID) goes on where it was. A reader holds nothing here
but its place: one that reads slowly misses the oldest events, and is told how many (`event: lost`); one that reads
nothing at all is let go.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import FastAPI, Header, Query, Request, Response
from starlette.types import Receive, Scope, Send

from controller_app.api.access import Access
from controller_app.api.refused import Refused
from controller_app.runtime.control import Runtime
from controller_app.runtime.events import Event, Events

MOST = 64  # readers at a time
HEARTBEAT = 15.0  # seconds without an event until a comment is sent: proxies end connections silent for 30 to 60
SEND_TIME = 30.0  # seconds in which a reader has to take something of what is on its way
AT_ONCE = 100  # events that are sent in one piece
BACK_AFTER = 2000  # milliseconds until a reader that lost its connection comes back

_ONE = {
    "type": "object",
    "description": "One event; `data` is a JSON object with `at`, `kind` (as `event`), and more by kind.",
    "required": ["data"],
    "properties": {word: {"type": "string"} for word in ("id", "event", "data")},
}


def install(app: FastAPI, runtime: Runtime, access: Access) -> None:
    """Add the route."""
    readers: set[_Stream] = set()

    @app.get("/api/v1/events", status_code=200, response_class=_Stream, responses={200: {
        "description": "Events, until the reader or the controller ends.",
        "content": {"text/event-stream": {"schema": _ONE}},
    }})  # fmt: skip
    async def events(
        request: Request,
        past: Annotated[bool, Query(description="Begin with the events that are kept; else with the next.")] = True,
        follow: Annotated[bool, Query(description="Go on as they come; else end after those there are.")] = True,
        last: Annotated[str | None, Header(alias="Last-Event-ID", description="The id of the last one read.")] = None,
    ) -> Response:
        """What happens: changes on their way until every switch confirmed them, switches, links, providers. As
        server-sent events; the last 1,000 are kept."""
        if len(readers) >= MOST:
            raise Refused(503, "Too many readers", f"{MOST} read along already: try again later",
                          headers={"Retry-After": "10"})  # fmt: skip
        who = request.state.who
        stream = _Stream(runtime.events, last, past, follow, lambda: access.knows(who))
        readers.add(stream)
        stream.done = lambda: readers.discard(stream)
        return stream


class _Stream(Response):
    """One reader's events. `known`: may it still read?"""

    media_type = "text/event-stream"

    def __init__(self, events: Events, last: str | None, past: bool, follow: bool, known: Callable[[], bool]) -> None:
        super().__init__()
        del self.headers["content-length"]
        # The charset is UTF-8 by definition; nothing on the way may keep it, or collect it into bigger pieces.
        self.headers.update({"content-type": self.media_type, "cache-control": "no-store", "x-accel-buffering": "no"})
        self.done: Callable[[], None] = lambda: None
        self._events, self._follow, self._known = events, follow, known
        start, _, number = (last or "").partition(".")
        self._restarted = last is not None and start != events.start
        if last is not None and not self._restarted and number.isascii() and number.isdigit():
            self._place = min(int(number[:18]), events.number)
        else:
            self._place = 0 if past or last is not None else events.number

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reading = asyncio.ensure_future(self._read(send))
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait((reading, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.done()
            for task in (reading, gone):
                task.cancel()
            with suppress(asyncio.CancelledError, TimeoutError, OSError):
                await reading

    async def _read(self, send: Send) -> None:
        await _soon(send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}))
        async for piece in self._pieces():
            await _soon(send({"type": "http.response.body", "body": piece.encode(), "more_body": True}))
        await _soon(send({"type": "http.response.body", "body": b"", "more_body": False}))

    async def _pieces(self) -> AsyncIterator[str]:
        """What is sent, as it comes."""
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(news.set)

        stop = self._events.watch(wake)
        try:
            yield f"retry: {BACK_AFTER}\n\n"
            if self._restarted:
                yield _written("lost", {"lost": None, "why": "the controller was started anew"})
            while not self._events.ended:
                news.clear()
                found, lost = self._events.after(self._place)
                if lost and self._place:
                    why = "they came too long ago, or faster than they were read"
                    yield _written("lost", {"lost": lost, "why": why})
                for at in range(0, len(found), AT_ONCE):
                    part = found[at : at + AT_ONCE]
                    self._place = part[-1].number
                    yield "".join(self._one(event) for event in part)
                    if self._events.after(self._place)[1]:
                        break  # those that follow are gone by now: it was slow
                if not self._follow and self._place >= self._events.number:
                    return
                if not found:
                    try:
                        await asyncio.wait_for(news.wait(), HEARTBEAT)
                    except TimeoutError:
                        yield ": nothing new\n\n"
                if not self._known():
                    return  # its token does not count any more
        finally:
            stop()

    def _one(self, event: Event) -> str:
        return _written(event.kind, to_json(event), f"{self._events.start}.{event.number}")


def to_json(event: Event) -> dict[str, Any]:
    """An event as a document."""
    at = datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"at": at, "kind": event.kind, **event.data}


def _written(kind: str, data: dict[str, Any], name: str | None = None) -> str:
    """JSON has no line feeds of its own, so each is one line."""
    head = "" if name is None else f"id: {name}\n"
    return f"{head}event: {kind}\ndata: {json.dumps(data)}\n\n"


async def _soon(sending: Awaitable[None]) -> None:
    """Wait for a reader to take what it is sent. TimeoutError where it does not."""
    async with asyncio.timeout(SEND_TIME):
        await sending


async def _gone(receive: Receive) -> None:
    """Returns when the reader is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
