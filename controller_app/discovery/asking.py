"""Who has this address? Questions of hosts that no flow can answer yet.

The question goes out of every port at the edge. When somebody answers, the host is learned and its flows are
made; only when the switches have confirmed them does who asked get the answer, so the first packet that
follows finds its way. No sockets and no clock: `now` is a monotonic clock in seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from controller_app.discovery import frames
from controller_app.discovery.hosts import Hosts
from controller_app.discovery.ports import Effect, PortId, Reinject, SendFrame
from controller_app.model.topology import IPAddress

PATIENCE = 3.0  # seconds after which nobody waits for an answer any more
YOUNG = 1.5  # seconds in which a question also goes to ports that become edges: a switch may be new
LOOK_AGAIN = 0.1
REPEAT = 0.5  # seconds between two questions for the same address
MAX_TARGETS, MAX_WAITING, MAX_HELD = 1024, 64, 4
Edge = Callable[[float], dict[int, list[int]]]  # the ports to ask at, by datapath id, at a time
BURST, RATE = 100.0, 200.0  # questions at once, and a second


@dataclass(slots=True)
class _Question:
    """An address somebody looks for: who asked, packets held back for it, when it was asked."""

    since: float
    asked: float
    first: float
    again: float = 0.0  # when to look for ports that became edges since
    frame: bytes = b""
    place: PortId | None = None
    edge: Edge | None = None
    reached: set[PortId] = field(default_factory=set)  # ports it went out of
    asking: dict[tuple[PortId, int, IPAddress | None], frames.Asks] = field(default_factory=dict)
    held: list[tuple[PortId, bytes]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Later:
    """Something to do once the switches confirmed a revision of the hosts."""

    revision: int
    until: float
    effect: Effect


class Asking:
    """Open questions, and answers that wait for their flows."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._open: dict[IPAddress, _Question] = {}
        self._later: list[_Later] = []
        self._confirmed = -1
        self._tokens, self._filled = BURST, 0.0

    def ask(self, place: PortId, asks: frames.Asks, data: bytes, edge: Edge, now: float) -> list[Effect]:
        """A host at `place` asks for an address that no flow answered."""
        known = self._hosts.at(asks.target)
        if known is not None:
            if known.mac == asks.sender_mac:
                return []  # it announces its own address, or tests whether that is free
            reply = frames.answer(asks.target, known.mac, asks)
            return self._soon(SendFrame(place.dpid, (place.port,), reply), now)
        question = self._question(asks.target, now)
        if question is None:
            return []
        if len(question.asking) < MAX_WAITING:
            question.asking[place, asks.sender_mac, asks.sender] = asks
        return self._send(question, data, place, edge, now)

    def seek(
        self,
        place: PortId,
        data: bytes,
        target: IPAddress,
        asker: tuple[IPAddress, int] | None,
        edge: Edge,
        now: float,
    ) -> list[Effect]:
        """A packet for an address nobody was seen with came from `place`: hold it back and, if there is a
        gateway to ask as (`asker`: address, MAC), ask for the address."""
        if self._hosts.at(target) is not None:
            return self._soon(Reinject(place, data), now)
        if asker is None:
            return []
        question = self._question(target, now)
        if question is None:
            return []
        if len(question.held) < MAX_HELD:
            question.held.append((place, data))
        return self._send(question, frames.question(target, *asker), None, edge, now)

    def learned(self, ip: IPAddress, now: float) -> list[Effect]:
        """The host at `ip` is known now: prepare what waits for it."""
        question = self._open.pop(ip, None)
        host = self._hosts.at(ip)
        if question is None or host is None:
            return []
        effects: list[Effect] = []
        for (place, _, _), asks in question.asking.items():
            reply = frames.answer(ip, host.mac, asks)
            effects += self._soon(SendFrame(place.dpid, (place.port,), reply), now)
        for place, data in question.held:
            effects += self._soon(Reinject(place, data), now)
        return effects

    def resume(self, place: PortId, data: bytes, now: float) -> list[Effect]:
        """A frame of a host just learned goes on its way when its flows are there."""
        return self._soon(Reinject(place, data), now)

    def confirmed(self, revision: int, now: float) -> list[Effect]:
        """Every connected switch holds what follows from this revision of the hosts."""
        self._confirmed = revision
        ready = [later.effect for later in self._later if later.revision <= revision and now < later.until]
        self._later = [later for later in self._later if later.revision > revision and now < later.until]
        return ready

    def tick(self, now: float) -> list[Effect]:
        """Give up what nobody waits for any more; ask at ports that turned out to be at the edge meanwhile."""
        effects: list[Effect] = []
        for question in self._open.values():
            if question.edge is not None and question.again <= now < question.first + YOUNG:
                question.again = now + LOOK_AGAIN
                effects += _spread(question, question.edge(now))
        for ip in [ip for ip, question in self._open.items() if now - question.since > PATIENCE]:
            del self._open[ip]
        if self._later and self._later[0].until <= now:
            self._later = [later for later in self._later if now < later.until]
        return effects

    def _question(self, target: IPAddress, now: float) -> _Question | None:
        question = self._open.get(target)
        if question is None:
            if len(self._open) >= MAX_TARGETS:
                return None
            question = self._open[target] = _Question(now, -REPEAT, now)
        question.since = now
        return question

    def _send(self, question: _Question, data: bytes, place: PortId | None, edge: Edge, now: float) -> list[Effect]:
        """The question, out of every port at the edge but the one it came from."""
        self._tokens = min(BURST, self._tokens + (now - self._filled) * RATE)
        self._filled = now
        if now - question.asked < REPEAT or self._tokens < 1:
            return []
        self._tokens -= 1
        question.asked = now
        question.again = now + LOOK_AGAIN
        question.frame, question.place, question.edge = data, place, edge
        question.reached.clear()
        return _spread(question, edge(now))

    def _soon(self, effect: Effect, now: float) -> list[Effect]:
        if self._hosts.revision <= self._confirmed:
            return [effect]
        if len(self._later) < MAX_TARGETS * 4:
            self._later.append(_Later(self._hosts.revision, now + PATIENCE, effect))
        return []


def _spread(question: _Question, edge: dict[int, list[int]]) -> list[Effect]:
    """The question, out of the ports that it has not gone out of yet."""
    fresh = {
        dpid: [n for n in numbers if PortId(dpid, n) not in question.reached] for dpid, numbers in edge.items()
    }
    question.reached.update(PortId(dpid, n) for dpid, numbers in fresh.items() for n in numbers)
    return flood(question.frame, question.place, fresh)


def flood(data: bytes, place: PortId | None, edge: dict[int, list[int]]) -> list[Effect]:
    """A frame out of every port at the edge but `place`."""
    effects: list[Effect] = []
    for dpid, numbers in edge.items():
        ports = tuple(n for n in numbers if PortId(dpid, n) != place)
        if ports:
            effects.append(SendFrame(dpid, ports, data))
    return effects
