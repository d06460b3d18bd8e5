"""What happened, as a stream that anybody may read along: uploads on their way to the switches, switches, links,
providers. A ring of the newest; who reads too slowly loses the oldest, and is told so. Nobody who adds one waits.

Kinds, with what their data says:

    change.accepted    change, who, what, key: the upload was read; `key` is its Idempotency-Key, if it has one
    change.verified    change, classes: it holds for every class of packets
    change.sent        change, revision, switches: it is wanted from now on, these switches are being told; where
                       nothing is different, the revision is the one before
    change.confirmed   change, revision: every connected switch has acknowledged it
    change.waiting     change, revision, waiting: these switches have not yet, and why
    change.superseded  change, revision: another change came before every switch had acknowledged it
    change.failed      change, revision, waiting: these switches refused it, and why
    change.refused     change, why: nothing was changed
    switch.connected, switch.lost, switch.synced                  switch (and dpid)
    link.up, link.down                                            link, state, why
    provider.serving, provider.unready, instance.working, instance.out   name, text
    foreign.flow                                                  switch, flows: rules of others' that it holds now
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

KEPT = 1000  # events: some hundred changes of a network of ten switches
_ITS_OWN = frozenset(("change.accepted", "change.verified", "change.sent"))  # of the request that is worked on
MAX_CHANGES = 1000  # whose ids are remembered by their revision's number


@dataclass(frozen=True, slots=True)
class Event:
    """`number` counts from 1 at each start of the controller; `at` in seconds since 1970."""

    number: int
    at: float
    kind: str
    data: Mapping[str, Any]


@dataclass(slots=True)
class Upload:
    """One request for a change, from its arrival to its answer. `key`: what its sender calls it (Idempotency-Key).
    `change`: its id in events, once `accepted`. `revision`: the number of what it became. `why` it was refused."""

    who: str
    key: str | None = None
    change: str = field(default_factory=lambda: secrets.token_hex(8))
    accepted: bool = False
    revision: int | None = None
    why: str | None = None


_UPLOAD: ContextVar[Upload | None] = ContextVar("upload", default=None)


def upload() -> Upload | None:
    """The request that is being worked on in this thread, if any."""
    return _UPLOAD.get()


@contextmanager
def uploading(one: Upload) -> Iterator[Upload]:
    """Whatever is done inside, also in threads that are handed this context, is done for this request."""
    token = _UPLOAD.set(one)
    try:
        yield one
    finally:
        _UPLOAD.reset(token)


class Events:
    """The newest events. Any thread may add and read. `wall` gives seconds since 1970."""

    def __init__(self, wall: Callable[[], float], kept: int = KEPT) -> None:
        self.start = f"{int(wall()):x}{secrets.token_hex(2)}"  # tells the numbers of one start from those of another
        self._wall = wall
        self._ring: deque[Event] = deque(maxlen=kept)
        self._number = 0
        self._changes: OrderedDict[int, str] = OrderedDict()  # a revision's number -> the change it was
        self._lock = threading.Lock()
        self._watchers: list[Callable[[], None]] = []
        self.ended = False  # nothing comes any more

    @property
    def number(self) -> int:
        """Of the newest event; 0 when there was none."""
        return self._number

    def add(self, kind: str, **data: Any) -> Event:
        """Something happened. Which change it is of is known from the number of its revision, or from the request that
        is being worked on."""
        working = upload()
        revision = data.get("revision")
        if kind == "change.accepted" and working is not None and working.key is not None:
            data = {**data, "key": working.key}
        with self._lock:
            if kind.startswith("change.") and "change" not in data:
                if kind in _ITS_OWN:
                    change = None if working is None else working.change
                else:  # also where another change is being worked on
                    change = None if revision is None else self._changes.get(revision)
                if change is not None:
                    data = {"change": change, **data}
            if revision is not None and "change" in data:
                self._changes.setdefault(revision, data["change"])  # who asks for the same again made no other
                if len(self._changes) > MAX_CHANGES:
                    self._changes.popitem(last=False)
            self._number += 1
            event = Event(self._number, self._wall(), kind, data)
            self._ring.append(event)
            watchers = tuple(self._watchers)
        if working is not None and data.get("change") == working.change:
            working.accepted = True
            working.revision = revision or working.revision
        for wake in watchers:
            wake()
        return event

    def after(self, number: int) -> tuple[list[Event], int]:
        """The events since one, oldest first, and how many between them are lost because they came too long ago."""
        with self._lock:
            found = [event for event in self._ring if event.number > number]
            first = found[0].number if found else self._number + 1
        return found, max(0, first - number - 1)

    def end(self) -> None:
        """Nothing comes any more: whoever reads along may go."""
        self.ended = True
        for wake in tuple(self._watchers):
            wake()

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Let `wake` be called after each new event, from whatever thread adds it: it must not wait or raise. Returns
        what ends that."""
        with self._lock:
            self._watchers.append(wake)

        def stop() -> None:
            with self._lock:
                if wake in self._watchers:
                    self._watchers.remove(wake)

        return stop
