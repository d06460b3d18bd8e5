"""Distances and next hops: one row per destination switch.

A row holds the least cost from every switch to one destination, and the hop that each takes there; every other decision
about hops reads rows. Among hops of equal merit a hash of names decides, another one for each destination: see `hops`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controller_app.model.topology import Topology
from controller_app.routing.changes import carry, turned
from controller_app.routing.graph import Graph, Ints
from controller_app.routing.hops import NONE, choose, whole_rows
from controller_app.routing.search import weights_to
from controller_app.routing.units import Floats
from controller_app.routing.wires import Wires


@dataclass(frozen=True, slots=True)
class Row:
    """The way to one destination switch: cost from every switch that reaches it, and the hop to take there
    as (out port, next switch). The port is 0 where the switch has not told the number of a port known by name."""

    target: str
    cost: Mapping[str, float]
    hop: Mapping[str, tuple[int, str]]

    def walk(self, start: str) -> tuple[str, ...] | None:
        """The switches from `start` to the target, both included; None when there is no way."""
        if start not in self.cost:
            return None
        way = [start]
        while way[-1] != self.target:
            way.append(self.hop[way[-1]][1])
        return tuple(way)


class _Costs(Mapping[str, float]):
    """The costs of a row, read from its array."""

    def __init__(self, graph: Graph, weights: Floats) -> None:
        self._graph, self._weights = graph, weights

    def __getitem__(self, switch: str) -> float:
        weight = float(self._weights[self._graph.index[switch]])
        if weight == np.inf:
            raise KeyError(switch)
        return self._graph.unit.cost(weight)

    def __iter__(self) -> Iterator[str]:
        names = self._graph.names
        return iter([names[at] for at in np.flatnonzero(np.isfinite(self._weights))])

    def __len__(self) -> int:
        return int(np.count_nonzero(np.isfinite(self._weights)))


class _Hops(Mapping[str, tuple[int, str]]):
    """The hops of a row, read from the arcs that its switches use, which are found when first asked for."""

    def __init__(self, routes: Routes, target: int) -> None:
        self._routes, self._target, self._graph = routes, target, routes.graph
        self._arcs: Sequence[int] | None = None

    def _chosen(self) -> Sequence[int]:
        if self._arcs is None:
            self._arcs = self._routes.arcs(self._target).data  # reads as plain numbers, without a copy
        return self._arcs

    def __getitem__(self, switch: str) -> tuple[int, str]:
        arcs = self._chosen() if self._arcs is None else self._arcs
        arc = arcs[self._graph.index[switch]]
        if arc == NONE:
            raise KeyError(switch)
        return self._graph.steps[arc]

    def __iter__(self) -> Iterator[str]:
        names = self._graph.names
        return iter([names[at] for at, arc in enumerate(self._chosen()) if arc != NONE])

    def __len__(self) -> int:
        return sum(arc != NONE for arc in self._chosen())


class Block(NamedTuple):
    """Rows side by side. targets: their destinations; rows: [targets, nodes], weights in the graph's unit; place:
    [nodes], the row of each target, NONE for others."""

    targets: Ints
    rows: Floats
    place: Ints


class Routes:
    """Rows for one topology, computed when first asked for and kept as long as the object."""

    def __init__(self, topology: Topology) -> None:
        names = tuple(sorted(topology.switches))
        index = {name: at for at, name in enumerate(names)}
        wires = Wires.read(topology.links, index)
        self._start(wires, wires.graph(names, index), {})

    def _start(self, wires: Wires | None, graph: Graph, weights: dict[int, Floats]) -> None:
        self._wires = wires
        self.graph = graph
        self._weights = weights
        self._arcs: dict[int, NDArray[np.int32]] = {}
        self._rows: dict[str, Row] = {}

    @classmethod
    def of(cls, graph: Graph) -> Routes:
        """Rows for any graph, its arcs directed as they may be."""
        routes = cls.__new__(cls)
        routes._start(None, graph, {})
        return routes

    # -- rows ------------------------------------------------------------------------------------------------

    @property
    def parts(self) -> Mapping[str, int]:
        """The connected part that each switch is in, by number."""
        return self.graph.parts

    def row(self, target: str) -> Row:
        """The row of one destination switch. KeyError when there is no such switch."""
        row = self._rows.get(target)
        if row is None:
            number = self.graph.index[target]
            hops = _Hops(self, number)
            row = self._rows[target] = Row(target, _Costs(self.graph, self.weights_of(number)), hops)
        return row

    def prepare(self, targets: Iterable[str]) -> None:
        """Compute the rows of many destinations at once, which is sooner than one by one. Names that are no switch's
        are passed over."""
        index = self.graph.index
        self._compute([index[target] for target in targets if target in index])

    def weights_of(self, target: int) -> Floats:
        """[nodes]: the least weight from every switch to one, in the graph's unit."""
        if target not in self._weights:
            self._compute([target])
        return self._weights[target]

    def block(self, targets: Ints) -> Block:
        """The rows of several destinations side by side. targets: numbers of nodes, each once."""
        numbers: list[int] = targets.tolist()
        missing = [number not in self._weights for number in numbers]
        rows = self._compute([number for number, new in zip(numbers, missing, strict=True) if new])
        if len(rows) < len(numbers):
            rows = np.empty((len(numbers), len(self.graph)), self.graph.unit.dtype)
            for at, number in enumerate(numbers):
                rows[at] = self._weights[number]
        place = np.full(len(self.graph), NONE, np.int64)
        place[targets] = np.arange(len(targets))
        return Block(targets, rows, place)

    def _compute(self, targets: Sequence[int]) -> Floats:
        missing = [target for target in dict.fromkeys(targets) if target not in self._weights]
        found = weights_to(self.graph, np.array(missing, np.int64))
        found.flags.writeable = False
        self._weights.update(zip(missing, found, strict=True))
        return found

    def arcs(self, target: int) -> NDArray[np.int32]:
        """[nodes]: the arc of the graph that every switch uses towards one; `hops.NONE` at itself and where there is
        no way."""
        found = self._arcs.get(target)
        if found is None:
            row = self.weights_of(target)
            found = whole_rows(self.graph, row.reshape(1, -1), np.array([target]))[0]
            self._arcs[target] = found
        return found

    def choose(self, block: Block, target: Ints, switch: Ints) -> NDArray[np.int32]:
        """The arc that `switch[i]` uses towards `target[i]`, for every i; `hops.NONE` at itself and where there is no
        way. block: has the rows of the targets."""
        return choose(self.graph, block.rows, block.targets, block.place[target], switch)

    # -- what follows ------------------------------------------------------------------------------------------

    def following(self, topology: Topology) -> Routes:
        """The routes of what the network is now. Only rows that a change touched are computed again, the others are
        these; this object where nothing changed. The result is what `Routes(topology)` gives, to the last hop."""
        if self._wires is None:
            raise ValueError("these routes are of a graph, not of a topology, which alone can be followed")
        same = len(topology.switches) == len(self.graph) and topology.switches.keys() == self.graph.index.keys()
        if same and (topology.links is self._wires.links or topology.links == self._wires.links):
            return self
        keys: Ints | None = None
        if same:
            wires, graph, keys = self._wires.following(topology.links, self.graph)
        else:
            names = tuple(sorted(topology.switches))
            index = {name: at for at, name in enumerate(names)}
            wires = Wires.read(topology.links, index)
            graph = wires.graph(names, index)
        kept, again = carry(self.graph, graph, self._weights, keys)
        after = Routes.__new__(Routes)
        after._start(wires, graph, kept)
        for target, row in zip(again, weights_to(graph, np.array(again, np.int64)), strict=True):
            # in memory of its own: a row that outlives many changes shall not hold those that do not
            kept[target] = row.copy()
            kept[target].flags.writeable = False
        return after

    def turned_since(self, before: Routes) -> dict[str, frozenset[str]]:
        """Towards which destinations which switches have another next hop (port or neighbour) than `before`, or have
        one now, or have none any more. Looked at are all destinations whose rows `before` had computed: rules towards
        others cannot exist yet. Destinations that are gone, and switches that are, are left out.
        """
        if before is self:
            return {}
        index = self.graph.index
        asked = [index[name] for name in map(before.graph.names.__getitem__, before._weights) if name in index]
        self._compute(asked)
        pairs = turned(before.graph, self.graph, before._weights, {t: self._weights[t] for t in asked})
        names = self.graph.names
        found: dict[str, set[str]] = {}
        for target, switch in zip(pairs.target.tolist(), pairs.switch.tolist(), strict=True):
            found.setdefault(names[target], set()).add(names[switch])
        return {target: frozenset(switches) for target, switches in found.items()}
