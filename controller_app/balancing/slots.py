"""The 256-slot tables that decide who gets a connection.

A switch hashes a connection to one of 256 equal slots; the controller decides what each slot means. A table
changes by as few slots as the new weights allow, so that only connections that must move do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controller_app.model.allocation import SLOTS

# Odd multipliers, so that `slot * m % 256` is a permutation; chosen so that no pair of them (as a ratio)
# has a short lattice vector (L1 length >= 16): two tables of runs, one read in slot order and one through a
# permutation, meet in nearly exactly the product of their shares.
_MULTIPLIERS = (1, 25, 41, 47, 49, 55, 95)
_SERVICE_MULTIPLIER = 121


def quotas(weights: Mapping[str, int], held: Mapping[str, int] | None = None) -> dict[str, int]:
    """How many of the 256 slots each member gets: largest remainder, and at least one each.

    Among equal remainders those that hold the slot in question already (`held`) come first, then declaration
    order.
    Needs 1 to 256 members with positive weights.
    """
    if not weights:
        return {}
    if len(weights) > SLOTS:
        raise ValueError(f"{len(weights)} members do not fit into {SLOTS} slots")
    total = sum(weights.values())
    exact = {name: weight * SLOTS for name, weight in weights.items()}  # in units of 1/total slots
    result = {name: max(1, share // total) for name, share in exact.items()}
    order = {name: position for position, name in enumerate(weights)}
    held = held or {}
    spare = SLOTS - sum(result.values())
    if spare > 0:
        by_remainder = sorted(
            weights, key=lambda n: (result[n] * total - exact[n], held.get(n, 0) <= result[n], order[n])
        )
        for position in range(spare):
            result[by_remainder[position % len(by_remainder)]] += 1
    while spare < 0:  # the minimum of one pushed the sum over: take from whoever is furthest above its share
        richest = max(
            (n for n in weights if result[n] > 1),
            key=lambda n: (result[n] * total - exact[n], held.get(n, 0) < result[n], order[n]),
        )
        result[richest] -= 1
        spare += 1
    return result


def fill(weights: Mapping[str, int], previous: Sequence[str] = ()) -> tuple[str, ...]:
    """The table for these weights that differs from `previous` in the fewest slots.

    Returns 256 member names, or () when there are no members. Without a previous table each member gets one
    run, in declaration order.
    """
    if not weights:
        return ()
    held: dict[str, int] = {}
    for name in previous:
        held[name] = held.get(name, 0) + 1
    wanted = quotas(weights, held)
    left = dict(wanted)
    table: list[str | None] = [None] * SLOTS
    for slot, name in enumerate(previous):
        if left.get(name, 0) > 0:
            table[slot] = name
            left[name] -= 1
    hungry = [name for name in weights for _ in range(left[name])]
    free = (slot for slot in range(SLOTS) if table[slot] is None)
    for slot, name in zip(free, hungry, strict=True):
        table[slot] = name
    return tuple(name for name in table if name is not None)


def function_slot(slot: int, position: int) -> int:
    """Which entry of the table of the function at `position` of a chain the group's `slot` reads."""
    return slot * _MULTIPLIERS[position % len(_MULTIPLIERS)] % SLOTS


def service_slot(slot: int) -> int:
    """Which entry of a service's table the group's `slot` reads."""
    return slot * _SERVICE_MULTIPLIER % SLOTS
