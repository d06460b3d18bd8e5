"""The words for a difference between two states of one switch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from controller_app.model.flow import Flow, Group, MeterConfig, SwitchState


@dataclass(frozen=True, slots=True)
class PutGroup:
    """Add a group, or replace the one of the same id (`replaces`) whole: single buckets are never edited."""

    group: Group
    replaces: Group | None = None


@dataclass(frozen=True, slots=True)
class PutFlow:
    """Add a flow. An OpenFlow ADD overwrites the flow of the same key (`replaces`), cookie and all."""

    flow: Flow
    replaces: Flow | None = None


@dataclass(frozen=True, slots=True)
class DropFlow:
    """Delete exactly this flow."""

    flow: Flow


@dataclass(frozen=True, slots=True)
class DropGroup:
    """Delete a group. A switch deletes the flows that still use it along with it, so this comes last."""

    group: Group


@dataclass(frozen=True, slots=True)
class PutMeter:
    """Add a meter, or change the one of the same id (`replaces`). A flow of a meter that is not there is refused."""

    meter: MeterConfig
    replaces: MeterConfig | None = None


@dataclass(frozen=True, slots=True)
class DropMeter:
    """Delete a meter. A switch deletes the flows that still use it along with it, so this comes last."""

    meter: MeterConfig


Change = PutGroup | PutFlow | DropFlow | DropGroup | PutMeter | DropMeter


class Stage(IntEnum):
    """How far a change of many switches has come: no switch goes on to the next before all have done this one.

    LOOK: switches say what they hold, and only those that hold nothing are told something. PATHS: everything packets
    may be sent along is there. CHOICES: what is decided at the edges is what is wanted now. ALL: what nobody is sent
    along any more is gone, but for what `Former` states keep.
    """

    LOOK = 0
    PATHS = 1
    CHOICES = 2
    ALL = 3


@dataclass(frozen=True, slots=True)
class Phase:
    """Changes that may take effect in any order among themselves, but not before the phase ahead of them."""

    name: str
    changes: tuple[Change, ...]
    stage: Stage = Stage.ALL


# What was wanted of a switch before, as long as packets may be under way on it: nothing of that is taken away.
# None: whatever the switch holds, where nobody knows what was wanted of it.
Former = SwitchState | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How many flows, groups and meters a change set adds, modifies and deletes."""

    add: int = 0
    modify: int = 0
    delete: int = 0

    def __bool__(self) -> bool:
        return bool(self.add or self.modify or self.delete)

    def to_json(self) -> dict[str, int]:
        return {"add": self.add, "modify": self.modify, "delete": self.delete}


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Everything one switch has to be told, in order. False when there is nothing to say."""

    phases: tuple[Phase, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.phases)

    def until(self, stage: Stage, formers: tuple[Former, ...] | None = None) -> ChangeSet:
        """What of it may be done at this stage. formers: if there are any, what is left over may go at any
        stage after LOOK, unless one of them has it."""
        found = []
        for phase in self.phases:
            if phase.stage < Stage.ALL or formers is None:
                if phase.stage <= stage:
                    found.append(phase)
            elif stage > Stage.LOOK:
                free = tuple(change for change in phase.changes if not any(_has(each, change) for each in formers))
                if len(free) == len(phase.changes):
                    found.append(phase)
                elif free:
                    found.append(Phase(phase.name, free, phase.stage))
        return ChangeSet(tuple(found))

    def without(self, part: ChangeSet) -> ChangeSet:
        """What is left of it when a part of it, from `until`, is done."""
        done = {phase.name: phase for phase in part.phases}
        found = []
        for phase in self.phases:
            other = done.get(phase.name)
            if other is None:
                found.append(phase)
            elif other is not phase:
                gone = set(map(id, other.changes))
                rest = tuple(change for change in phase.changes if id(change) not in gone)
                found.append(Phase(phase.name, rest, phase.stage))
        return ChangeSet(tuple(found))

    def __iter__(self) -> Iterator[Change]:
        for phase in self.phases:
            yield from phase.changes

    @property
    def counts(self) -> Counts:
        add = modify = delete = 0
        for change in self:
            if isinstance(change, DropFlow | DropGroup | DropMeter):
                delete += 1
            elif change.replaces is None:
                add += 1
            else:
                modify += 1
        return Counts(add, modify, delete)


def _has(former: Former, change: Change) -> bool:
    """Does a former state have what is left over now?"""
    if former is None:
        return True
    match change:
        case DropFlow(flow=flow):
            return flow.key in former.flows
        case DropGroup(group=group):
            return group.id in former.groups
        case DropMeter(meter=meter):
            return meter.id in former.meters
    return False
