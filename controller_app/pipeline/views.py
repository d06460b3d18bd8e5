"""What the rule-making modules see: the policy laid over the topology, with every name resolved to numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from controller_app.model.policy import Chain, Policy, Service
from controller_app.model.position import Diagnostic
from controller_app.model.topology import IPAddress, IPNetwork, Topology
from controller_app.modes import MODES
from controller_app.modes.mode import Mode
from controller_app.pipeline import labels
from controller_app.routing.alternates import Way
from controller_app.routing.distances import Routes


@dataclass(frozen=True, slots=True)
class HostView:
    """An ordinary host, or the arm of a function that has addresses of its own: where it is and how it is
    reached. `name` is the topology's host, with `:out` for a second arm; `zone` is the conntrack zone of its
    port; `instance` is (tenant, function, instance name) where it is a function's."""

    name: str
    host: str
    tenant: str
    network: str | None
    switch: str
    port: int
    mac: int | None
    ips: tuple[IPAddress, ...]
    prefixes: tuple[IPNetwork, ...]
    waypoint: int
    zone: int
    vlan: int | None = None
    declared: bool = False
    instance: tuple[str, str, str] | None = None
    exempt: bool = False  # what it sends for itself, and what is sent to it, meets no chain

    def ip(self, version: int) -> IPAddress | None:
        return next((ip for ip in self.ips if ip.version == version), None)


@dataclass(frozen=True, slots=True)
class ArmView:
    """One port of a function instance."""

    switch: str
    port: int
    waypoint: int
    mac: int | None = None
    ips: tuple[IPAddress, ...] = ()
    prefixes: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True)
class InstanceView:
    """One instance of a function. With one arm, `out` is None: packets come back where they went in."""

    tenant: str
    function: str
    name: str
    host: str
    mode: Mode
    handover: str
    into: ArmView
    out: ArmView | None

    @property
    def unready_name(self) -> str:
        """What it is called in `Topology.unready`."""
        return f"functions/{self.tenant}/{self.function}/{self.name}"

    @property
    def brings_label(self) -> bool:
        """Whether what comes out of it still has its label."""
        return self.mode.brings_label and self.handover == "label"

    @property
    def depends_on_paths(self) -> bool:
        """Whether its rules know the paths through it."""
        return not self.brings_label or self.mode.word == "nsh"

    @property
    def owner(self) -> str:
        """The object its rules belong to."""
        return f"functions/{self.tenant}/{self.function}"

    @property
    def arms(self) -> tuple[ArmView, ...]:
        return (self.into,) if self.out is None else (self.into, self.out)

    def entry(self, backward: bool) -> ArmView:
        """The arm by which a packet enters: `in` forward, `out` backward."""
        return self.out if backward and self.out is not None else self.into

    def exit(self, backward: bool) -> ArmView:
        """The arm by which it comes out: where the other direction goes in."""
        return self.entry(not backward)


Pair = tuple[str, str]  # two edges, the one whose name sorts first in front


def pair(one: str, other: str) -> Pair:
    """Two edges, whatever the direction."""
    return (one, other) if one <= other else (other, one)


@dataclass(frozen=True)
class ListView:
    """A list of functions with its stickiness and transport: every chain and classifier with this list shares
    it.

    `functions` are those it asks for. `paths` maps path id to one instance of every function that has one, in
    order; `slots` says which path each of the 256 slots takes. Where it is empty nobody can be chosen, and
    `on_failure` (closed or reject) says what becomes of the packet. A list of which every function is skipped
    has `free` set.

    Where edges count, `chain` is what asks for that and `slots` is empty: `between` has the slots for each pair of
    edges, () for those where nothing fits; `ways` says between which edges packets travel: those they leave by, of the
    edge they enter by and whether that is backward. `usable` are the functions of `paths`; none where one that must
    not be skipped has no instance.
    """

    key: str
    id: int
    tenant: str
    functions: tuple[str, ...]
    sticky: bool
    transport: str
    paths: Mapping[int, tuple[InstanceView, ...]]
    slots: tuple[int, ...]
    on_failure: str = "closed"
    free: bool = False
    chain: Chain | None = None
    usable: tuple[str, ...] = ()
    between: Mapping[Pair, tuple[int, ...]] = field(default_factory=dict)
    ways: Mapping[tuple[str, bool], tuple[str, ...]] = field(default_factory=dict)

    @property
    def by_edges(self) -> bool:
        """Whether its slots depend on the edges; not so where nobody can be chosen at all."""
        return self.chain is not None and bool(self.usable or self.free)

    def slots_between(self, one: str, other: str) -> tuple[int, ...]:
        """The slots of packets that travel between two edges, in either direction."""
        return self.between.get(pair(one, other), ()) if self.by_edges else self.slots

    @property
    def owner(self) -> str:
        return f"functions/{self.tenant}/{self.functions[0]}"

    @property
    def on_path(self) -> bool:
        """Whether packets go through any of its instances: not so where it has but taps."""
        return any(step.mode.on_path for steps in self.paths.values() for step in steps)

    def steps(self, path: int, backward: bool) -> tuple[InstanceView, ...]:
        instances = self.paths[path]
        return instances[::-1] if backward else instances


