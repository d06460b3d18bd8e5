"""Names resolved to numbers: what compile knows of hosts, lists of functions and services.

The world is the policy laid over the topology with an allocation: every rule-making module reads it, none
looks at the policy file's words again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

import networkx as nx

from controller_app.balancing.selectors import matches
from controller_app.balancing.slots import fill, function_slot
from controller_app.model.allocation import SLOTS, Allocation
from controller_app.model.policy import Function, Policy, Service, Tenant
from controller_app.model.position import Diagnostic, PolicyError
from controller_app.model.topology import End, IPAddress, IPNetwork, Topology
from controller_app.pipeline import labels
from controller_app.pipeline.ids import Numbers
from controller_app.policy.membership import Membership, function_hosts, memberships
from controller_app.routing.distances import Routes


@dataclass(frozen=True, slots=True)
class HostView:
    """An ordinary host: where it is and how it is reached. `zone` is the conntrack zone of its port."""

    name: str
    tenant: str
    network: str | None
    switch: str
    port: int
    mac: int | None
    ips: tuple[IPAddress, ...]
    prefixes: tuple[IPNetwork, ...]
    waypoint: int
    zone: int

    def ip(self, version: int) -> IPAddress | None:
        return next((ip for ip in self.ips if ip.version == version), None)


@dataclass(frozen=True, slots=True)
class ArmView:
    """One port of a function instance."""

    switch: str
    port: int
    waypoint: int


@dataclass(frozen=True, slots=True)
class InstanceView:
    """One instance of a function. A tap has only `into`."""

    function: str
    name: str
    host: str
    tap: bool
    into: ArmView
    out: ArmView | None


@dataclass(frozen=True)
class ListView:
    """A list of functions with its stickiness: every chain and classifier with this list shares it.

    `paths` maps path id to one instance of every function, in order; `slots` says which path each of the 256
    slots takes (empty when a function has no instance that can be used).
    """

    key: str
    id: int
    tenant: str
    functions: tuple[str, ...]
    sticky: bool
    paths: Mapping[int, tuple[InstanceView, ...]]
    slots: tuple[int, ...]

    def steps(self, path: int, backward: bool) -> tuple[InstanceView, ...]:
        instances = self.paths[path]
        return instances[::-1] if backward else instances


@dataclass(frozen=True)
class ServiceView:
    """A service with its addresses and its providers, by endpoint name; `slots` are 256 endpoint names."""

    key: str
    id: int
    tenant: str
    service: Service
    ips: tuple[IPAddress, ...]
    providers: Mapping[str, HostView]
    slots: tuple[str, ...]


@dataclass(frozen=True)
class World:
    """Everything the rule-making modules need to know."""

    policy: Policy
    topology: Topology
    routes: Routes
    tenants: Mapping[str, int]
    hosts: Mapping[str, HostView]
    blocks: Mapping[str, tuple[tuple[int, int], ...]]
    lists: Mapping[str, ListView]  # by key, see list_key
    services: Mapping[str, ServiceView]  # by TENANT/NAME
    instances: Mapping[tuple[str, str], tuple[InstanceView, ...]]  # by tenant and function


def mac_number(mac: str) -> int:
    """A MAC address as a number."""
    return int(mac.replace(":", ""), 16)


def list_key(tenant: str, through: tuple[str, ...], stickiness: str) -> str:
    """The name under which chains with the same functions and stickiness share everything."""
    return f"{tenant}/{'+'.join(through)}/{stickiness}"


def build_world(policy: Policy, topology: Topology, previous: Allocation) -> tuple[World, Allocation]:
    """Resolve everything; returns the world and the allocation with all that had to be added."""
    members = memberships(policy, topology)
    functions = function_hosts(policy)
    attached: dict[str, list[str]] = {}
    for host in topology.hosts.values():
        if host.name not in members and host.name not in functions:
            continue  # a two-armed box that no policy uses yet
        for arm, end in host.attach.items():
            if isinstance(end.port, int) and end.switch in topology.switches:
                attached.setdefault(end.switch, []).append(_waypoint_name(host.name, arm))
    numbers = Numbers(previous)
    waypoints, blocks = numbers.waypoints(attached)
    ends = [str(end) for name in members for end in topology.hosts[name].attach.values()]
    zones = numbers.assign("zones", ends, previous.ids.get("zones", {}), limit=1 << 16)
    hosts = _hosts(topology, members, waypoints, zones)
    # tables of what has nobody just now, or is in no chain, are kept for when it has again
    balanced = {
        f"{kind}/{tenant.name}/{name}"
        for tenant in policy.tenants.values()
        for kind in ("functions", "services")
        for name in getattr(tenant, kind)
    }
    slots = {key: table for key, table in previous.slots.items() if key in balanced}
    instances = _usable(
        {
            (tenant.name, function.name): _instances(function, topology, waypoints)
            for tenant in policy.tenants.values()
            for function in tenant.functions.values()
        },
        topology,
        {host.switch for host in hosts.values()},
    )
    lists, list_ids, paths = _lists(policy, instances, previous, slots, numbers)
    services, service_ids, addresses = _services(policy, topology, hosts, previous, slots, numbers)
    tenants = numbers.assign(
        "tenants", [*policy.tenants, "default"], previous.ids.get("tenants", {}), limit=1 << 16
    )
    objects = numbers.assign("objects", _objects(policy, topology), previous.ids.get("objects", {}))
    allocation = Allocation(
        blocks=blocks,
        waypoints=waypoints,
        ids={
            "tenants": tenants, "lists": list_ids, "services": service_ids, "zones": zones, "objects": objects,
        },
        paths=paths,
        slots=slots,
        addresses=addresses,
        next=numbers.next,
    )
    present = {switch: found for switch, found in blocks.items() if switch in topology.switches}
    world = World(policy, topology, Routes(topology), tenants, hosts, present, lists, services, instances)
    return world, allocation


def _waypoint_name(host: str, arm: str) -> str:
    return f"host:{host}:{arm}" if arm else f"host:{host}"


def _hosts(
    topology: Topology,
    members: Mapping[str, Membership],
    waypoints: Mapping[str, int],
    zones: Mapping[str, int],
) -> dict[str, HostView]:
    found: dict[str, HostView] = {}
    for name, member in members.items():
        host = topology.hosts[name]
        end = next(iter(host.attach.values()))
        arm = next(iter(host.attach))
        waypoint = waypoints.get(_waypoint_name(name, arm))
        if waypoint is None or not isinstance(end.port, int):
            continue
        found[name] = HostView(
            name,
            member.tenant,
            member.network,
            end.switch,
            end.port,
            mac_number(host.mac) if host.mac else None,
            host.ips,
            host.prefixes,
            waypoint,
            zones[str(end)],  # one a port, whoever is behind it
        )
    return found


def _instances(
    function: Function, topology: Topology, waypoints: Mapping[str, int]
) -> tuple[InstanceView, ...]:
    tap = function.mode == "tap"
    found = []
    for instance in function.instances.values():
        host = topology.hosts.get(instance.host)
        if host is None:
            continue

        def arm(
            name: str, host_name: str = instance.host, attach: Mapping[str, End] = host.attach
        ) -> ArmView | None:
            end = attach.get(name)
            waypoint = waypoints.get(_waypoint_name(host_name, name))
            if end is None or waypoint is None or not isinstance(end.port, int):
                return None
            return ArmView(end.switch, end.port, waypoint)

        into, out = arm("in") or arm(""), arm("out")
        if not tap and not topology.down.isdisjoint(host.attach.values()):
            continue  # its slots move; a tap keeps its own, since losing its copies harms nobody
        if into is not None and (tap or out is not None):
            found.append(
                InstanceView(function.name, instance.name, instance.host, tap, into, None if tap else out)
            )
    return tuple(found)


def _usable(
    found: dict[tuple[str, str], tuple[InstanceView, ...]], topology: Topology, edges: set[str]
) -> dict[tuple[str, str], tuple[InstanceView, ...]]:
    """Without the instances that no packet can get to, or come back from, so that their slots go to others.

    A function may join parts of the network that no link joins, so parts are followed through functions too.
    """
    part: dict[str, int] = {}
    for number, switches in enumerate(nx.connected_components(topology.graph)):
        part.update(dict.fromkeys(switches, number))
    across = [(part[i.into.switch], part[i.out.switch]) for group in found.values() for i in group if i.out]
    starts = {part[switch] for switch in edges}
    ahead, behind = set(starts), set(starts)
    for _ in range(len(set(part.values()))):  # no way leads through more parts than there are
        ahead |= {out for into, out in across if into in ahead}
        behind |= {into for into, out in across if out in behind}

    def usable(instance: InstanceView) -> bool:
        return instance.out is None or (
            part[instance.into.switch] in ahead and part[instance.out.switch] in behind
        )

    return {key: tuple(filter(usable, group)) for key, group in found.items()}


def _lists(
    policy: Policy,
    instances: Mapping[tuple[str, str], tuple[InstanceView, ...]],
    previous: Allocation,
    slots: dict[str, tuple[str, ...]],
    numbers: Numbers,
) -> tuple[dict[str, ListView], dict[str, int], dict[str, dict[str, int]]]:
    wanted: dict[str, tuple[Tenant, tuple[str, ...], bool]] = {}
    for tenant in policy.tenants.values():
        for chain in tenant.chains.values():
            key = list_key(tenant.name, chain.through, chain.stickiness)
            wanted[key] = (tenant, chain.through, chain.stickiness == "connection")
    ids = numbers.assign("lists", wanted, previous.ids.get("lists", {}), limit=1 << 16)
    filled: dict[str, tuple[str, ...]] = {}
    found: dict[str, ListView] = {}
    all_paths: dict[str, dict[str, int]] = {}
    # every path id that anything holds, so that lists do not get each other's
    held = {key: dict(kept) for key, kept in previous.paths.items()}
    for key, (tenant, through, sticky) in wanted.items():
        usable = [{i.name: i for i in instances[(tenant.name, name)]} for name in through]
        tables = []
        for n, name in enumerate(through):
            table = f"functions/{tenant.name}/{name}"
            if table not in filled:
                weights = {i: tenant.functions[name].instances[i].weight for i in usable[n]}
                filled[table] = fill(weights, previous.slots.get(table, ()))
                slots[table] = filled[table] or slots.get(table, ())
            tables.append(filled[table])
        combinations = (
            [
                ",".join(table[function_slot(slot, n)] for n, table in enumerate(tables))
                for slot in range(SLOTS)
            ]
            if all(tables)
            else []
        )
        base = labels.REMEMBERED if sticky else 0
        path_ids = numbers.assign(
            f"paths/{'remembered' if sticky else 'free'}",
            combinations,
            held.get(key, {}),
            first=base + 1,
            limit=base + labels.REMEMBERED,
            reserved=[number for other, kept in held.items() if other != key for number in kept.values()],
        )
        held[key] = path_ids
        all_paths[key] = path_ids
        paths = {
            number: tuple(usable[n][instance] for n, instance in enumerate(names.split(",")))
            for names, number in path_ids.items()
        }
        found[key] = ListView(
            key,
            ids[key],
            tenant.name,
            through,
            sticky,
            paths,
            tuple(path_ids[names] for names in combinations),
        )
    return found, ids, all_paths


def _services(
    policy: Policy,
    topology: Topology,
    hosts: Mapping[str, HostView],
    previous: Allocation,
    slots: dict[str, tuple[str, ...]],
    numbers: Numbers,
) -> tuple[dict[str, ServiceView], dict[str, int], dict[str, tuple[str, ...]]]:
    keys = [f"{t.name}/{s.name}" for t in policy.tenants.values() for s in t.services.values()]
    ids = numbers.assign("services", keys, previous.ids.get("services", {}), limit=1 << 14)
    addresses = _addresses(policy, hosts, previous)
    found: dict[str, ServiceView] = {}
    for tenant in policy.tenants.values():
        for service in tenant.services.values():
            key = f"{tenant.name}/{service.name}"
            ips = addresses[key]
            versions = {ip.version for ip in ips}
            providers = {}
            weights = {}
            for endpoint in tenant.endpoints.values():
                host = hosts.get(endpoint.host)
                if host is None or host.mac is None or not matches(service.selector, endpoint.labels):
                    continue
                if End(host.switch, host.port) in topology.down:
                    continue
                if versions <= {ip.version for ip in host.ips}:
                    providers[endpoint.name] = host
                    weights[endpoint.name] = endpoint.weight
            table = fill(weights, previous.slots.get(f"services/{key}", ()))
            slots[f"services/{key}"] = table or slots.get(f"services/{key}", ())
            found[key] = ServiceView(key, ids[key], tenant.name, service, ips, providers, table)
    return found, ids, {key: tuple(str(ip) for ip in ips) for key, ips in addresses.items()}


def _addresses(
    policy: Policy, hosts: Mapping[str, HostView], previous: Allocation
) -> dict[str, tuple[IPAddress, ...]]:
    """Every service's addresses: declared, or kept, or the lowest free one of its network."""
    result: dict[str, tuple[IPAddress, ...]] = {}
    for tenant in policy.tenants.values():
        taken: set[IPAddress] = {
            ip for host in hosts.values() if host.tenant == tenant.name for ip in host.ips
        }
        taken |= {gateway for network in tenant.networks.values() for gateway in network.gateways}
        taken |= {ip for service in tenant.services.values() for ip in service.ips}
        waiting = []
        for service in tenant.services.values():
            key = f"{tenant.name}/{service.name}"
            kept = previous.addresses.get(key, ())
            subnets = tenant.networks[service.network].subnets
            usable = {str(ip): ip for ip in _candidates(subnets, kept)}
            if service.ips:
                result[key] = service.ips
            elif kept and all(text in usable and usable[text] not in taken for text in kept):
                result[key] = tuple(usable[text] for text in kept)
                taken |= set(result[key])
            else:
                waiting.append((key, service, subnets))
        for key, service, subnets in waiting:
            chosen = []
            for subnet in subnets:
                address = next((ip for ip in subnet.hosts() if ip not in taken), None)
                if address is None:
                    raise PolicyError(
                        [
                            Diagnostic(
                                service.where,
                                f"services.{service.name}",
                                f"no address of {subnet} is free",
                                f"enlarge the subnet of network {service.network}, or give the service an ip",
                            )
                        ]
                    )
                chosen.append(address)
                taken.add(address)
            result[key] = tuple(chosen)
    return result


def _candidates(subnets: tuple[IPNetwork, ...], texts: tuple[str, ...]) -> list[IPAddress]:
    found = [ip_address(text) for text in texts]
    return [ip for ip in found if any(ip in subnet for subnet in subnets)]


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
