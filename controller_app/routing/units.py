"""What costs are counted in, so that sums of them are exact.

Costs that are decimals of a few digits (1, 0.5, 2.25) become whole numbers of steps, which floating point adds without
an error: ways that cost the same compare as the same, in whatever order they were added up. Every weight is above 0: a
link that costs nothing weighs the least there is, and all others so much more that no way over such links can outweigh
one of them. So a way is never in doubt whether it leads forward, and among ways of one cost the fewest links that cost
nothing win.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

_DIGITS = 9  # behind the decimal point, at most
_LARGEST = 2.0**45  # the most steps a way may have: sums of many ways of one chain stay below 2**53
_SMALL = 2.0**24  # single precision holds whole numbers up to here
_ENORMOUS = 1e290


class Unit(NamedTuple):
    """How weights follow from costs. Graphs of the same unit have comparable weights.

    steps: weight of cost 1; free: what a step of cost weighs where some links cost nothing, otherwise 1; exact: whether
    weights are whole numbers; least: what lighter links were raised to, where some were.
    """

    steps: float = 1.0
    free: int = 1
    exact: bool = True
    least: float = 0.0
    single: bool = True  # single precision holds every sum

    @property
    def dtype(self) -> type[np.float32] | type[np.float64]:
        """What rows are kept in."""
        return np.float32 if self.single else np.float64

    def whole(self, weights: Floats) -> NDArray[np.float64]:
        """Sums of weights as steps of cost alone: what cost the same is the same. Infinite stays infinite."""
        found = np.asarray(weights, np.float64)
        return np.floor(found / self.free) if self.free > 1 else found

    def costs(self, weights: Floats) -> NDArray[np.float64]:
        """The costs that sums of weights stand for."""
        return self.whole(weights) / self.steps

    def cost(self, weight: float) -> float:
        """The cost of one sum of weights: a whole number where it is one."""
        found = (weight // self.free if self.free > 1 else weight) / self.steps
        return int(found) if found.is_integer() else found


def weigh(costs: NDArray[np.float64], nodes: int) -> tuple[NDArray[np.float64], Unit]:
    """Weights of arcs by their costs (finite, 0 or more) in a graph of so many nodes."""
    if not len(costs):
        return costs, Unit()
    most = float(costs.max())
    free = 1
    if not costs.all():
        free = 1 << max(1, nodes).bit_length()  # more than the arcs of any way
    for digits in range(_DIGITS + 1):
        steps = 10.0**digits
        if nodes * (most * steps * free + 1) >= _LARGEST:
            break
        whole = np.rint(costs * steps)
        if np.array_equal(whole / steps, costs):
            weights = np.where(whole == 0, 1.0, whole * free) if free > 1 else whole
            return weights, Unit(steps, free, True, 0.0, nodes * (most * steps * free + 1) < _SMALL)
    steps = 1.0 if most * nodes < _ENORMOUS else 2.0**-100
    scaled = costs * steps
    least = float(np.spacing(most * steps * nodes)) or 1.0  # any less, and adding it may change nothing
    raised = bool((scaled < least).any())
    return np.maximum(scaled, least), Unit(steps, 1, False, least if raised else 0.0, False)
