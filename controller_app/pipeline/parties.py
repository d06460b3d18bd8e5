"""Whose addresses a party of a classifier stands for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from controller_app.balancing.selectors import matches
from controller_app.model.policy import Party, Segment, Selector, Tenant
from controller_app.pipeline.boxes import EVERYTHING, Prefix, prefix_of
from controller_app.pipeline.views import HostView, World


class Parties:
    """The addresses of one tenant's parties."""

    def __init__(self, world: World, tenant: Tenant) -> None:
        self._world = world
        self._tenant = tenant
        self._networks: dict[str, list[HostView]] = defaultdict(list)
        self._functions: dict[str, list[HostView]] = defaultdict(list)
        for host in world.hosts.values():
            if host.tenant != tenant.name:
                continue
            if host.network is not None:
                self._networks[host.network].append(host)
            if host.instance is not None:
                self._functions[host.instance[1]].append(host)

    def prefixes(self, party: Party) -> list[Prefix]:
        """Where a party's packets come from, as they are declared: they may hold each other."""
        tenant, value = self._tenant, party.value
        if party.kind == "any":
            return [EVERYTHING]
        if party.kind == "cidr":
            assert not isinstance(value, str | Selector | None)
            return [prefix_of(value)]
        if party.kind == "service":
            return [prefix_of(ip) for ip in self._world.services[f"{tenant.name}/{value}"].ips]
        if party.kind == "network":
            return self.of_network(str(value))
        if party.kind == "segment":
            return self.of_segment(tenant.segments[str(value)])
        if party.kind == "selector":
            assert isinstance(value, Selector)
            return self._selected(value, None)
        host = tenant.endpoints[str(value)].host if party.kind == "endpoint" else str(value)
        return self._of_hosts([host])

    def of_network(self, name: str) -> list[Prefix]:
        """A network's subnets, or the addresses of its hosts where it declares none."""
        subnets = self._tenant.networks[name].subnets
        return [prefix_of(subnet) for subnet in subnets] or _addresses(self._networks.get(name, ()))

    def of_segment(self, segment: Segment) -> list[Prefix]:
        """A segment's prefix, or the addresses of the hosts that it selects in its network."""
        if segment.cidr is not None:
            return [prefix_of(segment.cidr)]
        return self._selected(segment.selector, segment.network) if segment.selector is not None else []

    def of_function(self, name: str) -> list[Prefix]:
        """The addresses that a function's instances have themselves."""
        return _addresses(self._functions.get(name, ()))

    def of_functions(self) -> list[Prefix]:
        """The addresses that instances of any function have themselves."""
        return [prefix for name in self._functions for prefix in self.of_function(name)]

    def _selected(self, selector: Selector, network: str | None) -> list[Prefix]:
        chosen = [e.host for e in self._tenant.endpoints.values() if matches(selector, e.labels)]
        inside = {host.name for host in self._networks.get(network, ())} if network is not None else None
        return self._of_hosts(name for name in chosen if inside is None or name in inside)

    def _of_hosts(self, names: Iterable[str]) -> list[Prefix]:
        hosts = self._world.hosts
        return _addresses(hosts[arm] for name in names for arm in (name, f"{name}:out") if arm in hosts)


def _addresses(hosts: Iterable[HostView]) -> list[Prefix]:
    return [prefix_of(value) for host in hosts for value in (*host.ips, *host.prefixes)]


def disjoint(prefixes: list[Prefix]) -> tuple[Prefix, ...]:
    """Without those that another one holds."""
    if len(prefixes) == 1:
        return tuple(prefixes)
    kept: list[Prefix] = []
    wide: list[Prefix] = []  # those that can hold others
    for prefix in sorted(dict.fromkeys(prefixes), key=lambda p: -p.size):
        if not any(big.holds(prefix) for big in wide):
            kept.append(prefix)
            if prefix.size > 1:
                wide.append(prefix)
    return tuple(kept)