@dataclass(frozen=True)
class ServiceView:
    """A service with its addresses and its providers, by endpoint name: all whose connections are kept. `slots` are
    256 endpoint names; `near` are the slots of switches that prefer other ones. `left` are the waypoints of hosts that
    are no providers any more, of which connections may still be remembered; `moved` those of providers that are
    elsewhere by now, with where that is; `leaving` those of providers that keep their TCP connections alone."""

    key: str
    id: int
    tenant: str
    service: Service
    ips: tuple[IPAddress, ...]
    providers: Mapping[str, HostView]
    slots: tuple[str, ...]
    near: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left: tuple[int, ...] = ()
    moved: Mapping[int, int] = field(default_factory=dict)
    leaving: tuple[int, ...] = ()

    @property
    def affine(self) -> bool:
        """Whether all connections of a client have one provider."""
        return self.service.session_affinity is not None

    def slots_at(self, switch: str) -> tuple[str, ...]:
        """The slots of this switch's clients."""
        return self.near.get(switch, self.slots)


Shelf = tuple[ServiceView, ...]
_SHELF = 32  # numbers of services on a shelf


def shelf_of(service: int) -> int:
    """The shelf that a service is on, by its number."""
    return service // _SHELF


def left_out(
    policy: Policy, instances: Mapping[tuple[str, str], tuple[InstanceView, ...]]
) -> frozenset[tuple[str, str]]:
    """See `World.left_out`. instances: those that can be used."""
    return frozenset(
        (tenant.name, function.name)
        for tenant in policy.tenants.values()
        for function in tenant.functions.values()
        if function.on_failure == "open"
        and MODES[function.mode].cuts
        and not instances.get((tenant.name, function.name))
    )


