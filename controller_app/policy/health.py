"""Whom a health check looks at, at which port, and from which address of ours: of services and of functions."""

from __future__ import annotations

from typing import NamedTuple

from controller_app.model.policy import Function, Service, Tenant
from controller_app.model.topology import Host, IPAddress
from controller_app.modes import MODES

FROM_A_GATEWAY = ("tcp", "http", "icmp")  # probes that are answered to the gateway of the network


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


class Asked(NamedTuple):
    """An address of an instance, at one of its arms, and the gateway's that it is asked from: None where there is
    none."""

    arm: str
    address: IPAddress
    gateway: IPAddress | None


def probes_for(function: Function) -> tuple[str, ...]:
    """The kinds of probes that instances of such a function can be checked by; none of a tap, which sends nothing."""
    mode = MODES[function.mode]
    if not mode.on_path:
        return ()
    return ("icmp", "arp", "tcp", "http") if mode.is_host else ("frame",)


def asked_of(tenant: Tenant, function: Function, host: Host) -> tuple[Asked, ...]:
    """What the health check of a function asks an instance on this host: one address of each IP version, at every arm.
    Whoever listens for connections does so at one arm: the first that has an address."""
    health = function.health
    if health is None or health.probe not in probes_for(function) or health.probe == "frame":
        return ()
    found = []
    for arm in host.attach:
        own: dict[int, IPAddress] = {ip.version: ip for ip in reversed(host.arm_ips(arm))}
        found += [Asked(arm, own[version], gateway_for(tenant, None, own[version])) for version in sorted(own)]
        if found and health.probe in ("tcp", "http"):
            break
    return tuple(found)


def crossed_both_ways(tenant: Tenant, function: str) -> bool:
    """Whether packets go through a function in both directions: not so where all chains through it let replies go the
    direct way. A function that nothing leads through yet is taken to be one of those that do."""
    through = [chain for chain in tenant.chains.values() if function in chain.through]
    inserted = [place.insert for place in tenant.networks.values()] + [part.insert for part in tenant.segments.values()]
    returning = any(chain.returns == "symmetric" for chain in through) or any(
        function in chain.returns for chain in tenant.chains.values() if isinstance(chain.returns, tuple)
    )
    return not through or returning or any(function in names for names in inserted)
