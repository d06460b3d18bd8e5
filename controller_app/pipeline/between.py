"""The slots of lists whose instances depend on the edges between which a packet travels: `spread: cost`, `require`."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice, pairwise, product
from typing import NamedTuple

from controller_app.balancing.combining import Names, share
from controller_app.model.allocation import SLOTS, Allocation
from controller_app.model.policy import Chain, Function
from controller_app.model.position import Diagnostic
from controller_app.model.topology import End
from controller_app.pipeline.edges import Use, uses
from controller_app.pipeline.lists import PathNumbers
from controller_app.pipeline.memory import Memory
from controller_app.pipeline.views import InstanceView, ListView, Pair, World
from controller_app.routing.combinations import MOST, TooManyError, admitted, passed_over, why
from controller_app.routing.constraints import Between, Combination, Site
from controller_app.routing.legs import Leg, Legs

_SAID = 6  # instances of which it is said why they are out, where nothing fits
_COMBINATIONS_SAID = 100
_NOBODY: Names = ()


def table_name(key: str, ends: Pair) -> str:
    """The name under which the slots of a list between two edges are kept."""
    return f"lists/{key}@{ends[0]}~{ends[1]}"


def spread(
    world: World,
    paths_of: PathNumbers,
    previous: Allocation,
    slots: dict[str, tuple[str, ...]],
    memory: Memory,
) -> World:
    """The world with the paths and slots of these lists, and what they require in vain. `slots` gets the tables."""
    asked = {}
    for key, view in world.lists.items():
        if view.by_edges:
            asked[key] = view
        elif view.chain is not None:  # nobody is there just now: kept for when somebody is again
            slots.update(
                {name: table for name, table in previous.slots.items() if name.startswith(f"lists/{key}@")}
            )
    if not asked:
        return world
    found = memory.part("uses", _told_by(world, asked), uses, world, frozenset(asked))
    legs = memory.part("legs", (world.topology.switches, world.topology.links), Legs, world.topology, world.routes)
    ground = memory.part("legs' ground", world.topology.switches, object), memory.part("links", legs.links, object)
    ledger, unmet = _Ledger(), []
    lists = dict(world.lists)
    for key, view in asked.items():
        made: dict[Pair, _Shared] = {}
        inner: object = None
        for ends, use in found.get(key, {}).items():
            one = choice(world, view, use, legs, ledger.without(view, ends))
            names = table_name(key, ends)
            before = tuple(previous.slots.get(names, ()))
            inner = inner or memory.part(("inner", key), _inner(one), object)
            asks = (one.require, one.cheapest, one.reserved, ground[1] if _looks_at_links(one) else None)
            source = ground[0], inner, _outer(one), one.sites, one.trips, asks
            made[ends] = memory.latest(
                ("between", key, ends),
                partial(_still, source=source, before=before),
                partial(_Kept, source, before, one),
            ).shared
            slots[names] = made[ends].texts or before
            ledger.reserve(view, ends, made[ends].links)
            if use.needed and made[ends].lacking:
                unmet.append(_unmet(view, ends, made[ends].lacking))
        # also of those that are kept for when they fit again
        named = dict.fromkeys(text for ends in made for text in slots[table_name(key, ends)] if text)
        numbers = paths_of.of(key, view.sticky, named) if view.usable else {}
        complete = _with_slots(view, made, found.get(key, {}), world, numbers)
        # the same object as before where it is equal, which spares others a long look
        lists[key] = memory.part(("list", key), complete, _itself, complete)
    return replace(world, lists=lists, unmet=tuple(dict.fromkeys(unmet)))


def _itself(view: ListView) -> ListView:
    return view


def choice(world: World, view: ListView, use: Use, legs: Legs, reserved: Mapping[End, float]) -> Between:
    """The choice of a list between two edges. reserved: what others have of links."""
    assert view.chain is not None
    require = view.chain.require
    return Between(
        world.topology,
        legs,
        tuple(_sites(world, view.tenant, name) for name in view.usable),
        use.trips,
        require,
        view.chain.spread == "cost",
        reserved if require is not None and require.bandwidth is not None else {},
    )


def choices(world: World) -> dict[tuple[str, Pair], Between]:
    """Every choice that a world was made with, with what others had of links then, by list's key and pair of edges."""
    asked = {key: view for key, view in world.lists.items() if view.by_edges}
    legs, ledger = Legs(world.topology, world.routes), _Ledger()
    made: dict[tuple[str, Pair], Between] = {}
    found = uses(world, asked) if asked else {}
    for key, view in asked.items():
        for ends, use in found.get(key, {}).items():
            one = made[key, ends] = choice(world, view, use, legs, ledger.without(view, ends))
            ledger.reserve(view, ends, _crossed(one, _used(view, ends)))
    return made


