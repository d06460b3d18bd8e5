"""The only writer of rules: one small state machine a switch.

    away ── connected ──► auditing ── what it holds ──► sending ── all confirmed ──► in-sync
                             ▲                             │  ▲                          │
                             └── error, silence, time ─────┘  └─── something else wanted ┘

A change may come in stages: "held-back" takes the place of in-sync where a switch has done what the present stage
allows, and others have not yet, and "draining" where all is done but for taking away what packets may still be under
way on. Where flows of another application stand in the place of wanted ones, "blocked" takes
it: nothing is left to be sent, but what is wanted is not what is held.

`step(sync, event, now)` is a pure function; `now` is a monotonic clock in seconds. What it answers is to be
done in order, and the outcome comes back as an event. A switch that holds what it should is told nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from controller_app.model.flow import FlowKey, SwitchState
from controller_app.reconcile.changes import ChangeSet, Counts, Former, Stage
from controller_app.reconcile.diff import apply, diff

ANSWER_TIME = 15.0  # seconds a switch has to answer an audit or to confirm a change
AUDIT_INTERVAL = 10.0  # seconds between looks at a switch in sync: someone else may have deleted our rules
AUDIT_PACE = 200.0  # flows a second, for switches with very many
FIRST_RETRY, LAST_RETRY = 0.5, 30.0  # seconds until the next audit after an error, doubled each time


@dataclass(frozen=True, slots=True)
class Connected:
    """The switch is there and its handshake is done."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection is gone. The rules on the switch stay and go on working."""


@dataclass(frozen=True, slots=True)
class Want:
    """This is what the switch is to hold from now on; it may do so much of it now, and take away only what `formers`
    do not have. passing: something else is to follow when all switches hold this."""

    state: SwitchState
    until: Stage = Stage.ALL
    formers: tuple[Former, ...] = ()
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What an audit found: our rules, and the keys of flows that belong to others."""

    number: int
    held: SwitchState
    foreign: frozenset[FlowKey] = frozenset()


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The switch answered the barrier behind change `number` without an error."""

    number: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The switch answered the audit or the change of this number with an error."""

    number: int
    why: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time went by."""


Event = Connected | Lost | Want | Found | Confirmed | Refused | Tick


@dataclass(frozen=True, slots=True)
class Audit:
    """Ask the switch for its flows, groups and meters; answer with Found of the same number."""

    number: int


@dataclass(frozen=True, slots=True)
class Send:
    """Send the change, all or nothing, with a barrier behind it; answer with Confirmed or Refused."""

    number: int
    changes: ChangeSet


@dataclass(frozen=True, slots=True)
class InSync:
    """The switch now holds what is wanted."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something a person should read."""

    what: str


Effect = Audit | Send | InSync | Problem


@dataclass(frozen=True, slots=True)
class SwitchSync:
    """What is known about one switch. `held` is None while that has not been asked."""

    phase: str = "away"  # away | auditing | sending | waiting | held-back | draining | in-sync | blocked
    wanted: SwitchState | None = None
    until: Stage = Stage.ALL
    formers: tuple[Former, ...] = ()
    passing: bool = False
    held: SwitchState | None = None
    target: SwitchState | None = None  # what it holds once the change on its way is confirmed
    foreign: frozenset[FlowKey] = frozenset()
    number: int = 0  # of the last audit or change
    deadline: float = 0.0  # when the present phase has lasted too long
    failures: int = 0
    problem: str | None = None
    left: tuple[SwitchState, SwitchState, ChangeSet] | None = None  # what is wanted, what it will hold, the difference
    trusted: SwitchState | None = None  # what it held when a routine look at it began
    edge_tables: frozenset[int] = frozenset()

    @property
    def in_sync(self) -> bool:
        """Does the switch hold exactly what is wanted, as far as known?"""
        if self.wanted is None:
            return False
        return self.phase == "in-sync" or (self.phase == "auditing" and self.trusted is self.wanted)

    @property
    def settled(self) -> bool:
        """In sync, or as near to it as the flows of other applications and packets under way let it be."""
        return self.in_sync or self.phase in ("draining", "blocked")

    @property
    def waits(self) -> bool:
        """Is there nothing left that it may do now, or can?"""
        return self.settled or self.phase in ("held-back", "away") or self.failures > 0

    @property
    def outstanding(self) -> Counts:
        """What is still to be changed on the switch, as far as known."""
        if self.wanted is None or self.held is None:
            return Counts()
        return diff(_without(self.wanted, self.foreign), self.held, self.edge_tables).counts

    @property
    def blocked(self) -> tuple[FlowKey, ...]:
        """Wanted flows that are not sent, because a foreign flow has their place."""
        if self.wanted is None or not self.foreign:
            return ()
        return tuple(key for key in self.wanted.flows if key in self.foreign)


Outcome = tuple[SwitchSync, tuple[Effect, ...]]


