"""How busy links are, from what ports counted, and what that makes of their costs.

Costs that follow the load make routes swing: traffic leaves a busy link, which then looks idle and gets it back. So
a cost changes in few steps only, and

    up     at most one link every PAUSE, the busiest, and only when it has been busy for SUSTAIN
    down   after CALM in which the link would stay below its step, by MARGIN, even if all came back that left it when
           it was raised: as much of that as the busiest other link carries now, for what left is somewhere else, or
           over. Or after PATIENCE in which it was below its step, because some other link is always busy
    again  each time something has to be raised after something was lowered, CALM and PATIENCE double

Under a load that does not change, costs therefore rise at first, and then change less and less often.

Pure: `settle(costs, loads, now)`. `now` is a monotonic clock in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from controller_app.discovery.links import Pair
from controller_app.discovery.ports import Port, PortId
from controller_app.model.topology import Link

STEPS = 4  # of a share: 25 %, 50 %, 75 %, all of it
MARGIN = 0.1
SUSTAIN, PAUSE = 10.0, 15.0
CALM, PATIENCE = 60.0, 600.0
MOST_DOUBLINGS = 6
SHORTEST = 0.5  # seconds between two readings that make a rate

Reading = tuple[int, int | None, int | None, float]  # port, bytes received and sent, seconds it has counted


@dataclass(frozen=True, slots=True)
class Rate:
    """Bits per second that a port receives and sends; None where it does not count."""

    received: float | None
    sent: float | None


class Rates:
    """What ports receive and send, from their counters as they were read now and then."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[float, dict[int, Reading]]] = {}
        self._rates: dict[int, dict[int, Rate]] = {}

    def read(self, dpid: int, readings: Iterable[Reading], now: float) -> None:
        """A switch told all its counters at `now`. One that runs backwards was started anew."""
        current = {reading[0]: reading for reading in readings}
        at, before = self._last.get(dpid, (now, {}))
        if before and now - at < SHORTEST:
            return
        self._last[dpid] = now, current
        self._rates[dpid] = {
            number: rate
            for number, reading in current.items()
            if number in before and (rate := _rate(before[number], reading, now - at)) is not None
        }

    def forget(self, dpid: int) -> None:
        """A switch is away: nothing is known of its ports."""
        self._last.pop(dpid, None)
        self._rates.pop(dpid, None)

    def at(self, place: PortId) -> Rate | None:
        """The rate of one port, where it is known."""
        return self._rates.get(place.dpid, {}).get(place.port)


def _rate(before: Reading, after: Reading, elapsed: float) -> Rate | None:
    """The port's own clock is the better one, where it has one: its answer may have been on its way for long."""
    own = after[3] - before[3]
    if own < 0:
        return None
    seconds = own if own >= SHORTEST else elapsed
    if seconds <= 0:
        return None
    found: list[float | None] = []
    for then, now in ((before[1], after[1]), (before[2], after[2])):
        if then is not None and now is not None and now < then:
            return None
        found.append(None if then is None or now is None else (now - then) * 8 / seconds)
    return Rate(*found)


class Load(NamedTuple):
    """What goes over the fuller direction of a link, and what fits, in bits per second."""

    bits: float
    capacity: float

    @property
    def share(self) -> float:
        """How full it is: 1 is full."""
        return self.bits / self.capacity


@dataclass(frozen=True, slots=True)
class Use:
    """What goes over a link in bits per second, from its first end to the second and back, and what fits."""

    forward: float | None
    backward: float | None
    capacity: float | None

    @property
    def load(self) -> Load | None:
        """The fuller direction; None where that, or what fits, is not known."""
        known = [bits for bits in (self.forward, self.backward) if bits is not None]
        return Load(max(known), self.capacity) if known and self.capacity else None

    @property
    def share(self) -> float | None:
        """How full the fuller direction is: 1 is full."""
        return None if self.load is None else self.load.share


def use(link: Link, ends: tuple[PortId, PortId], rates: Rates, ports: Mapping[int, Mapping[int, Port]]) -> Use:
    """The use of a link whose ends are at these ports, in the order of the link's. Its capacity is what is declared,
    else what its slower port runs at."""
    first, second = rates.at(ends[0]), rates.at(ends[1])
    speeds = [
        port.speed for end in ends if (port := ports.get(end.dpid, {}).get(end.port)) is not None and port.speed
    ]
    return Use(_one_way(first, second), _one_way(second, first), link.bandwidth or min(speeds, default=None))


