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
from functools import cached_property
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


class Journey(NamedTuple):
    """Ways that go through the same instances, each from an ingress to an egress switch. counted: what they cost is
    added up. others: they have to be there, whatever they cost."""

    counted: Sequence[tuple[str, str]]
    others: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Cheapest:
    """All combinations of least cost. sizes: how many instances each layer has. bits: which of the first layer are part
    of one; then, for each layer but the last, which may follow which in one ([its instances, the next one's]), in rows.
    Equal sets are equal objects."""

    sizes: tuple[int, ...]
    bits: bytes

    @staticmethod
    def of(first: Bools, joins: Sequence[Bools]) -> Cheapest:
        """Of what a walk along `joins` from one of `first` is, and nothing else."""
        parts, reached = [first], first
        for join_ in joins:
            taken = join_ & reached[:, None]
            parts.append(taken.reshape(-1))
            reached = np.logical_or.reduce(taken, axis=0)
        sizes = (len(first), *(join_.shape[1] for join_ in joins))
        return Cheapest(sizes, np.packbits(np.concatenate(parts)).tobytes())

    @cached_property
    def _parts(self) -> list[Bools]:
        cells = [a * b for a, b in zip((1, *self.sizes), self.sizes, strict=False)]
        flat = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=sum(cells)).astype(np.bool_)
        return np.split(flat, np.cumsum(cells)[:-1])

    @property
    def first(self) -> Bools:
        """Which of the first layer are part of one."""
        return self._parts[0]

    @cached_property
    def joins(self) -> list[Bools]:
        """For each layer but the last, which of the next may follow which."""
        shapes = zip(self._parts[1:], self.sizes, self.sizes[1:], strict=False)
        return [part.reshape(here, there) for part, here, there in shapes]

    def used(self) -> list[Ints]:
        """The instances of each layer that are part of one."""
        found = [self.first, *(join_.any(axis=0) for join_ in self.joins)] if self.sizes else []
        return [np.flatnonzero(each) for each in found]

    @cached_property
    def free(self) -> bool:
        """Whether every instance that is part of one goes with every other."""
        used = self.used()
        return all(join_.sum() == len(a) * len(b) for join_, a, b in zip(self.joins, used, used[1:], strict=False))

    def count(self) -> int:
        """How many there are."""
        if not self.sizes:
            return 1
        ways = [1] * self.sizes[-1]
        for join_ in reversed(self.joins):
            ways = [sum(ways[after] for after in np.flatnonzero(row)) for row in join_]
        return sum(ways[at] for at in np.flatnonzero(self.first))

    def combinations(self) -> Ints:
        """[combinations, layers]: all of them, in order. There may be many: see `count`."""
        if not self.sizes:
            return np.empty((1, 0), np.int64)
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
        self._between: list[Costs] = []  # [instances of a layer, of the next], from exits to entries
        self._into: Costs  # [nodes, instances of the first layer], from every node into it
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
        rest = self._learn(block, ends, followers)
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

    def cheapest(self, journeys: Sequence[Journey]) -> tuple[Costs, list[Cheapest | None]]:
        """What each journey costs at least (infinite where one of its ways is not there), and every combination that
        costs no more: None where there is none."""
        cost = np.full(len(journeys), np.inf)
        found: list[Cheapest | None] = []
        size = max([1, *(len(a) * len(b) for a, b in zip(self._exits, self._entries[1:], strict=False))])
        for some in _chunks(len(journeys), size):
            weights, sets = self._cheapest(journeys[some])
            cost[some] = weights / self._steps
            found += sets
        return cost, found

    def _cheapest(self, journeys: Sequence[Journey]) -> tuple[Costs, list[Cheapest | None]]:
        ways = [(number, counts, way) for number, (counted, others) in enumerate(journeys)
                for counts, some in ((True, counted), (False, others)) for way in some]
        whose, counts = np.array([way[0] for way in ways]), np.array([way[1] for way in ways])
        start, end = (self._routes.graph.nodes(way[side] for *_, way in ways) for side in (0, 1))
        starts = np.searchsorted(whose, np.arange(len(journeys)))  # every journey has a way
        times = np.add.reduceat(counts.astype(np.int64), starts).astype(np.float64)
        ends, at = distinct(end, len(self._routes.graph))
        last = self._last(self._rows(ends), ends)

        def summed(weights: Costs) -> Costs:
            """[journeys, ...] of [ways, ...]."""
            weights[~counts] = np.where(np.isfinite(weights[~counts]), 0.0, np.inf)
            found: Costs = np.add.reduceat(weights, starts)
            return found

        if not self._entries:
            weight = summed(last[at, start][:, None])[:, 0]
            whole = Cheapest((), b"")
            return weight, [whole if each else None for each in np.isfinite(weight)]
        rests = [summed(last[at])]
        for between in reversed(self._between):
            rests.append((times[:, None, None] * between + rests[-1][:, None, :]).min(axis=2, initial=np.inf))
        rests.reverse()
        total = summed(self._into[start]) + rests[0]
        weight = total.min(axis=1, initial=np.inf)
        reached = (total == weight[:, None]) & np.isfinite(weight)[:, None]
        parts = [reached]
        for between, rest, after in zip(self._between, rests, rests[1:], strict=False):
            joined = (times[:, None, None] * between + after[:, None, :]) == rest[:, :, None]
            joined &= reached[:, :, None]
            reached = joined.any(axis=1)
            parts.append(joined.reshape(len(journeys), -1))
        sizes = tuple(map(len, self._entries))
        bits = np.packbits(np.concatenate(parts, axis=1), axis=1)
        known: dict[bytes, Cheapest] = {}
        found: list[Cheapest | None] = []
        for row, there in zip(bits, np.isfinite(weight).tolist(), strict=True):
            text = row.tobytes()
            found.append(known.setdefault(text, Cheapest(sizes, text)) if there else None)
        return weight, found

    def _nodes(self, switches: Sequence[str] | Ints) -> Ints:
        return switches if isinstance(switches, np.ndarray) else self._routes.graph.nodes(switches)

    def _last(self, block: Block, ends: Ints) -> Costs:
        """[ends, instances of the last layer]: the weight from where packets come out of it to each egress. Without
        layers [ends, nodes], from every switch."""
        whole, rows = self._routes.graph.unit.whole, block.place[ends]
        return whole(block.rows[np.ix_(rows, self._exits[-1])] if self._exits else block.rows[rows])

    def _learn(self, block: Block, ends: Ints, followers: list[Ints]) -> Costs:
        """[ends, instances of the first layer]: the least weight from there to each egress; without layers, from every
        switch. followers: gets, for each layer but the last and the last of them first, [ends, its instances]: the next
        layer's instance on the cheapest way, the first of several."""
        after = self._last(block, ends)
        for between in reversed(self._between):
            least = np.full((len(ends), len(between)), np.inf)
            which = np.zeros(least.shape, np.int64)
            for number in range(between.shape[1]):
                ways = between[:, number] + after[:, number, None]
                better = ways < least
                np.copyto(least, ways, where=better)
                np.copyto(which, number, where=better)
            after = least
            followers.append(which)
        return after


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
