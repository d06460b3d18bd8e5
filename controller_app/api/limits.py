"""How much one client may ask, so that it leaves something for others: changes and questions a second, the size of a
request, and the time it takes to arrive."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from controller_app.api.refused import Refused
from controller_app.policy.source_text import MAX_BYTES

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

# A person's script changes some ten things a second, a scheduler that moves endpoints some more. A change costs the
# controller milliseconds at least: at 50 a second of one client others still get their turn.
CHANGES, CHANGES_BURST = 50.0, 100.0  # a second, and at once
# Questions are answered between two events of switches. A dashboard asks ten a second, a test that waits for something
# fifty; a thousand at once are a page of a big network that asks for each object by itself.
LOOKS, LOOKS_BURST = 200.0, 1000.0
# Nobody types this many wrong tokens. More are not even written down one by one. It does not keep anybody from guessing
# (who has a right one is let in all the same: others may come from his address): the length of a token does.
STRANGERS, STRANGERS_BURST = 5.0, 20.0
MAX_CLIENTS = 10_000  # whose buckets are remembered: 1 MB; the one asked for last is forgotten last
BODY_TIME = 30.0  # seconds for all of a body: 10 MB over 3 Mbit/s
MAX_HELD = 8 * MAX_BYTES  # bytes of bodies on their way in, of all requests together


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled: float


class Rates:
    """Token buckets by client. No clock: `now` is monotonic, in seconds."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def wait(self, client: Hashable, rate: float, burst: float, now: float) -> float:
        """Count a request; answers 0 where it may be done, otherwise the seconds until the next may. Of those that are
        refused none counts."""
        bucket = self._buckets.pop(client, None) or _Bucket(burst, now)
        self._buckets[client] = bucket
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        bucket.tokens = min(burst, bucket.tokens + max(0.0, now - bucket.filled) * rate)
        bucket.filled = now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / rate
        bucket.tokens -= 1
        return 0.0


class Bodies:
    """Reads whole bodies; all together hold a bounded number of bytes."""

    def __init__(self) -> None:
        self._held = 0

    @contextmanager
    def reading(self) -> Iterator[bytearray]:
        """What one request's body is read into; it counts until the request is done."""
        body = bytearray()
        try:
            yield body
        finally:
            self._held -= len(body)

    async def read(self, receive: Receive, body: bytearray, length: str | None) -> bool:
        """Read a body to its end; False where its sender went away. `length` is what Content-Length says. Refused: 413
        for too much, 408 where it takes too long, 503 where too much of others is under way."""
        if length is not None and length.isascii() and length.isdigit() and int(length[:18]) > MAX_BYTES:
            raise _too_large()
        try:
            async with asyncio.timeout(BODY_TIME):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return False
                    self._take(body, message.get("body", b""))
                    if not message.get("more_body", False):
                        return True
        except TimeoutError:
            raise Refused(
                408, "Too slow", f"the whole request has to be here within {BODY_TIME:g} s: send it again"
            ) from None

    def _take(self, body: bytearray, piece: bytes) -> None:
        if len(body) + len(piece) > MAX_BYTES:
            raise _too_large()
        if self._held + len(piece) > MAX_HELD:
            what = "too many large requests are under way: try again in a second"
            raise Refused(503, "Busy", what, headers={"Retry-After": "1"})
        body += piece
        self._held += len(piece)


def _too_large() -> Refused:
    return Refused(413, "Too large", f"a request has at most {MAX_BYTES} bytes")
