"""The cheapest instances of a chain: a layered minimum over rows.

A query is an ingress switch, one layer of instances for each function of the chain, and an egress switch. Layers are
shared by many queries. From the last layer to the first, each instance learns what the rest of the way costs at least
and which instance of the next layer that takes: once for every egress, not for every query. Between waypoints packets
go the network's least-cost ways; through an instance they get from its entry to its exit switch at no cost.

Ties: the combination that comes first in the order of the layers and of the instances in them. They are exact where
costs are decimals of a few digits (see `units`); costs of other kinds add up to within rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controller_app.routing.distances import Block, Routes
from controller_app.routing.graph import Ints
from controller_app.routing.ways import Ways, distinct, join

Costs = NDArray[np.float64]
Bools = NDArray[np.bool_]

NONE = -1
_AT_ONCE = 1 << 18  # sums made in one go


class Layer(NamedTuple):
    """The instances of one function: at which switch packets enter each, and at which they come out of it."""

    entries: Sequence[str]
    exits: Sequence[str]


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Answers to many queries. cost: [queries], infinite where there is no way; instances: [queries, layers], positions
    in the layers, NONE where there is no way. starts, targets: [queries, layers + 1], the switches between which the
    legs lead, as numbers in the graph; block: the rows of all targets."""

    routes: Routes
    block: Block
    cost: Costs
    instances: Ints
    starts: Ints
    targets: Ints

    def ways(self) -> Ways:
        """The switches of every answer, hop by hop: () where there is no way."""
        return join(self.routes, self.block, self.starts, self.targets)


@dataclass(frozen=True, slots=True, eq=False)
class Cheapest:
    """All combinations of least cost for one query. first: [instances of the first layer], which of them are part of
    one; joins: for each layer but the last, [its instances, the next one's], which may follow which. A walk along
    `joins` from one of `first` is such a combination, and there are no others."""

    cost: float
    first: Bools
    joins: tuple[Bools, ...]

    def count(self) -> int:
        """How many there are."""
        ways = [1] * (self.joins[-1].shape[1] if self.joins else len(self.first))
        for join_ in reversed(self.joins):
            ways = [sum(ways[after] for after in np.flatnonzero(row)) for row in join_]
        return sum(ways[at] for at in np.flatnonzero(self.first))

    def combinations(self) -> Ints:
        """[combinations, layers]: all of them, in order. There may be many: see `count`."""
        found = np.flatnonzero(self.first)[:, None]
        for join_ in self.joins:
            before, after = np.nonzero(join_[found[:, -1]])
            found = np.concatenate((found[before], after[:, None]), axis=1)
        return found


