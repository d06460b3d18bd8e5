"""Why a list's instances are not used between two edges, in words."""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import islice, product

from controller_app.balancing.combining import Names
from controller_app.model.position import Diagnostic
from controller_app.pipeline.views import ListView, Pair, World
from controller_app.routing.combinations import MOST, TooManyError, passed_over, why
from controller_app.routing.constraints import Between, Combination

_SAID = 6  # instances of which it is said why they are out, where nothing fits
_COMBINATIONS_SAID = 100


def names_of(one: Between, chosen: Combination) -> Names:
    """The instances of a combination."""
    return tuple(sites[index].name for sites, index in zip(one.sites, chosen, strict=True))


def reasons(one: Between) -> Iterator[str]:
    """Why nothing fits, by instance."""
    if not one.sites:
        yield str(one.reason(()))
    said = 0
    for position, sites in enumerate(one.sites):
        for index, site in enumerate(sites):
            if said == _SAID:
                yield "and others"
                return
            said += 1
            try:
                yield f"{site.name} is out: {why(one, position, index)}"
            except TooManyError as error:
                yield str(error)
                return


def left_out_of(one: Between, used: Container[Names]) -> Iterator[tuple[Names, str]]:
    """The instances that no slot leads to, each with the reason; then the combinations of the others that do not meet
    what is required. used: those that slots lead to."""
    met: list[set[str]] = [set() for _ in one.sites]
    every = product(*(range(len(sites)) for sites in one.sites))
    wrong: list[tuple[Names, str]] = []
    for chosen in islice(every, MOST):
        names = names_of(one, chosen)
        if names in used:
            for column, name in zip(met, names, strict=True):
                column.add(name)
        elif (reason := one.reason(chosen)) is not None:
            wrong.append((names, reason))
    for position, sites in enumerate(one.sites):
        for index, site in enumerate(sites):
            if site.name not in met[position]:
                yield (site.name,), _why_out(one, position, index)
    said: dict[Names, str] = {}
    for names, reason in wrong:
        if all(name in column for name, column in zip(names, met, strict=True)):
            through = tuple(name for name, sites in zip(names, one.sites, strict=True) if sites[0].on_path)
            said.setdefault(through, reason)
    yield from islice(said.items(), _COMBINATIONS_SAID)


def _why_out(one: Between, position: int, index: int) -> str:
    try:
        return why(one, position, index) or passed_over(one, position, index)
    except TooManyError as error:
        return str(error)


def unmet(world: World, view: ListView, ends: Pair, lacking: str, many: bool) -> Diagnostic:
    """That a chain has no instances between two edges. lacking: why; many: because too many combinations would do."""
    chain = view.chain
    assert chain is not None
    between = f"within {ends[0]}" if ends[0] == ends[1] else f"between {ends[0]} and {ends[1]}"
    where, word = (chain.where, "spread") if chain.require is None else (chain.require.where, "require")
    if many:
        counts = [f"{len(world.instances[view.tenant, name])} of {name}" for name in view.usable]
        what = f"{between} {lacking}, and no more can be looked through: {' x '.join(counts)}"
        fewer = ", require what leaves fewer of them (`within`, `avoid`, less `latency`)"
        remedy = (
            f"give these functions fewer instances{fewer if chain.require is not None else ''}"
            ", or make a chain for each part of the network, of the instances there; until then nothing passes there"
        )
    else:
        what = f"{between} no instances fit: {lacking}"
        remedy = "require less, or use instances or links that meet it; until then nothing passes there"
    return Diagnostic(where, f"chains.{chain.name}.{word}", what, remedy)