def _used(view: ListView, ends: Pair) -> set[Names]:
    return {tuple(step.name for step in view.paths[path]) for path in set(view.between.get(ends, ())) if path}


def _told_by(world: World, asked: Mapping[str, ListView]) -> tuple[object, ...]:
    """What it depends on who travels between which edges."""
    tenants = {view.tenant: world.policy.tenants[view.tenant] for view in asked.values()}
    return (
        tuple(asked),
        [(t.classifiers, t.chains, t.networks, t.segments, t.endpoints) for t in tenants.values()],
        [(f.name, f.mode) for t in tenants.values() for f in t.functions.values()],
        world.hosts,
        [(v.key, v.ips, v.providers, v.slots, v.near) for v in world.services.values()],
        {key: [instance.arms for instance in world.instances.get(key, ())] for key in world.branching},
        world.left_out,
    )


def _sites(world: World, tenant: str, function: str) -> tuple[Site, ...]:
    declared = world.policy.tenants[tenant]
    labels: dict[str, dict[str, str]] = {}
    for endpoint in declared.endpoints.values():
        labels.setdefault(endpoint.host, {}).update(endpoint.labels)
    return tuple(
        Site(
            view.name,
            view.entry(False).switch,
            view.exit(False).switch,
            _weight(declared.functions[function], view),
            labels.get(view.host, {}),
            view.mode.on_path,
        )
        for view in world.instances[tenant, function]
    )


def _weight(function: Function, view: InstanceView) -> int:
    return function.instances[view.name].weight


class _Shared(NamedTuple):
    """The table of one pair of edges: the combination of each slot, () where nothing fits. texts: the same as they are
    kept. links: those that its packets cross, by their end `a`. lacking: why nothing fits, or ""."""

    table: tuple[Names, ...]
    texts: tuple[str, ...]
    links: frozenset[End]
    lacking: str


class _Kept:
    """A table, and what it was made from: `before` is the table there was."""

    def __init__(self, source: object, before: tuple[str, ...], one: Between) -> None:
        self.source, self.before = source, before
        self.shared = _share(one, before)


def _still(kept: _Kept, source: object, before: tuple[str, ...]) -> bool:
    """Whether the same would come of it: what was made from a table follows from itself, too."""
    return before in (kept.shared.texts or kept.before, kept.before) and kept.source == source


def _looks_at_links(one: Between) -> bool:
    """Whether more of links counts than what legs tell."""
    return one.require is not None and (one.require.backup or one.require.bandwidth is not None)


def _inner(one: Between) -> dict[tuple[str, str], Leg | None]:
    """The legs from one function to the next, in both directions."""
    through = [sites for sites in one.sites if sites and sites[0].on_path]
    found: dict[tuple[str, str], Leg | None] = {}
    for before, after in pairwise(through):
        for start in {site.out for site in before}:
            for end in {site.into for site in after}:
                found[start, end], found[end, start] = one.legs.leg(start, end), one.legs.leg(end, start)
    return found


def _outer(one: Between) -> list[Leg | None]:
    """The legs from edges to functions, and from there."""
    through = [sites for sites in one.sites if sites and sites[0].on_path]
    found = []
    for trip in one.trips:
        first, last = (through[-1:], through[:1]) if trip.backward else (through[:1], through[-1:])
        found += [one.legs.leg(trip.start, site.entry(trip.backward)) for sites in first for site in sites]
        found += [one.legs.leg(site.exit(trip.backward), trip.end) for sites in last for site in sites]
        found += [] if through else [one.legs.leg(trip.start, trip.end)]
    return found


