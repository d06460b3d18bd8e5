"""What the two sides and the traffic of a classifier cover, as plain sets of addresses and ports.

Only for judging: which of two classifiers is the strict subset of the other, and what a packet belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network

from controller_app.balancing.selectors import matches
from controller_app.model.allocation import Allocation
from controller_app.model.policy import (
    Classifier,
    Endpoint,
    Party,
    Policy,
    Selector,
    Service,
    Tenant,
    Traffic,
)
from controller_app.model.topology import Host, IPAddress, IPNetwork, Topology
from controller_app.policy.membership import memberships

Nets = tuple[IPNetwork, ...]  # sorted, none within another
Points = tuple[tuple[int, int], ...]  # runs of ports, inclusive, sorted, with gaps between

EVERYTHING: Nets = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@dataclass(frozen=True)
class Tenancy:
    """Who belongs to whom: the policy's words with the topology's addresses filled in."""

    policy: Policy
    topology: Topology
    allocation: Allocation | None = None

    def tenant(self, name: str) -> Tenant:
        return self.policy.tenants.get(name, Tenant(name))

    def members(self) -> Mapping[str, tuple[str, str | None]]:
        """Host -> (tenant, network) of every host that is no function."""
        found = memberships(self.policy, self.topology)
        return {name: (member.tenant, member.network) for name, member in found.items()}

    def service_ips(self, tenant: Tenant, service: Service) -> tuple[IPAddress, ...]:
        """The service's addresses: those given, or those that were allocated."""
        if service.ips or self.allocation is None:
            return service.ips
        kept = self.allocation.addresses.get(f"{tenant.name}/{service.name}", ())
        return tuple(ip_address(text) for text in kept)

    def party(self, tenant: Tenant, party: Party) -> Nets:
        """Every address a party stands for."""
        match party.kind, party.value:
            case "any", _:
                return EVERYTHING
            case "cidr", (IPv4Network() | IPv6Network()) as prefix:
                return (prefix,)
            case "host", str(name):
                return self._host(name)
            case "network", str(name):
                return self._network(tenant, name)
            case "endpoint", str(name):
                return self._endpoints(tenant, [tenant.endpoints[name]])
            case "selector", Selector() as selector:
                return self._endpoints(tenant, [endpoint for endpoint in tenant.endpoints.values()
                                                if matches(selector, endpoint.labels)])
            case "service", str(name):
                ips = self.service_ips(tenant, tenant.services[name])
                return _collapse(ip_network(ip) for ip in ips)
        raise ValueError(f"a classifier's side {party!r} is not known")

    def _host(self, name: str) -> Nets:
        host = self.topology.hosts.get(name)
        return () if host is None else _collapse(_addresses(host))

    def _endpoints(self, tenant: Tenant, endpoints: Iterable[Endpoint]) -> Nets:
        return _collapse(net for endpoint in endpoints for net in self._host(endpoint.host))

    def _network(self, tenant: Tenant, name: str) -> Nets:
        network = tenant.networks[name]
        members = [host for host, place in self.members().items() if place == (tenant.name, name)]
        return _collapse(network.subnets or [net for host in members for net in self._host(host)])


def _addresses(host: Host) -> list[IPNetwork]:
    return [*(ip_network(ip) for ip in host.ips), *host.prefixes]


def _collapse(nets: Iterable[IPNetwork]) -> Nets:
    found = list(nets)
    four = [net for net in found if isinstance(net, IPv4Network)]
    six = [net for net in found if isinstance(net, IPv6Network)]
    return (*collapse_addresses(four), *collapse_addresses(six))


def covers(nets: Nets, address: IPAddress) -> bool:
    return any(address in net for net in nets)


def within(inner: Nets, outer: Nets) -> bool:
    """Whether every address of `inner` is in `outer`."""
    return all(any(_inside(net, other) for other in outer) for net in inner)


def _inside(net: IPNetwork, other: IPNetwork) -> bool:
    if isinstance(net, IPv4Network) and isinstance(other, IPv4Network):
        return net.subnet_of(other)
    if isinstance(net, IPv6Network) and isinstance(other, IPv6Network):
        return net.subnet_of(other)
    return False


def facing(nets: Nets, others: Nets) -> Nets:
    """Without the addresses that can meet none of the others, being of the other IP version."""
    versions = {net.version for net in others}
    return tuple(net for net in nets if net.version in versions)


def traffic_sets(traffic: tuple[Traffic, ...]) -> Mapping[str, Points]:
    """Protocol -> ports; the empty mapping means all traffic, whatever its protocol."""
    runs: dict[str, list[tuple[int, int]]] = {}
    for item in traffic:
        runs.setdefault(item.protocol, []).append((item.low, item.high))
    return {protocol: _merge(found) for protocol, found in runs.items()}


def _merge(runs: Iterable[tuple[int, int]]) -> Points:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(runs):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def traffic_within(inner: Mapping[str, Points], outer: Mapping[str, Points]) -> bool:
    if not outer:
        return True
    if not inner:
        return False
    return all(any(low >= other_low and high <= other_high
                   for other_low, other_high in outer.get(protocol, ()))
               for protocol, runs in inner.items() for low, high in runs)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done: action "chain" (with the functions, from the end when `backward`), "allow" or "deny"."""

    action: str
    through: tuple[str, ...] = ()
    stickiness: str = ""
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Extent:
    """What a classifier covers, or its mirror: then the ports are those that replies come from. `decision` is
    what follows from it; two with the same decision cannot conflict."""

    classifier: Classifier
    source: Nets
    destination: Nets
    traffic: Mapping[str, Points]
    decision: Decision
    mirrored: bool = False

    def subset_of(self, other: Extent) -> bool:
        """Whether everything in here is in `other` too. Both are mirrors, or neither is."""
        return (within(self.source, other.source) and within(self.destination, other.destination)
                and traffic_within(self.traffic, other.traffic))
