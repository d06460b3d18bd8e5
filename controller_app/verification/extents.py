"""What the two sides and the traffic of a classifier cover, as plain sets of addresses and ports.

Only for judging: which of two classifiers is the strict subset of the other, and what a packet belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network

from controller_app.balancing.selectors import matches
from controller_app.model.allocation import Allocation
from controller_app.model.policy import (
    Classifier,
    Endpoint,
    Party,
    Policy,
    Segment,
    Selector,
    Service,
    Tenant,
    Traffic,
)
from controller_app.model.topology import IPAddress, IPNetwork, Topology
from controller_app.policy.membership import memberships
from controller_app.verification.stations import own_nets

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

    @cached_property
    def _members(self) -> Mapping[str, tuple[str, str | None]]:
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
                return self.network(tenant, name)
            case "segment", str(name):
                return self.segment(tenant, tenant.segments[name])
            case "endpoint", str(name):
                return self._endpoints(tenant, [tenant.endpoints[name]])
            case "selector", Selector() as selector:
                return self._endpoints(tenant, [endpoint for endpoint in tenant.endpoints.values()
                                                if matches(selector, endpoint.labels)])
            case "service", str(name):
                ips = self.service_ips(tenant, tenant.services[name])
                return _collapse(ip_network(ip) for ip in ips)
        raise ValueError(f"a classifier's side {party!r} is not known")

    def network(self, tenant: Tenant, name: str) -> Nets:
        """Every address of a network: its subnets, or where it has none those of its hosts."""
        network = tenant.networks[name]
        members = [host for host, place in self._members.items() if place == (tenant.name, name)]
        return _collapse(network.subnets or [net for host in members for net in self._host(host)])

    def segment(self, tenant: Tenant, segment: Segment) -> Nets:
        """Every address of a segment: its prefix, or those of the hosts in its network whose labels match."""
        if segment.cidr is not None:
            return (segment.cidr,)
        place = (tenant.name, segment.network)
        return self._endpoints(tenant, [
            endpoint for endpoint in tenant.endpoints.values()
            if segment.selector is not None and matches(segment.selector, endpoint.labels)
            and self._members.get(endpoint.host) == place])

    def function(self, tenant: Tenant, name: str) -> Nets:
        """Every address of a function's instances."""
        return _collapse(net for instance in tenant.functions[name].instances.values()
                         for net in self._host(instance.host))

    def _host(self, name: str) -> Nets:
        host = self.topology.hosts.get(name)
        return () if host is None else _collapse(own_nets(host))

    def _endpoints(self, tenant: Tenant, endpoints: Iterable[Endpoint]) -> Nets:
        return _collapse(net for endpoint in endpoints for net in self._host(endpoint.host))


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
    """What is done: action "chain" (with the functions, from the end when `backward`), "allow", "deny" or
    "reject", and the DSCP that is written."""

    action: str
    through: tuple[str, ...] = ()
    stickiness: str = ""
    backward: bool = False
    dscp: int | None = None


@dataclass(frozen=True, slots=True)
class Extent:
    """What a classifier covers, or its mirror: then the ports are those that replies come from. `decision` is
    what follows from it; two with the same decision cannot conflict. An empty `dscp` is any.

    `implied`: it is for what a translating function of the chain sends on, or for the replies to that. `out_of`: it
    is only for what comes out of this function, with the addresses put back.
    """

    classifier: Classifier
    source: Nets
    destination: Nets
    traffic: Mapping[str, Points]
    decision: Decision
    mirrored: bool = False
    dscp: frozenset[int] = frozenset()
    implied: bool = False
    out_of: str | None = None

    @property
    def level(self) -> tuple[int, bool]:
        """The larger one wins; only within a level subsets are compared."""
        return self.classifier.priority, not self.mirrored

    def subset_of(self, other: Extent) -> bool:
        """Whether everything in here is in `other` too. Both are mirrors, or neither is."""
        return (within(self.source, other.source) and within(self.destination, other.destination)
                and traffic_within(self.traffic, other.traffic)
                and (not other.dscp or (bool(self.dscp) and self.dscp <= other.dscp)))
