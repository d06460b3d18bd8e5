"""Services: their addresses, and the providers that their labels choose."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from ipaddress import ip_address
from math import inf
from typing import Any, NamedTuple

from controller_app.balancing.membership import Membership
from controller_app.balancing.slots import fill
from controller_app.model.allocation import Allocation
from controller_app.model.policy import Policy, Service, Tenant
from controller_app.model.position import Diagnostic, PolicyError
from controller_app.model.topology import End, IPAddress, IPNetwork, Topology
from controller_app.pipeline.ids import Numbers
from controller_app.pipeline.memory import Memory
from controller_app.pipeline.views import HostView, ServiceView
from controller_app.routing.distances import Routes

_MOST_REMEMBERED = 512  # waypoints of providers that connections may be remembered of, for each service


class Built(NamedTuple):
    """The services by their key, with their ids, their addresses as texts, and the waypoints of all their providers,
    also of those that were, with the hosts there."""

    services: dict[str, ServiceView]
    ids: dict[str, int]
    addresses: dict[str, tuple[str, ...]]
    served: dict[str, tuple[int, ...]]
    served_by: dict[str, tuple[str, ...]]
    placed: dict[str, object]  # by tenant, the same while its endpoints are where they are, with their labels


def build_services(
    policy: Policy,
    topology: Topology,
    routes: Routes,
    hosts: Mapping[str, HostView],
    previous: Allocation,
    slots: dict[str, tuple[str, ...]],
    numbers: Numbers,
    memory: Memory,
) -> Built:
    """The services. `slots` gets their tables. What did not change since the last compile is the same object."""
    hosts = memory.part("service hosts", hosts, lambda: hosts)
    keys = [f"{t.name}/{s.name}" for t in policy.tenants.values() for s in t.services.values()]
    ids = numbers.assign("services", keys, previous.ids.get("services", {}), limit=1 << 14)
    given = memory.latest(
        "addresses",
        lambda kept: kept.fits(policy, hosts, previous),
        lambda: _Addresses(policy, hosts, previous),
    )
    found: dict[str, ServiceView] = {}
    served: dict[str, tuple[int, ...]] = {}
    served_by: dict[str, tuple[str, ...]] = {}
    unready = defaultdict(list)
    for name in topology.unready:
        unready[name.rpartition("/")[0]].append(name)
    down = {name for name, host in hosts.items() if End(host.switch, host.port) in topology.down}
    placed = {}
    for tenant in policy.tenants.values():
        members = memory.following(("members", tenant.name), Membership.following, Membership, tenant)
        placed[tenant.name] = members.placed
        for name, service in tenant.services.items():
            key = f"{tenant.name}/{name}"
            table = f"services/{key}"
            matched = members.of(name)
            out = [each.name for each in matched if each.host in down] if down else []
            source = (
                service,
                matched,
                ids[key],
                given.ips[key],
                hosts,
                (*out, *sorted(unready.get(table, ()))),
                (topology.switches, routes) if service.prefer is not None else None,
            )
            made = memory.latest(
                ("service", key),
                partial(_Made.fits, source=source, previous=previous),
                partial(_Made, source, key, tenant.name, topology, routes, previous),
            )
            found[key] = made.view
            served[key], served_by[key] = made.served, made.served_by
            slots.update(made.tables)
    return Built(found, ids, given.texts, served, served_by, placed)


def slots_near(memory: Memory, key: str) -> Mapping[str, tuple[str, ...]]:
    """What a compile made of a service (`tenant/name`) that prefers the near: switch -> the 256 slots of its clients,
    where these are other ones than the service's."""
    made: _Made | None = memory.kept(("service", key))
    return {} if made is None else made.view.near


