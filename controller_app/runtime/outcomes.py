"""What became of the newest revision: which switches hold it, and why the others do not yet."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from controller_app.model.flow import SwitchState
from controller_app.runtime.computed import Computed
from controller_app.runtime.conversation import Conversation
from controller_app.store.interface import Outcome, Revision, Store, StoreError

LOG = logging.getLogger(__name__)

INTERVAL = 0.1  # seconds between two looks
RETRY = 1.0  # seconds until what could not be kept is tried to be kept again
AWAY, SLOW, LATER = "not connected", "no answer yet", "waits for other switches"
DRAINS = "keeps what packets may still be on for a moment"
_UNTOLD = {"held-back": LATER, "draining": DRAINS}  # by phase, what is no fault


class Outcomes:
    """Follows the newest revision until every switch of the network held it, and keeps what became of it.

    A switch that is away counts as holding what it held when it went. `listeners` hear of the revision whenever
    something became of it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.listeners: list[Callable[[Revision], object]] = []
        newest = store.revisions(1)
        self.newest: Revision | None = newest[0] if newest else None  # in force; None before the first
        self._held: dict[str, SwitchState | None] = {}  # by switch, as it was when it went away
        self._equal: tuple[Computed, dict[str, bool]] | None = None
        self._kept = True
        self._due = 0.0

    def saved(self, number: int, wall: float) -> None:
        """The newest revision is this one. It is in force, also where it cannot be read just now."""
        if self.newest is None or number != self.newest.number:
            found = None
            with suppress(StoreError):
                found = self._store.revision(number)
            before, self.newest = self.newest, found or Revision(number, wall, "")
            self._due, self._kept = 0.0, True
            if before is not None and before.state != "confirmed":
                self._tell(replace(before, state="superseded"))

    def current(self, revision: Revision) -> Revision:
        """A revision as it was kept, with what is known of it by now."""
        return self.newest if self.newest is not None and revision.number == self.newest.number else revision

    def lost(self, switch: str, conversation: Conversation) -> None:
        """A switch goes away. To be said while it is still known what it holds."""
        self._held[switch] = conversation.sync.wanted if conversation.sync.in_sync else None
        self._equal = None

    def tick(self, now: float, computed: Computed, conversations: Mapping[int, Conversation]) -> None:
        """Look whether something became of it, if it is time to."""
        newest = self.newest
        if newest is None or now < self._due or (newest.state == "confirmed" and self._kept):
            return
        self._due = now + INTERVAL
        if newest.state != "confirmed":
            missing = [*self._missing(computed, conversations)]
            failed = any(reason not in (AWAY, SLOW, LATER, DRAINS) for _, reason in missing)
            state: Outcome = "failed" if failed else "waiting" if missing else "confirmed"
            became = replace(newest, state=state, waiting=tuple(f"{name} ({reason})" for name, reason in missing))
            if became != newest:
                self.newest, self._kept = became, False
                self._tell(became)
        if not self._kept:
            self._keep(now)

    def _missing(
        self, computed: Computed, conversations: Mapping[int, Conversation]
    ) -> Iterator[tuple[str, str]]:
        """The switches that do not hold what they are to hold, and why."""
        for name, wanted in computed.state.items():
            switch = computed.topology.switches.get(name)
            conversation = None if switch is None else conversations.get(switch.dpid)
            if conversation is None or not conversation.connected:
                if not self._as_it_went(name, wanted, computed):
                    yield name, AWAY
            elif conversation.sync.wanted != wanted or not conversation.sync.in_sync:
                yield name, conversation.sync.problem or _UNTOLD.get(conversation.sync.phase, SLOW)

    def _as_it_went(self, name: str, wanted: SwitchState, computed: Computed) -> bool:
        """Whether a switch that is away holds what it is to hold. States are long: compared once."""
        if self._equal is None or self._equal[0] is not computed:
            self._equal = computed, {}
        known = self._equal[1]
        if name not in known:
            held = self._held.get(name)
            known[name] = held is not None and held == wanted
        return known[name]

    def _keep(self, now: float) -> None:
        assert self.newest is not None
        try:
            self._store.outcome(self.newest.number, self.newest.state, self.newest.waiting)
            self._kept = True
        except StoreError as error:
            LOG.debug("what became of revision %d is not kept: %s", self.newest.number, error)
            self._due = now + RETRY

    def _tell(self, revision: Revision) -> None:
        for listener in self.listeners:
            listener(revision)
