"""Ways switch by switch, for many at once: what lies between two switches when every one uses its hop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller_app.routing.distances import Block, Routes
from controller_app.routing.graph import Ints

_UNSEEN = -2
_MOST_MARKS = 1 << 22  # beyond, sorting takes less memory than marking


class Ways(Sequence[tuple[str, ...]]):
    """Many ways, each a sequence of switches; () where there is none. As arrays: way i is
    `nodes[first[i]:first[i + 1]]`, in numbers of the graph."""

    def __init__(self, names: tuple[str, ...], nodes: NDArray[np.int32], first: Ints) -> None:
        self._names, self.nodes, self.first = names, nodes, first

    def __len__(self) -> int:
        return len(self.first) - 1

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        at = range(len(self))[at]
        names = self._names
        return tuple(names[node] for node in self.nodes[self.first[at] : self.first[at + 1]].tolist())

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return iter([tuple(way) for way in self.lists()])

    def lists(self) -> list[list[str]]:
        """All of them, by names of switches."""
        names = np.array(self._names, object)[self.nodes].tolist()
        return [names[start:end] for start, end in pairwise(self.first.tolist())]


def distinct(numbers: Ints, below: int) -> tuple[Ints, Ints]:
    """The different ones among numbers from 0 to `below`, sorted, and which of them each number is."""
    if below > _MOST_MARKS:
        found, which = np.unique(numbers, return_inverse=True)
        return found, which
    marks = np.zeros(below, np.bool_)
    marks[numbers] = True
    found = np.flatnonzero(marks)
    place = np.empty(below, np.int32)
    place[found] = np.arange(len(found), dtype=np.int32)
    return found, place[numbers].astype(np.int64)


def walk(routes: Routes, block: Block, start: Ints, target: Ints) -> tuple[NDArray[np.int32], Ints]:
    """The nodes of the way from every start to its target, both included, one way behind the other, and where each
    begins (and the last ends). There has to be a way. block: has the rows of the targets."""
    graph = routes.graph
    count = len(graph)
    following = np.full(len(block.targets) * count, _UNSEEN, np.int32)  # by row and node: what comes next
    row = block.place[target]
    alive = np.flatnonzero(start != target)
    at, row = start[alive], row[alive]
    passed: list[tuple[Ints, Ints]] = [(np.arange(len(start)), start)]
    while len(alive):
        here = row * count + at
        asked = np.unique(here[following[here] == _UNSEEN])
        arcs = routes.choose(block, block.targets[asked // count], asked % count)
        following[asked] = graph.head[arcs]
        at = following[here].astype(np.int64)
        passed.append((alive, at))
        onward = at != target[alive]
        alive, at, row = alive[onward], at[onward], row[onward]
    lengths = np.zeros(len(start), np.int64)
    for ways, _ in passed:
        lengths[ways] += 1
    first = np.concatenate(([0], np.cumsum(lengths)))
    nodes = np.empty(first[-1], np.int32)
    for step, (ways, node) in enumerate(passed):
        nodes[first[ways] + step] = node
    return nodes, first


def join(routes: Routes, block: Block, starts: Ints, targets: Ints) -> Ways:
    """Ways of several legs: row i of both, [ways, legs], is one way, from the first start to the first target, and so
    on. Where a leg starts elsewhere than the one before ended, something else carries packets between the two. A
    negative start stands for no way at all. block: has the rows of the targets."""
    count = len(routes.graph)
    there = np.flatnonzero((starts >= 0).all(axis=1))
    starts, targets_of = starts[there], targets[there]
    key = block.place[targets_of] * count + starts
    legs, which = distinct(key.reshape(-1), len(block.targets) * count)
    nodes, first = walk(routes, block, legs % count, block.targets[legs // count])
    again = np.zeros(starts.shape, np.int64)  # what the leg before ended with is not said twice
    again[:, 1:] = starts[:, 1:] == targets_of[:, :-1]
    begin = first[:-1][which] + again.reshape(-1)
    length = first[1:][which] - begin
    ends = np.cumsum(length)
    place = np.repeat(begin - (ends - length), length)
    place += np.arange(len(place))
    lengths = np.zeros(len(targets), np.int64)
    lengths[there] = length.reshape(starts.shape).sum(axis=1)
    return Ways(routes.graph.names, nodes[place], np.concatenate(([0], np.cumsum(lengths))))
