"""One change of many switches, stage by stage: what packets may be sent along is everywhere before anything sends them
there, and nothing goes away before nobody does.

A switch that does not answer holds the others up for a while only: what goes on without it may lose packets, and lets
none past its functions.
"""

from __future__ import annotations

from collections.abc import Iterable

from controller_app.reconcile.changes import Stage
from controller_app.runtime.conversation import Conversation

LONGEST_WAIT = 2.0  # seconds in a stage


class Rollout:
    """Which stage the change is in. With nothing to follow there is none: every switch gets all at once."""

    def __init__(self) -> None:
        self.stage = Stage.ALL
        self._until = 0.0

    def begin(self, now: float) -> None:
        """Something else is wanted of the switches."""
        self.stage, self._until = Stage.PATHS, now + LONGEST_WAIT

    def advance(self, conversations: Iterable[Conversation], now: float) -> bool:
        """Whether it is in another stage now, since all have done this one or had the time to."""
        if self.stage is Stage.ALL:
            return False
        if now < self._until and not all(to.sync.waits for to in conversations if to.connected):
            return False
        self.stage, self._until = Stage(self.stage + 1), now + LONGEST_WAIT
        return True
