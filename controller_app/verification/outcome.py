"""What comes of a packet in a switch."""

from __future__ import annotations

from dataclasses import dataclass

from controller_app.model.flow import Flow
from controller_app.verification.packet import Packet


@dataclass(frozen=True, slots=True)
class Result:
    """One thing that became of a packet in a switch.

    `port` is where it was sent (CONTROLLER included), None where it ended here: then `reason` says why.
    `rules` are the flows it hit, in order; `looped` marks an end by the switch's own limits, `void` one by which
    the switch does nothing at all with the packet.
    """

    port: int | None
    packet: Packet
    rules: tuple[Flow, ...]
    reason: str = ""
    looped: bool = False
    void: bool = False


class Passes:
    """The results of a packet, by its passes through the switch: a packet that is tracked, or whose header was taken
    off, comes to the tables again."""

    def __init__(self) -> None:
        self.current = 0
        self._parents = [-1]  # of each pass: of which it came
        self._results: list[tuple[int, Result]] = []

    def begin(self) -> None:
        """A pass that comes of the current one."""
        self._parents.append(self.current)
        self.current = len(self._parents) - 1

    def add(self, result: Result) -> None:
        self._results.append((self.current, result))

    def kept(self) -> list[Result]:
        """What really happens: a switch that gives up in a pass does nothing at all in it, nor in passes that came of
        it, and only that is left."""
        ends: dict[int, Result] = {}
        for number, result in self._results:
            if result.looped or result.void:
                ends.setdefault(number, result)
        kept = []
        for number, result in self._results:
            failed = [one for one in self._line(number) if one in ends]
            if not failed or ends[failed[-1]] is result:
                kept.append(result)
        return kept

    def _line(self, number: int) -> list[int]:
        """A pass and those it came of, the first one last."""
        line = [number]
        while self._parents[line[-1]] >= 0:
            line.append(self._parents[line[-1]])
        return line
