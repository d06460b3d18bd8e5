"""Which combinations of instances a chain may use between two edges: exactly those that meet everything it requires.

A search by function leaves out what cannot be completed: what is still to come costs, and takes, at least the least
there is. Nothing else is left out, so that what is not found does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import NamedTuple

from controller_app.routing.constraints import Between, Combination, exceeds
from controller_app.routing.legs import Leg

MOST = 1 << 16  # combinations that are considered for one pair of edges


class TooManyError(ValueError):
    """More combinations than can be considered."""


def admitted(between: Between) -> list[Combination]:
    """The combinations that slots may go to: all that meet every requirement; of them those with most instances that
    are preferred; of these, where cost counts, the cheapest. In the order of the instances.

    Raises TooManyError.
    """
    return _Search(between, between.asked).run()


def why(between: Between, position: int, index: int) -> str | None:
    """Why an instance (`index`) of a function (`position`) is in no combination that meets everything: what fails in
    the best of those that meet what is asked before. None where it is in one, whatever that costs.

    Raises TooManyError.
    """
    only = {position: index}
    if _Search(between, between.asked, only, every=True, first=True).run():
        return None
    best: list[Combination] = []
    for count in range(len(between.asked) + 1):
        found = _Search(between, between.asked[:count], only, every=True).run()
        if not found:
            if not count:
                return between.no_way(tuple(only.get(n, 0) for n in range(len(between.sites))))
            failed = [between.check(between.asked[count - 1], chosen) for chosen in best]
            return min(each for each in failed if each is not None)[1]
        best = found
    raise AssertionError("a combination meets everything, and was not found")


def passed_over(between: Between, position: int, index: int) -> str:
    """Why an instance is in no combination that slots go to, though it is in one that meets everything: what is wrong
    with the best of these. Raises TooManyError."""
    best, chosen = admitted(between)[0], _Search(between, between.asked, {position: index}).run()[0]
    if between.disliked(chosen) > between.disliked(best):
        assert between.require is not None and between.require.prefer is not None
        return f"others match {between.require.prefer.text or 'prefer'!r}"
    return f"cost {between.cost(chosen):.6g} through it, and {between.cost(best):.6g} is the least"


class _Gap(NamedTuple):
    """What all trips together take between two instances, or an instance and an edge."""

    cost: float
    latencies: tuple[float, ...]  # of each trip


class _Search:
    """Depth first, function by function, the best first. rules: those that hold. only: position -> the one instance
    that is considered. every: whatever it costs, preferred or not. first: one is enough."""

    def __init__(
        self,
        between: Between,
        rules: Sequence[str],
        only: Mapping[int, int] | None = None,
        every: bool = False,
        first: bool = False,
    ) -> None:
        self._of, self._rules = between, frozenset(rules)
        self._every, self._first = every, first
        self._ranked = not every and (between.cheapest or between.require is not None)
        self._steps = 0
        self._candidates = [self._fitting(position, only or {}) for position in range(len(between.sites))]
        self._through = [n for n, sites in enumerate(between.sites) if sites and sites[0].on_path]
        self._known: dict[tuple[int, int, int], _Gap | None] = {}
        self._rest = self._least()
        self._found: list[tuple[Combination, tuple[int, float]]] = []
        self._best: tuple[int, float] = (len(between.sites) + 1, inf)

    def run(self) -> list[Combination]:
        """The combinations, in the order of the instances."""
        if all(self._standing(switch) for trip in self._of.trips for switch in (trip.start, trip.end)):
            self._grow((), -1, 0.0, (0.0,) * len(self._of.trips), 0)
        return sorted(chosen for chosen, rank in self._found if not self._worse(rank))

    def _standing(self, switch: str) -> bool:
        """Whether an edge, or an instance, may be at this switch."""
        require = self._of.require
        if require is None:
            return True
        if "within" in self._rules and require.within is not None:
            start = self._of.trips[0].start
            return self._of.outside(require.within, start, switch) is None and not self._avoided(switch)
        return not self._avoided(switch)

    def _avoided(self, switch: str) -> bool:
        return "avoid" in self._rules and self._of.avoided(switch)

    def _fitting(self, position: int, only: Mapping[int, int]) -> list[int]:
        """The instances of a function that may be used at all."""
        return [
            index
            for index, site in enumerate(self._of.sites[position])
            if only.get(position, index) == index
            and self._standing(site.into)
            and self._standing(site.out)
            and not ("avoid" in self._rules and self._of.shunned(site))
        ]

    # -- what lies between two functions ---------------------------------------------------------------------

    def _gap(self, number: int, before: int, after: int) -> _Gap | None:
        """What all trips together take between the instance before and the one after (-1: an edge), the functions that
        packets go through being counted; None where one of them may not, or cannot, go there."""
        key = number, before, after
        if key not in self._known:
            self._known[key] = self._measure(number, before, after)
        return self._known[key]

    def _measure(self, number: int, before: int, after: int) -> _Gap | None:
        between, cost, latencies = self._of, 0.0, []
        one = between.sites[self._through[number - 1]][before] if before >= 0 else None
        other = between.sites[self._through[number]][after] if after >= 0 else None
        for trip in between.trips:
            if trip.backward:
                start = trip.start if other is None else other.into
                end = trip.end if one is None else one.out
            else:
                start = trip.start if one is None else one.out
                end = trip.end if other is None else other.into
            leg = between.legs.leg(start, end)
            if leg is None or not self._passable(leg):
                return None
            latencies.append(leg.latency)
            cost += leg.cost if trip in between.counted else 0.0
        return _Gap(cost, tuple(latencies))

    def _passable(self, leg: Leg) -> bool:
        between, require = self._of, self._of.require
        shunned = require.avoid if require is not None and "avoid" in self._rules else None
        if shunned is not None and not between.legs.having(shunned).isdisjoint(leg.switches):
            return False
        if "latency" in self._rules and leg.dark is not None:
            return False
        if "bandwidth" in self._rules and require is not None and require.bandwidth is not None:
            for arc in leg.arcs:
                if exceeds(require.bandwidth, between.left(arc)):  # once at least
                    return False
        return True

    def _least(self) -> list[dict[int, _Gap]]:
        """By number of gaps passed and the instance before, the least that all that follows can take."""
        count, last = len(self._through), -1
        rest: list[dict[int, _Gap]] = [{} for _ in range(count + 1)]
        trips = len(self._of.trips)
        for number in range(count, -1, -1):
            here = self._candidates[self._through[number - 1]] if number else [last]
            onward = self._candidates[self._through[number]] if number < count else [last]
            for before in here:
                cost, latencies = inf, (inf,) * trips
                for after in onward:
                    gap = self._gap(number, before, after)
                    more = (_Gap(0.0, (0.0,) * trips) if number == count else rest[number + 1].get(after))
                    if gap is not None and more is not None:
                        cost = min(cost, gap.cost + more.cost)
                        sums = (a + b for a, b in zip(gap.latencies, more.latencies, strict=True))
                        latencies = tuple(map(min, latencies, sums))
                if cost < inf:
                    rest[number][before] = _Gap(cost, latencies)
        return rest

    # -- the search ------------------------------------------------------------------------------------------

    def _grow(
        self, chosen: Combination, before: int, cost: float, latencies: tuple[float, ...], passed: int
    ) -> None:
        """before: the last instance that packets go through (-1: the edge). passed: how many of them."""
        position = len(chosen)
        if self._first and self._found:
            return
        if position == len(self._of.sites):
            self._finish(chosen, before, cost, latencies, passed)
            return
        on_path = passed < len(self._through) and self._through[passed] == position
        options = []
        for index in self._candidates[position]:
            if on_path:
                gap, rest = self._gap(passed, before, index), self._rest[passed + 1].get(index)
                if gap is None or rest is None:
                    continue
                spent = tuple(a + b for a, b in zip(latencies, gap.latencies, strict=True))
                if self._late(spent, rest.latencies):
                    continue
                options.append((cost + gap.cost + rest.cost, index, cost + gap.cost, spent))
            else:
                options.append((cost, index, cost, latencies))
        for least, index, now, spent in sorted(options):
            grown = (*chosen, index)
            if self._worse((self._passed_over(grown), least)):
                continue
            if "apart" in self._rules and self._of.check("apart", grown) is not None:
                continue
            self._grow(grown, index if on_path else before, now, spent, passed + on_path)

    def _finish(
        self, chosen: Combination, before: int, cost: float, latencies: tuple[float, ...], passed: int
    ) -> None:
        gap = self._gap(passed, before, -1)
        if gap is None:
            return
        if self._late(tuple(a + b for a, b in zip(latencies, gap.latencies, strict=True)), None):
            return
        rank = self._passed_over(chosen), cost + gap.cost
        if self._worse(rank):
            return
        self._steps += 1
        if self._steps > MOST:
            raise TooManyError(f"more than {MOST:,} combinations of instances would do")
        for rule in ("bandwidth", "backup"):
            if rule in self._rules and self._of.check(rule, chosen) is not None:
                return
        self._found.append((chosen, rank))
        if rank < self._best:
            self._best = rank

    def _passed_over(self, chosen: Combination) -> int:
        """How many of the instances are not preferred."""
        if not self._ranked or self._of.require is None or self._of.require.prefer is None:
            return 0
        return self._of.disliked(chosen)

    def _worse(self, rank: tuple[int, float]) -> bool:
        if not self._ranked:
            return False
        if rank[0] != self._best[0]:
            return rank[0] > self._best[0]
        return self._of.cheapest and rank[1] > self._best[1] + self._of.legs.tolerance(self._best[1])

    def _late(self, spent: tuple[float, ...], rest: tuple[float, ...] | None) -> bool:
        if "latency" not in self._rules:
            return False
        assert self._of.require is not None and self._of.require.latency is not None
        bound = self._of.require.latency
        return any(exceeds(a + b, bound) for a, b in zip(spent, rest or (0.0,) * len(spent), strict=True))
