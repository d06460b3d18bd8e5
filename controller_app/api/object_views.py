"""Networks and endpoints as JSON documents."""

from __future__ import annotations

from typing import Any

from controller_app.api import service_views
from controller_app.balancing.selectors import matches
from controller_app.model.policy import Endpoint, Network, Tenant
from controller_app.runtime.conductor import Conductor

Document = dict[str, Any]


def networks(conductor: Conductor) -> Document:
    """Networks of hosts, and pools of service addresses."""
    return {
        "networks": [
            _network(conductor, tenant, each)
            for tenant in conductor.intent.policy.tenants.values()
            for each in tenant.networks.values()
        ]
    }


def network(conductor: Conductor, tenant: str, name: str) -> Document | None:
    """One network; None when there is none of that name."""
    owner = conductor.intent.policy.tenants.get(tenant, Tenant())
    return _network(conductor, owner, owner.networks[name]) if name in owner.networks else None


def endpoints(conductor: Conductor) -> Document:
    """Endpoints with their labels."""
    return {
        "endpoints": [
            _endpoint(conductor, tenant, each)
            for tenant in conductor.intent.policy.tenants.values()
            for each in tenant.endpoints.values()
        ]
    }


def endpoint(conductor: Conductor, tenant: str, name: str) -> Document | None:
    """One endpoint, with the services it provides; None when there is none of that name."""
    owner = conductor.intent.policy.tenants.get(tenant, Tenant())
    if name not in owner.endpoints:
        return None
    labels = owner.endpoints[name].labels
    provides = [each.name for each in owner.services.values() if matches(each.selector, labels)]
    return {**_endpoint(conductor, owner, owner.endpoints[name]), "services": provides}


def provides(conductor: Conductor, tenant: str, name: str) -> list[Document]:
    """What an endpoint is in each of the services it provides: its state, its slots, and what is left."""
    found = endpoint(conductor, tenant, name)
    listed = []
    for service in () if found is None else found["services"]:
        document = service_views.service(conductor, tenant, service) or {"providers": ()}
        listed += [
            {"service": service, **{key: provider[key] for key in ("state", "reason", "slots", "left")}}
            for provider in document["providers"]
            if provider["endpoint"] == name
        ]
    return listed


def _network(conductor: Conductor, tenant: Tenant, network: Network) -> Document:
    return {
        "name": network.name,
        "tenant": tenant.name,
        "kind": network.kind,
        "subnet": [str(subnet) for subnet in network.subnets],
        "gateway": [str(gateway) for gateway in network.gateways],
        "insert": list(network.insert),
        "policy": conductor.intent.owner(tenant.name, "networks", network.name),
        "position": str(network.where),
    }


def _endpoint(conductor: Conductor, tenant: Tenant, endpoint: Endpoint) -> Document:
    host = conductor.computed.topology.hosts.get(endpoint.host)
    return {
        "name": endpoint.name,
        "tenant": tenant.name,
        "host": endpoint.host,
        "ips": [] if host is None else [str(ip) for ip in host.ips],
        "network": endpoint.network,
        "labels": dict(endpoint.labels),
        "weight": endpoint.weight,
        "drain": endpoint.drain if endpoint.drain_after is None else f"{endpoint.drain_after:g}s",
        "policy": conductor.intent.owner(tenant.name, "endpoints", endpoint.name),
        "position": str(endpoint.where),
    }
