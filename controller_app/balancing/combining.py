"""The 256-slot table of a list of functions between two edges: which combination of instances each slot takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from controller_app.balancing.slots import fill, function_slot
from controller_app.model.allocation import SLOTS
from controller_app.routing.spread import spread

Names = tuple[str, ...]  # an instance of every function


def share(
    combinations: Sequence[Names], weights: Sequence[Mapping[str, int]], previous: Sequence[Names] = ()
) -> tuple[Names, ...]:
    """The combination of each slot; () where there are none. weights: of the instances, by function.

    Where every instance goes with every other, each function has its table of slots, as functions have that are chosen
    without regard to edges: then what becomes of one moves nothing of the others. Otherwise a combination's share is
    the product of its instances' weights, see `routing.spread`.
    """
    if not combinations:
        return ()
    used = [dict.fromkeys(column) for column in zip(*combinations, strict=True)]
    if len(combinations) == prod(map(len, used)) and all(len(column) <= SLOTS for column in used):
        return each_by_itself([{name: weights[n][name] for name in column} for n, column in enumerate(used)], previous)
    return spread(combinations, weights, previous)


def each_by_itself(weights: Sequence[Mapping[str, int]], previous: Sequence[Names]) -> tuple[Names, ...]:
    """The same where every instance goes with every other: a table of slots for each function. weights: of the
    instances that are used, by function."""
    tables = []
    for position, shares in enumerate(weights):
        held: list[str] = [""] * len(previous)
        for slot, names in enumerate(previous):
            held[function_slot(slot, position)] = names[position] if position < len(names) else ""
        tables.append(fill(shares, held))
    return tuple(
        tuple(table[function_slot(slot, position)] for position, table in enumerate(tables)) for slot in range(SLOTS)
    )