def _share(one: Between, before: Sequence[str]) -> _Shared:
    try:
        found = admitted(one)
    except TooManyError as error:
        return _Shared((), (), frozenset(), str(error))
    if not found:
        return _Shared((), (), frozenset(), "; ".join(reasons(one)))
    names = [_names(one, chosen) for chosen in found]
    weights = [{site.name: site.weight for site in sites} for sites in one.sites]
    had = [tuple(text.split(",")) if text else _NOBODY for text in before]
    same = all(len(each) == len(one.sites) for each in had)  # not so where another function was skipped
    table = share(names, weights, had if same else ())
    return _Shared(table, tuple(",".join(each) for each in table), _crossed(one, set(table)), "")


def _names(one: Between, chosen: Combination) -> Names:
    return tuple(sites[index].name for sites, index in zip(one.sites, chosen, strict=True))


def _crossed(one: Between, used: set[Names]) -> frozenset[End]:
    """The links that these combinations' packets cross, if any is reserved for them."""
    if one.require is None or one.require.bandwidth is None:
        return frozenset()
    numbers = [{site.name: index for index, site in enumerate(sites)} for sites in one.sites]
    return frozenset(
        link.a
        for names in used
        for link in one.links(tuple(numbers[position][name] for position, name in enumerate(names)))
    )


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
        names = _names(one, chosen)
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


def _unmet(view: ListView, ends: Pair, lacking: str) -> Diagnostic:
    assert view.chain is not None
    chain: Chain = view.chain
    between = f"within {ends[0]}" if ends[0] == ends[1] else f"between {ends[0]} and {ends[1]}"
    where, word = (chain.where, "spread") if chain.require is None else (chain.require.where, "require")
    return Diagnostic(
        where,
        f"chains.{chain.name}.{word}",
        f"{between} no instances fit: {lacking}",
        "require less, or use instances or links that meet it; until then nothing passes there",
    )


class _Ledger:
    """Which links are reserved for whom: once for a chain and a pair of edges, whatever lists it has there."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str, Pair], dict[End, None]] = {}
        self._total: dict[End, float] = {}

    def without(self, view: ListView, ends: Pair) -> Mapping[End, float]:
        """What all others have of links."""
        own, rate = self._held.get(self._owner(view, ends), {}), _rate(view)
        return {end: total - (rate if end in own else 0) for end, total in self._total.items()}

    def reserve(self, view: ListView, ends: Pair, links: frozenset[End]) -> None:
        """Keep these links for a chain."""
        held = self._held.setdefault(self._owner(view, ends), {})
        for end in links:
            if end not in held:
                held[end] = None
                self._total[end] = self._total.get(end, 0.0) + _rate(view)

    def _owner(self, view: ListView, ends: Pair) -> tuple[str, str, Pair]:
        return view.tenant, view.chain.name if view.chain is not None else "", ends


def _rate(view: ListView) -> float:
    require = view.chain.require if view.chain is not None else None
    return 0.0 if require is None or require.bandwidth is None else require.bandwidth


def _with_slots(
    view: ListView,
    made: Mapping[Pair, _Shared],
    found: Mapping[Pair, Use],
    world: World,
    numbers: Mapping[str, int],
) -> ListView:
    ways: dict[tuple[str, bool], dict[str, None]] = {}
    for use in found.values():
        for trip in use.trips:
            ways.setdefault((trip.start, trip.backward), {})[trip.end] = None
    reached = {key: tuple(sorted(ends)) for key, ends in ways.items()}
    if not view.usable:  # every function is skipped: straight on, if that meets what is required
        between = {ends: (0,) * SLOTS if shared.table else () for ends, shared in made.items()}
        return replace(view, between=between, ways=reached)
    usable_by = [{each.name: each for each in world.instances[view.tenant, name]} for name in view.usable]
    used = dict.fromkeys(names for shared in made.values() for names in shared.table)
    paths = {
        numbers[",".join(names)]: tuple(usable_by[n][name] for n, name in enumerate(names)) for names in used
    }
    between = {ends: tuple(numbers[text] for text in shared.texts) for ends, shared in made.items()}
    return replace(view, paths=paths, between=between, ways=reached)
