"""Slots for `spread: cost`: all 256 go to combinations of least cost, weights respected among them.

So the mean cost over the slots is the least cost, and no table can have a lower one. A combination's share is the
product of its instances' weights. While every combination deserves a slot of its own, slots are given to combinations
and as few move as can be. Otherwise there are too many to give each one, and slots are shared out layer by layer, in
proportion to the weight of all that each instance leads to: then every instance has its share, to within rounding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import lcm, prod
from typing import NamedTuple

import numpy as np

from controller_app.balancing.slots import fill, function_slot, quotas
from controller_app.model.allocation import SLOTS
from controller_app.routing.layered import Cheapest

Combination = tuple[str, ...]  # names of instances, one of each function
Table = tuple[Combination, ...]  # 256 of them


class _State(NamedTuple):
    """An instance on the way through the layers, and what may follow, as positions among the next layer's states."""

    name: str
    after: tuple[int, ...]


_Layers = list[list[_State]]


def spread(
    combinations: Sequence[Combination], weights: Sequence[Mapping[str, int]], previous: Sequence[Combination] = ()
) -> Table:
    """The table of combinations that are all equally good: those of least cost that constraints leave. weights: of
    each function's instances, by name. previous: the table until now, if there was one; what it holds that is no more
    among the combinations moves. () where there are no combinations."""
    layers: _Layers = [[] for _ in weights]
    tree: dict[Combination, dict[Combination, None]] = {}  # what goes on from each beginning
    for combination in map(tuple, combinations):
        if len(combination) != len(weights):
            raise ValueError(f"{combination} names {len(combination)} instances for {len(weights)} functions")
        for length in range(len(combination)):
            tree.setdefault(combination[:length], {})[combination[: length + 1]] = None
        tree.setdefault(combination, {})
    level: list[Combination] = [()] if combinations else []
    for states in layers:
        level = [longer for shorter in level for longer in tree[shorter]]
        start = 0
        for prefix in level:
            states.append(_State(prefix[-1], tuple(range(start, start + len(tree[prefix])))))
            start += len(tree[prefix])
    return _shared_out(layers, weights, previous) if combinations else ()


def spread_cheapest(
    cheapest: Cheapest,
    names: Sequence[Sequence[str]],
    weights: Sequence[Mapping[str, int]],
    previous: Sequence[Combination] = (),
) -> Table:
    """The same of all combinations of least cost, which may be too many to list. names: of the instances, layer by
    layer."""
    layers: _Layers = []
    followers = [*cheapest.joins, np.zeros((len(names[-1]) if names else 0, 0), np.bool_)]
    usable = np.flatnonzero(cheapest.first) if names else np.empty(0, np.int64)
    for name, joins in zip(names, followers, strict=True):
        rows = joins[usable]
        after = np.flatnonzero(rows.any(axis=0))
        place = {int(number): position for position, number in enumerate(after)}
        layers.append(
            [
                _State(name[number], tuple(place[int(next_)] for next_ in np.flatnonzero(row)))
                for number, row in zip(usable.tolist(), rows, strict=True)
            ]
        )
        usable = after
    return _shared_out(layers, weights, previous)


def _shared_out(layers: _Layers, weights: Sequence[Mapping[str, int]], previous: Sequence[Combination]) -> Table:
    if not layers:
        return ((),) * SLOTS
    previous = previous if len(previous) == SLOTS else ()
    if _masses(layers, [dict.fromkeys(known, 1) for known in weights]).total <= SLOTS:
        shares = {
            combination: prod(known[name] for known, name in zip(weights, combination, strict=True))
            for combination in _listed(layers)
        }
        if min(shares.values()) * SLOTS >= sum(shares.values()):
            return _by_combination(shares, previous)
    masses = _masses(layers, weights)
    # where groups of slots do not allow what is due exactly, another round may still move some: until none does, or
    # rounds repeat, so that the same question has the same answer ever after
    rounds: list[Table] = []
    table = _by_layer(layers, masses, previous)
    while table not in rounds:
        rounds.append(table)
        table = _by_layer(layers, masses, table)
    return min(rounds[rounds.index(table) :])


def _listed(layers: _Layers) -> Iterator[Combination]:
    """Every combination, in order."""

    def from_here(layer: int, position: int) -> Iterator[Combination]:
        state = layers[layer][position]
        if layer == len(layers) - 1:
            yield (state.name,)
        for after in state.after:
            for rest in from_here(layer + 1, after):
                yield state.name, *rest

    for position in range(len(layers[0])):
        yield from from_here(0, position)


def _by_combination(shares: Mapping[Combination, int], previous: Sequence[Combination]) -> Table:
    keys = {str(number): combination for number, combination in enumerate(shares)}
    known = {combination: key for key, combination in keys.items()}
    table = fill(
        {key: shares[combination] for key, combination in keys.items()},
        [known.get(tuple(combination), "") for combination in previous],
    )
    return tuple(keys[key] for key in table)


