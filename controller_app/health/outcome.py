"""What every kind of check is: a small state machine with frames in, frames out, and in the end an outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from controller_app.discovery.frames import Tells
from controller_app.health.crossing import Crossed
from controller_app.health.segments import Echo, Segment

Heard = Segment | Tells | Echo | Crossed


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a check ended; `reason` says in a few words what was found. `strange`: no end follows such an answer."""

    well: bool
    reason: str
    strange: bool = False


class Probe(Protocol):
    """A check of one address, or of one way through a function. `outcome` is None until there is one; `silence` says
    what is wrong when none comes."""

    outcome: Outcome | None

    @property
    def silence(self) -> str: ...

    def start(self) -> list[bytes]:
        """The frames to begin with."""

    def again(self) -> list[bytes]:
        """What was not answered so far, once more."""

    def hear(self, said: Heard) -> list[bytes]:
        """Something came back; the frames that answer it."""

    def stop(self) -> list[bytes]:
        """The frames that end what is still open."""
