"""The rules of services, a shelf of some of them at a time: a service that changes has the rules of its shelf put
together again, and of each other shelf nothing is looked at.

What is on a shelf is kept apart by service again, so that only what changed is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from controller_app.model.flow import SwitchState
from controller_app.pipeline.boxes import Prefix, prefix_of
from controller_app.pipeline.build import Rules
from controller_app.pipeline.catalogue import Choice
from controller_app.pipeline.choose import forget_providers
from controller_app.pipeline.choose_between import Asked, alone, came, offer, paths_at, resumed, towards
from controller_app.pipeline.holding import Holding
from controller_app.pipeline.memory import Memory
from controller_app.pipeline.reach import Grants, Reach, reachable
from controller_app.pipeline.serving import provide
from controller_app.pipeline.views import HostView, ListView, ServiceView, Shelf, World

Offers = tuple[tuple[str, tuple[Choice, ...]], ...]  # by switch, what packets there can have to choose of a shelf


class Places(NamedTuple):
    """Where a shelf's providers are. hosts: by switch, those there by their zone; addresses: by switch and tenant,
    those of the services that they answer for."""

    hosts: Mapping[str, Mapping[int, HostView]]
    addresses: Mapping[str, Mapping[str, tuple[Prefix, ...]]]


def places(shelf: Shelf) -> Places:
    """Where the providers of a shelf are."""
    hosts: dict[str, dict[int, HostView]] = {}
    addresses: dict[str, dict[str, dict[Prefix, None]]] = {}
    for view in shelf:
        ips = dict.fromkeys(map(prefix_of, view.ips))
        for provider in view.providers.values():
            hosts.setdefault(provider.switch, {})[provider.zone] = provider
            addresses.setdefault(provider.switch, {}).setdefault(view.tenant, {}).update(ips)
    told = {switch: {name: tuple(found) for name, found in here.items()} for switch, here in addresses.items()}
    return Places(hosts, told)


def exposed(shelf: Shelf) -> Shelf:
    """Those on a shelf that not everyone reaches."""
    return tuple(view for view in shelf if view.service.expose != "everyone")


class Sought(NamedTuple):
    """What the packets of switches can have to choose of a shelf. asked: by switch; names: of these choices, under
    which groups are numbered; lists: by switch, the lists that are chosen with services, with the direction; alone: by
    switch, the choices of such a list for who remembers a provider, or has it by the address of the client."""

    asked: Mapping[str, tuple[Asked, ...]]
    names: tuple[str, ...]
    lists: Mapping[str, tuple[tuple[str, bool], ...]]
    alone: Mapping[str, tuple[Asked, ...]]


def sought(world: World, reach: Reach, shelf: Shelf, offers: Offers) -> Sought:
    """What packets can have to choose of a shelf, without services that nobody reaches at a switch."""
    views = {view.key: view for view in shelf}
    found: dict[str, tuple[Asked, ...]] = {}
    lists: dict[str, tuple[tuple[str, bool], ...]] = {}
    without: dict[str, tuple[Asked, ...]] = {}
    for switch, choices in offers:
        asked: dict[Asked, None] = {}
        single: dict[Asked, None] = {}
        for key, backward, service_key in choices:
            service = views[service_key]
            if not reach.at(service, switch):
                continue
            view, one = world.lists.get(key), Asked(key, backward, service_key)
            by_client = service.affine and bool(service.slots)
            asked[Asked("", False, service_key) if by_client else one] = None
            if view is not None and not by_client:
                asked.update(dict.fromkeys(resumed(world, view, one, switch)))
            if view is not None and (by_client or view.sticky):
                single.update(dict.fromkeys(alone(view, one, switch)))
        found[switch] = tuple(asked)
        with_lists = dict.fromkeys((each.key, each.backward) for each in (*asked, *single) if each.key)
        if with_lists:
            lists[switch], without[switch] = tuple(with_lists), tuple(single)
    names = dict.fromkeys(each.name for here in found.values() for each in here)
    return Sought(found, tuple(names), lists, without)


class Wanted(NamedTuple):
    """What the rules of a shelf are made of. surroundings: the same object while all else that matters is as it was;
    grants: who reaches those that not everyone does; lists: that are chosen with its services; numbers: of the groups,
    in the order of `Sought.names`."""

    surroundings: object
    shelf: Shelf
    grants: tuple[Grants, ...]
    lists: tuple[ListView | None, ...]
    sought: Sought
    numbers: tuple[int, ...] = ()


class ShelfRules:
    """What switches hold for the services of one shelf. `held` has it by switch."""

    def __init__(
        self, world: World, reach: Reach, objects: Mapping[str, int], wanted: Wanted, before: ShelfRules | None
    ) -> None:
        self._wanted = wanted
        self._world, self._reach, self._objects = world, reach, objects
        self._memory: Memory = Memory(None if before is None else before._memory)
        memory = self._memory
        self._parts: dict[str, list[Rules]] = {}
        groups = dict(zip(wanted.sought.names, wanted.numbers, strict=True))
        views = {view.key: view for view in wanted.shelf}
        for view in wanted.shelf:
            self._serve(view)
        for switch, asked in wanted.sought.asked.items():
            self._choose(switch, asked, views, groups)
        self.held: dict[str, SwitchState] = {
            switch: memory.following(
                ("held", switch), Holding.following, Holding,
                (switch, tuple(p.flows for p in parts), tuple(p.groups for p in parts if p.groups), ()),
            ).state
            for switch, parts in self._parts.items()
        }  # fmt: skip
        memory.seal()
        del self._world, self._reach, self._objects, self._parts  # what is kept is not to keep whole worlds

    def fits(self, wanted: Wanted) -> bool:
        """Whether it would be made again just so."""
        return self._wanted == wanted

    def _serve(self, view: ServiceView) -> None:
        """What providers have for it, and those who reach it."""
        world, part = self._world, self._memory.part
        serving = view.id, view.ips, view.service.ports, view.providers
        for switch, rules in part(("provide", view.key), serving, self._provide, view):
            self._parts.setdefault(switch, []).append(rules)
        asked = view.id, view.ips, view.service.ports, bool(view.slots), world.tenants[view.tenant]
        for switch in sorted(world.starts):
            sources, again = self._reach.sources(view, switch), self._reach.again(view, switch)
            if sources or again:
                name = "reach", view.key, sources, again
                made = part(name, asked, self._reachable, view, sources, again)
                self._parts.setdefault(switch, []).append(made)

    def _provide(self, view: ServiceView) -> tuple[tuple[str, Rules], ...]:
        found: dict[str, Rules] = {}
        for provider in view.providers.values():
            rules = found.setdefault(provider.switch, Rules(provider.switch, self._objects))
            provide(rules, view, provider)
        return tuple(found.items())

    def _reachable(self, view: ServiceView, sources: tuple[Prefix | None, ...], again: bool) -> Rules:
        rules = Rules(f"every switch that reaches {view.key}", self._objects)
        reachable(self._world, rules, view, sources, again)
        return rules

    def _choose(
        self, switch: str, choices: tuple[Asked, ...], views: Mapping[str, ServiceView], groups: Mapping[str, int]
    ) -> None:
        """What packets of a switch can choose."""
        world, part = self._world, self._memory.part
        parts = self._parts.setdefault(switch, [])
        for asked in choices:
            view, service = world.lists[asked.key] if asked.key else None, views[asked.service]
            slots = service.slots_at(switch)
            paths = paths_at(view, switch, asked, service, slots)
            there = towards(world, asked.egress) if asked.egress else ({},)
            there = (came(asked),) if asked.out_of else there
            number = groups[asked.name]
            place = switch if (view is not None and view.by_edges) or switch in service.near else ""
            chosen = view, service, slots, paths, there, number, world.portable
            parts.append(part(("choice", asked, place), chosen, self._choice, asked, *chosen))
        for key in dict.fromkeys(asked.service for asked in choices):
            service = views[key]
            remembered = service.id, service.left, service.moved, service.leaving
            parts.append(part(("left", key), remembered, self._left, service))

    def _choice(self, asked: Asked, *chosen: Any) -> Rules:
        rules = Rules(f"every switch that offers {asked.name}", self._objects)
        offer(rules, asked, *chosen)
        return rules

    def _left(self, service: ServiceView) -> Rules:
        rules = Rules(f"every switch that offers {service.key}", self._objects)
        forget_providers(rules, service)
        return rules