class _Made:
    """One service's view, and what it was made from."""

    def __init__(
        self, source: Any, key: str, tenant: str, topology: Topology, routes: Routes, previous: Allocation
    ) -> None:
        service, matched, number, ips, hosts, _, _ = self._source = source
        self._key = key
        versions = {ip.version for ip in ips}
        providers = {}
        weights: dict[str, int] = {}
        draining: dict[str, int] = {}
        for endpoint in matched:
            host = hosts.get(endpoint.host)
            if host is None or host.mac is None:
                continue
            if End(host.switch, host.port) in topology.down or not versions <= {ip.version for ip in host.ips}:
                continue
            if f"services/{key}/{endpoint.name}" in topology.unready:
                continue
            providers[endpoint.name] = host
            (draining if endpoint.drain else weights)[endpoint.name] = endpoint.weight
        # those that are to go serve while nobody else does
        members = weights if any(weights.values()) else draining
        name = f"services/{key}"
        table = fill(members, previous.slots.get(name, ()))
        self.tables = {name: table or previous.slots.get(name, ())}
        near = _near(service, key, topology, routes, members, providers, previous, self.tables)
        now = {provider.waypoint: provider.host for provider in providers.values()}
        at = {provider.host: provider.waypoint for provider in providers.values()}
        before = previous.served.get(key, ())
        hosts_before = dict(zip(before, previous.served_by.get(key, ()), strict=False))
        gone = [waypoint for waypoint in before if waypoint not in now]
        gone = gone[-(_MOST_REMEMBERED - min(len(now), _MOST_REMEMBERED - 1)) :]
        every = {**{waypoint: hosts_before.get(waypoint, "") for waypoint in gone}, **dict(sorted(now.items()))}
        self.served, self.served_by = tuple(every), tuple(every.values())
        left = tuple(waypoint for waypoint in gone if every[waypoint] not in at)
        moved = {waypoint: at[every[waypoint]] for waypoint in gone if every[waypoint] in at}
        self.view = ServiceView(key, number, tenant, service, ips, providers, table, near, left, moved)

    def fits(self, source: object, previous: Allocation) -> bool:
        """Whether it would be made again just so."""
        return (
            self._source == source
            and previous.served.get(self._key) == self.served
            and previous.served_by.get(self._key) == self.served_by
            and all(previous.slots.get(name) == table for name, table in self.tables.items())
        )


def _near(
    service: Service,
    key: str,
    topology: Topology,
    routes: Routes,
    weights: Mapping[str, int],
    providers: Mapping[str, HostView],
    previous: Allocation,
    slots: dict[str, tuple[str, ...]],
) -> dict[str, tuple[str, ...]]:
    """Switch -> the slots of its clients, where those near it come first: of the same switch, rack or zone, from the
    narrowest that is preferred outwards; or those at the least cost. Switches that have nobody near are not in it."""
    willing = [name for name, weight in weights.items() if weight]
    if service.prefer is None or not willing:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    made: dict[str, tuple[str, ...]] = {}
    for switch in topology.switches:
        where, nearest = _nearest(service.prefer, switch, topology, routes, willing, providers)
        if len(nearest) in (0, len(willing)):
            continue
        name = f"services/{key}@{where}"
        if name not in made:
            made[name] = fill({each: weights[each] for each in nearest}, previous.slots.get(name, ()))
        found[switch] = made[name]
    slots.update(made)
    return found


def _nearest(
    prefer: str,
    switch: str,
    topology: Topology,
    routes: Routes,
    willing: list[str],
    providers: Mapping[str, HostView],
) -> tuple[str, list[str]]:
    """The place that is preferred, by its name, and who of them is there."""
    if prefer == "cost":
        costs = {name: routes.row(providers[name].switch).cost.get(switch, inf) for name in willing}
        least = min(costs.values())
        return f"switch:{switch}", [name for name, cost in costs.items() if cost == least]
    for level in _LEVELS[_LEVELS.index(prefer) :]:
        here = _place(topology, switch, level)
        there = [name for name in willing if _place(topology, providers[name].switch, level) == here]
        if here is not None and there:
            return f"{level}:{here}", there
    return "", []


