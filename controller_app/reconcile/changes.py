"""The words for a difference between two states of one switch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from controller_app.model.flow import Flow, Group, MeterConfig


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

    PATHS: everything packets may be sent along is there. CHOICES: what is decided at the edges is what is wanted now.
    ALL: what nobody is sent along any more is gone.
    """

    PATHS = 1
    CHOICES = 2
    ALL = 3


@dataclass(frozen=True, slots=True)
class Phase:
    """Changes that may take effect in any order among themselves, but not before the phase ahead of them."""

    name: str
    changes: tuple[Change, ...]
    stage: Stage = Stage.ALL


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

    def until(self, stage: Stage) -> ChangeSet:
        """What of it may be done at this stage."""
        return ChangeSet(tuple(phase for phase in self.phases if phase.stage <= stage))

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