def step(sync: SwitchSync, event: Event, now: float) -> Outcome:
    """What follows from an event. Late answers (of an earlier number) change nothing."""
    match event:
        case Connected():
            return _audit(replace(sync, failures=0, problem=None), now)
        case Lost():
            return replace(sync, phase="away", held=None, target=None, foreign=frozenset()), ()
        case Want(state=state, until=until, formers=formers, passing=passing):
            if state == sync.wanted:
                if (until, passing) == (sync.until, sync.passing) and _same(formers, sync.formers):
                    return sync, ()
                state = sync.wanted
            sync = replace(sync, wanted=state, until=until, formers=formers, passing=passing)
            if sync.phase == "auditing" and sync.trusted is not None and sync.trusted is not sync.wanted:
                sync = replace(sync, held=sync.trusted, trusted=None)  # the routine look can wait
                return _advance(sync, now)
            held = sync.phase in ("in-sync", "blocked", "held-back", "draining")
            return _advance(sync, now) if held else (sync, ())
        case Found(number=number) if sync.phase == "auditing" and number == sync.number:
            return _advance(replace(sync, held=event.held, foreign=event.foreign), now)
        case Confirmed(number=number) if sync.phase == "sending" and number == sync.number:
            return _advance(replace(sync, held=sync.target, target=None, failures=0), now)
        case Refused(number=number) if sync.phase in ("auditing", "sending") and number == sync.number:
            return _fail(sync, event.why, now)
        case Tick() if sync.phase != "away" and now >= sync.deadline:
            if sync.phase in ("auditing", "sending"):
                return _fail(sync, f"no answer within {ANSWER_TIME:g} s", now)
            return _audit(sync, now, trusted=sync.wanted if sync.phase == "in-sync" else None)
    return sync, ()


def _audit(sync: SwitchSync, now: float, trusted: SwitchState | None = None) -> Outcome:
    number = sync.number + 1
    sync = replace(sync, phase="auditing", held=None, target=None, number=number, trusted=trusted)
    return replace(sync, deadline=now + ANSWER_TIME), (Audit(number),)


def _fail(sync: SwitchSync, why: str, now: float) -> Outcome:
    """After an error nobody knows what the switch holds: wait, then ask it."""
    pause = min(LAST_RETRY, FIRST_RETRY * 2 ** min(sync.failures, 16))
    return replace(
        sync,
        phase="waiting",
        held=None,
        target=None,
        failures=sync.failures + 1,
        problem=why,
        deadline=now + pause,
    ), (Problem(f"{why}; asking the switch what it holds in {pause:g} s"),)


def _advance(sync: SwitchSync, now: float) -> Outcome:
    """The switch holds `held`: send what is missing, or be content."""
    assert sync.held is not None
    effects: list[Effect] = []
    if sync.wanted is not None:
        wanted = _without(sync.wanted, sync.foreign)
        if sync.left is not None and sync.left[0] is wanted and sync.left[1] is sync.held:
            changes = sync.left[2]  # the stage before left this
        else:
            changes = diff(wanted, sync.held, sync.edge_tables)
        # A switch that holds nothing lets no packet through: it need not wait until all were asked.
        until = Stage.ALL if sync.until is Stage.LOOK and not (sync.held.flows or sync.held.groups) else sync.until
        part = changes.until(until, sync.formers or None)
        if part:
            number, rest = sync.number + 1, changes.without(part)
            target = apply(part, sync.held) if rest else wanted
            left = (wanted, target, rest) if rest else None
            sync = replace(sync, phase="sending", target=target, left=left, number=number, deadline=now + ANSWER_TIME)
            return sync, (Send(number, part),)
        if changes or sync.passing:
            phase = "draining" if until is Stage.ALL and not sync.passing else "held-back"
            return replace(sync, phase=phase, failures=0, problem=None, deadline=_next_look(sync, now)), ()
    phase, interval, problem = "in-sync", AUDIT_INTERVAL, None
    if blocked := sync.blocked:
        phase, interval = "blocked", LAST_RETRY  # the other application may take its flows away
        problem = (
            f"{len(blocked)} of our rules are not installed: flows of another application stand in "
            f"their place (table {blocked[0].table}, priority {blocked[0].priority})"
        )
        if problem != sync.problem:
            effects.append(Problem(problem))
    elif sync.wanted is not None:
        effects.append(InSync())
    deadline = _next_look(sync, now, interval)
    return replace(sync, phase=phase, problem=problem, failures=0, deadline=deadline), tuple(effects)


def _same(one: tuple[Former, ...], other: tuple[Former, ...]) -> bool:
    """The same states, and not only equal ones: to compare those takes long."""
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def _next_look(sync: SwitchSync, now: float, interval: float = AUDIT_INTERVAL) -> float:
    """When the switch is asked again what it holds, if nothing happens."""
    assert sync.held is not None
    return now + max(interval, len(sync.held.flows) / AUDIT_PACE)


def _without(wanted: SwitchState, foreign: frozenset[FlowKey]) -> SwitchState:
    if foreign.isdisjoint(wanted.flows):
        return wanted
    return replace(wanted, flows={key: flow for key, flow in wanted.flows.items() if key not in foreign})