_LEVELS = ("switch", "rack", "zone")


def _place(topology: Topology, switch: str, level: str) -> str | None:
    if level == "switch":
        return switch
    found = topology.switches[switch]
    return found.rack if level == "rack" else found.zone


class _Addresses:
    """The addresses of every service: `ips` by key, and as texts."""

    def __init__(self, policy: Policy, hosts: Mapping[str, HostView], previous: Allocation) -> None:
        self._made_for = _declared(policy, hosts)
        self.ips = _addresses(policy, hosts, previous)
        self.texts = {key: tuple(str(ip) for ip in ips) for key, ips in self.ips.items()}

    def fits(self, policy: Policy, hosts: Mapping[str, HostView], previous: Allocation) -> bool:
        """Whether the same would come of it again."""
        return previous.addresses == self.texts and _declared(policy, hosts) == self._made_for


def _declared(policy: Policy, hosts: Mapping[str, HostView]) -> tuple[object, ...]:
    return hosts, {name: (tenant.networks, tenant.services) for name, tenant in policy.tenants.items()}


def _addresses(
    policy: Policy, hosts: Mapping[str, HostView], previous: Allocation
) -> dict[str, tuple[IPAddress, ...]]:
    """Every service's addresses: declared, or kept, or the lowest free one of its network."""
    result: dict[str, tuple[IPAddress, ...]] = {}
    problems: list[Diagnostic] = []
    for tenant in policy.tenants.values():
        taken = {ip for host in hosts.values() if host.tenant == tenant.name for ip in host.ips}
        taken |= {gateway for network in tenant.networks.values() for gateway in network.gateways}
        others = taken
        taken = others | {ip for service in tenant.services.values() for ip in service.ips}
        kept_by: dict[IPAddress, str] = {}
        waiting = []
        for service in tenant.services.values():
            key = f"{tenant.name}/{service.name}"
            kept = [ip_address(text) for text in previous.addresses.get(key, ())]
            subnets = tenant.networks[service.network].subnets
            if service.ips:
                result[key] = service.ips
            elif len(kept) == len(subnets) and all(
                ip not in others and any(ip in subnet for subnet in subnets) for ip in kept
            ):
                result[key] = tuple(kept)
                kept_by |= dict.fromkeys(kept, service.name)
            else:
                waiting.append(service)
        problems += _clashes(tenant, kept_by)
        taken |= kept_by.keys()
        free = {
            subnet: (ip for ip in subnet.hosts() if ip not in taken)
            for network in tenant.networks.values()
            for subnet in network.subnets
        }
        for service in waiting:
            subnets = tenant.networks[service.network].subnets
            chosen = [next(free[subnet], None) for subnet in subnets]
            problems += [_full(service, subnet) for ip, subnet in zip(chosen, subnets, strict=True) if ip is None]
            result[f"{tenant.name}/{service.name}"] = tuple(ip for ip in chosen if ip is not None)
    if problems:
        raise PolicyError(problems)
    return result


def _clashes(tenant: Tenant, kept_by: Mapping[IPAddress, str]) -> Iterator[Diagnostic]:
    """An address that a service asks for and another one has already."""
    for service in tenant.services.values():
        for ip in service.ips:
            owner = kept_by.get(ip)
            if owner is not None and owner != service.name:
                yield Diagnostic(
                    service.where,
                    f"services.{service.name}.ip",
                    f"service {owner!r} has {ip}: it was allocated to it, and its clients use it",
                    f"take another address, or give {owner!r} one of its own with `ip:`",
                )


def _full(service: Service, subnet: IPNetwork) -> Diagnostic:
    return Diagnostic(
        service.where,
        f"services.{service.name}",
        f"no address of {subnet} is free",
        f"enlarge the subnet of network {service.network}, or remove a service from it",
    )
