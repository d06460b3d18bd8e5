"""All checks there are: when each begins, what is sent, whose answer a frame is, and how every provider stands.

    aim (who) ─► [ due ] ─ a token, its switches ready ─► sent ─ answer, or the interval's end ─► standing ─► [ due ]

One entry for each target in one table, one in a heap by time; nothing grows with what the network sends. First checks
are spread over the interval; checks of all together are limited (what is more waits its turn, so that intervals
stretch). No miss is counted while it may be ours: the switch was away, or frames were lost or late in the controller.

Time comes in as `now`, seconds of a monotonic clock.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from controller_app.discovery.ports import PortId, SendFrame
from controller_app.health.crossing import DISCARD, SIDES, crossed
from controller_app.health.segments import hear
from controller_app.health.standing import Standing, recoveries
from controller_app.health.targets import Target
from controller_app.health.ways import Key, Way, key_of, number, ways

RATE = 2000.0  # addresses checked a second, of all together
BURST = 100.0  # at once
FIRST_PORT, PORTS = 40000, 10000  # ours, one for each check of a target, in turn
AGAIN = 1.0  # seconds at most until what was not answered is sent once more (RFC 6298 2.1)
SHORTEST = 0.1  # seconds between two checks, whatever is asked for
PATIENCE = 0.75  # of the interval, until the silence of a function counts: who is out is to be out soon
LOOK_AGAIN = 0.2  # seconds until a switch that was not ready is looked at again
STALL = 0.25  # seconds without a tick, after which answers may wait to be heard
CATCH_UP = 0.25  # seconds that are given for that
_SPREAD = 0.6180339887498949  # multiples of the golden section lie evenly in an interval, however many there are

_NEVER = (
    f"; none ever did: a firewall has to let UDP from {SIDES[0]} to {SIDES[1]}, port {DISCARD}, and what answers it "
    "through"
)


@dataclass(frozen=True, slots=True)
class Turn:
    """A provider or an instance stands differently now. `name` as in `Topology.unready`."""

    name: str
    ready: bool
    reason: str


@dataclass(eq=False)
class _Run:
    """A target with its check on the way, if there is one."""

    target: Target
    standing: Standing
    due: float  # when the next check begins
    wake: float  # the one entry in the heap that counts
    rounds: int
    begun: float = 0.0
    until: float = 0.0  # when silence counts
    again: float | None = None
    open: bool = False  # a check is on the way and has no outcome
    fresh: bool = True  # its switches did not hold yet what brings its answers up
    ways: dict[Key, Way] = field(default_factory=dict)

    @property
    def interval(self) -> float:
        return max(SHORTEST, self.target.health.interval)


class Checks:
    """Checks every target over and over. `secret` makes ports and sequence numbers that others cannot guess; frames
    come from `gateway_mac`."""

    def __init__(self, secret: bytes, gateway_mac: int) -> None:
        self.turns: list[Turn] = []  # since somebody took them away
        self.failing: dict[str, str] = {}  # the providers that are unready, by name, with the reason
        self._secret, self._gateway_mac = secret, gateway_mac
        self._runs: dict[tuple[object, ...], _Run] = {}
        self._heap: list[tuple[float, int, _Run]] = []
        self._waiting: deque[_Run] = deque()
        self._at: dict[Key, list[_Run]] = {}
        self._serial = 0
        self._begun = 0  # targets, ever
        self._tokens, self._filled = BURST, 0.0
        self._ticked: float | None = None
        self._resumed = self._lossy = float("-inf")

    @property
    def demand(self) -> float:
        """Addresses, and ways through functions, to be checked a second."""
        return sum(run.target.cost / run.interval for run in self._runs.values())

    def __len__(self) -> int:
        return len(self._runs)

    # -- events --------------------------------------------------------------------------------------------

    def aim(self, targets: Iterable[Target], now: float) -> list[SendFrame]:
        """These are to be checked from now on, and no others. Who was a target before, even of another check, stands
        as he stood."""
        before = {name: run.standing for run in self._runs.values() for name in run.target.serves}
        left, self._runs = self._runs, {}
        effects: list[SendFrame] = []
        for target in targets:
            run = left.pop(target.key, None)
            if run is None:
                run = self._new(target, before, now)
            elif run.target.spots != target.spots:
                effects += self._abandon(run)
                run.fresh = True
            run.target = target
            self._runs[target.key] = run
        for run in left.values():
            effects += self._abandon(run)
        if left:
            self._waiting = deque(run for run in self._waiting if self._runs.get(run.target.key) is run)
            self._heap = [entry for entry in self._heap if self._runs.get(entry[2].target.key) is entry[2]]
            heapq.heapify(self._heap)
        self.failing = {
            name: run.standing.reason
            for run in self._runs.values()
            if not run.standing.ready
            for name in run.target.serves
        }
        return effects

    def tick(self, now: float, ready: Collection[str], settled: Collection[str] | None = None) -> list[SendFrame]:
        """Time went by. `ready` are the switches that can be asked: connected, with our rules. `settled` are those of
        them with all of the newest ones (None: all): who is to be checked for the first time needs these."""
        if self._ticked is not None and now - self._ticked > STALL:
            self._resumed = now
        self._ticked = now
        effects: list[SendFrame] = []
        while self._heap and self._heap[0][0] <= now:
            when, _, run = heapq.heappop(self._heap)
            if when == run.wake:
                effects += self._wake(run, now, ready, ready if settled is None else settled)
        self._tokens = min(BURST, self._tokens + (now - self._filled) * RATE)
        self._filled = now
        while self._waiting and self._tokens >= 1:
            run = self._waiting.popleft()
            self._tokens -= run.target.cost
            effects += self._begin(run, now)
        return effects

    def hear(self, place: PortId, frame: bytes) -> list[SendFrame] | None:
        """An untagged frame came from a host's port. None when it is no answer to a check; an answer to ARP or ND may
        be of use to others all the same."""
        said = crossed(frame) or hear(frame)
        if said is None:
            return None
        key = key_of(place, said)
        runs = self._at.get(key)
        if runs is None:
            return None
        effects: list[SendFrame] = []
        for run in tuple(runs):
            way = run.ways[key]
            before = way.probe.outcome
            effects += way.out(way.probe.hear(said))
            if before is None and way.probe.outcome is not None and way.then is not None:
                effects += way.then.out(way.then.probe.start())
            if run.open:
                self._look(run)
        return effects

    def away(self, switches: Collection[str]) -> None:
        """These switches cannot be asked any more: what is on the way to their hosts counts for nothing."""
        for run in self._runs.values():
            if run.open and not run.target.switches.isdisjoint(switches):
                self._forget(run)

    def lossy(self, now: float) -> None:
        """Frames that switches sent up were lost in the controller: silence means nothing just now."""
        self._lossy = now

    # -- inside --------------------------------------------------------------------------------------------

    def _new(self, target: Target, before: dict[str, Standing], now: float) -> _Run:
        stood = [before[name] for name in target.serves if name in before]
        bad = next((standing for standing in stood if not standing.ready), None)
        standing = Standing() if bad is None else Standing(False, bad.reason)
        standing.seen = any(standing.seen for standing in stood)
        self._begun += 1
        run = _Run(target, standing, 0.0, 0.0, number(self._secret, repr(target.key)) % PORTS)
        run.due = now + run.interval * (self._begun * _SPREAD % 1.0)
        self._sleep(run, run.due)
        return run

    def _sleep(self, run: _Run, until: float) -> None:
        self._serial += 1
        run.wake = until
        heapq.heappush(self._heap, (until, self._serial, run))

    def _wake(self, run: _Run, now: float, ready: Collection[str], settled: Collection[str]) -> list[SendFrame]:
        effects: list[SendFrame] = []
        if run.open and now < run.until:
            if run.again is not None and now >= run.again:
                run.again = None
                for way in run.ways.values():
                    if way.probe.outcome is None:
                        effects += way.out(way.probe.again())
            self._sleep(run, run.until if run.again is None else run.again)
            return effects
        if run.open:
            if now < self._resumed + CATCH_UP:  # the answer may be waiting to be heard
                self._sleep(run, self._resumed + CATCH_UP)
                return []
            if self._lossy < run.begun:
                silent = next(way.probe for way in run.ways.values() if way.probe.outcome is None)
                self._count(run, False, silent.silence)
        if now < run.due:
            self._sleep(run, run.due)
            return []
        effects = self._abandon(run)
        if all(switch in (settled if run.fresh else ready) for switch in run.target.switches):
            run.fresh = False
            self._waiting.append(run)
        else:
            self._sleep(run, now + LOOK_AGAIN)
        return effects

    def _begin(self, run: _Run, now: float) -> list[SendFrame]:
        run.rounds += 1
        effects: list[SendFrame] = []
        run.ways = ways(run.target, run.rounds, self._gateway_mac, self._secret, self._free)
        for key, way in run.ways.items():
            self._at.setdefault(key, []).append(run)
            effects += way.out(way.probe.start())
        run.open, run.begun, run.due = True, now, now + run.interval
        run.until = now + run.interval * (1.0 if run.target.health.hold is None else PATIENCE)
        run.again = now + min(AGAIN, run.interval / 2)
        self._sleep(run, run.again)
        return effects

    def _free(self, place: PortId, address: object, remote: int, rounds: int) -> int:
        """A port of ours that a target did not use lately, and no other check of the same port uses now."""
        for plus in range(PORTS):
            port = FIRST_PORT + (rounds + plus) % PORTS
            if (place, address, remote, port) not in self._at:
                break
        return port

    def _look(self, run: _Run) -> None:
        """Is the check at its end? One address that does not serve decides it."""
        outcomes = [way.probe.outcome for way in run.ways.values()]
        bad = next((outcome for outcome in outcomes if outcome is not None and not outcome.well), None)
        if bad is not None:
            self._count(run, False, bad.reason)
        elif None not in outcomes:
            self._count(run, True, ", ".join(outcome.reason for outcome in outcomes if outcome is not None))

    def _count(self, run: _Run, well: bool, reason: str) -> None:
        run.open, run.again = False, None
        health = run.target.health
        through = run.target.through
        if through is not None and not through.nsh and not well and not run.standing.seen:
            reason += _NEVER
        turned = run.standing.count(well, reason, health.misses, recoveries(health))
        for name in run.target.serves:
            if turned:
                self.turns.append(Turn(name, well, reason))
            if not run.standing.ready:
                self.failing[name] = run.standing.reason
            else:
                self.failing.pop(name, None)

    def _abandon(self, run: _Run) -> list[SendFrame]:
        """End what is still open of the last check, whatever became of it."""
        effects = [sent for way in run.ways.values() for sent in way.out(way.probe.stop())]
        self._forget(run)
        return effects

    def _forget(self, run: _Run) -> None:
        for key in run.ways:
            runs = self._at[key]
            runs.remove(run)
            if not runs:
                del self._at[key]
        run.ways = {}
        run.open, run.again = False, None
