"""Putting the rules of every switch together from parts, so that a part which did not change is not made again.

A switch holds: what its place in the network asks for, the classifiers that packets entering there can meet, what its
functions need, and one block of rules for each list of functions and service that its packets can choose.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from controller_app.model.flow import Flow, FlowKey, MeterConfig, SwitchState
from controller_app.pipeline.admission import admit
from controller_app.pipeline.answers import respond
from controller_app.pipeline.build import Rules
from controller_app.pipeline.catalogue import Choice
from controller_app.pipeline.checked import Reply, checked, depends, replies
from controller_app.pipeline.choose import Shares, always, lead, recall, resume
from controller_app.pipeline.choose_between import (
    Asked,
    alone,
    go_on,
    offer,
    paths_at,
    recall_between,
    resumed,
    towards,
)
from controller_app.pipeline.classify import Choices, Classification, sources
from controller_app.pipeline.crossed import cross
from controller_app.pipeline.edge import address, leave
from controller_app.pipeline.fits import fits, smallest_mtu
from controller_app.pipeline.flood import flood, tree
from controller_app.pipeline.functions import advance, restore, serve
from controller_app.pipeline.holding import Holding
from controller_app.pipeline.memory import Memory
from controller_app.pipeline.reach import Reach
from controller_app.pipeline.serving import always_untranslate, serve_at, stray
from controller_app.pipeline.shared import Shared
from controller_app.pipeline.shelves import ShelfRules, Wanted, exposed, places, sought
from controller_app.pipeline.transit import groups_of, transit
from controller_app.pipeline.views import ArmView, HostView, InstanceView, ListView, World, shelf_of

Offered = dict[Asked, None]  # what packets have to choose at a switch, in order

_NAMED_APART = ("classifiers/", "chains/", "links/")  # objects that no rule of every switch is of
_NO_FLOWS: Mapping[FlowKey, Flow] = {}  # the same one each time: parts are told apart by identity


class Assembly:
    """One compile's rules, by switch. objects: numbers for cookies."""

    def __init__(self, world: World, objects: Mapping[str, int], memory: Memory) -> None:
        self._world, self._objects, self._memory = world, objects, memory
        self._parts: dict[str, list[Rules]] = {switch: [] for switch in world.topology.switches}
        self._classified: dict[str, Mapping[FlowKey, Flow]] = {}
        self._meters: dict[str, tuple[MeterConfig, ...]] = {}
        self._reach = Reach(world)
        self._shares = Shares()
        self._shelved: dict[str, list[SwitchState]] = {switch: [] for switch in world.topology.switches}
        self._wanted: dict[int, Wanted] = {}  # by shelf
        self._lists: dict[str, dict[tuple[str, bool], None]] = {}  # by switch, those that are chosen with services
        self._places = [memory.part(("places", n), shelf, places, shelf) for n, shelf in world.shelves.items()]
        self._place_all()
        self._serve_all()
        self._provide_all()

    # -- its place in the network ----------------------------------------------------------------------------

    def _place_all(self) -> None:
        world = self._world
        token = self._memory.part("place", self._depends(), object)
        shared, ports = Shared(world, self._objects), tree(world)
        blocks = self._memory.part("blocks", self._blocks(), object)
        for switch, parts in self._parts.items():
            starts, links, on_tree = switch in world.starts, world.links_of.get(switch), ports.get(switch, ())
            owned = [self._objects.get(owner) for _, owner in links or ()]
            source = token, starts, world.resumes.get(switch), links, owned, on_tree
            parts.append(self._memory.part(("base", switch), source, self._base, switch, shared, on_tree))
            ways = world.ways.get(switch)
            towards = blocks, starts, ways, groups_of(world, switch)
            parts.append(self._memory.part(("transit", switch), towards, self._transit, switch))

    def _base(self, switch: str, shared: Shared, ports: tuple[int, ...]) -> Rules:
        world, rules = self._world, self._empty(switch)
        admit(world, rules, switch)
        if switch in world.hosts_of:
            respond(world, rules, switch, shared)
            always_untranslate(rules)
            leave(world, rules, switch)
            stray(world, rules, switch)
        if switch in world.starts:
            address(world, rules, switch, shared)
            fits(world, rules, switch)
            always(rules)
        flood(world, rules, switch, ports)
        return rules

    def _transit(self, switch: str) -> Rules:
        rules = self._empty(switch)
        transit(self._world, rules, switch)
        return rules

    def _blocks(self) -> tuple[object, ...]:
        """What the transit rules of any switch are made of, beside its ways."""
        world = self._world
        numbers = [self._objects.get(f"switches/{switch}") for switch in world.blocks]
        return world.blocks, numbers, world.switch_numbers, {view.transport for view in world.lists.values()}

    def _depends(self) -> tuple[object, ...]:
        """What the base of any switch is made of: neither functions nor classifiers."""
        world = self._world
        return (
            world.topology.switches,
            smallest_mtu(world.topology),
            world.hosts,
            world.blocks,
            world.tenants,
            world.switch_numbers,
            world.floods,
            world.departures,
            world.crossed,
            {view.transport for view in world.lists.values()},
            {name for name, tenant in world.policy.tenants.items() if tenant.services},
            {name: (tenant.networks, tenant.flood) for name, tenant in world.policy.tenants.items()},
            {n: number for n, number in self._objects.items() if not n.startswith(_NAMED_APART)},
        )

    # -- its functions ---------------------------------------------------------------------------------------

    def _serve_all(self) -> None:
        world, part = self._world, self._memory.part
        for instance in world.served:
            lists = world.lists_through.get((instance.tenant, instance.function), ())
            paths = [
                (view.key, view.paths, world.zones.get((instance.into.waypoint, view.key)), world.called_ips(view.key))
                for view in lists
                if instance.depends_on_paths
            ]
            source = instance, paths, world.branches(instance)
            for arm in instance.arms:
                self._parts[arm.switch].append(
                    part(("serve", arm.switch, arm.port), source, self._serve, instance, arm)
                )
        for view in world.lists.values():
            for path in view.paths:
                for backward in (False, True):
                    steps = view.steps(path, backward)
                    name = "advance", view.key, path, backward
                    for switch, rules in part(name, steps, advance, self._objects, view, path, backward):
                        self._parts[switch].append(rules)
        hosts = [(host.waypoint, host.mac, host.host) for host in world.hosts.values()]
        for switch in world.restores_at:
            self._parts[switch].append(part("restore", hosts, self._restore))
        for switch in {arm.switch for instance in world.served for arm in instance.arms}:
            here = [(i, world.lists_through.get((i.tenant, i.function))) for i in world.served_at[switch]]
            self._parts[switch].append(part(("resume", switch), (here, world.zones), self._resume, switch))
        served = frozenset(world.served)
        for instance in world.checked:
            for arm in instance.arms:
                key, works = ("crossed", arm.switch, arm.port), instance in served
                self._parts[arm.switch].append(part(key, (instance, works), self._cross, instance, arm, works))

    def _serve(self, instance: InstanceView, arm: ArmView) -> Rules:
        rules = self._empty(arm.switch)
        serve(self._world, rules, instance, arm)
        return rules

    def _cross(self, instance: InstanceView, arm: ArmView, served: bool) -> Rules:
        rules = self._empty(arm.switch)
        cross(rules, instance, arm, served)
        return rules

    def _restore(self) -> Rules:
        rules = self._empty("every switch that restores addresses")
        restore(self._world, rules)
        return rules

    def _resume(self, switch: str) -> Rules:
        rules = self._empty(switch)
        resume(self._world, rules, switch)
        return rules

    # -- services ---------------------------------------------------------------------------------------------

    def _provide_all(self) -> None:
        world, part = self._world, self._memory.part
        hosts: dict[str, dict[int, HostView]] = {}
        for where in self._places:
            for switch, here in where.hosts.items():
                hosts.setdefault(switch, {}).update(here)
        for switch, providers in hosts.items():
            self._parts[switch].append(part(("serve at", switch), providers, self._serve_at, switch, providers))
        for switch, expected in part("replies", depends(world), replies, world).items():
            self._parts[switch].append(part(("checked", switch), expected, self._checked, switch, expected))

    def _checked(self, switch: str, expected: tuple[Reply, ...]) -> Rules:
        rules = self._empty(switch)
        checked(rules, expected)
        return rules

    def _serve_at(self, switch: str, hosts: Mapping[int, HostView]) -> Rules:
        rules = self._empty(switch)
        serve_at(rules, hosts.values())
        return rules

    # -- what its packets can meet ---------------------------------------------------------------------------

    def classified(self, classification: Classification) -> dict[str, Offered]:
        """Add the classifiers. Returns, by switch, what packets can have to choose there."""
        world = self._world
        after = {switch: self._empty(switch) for switch in world.served_at}
        branched = classification.branch(world, after)
        for switch, rules in after.items():
            if rules.flows or rules.meters:
                self._parts[switch].append(rules)
        here = sources(world, [where.addresses for where in self._places])
        choices: dict[str, Offered] = {}
        offers: dict[int, dict[str, tuple[Choice, ...]]] = {}
        for switch in world.topology.switches:
            if switch not in world.starts:
                continue
            found = classification.at(switch, here.get(switch, {}), world.resumes.get(switch, frozenset()))
            self._classified[switch] = found.flows
            self._meters[switch] = found.meters
            source = found.choices, branched.get(switch, {}), world.service_numbers
            rest, by_shelf = self._memory.part(("choices", switch), source, _apart, *source)
            choices[switch] = self._asked(rest, switch)
            for shelf, offered in by_shelf.items():
                offers.setdefault(shelf, {})[switch] = offered
        self._seek(offers)
        for wanted in self._wanted.values():
            for switch, single in wanted.sought.alone.items():
                choices[switch].update(dict.fromkeys(single))
                self._lists.setdefault(switch, {}).update(dict.fromkeys(wanted.sought.lists[switch]))
        return choices

    def _asked(self, choices: Iterable[Choice], switch: str) -> Offered:
        """What has to be chosen, apart from services."""
        asked: Offered = {}
        for key, backward, _ in choices:
            view, one = self._world.lists.get(key), Asked(key, backward, "")
            found = [*alone(view, one, switch), *(() if view is None else resumed(self._world, view, one, switch))]
            asked.update(dict.fromkeys(found))
        return asked

    def _seek(self, offers: Mapping[int, Mapping[str, tuple[Choice, ...]]]) -> None:
        """What is to be chosen of services. offers: by shelf and switch."""
        world, memory = self._world, self._memory
        around = world.service_hosts, world.starts, world.tenants, world.resumes, world.blocks, world.instances
        self._surroundings = memory.part("surroundings", (*around, world.portable), object)
        for number, shelf in world.shelves.items():
            hidden = memory.part(("exposed", number), shelf, exposed, shelf)
            grants = tuple(map(self._reach.grants, hidden))
            here = tuple(offers.get(number, {}).items())
            keys = dict.fromkeys(key for _, some in here for key, _, _ in some if key)
            lists = tuple(world.lists.get(key) for key in keys)
            source = self._surroundings, shelf, grants, here, lists
            found = memory.part(("sought", number), source, sought, world, self._reach, shelf, here)
            self._wanted[number] = Wanted(self._surroundings, shelf, grants, lists, found)

    @property
    def choices_of_services(self) -> Iterator[str]:
        """The names of all choices of services, for the numbers of their groups."""
        return chain.from_iterable(wanted.sought.names for wanted in self._wanted.values())

    def serve(self, groups: Mapping[str, int]) -> None:
        """Add the rules of services. groups: name of a choice -> its group's number."""
        world, reach, objects = self._world, self._reach, self._objects
        for number, without_numbers in self._wanted.items():
            numbers = tuple(map(groups.__getitem__, without_numbers.sought.names))
            wanted = without_numbers._replace(numbers=numbers)
            made = self._memory.following(
                ("shelf", number),
                lambda kept, now: kept if kept.fits(now) else ShelfRules(world, reach, objects, now, kept),
                lambda now: ShelfRules(world, reach, objects, now, None),
                wanted,
            )
            for switch, held in made.held.items():
                self._shelved[switch].append(held)

    def choose(self, switch: str, choices: Offered, groups: Mapping[str, int]) -> None:
        """Add what the packets of a switch can choose, apart from services. groups: name of a choice -> its group's
        number."""
        world, part = self._world, self._memory.part
        affinity = any(view.affine for shelf in world.shelves.values() for view in shelf) if choices else False
        lists = dict.fromkeys((asked.key, asked.backward) for asked in choices if asked.key)
        lists.update(self._lists.get(switch, {}))
        for key in dict.fromkeys(key for key, _ in lists):
            view = world.lists[key]
            known = view.id, view.sticky, view.paths.keys(), view.on_path, view.free, affinity
            if view.by_edges and view.sticky and view.chain is not None and view.chain.require is not None:
                between = {ends: table for ends, table in view.between.items() if switch in ends}
                source = known, between, [world.blocks.get(one) for ends in between for one in ends]
                self._parts[switch].append(part(("recall", key, switch), source, self._recall_between, view, switch))
                continue
            self._parts[switch].append(part(("recall", key), known, self._recall, view, affinity))
        for key, backward in lists:
            view = world.lists[key]
            self._parts[switch].append(part(("lead", key, backward), view.paths, self._lead, view, backward))
        for asked in choices:
            if not asked.key:
                continue
            view = world.lists[asked.key]
            if asked.out_of:
                made_from = view, [world.blocks.get(end) for ends in view.between for end in ends]
                self._parts[switch].append(part(("go on", asked), made_from, self._go_on, view, asked))
                continue
            paths = paths_at(view, switch, asked, None, ())
            there = towards(world, asked.egress) if asked.egress else ({},)
            chosen = view, None, (), paths, there, groups[asked.name], world.portable
            place = switch if view.by_edges else ""
            self._parts[switch].append(part(("choice", asked, place), chosen, self._choice, asked, *chosen))

    def _recall(self, view: ListView, affinity: bool) -> Rules:
        rules = self._empty(f"every switch that offers {view.key}")
        recall(rules, view, affinity)
        return rules

    def _recall_between(self, view: ListView, switch: str) -> Rules:
        rules = self._empty(switch)
        recall_between(self._world, rules, view, switch)
        return rules

    def _lead(self, view: ListView, backward: bool) -> Rules:
        rules = self._empty(f"every switch that offers {view.key}")
        for path in view.paths:
            lead(rules, view, path, backward)
        return rules

    def _go_on(self, view: ListView, asked: Asked) -> Rules:
        rules = self._empty("the switch of an arm")
        go_on(self._world, rules, view, asked)
        return rules

    def _choice(self, asked: Asked, *chosen: Any) -> Rules:
        rules = self._empty("every switch that offers it")
        offer(rules, asked, *chosen, shares=self._shares)
        return rules

    # -- all of it -------------------------------------------------------------------------------------------

    def state(self, switch: str) -> SwitchState:
        """What a switch is to hold."""
        parts: tuple[Rules | SwitchState, ...] = (*self._parts[switch], *self._shelved[switch])
        flows = *(part.flows for part in parts), self._classified.get(switch, _NO_FLOWS)
        groups = tuple(part.groups for part in parts if part.groups)
        meters = *(part.meters for part in parts if part.meters), {m.id: m for m in self._meters.get(switch, ())}
        source = switch, flows, groups, meters
        return self._memory.following(("state", switch), Holding.following, Holding, source).state

    def _empty(self, name: str) -> Rules:
        return Rules(name, self._objects)


def _apart(choices: Choices, more: Choices, numbers: Mapping[str, int]) -> \
        tuple[tuple[Choice, ...], dict[int, tuple[Choice, ...]]]:  # fmt: skip
    """Choices without a service, and those with one by its shelf. numbers: of services."""
    rest: list[Choice] = []
    shelves: dict[int, list[Choice]] = {}
    for choice in {**choices, **more}:
        key = choice[2]
        (shelves.setdefault(shelf_of(numbers[key]), []) if key else rest).append(choice)
    return tuple(rest), {shelf: tuple(some) for shelf, some in shelves.items()}
