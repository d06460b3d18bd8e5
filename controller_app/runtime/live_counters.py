"""What switches have counted by now: every switch is asked once, all it is asked for together, and has a bounded time.

For whoever wants to see, not for the controller's own work: `runtime.service_stats` keeps the sums of services.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from controller_app.model.flow import Flow, FlowKey
from controller_app.openflow.counted import GroupCounters, PortTraffic, Sum
from controller_app.openflow.decode import FlowEntry
from controller_app.openflow.encode import ALL_TABLES
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.control import Runtime
from controller_app.runtime.flow_questions import FlowQuestions

ANSWER_TIME = 1.0  # seconds that switches have to answer
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Wanted:
    """What one switch is asked for: flows, groups by id, sums over the flows of a table whose cookie agrees in the bits
    of a mask, by (table, cookie, mask), all flows by (cookie, mask), and the traffic of its ports."""

    flows: Collection[Flow] = ()
    groups: Collection[int] = ()
    sums: Collection[tuple[int, int, int]] = ()
    held: Collection[tuple[int, int]] = ()
    ports: bool = False


@dataclass
class Counted:
    """What one switch answered, by what it was asked for. `age` of a flow or group: for how long it is there, in
    seconds; `at`: when that was, by the controller's clock. What it does not hold is not there."""

    flows: dict[Flow, FlowEntry] = field(default_factory=dict)
    groups: dict[int, GroupCounters] = field(default_factory=dict)
    sums: dict[tuple[int, int, int], Sum] = field(default_factory=dict)
    held: dict[FlowKey, FlowEntry] = field(default_factory=dict)
    ports: dict[int, PortTraffic] = field(default_factory=dict)
    at: float = 0.0


@dataclass(frozen=True)
class Read:
    """The answers by switch, and why there is none of the others."""

    counted: Mapping[str, Counted]
    silent: Mapping[str, str]


class _Asked:
    """The questions to one switch; `done` is called when all are answered."""

    def __init__(self, done: Callable[[], None]) -> None:
        self.counted = Counted()
        self.refused = False
        self._done, self.left = done, 0

    def put(self, wanted: Wanted, questions: FlowQuestions) -> bytes:
        """The messages, and who takes the answers. None of them comes before the messages are sent."""
        asked = [questions.ask_flow(flow, self._flow(flow)) for flow in wanted.flows]
        asked += [questions.ask_group(group, self._each(self.counted.groups, group)) for group in wanted.groups]
        asked += [questions.ask_sum(*place, self._each(self.counted.sums, place)) for place in wanted.sums]
        asked += [questions.ask(ALL_TABLES, cookie, mask, self._held) for cookie, mask in wanted.held]
        if wanted.ports:
            asked.append(questions.ask_traffic(self._ports))
        self.left = len(asked)
        return b"".join(asked)

    def _flow(self, flow: Flow) -> Callable[[list[FlowEntry] | None], None]:
        def take(found: list[FlowEntry] | None) -> None:
            for entry in found or ():
                if entry.flow.key == flow.key:  # others within its match, of the same object, are told too
                    self.counted.flows[flow] = entry
            self._one(found is None)

        return take

    def _each(self, into: dict[K, V], key: K) -> Callable[[list[V] | None], None]:
        def take(found: list[V] | None) -> None:
            if found:
                into[key] = found[0]
            self._one(found is None)

        return take

    def _held(self, found: list[FlowEntry] | None) -> None:
        self.counted.held.update((entry.flow.key, entry) for entry in found or () if entry.flow.key is not None)
        self._one(found is None)

    def _ports(self, found: list[PortTraffic] | None) -> None:
        self.counted.ports.update((port.number, port) for port in found or ())
        self._one(found is None)

    def _one(self, refused: bool) -> None:
        self.refused = self.refused or refused
        self.left -= 1
        if not self.left:
            self._done()


def read(runtime: Runtime, wanted: Mapping[str, Wanted], seconds: float = ANSWER_TIME) -> Read:
    """Ask switches, by name, and wait for the answers, at most so long. Not to be called in the control thread."""
    waiting = threading.Semaphore(0)
    asked: dict[str, _Asked] = {}
    silent: dict[str, str] = {}

    def send(conductor: Conductor) -> None:
        talks = conductor.talks()
        for name, questions in wanted.items():
            talk = talks.get(name)
            if talk is None or not talk.connected:
                silent[name] = "is not connected"
                continue
            one = _Asked(waiting.release)
            messages = one.put(questions, talk.questions)
            if messages:
                asked[name] = one
                one.counted.at = conductor.now()
                talk.transmit(messages)

    runtime.call(send)
    end = time.monotonic() + seconds
    answered = 0
    while answered < len(asked) and waiting.acquire(timeout=max(0.0, end - time.monotonic())):
        answered += 1

    def collect(_: Conductor) -> dict[str, Counted]:
        found = {}
        for name, one in asked.items():
            if one.refused:
                silent[name] = "refused to say what it counted"
            elif one.left:
                silent[name] = f"did not answer within {seconds:g} s"
            else:
                found[name] = one.counted
        return found

    return Read(runtime.call(collect), silent)
