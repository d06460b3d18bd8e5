"""Names resolved to numbers: what compile knows of hosts, lists of functions and services.

The world is the policy laid over the topology with an allocation: every rule-making module reads it, none
looks at the policy file's words again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from controller_app.balancing.membership import Membership
from controller_app.model.allocation import Allocation
from controller_app.model.policy import Function, Policy, Tenant
from controller_app.model.topology import Host, IPAddress, Topology
from controller_app.modes import MODES
from controller_app.pipeline.between import spread
from controller_app.pipeline.called import called
from controller_app.pipeline.cookies import METER_MARK
from controller_app.pipeline.ids import Numbers
from controller_app.pipeline.lists import PathNumbers, build_lists, kept, list_key, pieces
from controller_app.pipeline.memory import Memory
from controller_app.pipeline.services import build_services
from controller_app.pipeline.tables import ZONES
from controller_app.pipeline.transit import FIRST_GROUP, SwitchWays
from controller_app.pipeline.views import ArmView, HostView, InstanceView, ListView, World, left_out
from controller_app.policy.membership import function_hosts, memberships
from controller_app.routing.distances import Routes

VLANS = 4095  # 1 to 4094 (IEEE 802.1Q)
LIMITS_FROM = 2  # meters: 1 is for what goes to the controller


def mac_number(mac: str) -> int:
    """A MAC address as a number."""
    return int(mac.replace(":", ""), 16)


def build_world(
    policy: Policy,
    topology: Topology,
    previous: Allocation,
    portable: bool = False,
    memory: Memory | None = None,
) -> tuple[World, Allocation]:
    """Resolve everything; returns the world and the allocation with all that had to be added."""
    memory = memory or Memory()
    numbers = Numbers(previous)
    members = {
        tenant.name: memory.following(("members", tenant.name), Membership.following, Membership, tenant)
        for tenant in policy.tenants.values()
    }
    attached = [(t.name, members[t.name].attached, t.networks, t.functions) for t in policy.tenants.values()]
    owners = memory.part("owners", (attached, topology.hosts), lambda: dict(_owners(policy, topology)))
    waypoints, blocks = numbers.waypoints(_attached(policy, topology, owners))
    slots = _kept_slots(policy, previous)
    there = {
        (tenant.name, function.name): tuple(_instances(tenant.name, function, topology, waypoints))
        for tenant in policy.tenants.values()
        for function in tenant.functions.values()
    }
    instances = {key: tuple(each for each in found if _works(each, topology)) for key, found in there.items()}
    starts = {
        end.switch
        for (name, _), owner in owners.items()
        if owner.instance is None
        for end in topology.hosts[name].attach.values()
    }
    routes = memory.following("routes", Routes.following, Routes, topology)
    routes.prepare(blocks)
    targets = tuple(switch for switch in blocks if switch in topology.switches)
    ways = memory.following(
        "ways",
        lambda kept, now: kept.following(*now),
        lambda now: SwitchWays(*now),
        (topology, routes, targets),
    )
    instances = _usable(instances, routes, starts)
    paths_of = PathNumbers(previous, numbers)
    lists, list_ids = build_lists(policy, instances, previous, slots, numbers, paths_of)
    ends = [str(topology.hosts[name].attach[arm]) for name, arm in owners]
    resumed = {
        f"{arm.switch}:{arm.port}|{key}": (arm.waypoint, key) for arm, key in _resumed(policy, lists, instances)
    }
    zones = numbers.assign("zones", [*ends, *resumed], previous.ids.get("zones", {}), limit=ZONES)
    hosts = dict(_hosts(topology, owners, waypoints, zones))
    built = build_services(policy, topology, routes, hosts, previous, slots, numbers, memory, members)

    def numbered(space: str, names: Iterable[str], first: int = 1, limit: int = 1 << 40) -> Mapping[str, int]:
        return numbers.assign(space, names, previous.ids.get(space, {}), first=first, limit=limit)

    ids = {
        "tenants": numbered("tenants", [*policy.tenants, "default"], limit=1 << 16),
        "lists": list_ids,
        "services": built.ids,
        "zones": zones,
        "objects": numbered("objects", _objects(policy, topology)),
        "switches": numbered("switches", _numbered_switches(lists, topology), limit=VLANS),
        "floods": numbered("floods", [f"{t.name}/{n}" for t in _flooding(policy) for n in t.networks], limit=VLANS),
        "ways": numbered("ways", ways.names, first=FIRST_GROUP, limit=1 << 24),
        "meters": numbered("meters", _limited(policy), first=LIMITS_FROM, limit=1 << 16),
    }
    without = left_out(policy, instances)
    declared = [(t.name, t.classifiers, t.chains, t.networks, t.segments, t.functions) for t in policy.tenants.values()]
    calls = declared, built.hosts, built.ids, built.addresses, without
    world = World(
        policy,
        topology,
        routes,
        ids["tenants"],
        hosts,
        {switch: blocks[switch] for switch in targets},
        lists,
        built.services,
        instances,
        {place: zones[name] for name, place in resumed.items()},
        {name: METER_MARK << 24 | number for name, number in ids["meters"].items()},
        ids["switches"],
        {(t.name, n): ids["floods"][f"{t.name}/{n}"] for t in _flooding(policy) for n in t.networks},
        portable,
        memory.part("called", calls, called, policy, hosts, built.services, without),
        ways.by_switch,
        ids["ways"],
        {name: each.placed for name, each in members.items()},
        shelves=built.shelves,
        service_numbers=built.ids,
        service_hosts=built.hosts,
        checked=tuple(
            each
            for (tenant, name), found in there.items()
            if policy.tenants[tenant].functions[name].health
            for each in found
        ),
    )
    world = spread(world, paths_of, previous, slots, memory)
    allocation = Allocation(
        blocks=blocks,
        waypoints=waypoints,
        ids=ids,
        paths=paths_of.kept(lists),
        slots=slots,
        addresses=built.addresses,
        served=built.served,
        served_by=built.served_by,
        providers=built.providers,
        next=numbers.next,
        retired=numbers.retired,
    )
    return world, allocation


def _waypoint_name(host: str, arm: str) -> str:
    return f"host:{host}:{arm}" if arm else f"host:{host}"


def _own_waypoint_name(host: str, arm: str) -> str:
    """Of a function that sends packets of its own: where packets for itself go."""
    return f"own:{host}:{arm}" if arm else f"own:{host}"


class _Owner(NamedTuple):
    """Who sends packets of its own from a place."""

    tenant: str
    network: str | None
    instance: tuple[str, str, str] | None = None
    exempt: bool = False


_Owners = Mapping[tuple[str, str], _Owner]  # by host and arm


def _owners(policy: Policy, topology: Topology) -> Iterator[tuple[tuple[str, str], _Owner]]:
    """Everything that sends packets of its own: hosts, and functions that are hosts too."""
    for name, member in memberships(policy, topology).items():
        yield (name, next(iter(topology.hosts[name].attach))), _Owner(member.tenant, member.network)
    for tenant in policy.tenants.values():
        for function in tenant.functions.values():
            mode = MODES[function.mode]
            for instance in function.instances.values() if mode.is_host else ():
                host = topology.hosts.get(instance.host)
                for arm in host.attach if host is not None else ():
                    assert host is not None
                    network = _network_of(tenant, host.arm_ips(arm))
                    named = tenant.name, function.name, instance.name
                    yield (host.name, arm), _Owner(tenant.name, network, named, mode.exempt)


def _network_of(tenant: Tenant, ips: tuple[IPAddress, ...]) -> str | None:
    for network in tenant.networks.values():
        if network.kind != "service" and any(ip in subnet for ip in ips for subnet in network.subnets):
            return network.name
    return None


def _attached(policy: Policy, topology: Topology, owners: _Owners) -> dict[str, list[str]]:
    """Switch -> what is attached to it and takes part, by the names of waypoints."""
    functions = function_hosts(policy)
    attached: dict[str, list[str]] = {}
    for host in topology.hosts.values():
        for arm, end in host.attach.items():
            if host.name not in functions and (host.name, arm) not in owners:
                continue  # a two-armed box that no policy uses yet
            if isinstance(end.port, int) and end.switch in topology.switches:
                names = attached.setdefault(end.switch, [])
                names.append(_waypoint_name(host.name, arm))
                owner = owners.get((host.name, arm))
                if owner is not None and owner.instance is not None:
                    names.append(_own_waypoint_name(host.name, arm))
    return attached


def _kept_slots(policy: Policy, previous: Allocation) -> dict[str, tuple[str, ...]]:
    """The tables of what there is: also of what has nobody just now, for when it has again."""
    balanced = {
        f"{kind}/{tenant.name}/{name}"
        for tenant in policy.tenants.values()
        for kind in ("functions", "services")
        for name in getattr(tenant, kind)
    }
    if balanced == previous.slots.keys():
        return dict(previous.slots)
    return {key: table for key, table in previous.slots.items() if key.partition("@")[0] in balanced}


def _hosts(
    topology: Topology, owners: _Owners, waypoints: Mapping[str, int], zones: Mapping[str, int]
) -> Iterator[tuple[str, HostView]]:
    for (name, arm), owner in owners.items():
        host = topology.hosts[name]
        end = host.attach[arm]
        of_host = _waypoint_name if owner.instance is None else _own_waypoint_name
        waypoint = waypoints.get(of_host(name, arm))
        if waypoint is None or not isinstance(end.port, int):
            continue
        mac = host.arm_mac(arm)
        view = HostView(
            name if arm != "out" else f"{name}:out",
            name,
            owner.tenant,
            owner.network,
            end.switch,
            end.port,
            mac_number(mac) if mac else None,
            host.arm_ips(arm),
            host.prefixes if arm != "out" else (),
            waypoint,
            zones[str(end)],  # one a port, whoever is behind it
            host.vlan,
            host.declared,
            owner.instance,
            owner.exempt,
        )
        yield view.name, view


def _works(instance: InstanceView, topology: Topology) -> bool:
    """Whether its ports are up, and no check found it out; if not, its slots move. A tap keeps its own, since losing
    its copies harms nobody."""
    if not instance.mode.on_path:
        return True
    ends = topology.hosts[instance.host].attach.values()
    return topology.down.isdisjoint(ends) and instance.unready_name not in topology.unready


def _instances(
    tenant: str, function: Function, topology: Topology, waypoints: Mapping[str, int]
) -> Iterator[InstanceView]:
    """The instances whose host is there, with the arms its mode needs."""
    mode = MODES[function.mode]
    for instance in function.instances.values():
        host = topology.hosts.get(instance.host)
        if host is None or frozenset(host.attach) not in mode.arms:
            continue
        arms = [arm for name in host.attach if (arm := _arm(host, name, waypoints)) is not None]
        if len(arms) < len(host.attach) or (mode.needs_mac and any(arm.mac is None for arm in arms)):
            continue
        if mode.needs_address and not any(arm.ips or arm.prefixes for arm in arms):
            continue
        first = next(iter(host.attach))
        ordered = arms if first in ("", "in") else arms[::-1]
        yield InstanceView(
            tenant,
            function.name,
            instance.name,
            host.name,
            mode,
            function.handover,
            ordered[0],
            ordered[1] if len(ordered) > 1 else None,
        )


def _arm(host: Host, name: str, waypoints: Mapping[str, int]) -> ArmView | None:
    end = host.attach[name]
    waypoint = waypoints.get(_waypoint_name(host.name, name))
    if waypoint is None or not isinstance(end.port, int):
        return None
    mac = host.arm_mac(name)
    prefixes = host.prefixes if name != "out" else ()
    return ArmView(
        end.switch, end.port, waypoint, mac_number(mac) if mac else None, host.arm_ips(name), prefixes
    )


def _resumed(
    policy: Policy,
    lists: Mapping[str, ListView],
    instances: Mapping[tuple[str, str], tuple[InstanceView, ...]],
) -> Iterator[tuple[ArmView, str]]:
    """Where the paths of a list have to be remembered at a function: what comes out of it has no label, or takes
    another chain from there."""
    without = left_out(policy, instances)
    for view in lists.values():
        for name in view.functions if view.sticky else ():
            for instance in instances.get((view.tenant, name), ()):
                if instance.mode.on_path and not instance.brings_label:
                    yield instance.into, view.key
    for tenant in policy.tenants.values():
        for classifier in tenant.classifiers.values():
            if classifier.after is None or classifier.then.chain is None:
                continue
            chain = tenant.chains[classifier.then.chain]
            first = pieces(tenant.functions, kept(tenant, chain.through, without))[0]
            if chain.stickiness == "connection":
                for instance in instances.get((tenant.name, classifier.after), ()):
                    yield instance.into, list_key(tenant.name, first, chain)


def _numbered_switches(lists: Mapping[str, ListView], topology: Topology) -> list[str]:
    """Switches get numbers of their own where a transport says them."""
    return list(topology.switches) if any(view.transport != "mac" for view in lists.values()) else []


def _flooding(policy: Policy) -> list[Tenant]:
    return [tenant for tenant in policy.tenants.values() if tenant.flood]


def _limited(policy: Policy) -> list[str]:
    """What has a meter of its own."""
    return [
        f"classifiers/{tenant.name}/{classifier.name}"
        for tenant in policy.tenants.values()
        for classifier in tenant.classifiers.values()
        if classifier.then.limit is not None
    ]


def _usable(
    found: dict[tuple[str, str], tuple[InstanceView, ...]], routes: Routes, edges: set[str]
) -> dict[tuple[str, str], tuple[InstanceView, ...]]:
    """Without the instances that no packet can get to, or come back from, so that their slots go to others.

    A function may join parts of the network that no link joins, so parts are followed through functions too.
    """
    part = routes.parts
    across = [
        (part[i.into.switch], part[i.exit(False).switch])
        for group in found.values()
        for i in group
        if i.mode.on_path
    ]
    starts = {part[switch] for switch in edges}
    ahead, behind = set(starts), set(starts)
    for _ in range(len(set(part.values()))):  # no way leads through more parts than there are
        ahead |= {out for into, out in across if into in ahead}
        behind |= {into for into, out in across if out in behind}

    def usable(instance: InstanceView) -> bool:
        return not instance.mode.on_path or (
            part[instance.into.switch] in ahead and part[instance.exit(False).switch] in behind
        )

    return {key: tuple(filter(usable, group)) for key, group in found.items()}


def _objects(policy: Policy, topology: Topology) -> list[str]:
    """Every name a cookie can carry."""
    names = ["pipeline/base"]
    names += [f"hosts/{name}" for name in topology.hosts]
    names += [f"links/{link.a}-{link.b}" for link in topology.links]
    names += [f"switches/{name}" for name in topology.switches]
    for tenant in policy.tenants.values():
        names.append(f"policies/{tenant.name}/default")
        for kind in ("networks", "functions", "chains", "classifiers", "services"):
            names += [f"{kind}/{tenant.name}/{name}" for name in getattr(tenant, kind)]
    return names
