"""What a change of the network leaves of the rows, and which next hops it turned.

All weights are above 0. Then a row still holds if no arc that came or became cheaper shortens a way, and every switch
that lost an arc, or has a dearer one, keeps another on a shortest way: the others need not be looked at, since their
arcs and distances are what they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controller_app.routing.graph import Graph, Ints
from controller_app.routing.hops import NONE, choose
from controller_app.routing.units import Floats

Rows = Mapping[int, Floats]  # by target
_MOST = 4  # where more than one arc in so many changed, all rows are computed anew
_ROWS_AT_ONCE = 64


class Turned(NamedTuple):
    """Next hops that are not what they were: pair by pair, by the numbers of the nodes in the new graph."""

    target: Ints
    switch: Ints


class Difference(NamedTuple):
    """Arcs of `after` that were not there before or were dearer (`better`), the switches that lost an arc or have a
    dearer one (`poorer`), and all whose arcs are not the same, ports included (`altered`)."""

    better: Ints
    poorer: Ints
    altered: Ints


def moved(before: Graph, after: Graph) -> Ints | None:
    """The number in `after` of every node of `before`, NONE for those that went; None where all kept theirs."""
    if before.names == after.names:
        return None
    return np.array([after.index.get(name, NONE) for name in before.names], np.int64)


def difference(before: Graph, after: Graph, to: Ints | None, keys: Ints | None = None) -> Difference:
    """How the arcs of two graphs of one unit differ. to: see `moved`; keys: where alone they may, if that is known."""
    count = len(after)
    lost = np.empty(0, np.int64)
    if keys is not None:
        at, there = before.find(keys)
        kept, key = at[there], keys[there]
    elif to is None:
        kept, key = np.arange(len(before.key)), before.key
    else:
        tail, head = to[before.tail], to[before.head]
        kept = np.flatnonzero((tail != NONE) & (head != NONE))
        key = tail[kept] * count + head[kept]
        lost = tail[(tail != NONE) & (head == NONE)]
    at, there = after.find(key)
    gone = key[~there] // max(1, count)
    old, new = kept[there], at[there]
    if keys is None:
        come = np.ones(len(after.key), np.bool_)
        come[new] = False
        come_arcs = np.flatnonzero(come)
    else:
        at, there = after.find(keys)
        come_arcs = np.setdiff1d(at[there], new)
    was, now = before.weight[old], after.weight[new]
    poorer = np.concatenate((lost, gone, after.tail[new[now > was]]))
    better = np.concatenate((come_arcs, new[now < was]))
    other_port = new[before.port[old] != after.port[new]]
    altered = np.concatenate((poorer, after.tail[better], after.tail[other_port]))
    return Difference(better, np.unique(poorer), np.unique(altered))


def carry(before: Graph, after: Graph, rows: Rows, keys: Ints | None = None) -> tuple[dict[int, Floats], list[int]]:
    """The rows that hold in `after` as well, by target, and the targets of those that do not (and are still there).
    keys: see `difference`.

    What is kept is the same array, unless switches came or went.
    """
    to = moved(before, after)
    targets = list(rows)
    if to is not None:
        targets = [target for target in targets if to[target] != NONE]
    now = targets if to is None else to[targets].tolist()
    if not targets:
        return {}, []
    if before.unit != after.unit:
        return {}, now
    changed = difference(before, after, to, keys)
    if _MOST * (len(changed.better) + len(changed.poorer)) > len(after.key):
        return {}, now
    stacked = np.stack([rows[target] for target in targets])
    if to is not None:
        stayed = np.flatnonzero(to != NONE)
        wider: Floats = np.full((len(targets), len(after)), np.inf, stacked.dtype)
        wider[:, to[stayed]] = stacked[:, stayed]
        stacked = wider
    touched = _touched(after, stacked, np.array(now, np.int64), changed)
    left: dict[int, Floats] = {}
    again = []
    for position, (target, new) in enumerate(zip(targets, now, strict=True)):
        if touched[position]:
            again.append(new)
        else:
            left[new] = rows[target] if to is None else stacked[position]
    return left, again


def _touched(graph: Graph, rows: Floats, targets: Ints, changed: Difference) -> NDArray[np.bool_]:
    """Which rows have a distance that is no more what it was."""
    touched = np.zeros(len(rows), np.bool_)
    for arc in changed.better.tolist():
        shorter = rows[:, graph.head[arc]] + graph.weight[arc]
        touched |= shorter < rows[:, graph.tail[arc]]
    for switch in changed.poorer.tolist():
        arcs = slice(graph.first[switch], graph.first[switch + 1])
        here = rows[:, switch]
        ways = rows[:, graph.head[arcs]] + graph.weight[arcs]
        touched |= ~(ways == here[:, None]).any(axis=1) & np.isfinite(here) & (targets != switch)
    return touched


def turned(before: Graph, after: Graph, old: Rows, new: Rows) -> Turned:
    """The next hops (port or neighbour) of the switches of `after` that are not what they were in `before`, towards
    the targets of `new`. A target that is not in `old` has turned for every switch that has a way there now.

    old, new: rows by target, numbered as in the graph of each. Only switches are looked at whose arcs or neighbours'
    distances changed: without, their own cannot have changed either.
    """
    to = moved(before, after)
    back = np.arange(len(after)) if to is None else np.full(len(after), NONE)
    if to is not None:
        stayed = np.flatnonzero(to != NONE)
        back[to[stayed]] = stayed
    comparable = to is None and before.unit == after.unit
    altered = difference(before, after, None).altered if comparable else np.arange(len(after))
    targets = np.array(list(new), np.int64)
    known = back[targets]
    found = []
    for start in range(0, len(targets), _ROWS_AT_ONCE):
        some, then = targets[start : start + _ROWS_AT_ONCE], known[start : start + _ROWS_AT_ONCE]
        now_rows = [new[target] for target in some.tolist()]
        old_rows = [old.get(target) for target in then.tolist()]
        row, switch = _suspects(after, now_rows, old_rows, altered)
        port, neighbour = _steps(after, now_rows, some, row, switch)
        old_port, old_neighbour = _steps(before, old_rows, then, row, back[switch])
        if to is not None:
            old_neighbour = np.append(to, NONE)[old_neighbour]
        other = np.flatnonzero((port != old_port) | (neighbour != old_neighbour))
        found.append((some[row[other]], switch[other]))
    if not found:
        return Turned(np.empty(0, np.int64), np.empty(0, np.int64))
    return Turned(np.concatenate([pair[0] for pair in found]), np.concatenate([pair[1] for pair in found]))


def _suspects(graph: Graph, new: Sequence[Floats], old: Sequence[Floats | None], altered: Ints) -> tuple[Ints, Ints]:
    """Which switches of which rows may have another hop, as pairs."""
    rows, switches = [], []
    altered_marks = np.zeros(len(graph), np.bool_)
    altered_marks[altered] = True
    for number, (now, then) in enumerate(zip(new, old, strict=True)):
        here = altered
        if then is None:
            here = np.arange(len(graph))
        elif now is not then and len(altered) < len(graph):
            differs = now != then
            wider = altered_marks.copy()
            wider[graph.tail[differs[graph.head]]] = True
            here = np.flatnonzero(wider)
        rows.append(np.full(len(here), number))
        switches.append(here)
    return np.concatenate(rows), np.concatenate(switches)


def _steps(graph: Graph, rows: Sequence[Floats | None], targets: Ints, row: Ints, switch: Ints) -> tuple[Ints, Ints]:
    """Port and neighbour that each switch uses by its row; NONE where there is no way, no such switch or no row."""
    none = np.full(len(graph), np.inf, graph.unit.dtype)
    stacked = np.stack([none if weights is None else weights for weights in rows])
    arc = np.full(len(switch), NONE, np.int32)
    here = np.flatnonzero(switch != NONE)
    arc[here] = choose(graph, stacked, targets, row[here], switch[here])
    return np.append(graph.port, NONE)[arc], np.append(graph.head, NONE)[arc]
