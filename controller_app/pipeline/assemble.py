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
from controller_app.pipeline.build import Rules
from controller_app.pipeline.checked import Reply, checked, depends, replies
from controller_app.pipeline.choose import affine, always, choice_name, choose, forget_providers, lead, recall, resume
from controller_app.pipeline.classify import Choices, Classification, sources
from controller_app.pipeline.edge import address, leave
from controller_app.pipeline.fits import fits
from controller_app.pipeline.flood import flood, tree
from controller_app.pipeline.functions import advance, restore, serve
from controller_app.pipeline.holding import Holding
from controller_app.pipeline.memory import Memory
from controller_app.pipeline.reach import Reach, reachable
from controller_app.pipeline.serving import always_untranslate, provide, serve_at, stray
from controller_app.pipeline.shared import Shared
from controller_app.pipeline.transit import transit
from controller_app.pipeline.views import ArmView, HostView, InstanceView, ListView, ServiceView, World


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
        for switch, parts in self._parts.items():
            source = token, switch in world.starts, world.resumes.get(switch)
            parts.append(
                self._memory.part(("base", switch), source, self._base, switch, shared, ports.get(switch, ()))
            )

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
        transit(world, rules, switch)
        flood(world, rules, switch, ports)
        return rules

    def _depends(self) -> tuple[object, ...]:
        """What the base of any switch is made of: neither functions nor classifiers."""
        world = self._world
        return (
            world.topology.switches,
            world.topology.links,
            world.hosts,
            world.blocks,
            world.tenants,
            world.switch_numbers,
            world.floods,
            world.departures,
            {view.transport for view in world.lists.values()},
            {view.tenant for view in world.services.values()},
            {name: (tenant.networks, tenant.flood) for name, tenant in world.policy.tenants.items()},
            {n: number for n, number in self._objects.items() if not n.startswith(("classifiers/", "chains/"))},
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

    def _serve(self, instance: InstanceView, arm: ArmView) -> Rules:
        rules = self._empty(arm.switch)
        serve(self._world, rules, instance, arm)
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

    def classified(self, classification: Classification) -> dict[str, Choices]:
        """Add the classifiers. Returns, by switch, what packets can have to choose there."""
        world = self._world
        after = {switch: self._empty(switch) for switch in world.served_at}
        branched = classification.branch(world, after)
        for switch, rules in after.items():
            if rules.flows or rules.meters:
                self._parts[switch].append(rules)
        here = sources(world)
        choices: dict[str, Choices] = {}
        for switch in world.topology.switches:
            if switch not in world.starts:
                continue
            found = classification.at(switch, here.get(switch, {}), world.resumes.get(switch, frozenset()))
            self._classified[switch] = found.flows
            self._meters[switch] = found.meters
            choices[switch] = self._asked({**found.choices, **branched.get(switch, {})}, switch)
        return choices

    def _asked(self, choices: Choices, switch: str) -> Choices:
        """What has to be chosen, without services that nobody reaches there. A path is also chosen alone: for who
        remembers a provider, and for services that choose theirs by the client."""
        asked: Choices = {}
        for key, backward, service_key in choices:
            if not service_key:
                asked[key, backward, ""] = None
                continue
            service = self._world.services[service_key]
            if not self._reach.at(service, switch):
                continue
            by_client = service.affine and bool(service.slots)
            asked["" if by_client else key, False if by_client else backward, service_key] = None
            if key and (by_client or self._world.lists[key].sticky):
                asked[key, backward, ""] = None
        return asked

    def choose(self, switch: str, choices: Choices, groups: Mapping[str, int]) -> None:
        """Add what the packets of a switch can choose. groups: name of a choice -> its group's number."""
        world, part = self._world, self._memory.part
        affinity = any(service.affine for service in world.services.values())
        for key in dict.fromkeys(key for key, _, _ in choices if key):
            view = world.lists[key]
            known = view.id, view.sticky, view.paths.keys(), view.on_path, view.free, affinity
            self._parts[switch].append(part(("recall", key), known, self._recall, view, affinity))
        for key, backward in dict.fromkeys((key, backward) for key, backward, _ in choices if key):
            view = world.lists[key]
            self._parts[switch].append(part(("lead", key, backward), view.paths, self._lead, view, backward))
        for key, backward, service_key in choices:
            if key or service_key:
                view_or_none = world.lists[key] if key else None
                service = world.services[service_key] if service_key else None
                number = groups[choice_name(key, backward, service_key)]
                slots = () if service is None else service.slots_at(switch)
                chosen = view_or_none, service, slots, number, world.portable
                name = "choice", key, backward, service_key, () if service is None else _place(service, switch)
                made = part(name, chosen, self._choice, view_or_none, backward, service, slots, number)
                self._parts[switch].append(made)
        for service_key in dict.fromkeys(service for _, _, service in choices if service):
            service = world.services[service_key]
            left = service.id, service.left
            self._parts[switch].append(part(("left", service_key), left, self._left, service))

    def _recall(self, view: ListView, affinity: bool) -> Rules:
        rules = self._empty(f"every switch that offers {view.key}")
        recall(rules, view, affinity)
        return rules

    def _lead(self, view: ListView, backward: bool) -> Rules:
        rules = self._empty(f"every switch that offers {view.key}")
        for path in view.paths:
            lead(rules, view, path, backward)
        return rules

    def _choice(
        self,
        view: ListView | None,
        backward: bool,
        service: ServiceView | None,
        slots: tuple[str, ...],
        number: int,
    ) -> Rules:
        rules = self._empty("every switch that offers it")
        if service is not None and service.affine and slots:
            affine(rules, service, slots)
        else:
            choose(rules, view, backward, service, slots, number, self._world.portable)
        return rules

    def _left(self, service: ServiceView) -> Rules:
        rules = self._empty(f"every switch that offers {service.key}")
        forget_providers(rules, service)
        return rules

    # -- all of it -------------------------------------------------------------------------------------------

    def state(self, switch: str) -> SwitchState:
        """What a switch is to hold."""
        parts = tuple(self._parts[switch])
        flows = *(part.flows for part in parts), self._classified.get(switch, {})
        groups = tuple(part.groups for part in parts if part.groups)
        meters = *(part.meters for part in parts if part.meters), {m.id: m for m in self._meters.get(switch, ())}
        source = switch, flows, groups, meters
        return self._memory.following(("state", switch), Holding.following, Holding, source).state

    def _empty(self, name: str) -> Rules:
        return Rules(name, self._objects)


def _place(service: ServiceView, switch: str) -> object:
    """What tells the choices of a service at different switches apart."""
    return switch if switch in service.near else ""