def _one_way(sender: Rate | None, receiver: Rate | None) -> float | None:
    """What one end sent, or, where nobody can ask it, what the other received."""
    if sender is not None and sender.sent is not None:
        return sender.sent
    return None if receiver is None else receiver.received


@dataclass(frozen=True)
class Costs:
    """How many steps each link's cost is raised by, and since when things are as they are."""

    steps: Mapping[Pair, int] = field(default_factory=dict)
    had: Mapping[Pair, float] = field(default_factory=dict)  # bits per second, when it was raised
    busy: Mapping[Pair, float] = field(default_factory=dict)  # above its step
    calm: Mapping[Pair, float] = field(default_factory=dict)  # below its step, whatever comes back
    quiet: Mapping[Pair, float] = field(default_factory=dict)  # below its step
    changed: float = float("-inf")
    raised: float = float("-inf")
    lowered: bool = False  # since something was raised last
    doublings: int = 0

    def factor(self, link: Pair, weight: float) -> float:
        """What a link's cost is multiplied by: 1 where it is idle, 1 + weight where it is full."""
        return 1 + weight * self.steps.get(link, 0) / STEPS


def settle(costs: Costs, loads: Mapping[Pair, Load], now: float) -> Costs:
    """What follows from the loads as they are now, one for each link of the network whose load is known."""
    costs = _watch(costs, loads, now)
    longer = 2.0**costs.doublings
    if costs.doublings and now - costs.raised > 2 * STEPS * PATIENCE * longer:  # all has long come down
        costs, longer = replace(costs, doublings=0), 1.0
    if now - costs.changed < PAUSE:
        return costs
    full = [link for link, since in costs.busy.items() if now - since >= SUSTAIN]
    if full:
        link = max(full, key=lambda link: (loads[link].share, link))
        return replace(
            costs,
            steps={**costs.steps, link: _level(loads[link])},
            had={**costs.had, link: max(loads[link].bits, costs.had.get(link, 0.0))},
            busy={},
            changed=now,
            raised=now,
            lowered=False,
            doublings=min(MOST_DOUBLINGS, costs.doublings + costs.lowered),
        )
    low = [link for link, since in costs.calm.items() if now - since >= CALM * longer]
    low = low or [link for link, since in sorted(costs.quiet.items()) if now - since >= PATIENCE * longer][:1]
    if not low:
        return costs
    fewer = {link: left for link, step in costs.steps.items() if (left := step - (link in low))}
    again = {link: since for link, since in costs.calm.items() if link not in low}
    quiet = {link: since for link, since in costs.quiet.items() if link not in low}
    had = {link: bits for link, bits in costs.had.items() if link in fewer}
    return replace(costs, steps=fewer, had=had, busy={}, calm=again, quiet=quiet, changed=now, lowered=True)


def _watch(costs: Costs, loads: Mapping[Pair, Load], now: float) -> Costs:
    """Since when each link is above, or below, its step. One of which nothing is known is below it, but not calm."""
    most = sorted((load.bits, link) for link, load in loads.items())[-2:]
    busy = {
        link: costs.busy.get(link, now) for link, load in loads.items() if _level(load) > costs.steps.get(link, 0)
    }
    calm, quiet = {}, {}
    for link, step in costs.steps.items():
        bound, load = step / STEPS - MARGIN, loads.get(link)
        if load is None or load.share < bound:
            quiet[link] = costs.quiet.get(link, now)
        if load is not None:
            elsewhere = max((bits for bits, other in most if other != link), default=0.0)
            back = max(0.0, min(costs.had[link] - load.bits, elsewhere))
            if load.bits + back < bound * load.capacity:
                calm[link] = costs.calm.get(link, now)
    return replace(costs, busy=busy, calm=calm, quiet=quiet)


def keep(costs: Costs, links: Iterable[Pair]) -> Costs:
    """Without what is remembered of links that are not there any more: they come back with the cost they have."""
    there = set(links)
    if there.issuperset(costs.steps):
        return costs
    steps = {link: step for link, step in costs.steps.items() if link in there}
    return replace(costs, steps=steps, had={link: costs.had[link] for link in steps})


def _level(load: Load) -> int:
    return min(STEPS, int(load.share * STEPS))