@dataclass(frozen=True)
class World:
    """Everything the rule-making modules need to know."""

    policy: Policy
    topology: Topology
    routes: Routes
    tenants: Mapping[str, int]
    hosts: Mapping[str, HostView]
    blocks: Mapping[str, tuple[tuple[int, int], ...]]
    lists: Mapping[str, ListView]  # by key, see lists.list_key
    services: Mapping[str, ServiceView]  # by TENANT/NAME
    instances: Mapping[tuple[str, str], tuple[InstanceView, ...]]  # by tenant and function
    zones: Mapping[tuple[int, str], int] = field(default_factory=dict)  # by arm's waypoint and list key
    meters: Mapping[str, int] = field(default_factory=dict)  # by name of what is limited
    switch_numbers: Mapping[str, int] = field(default_factory=dict)  # node segments, 1 up
    floods: Mapping[tuple[str, str], int] = field(default_factory=dict)  # by tenant and network: VLAN id
    portable: bool = False  # choose by a hash that every switch has, not by its own
    called: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by list key: services it may lead to
    ways: Mapping[str, Mapping[str, Way]] = field(default_factory=dict)  # by switch and destination switch
    way_groups: Mapping[str, int] = field(default_factory=dict)  # by the way's name
    placed: Mapping[str, object] = field(default_factory=dict)  # by tenant: changes with endpoints' places and labels
    unmet: tuple[Diagnostic, ...] = ()  # what chains require that cannot be had, of the pairs of edges they need
    shelves: Mapping[int, Shelf] = field(default_factory=dict)  # the services by `shelf_of` their numbers
    service_numbers: Mapping[str, int] = field(default_factory=dict)  # by key; the same object while nothing changes
    service_hosts: Mapping[str, HostView] = field(default_factory=dict)  # as `hosts`, likewise
    checked: tuple[InstanceView, ...] = ()  # all whose health is checked, whether they work or not

    @cached_property
    def served(self) -> tuple[InstanceView, ...]:
        """Every instance of every function that can be used."""
        return tuple(instance for group in self.instances.values() for instance in group)

    @cached_property
    def crossed(self) -> bool:
        """Whether frames are sent through any function to check it."""
        return any(not instance.mode.is_host for instance in self.checked)

    @cached_property
    def looks_like_label(self) -> bool:
        """Whether any host has a MAC address that could be a label."""
        return any(host.mac is not None and host.mac >> 40 in labels.PREFIXES for host in self.hosts.values())

    @cached_property
    def links_of(self) -> Mapping[str, tuple[tuple[int, str], ...]]:
        """The ports of each switch that are links' ends, with the object that wants their rules."""
        found: dict[str, list[tuple[int, str]]] = {}
        for link in self.topology.links:
            for end in (link.a, link.b):
                if isinstance(end.port, int):
                    found.setdefault(end.switch, []).append((end.port, f"links/{link.a}-{link.b}"))
        return {switch: tuple(ports) for switch, ports in found.items()}

    @cached_property
    def served_at(self) -> Mapping[str, tuple[InstanceView, ...]]:
        """The instances with an arm at each switch."""
        found: dict[str, dict[InstanceView, None]] = {}
        for instance in self.served:
            for arm in instance.arms:
                found.setdefault(arm.switch, {})[instance] = None
        return {switch: tuple(instances) for switch, instances in found.items()}

    @cached_property
    def restores_at(self) -> tuple[str, ...]:
        """Switches where frames get back the address their sender wrote: for taps, and functions that want it
        so."""
        return tuple(
            dict.fromkeys(
                arm.switch
                for instance in self.served
                if not instance.mode.on_path or instance.handover == "original"
                for arm in instance.arms
            )
        )

    @cached_property
    def hosts_of(self) -> Mapping[str, tuple[HostView, ...]]:
        """The hosts of each switch."""
        found: dict[str, list[HostView]] = {}
        for host in self.hosts.values():
            found.setdefault(host.switch, []).append(host)
        return {switch: tuple(hosts) for switch, hosts in found.items()}

    @cached_property
    def starts(self) -> frozenset[str]:
        """Switches where packets start a way: those of hosts and of functions."""
        arms = (arm.switch for instance in self.served for arm in instance.arms)
        return frozenset((*self.hosts_of, *arms))

    @cached_property
    def lists_through(self) -> Mapping[tuple[str, str], tuple[ListView, ...]]:
        """The lists that each function is in, by tenant and function."""
        found: dict[tuple[str, str], list[ListView]] = {}
        for view in self.lists.values():
            for function in view.functions:
                found.setdefault((view.tenant, function), []).append(view)
        return {key: tuple(views) for key, views in found.items()}

    @cached_property
    def resumes(self) -> Mapping[str, frozenset[str]]:
        """Switch -> keys of the lists whose packets come back there without their label."""
        found: dict[str, set[str]] = {}
        for view, instance in self.passages():
            if not instance.brings_label:
                for arm in instance.arms:
                    found.setdefault(arm.switch, set()).add(view.key)
        return {switch: frozenset(keys) for switch, keys in found.items()}

    @cached_property
    def branching(self) -> frozenset[tuple[str, str]]:
        """Functions (with their tenants) that have classifiers for what comes out of them."""
        return frozenset(
            (tenant.name, classifier.after)
            for tenant in self.policy.tenants.values()
            for classifier in tenant.classifiers.values()
            if classifier.after is not None
        )

    def called_ips(self, key: str) -> tuple[IPAddress, ...]:
        """The addresses of the services that packets of a list may be sent to."""
        return tuple(ip for name in self.called.get(key, ()) for ip in self.services[name].ips)

    @cached_property
    def departures(self) -> Mapping[tuple[str, int], int]:
        """The arm's waypoint at each port (switch, number) where what a translating function sends from its own
        addresses comes out of it, for classifiers that ask for that."""
        return {
            (arm.switch, arm.port): arm.waypoint
            for key in sorted(self.branching)
            for instance in self.instances.get(key, ())
            for arm in instance.arms
            if instance.mode.cuts
        }

    @cached_property
    def left_out(self) -> frozenset[tuple[str, str]]:
        """Functions (with their tenants) that chains are not cut at: translating ones that are skipped, having no
        instance."""
        return left_out(self.policy, self.instances)

    def branches(self, instance: InstanceView) -> bool:
        """Whether there are classifiers for what comes out of this instance."""
        return (instance.tenant, instance.function) in self.branching

    def passages(self) -> Iterator[tuple[ListView, InstanceView]]:
        """Every list with every instance that a path of it goes through (taps not)."""
        for view in self.lists.values():
            for function in view.functions:
                for instance in self.instances.get((view.tenant, function), ()):
                    if instance.mode.on_path:
                        yield view, instance
