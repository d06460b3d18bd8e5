"""What a chain requires of the instances it uses between two edges, and why a combination of them does not do.

Packets always go the network's least-cost way from one waypoint to the next (`legs`), so what is judged is a
combination of instances on the ways its packets really take: from the edge where they enter through the instances to
the edge where they leave, and the same for replies. `combinations` finds those that meet everything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from typing import NamedTuple

from controller_app.balancing.selectors import matches
from controller_app.model.policy import Require
from controller_app.model.topology import End, Link, Topology
from controller_app.routing.legs import Arc, Leg, Legs

NEARLY = 1e-9  # what sums of floats may differ by, of themselves
Combination = tuple[int, ...]  # which of its sites each function uses


class Trip(NamedTuple):
    """A way that packets take through the functions: from edge to edge, along the list or against it."""

    start: str
    end: str
    backward: bool = False

    @property
    def direction(self) -> tuple[str, str] | bool:
        """What tells the two directions between its edges apart; within one edge, there and back."""
        return self.backward if self.start == self.end else (self.start, self.end)


@dataclass(frozen=True, slots=True)
class Site:
    """Where an instance is: the switch where packets along the list enter it, and the one where they come out.

    labels: of its endpoints. on_path: packets go through it; otherwise it gets copies, of packets that come out of the
    function before it, or enter.
    """

    name: str
    into: str
    out: str
    weight: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    on_path: bool = True

    def entry(self, backward: bool) -> str:
        """The switch where packets enter."""
        return self.out if backward else self.into

    def exit(self, backward: bool) -> str:
        """The switch where they come out."""
        return self.into if backward else self.out


# What can be asked of a combination, in the order in which it is said what fails.
RULES = ("within", "avoid", "apart", "latency", "bandwidth", "backup")


@dataclass(frozen=True)
class Between:
    """The choice of a list of functions between two edges.

    sites: of each function, in the list's order. trips: those that packets make; what is required holds for each.
    cheapest: only the combinations of least cost count, summed up over the trips along the list. reserved: bits per
    second that others have of a link in one direction.
    """

    topology: Topology
    legs: Legs
    sites: tuple[tuple[Site, ...], ...]
    trips: tuple[Trip, ...]
    require: Require | None = None
    cheapest: bool = False
    reserved: Mapping[Arc, float] = field(default_factory=dict)

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """Which of the rules are asked for."""
        require = self.require
        return () if require is None else tuple(rule for rule in RULES if getattr(require, rule) not in (None, False))

    def cost(self, chosen: Combination) -> float:
        """What the trips along the list cost; infinite where there is no way."""
        return sum((self.length(chosen, trip) for trip in self.counted), 0.0)

    def length(self, chosen: Combination, trip: Trip) -> float:
        """The sum of link costs of one trip; infinite where there is no way."""
        return sum((inf if leg is None else leg.cost for leg in self.way(chosen, trip)), 0.0)

    @cached_property
    def counted(self) -> tuple[Trip, ...]:
        """The trips whose costs count: along the list, since its replies go the same way back; where there are only
        replies, those."""
        return tuple(trip for trip in self.trips if not trip.backward) or self.trips

    def way(self, chosen: Combination, trip: Trip) -> list[Leg | None]:
        """The legs of a trip, through the functions that packets go through."""
        at, found = trip.start, []
        for site in self._met(chosen, trip):
            if site.on_path:
                found.append(self.legs.leg(at, site.entry(trip.backward)))
                at = site.exit(trip.backward)
        found.append(self.legs.leg(at, trip.end))
        return found

    def crossings(self, chosen: Combination) -> Counter[Arc]:
        """How often a link is crossed in one direction when one packet goes each way between the edges: by it, and by
        the copies of it for taps. Where packets go one way both along the list and against it, whatever crosses the
        link more often counts."""
        found: dict[object, Counter[Arc]] = {}
        for trip in self.trips:
            found[trip.direction] = found.get(trip.direction, Counter()) | Counter(self._arcs(chosen, trip))
        return sum(found.values(), Counter())

    def reason(self, chosen: Combination) -> str | None:
        """Why a combination is not admitted, whatever it costs; None where it is."""
        if any(leg is None for trip in self.trips for leg in self.way(chosen, trip)):
            return self.no_way(chosen)
        for rule in self.asked:
            failed = self.check(rule, chosen)
            if failed is not None:
                return failed[1]
        return None

    def check(self, rule: str, chosen: Combination) -> tuple[float, str] | None:
        """What is wrong with a combination by one rule: how much (to compare), and in words. None: nothing."""
        return self._checks[rule](chosen)

    # -- inside ----------------------------------------------------------------------------------------------

    @cached_property
    def _checks(self) -> Mapping[str, Callable[[Combination], tuple[float, str] | None]]:
        return {rule: getattr(self, f"_{rule}") for rule in RULES}

    def _met(self, chosen: Combination, trip: Trip) -> list[Site]:
        """The instances in the order of a trip."""
        found = [sites[index] for sites, index in zip(self.sites, chosen, strict=True)]
        return found[::-1] if trip.backward else found

    def _arcs(self, chosen: Combination, trip: Trip) -> Iterator[Arc]:
        """What a packet crosses on a trip, and what the copies of it do, in no order."""
        at = trip.start
        for site in self._met(chosen, trip):
            leg = self.legs.leg(at, site.entry(trip.backward) if site.on_path else site.into)
            yield from () if leg is None else leg.arcs
            if site.on_path:
                at = site.exit(trip.backward)
        leg = self.legs.leg(at, trip.end)
        yield from () if leg is None else leg.arcs

    def no_way(self, chosen: Combination) -> str:
        """Where there is no way for a combination that has none."""
        for trip in self.trips:
            at = trip.start
            for site in self._met(chosen, trip):
                if site.on_path:
                    if self.legs.leg(at, site.entry(trip.backward)) is None:
                        return f"no way from {at} to {site.entry(trip.backward)}"
                    at = site.exit(trip.backward)
            if self.legs.leg(at, trip.end) is None:
                return f"no way from {at} to {trip.end}"
        raise AssertionError("there is a way")

    def _within(self, chosen: Combination) -> tuple[float, str] | None:
        assert self.require is not None and self.require.within is not None
        level, start = self.require.within, self.trips[0].start
        for switch in self._standing(chosen):
            said = self.outside(level, start, switch)
            if said is not None:
                return 0, said
        return None

    def outside(self, level: str, start: str, switch: str) -> str | None:
        """Why a switch is not in the same place as an edge; None where it is."""
        if level == "switch":
            return None if switch == start else f"{switch} is another switch than {start}"
        here, there = (getattr(self.topology.switches[name], level) for name in (start, switch))
        if here is None or there is None:
            return f"{start if here is None else switch} has no {level}"
        return None if here == there else f"{switch} is in {level} {there}, {start} in {here}"

    def _standing(self, chosen: Combination) -> Iterator[str]:
        """The edges, and the switches of the instances."""
        for trip in self.trips:
            yield from (trip.start, trip.end)
        for sites, index in zip(self.sites, chosen, strict=True):
            yield from (sites[index].into, sites[index].out)

    def _avoid(self, chosen: Combination) -> tuple[float, str] | None:
        assert self.require is not None and self.require.avoid is not None
        for sites, index in zip(self.sites, chosen, strict=True):
            if self.shunned(sites[index]):
                return 0, f"its labels match {self.require.avoid.text or 'avoid'!r}"
        for switch in self._standing(chosen):
            if self.avoided(switch):
                return 1, f"{switch} matches {self.require.avoid.text or 'avoid'!r}"
        for trip in self.trips:
            for leg in self.way(chosen, trip):
                for switch in leg.switches if leg is not None else ():
                    if self.avoided(switch):
                        return 2, f"its way crosses {switch}, which matches {self.require.avoid.text or 'avoid'!r}"
        return None

    def avoided(self, switch: str) -> bool:
        """Whether a switch has the labels to avoid."""
        require = self.require
        if require is None or require.avoid is None:
            return False
        return switch in self.legs.having(require.avoid)

    def shunned(self, site: Site) -> bool:
        """Whether an instance's own labels are those to avoid."""
        require = self.require
        return require is not None and require.avoid is not None and bool(site.labels) and matches(
            require.avoid, site.labels)

    def preferred(self, site: Site) -> bool:
        """Whether an instance, or its switch, has the labels that are preferred."""
        require = self.require
        if require is None or require.prefer is None:
            return True
        switches = {site.into, site.out}
        return any(
            matches(require.prefer, {**self.topology.switches[switch].all_labels, **site.labels}) for switch in switches
        )

    def disliked(self, chosen: Combination) -> int:
        """How many instances of a combination, or its beginning, are not preferred."""
        return sum(not self.preferred(sites[index]) for sites, index in zip(self.sites, chosen, strict=False))

    def _apart(self, chosen: Combination) -> tuple[float, str] | None:
        """Of a whole combination, or its beginning."""
        where: dict[str, str] = {}
        for sites, index in zip(self.sites, chosen, strict=False):
            for switch in {sites[index].into, sites[index].out}:
                if switch in where:
                    return 0, f"{where[switch]} and {sites[index].name} are both at {switch}"
                where[switch] = sites[index].name
        return None

    def _latency(self, chosen: Combination) -> tuple[float, str] | None:
        assert self.require is not None and self.require.latency is not None
        bound, worst = self.require.latency, None
        for trip in self.trips:
            legs = [leg for leg in self.way(chosen, trip) if leg is not None]
            dark = next((leg.dark for leg in legs if leg.dark is not None), None)
            if dark is not None:
                return inf, f"the latency of {self.legs.name(dark)} is not known"
            total = sum(leg.latency for leg in legs)
            if exceeds(total, bound) and (worst is None or total > worst[0]):
                via = list(dict.fromkeys(switch for leg in legs for switch in leg.switches))
                between = [switch for switch in via if switch not in (trip.start, trip.end)]
                said = f"{seconds(total)} > {seconds(bound)}" + (f" via {', '.join(between)}" if between else "")
                worst = total, said
        return worst

    def _bandwidth(self, chosen: Combination) -> tuple[float, str] | None:
        assert self.require is not None and self.require.bandwidth is not None
        wanted, worst = self.require.bandwidth, None
        for arc, times in self.crossings(chosen).items():
            if self.legs.links[arc].bandwidth is None:
                return inf, f"the bandwidth of {self.legs.name_of(arc)} is not known"
            left, needed = self.left(arc), wanted * times
            if exceeds(needed, left) and (worst is None or needed - left > worst[0]):
                again = "" if times == 1 else f", which is crossed {'twice' if times == 2 else f'{times} times'}"
                worst = needed - left, f"{rates(left, needed)} left on {self.legs.name_of(arc)}{again}"
        return worst

    def left(self, arc: Arc) -> float:
        """What others leave of a link in one direction; nothing of one whose bandwidth is not known."""
        return max(0.0, (self.legs.links[arc].bandwidth or 0.0) - self.reserved.get(arc, 0.0))

    def _backup(self, chosen: Combination) -> tuple[float, str] | None:
        for trip in self.trips:
            used = {
                self.legs.links[arc].a: self.legs.links[arc]
                for leg in self.way(chosen, trip)
                if leg is not None
                for arc in leg.arcs
            }
            if not self._left_over(trip, frozenset(used)):
                shared = self._shared(trip, used)
                return len(used), f"no backup: every way from {trip.start} to {trip.end} takes {shared}"
        return None

    def _shared(self, trip: Trip, used: Mapping[End, Link]) -> str:
        """The links that a trip's other ways take as well: all that none does without, or else some of which each takes
        one. used: the trip's own, without which there is no way."""
        every = [link for end, link in used.items() if not self._left_over(trip, frozenset((end,)))]
        if every:
            return " and ".join(map(self.legs.name, every))
        some = dict(used)
        for end in used:
            fewer = frozenset(some) - {end}
            if not self._left_over(trip, fewer):
                del some[end]
        return " or ".join(map(self.legs.name, some.values()))

    def _left_over(self, trip: Trip, used: frozenset[End]) -> bool:
        """Whether some way through instances of all functions is left when these links are not used."""
        key = trip, used
        if key not in self._tried:
            reached = self.legs.reached((trip.start,), used)
            for sites in self.sites[::-1] if trip.backward else self.sites:
                if sites and sites[0].on_path:
                    onward = {site.exit(trip.backward) for site in sites if site.entry(trip.backward) in reached}
                    reached = self.legs.reached(onward, used)
            self._tried[key] = trip.end in reached
        return self._tried[key]

    @cached_property
    def _tried(self) -> dict[tuple[Trip, frozenset[End]], bool]:
        return {}


def exceeds(value: float, bound: float) -> bool:
    """Whether a sum is more than its bound, by more than floats differ of themselves."""
    return value > bound * (1 + NEARLY)


def seconds(value: float) -> str:
    """`7 ms`."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if value >= scale:
            return f"{value / scale:.9g} {unit}"
    return f"{value / 1e-6:.9g} µs"


def bits(value: float) -> str:
    """`100 Mbps`."""
    return rates(value, value).partition(" of ")[2]


def rates(left: float, wanted: float) -> str:
    """`80 of 100 Mbps`."""
    for unit, scale in (("Tbps", 1e12), ("Gbps", 1e9), ("Mbps", 1e6), ("kbps", 1e3)):
        if wanted >= scale:
            return f"{left / scale:.9g} of {wanted / scale:.9g} {unit}"
    return f"{left:.9g} of {wanted:.9g} bps"
