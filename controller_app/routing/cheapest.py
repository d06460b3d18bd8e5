"""The instances of a list that cost least, between many pairs of edges at once: the layered minimum, for lists of which
nothing else is asked. What else may be asked of them is for `combinations`, which finds the same where nothing is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from controller_app.balancing.combining import Names, each_by_itself, share
from controller_app.model.allocation import SLOTS
from controller_app.routing.combinations import MOST, TooManyError
from controller_app.routing.constraints import Combination, Site, Trip
from controller_app.routing.distances import Routes
from controller_app.routing.layered import Cheapest, Journey, Layer, Layered
from controller_app.routing.spread import spread_cheapest

Sites = Sequence[Sequence[Site]]  # of each function, in the list's order


def cheapest(routes: Routes, sites: Sites, trips: Sequence[Sequence[Trip]]) -> list[Cheapest | None]:
    """For each set of trips the combinations of instances that cost least, summed up over those along the list (where
    there are only replies, over those); None where a trip has no way. Layers are the functions that packets go through.

    Links cost the same both ways, so a way back is measured as the way there. The weights of the routes have to be
    exact (see `units`): otherwise equal costs need not look equal.
    """
    through = [each for each in sites if not _copied(each)]
    layered = Layered(routes, [Layer([site.into for site in each], [site.out for site in each]) for each in through])
    return layered.cheapest([_journey(each) for each in trips])[1]


def _journey(trips: Sequence[Trip]) -> Journey:
    counted = [trip for trip in trips if not trip.backward] or trips
    ways = [[(trip.end, trip.start) if trip.backward else (trip.start, trip.end) for trip in each]
            for each in (counted, trips)]
    return Journey(tuple(ways[0]), tuple(way for way in dict.fromkeys(ways[1]) if way not in ways[0]))


def count(found: Cheapest, sites: Sites) -> int:
    """How many combinations there are, each with any tap."""
    number = found.count()
    for each in sites:
        number *= len(each) if _copied(each) else 1
    return number


def combinations(found: Cheapest, sites: Sites) -> Iterator[Combination]:
    """All of them, in order."""
    rows = found.combinations().tolist() if found.sizes else [[]]
    taps = [range(len(each)) for each in sites if _copied(each)]
    listed = []
    for row in rows:
        for copied in product(*taps):
            on_path, beside = iter(row), iter(copied)
            listed.append(tuple(next(beside if _copied(each) else on_path) for each in sites))
    yield from sorted(listed)


def table(found: Cheapest, sites: Sites, previous: Sequence[Names]) -> tuple[Names, ...]:
    """The combination of each slot, as `balancing.combining.share` gives it for all of these combinations; also where
    they are too many to list. Raises TooManyError where they are that, and there are taps."""
    weights = [{site.name: site.weight for site in each} for each in sites]
    used = iter(found.used())
    columns = [range(len(each)) if _copied(each) else next(used).tolist() for each in sites]
    if found.free and all(len(column) <= SLOTS for column in columns):
        shares = [{each[at].name: each[at].weight for at in column}
                  for each, column in zip(sites, columns, strict=True)]
        return each_by_itself(shares, previous)
    number = count(found, sites)
    if number <= MOST:
        listed = combinations(found, sites)
        names = [tuple(each[at].name for each, at in zip(sites, one, strict=True)) for one in listed]
        return share(names, weights, previous)
    if any(map(_copied, sites)):
        raise TooManyError(f"{number:,} combinations of instances, each with any tap, cost the same")
    return spread_cheapest(found, [[site.name for site in each] for each in sites], weights, previous)


def _copied(sites: Sequence[Site]) -> bool:
    """Whether these are taps, which packets do not go through."""
    return bool(sites) and not sites[0].on_path
