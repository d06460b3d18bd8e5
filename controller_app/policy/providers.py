"""Can those whom a service selects serve it, and be checked as it says?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller_app.balancing.labelled import Labelled
from controller_app.model.policy import Endpoint, Function, Network, Service, Tenant
from controller_app.model.position import Position
from controller_app.model.topology import Topology
from controller_app.policy.diagnostics import Findings
from controller_app.policy.membership import Membership

_FROM_A_GATEWAY = ("tcp", "http")  # probes that the providers answer to the gateway of their network


def check_providers(
    tenant: Tenant, instances: Mapping[str, tuple[Tenant, Function, Position]], findings: Findings
) -> None:
    """What needs no topology. `instances`: the hosts that are instances of functions, which serve nothing else."""
    labelled = Labelled(tenant.endpoints)
    for service in tenant.services.values():
        chosen = labelled.matching(service.selector)
        for endpoint in chosen:
            if endpoint.host in instances:
                function = instances[endpoint.host][1].name
                findings.error(
                    service.where,
                    f"services.{service.name}.selector",
                    f"it matches endpoint {endpoint.name!r} ({endpoint.where}), whose host is an instance of function "
                    f"{function!r} and serves nothing else",
                    "narrow the selector, or change the labels of the endpoint",
                )
        _check_gateways(tenant, service, [(each, each.network) for each in chosen], findings)


def check_providers_on(
    tenant: Tenant, topology: Topology, members: Mapping[str, Membership], findings: Findings
) -> None:
    """What needs the topology: addresses, networks that only addresses tell, racks and zones."""
    labelled = Labelled(tenant.endpoints)
    for service in tenant.services.values():
        unplaced = []
        for endpoint in labelled.matching(service.selector):
            _check_addresses(tenant, service, endpoint, topology, findings)
            if endpoint.network is None and endpoint.host in members:
                network = members[endpoint.host].network
                if network is not None:
                    unplaced.append((endpoint, network))
                elif topology.hosts[endpoint.host].ips:
                    _check_placed(service, endpoint, findings)
        _check_gateways(tenant, service, unplaced, findings)
        _check_preference(service, topology, findings)


def _check_addresses(
    tenant: Tenant, service: Service, endpoint: Endpoint, topology: Topology, findings: Findings
) -> None:
    host = topology.hosts.get(endpoint.host)
    if host is None:
        return
    path = f"endpoints.{endpoint.name}.host"
    if not host.ips:
        findings.warning(
            endpoint.where,
            path,
            f"host {host.name!r} has no address yet and serves {service.name!r} once it has",
            "write its `ip` in the topology to have it at once",
        )
        return
    lacking = sorted(_versions(tenant, service) - {ip.version for ip in host.ips})
    if lacking:
        findings.warning(
            endpoint.where,
            path,
            f"host {host.name!r} has no IPv{lacking[0]} address and service {service.name!r} has one: it serves nobody",
            f"write its IPv{lacking[0]} address in the topology, or give the service addresses of one family by `ip`",
        )


def _versions(tenant: Tenant, service: Service) -> set[int]:
    """The IP versions of a service's addresses: as written, or one of each subnet of its network."""
    network = tenant.networks.get(service.network)
    return {item.version for item in service.ips or (network.subnets if network is not None else ())}


def _check_gateways(
    tenant: Tenant, service: Service, placed: Iterable[tuple[Endpoint, str | None]], findings: Findings
) -> None:
    """A provider answers a connection of the checks to the gateway of its network: there must be one."""
    if service.health is None or service.health.probe not in _FROM_A_GATEWAY:
        return
    said: set[tuple[str, int]] = set()
    for endpoint, name in placed:
        network = tenant.networks.get(name or "")
        for version in sorted(_versions(tenant, service)) if network is not None else ():
            assert network is not None
            if (network.name, version) not in said and _no_gateway(network, version):
                said.add((network.name, version))
                findings.error(
                    service.where,
                    f"services.{service.name}.health",
                    f"network {network.name!r} ({network.where}) of provider {endpoint.name!r} has no IPv{version} "
                    "gateway, from whose address the checks are made",
                    f"give network {network.name!r} a `gateway`, or write `probe: arp`",
                )


def _no_gateway(network: Network, version: int) -> bool:
    """Where the network lacks this version altogether, the provider does: that is another matter."""
    return any(subnet.version == version for subnet in network.subnets) and all(
        gateway.version != version for gateway in network.gateways
    )


def _check_placed(service: Service, endpoint: Endpoint, findings: Findings) -> None:
    if service.health is not None and service.health.probe in _FROM_A_GATEWAY:
        findings.error(
            service.where,
            f"services.{service.name}.health",
            f"provider {endpoint.name!r} ({endpoint.where}) is in no network, so it has no gateway, from whose "
            "address the checks are made",
            f"declare the network of {endpoint.name!r} with a `gateway`, or write `probe: arp`",
        )


def _check_preference(service: Service, topology: Topology, findings: Findings) -> None:
    prefer = service.prefer
    if prefer not in ("rack", "zone") or not topology.switches:
        return
    if all(getattr(switch, prefer) is None for switch in topology.switches.values()):
        findings.warning(
            service.where,
            f"services.{service.name}.prefer",
            f"no switch of the topology has a {prefer}: nobody is nearer than others by it",
            f"write `{prefer}` at the switches in the topology, or `prefer: cost`",
        )
