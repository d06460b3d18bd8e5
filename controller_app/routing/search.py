"""Rows of distances: the least weight of a way from every switch to each of some targets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import dijkstra

from controller_app.routing.graph import Graph, Ints
from controller_app.routing.units import Floats

_WORD = 64
_MOST_LEVELS = 64  # in wider networks one search a target is faster than all of them in step


def weights_to(graph: Graph, targets: Ints) -> Floats:
    """[targets, nodes]: the least weight from every node to each target, infinite where there is no way.

    Where all arcs weigh the same, searches for 64 targets go abreast, a bit each; otherwise one Dijkstra a target.
    """
    found: Floats = np.empty((len(targets), len(graph)), graph.unit.dtype)
    for start in range(0, len(targets), _WORD):
        some = targets[start : start + _WORD]
        into = found[start : start + _WORD]
        if graph.uniform is None or not _abreast(graph, some, into, graph.uniform):
            into[:] = dijkstra(graph.reverse, indices=some)
    return found


def _abreast(graph: Graph, targets: Ints, into: Floats, weight: float) -> bool:
    """Breadth-first from up to 64 targets at once. Whether that ended within a reasonable number of levels."""
    count = len(graph)
    busy = np.flatnonzero(graph.degree)
    starts = graph.first[busy]
    everywhere = busy if len(busy) < count else slice(None)
    reached = np.zeros(count, np.uint64)
    own = np.uint64(1) << np.arange(len(targets), dtype=np.uint64)
    np.bitwise_or.at(reached, targets, own)  # a target may be asked for twice
    everyone = np.bitwise_or.reduce(own)
    levels = np.zeros((count, _WORD), np.uint8)
    for _ in range(_MOST_LEVELS):
        if (reached == everyone).all():
            break
        levels += _bits(reached ^ everyone)
        wider = reached.copy()
        wider[everywhere] |= np.bitwise_or.reduceat(reached.take(graph.head, mode="clip"), starts)
        if np.array_equal(wider, reached):
            break
        reached = wider
    else:
        return False
    found = np.ascontiguousarray(levels[:, : len(targets)].T)
    if graph.unit.exact:
        np.multiply(found, weight, out=into, dtype=into.dtype)
    else:  # added up one by one, with the rounding of each addition, as any other search does
        lengths = np.concatenate(([0.0], np.add.accumulate(np.full(_MOST_LEVELS, weight))))
        into[:] = lengths[found]
    if (reached != everyone).any():
        into[_bits(reached ^ everyone)[:, : len(targets)].T == 1] = np.inf
    return True


def _bits(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """[words, 64]: each bit, the lowest first."""
    return np.unpackbits(words.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
