"""The 256 slots of one list between two edges, and what is reserved for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from controller_app.balancing.combining import Names, share
from controller_app.pipeline.lacking import names_of, reasons
from controller_app.routing.cheapest import Sites, table
from controller_app.routing.combinations import TooManyError, admitted
from controller_app.routing.constraints import Between
from controller_app.routing.layered import Cheapest
from controller_app.routing.legs import Arc

_NOBODY: Names = ()


class Shared(NamedTuple):
    """The table of one pair of edges: the combination of each slot, () where nothing fits. texts: the same as they are
    kept. crossed: how often its packets cross a link in one direction, where that is reserved. lacking: why nothing
    fits, or ""; many: because too many combinations would do."""

    table: tuple[Names, ...]
    texts: tuple[str, ...]
    crossed: Mapping[Arc, int] = {}
    lacking: str = ""
    many: bool = False


class Kept:
    """A table, and what it was made from: `before` is the table there was."""

    def __init__(self, source: object, before: tuple[str, ...], make: Callable[[tuple[str, ...]], Shared]) -> None:
        self.source, self.before = source, before
        self.shared = make(before)

    def still(self, source: object, before: tuple[str, ...]) -> bool:
        """Whether the same would come of it: what was made from a table follows from itself, too."""
        return before in (self.shared.texts or self.before, self.before) and self.source == source


class Tables:
    """The tables of one list. What many pairs of edges have alike is made once."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites
        self._cheapest: dict[tuple[Cheapest, tuple[str, ...]], Shared] = {}

    def cheapest(self, found: Cheapest, before: tuple[str, ...]) -> Shared:
        """Of these combinations. before: the table until now, as it is kept."""
        key = found, before
        if key not in self._cheapest:
            try:
                made = table(found, self._sites, self._had(before))
                self._cheapest[key] = Shared(made, _texts(made))
            except TooManyError as error:
                self._cheapest[key] = Shared((), (), {}, str(error), True)
        return self._cheapest[key]

    def admitted(self, one: Between, before: tuple[str, ...]) -> Shared:
        """Of what meets everything."""
        try:
            found = admitted(one)
        except TooManyError as error:
            return Shared((), (), {}, str(error), True)
        if not found:
            return Shared((), (), {}, "; ".join(reasons(one)))
        weights = [{site.name: site.weight for site in sites} for sites in one.sites]
        made = share([names_of(one, chosen) for chosen in found], weights, self._had(before))
        return Shared(made, _texts(made), crossed(one, dict.fromkeys(made)))

    def _had(self, before: Sequence[str]) -> Sequence[Names]:
        had = [tuple(text.split(",")) if text else _NOBODY for text in before]
        same = all(len(each) == len(self._sites) for each in had)  # not so where another function was skipped
        return had if same else ()


def _texts(made: Sequence[Names]) -> tuple[str, ...]:
    known = {names: ",".join(names) for names in dict.fromkeys(made)}
    return tuple(known[names] for names in made)


def crossed(one: Between, used: Iterable[Names]) -> Mapping[Arc, int]:
    """How often packets of these combinations cross a link in one direction, if that is reserved: of those that cross
    it most, since all connections may have their slots."""
    if one.require is None or one.require.bandwidth is None:
        return {}
    numbers = [{site.name: index for index, site in enumerate(sites)} for sites in one.sites]
    most: Counter[Arc] = Counter()
    for names in used:
        most |= one.crossings(tuple(numbers[position][name] for position, name in enumerate(names)))
    return most


class Ledger:
    """What is reserved of links, in each direction."""

    def __init__(self) -> None:
        self._total: dict[Arc, float] = {}

    def so_far(self) -> Mapping[Arc, float]:
        """Bits per second."""
        return dict(self._total)

    def reserve(self, rate: float, times: Mapping[Arc, int]) -> None:
        """Keep a rate for all that crosses a link, so many times."""
        for arc, number in times.items():
            self._total[arc] = self._total.get(arc, 0.0) + rate * number
