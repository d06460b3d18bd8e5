"""What a provider is to a service, in one word: for people, the command line, REST and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from controller_app.balancing.labelled import Labelled
from controller_app.health.targets import (
    NOBODY_LEAVES,
    Addresses,
    Leaving,
    provider_name,
    service_ips,
    speaking_hosts,
    versions,
)
from controller_app.model.policy import Endpoint, Policy
from controller_app.model.topology import Host, Topology

STATES = ("serving", "draining", "leaving", "unready", "down", "unusable")

LEAVING = "the selector does not match it any more: it keeps its TCP connections until they are over"


class ProviderState(NamedTuple):
    """serving: gets slots · draining: keeps its connections, gets new ones only when nobody serves · leaving: the
    service's selector does not match it any more, it keeps its connections while there are any · unready: its
    check failed, or its drain is over: no slots, its connections are ended · down: its port is down, or its host not
    known · unusable: it lacks an address of the service's IP versions. `reason` is for people, and may be empty."""

    word: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """What checks and drains know: reasons of unready providers and of those that are not checked (by name, as in
    `Topology.unready`), the seconds that draining endpoints have left, by tenant and endpoint."""

    failing: Mapping[str, str] = field(default_factory=dict)
    unchecked: Mapping[str, str] = field(default_factory=dict)
    left: Mapping[tuple[str, str], float] = field(default_factory=dict)


def provider_states(
    policy: Policy,
    topology: Topology,
    addresses: Addresses,
    findings: Findings = Findings(),
    leaving: Leaving = NOBODY_LEAVES,
) -> dict[tuple[str, str, str], ProviderState]:
    """The state of everyone that a service's selector matches, or did and who has connections, by tenant, service and
    endpoint. addresses: of services, from the allocation. It is the state that `topology` was compiled with."""
    hosts = speaking_hosts(policy, topology)
    found: dict[tuple[str, str, str], ProviderState] = {}
    for tenant in policy.tenants.values():
        labelled = Labelled(tenant.endpoints)
        for service in tenant.services.values():
            needed = versions(tenant, service, addresses)
            for name in leaving.get(f"{tenant.name}/{service.name}", ()):
                found[tenant.name, service.name, name] = ProviderState("leaving", LEAVING)
            for endpoint in labelled.matching(service.selector):
                name = provider_name(tenant.name, service.name, endpoint.name)
                state = _attached(endpoint, hosts, topology, needed)
                if state is None and name in topology.unready:
                    state = ProviderState("unready", findings.failing.get(name, ""))
                if state is None and endpoint.drain:
                    state = ProviderState("draining", _left(findings.left.get((tenant.name, endpoint.name))))
                found[tenant.name, service.name, endpoint.name] = state or ProviderState(
                    "serving", findings.unchecked.get(name, "")
                )
    return found


def _attached(
    endpoint: Endpoint, hosts: Mapping[str, Host], topology: Topology, needed: frozenset[int]
) -> ProviderState | None:
    """Why it cannot serve, whatever checks say; None when it can."""
    host = hosts.get(endpoint.host)
    if host is None:
        return ProviderState("down", f"host {endpoint.host} is not known")
    end = host.attach[""]
    if end in topology.down:
        return ProviderState("down", f"its port {end} is down")
    if service_ips(host, needed) is None:
        own = {ip.version for ip in host.ips}
        lacks = " and ".join(f"IPv{version}" for version in sorted(needed - own))
        return ProviderState("unusable", f"host {host.name} has no {lacks} address")
    if host.mac is None:
        return ProviderState("down", f"the MAC of host {host.name} is not known yet")
    return None


def _left(seconds: float | None) -> str:
    if seconds is None:
        return "no new connections while anybody else serves"
    return f"its connections are ended in {seconds:.0f} s"
