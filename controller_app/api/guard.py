"""What every request under /api/ passes before any path sees it, and what is done with its answer: who may, how often,
how much; one that came before is answered again; what changes something is written down."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from starlette.datastructures import Headers, MutableHeaders

from controller_app.api import idempotency, limits, problems
from controller_app.api.access import Access, Asked, check_scope
from controller_app.api.audit import Audit
from controller_app.api.audit import Request as Audited
from controller_app.api.refused import Refused
from controller_app.runtime.control import Runtime
from controller_app.runtime.events import Upload, uploading

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

KEY = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
CHANGE = "Chainsteer-Change"
LONGEST_WHY = 1000  # characters of what an event says of a refusal; the answer says all of it
_REFUSED = frozenset((409, 412, 422, 500, 503))  # of a change that got as far as to be looked at
_BODILESS = ("GET", "HEAD", "OPTIONS")
_KEYED = ("PUT", "POST", "DELETE")


class Guard:
    """ASGI middleware. `clock` is monotonic, in seconds."""

    def __init__(
        self, app: App, runtime: Runtime, access: Access, audit: Audit, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app, self._runtime, self._access, self._audit, self._clock = app, runtime, access, audit, clock
        self._rates = limits.Rates()
        self._bodies = limits.Bodies()
        self._memory = idempotency.Memory()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or not scope["path"].startswith("/api/"):
            return await self._app(scope, receive, send)
        asked = _asked(scope)
        host, port = scope.get("client") or ("?", 0)
        audited = Audited(asked.method, asked.path, asked.query, f"{host}:{port}", changes=not asked.looks)
        sent = _Sent(send, audited)
        try:
            try:
                await self._admitted(scope, receive, sent, asked, audited)
            except Refused as error:
                await problems.response(error)(scope, receive, sent)
        except BaseException:
            audited.status = audited.status or 500
            raise
        finally:
            self._audit.write(audited)

    async def _admitted(self, scope: Scope, receive: Receive, sent: _Sent, asked: Asked, audited: Audited) -> None:
        who = self._admit(asked, audited)
        scope.setdefault("state", {})["who"] = who
        headers = Headers(scope=scope)
        with self._bodies.reading() as body:
            if asked.method not in _BODILESS:
                if not await self._bodies.read(receive, body, headers.get("content-length")):
                    audited.status = 499  # nobody is there any more to be answered
                    return
                receive = _again(bytes(body), receive)
            key = headers.get(KEY) if asked.method in _KEYED else None
            if key is None:
                await self._do(scope, receive, sent, Upload(who))
            else:
                await self._once(scope, receive, sent, Upload(who, idempotency.read_key(key)), bytes(body))

    def _admit(self, asked: Asked, audited: Audited) -> str:
        """Whose request it is. Refused where it is nobody's who may, or where there were too many."""
        host, now = audited.source.rpartition(":")[0], self._clock()
        try:
            token = self._access.who(asked)
            who = audited.who = token.name
            check_scope(token, asked)
        except Refused:
            if wait := self._rates.wait((host, None), limits.STRANGERS, limits.STRANGERS_BURST, now):
                raise _too_often(wait, limits.STRANGERS, "requests that are refused") from None
            raise
        kind = ("look", limits.LOOKS, limits.LOOKS_BURST) if asked.method in _BODILESS else (
            "change", limits.CHANGES, limits.CHANGES_BURST)  # fmt: skip
        if wait := self._rates.wait((host, who, kind[0]), *kind[1:], now):
            raise _too_often(wait, kind[1], "requests that read" if kind[0] == "look" else "requests that change")
        return who

    async def _once(self, scope: Scope, receive: Receive, sent: _Sent, upload: Upload, body: bytes) -> None:
        """A request with a key: done, unless it was done before."""
        headers, key = Headers(scope=scope), upload.key or ""
        conditions = [headers.get(name, "") for name in ("If-Match", "If-None-Match")]
        query = scope["query_string"].decode("latin-1")
        same = idempotency.fingerprint(scope["method"], scope["path"], query, conditions, body)
        before = self._memory.begin(upload.who, key, same, self._clock())
        if before is not None:
            sent.audited.replayed = True
            replayed = (*before.headers, (REPLAYED.lower().encode(), b"true"))
            await sent({"type": "http.response.start", "status": before.status, "headers": [*replayed]})
            await sent({"type": "http.response.body", "body": before.body})
            return
        sent.keep = True
        try:
            await self._do(scope, receive, sent, upload)
        finally:
            self._memory.end(upload.who, key, sent.answer)

    async def _do(self, scope: Scope, receive: Receive, sent: _Sent, upload: Upload) -> None:
        sent.upload = upload
        with uploading(upload):
            try:
                await self._app(scope, receive, sent)
            finally:
                if sent.audited.changes and upload.why is not None and sent.audited.status in _REFUSED:
                    why = upload.why[:LONGEST_WHY]
                    self._runtime.events.add("change.refused", change=upload.change, who=upload.who, why=why)


class _Sent:
    """Sends on, and remembers what was sent. Nobody may be there to read it: what was asked for is done all the
    same."""

    def __init__(self, send: Send, audited: Audited) -> None:
        self._send = send
        self.audited = audited
        self.keep = False  # the whole answer
        self.upload: Upload | None = None
        self._headers: idempotency.Headers = ()
        self._body = bytearray()
        self._whole = False

    @property
    def answer(self) -> idempotency.Answer | None:
        """What was sent, if all of it was made and is kept."""
        return idempotency.Answer(self.audited.status, self._headers, bytes(self._body)) if self._whole else None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.audited.status = message["status"]
            upload = self.upload
            if upload is not None and (upload.accepted or (self.audited.changes and message["status"] in _REFUSED)):
                self.audited.change, self.audited.revision = upload.change, upload.revision
                MutableHeaders(scope=message)[CHANGE] = upload.change
            self._headers = tuple(message.get("headers", ()))
        elif self.keep:
            self._body += message.get("body", b"")
            self._whole = not message.get("more_body", False)
            with suppress(OSError):
                await self._send(message)
            return
        await self._send(message)


def _asked(scope: Scope) -> Asked:
    headers = Headers(scope=scope)
    return Asked(
        scope["method"],
        scope["path"],
        scope["query_string"].decode("latin-1"),
        headers.get("authorization", ""),
        headers.get("host", ""),
        headers.get("origin", ""),
        headers.get("sec-fetch-site", ""),
    )


def _again(body: bytes, receive: Receive) -> Receive:
    """Hands out a body that was read already; then whatever else comes."""
    done = False

    async def give() -> Message:
        nonlocal done
        if done:
            return await receive()
        done = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


def _too_often(wait: float, rate: float, what: str) -> Refused:
    seconds = math.ceil(wait)
    return Refused(
        429,
        "Too often",
        f"{what} are taken {rate:g} a second of one client: wait {seconds} s, or send several policies as one change",
        headers={"Retry-After": str(seconds)},
    )
