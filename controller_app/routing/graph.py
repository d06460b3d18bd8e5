"""The network as arrays: directed arcs in compressed rows, one for each pair of neighbours.

Only switches are nodes, so no way leads through a host or a function. Nodes are numbered in the order of their names,
arcs by the nodes they join: the same network gives the same arrays, in whatever order it was declared. Of parallel
links the cheapest counts, among those the one at the lowest port.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from controller_app.routing.units import Floats, Unit, weigh

Ints = NDArray[np.int64]
Marks = NDArray[np.uint64]

NO_NUMBER = 0  # OpenFlow ports start at 1: here the port's number is not known yet
_ODD = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)
_FINISH = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)


def mixed(marks: Marks) -> Marks:
    """Well stirred bits of every number: a small change of one changes half of them."""
    stirred = (marks ^ (marks >> _HALF)) * _FINISH
    stirred ^= stirred >> _HALF
    stirred *= _FINISH
    return stirred


def usable(tail: Ints, head: Ints, cost: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which arcs of a list are arcs of the graph: not those from a node to itself, nor those of infinite cost."""
    found: NDArray[np.bool_] = np.isfinite(cost) & (tail != head)
    return found


def cheapest_of_each(key: Ints, weight: Floats, port: Ints) -> Ints:
    """The positions of one arc of each key, sorted by key: the cheapest, then the one at the lowest port."""
    numbered = np.where(port == NO_NUMBER, np.iinfo(np.int64).max, port)
    order: Ints = np.lexsort((numbered, weight, key))
    first: NDArray[np.bool_] = np.diff(key[order], prepend=-1) != 0
    found: Ints = order[first]
    return found


class Graph:
    """Arcs, sorted by tail and head.

    names: of the nodes, sorted; first[u] to first[u + 1]: the arcs that leave u; tail, head: nodes of each arc; key:
    tail · nodes + head; weight: in `unit`; port: the number of the tail's port, 0 where only its name is known.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        tail: Ints,
        head: Ints,
        cost: NDArray[np.float64],
        port: Ints,
        index: Mapping[str, int] | None = None,
    ) -> None:
        """From any list of directed arcs. An infinite cost stands for no arc at all, and so does one from a node to
        itself. ValueError when a cost is below 0, or no number."""
        index = index if index is not None else {name: at for at, name in enumerate(names)}
        count = len(names)
        wrong = ~(cost >= 0)
        if wrong.any():
            at = int(np.argmax(wrong))
            ends = f"{names[tail[at]]} to {names[head[at]]}"
            raise ValueError(f"the link from {ends} costs {cost[at]:g}; a cost is 0 or more, or infinite for no link")
        use = usable(tail, head, cost)
        if not use.all():
            tail, head, cost, port = tail[use], head[use], cost[use], port[use]
        weight, unit = weigh(cost, count)
        key = tail * count + head
        order = np.argsort(key, kind="stable")
        if (key[order][1:] == key[order][:-1]).any():
            order = cheapest_of_each(key, weight, port)
        self._fill(names, index, unit, key[order], weight[order], port[order])

    def _fill(
        self,
        names: tuple[str, ...],
        index: Mapping[str, int],
        unit: Unit,
        key: Ints,
        weight: Floats,
        port: Ints,
    ) -> None:
        count = len(names)
        self.names, self.index, self.unit = names, index, unit
        self.key, self.port = key, port
        self.weight: Floats = weight.astype(unit.dtype)
        self.tail: Ints = key // max(1, count)
        self.head: Ints = key - self.tail * count
        self.first: Ints = np.searchsorted(self.tail, np.arange(count + 1))

    def find(self, key: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Where arcs stand (or would) by tail · nodes + head, and whether they are there."""
        at = np.searchsorted(self.key, key)
        there = at < len(self.key)
        there[there] = self.key[at[there]] == key[there]
        return at, there

    def edited(self, keys: Ints, key: Ints, weight: Floats, port: Ints) -> Graph:
        """The same graph, in the same unit, with other arcs between some nodes: none of `keys` but what `key`, `weight`
        and `port` say, sorted by key."""
        at, there = self.find(keys)
        stays = np.ones(len(self.key), np.bool_)
        stays[at[there]] = False
        arrays: list[NDArray[Any]] = [old[stays] for old in (self.key, self.weight, self.port)]
        if len(key):
            places = np.searchsorted(arrays[0], key)
            arrays = [np.insert(old, places, new) for old, new in zip(arrays, (key, weight, port), strict=True)]
        found = Graph.__new__(Graph)
        found._fill(self.names, self.index, self.unit, *arrays)
        return found

    def __len__(self) -> int:
        return len(self.names)

    def nodes(self, names: Iterable[str]) -> Ints:
        """The numbers of nodes. KeyError where there is no such switch."""
        return np.array([self.index[name] for name in names], np.int64)

    @cached_property
    def degree(self) -> Ints:
        """How many arcs leave each node."""
        return np.diff(self.first)

    @cached_property
    def uniform(self) -> float | None:
        """The weight of every arc where all have the same."""
        if len(self.weight) and self.weight.min() == self.weight.max():
            return float(self.weight[0])
        return None

    @cached_property
    def reverse(self) -> csr_matrix:
        """The arcs turned round, for searches that start where ways end."""
        count = len(self.names)
        order = np.argsort(self.head * count + self.tail, kind="stable")
        starts = np.searchsorted(self.head[order], np.arange(count + 1)).astype(np.int32)
        data = self.weight[order].astype(np.float64)
        return csr_matrix((data, self.tail[order].astype(np.int32), starts), shape=(count, count))

    @cached_property
    def steps(self) -> list[tuple[int, str]]:
        """Each arc as (out port, next switch)."""
        names = self.names
        return [(port, names[head]) for port, head in zip(self.port.tolist(), self.head.tolist(), strict=True)]

    @cached_property
    def parts(self) -> Mapping[str, int]:
        """The connected part that each switch is in, by number."""
        if not self.names:
            return {}
        _, labels = connected_components(self.reverse, directed=True, connection="weak")
        return dict(zip(self.names, labels.tolist(), strict=True))

    @cached_property
    def _names_hashed(self) -> Marks:
        return np.array([crc32(name.encode()) for name in self.names], np.uint64)

    @cached_property
    def arc_marks(self) -> Marks:
        """A number of each arc, by the names of what it joins."""
        hashed = self._names_hashed
        return mixed(hashed[self.tail] * _ODD[0] + hashed[self.head] * _ODD[1])

    @cached_property
    def target_marks(self) -> Marks:
        """A number of each node as a target, by its name."""
        return mixed(self._names_hashed * _ODD[2])
