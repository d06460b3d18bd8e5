"""The one way in which what is wanted changes, whoever wants it: plan, verify, keep as a revision, tell the switches.

Requests of the REST interface (so `chainctl` too) and files that are read again at SIGHUP go through `make`; what a
controller starts with is checked and verified by the conductor before there is anything to change, and kept by `start`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, TypeVar

from controller_app.model.position import Diagnostic, PolicyError
from controller_app.model.topology import Topology
from controller_app.runtime.computed import Computed
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.conversation import Foreign
from controller_app.runtime.events import Events
from controller_app.runtime.foreign import examine, foreign_of, judged
from controller_app.runtime.intent import Intent
from controller_app.store.interface import Revision, StoreError
from controller_app.verification.failing import Failures
from controller_app.verification.foreign import document
from controller_app.verification.verified import Verified
from controller_app.verification.verify import Report

LOG = logging.getLogger(__name__)

ATTEMPTS = 3  # at a network that changes while a policy is verified
LONGEST_QUEUE = 60.0  # seconds that a change waits for others
_ASIDE = ("rules", "space", "verification")  # of a plan: what a revision does not keep, or keeps apart
T = TypeVar("T")


class Room(Protocol):
    """Where the conductor is: everything it does, it does there, one after the other. `changing`: held by whoever is
    about to change what is wanted. `events` take note of what is done."""

    changing: threading.Lock

    @property
    def events(self) -> Events: ...

    def call(self, action: Callable[[Conductor], T]) -> T: ...


class Queued(RuntimeError):
    """Other changes have been under way for too long."""


class NotKept(StoreError):
    """A change was not made, because it could not be kept. Nothing was sent."""


@dataclass(frozen=True)
class Wish:
    """What somebody wants changed: `edit` is applied to what is wanted when it is his turn, and may raise what the
    answer is to be. declared: another network as it is declared, together with that."""

    edit: Callable[[Intent], Intent]
    what: str
    who: str
    declared: Topology | None = None
    allow_foreign: bool = True  # flows of others that could lead packets past a chain are only a warning


@dataclass(frozen=True)
class Change:
    """A change that fits: what would be wanted, and what it would do to what was wanted then."""

    before: tuple[Intent, Computed]
    intent: Intent
    computed: Computed
    warnings: tuple[Diagnostic, ...]
    plan: dict[str, Any]
    verified: Verified | None  # what was verified before
    foreign: Mapping[str, Foreign] = field(default_factory=dict)  # what switches hold of others

    def examined(self, verified: Verified | None, allow_foreign: bool) -> Change:
        """With what is to be said of flows of others. PolicyError where one could lead packets past a chain, unless
        that is allowed."""
        found = examine(self.computed, self.foreign, verified)
        warnings = (*self.warnings, *judged(found, self.foreign, allow_foreign))
        foreign = [document(each, self.computed.allocation) for each in found]
        return replace(self, warnings=warnings, plan={**self.plan, "foreign": foreign})


@dataclass(frozen=True)
class Made:
    """What came of a wish. `revision`: the newest afterwards; None for a dry run, and before there is any. `failures`:
    what verification under single failures says, where that was asked for and nothing is wrong without any."""

    change: Change
    report: Report
    revision: Revision | None = None
    failures: Failures | None = None


def try_out(room: Room, wish: Wish, failures: bool = False) -> Made:
    """Check and verify a change without making it. PolicyError where it does not fit; what verification finds is in the
    report. failures: try it under every single failure as well."""
    found = None
    while found is None:
        found = _prepared(room, wish)
    report, verified = found.computed.try_out(found.verified)
    survived = found.computed.try_failures(verified) if failures and report.ok else None
    return Made(found.examined(found.verified, True), report, failures=survived)


def make(room: Room, wish: Wish) -> Made:
    """Check, verify, keep and send a change; answers as soon as the switches are told. Changes are made one after the
    other. Raises PolicyError where it does not fit, NotKept, or Queued; nothing was changed then."""
    if not room.changing.acquire(timeout=LONGEST_QUEUE):
        raise Queued(f"other changes have been under way for {LONGEST_QUEUE:g} s: try again")
    try:
        return _make(room, wish)
    finally:
        room.changing.release()


def _make(room: Room, wish: Wish) -> Made:
    """Reading and verification take their time in the thread of who asks, while the control thread goes on. When
    the network changed meanwhile it starts again, with what was verified already. A network that changes time and again
    does not keep a change waiting for ever: then the control thread does all of it in one piece."""
    known: Verified | None = None
    told = False
    for _ in range(ATTEMPTS):
        found = _prepared(room, wish)
        if found is None:
            continue
        if not told:
            told = True
            room.events.add("change.accepted", who=wish.who, what=wish.what)
        report, known = found.computed.verify(known or found.verified)
        found = found.examined(known, wish.allow_foreign)
        room.events.add("change.verified", classes=report.classes)
        made = room.call(partial(_adopt, found, report, known, wish))
        if made is not None:
            return made

    def at_once(conductor: Conductor) -> Made:
        found = _prepare(conductor.intent, wish.edit(conductor.intent), wish, conductor)
        assert found is not None  # nobody else gets in between
        report, verified = found.computed.verify(known or found.verified)
        found = found.examined(verified, wish.allow_foreign)
        made = _adopt(found, report, verified, wish, conductor)
        assert made is not None
        return made

    return room.call(at_once)


def _prepared(room: Room, wish: Wish) -> Change | None:
    before = room.call(lambda conductor: conductor.intent)
    return room.call(partial(_prepare, before, wish.edit(before), wish))


def _prepare(before: Intent, intent: Intent, wish: Wish, conductor: Conductor) -> Change | None:
    """None where something else is wanted by now."""
    if conductor.intent is not before:
        return None
    computed, warnings = conductor.check(intent, wish.declared)
    plan = conductor.plan(computed).to_json()
    foreign = foreign_of(conductor.talks())
    return Change((before, conductor.computed), intent, computed, warnings, plan, conductor.verified, foreign)


def _adopt(change: Change, report: Report, verified: Verified, wish: Wish, conductor: Conductor) -> Made | None:
    """None where something else is wanted by now, or of another network."""
    if change.before[0] is not conductor.intent or change.before[1] is not conductor.computed:
        return None
    before = conductor.outcomes.newest
    try:
        conductor.adopt(
            change.intent, change.computed, wish.what, time.time(), wish.declared,
            who=wish.who, plan=kept_plan(change.plan), verification=report.to_json(),
        )  # fmt: skip
    except StoreError as error:
        goes_on = "what runs goes on" if before is None else f"revision {before.number} goes on running"
        raise NotKept(f"nothing was changed and nothing was sent, {goes_on}: {error}", error.full) from None
    conductor.verified = verified
    newest = conductor.outcomes.newest
    number = None if newest is None else newest.number
    sent = conductor.events.add("change.sent", revision=number, switches=list(change.plan["changes"]))
    if newest is not None and newest.state == "confirmed":  # it was all there already
        conductor.events.add("change.confirmed", change=sent.data.get("change"), revision=number)
    return Made(change, report, newest)


def kept_plan(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What a revision keeps of a plan's document."""
    return {key: value for key, value in plan.items() if key not in _ASIDE}


def start(conductor: Conductor, stored: Intent | None, wall: float) -> None:
    """Keep what a controller starts with, where files changed it since it was kept last. stored: what was kept; None
    where that is no policy any more. The plan is against that on the network as it is now; there is none where nothing
    was kept, or that does not fit any more."""
    intent, computed = conductor.intent, conductor.computed
    if stored is not None and dict(stored.stored) == dict(intent.stored):
        return
    plan = None
    try:
        if stored is not None and stored.names:
            stored.check(conductor.topology, True)
            before = conductor.compute(stored.policy, conductor.store.allocation())
            plan = kept_plan(conductor.plan(computed, before).to_json())
    except PolicyError:
        LOG.info("what was applied last does not fit the network any more: there is no plan to keep")
    conductor.keep(intent, "start", wall, who="file", plan=plan, verification=conductor.started_with.to_json())
