"""Putting the rules of every switch together from parts, so that a part which did not change is not made again.

A switch holds: what its place in the network asks for, the classifiers that packets entering there can meet, what its
functions need, and one block of rules for each list of functions and service that its packets can choose.
"""

from __future__ import annotations

from collections.abc import Mapping

from controller_app.model.flow import Flow, FlowKey, MeterConfig, SwitchState
from controller_app.pipeline.admission import admit
from controller_app.pipeline.answers import respond
from controller_app.pipeline.boxes import Prefix
from controller_app.pipeline.build import Fields, Rules
from controller_app.pipeline.checked import Reply, checked, depends, replies
from controller_app.pipeline.choose import affine, always, choose, forget_providers, lead, recall, resume
from controller_app.pipeline.choose_between import (
    Asked,
    alone,
    came,
    go_on,
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
from controller_app.pipeline.reach import Reach, reachable
from controller_app.pipeline.serving import always_untranslate, provide, serve_at, stray
from controller_app.pipeline.shared import Shared
from controller_app.pipeline.transit import groups_of, transit
from controller_app.pipeline.views import ArmView, HostView, InstanceView, ListView, ServiceView, World

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
            {view.tenant for view in world.services.values()},
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
        for switch, here in world.providers_of.items():
            hosts = {provider.zone: provider for _, provider in here}
            self._parts[switch].append(part(("serve at", switch), hosts, self._serve_at, switch, hosts))
        for switch, expected in part("replies", depends(world), replies, world).items():
            self._parts[switch].append(part(("checked", switch), expected, self._checked, switch, expected))
        starts = sorted(world.starts)
        for key, view in world.services.items():
            serving = view.id, view.ips, view.service.ports, view.providers
            for switch, rules in part(("provide", key), serving, self._provide, view):
                self._parts[switch].append(rules)
            for switch in starts:
                sources, again = self._reach.sources(view, switch), self._reach.again(view, switch)
                if not sources and not again:
                    continue
                name = "reach", key, sources, again
                asked = view.id, view.ips, view.service.ports, bool(view.slots), world.tenants[view.tenant]
                self._parts[switch].append(part(name, asked, self._reachable, view, sources, again))

    def _checked(self, switch: str, expected: tuple[Reply, ...]) -> Rules:
        rules = self._empty(switch)
        checked(rules, expected)
        return rules

    def _serve_at(self, switch: str, hosts: Mapping[int, HostView]) -> Rules:
        rules = self._empty(switch)
        serve_at(rules, hosts.values())
        return rules

    def _provide(self, view: ServiceView) -> tuple[tuple[str, Rules], ...]:
        found: dict[str, Rules] = {}
        for provider in view.providers.values():
            rules = found.setdefault(provider.switch, self._empty(provider.switch))
            provide(rules, view, provider)
        return tuple(found.items())

    def _reachable(self, view: ServiceView, sources: tuple[Prefix | None, ...], again: bool) -> Rules:
        rules = self._empty(f"every switch that reaches {view.key}")
        reachable(self._world, rules, view, sources, again)
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
        here = sources(world)
        choices: dict[str, Offered] = {}
        for switch in world.topology.switches:
            if switch not in world.starts:
                continue
            found = classification.at(switch, here.get(switch, {}), world.resumes.get(switch, frozenset()))
            self._classified[switch] = found.flows
            self._meters[switch] = found.meters
            choices[switch] = self._asked({**found.choices, **branched.get(switch, {})}, switch)
        return choices

    def _asked(self, choices: Choices, switch: str) -> Offered:
        """What has to be chosen, without services that nobody reaches there. A path is also chosen alone: for who
        remembers a provider, and for services that choose theirs by the client."""
        asked: Offered = {}
        for key, backward, service_key in choices:
            view, one = self._world.lists.get(key), Asked(key, backward, service_key)
            if not service_key:
                found = [*alone(view, one, switch), *(() if view is None else resumed(self._world, view, one, switch))]
                asked.update(dict.fromkeys(found))
                continue
            service = self._world.services[service_key]
            if not self._reach.at(service, switch):
                continue
            by_client = service.affine and bool(service.slots)
            asked[Asked("", False, service_key) if by_client else one] = None
            if view is not None and not by_client:
                asked.update(dict.fromkeys(resumed(self._world, view, one, switch)))
            if view is not None and (by_client or view.sticky):
                asked.update(dict.fromkeys(alone(view, one, switch)))
        return asked

    def choose(self, switch: str, choices: Offered, groups: Mapping[str, int]) -> None:
        """Add what the packets of a switch can choose. groups: name of a choice -> its group's number."""
        world, part = self._world, self._memory.part
        affinity = any(service.affine for service in world.services.values())
        for key in dict.fromkeys(asked.key for asked in choices if asked.key):
            view = world.lists[key]
            known = view.id, view.sticky, view.paths.keys(), view.on_path, view.free, affinity
            if view.by_edges and view.sticky and view.chain is not None and view.chain.require is not None:
                between = {ends: table for ends, table in view.between.items() if switch in ends}
                source = known, between, [world.blocks.get(one) for ends in between for one in ends]
                self._parts[switch].append(part(("recall", key, switch), source, self._recall_between, view, switch))
                continue
            self._parts[switch].append(part(("recall", key), known, self._recall, view, affinity))
        for key, backward in dict.fromkeys((asked.key, asked.backward) for asked in choices if asked.key):
            view = world.lists[key]
            self._parts[switch].append(part(("lead", key, backward), view.paths, self._lead, view, backward))
        for asked in choices:
            if asked.out_of and not asked.service:
                view = world.lists[asked.key]
                made_from = view, [world.blocks.get(end) for ends in view.between for end in ends]
                self._parts[switch].append(part(("go on", asked), made_from, self._go_on, view, asked))
            elif asked.key or asked.service:
                view_or_none = world.lists[asked.key] if asked.key else None
                service = world.services[asked.service] if asked.service else None
                number = groups[asked.name]
                slots = () if service is None else service.slots_at(switch)
                paths = paths_at(view_or_none, switch, asked, service, slots)
                there = towards(world, asked.egress) if asked.egress else ({},)
                there = (came(asked),) if asked.out_of else there
                chosen = view_or_none, service, slots, paths, there, number, world.portable
                by_edges = view_or_none is not None and view_or_none.by_edges
                place = switch if by_edges else "" if service is None else _place(service, switch)
                made = part(
                    ("choice", asked, place), chosen, self._choice, view_or_none, asked, service, slots, paths, there,
                    number,
                )  # fmt: skip
                self._parts[switch].append(made)
        for service_key in dict.fromkeys(asked.service for asked in choices if asked.service):
            service = world.services[service_key]
            left = service.id, service.left
            self._parts[switch].append(part(("left", service_key), left, self._left, service))

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

    def _choice(
        self,
        view: ListView | None,
        asked: Asked,
        service: ServiceView | None,
        slots: tuple[str, ...],
        paths: tuple[int | None, ...],
        there: tuple[Fields, ...],
        number: int,
    ) -> Rules:
        rules = self._empty("every switch that offers it")
        if service is not None and service.affine and slots:
            affine(rules, service, slots)
        else:
            portable, plus = self._world.portable, int(bool(asked.out_of))
            choose(rules, view, asked.backward, service, slots, paths, number, portable, there, plus)
        return rules

    def _left(self, service: ServiceView) -> Rules:
        rules = self._empty(f"every switch that offers {service.key}")
        forget_providers(rules, service)
        return rules

    # -- all of it -------------------------------------------------------------------------------------------

    def state(self, switch: str) -> SwitchState:
        """What a switch is to hold."""
        parts = tuple(self._parts[switch])
        flows = *(part.flows for part in parts), self._classified.get(switch, _NO_FLOWS)
        groups = tuple(part.groups for part in parts if part.groups)
        meters = *(part.meters for part in parts if part.meters), {m.id: m for m in self._meters.get(switch, ())}
        source = switch, flows, groups, meters
        return self._memory.following(("state", switch), Holding.following, Holding, source).state

    def _empty(self, name: str) -> Rules:
        return Rules(name, self._objects)


def _place(service: ServiceView, switch: str) -> object:
    """What tells the choices of a service at different switches apart."""
    return switch if switch in service.near else ""
