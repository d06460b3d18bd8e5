"""What a transport decides: how a frame says its next waypoint while it is on the links between two switches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from controller_app.model.flow import Action
from controller_app.pipeline.labels import ANY_WRAPPED, IS_WRAPPED, WRAPPED_DETOURED

if TYPE_CHECKING:
    from controller_app.pipeline.build import Rules

Blocks = tuple[tuple[int, int], ...]  # runs of waypoints: (first, how many)


@dataclass(frozen=True)
class Target:
    """A switch that frames go to: its name, its number (1 up), its waypoints."""

    switch: str
    number: int
    blocks: Blocks


@dataclass(frozen=True)
class Onward:
    """How frames leave a switch towards another: `first`, and `again` those that took a detour already, where that
    makes a difference."""

    first: Action
    again: Action | None = None

    def wrapped(self) -> Iterator[tuple[tuple[int, int], Action]]:
        """The same by what the frames of a transport have in front of the label."""
        if self.again is None:
            yield ANY_WRAPPED, self.first
        else:
            yield IS_WRAPPED, self.first
            yield WRAPPED_DETOURED, self.again


# (rules of a switch, target, how they leave towards it; None: this switch is the target)
Carry = Callable[["Rules", Target, Onward | None], None]


@dataclass(frozen=True)
class Transport:
    """One way of carrying frames. Each lives in a file of its own in this package, as `TRANSPORT`.

    word: what policies call it. number: what the TRANSPORT register says, unique; 0 is the label alone.
    overhead: bytes it adds to a frame. put_on: the actions that put it on, for a target, before the output.
    carry: the rules in `unwrap` that pass such frames on, and take it off at the target.
    """

    word: str
    says: str
    number: int
    overhead: int = 0
    put_on: Callable[[Target, int], tuple[Action, ...]] | None = None  # for the ether type that is inside
    carry: Carry | None = None
