"""Idempotency-Key: a request that is sent again because its answer got lost is not done again, but answered again.

After draft-ietf-httpapi-idempotency-key-header-07: the key is a string of the client's choice, in quotation marks (RFC
8941; without them it is taken too); the same key with another request is refused (422), and while the first is being
worked on, too (409). Keys belong to who sent them. What is remembered is gone after 24 hours, after 1,000 more requests
with keys, or with the controller's end: a change is then made again, which for what is put or deleted makes no
difference.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import takewhile

from controller_app.api.refused import Refused

KEPT = 1000  # requests
KEPT_BYTES = 32_000_000  # of answers
KEPT_TIME = 24 * 3600.0  # seconds
RETRY = 1  # seconds until it is worth to ask again about one that is being worked on
# An answer of these says that nothing was done, or that it is not known what: the next attempt is a new one.
PASSING = frozenset((408, 413, 429))
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"\Z')  # sf-string, RFC 8941 section 3.3.3
_BARE = re.compile(r"[!#-+\--\[\]-~]{1,255}\Z")  # visible ASCII without ',', '"' and '\'

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as it was sent."""

    status: int
    headers: Headers
    body: bytes


@dataclass(slots=True)
class _Entry:
    fingerprint: bytes
    at: float
    answer: Answer | None = None
    size: int = field(default=0)


def read_key(header: str) -> str:
    """The key in a header's value. Refused (400) where it is none."""
    quoted, bare = _QUOTED.match(header.strip()), _BARE.match(header.strip())
    if quoted is not None:
        return re.sub(r"\\(.)", r"\1", quoted[1])
    if bare is not None:
        return bare[0]
    raise Refused(
        400,
        "Not a key",
        'Idempotency-Key: write "KEY", 1 to 255 visible ASCII characters in quotation marks, such as a UUID',
    )


def fingerprint(method: str, path: str, query: str, conditions: Iterable[str], body: bytes) -> bytes:
    """What tells whether two requests are the same. `conditions`: the headers that matter."""
    head = "\n".join((method, path, query, *conditions))
    return hashlib.sha256(hashlib.sha256(head.encode("utf-8", "surrogateescape")).digest() + body).digest()


class Memory:
    """The answers to requests with keys. Used by one thread; `now` is monotonic, in seconds."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()  # the oldest first
        self._bytes = 0

    def begin(self, who: str, key: str, request: bytes, now: float) -> Answer | None:
        """Begin with a request (its fingerprint), or answer what the same one got. Refused: 422 where the key belongs
        to another, 409 while the same one is being worked on."""
        self._forget_old(now)
        entry = self._entries.get((who, key))
        if entry is None:
            if len(self._entries) >= KEPT and not self._forget_one():
                raise Refused(503, "Busy", f"{KEPT} requests with keys are being worked on: try again")
            self._entries[who, key] = _Entry(request, now)
            return None
        if entry.fingerprint != request:
            raise Refused(
                422,
                "The key belongs to another request",
                f"Idempotency-Key {key!r} came with another request in the last 24 hours: choose a new key for each",
            )
        if entry.answer is None:
            raise Refused(
                409, "Still being worked on", f"the first request with the key {key!r} is not done yet: ask again",
                headers={"Retry-After": str(RETRY)},
            )  # fmt: skip
        return entry.answer

    def end(self, who: str, key: str, answer: Answer | None) -> None:
        """Keep the answer to a request. None, or one that says nothing of what was done: the key is free again."""
        entry = self._entries[who, key]
        if answer is None or answer.status >= 500 or answer.status in PASSING:
            del self._entries[who, key]
            return
        entry.answer = answer
        entry.size = len(answer.body) + sum(len(name) + len(value) for name, value in answer.headers)
        self._bytes += entry.size
        while self._bytes > KEPT_BYTES and self._forget_one():
            pass

    def _forget_old(self, now: float) -> None:
        """Those whose time is over. They were begun in this order; one that is being worked on is kept."""
        old = [*takewhile(lambda item: item[1].at < now - KEPT_TIME, self._entries.items())]
        for name, entry in old:
            if entry.answer is not None:
                self._forget(name)

    def _forget_one(self) -> bool:
        """Forget the oldest that is done; answers whether there was one."""
        done = next((name for name, entry in self._entries.items() if entry.answer is not None), None)
        if done is not None:
            self._forget(done)
        return done is not None

    def _forget(self, name: tuple[str, str]) -> None:
        self._bytes -= self._entries.pop(name).size
