"""Which ports a switch may use towards another switch, the best one first, when some of them do not work.

Every switch sends what goes to one destination over one tree of least-cost hops. A neighbour is an *alternate* where
its own way along that tree does not come back: then the packet arrives whichever of the switch's links failed, and
nobody but the switch itself has to know. RFC 5286 asks for `cost(N, D) < cost(N, S) + cost(S, D)`, since it cannot know
which of several equal ways a neighbour took; here the trees are known, so the way itself is looked at. Whatever meets
the RFC's inequality is found, and more is: an edge switch of a fat-tree that has its pod's other edge switches behind
another aggregation switch.

An alternate is *nearer* where it comes before the switch in the order of costs towards the destination (RFC 5286
inequality 3; equal costs in the order of names). Hops to nearer switches alone can make no loop, whatever fails. Others
are *detours*: they are safe for one failure, but two switches behind a dead one may take each other's. So a packet may
take one detour on its way to a waypoint, which it then says (see `pipeline.labels`), and goes nearer with every hop
after that or is dropped. Together: no set of failures makes a packet go round.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controller_app.model.topology import Topology
from controller_app.routing.distances import Routes
from controller_app.routing.graph import Ints

ALTERNATES = 3  # ports that stand in for the first, at most

_NOWHERE = -1
_NONE = np.int64(np.iinfo(np.int64).max)
_PLACE_BITS, _COST_BITS = 16, 44  # of a key; of a cost the upper ones, as IEEE 754 lays them out
_LATER = np.int64(1 << _PLACE_BITS + _COST_BITS)


class Way(NamedTuple):
    """The ports of a switch towards a destination: the first that works is to be taken. `detour` is the one of them
    that does not lead nearer; None where there is none."""

    ports: tuple[int, ...]
    detour: int | None = None

    @property
    def nearer(self) -> tuple[int, ...]:
        """What is left for packets that took a detour."""
        return tuple(port for port in self.ports if port != self.detour)

    @property
    def name(self) -> str:
        """Says everything about it, as `3,4,5~`: the detour has the mark."""
        return ",".join(f"{port}~" if port == self.detour else str(port) for port in self.ports)


class _Arcs:
    """Directed links, sorted by the switch they leave and its port, those of one switch all or not at all.

    number: of each among all; place: of each among those of its switch, counted from 0.
    """

    def __init__(self, number: Ints, near: Ints, far: Ints, cost: NDArray[np.float64]) -> None:
        self.number, self.near, self.far, self.cost = number, near, far, cost
        _, self.starts = np.unique(near, return_index=True)
        self.degrees = np.diff(np.append(self.starts, len(near)))
        self.degree = np.repeat(self.degrees, self.degrees)
        self.place = np.arange(len(near)) - np.repeat(self.starts, self.degrees)

    def leaving(self, switches: NDArray[np.bool_]) -> _Arcs:
        """Those of some switches."""
        here = switches[self.near]
        return _Arcs(self.number[here], self.near[here], self.far[here], self.cost[here])


class Alternates:
    """The ways of one network, a destination at a time. The same network gives the same ways, whatever order its
    switches and links were told in. Parallel links are ways of their own."""

    def __init__(self, topology: Topology, routes: Routes) -> None:
        """routes: those of the topology."""
        self._routes, index = routes, routes.graph.index
        self._told = sorted(
            (index[near.switch], near.port, index[far.switch], link.cost)
            for link in topology.links
            for near, far in ((link.a, link.b), (link.b, link.a))
            if isinstance(near.port, int)
        )
        near, self._port, far = (np.array([arc[part] for arc in self._told], np.int64) for part in (0, 1, 2))
        cost = np.array([arc[3] for arc in self._told], np.float64)
        self._arcs = _Arcs(np.arange(len(near)), near, far, cost)
        # the same arcs by the numbers of the graph, which has one arc for each pair of neighbours
        number = {(switch, port): at for at, (switch, port, _, _) in enumerate(self._told)}
        ends = zip(routes.graph.tail.tolist(), routes.graph.port.tolist(), strict=True)
        self._of_graph = np.array([*(number.get(end, _NOWHERE) for end in ends), _NOWHERE], np.int64)
        self._known: dict[tuple[int, ...], Way] = {}

    def altered(self, before: Alternates) -> NDArray[np.bool_] | None:
        """Which switches have other links than in another network; None where the two cannot be compared."""
        graph, old = self._routes.graph, before._routes.graph
        if graph.names != old.names or graph.unit != old.unit:
            return None
        found = np.zeros(len(graph), np.bool_)
        found[[arc[0] for arc in {*self._told} ^ {*before._told}]] = True
        return found

    def has_tree_of(self, before: Alternates, target: str) -> bool:
        """Whether costs and hops to a destination are, for every switch, what they are in another network: then so are
        the ways of all switches that are not altered."""
        number = self._routes.graph.index[target]
        return bool(
            np.array_equal(self._routes.weights_of(number), before._routes.weights_of(number))
            and all(map(np.array_equal, self._steps(number), before._steps(number)))
        )

    def _steps(self, target: int) -> tuple[Ints, Ints]:
        """By switch: the port it takes, and the switch there; -1 where there is none."""
        taken = self._of_graph[self._routes.arcs(target)]
        return np.append(self._port, _NOWHERE)[taken], np.append(self._arcs.far, _NOWHERE)[taken]

    def towards(self, target: str, switches: NDArray[np.bool_] | None = None) -> dict[str, Way]:
        """By switch, the way to a destination; without that switch itself, and without those that do not reach it.
        switches: whose ways are asked for, if not everybody's."""
        graph = self._routes.graph
        number = graph.index[target]
        taken = self._of_graph[self._routes.arcs(number)]
        arcs = self._arcs if switches is None else self._arcs.leaving(switches)
        able = np.flatnonzero(taken != _NOWHERE if switches is None else (taken != _NOWHERE) & switches)
        if not len(able):
            return {}
        chosen = self._choose(number, taken, arcs)
        columns = [taken[able].tolist(), *(each[able].tolist() for each in chosen)]
        found: dict[str, Way] = {}
        for switch, *chosen_arcs in zip(able.tolist(), *columns, strict=True):
            key = tuple(chosen_arcs)
            way = self._known.get(key)
            if way is None:
                way = self._known[key] = self._way(key)
            found[graph.names[switch]] = way
        return found

    def _way(self, arcs: tuple[int, ...]) -> Way:
        """arcs: the first one, then alternates as `2 * arc + is a detour`, -1 for none."""
        ports, detour = [int(self._port[arcs[0]])], None
        for coded in arcs[1:]:
            if coded != _NOWHERE:
                ports.append(int(self._port[coded >> 1]))
                if coded & 1:
                    detour = ports[-1]
        return Way(tuple(ports), detour)

    def _choose(self, target: int, taken: Ints, arcs: _Arcs) -> list[Ints]:
        """The alternates of every switch among these arcs, best first. taken: the arc of its least-cost hop."""
        weight = self._routes.weights_of(target)
        order = np.empty(len(weight), np.int64)
        order[np.argsort(weight, kind="stable")] = np.arange(len(weight))  # equal ones by name
        hop = np.where(taken != _NOWHERE, self._arcs.far[taken], target)
        near, far, next_hop = arcs.near, arcs.far, hop[arcs.near]
        able = (taken[near] != _NOWHERE) & np.isfinite(weight[far])
        able &= arcs.number != taken[near]
        through = np.zeros(len(near), np.bool_)  # its way leads through the switch that the first hop leads to
        at = np.flatnonzero(able)
        position = far[at]
        while len(at):
            back, meets = position == near[at], position == next_hop[at]
            able[at[back]] = False
            through[at[meets]] = True
            # where it is nearer than the next hop it can meet neither any more
            going = ~(back | meets) & (order[position] > order[next_hop[at]])
            at, position = at[going], hop[position[going]]
        parallel = far == next_hop  # if that switch is dead, so is this port
        through &= ~parallel & (next_hop != target)
        detour = order[far] >= order[near]
        # then by cost in all, and by place after the first port, so that few ways differ
        total = arcs.cost + self._routes.graph.unit.costs(weight)[far]
        place = (arcs.place - self._arcs.place[taken[near]]) % arcs.degree
        key = total.view(np.int64) >> (63 - _COST_BITS) << _PLACE_BITS | place
        key += _LATER * (2 * through + detour)
        key[~able] = _NONE
        return self._best(key, detour, parallel, arcs)

    def _best(
        self, key: Ints, detour: NDArray[np.bool_], parallel: NDArray[np.bool_], arcs: _Arcs
    ) -> list[Ints]:
        """The arcs with the least keys of every switch, as `2 * arc + is a detour`, -1 where there are no more."""
        found = []
        count = len(self._routes.graph)
        for left in reversed(range(ALTERNATES)):
            if not left:  # not all of them shall be dead when the switch is that the first leads to
                other = np.zeros(count, np.bool_)
                other[arcs.near[(key != _NONE) & ~parallel]] = True
                key[parallel & other[arcs.near]] = _NONE
            chosen = np.full(count, _NOWHERE, np.int64)
            least = np.minimum.reduceat(key, arcs.starts)
            best = np.flatnonzero((key == np.repeat(least, arcs.degrees)) & (key != _NONE))
            owners = arcs.near[best]
            chosen[owners] = 2 * arcs.number[best] + detour[best]
            key[best] = _NONE
            found.append(chosen)
            took_one = np.zeros(count, np.bool_)
            took_one[owners[detour[best]]] = True
            key[took_one[arcs.near] & detour] = _NONE
        return found
