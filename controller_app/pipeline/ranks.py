"""Priorities of classifiers: a number for every place in their order, which stays when others come and go.

What comes first is a matter of the two rules alone (their priority in the policy, whether one is a mirror, how much
they ask for), never of how many others there are. Most places have a number of their own, whatever else there is; the
others get one in a gap, and keep it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller_app.pipeline.ids import too_many
from controller_app.pipeline.tables import CLASSIFIER_RANKS

# A place in the order, the larger wins. Places are compared as tuples; strings break what would be ties.
Place = tuple[int | str, ...]


def place_name(place: Place) -> str:
    """The name under which an allocation keeps the number of a place."""
    return ":".join(map(str, place))


def ranks(places: Iterable[Place], previous: Mapping[str, int]) -> dict[Place, int]:
    """Numbers from 1 to CLASSIFIER_RANKS in the order of the places: the previous ones where they are in order and
    leave room for the new ones, otherwise all are spread evenly.

    Raises PolicyError when there are more places than numbers.
    """
    wanted = sorted(set(places), key=_comparable)
    if len(wanted) > CLASSIFIER_RANKS:
        raise too_many("different sizes and priorities of classifiers", CLASSIFIER_RANKS)
    found = _kept(wanted, previous)
    if found is None:
        found = _spread(wanted, 0, CLASSIFIER_RANKS + 1)
    return dict(zip(wanted, found, strict=True))


def _comparable(place: Place) -> tuple[tuple[bool, int | str], ...]:
    return tuple((isinstance(part, str), part) for part in place)


def _kept(wanted: list[Place], previous: Mapping[str, int]) -> list[int] | None:
    """The previous numbers with new ones between them; None where that cannot be."""
    found: list[int] = []
    waiting: list[Place] = []
    last = 0
    for place in [*wanted, None]:
        held = CLASSIFIER_RANKS + 1 if place is None else previous.get(place_name(place))
        if held is None:
            assert place is not None
            waiting.append(place)
            continue
        if held - last <= len(waiting):
            return None
        found += _between(waiting, last, held)
        if place is not None:
            found.append(held)
        waiting, last = [], held
    return found


def _between(places: list[Place], after: int, before: int) -> list[int]:
    """Numbers in a gap: their own where those are in it and leave room, otherwise spread."""
    found: list[int] = []
    waiting: list[Place] = []
    for index, place in enumerate(places):
        own = _own(place)
        room_behind = before - len(places) + index
        if own is None or not after + len(waiting) < own <= room_behind:
            waiting.append(place)
            continue
        found += [*_spread(waiting, after, own), own]
        waiting, after = [], own
    return found + _spread(waiting, after, before)


def _spread(places: list[Place], after: int, before: int) -> list[int]:
    step = (before - after) / (len(places) + 1)
    return [after + int(step * number) for number in range(1, len(places) + 1)]


# Numbers of places' own: for so many bits asked at the most, and for priorities in a range
_MOST_BITS = 300
_EACH = 2 * _MOST_BITS  # plain rules and conjunctions
_INSERTIONS, _ERRORS, _CLASSIFIERS = 4_000, 6_500, 8_000
_LOWEST, _HIGHEST = -2, 12


def _own(place: Place) -> int | None:
    """The number of its own that a place has, in the order of places; None for rare ones."""
    if len(place) == 1:
        return _ERRORS
    level, priority, explicit, asked, kind, *ties = place
    numbers = [each for each in (level, priority, explicit, asked, kind) if isinstance(each, int)]
    if len(numbers) < 5 or numbers[3] >= _MOST_BITS:
        return None
    if ties:  # fragments: over the default, by the bits of their addresses
        bits = ties[0]
        over_default = numbers[0] == 0 and isinstance(bits, int) and bits < _MOST_BITS and len(ties) == 3
        return 1 + 10 * int(bits) if over_default else None
    within = 2 * numbers[3] + numbers[4]
    if numbers[0] == 1:
        return _INSERTIONS + _EACH * numbers[1] + within
    if _LOWEST <= numbers[1] <= _HIGHEST:
        return _CLASSIFIERS + _EACH * (2 * (numbers[1] - _LOWEST) + numbers[2]) + within
    return None
