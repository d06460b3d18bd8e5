"""Legs: what packets really meet from one switch to another, link by link, on the ways that transit rules take."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from controller_app.balancing.selectors import matches
from controller_app.model.policy import Selector
from controller_app.model.topology import End, Link, Topology
from controller_app.routing.distances import Routes

Arc = tuple[str, int]  # a link in one direction: the switch it leaves, and by which port


@dataclass(frozen=True, slots=True)
class Leg:
    """The way from one switch to another. switches: both ends included. latency: seconds, of the links where it is
    known. dark: the first link whose latency is not known, None where all are."""

    switches: tuple[str, ...]
    arcs: tuple[Arc, ...]
    cost: float
    latency: float
    dark: Link | None = None


_NEARLY = 1e-9  # what sums of floats may differ by, of themselves, as a share


class Legs:
    """The legs of one topology, each worked out when it is first asked for."""

    def __init__(self, topology: Topology, routes: Routes) -> None:
        self._topology, self._routes = topology, routes
        self._known: dict[tuple[str, str], Leg | None] = {}
        self._having: dict[Selector, frozenset[str]] = {}

    def leg(self, start: str, end: str) -> Leg | None:
        """The way from one switch to another; None when there is none."""
        key = start, end
        if key not in self._known:
            self._known[key] = self._walk(start, end)
        return self._known[key]

    def having(self, selector: Selector) -> frozenset[str]:
        """The switches with such labels."""
        if selector not in self._having:
            switches = self._topology.switches.items()
            found = frozenset(name for name, switch in switches if matches(selector, switch.all_labels))
            self._having[selector] = found
        return self._having[selector]

    def tolerance(self, cost: float) -> float:
        """By how much sums of costs may differ from one of that size and be equal to it. Costs that are decimals of a
        few digits have a least step, and what differs by less is equal; of others the last digits say nothing."""
        unit = self._routes.graph.unit
        return 0.5 / unit.steps if unit.exact else _NEARLY * max(1.0, abs(cost))

    @cached_property
    def links(self) -> dict[Arc, Link]:
        """The link behind each port."""
        return {
            (end.switch, end.port): link
            for link in self._topology.links
            for end in (link.a, link.b)
            if isinstance(end.port, int)
        }

    @cached_property
    def _twins(self) -> frozenset[frozenset[str]]:
        """The switches that more than one link joins."""
        seen: set[frozenset[str]] = set()
        twice: set[frozenset[str]] = set()
        for link in self._topology.links:
            ends = frozenset((link.a.switch, link.b.switch))
            (twice if ends in seen else seen).add(ends)
        return frozenset(twice)

    def name(self, link: Link) -> str:
        """A link for people: by its switches, and by its ports where that is not enough."""
        if frozenset((link.a.switch, link.b.switch)) in self._twins:
            return f"{link.a}-{link.b}"
        return f"{link.a.switch}-{link.b.switch}"

    def name_of(self, arc: Arc) -> str:
        """A link for people, from the end at which it is entered."""
        link = self.links[arc]
        return self.name(link if (link.a.switch, link.a.port) == arc else replace(link, a=link.b, b=link.a))

    def reached(self, starts: Iterable[str], without: Container[End]) -> set[str]:
        """The switches that links lead to from any of these when some links (by their end `a`) are not used."""
        found = set(starts)
        waiting = list(found)
        while waiting:
            for link, other in self._around.get(waiting.pop(), ()):
                if other not in found and link.a not in without:
                    found.add(other)
                    waiting.append(other)
        return found

    @cached_property
    def _around(self) -> dict[str, list[tuple[Link, str]]]:
        found: dict[str, list[tuple[Link, str]]] = {}
        for link in self._topology.links:
            if isinstance(link.a.port, int) and isinstance(link.b.port, int):
                found.setdefault(link.a.switch, []).append((link, link.b.switch))
                found.setdefault(link.b.switch, []).append((link, link.a.switch))
        return found

    def _walk(self, start: str, end: str) -> Leg | None:
        row = self._routes.row(end)
        if start not in row.cost:
            return None
        switches, arcs, latency, dark = [start], [], 0.0, None
        for arc, onward in self._hops(start, end):
            link = self.links[arc]
            arcs.append(arc)
            switches.append(onward)
            if link.latency is None:
                dark = dark or link
            else:
                latency += link.latency
        return Leg(tuple(switches), tuple(arcs), row.cost[start], latency, dark)

    def _hops(self, start: str, end: str) -> Iterator[tuple[Arc, str]]:
        row, at = self._routes.row(end), start
        while at != end:
            port, onward = row.hop[at]
            yield (at, port), onward
            at = onward
