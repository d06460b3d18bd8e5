"""The slots of lists whose instances depend on the edges between which a packet travels: `spread: cost`, `require`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain, pairwise
from typing import NamedTuple

from controller_app.balancing.combining import Names
from controller_app.model.allocation import SLOTS, Allocation
from controller_app.model.policy import Function
from controller_app.pipeline.between_tables import Kept, Ledger, Shared, Tables, crossed
from controller_app.pipeline.edges import Use, uses
from controller_app.pipeline.lacking import unmet
from controller_app.pipeline.lists import PathNumbers, elsewhere
from controller_app.pipeline.memory import Memory
from controller_app.pipeline.views import InstanceView, ListView, Pair, World
from controller_app.routing.cheapest import Sites, cheapest
from controller_app.routing.constraints import Between, Site
from controller_app.routing.legs import Arc, Leg, Legs


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
    ground = _Ground(
        legs, memory.part("legs' ground", world.topology.switches, object), memory.part("links", legs.links, object)
    )
    ledger, lacking = Ledger(), []
    lists = dict(world.lists)
    for key, view in asked.items():
        made: dict[Pair, Shared] = {}
        used = found.get(key, {})
        before = {ends: tuple(previous.slots.get(table_name(key, ends), ())) for ends in used}
        for ends, kept in _tables(world, view, used, before, ground, ledger, memory):
            made[ends] = kept.shared
            slots[table_name(key, ends)] = kept.shared.texts or before[ends]
            if used[ends].needed and kept.shared.lacking:
                lacking.append(unmet(world, view, ends, kept.shared.lacking, kept.shared.many))
        # also of those that are kept for when they fit again
        tables = dict.fromkeys(slots[table_name(key, ends)] for ends in made)
        named = dict.fromkeys(filter(None, chain.from_iterable(tables)))
        places = elsewhere(world.instances[view.tenant, name] for name in view.usable)
        numbers = paths_of.of(key, view.sticky, named, places) if view.usable else {}
        complete = _with_slots(view, made, used, world, numbers)
        # the same object as before where it is equal, which spares others a long look
        lists[key] = memory.part(("list", key), complete, _itself, complete)
    return replace(world, lists=lists, unmet=tuple(dict.fromkeys(lacking)))


class _Ground(NamedTuple):
    """What choices are made on. switches, links: the same objects as long as those are equal."""

    legs: Legs
    switches: object
    links: object


def _tables(
    world: World,
    view: ListView,
    used: Mapping[Pair, Use],
    before: Mapping[Pair, tuple[str, ...]],
    ground: _Ground,
    ledger: Ledger,
    memory: Memory,
) -> Iterable[tuple[Pair, Kept]]:
    """The table of each pair of edges, in order; what they need of links is reserved."""
    sites = _sites(world, view)
    sites = memory.part(("sites", view.key), sites, lambda: sites)  # the same object where it is equal
    tables = Tables(sites)
    if _cost_alone(world, view):
        asks = [use.trips for use in used.values()]
        least = memory.part(("cheapest", view.key), (world.routes, sites, asks), cheapest, world.routes, sites, asks)
        for (ends, use), one in zip(used.items(), least, strict=True):
            source: object = sites, one, use.trips if one is None else None, world.routes if one is None else None
            if one is None:
                make = partial(tables.admitted, choice(world, view, sites, use, ground.legs, {}))
            else:
                make = partial(tables.cheapest, one)
            yield ends, _kept(memory, view, ends, source, before[ends], make)
        return
    inner: object = None
    rate = _rate(view)
    for ends, use in used.items():
        single = choice(world, view, sites, use, ground.legs, ledger.so_far() if rate else {})
        inner = inner or memory.part(("inner", view.key), _inner(single), object)
        asked = single.require, single.cheapest, single.reserved, ground.links if _looks_at_links(single) else None
        source = ground.switches, inner, _outer(single), sites, use.trips, asked
        kept = _kept(memory, view, ends, source, before[ends], partial(tables.admitted, single))
        ledger.reserve(rate, kept.shared.crossed)
        yield ends, kept


def _kept(
    memory: Memory,
    view: ListView,
    ends: Pair,
    source: object,
    before: tuple[str, ...],
    make: Callable[[tuple[str, ...]], Shared],
) -> Kept:
    return memory.latest(
        ("between", view.key, ends),
        lambda kept: kept.still(source, before),
        lambda: Kept(source, before, make),
    )


def _cost_alone(world: World, view: ListView) -> bool:
    """Whether nothing but the cost is asked for, and equal costs look equal."""
    return view.chain is not None and view.chain.require is None and world.routes.graph.unit.exact


def _itself(view: ListView) -> ListView:
    return view


def choice(
    world: World, view: ListView, sites: Sites, use: Use, legs: Legs, reserved: Mapping[Arc, float]
) -> Between:
    """The choice of a list between two edges. reserved: what others have of links."""
    assert view.chain is not None
    return Between(
        world.topology,
        legs,
        tuple(map(tuple, sites)),
        use.trips,
        view.chain.require,
        view.chain.spread == "cost",
        reserved,
    )


def choices(world: World) -> dict[tuple[str, Pair], Between]:
    """Every choice that a world was made with, with what others had of links then, by list's key and pair of edges."""
    asked = {key: view for key, view in world.lists.items() if view.by_edges}
    legs, ledger = Legs(world.topology, world.routes), Ledger()
    made: dict[tuple[str, Pair], Between] = {}
    found = uses(world, asked) if asked else {}
    for key, view in asked.items():
        sites, rate = _sites(world, view), _rate(view)
        for ends, use in found.get(key, {}).items():
            reserved = ledger.so_far() if rate else {}
            one = made[key, ends] = choice(world, view, sites, use, legs, reserved)
            ledger.reserve(rate, crossed(one, _used(view, ends)))
    return made


def _used(view: ListView, ends: Pair) -> list[Names]:
    paths = dict.fromkeys(view.between.get(ends, ()))
    return [tuple(step.name for step in view.paths[path]) for path in paths if path]


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


def _sites(world: World, view: ListView) -> tuple[tuple[Site, ...], ...]:
    """Where the instances are, of each function."""
    declared = world.policy.tenants[view.tenant]
    labels: dict[str, dict[str, str]] = {}
    for endpoint in declared.endpoints.values():
        labels.setdefault(endpoint.host, {}).update(endpoint.labels)
    return tuple(
        tuple(
            Site(
                each.name,
                each.entry(False).switch,
                each.exit(False).switch,
                _weight(declared.functions[name], each),
                labels.get(each.host, {}),
                each.mode.on_path,
            )
            for each in world.instances[view.tenant, name]
        )
        for name in view.usable
    )


def _weight(function: Function, view: InstanceView) -> int:
    return function.instances[view.name].weight


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


def _rate(view: ListView) -> float:
    """Bits per second that each pair of edges has reserved, each way."""
    require = view.chain.require if view.chain is not None else None
    return 0.0 if require is None or require.bandwidth is None else require.bandwidth


def _with_slots(
    view: ListView,
    made: Mapping[Pair, Shared],
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
    texts = {id(shared.texts): shared.texts for shared in made.values()}  # many pairs have the same
    used = dict.fromkeys(chain.from_iterable(texts.values()))
    paths = {
        numbers[text]: tuple(usable_by[n][name] for n, name in enumerate(text.split(","))) for text in used
    }
    tables = {at: tuple(map(numbers.__getitem__, each)) for at, each in texts.items()}
    between = {ends: tables[id(shared.texts)] for ends, shared in made.items()}
    return replace(view, paths=paths, between=between, ways=reached)
