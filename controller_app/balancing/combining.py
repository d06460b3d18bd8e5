"""The 256-slot table of a list of functions between two edges: which combination of instances each slot takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil, prod

import numpy as np

from controller_app.balancing.slots import fill, function_slot
from controller_app.model.allocation import SLOTS

Names = tuple[str, ...]  # an instance of every function


def share(
    combinations: Sequence[Names], weights: Sequence[Mapping[str, int]], previous: Sequence[Names] = ()
) -> tuple[Names, ...]:
    """The combination of each slot; () where there are none. weights: of the instances, by function.

    Where every instance goes with every other, each function has its table of slots, as functions have that are chosen
    without regard to edges. Otherwise a combination's share is the product of its instances' weights; of more than
    there are slots so many are taken that every instance has its share. As few slots as possible change from
    `previous`.
    """
    if not combinations:
        return ()
    used = [dict.fromkeys(column) for column in zip(*combinations, strict=True)]
    if len(combinations) == prod(map(len, used)) and all(len(column) <= SLOTS for column in used):
        return _each_by_itself([{name: weights[n][name] for name in column} for n, column in enumerate(used)], previous)
    known = {_text(names): names for names in combinations}
    heavy = {text: prod(weights[n][name] for n, name in enumerate(names)) for text, names in known.items()}
    before = [_text(names) for names in previous]
    if len(known) > SLOTS:
        heavy = dict.fromkeys(_thinned(list(known), [known[text] for text in known], list(heavy.values()), before), 1)
    return tuple(known[text] for text in fill(heavy, before))


def _text(names: Names) -> str:
    return ",".join(names)


def _each_by_itself(weights: Sequence[Mapping[str, int]], previous: Sequence[Names]) -> tuple[Names, ...]:
    tables = []
    for position, shares in enumerate(weights):
        held: list[str] = [""] * len(previous)
        for slot, names in enumerate(previous):
            held[function_slot(slot, position)] = names[position] if position < len(names) else ""
        tables.append(fill(shares, held))
    return tuple(
        tuple(table[function_slot(slot, position)] for position, table in enumerate(tables)) for slot in range(SLOTS)
    )


def _thinned(texts: list[str], names: list[Names], weights: list[int], previous: Sequence[str]) -> list[str]:
    """As many combinations as there are slots, in which the instances of every function have the shares that they have
    in all of them. Those that had slots are taken first."""
    total = sum(weights)
    columns, lacking = [], []
    for column in zip(*names, strict=True):
        order = {name: index for index, name in enumerate(dict.fromkeys(column))}
        columns.append(np.array([order[name] for name in column]))
        sums = [0] * len(order)
        for name, weight in zip(column, weights, strict=True):
            sums[order[name]] += weight
        lacking.append(np.array([SLOTS * found / total for found in sums]))
    open_ = np.ones(len(texts), dtype=bool)
    number = {text: index for index, text in enumerate(texts)}
    taken: list[int] = []

    def take(index: int) -> None:
        taken.append(index)
        open_[index] = False
        for column, left in zip(columns, lacking, strict=True):
            left[column[index]] -= 1

    for text, _ in Counter(previous).most_common():
        index = number.get(text, -1)
        fits = index >= 0 and len(taken) < SLOTS
        if fits and all(ceil(left[column[index]]) >= 1 for column, left in zip(columns, lacking, strict=True)):
            take(index)
    while len(taken) < SLOTS:
        score = np.sum([left[column] for column, left in zip(columns, lacking, strict=True)], axis=0)
        take(int(np.argmax(np.where(open_, score, -np.inf))))
    return [texts[index] for index in sorted(taken)]
