"""Next hops, derived from rows: which arcs lie on a shortest way, and which of them a switch uses towards a target.

Among arcs of equal merit the one with the highest rank wins, and ranks are a hash of the three names: of the switch, of
its neighbour and of the target. So different targets spread over equal ways, every process and every order of
declaration gives the same hops, and an arc that goes takes with it only the targets that used it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controller_app.routing.graph import Graph, Ints, Marks, mixed
from controller_app.routing.units import Floats

NONE = -1
_AT_ONCE = 1 << 18  # arcs looked at in one go: what they take stays in the processor's cache
_ARC = np.uint64(0xFFFFFFFF)


class Tight(NamedTuple):
    """Arcs on shortest ways, those of one question behind those of another. question: of each arc."""

    arc: Ints
    question: Ints


def tight(graph: Graph, rows: Floats, row: Ints, switch: Ints) -> Tight:
    """The arcs that leave `switch[i]` and lie on a shortest way by the row `rows[row[i]]`, for every question i. At a
    target itself there are none, and where there is no way either."""
    count = len(graph)
    flat = rows.reshape(-1)
    base = row * count
    here = flat[base + switch]
    asked = np.flatnonzero(np.isfinite(here) & (here > 0))
    degree = graph.degree[switch[asked]]
    ends = np.cumsum(degree)
    total = int(ends[-1]) if len(ends) else 0
    arc = np.arange(total)
    arc += np.repeat(graph.first[switch[asked]] - (ends - degree), degree)
    there = flat[np.repeat(base[asked], degree) + graph.head[arc]]
    there += graph.weight[arc] if graph.uniform is None else there.dtype.type(graph.uniform)
    found = np.flatnonzero(there == np.repeat(here[asked], degree))
    return Tight(arc[found], np.repeat(asked, degree)[found])


def ranks(graph: Graph, arc: Ints, target: Ints) -> Marks:
    """How much each arc is wanted for a target: higher is better, no two arcs of one switch are equal."""
    stirred = mixed(graph.arc_marks[arc] + graph.target_marks[target])
    return (stirred & ~_ARC) | (_ARC - arc.astype(np.uint64))


def choose(graph: Graph, rows: Floats, targets: Ints, row: Ints, switch: Ints) -> NDArray[np.int32]:
    """The arc that `switch[i]` uses by the row `rows[row[i]]`, which is that of `targets[row[i]]`; NONE at the target
    and where there is no way."""
    chosen = np.full(len(switch), NONE, np.int32)
    step = max(1, _AT_ONCE // max(1, int(graph.degree.max(initial=0))))
    for start in range(0, len(switch), step):
        part = slice(start, start + step)
        found = tight(graph, rows, row[part], switch[part])
        if not len(found.arc):
            continue
        groups = np.flatnonzero(np.diff(found.question, prepend=-1))
        rank = ranks(graph, found.arc, targets[row[part]][found.question])
        best = np.maximum.reduceat(rank, groups) & _ARC
        chosen[part][found.question[groups]] = (_ARC - best).astype(np.int32)
    return chosen


def whole_rows(graph: Graph, rows: Floats, targets: Ints) -> NDArray[np.int32]:
    """[rows, nodes]: the arc that every switch uses towards each target."""
    nodes = np.tile(np.arange(len(graph)), len(targets))
    return choose(graph, rows, targets, np.repeat(np.arange(len(targets)), len(graph)), nodes).reshape(-1, len(graph))
