"""What comes and goes again and again is held down until it has been quiet.

The shape is that of route flap damping (RFC 2439, 4.2 and 4.4.2): each failure adds a penalty, which halves every
HALF_LIFE; above SUPPRESS the thing is held down, below REUSE it may come back. The numbers are for a network of one
house: a failure always counts at once, the first and second return do so too, and nothing is held down for longer than
LONGEST after its last failure.

    steady ── failure ──► penalized ── too much ──► held down
       ▲                      │                        │
       └──── all but gone ────┴──────── REUSE ◄────────┘

Pure: `step(record, event, now)`; `now` is a monotonic clock in seconds, never smaller than before.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from controller_app.discovery.ports import PortId

PENALTY = 1000.0  # of one failure
SUPPRESS, REUSE = 2000.0, 750.0
HALF_LIFE = 15.0  # seconds
LONGEST = 60.0  # seconds it is held down at most
CEILING = REUSE * 2 ** (LONGEST / HALF_LIFE)
FORGET = REUSE / 4
GONE = 3600.0  # seconds after which what went and never came back is forgotten
QUIET = 2.0  # seconds that something held down must last before it is used all the same, where nothing else is left

Event = Literal["down", "up", "tick"]
Key = tuple[PortId, PortId] | int  # a link by its ends, a switch by its datapath id


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of one thing. `at`: when `penalty` was that much; `changed`: when it last came or went."""

    penalty: float = 0.0
    at: float = 0.0
    up: bool = True
    changed: float = float("-inf")
    held: bool = False

    def penalty_at(self, now: float) -> float:
        """The penalty as it has decayed."""
        return self.penalty * math.pow(2.0, -max(0.0, now - self.at) / HALF_LIFE)

    @property
    def released(self) -> float:
        """When it may come back, if it is held down and nothing happens."""
        return self.at + HALF_LIFE * math.log2(max(self.penalty, REUSE) / REUSE)

    def back_in(self, now: float) -> float | None:
        """Seconds until it may come back, if it stays as it is; None when it is not held down."""
        return max(0.0, self.released - now) if self.held else None

    def steady(self, now: float) -> bool:
        """Is there nothing to remember?"""
        return self.up and not self.held and self.penalty_at(now) < FORGET


def step(record: Record, event: Event, now: float) -> Record:
    """What follows from an event. Going while it is away, and coming while it is there, are no events."""
    penalty = record.penalty_at(now)
    up, changed = record.up, record.changed
    if event == "down" and up:
        penalty, up, changed = min(CEILING, penalty + PENALTY), False, now
    elif event == "up" and not up:
        up, changed = True, now
    held = penalty > SUPPRESS or (record.held and penalty > REUSE)
    if event == "tick" and held == record.held:
        return record
    return Record(penalty, now, up, changed, held)


class Damping:
    """The records of everything that failed lately. `revision` grows when something else may be used than before."""

    def __init__(self) -> None:
        self._records: dict[Key, Record] = {}
        self._ripe: set[Key] = set()
        self.failures: Counter[Key] = Counter()  # since the start
        self.revision = 0

    def saw(self, key: Key, up: bool, now: float) -> None:
        """Something is there, or is not. To be told of every change, in order."""
        before = self._records.get(key)
        if before is None:
            if up:
                return
            before = Record(at=now)
        after = self._records[key] = step(before, "up" if up else "down", now)
        if before.up and not after.up:
            self.failures[key] += 1
        if after.changed == now:
            self._ripe.discard(key)
        self.revision += before.held != after.held

    def tick(self, now: float) -> None:
        """Time went by."""
        for key, record in list(self._records.items()):
            after = self._records[key] = step(record, "tick", now)
            ripe = after.held and after.up and now - after.changed >= QUIET
            if after.held != record.held or ripe != (key in self._ripe):
                self.revision += 1
            (self._ripe.add if ripe else self._ripe.discard)(key)
            if after.steady(now) or (not after.held and now - after.changed > GONE):
                del self._records[key]

    def held(self) -> tuple[Key, ...]:
        """What is held down; first what may come back first."""
        held = [(record.released, str(key), key) for key, record in self._records.items() if record.held]
        return tuple(key for _, _, key in sorted(held, key=lambda item: item[:2]))

    def ripe(self, key: Key) -> bool:
        """Has something held down lasted long enough to be used where nothing else is left?"""
        return key in self._ripe

    def back_in(self, key: Key, now: float) -> float | None:
        """Seconds until it may come back; None when it is not held down."""
        record = self._records.get(key)
        return None if record is None else record.back_in(now)
