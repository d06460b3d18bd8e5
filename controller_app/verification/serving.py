"""What a policy says of its services: who serves, for whom, and who may ask. Written without a look at how rules are
made, to judge them."""

from __future__ import annotations

from collections.abc import Collection
from math import inf

import networkx as nx

from controller_app.balancing.selectors import matches
from controller_app.model.policy import Endpoint, Party, Service, Tenant
from controller_app.model.topology import Topology

_WIDER = {"switch": ("switch", "rack", "zone"), "rack": ("rack", "zone"), "zone": ("zone",)}


def willing(tenant: Tenant, service: Service, topology: Topology, versions: Collection[int]) -> list[Endpoint]:
    """The endpoints that get new connections: those that are to go only where nobody else is left."""
    able = [
        endpoint for endpoint in tenant.endpoints.values()
        if matches(service.selector, endpoint.labels) and endpoint.weight > 0
        and f"services/{tenant.name}/{service.name}/{endpoint.name}" not in topology.unready
        and (host := topology.hosts.get(endpoint.host)) is not None
        and topology.down.isdisjoint(host.attach.values())
        and set(versions) <= {ip.version for ip in host.ips}
    ]
    return [endpoint for endpoint in able if not endpoint.drain] or able


def nearest(service: Service, found: list[Endpoint], source: str, topology: Topology) -> list[Endpoint]:
    """Those of them that a host's connections go to, by what the service prefers."""
    client = next(iter(topology.hosts[source].attach.values())).switch

    def at(endpoint: Endpoint) -> str:
        return next(iter(topology.hosts[endpoint.host].attach.values())).switch

    def place(switch: str, level: str) -> str | None:
        named = topology.switches[switch]
        return {"switch": switch, "rack": named.rack, "zone": named.zone}[level]

    if service.prefer == "cost":
        costs = nx.single_source_dijkstra_path_length(topology.graph, client, weight="cost")
        least = min((costs.get(at(endpoint), inf) for endpoint in found), default=inf)
        return [endpoint for endpoint in found if costs.get(at(endpoint), inf) == least]
    for level in _WIDER.get(service.prefer or "", ()):
        here = place(client, level)
        near = [endpoint for endpoint in found if here is not None and place(at(endpoint), level) == here]
        if near:
            return near
    return found


def askers(tenant: Tenant, service: Service) -> tuple[Party, ...] | None:
    """Whose packets may be for a service, None where everybody's: where it is internal, somebody has to name them."""
    if service.expose == "everyone":
        return None
    return service.expose if not isinstance(service.expose, str) else tuple(
        classifier.source for classifier in tenant.classifiers.values()
        if (classifier.destination.kind, classifier.destination.value) == ("service", service.name)
        and classifier.source.kind != "any" and classifier.then.action not in ("deny", "reject"))