class _Masses(NamedTuple):
    """The weight of all combinations that lead on from each state, the state's own included: by layer."""

    of: list[list[int]]

    @property
    def total(self) -> int:
        return sum(self.of[0])


def _masses(layers: _Layers, weights: Sequence[Mapping[str, int]]) -> _Masses:
    found: list[list[int]] = []
    for states, known in zip(reversed(layers), reversed(weights), strict=True):
        behind = found[-1] if found else None
        found.append(
            [
                known[state.name] * (1 if behind is None else sum(behind[after] for after in state.after))
                for state in states
            ]
        )
    return _Masses(found[::-1])


def _by_layer(layers: _Layers, masses: _Masses, previous: Sequence[Combination]) -> Table:
    """Each slot walks through the layers. From each state its slots go on in proportion to masses."""
    groups: dict[int, list[int]] = {0: list(range(SLOTS))}  # slots by the state they are in
    onward = {0: tuple(range(len(layers[0])))}
    table: list[list[str]] = [[] for _ in range(SLOTS)]
    for number, states in enumerate(layers):
        asked = [
            _Group(groups[state], {states[after].name: masses.of[number][after] for after in onward[state]})
            for state in sorted(groups)
        ]
        following: dict[int, list[int]] = {}
        had = {slot: names[number] for slot, names in enumerate(previous) if len(names) > number}
        for state, counts in zip(sorted(groups), _counts(asked, had), strict=True):
            ways = {states[after].name: after for after in onward[state]}
            for slot, name in _dealt(groups[state], counts, had, number):
                table[slot].append(name)
                following.setdefault(ways[name], []).append(slot)
        groups = following
        onward = {position: state.after for position, state in enumerate(states)}
    return tuple(tuple(names) for names in table)


class _Group(NamedTuple):
    """Slots in one state, and the masses of the instances they may go to."""

    slots: list[int]
    mass: Mapping[str, int]


def _counts(groups: Sequence[_Group], had: Mapping[int, str]) -> list[dict[str, int]]:
    """How many slots of each group go to each instance: in proportion, and what rounding leaves over to those that
    have fewer than their share of all slots, first where they had slots before."""
    due: dict[str, Fraction] = {}
    rounded = []
    for group in groups:
        total = sum(group.mass.values())
        shares = {name: Fraction(mass * len(group.slots), total) for name, mass in group.mass.items()}
        for name, share in shares.items():
            due[name] = due.get(name, Fraction(0)) + share
        rounded.append({name: int(share) for name, share in shares.items()})
    scale = lcm(*(share.denominator for share in due.values()))
    whole = {name: int(share * scale) for name, share in due.items()}
    fresh = _rounded_up(groups, rounded, quotas(whole), {}, {})
    if not had:
        return fresh
    # groups may not allow every quota; who has no more than it would get from nothing may keep it
    most: Counter[str] = Counter()
    for counts in fresh:
        most.update(counts)
    return _rounded_up(groups, rounded, quotas(whole, Counter(had.values())), most, had)


def _rounded_up(
    groups: Sequence[_Group],
    rounded: Sequence[Mapping[str, int]],
    wanted: Mapping[str, int],
    most: Mapping[str, int],
    had: Mapping[int, str],
) -> list[dict[str, int]]:
    """The slots of groups that `rounded` left over, given as well."""
    order = {name: position for position, name in enumerate(wanted)}
    given: Counter[str] = Counter()
    for known in rounded:
        given.update(known)
    waiting = Counter(had.get(slot, "") for group in groups for slot in group.slots)  # to keep theirs
    found = []
    for group, floor in zip(groups, rounded, strict=True):
        held = Counter(had.get(slot, "") for slot in group.slots)
        waiting.subtract(held)
        worth = {}
        for name, count in floor.items():
            keeps = held[name] > count and given[name] < max(wanted[name], most.get(name, 0))
            worth[name] = not keeps, given[name] + waiting[name] - wanted[name], order[name]
        counts = dict(floor)
        for name in sorted(counts, key=worth.__getitem__)[: len(group.slots) - sum(counts.values())]:
            counts[name] += 1
            given[name] += 1
        found.append(counts)
    return found


def _dealt(
    slots: list[int], counts: Mapping[str, int], had: Mapping[int, str], layer: int
) -> Iterator[tuple[int, str]]:
    """Each slot with an instance, so many of each. Slots keep what they had, as far as that goes."""
    left = dict(counts)
    homeless = []
    for slot in slots:
        name = had.get(slot, "")
        if left.get(name, 0):
            left[name] -= 1
            yield slot, name
        else:
            homeless.append(slot)
    # runs in the order in which this layer reads slots, so that two layers do not march in step
    homeless.sort(key=lambda slot: function_slot(slot, layer))
    yield from zip(homeless, [name for name, count in left.items() for _ in range(count)], strict=True)
