"""Which tenant and network a host belongs to, and which endpoints a selector matches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controller_app.balancing.selectors import matches
from controller_app.model.policy import Endpoint, Network, Policy, Segment, Selector
from controller_app.model.topology import Host, Topology


@dataclass(frozen=True, slots=True)
class Membership:
    """A host's tenant and, where known, its network."""

    tenant: str
    network: str | None


def function_hosts(policy: Policy) -> frozenset[str]:
    """Hosts that are instances of a function: they carry traffic and have none of their own."""
    return frozenset(
        instance.host
        for tenant in policy.tenants.values()
        for function in tenant.functions.values()
        for instance in function.instances.values()
    )


def memberships(policy: Policy, topology: Topology) -> Mapping[str, Membership]:
    """Every ordinary host's tenant and network, by host name.

    An endpoint decides; without one, the only network that holds the host's address; without that, the only
    tenant there is, or "default".
    """
    functions = function_hosts(policy)
    by_endpoint = {
        endpoint.host: Membership(tenant.name, endpoint.network)
        for tenant in policy.tenants.values()
        for endpoint in tenant.endpoints.values()
    }
    fallback = next(iter(policy.tenants)) if len(policy.tenants) == 1 else "default"
    found: dict[str, Membership] = {}
    for host in topology.hosts.values():
        if host.name in functions or "in" in host.attach:
            continue
        declared = by_endpoint.get(host.name)
        if declared is not None and declared.network is not None:
            found[host.name] = declared
            continue
        holding = holders(policy, host, None if declared is None else declared.tenant)
        if len(holding) == 1:
            found[host.name] = holding[0]
        else:
            found[host.name] = declared or Membership(fallback, None)
    return found


def matching(selector: Selector, endpoints: Mapping[str, Endpoint]) -> list[Endpoint]:
    """The endpoints a selector matches, in order of declaration."""
    return [endpoint for endpoint in endpoints.values() if matches(selector, endpoint.labels)]


def leaving(matched: Iterable[Endpoint], endpoints: Mapping[str, Endpoint], providers: Mapping[str, str]) -> \
        tuple[Endpoint, ...]:  # fmt: skip
    """Those who provided a service, whom its selector does not match any more: their connections go on, while they are
    the same host's. providers: who did, with the host (`Allocation.providers` of the service)."""
    names = {endpoint.name for endpoint in matched} if providers else set()
    return tuple(
        endpoints[name]
        for name, host in providers.items()
        if name not in names and name in endpoints and endpoints[name].host == host
    )


def segment_endpoints(segment: Segment, endpoints: Mapping[str, Endpoint]) -> list[Endpoint]:
    """The endpoints that a segment's selector matches, but for those that are in another network."""
    found = matching(segment.selector, endpoints) if segment.selector is not None else []
    return [endpoint for endpoint in found if endpoint.network in (None, segment.network)]


def holders(policy: Policy, host: Host, tenant: str | None = None) -> list[Membership]:
    """The networks, of this tenant or of any, in which the host has an address."""
    return [
        Membership(each.name, network.name)
        for each in policy.tenants.values()
        for network in each.networks.values()
        if _holds(network, host) and tenant in (None, each.name)
    ]


def _holds(network: Network, host: Host) -> bool:
    return network.kind != "service" and any(ip in subnet for ip in host.ips for subnet in network.subnets)
