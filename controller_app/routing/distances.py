"""Distances and next hops: one row per destination switch.

A row is one Dijkstra over the topology graph from the destination; every other decision about hops reads
rows. Among equal costs the lowest port wins, so the same topology gives the same hops every time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import networkx as nx

from controller_app.model.topology import Topology


@dataclass(frozen=True, slots=True)
class Row:
    """The way to one destination switch: cost from every switch that reaches it, and the hop to take there
    as (out port, next switch)."""

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


class Routes:
    """Rows for one topology, computed when first asked for and kept as long as the object."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._rows: dict[str, Row] = {}
        # as (switch, port, cost)
        self._neighbours: dict[str, list[tuple[str, int, float]]] = {name: [] for name in topology.switches}
        for link in topology.links:
            for near, far in ((link.a, link.b), (link.b, link.a)):
                if isinstance(near.port, int):
                    self._neighbours[near.switch].append((far.switch, near.port, link.cost))

    @cached_property
    def parts(self) -> Mapping[str, int]:
        """The connected part that each switch is in, by number."""
        found: dict[str, int] = {}
        for number, start in enumerate(self._neighbours):
            waiting = [start]
            while waiting:
                switch = waiting.pop()
                if switch not in found:
                    found[switch] = number
                    waiting += [neighbour for neighbour, _, _ in self._neighbours[switch]]
        return found

    def row(self, target: str) -> Row:
        """The row of one destination switch."""
        row = self._rows.get(target)
        if row is None:
            row = self._rows[target] = self._compute(target)
        return row

    def _compute(self, target: str) -> Row:
        cost: dict[str, float] = nx.single_source_dijkstra_path_length(
            self._topology.graph, target, weight="cost"
        )
        hop: dict[str, tuple[int, str]] = {}
        for switch in cost:
            if switch == target:
                continue
            _, out_port, neighbour = min(
                (step + cost[neighbour], port, neighbour)
                for neighbour, port, step in self._neighbours[switch]
                if neighbour in cost and (cost[neighbour], neighbour) < (cost[switch], switch)
            )
            hop[switch] = (out_port, neighbour)
        return Row(target, cost, hop)
