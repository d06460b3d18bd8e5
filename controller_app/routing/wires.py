"""The links of a topology as arrays, and the graph they make; after a change, made from the one before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller_app.model.topology import End, Link
from controller_app.routing.graph import NO_NUMBER, Graph, Ints, cheapest_of_each, usable
from controller_app.routing.units import weigh

_FEW = 64  # links: more changed ones, and the graph is made anew


@dataclass(frozen=True, slots=True, eq=False)
class Wires:
    """Link by link, in the order they stand in the topology.

    ends: [4, links], switch and port of one end, switch and port of the other.
    """

    links: Sequence[Link]
    ends: Ints
    cost: NDArray[np.float64]

    @staticmethod
    def read(links: Sequence[Link], index: Mapping[str, int]) -> Wires:
        """index: number of each switch."""
        near, far = [link.a for link in links], [link.b for link in links]
        ends = np.empty((4, len(links)), np.int64)
        for row, side in ((0, near), (2, far)):
            ends[row] = [index[end.switch] for end in side]
            ends[row + 1] = _ports(side)
        return Wires(links, ends, np.array([link.cost for link in links], np.float64))

    def graph(self, names: tuple[str, ...], index: Mapping[str, int]) -> Graph:
        """Every link as two arcs."""
        a, a_port, b, b_port = self.ends
        return Graph(
            names,
            np.concatenate((a, b)),
            np.concatenate((b, a)),
            np.concatenate((self.cost, self.cost)),
            np.concatenate((a_port, b_port)),
            index,
        )

    def following(self, links: Sequence[Link], before: Graph) -> tuple[Wires, Graph, Ints | None]:
        """The same of other links between the same switches, their graph, and where the two graphs may differ: keys of
        arcs, or None for anywhere. before: the graph of these."""
        start = _common(self.links, links)
        end = _common(self.links[start:][::-1], links[start:][::-1])
        last, new_last = len(self.links) - end, len(links) - end
        fresh = Wires.read(links[start:new_last], before.index)
        after = Wires(
            links,
            np.concatenate((self.ends[:, :start], fresh.ends, self.ends[:, last:]), axis=1),
            np.concatenate((self.cost[:start], fresh.cost, self.cost[last:])),
        )
        changed = np.concatenate((self.ends[:, start:last], fresh.ends), axis=1)
        edited = after._edit(before, changed) if 0 < changed.shape[1] <= _FEW else None
        return (after, *edited) if edited else (after, after.graph(before.names, before.index), None)

    def _edit(self, before: Graph, changed: Ints) -> tuple[Graph, Ints] | None:
        """The graph of these, from one with other links between the ends of `changed`; None where all weights are
        counted otherwise now."""
        a, a_port, b, b_port = self.ends
        use = usable(a, b, self.cost)
        weight, unit = weigh(self.cost if use.all() else self.cost[use], len(before))
        if unit != before.unit or not (self.cost >= 0).all():
            return None
        count = len(before)
        pair = np.minimum(a, b) * count + np.maximum(a, b)
        if not use.all():
            pair = pair[use]
            a_port, b_port, a, b = a_port[use], b_port[use], a[use], b[use]
        pairs = np.unique(np.minimum(changed[0], changed[2]) * count + np.maximum(changed[0], changed[2]))
        at = np.flatnonzero(pairs[np.searchsorted(pairs[:-1], pair)] == pair)
        key = np.concatenate((a[at] * count + b[at], b[at] * count + a[at]))
        weights = np.concatenate((weight[at], weight[at]))
        ports = np.concatenate((a_port[at], b_port[at]))
        best = cheapest_of_each(key, weights, ports)
        keys = np.unique(np.concatenate((pairs, pairs % count * count + pairs // count)))
        return before.edited(keys, key[best], weights[best], ports[best]), keys


def _ports(ends: list[End]) -> Ints:
    ports = [end.port for end in ends]
    if set(map(type, ports)) <= {int}:
        return np.array(ports, np.int64)
    return np.array([port if isinstance(port, int) else NO_NUMBER for port in ports], np.int64)


def _common(one: Sequence[Link], other: Sequence[Link]) -> int:
    """With how many equal links two lists begin. Halving lets the comparison of sequences do the work, which is quick
    where the links are the same objects."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
