"""Sets of sources × sets of destinations × ports as conjunctive matches (ovs-actions(7), conjunction): as many rules
as there are members, instead of as many as there are combinations.

Which way is shorter depends on how many of the sources a switch has, so it is decided switch by switch. Both ways
stand at the same place among other classifiers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from controller_app.model.flow import Conjunction, Flow, FlowKey, Match, match
from controller_app.pipeline.boxes import Prefix, address_fields, bits_asked, traffic_fields
from controller_app.pipeline.build import Fields
from controller_app.pipeline.ranks import Place
from controller_app.pipeline.regions import PORTS, Region

CONJUNCTION, PLAIN = 0, 1  # of rules that ask for as many bits; a conjunction never overrules a plain one


@dataclass(frozen=True)
class Product:
    """Combinations of one IP version that ask for the same number of bits: any of `sources` (as the region has
    them, with what they are in this version) with any of `destinations` with any of `kinds` (matches of everything
    but addresses). `asked` is the number of bits."""

    region: Region
    version: int
    asked: int
    sources: Mapping[Prefix, Prefix]
    destinations: tuple[Prefix, ...]
    kinds: tuple[Fields, ...]

    @property
    def place(self) -> Place:
        return self.region.place(self.asked, CONJUNCTION)

    def saved(self, sources: int) -> int:
        """How many rules fewer than one for each combination, for so many of the sources; 0 or less: none."""
        sides = sources, len(self.destinations), len(self.kinds)
        return sides[0] * sides[1] * sides[2] - sum(side for side in sides if side > 1) - 1

    def singles(self, source: Prefix) -> Iterator[Match]:
        """One match for each combination with one source."""
        start = address_fields("src", self.sources[source])
        for target in self.destinations:
            end = address_fields("dst", target)
            for kind in self.kinds:
                yield match(**kind, **start, **end)

    def dimensions(self, sources: Sequence[Prefix], common: Match) -> list[list[Match]]:
        """The matches of each dimension, for these sources; all begin with `common` (registers). What a dimension of
        one member asks for is asked by the first of the others."""
        always = traffic_fields(self.version, "", PORTS, PORTS, None, False)[0]
        sides: list[list[Fields]] = [
            [address_fields("src", self.sources[prefix]) for prefix in sources],
            [address_fields("dst", prefix) for prefix in self.destinations],
            list(self.kinds),
        ]
        single = {name: value for side in sides if len(side) == 1 for name, value in side[0].items()}
        found = []
        for side in sides:
            if len(side) > 1:
                found.append([common + match(**{**always, **single, **member}) for member in side])
                single = {}
        return found


def products(region: Region) -> Iterator[Product]:
    """A region, but for packets that are of neither IP version, as products."""
    for version in (4, 6):
        sources, targets = _by_length(region.sources, version), _by_length(region.destinations, version)
        for length, some in sources.items():
            for target_length, more in targets.items():
                kinds: dict[int, list[Fields]] = defaultdict(list)
                for box in region.between(Prefix(version, 0, length), Prefix(version, 0, target_length)):
                    for kind in traffic_fields(version, *box[2:]):
                        kinds[bits_asked(kind)].append(kind)
                for asked, alike in kinds.items():
                    ends = length + target_length
                    yield Product(region, version, asked + ends, some, tuple(more.values()), tuple(alike))


def _by_length(prefixes: Iterable[Prefix], version: int) -> dict[int, dict[Prefix, Prefix]]:
    """Length -> prefix -> what it is in this version."""
    found: dict[int, dict[Prefix, Prefix]] = defaultdict(dict)
    for prefix in prefixes:
        if prefix.version in (0, version):
            found[prefix.length][prefix] = prefix if prefix.version else Prefix(version, 0, 0)
    return found


def worth_it(region: Region) -> bool:
    """Whether conjunctions could save rules anywhere."""
    first = region.traffic[0]
    marks = len(region.traffic) > 1 or first.low != first.high or len(region.dscp) > 1
    if sum((len(region.sources) > 1, len(region.destinations) > 1, marks)) < 2:
        return False  # one dimension saves nothing
    return any(product.saved(len(product.sources)) > 0 for product in products(region))


class Conjunctions:
    """The conjunctive matches of one switch, collected: a match that is a member of several gets all of them."""

    def __init__(self, table: int) -> None:
        self._table = table
        self._members: dict[tuple[int, Match], tuple[int, list[Conjunction]]] = {}

    def add(self, number: int, priority: int, dimensions: list[list[Match]], cookie: int) -> None:
        """Add the members of one conjunctive match."""
        for clause, members in enumerate(dimensions, start=1):
            for member in members:
                held = self._members.setdefault((priority, member), (cookie, []))
                held[1].append(Conjunction(number, clause, len(dimensions)))

    def flows(self) -> Iterator[tuple[FlowKey, Flow]]:
        """The members as flows."""
        for (priority, member), (cookie, found) in self._members.items():
            actions = tuple(sorted(found, key=lambda each: each.id))
            yield FlowKey(self._table, priority, member), Flow(self._table, priority, member, actions, None, cookie)
