"""Legs: what packets really meet from one switch to another, link by link, on the ways that transit rules take."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

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


class Legs:
    """The legs of one topology, each worked out when it is first asked for."""

    def __init__(self, topology: Topology, routes: Routes) -> None:
        self._topology, self._routes = topology, routes
        self._known: dict[tuple[str, str], Leg | None] = {}

    def leg(self, start: str, end: str) -> Leg | None:
        """The way from one switch to another; None when there is none."""
        key = start, end
        if key not in self._known:
            self._known[key] = self._walk(start, end)
        return self._known[key]

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
