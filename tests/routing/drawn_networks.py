"""Random networks for property tests of routing, and plain computations to hold the results against."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

from hypothesis import strategies as st

from controller_app.model.topology import End, Link, Switch, Topology

NAMES = [f"s{number}" for number in range(9)]
EQUAL, WHOLE = (1,), (1, 1, 1, 2, 3, 10)
FREE, DECIMAL = (0, 0, 1, 2), (0.1, 0.2, 0.3, 0.7, 1)
ODD = (1 / 3, 2 / 3, 1, 1e-30, 1e9, 0.1)  # no unit makes these whole numbers
PALETTES = (EQUAL, WHOLE, FREE, DECIMAL, ODD)

Cable = tuple[int, int, float]  # two switches, by position in NAMES, and what it costs


def cables(palette: tuple[float, ...], most: int = 18) -> st.SearchStrategy[list[Cable]]:
    """Links, parallel ones and loops among them."""
    return st.lists(cable(palette), max_size=most)


def cable(palette: tuple[float, ...]) -> st.SearchStrategy[Cable]:
    """One link."""
    node = st.integers(0, len(NAMES) - 1)
    return st.tuples(node, node, st.sampled_from(palette))


networks = st.sampled_from(PALETTES).flatmap(cables)


def topology(found: Iterable[Cable], switches: Iterable[str] = NAMES) -> Topology:
    """The network of these links. Each has ports of its own."""
    there = {name: Switch(name, NAMES.index(name) + 1) for name in switches}
    links = [
        Link(End(NAMES[a], 2 * number + 1), End(NAMES[b], 2 * number + 2), cost=cost)
        for number, (a, b, cost) in enumerate(found)
    ]
    return Topology(there, tuple(link for link in links if link.a.switch in there and link.b.switch in there))


def exact_distances(network: Topology, target: str) -> dict[str, Fraction]:
    """The least cost from every switch that reaches the target, by Bellman and Ford, in exact fractions. A cost counts
    as the shortest decimal that names it."""
    found = {target: Fraction(0)}
    for _ in network.switches:
        for link in network.links:
            for a, b in ((link.a.switch, link.b.switch), (link.b.switch, link.a.switch)):
                if b in found:
                    way = found[b] + Fraction(str(link.cost))
                    if way < found.get(a, way + 1):
                        found[a] = way
    return found


def hops_of(routes: object, switches: Iterable[str]) -> dict[str, Mapping[str, tuple[int, str]]]:
    """Every hop of every row, as plain dictionaries."""
    return {name: dict(routes.row(name).hop) for name in switches}  # type: ignore[attr-defined]
