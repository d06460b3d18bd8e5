"""Checks that only functions have: an echo of one address, and a way through."""

from __future__ import annotations

from dataclasses import dataclass
from hmac import compare_digest

from controller_app.health.crossing import Crossed
from controller_app.health.outcome import Heard, Outcome
from controller_app.health.segments import Echo, Wire


@dataclass
class Pinging:
    """Does it answer an echo request (RFC 792, RFC 4443 4.1)? `asked` is what the answer has to repeat, the other way
    round."""

    wire: Wire
    asked: Echo
    outcome: Outcome | None = None

    @property
    def silence(self) -> str:
        return f"{self.asked.remote} does not answer ping"

    def start(self) -> list[bytes]:
        return [self.wire.echo(self.asked)]

    def again(self) -> list[bytes]:
        return self.start()

    def hear(self, said: Heard) -> list[bytes]:
        if isinstance(said, Echo) and said == self.asked:
            self.outcome = Outcome(True, f"{self.asked.remote} answers ping")
        return []

    def stop(self) -> list[bytes]:
        return []


@dataclass
class Crossing:
    """Does a frame that goes in by one arm come out of the other? `first`: the way there, which this is the answer to:
    a firewall may let in nothing else."""

    frame: bytes
    awaited: Crossed
    way: str  # in words
    first: Crossing | None = None
    outcome: Outcome | None = None

    @property
    def silence(self) -> str:
        return f"no frame comes through {self.way}"

    def start(self) -> list[bytes]:
        return [self.frame] if self.first is None or self.first.outcome is not None else []

    def again(self) -> list[bytes]:
        return self.start()

    def hear(self, said: Heard) -> list[bytes]:
        wanted = self.awaited
        if isinstance(said, Crossed) and said.backward == wanted.backward and compare_digest(said.seal, wanted.seal):
            self.outcome = Outcome(True, f"frames come through {self.way}")
        return []

    def stop(self) -> list[bytes]:
        return []