class Layered:
    """The layers of one chain in one network."""

    def __init__(self, routes: Routes, layers: Sequence[Layer]) -> None:
        """KeyError when an instance is at no switch of the network. ValueError when a layer does not say entry and
        exit of each instance."""
        for number, layer in enumerate(layers):
            if len(layer.entries) != len(layer.exits):
                raise ValueError(
                    f"layer {number} has {len(layer.entries)} entries and {len(layer.exits)} exits; "
                    "an instance has one of each"
                )
        graph = routes.graph
        self._routes, self._steps = routes, graph.unit.steps
        self._known = False
        self._into: Costs  # [nodes, instances of the first layer], from every node into it
        self._between: list[Costs]  # [instances of a layer, of the next], from the exits of one to the other's entries
        self._entries = [graph.nodes(layer.entries) for layer in layers]
        self._exits = [graph.nodes(layer.exits) for layer in layers]
        self._targets = np.unique(np.concatenate([np.empty(0, np.int64), *self._entries]))

    def _rows(self, ends: Ints) -> Block:
        """The rows of these egress switches, and of all entries."""
        block = self._routes.block(np.union1d(self._targets, ends))
        if self._entries and not self._known:
            whole = self._routes.graph.unit.whole
            self._into = np.ascontiguousarray(whole(block.rows[block.place[self._entries[0]]]).T)
            self._between = [
                whole(block.rows[np.ix_(block.place[after], exits)]).T
                for after, exits in zip(self._entries[1:], self._exits, strict=False)
            ]
            self._known = True
        return block

    def least(self, ingress: Sequence[str] | Ints, egress: Sequence[str] | Ints) -> Chosen:
        """The cheapest way from `ingress[i]` through one instance of every layer to `egress[i]`, for every i. Switches
        are given by name, or by number in the graph."""
        start, end = self._nodes(ingress), self._nodes(egress)
        ends, at = distinct(end, len(self._routes.graph))
        block = self._rows(ends)
        followers: list[Ints] = []
        rest = self._learn(block, ends, followers)[0]
        cost = np.empty(len(start))
        layers = len(self._entries)
        instances = np.empty((len(start), layers), np.int64)
        if not layers:
            cost = rest[at, start]
        else:
            for some in _chunks(len(start), self._into.shape[1]):
                ways = self._into[start[some]]
                ways += rest[at[some]]
                cost[some], instances[some, 0] = _least(ways)
            for layer, after in enumerate(reversed(followers)):
                instances[:, layer + 1] = after[at, instances[:, layer]] if after.size else 0
        starts = np.empty((len(start), layers + 1), np.int64)
        targets = np.empty_like(starts)
        starts[:, 0], targets[:, layers] = start, end
        for layer in range(layers):
            if len(self._entries[layer]):
                targets[:, layer] = self._entries[layer][instances[:, layer]]
                starts[:, layer + 1] = self._exits[layer][instances[:, layer]]
        nowhere = ~np.isfinite(cost)
        instances[nowhere], starts[nowhere] = NONE, NONE
        return Chosen(self._routes, block, cost / self._steps, instances, starts, targets)

    def cheapest(self, ingress: str, egress: str) -> Cheapest | None:
        """Every combination of least cost from one switch to another; None where there is no way."""
        graph = self._routes.graph
        start, end = graph.index[ingress], graph.index[egress]
        ends = np.array([end])
        tables = self._learn(self._rows(ends), ends, None)
        joins = []
        if not self._entries:
            weight = float(tables[0][0, start])
            found = np.ones(0, np.bool_)
        else:
            ways = self._into[start] + tables[0][0]
            weight = float(ways.min(initial=np.inf))
            found = ways == weight
            for between, rest, after in zip(self._between, tables, tables[1:], strict=False):
                joins.append((between + after[0] == rest[0][:, None]) & np.isfinite(rest[0])[:, None])
        return Cheapest(weight / self._steps, found, tuple(joins)) if weight < np.inf else None

    def costs(self, ingress: Sequence[str] | Ints, egress: Sequence[str] | Ints) -> Costs:
        """[pairs, instances of the first layer, of the second, …]: the cost of every combination for every pair of
        switches. It has as many numbers as that says: ask for few pairs at a time where layers are many."""
        start, end = self._nodes(ingress), self._nodes(egress)
        ends, at = distinct(end, len(self._routes.graph))
        block = self._rows(ends)
        last = self._routes.graph.unit.whole(block.rows[block.place[ends]])
        if not self._entries:
            return last[at, start] / self._steps
        found = self._into[start]
        for between in self._between:
            found = found[..., None] + between
        out = last[at][:, self._exits[-1]]
        found = found + np.expand_dims(out, tuple(range(1, len(self._entries))))
        return found / self._steps

    def _nodes(self, switches: Sequence[str] | Ints) -> Ints:
        return switches if isinstance(switches, np.ndarray) else self._routes.graph.nodes(switches)

    def _learn(self, block: Block, ends: Ints, followers: list[Ints] | None) -> list[Costs]:
        """For each layer, [ends, its instances]: the least weight from an instance's entry to each egress. Without
        layers [ends, nodes], from every switch. followers: gets, for each layer but the last and the last of them
        first, [ends, its instances]: the next layer's instance on the cheapest way, the first of several."""
        whole, rows = self._routes.graph.unit.whole, block.place[ends]
        if not self._entries:
            return [whole(block.rows[rows])]
        tables = [whole(block.rows[np.ix_(rows, self._exits[-1])])]
        for between in reversed(self._between):
            after = tables[-1]
            least = np.full((len(ends), len(between)), np.inf)
            which = np.zeros(least.shape, np.int64)
            for number in range(between.shape[1]):
                ways = between[:, number] + after[:, number, None]
                better = ways < least
                np.copyto(least, ways, where=better)
                np.copyto(which, number, where=better)
            tables.append(least)
            if followers is not None:
                followers.append(which)
        return tables[::-1]


def _chunks(number: int, size: int) -> Iterator[slice]:
    """So many things of a size in parts that bound memory."""
    step = max(1, _AT_ONCE // max(1, size))
    return (slice(start, start + step) for start in range(0, number, step))


def _least(ways: Costs) -> tuple[Costs, Ints]:
    """The least of each row, and which the first of those is; infinite and 0 where there are none."""
    if not ways.shape[1]:
        return np.full(len(ways), np.inf), np.zeros(len(ways), np.int64)
    which = ways.argmin(axis=1)
    return ways[np.arange(len(ways)), which], which
