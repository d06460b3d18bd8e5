"""Connections of the REST listener, and when one is given up: a request's head that does not arrive, nobody who asks
anything any more, more connections than there may be.

Bodies have limits of their own (`limits.Bodies`), which count once somebody who may has asked for something. An answer
that is under way, of events too, has none here: it is what the client is there for.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_TEXT = (
    "HTTP/1.1 {status} {title}\r\nContent-Type: application/problem+json\r\nContent-Length: {length}\r\n"
    "Connection: close\r\n\r\n{body}"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds."""

    head: float = 10.0  # for a request's line and headers to arrive, from the first byte, or from connecting
    idle: int = 30  # between an answer and the next request; clients keep theirs 5 s (httpx), so they close first
    connections: int = 512  # at once: with the switches' some 500 below the 1,024 files a process usually may have open
    of_one: int = 128  # of these, of one address: one client does not keep all others out


class LimitedH11(H11Protocol):
    """uvicorn's protocol with limits; `limited` makes the class of a server."""

    limits = Limits()
    _late: asyncio.TimerHandle | None = None
    _counted = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody connected."""
        super().connection_made(transport)
        here = [other for other in self.connections if isinstance(other, LimitedH11)]
        address = self.client and self.client[0]
        of_one = sum(1 for other in here if (other.client and other.client[0]) == address)
        if len(here) > self.limits.connections or of_one > self.limits.of_one:
            whose = "of your address " if of_one > self.limits.of_one else ""
            self._refuse(503, "Busy", f"there are too many connections {whose}already: close some, or try again later")
            return
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Bytes came: of a head, or of the body of a request that is under way."""
        if self.transport.is_closing():
            return
        if not self._under_way:
            self._await_head()
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before or self._under_way:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """An answer is sent. What is left of its request does not count as the next one."""
        super().on_response_complete()
        if self._under_way:  # the next request was here already
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._stop_waiting()
        super().connection_lost(exc)

    @property
    def _under_way(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.limits.head, self._head_is_late)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _head_is_late(self) -> None:
        self._late = None
        if self.transport.is_closing() or self._under_way:
            return
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            limit = f"the line and headers of a request have to be here within {self.limits.head:g} s: send it again"
            self._refuse(408, "Too slow", limit)
        else:  # nothing was asked: nobody waits for an answer
            self._end()

    def _refuse(self, status: int, title: str, detail: str) -> None:
        body = f'{{"type": "about:blank", "title": "{title}", "status": {status}, "detail": "{detail}"}}'
        self.transport.write(_TEXT.format(status=status, title=title, length=len(body), body=body).encode())
        self._end()

    def _end(self) -> None:
        self._unset_keepalive_if_required()
        self.transport.close()


def limited(limits: Limits) -> type[Any]:
    """The protocol of a server with these limits."""
    return type("LimitedH11", (LimitedH11,), {"limits": limits})
