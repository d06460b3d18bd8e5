"""Which endpoints a service's health check looks at, at which port, and from which address of ours."""

from __future__ import annotations

from controller_app.model.policy import Service, Tenant
from controller_app.model.topology import IPAddress


def checked_port(service: Service) -> int | None:
    """The TCP port that checks of a service's providers connect to: the one its health names or, without one, the
    first they listen on. None where its checks do not connect, and where there is no such port."""
    health = service.health
    if health is None or health.probe == "arp":
        return None
    targets = [port.target for port in service.ports if port.protocol == "tcp"]
    return health.port or next(iter(targets), None)


def gateway_for(tenant: Tenant, network: str | None, address: IPAddress) -> IPAddress | None:
    """The gateway that a host with this address knows: of the network its address lies in, or that it belongs to."""
    networks = [each for each in tenant.networks.values() if each.kind != "service"]
    known = [each for each in networks if any(address in subnet for subnet in each.subnets)]
    known += [each for each in networks if each.name == network]
    return next((gateway for each in known for gateway in each.gateways if gateway.version == address.version), None)
