"""The addresses of services: declared, or kept from before, or the lowest free one of their network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address

from controller_app.model.allocation import Allocation
from controller_app.model.policy import Policy, Service, Tenant
from controller_app.model.position import Diagnostic, PolicyError
from controller_app.model.topology import IPAddress, IPNetwork
from controller_app.pipeline.views import HostView


class Addresses:
    """The addresses of every service: `ips` by key, and as texts."""

    def __init__(self, policy: Policy, hosts: Mapping[str, HostView], previous: Allocation) -> None:
        self._made_for = _declared(policy, hosts)
        self.ips = _addresses(policy, hosts, previous)
        self.texts = {key: tuple(str(ip) for ip in ips) for key, ips in self.ips.items()}

    def fits(self, policy: Policy, hosts: Mapping[str, HostView], previous: Allocation) -> bool:
        """Whether the same would come of it again."""
        return previous.addresses == self.texts and _declared(policy, hosts) == self._made_for


def _declared(policy: Policy, hosts: Mapping[str, HostView]) -> tuple[object, ...]:
    return hosts, {name: (tenant.networks, tenant.services) for name, tenant in policy.tenants.items()}


def _addresses(
    policy: Policy, hosts: Mapping[str, HostView], previous: Allocation
) -> dict[str, tuple[IPAddress, ...]]:
    """Every service's addresses: declared, or kept, or the lowest free one of its network."""
    result: dict[str, tuple[IPAddress, ...]] = {}
    problems: list[Diagnostic] = []
    for tenant in policy.tenants.values():
        taken = {ip for host in hosts.values() if host.tenant == tenant.name for ip in host.ips}
        taken |= {gateway for network in tenant.networks.values() for gateway in network.gateways}
        others = taken
        taken = others | {ip for service in tenant.services.values() for ip in service.ips}
        kept_by: dict[IPAddress, str] = {}
        waiting = []
        for service in tenant.services.values():
            key = f"{tenant.name}/{service.name}"
            kept = [ip_address(text) for text in previous.addresses.get(key, ())]
            subnets = tenant.networks[service.network].subnets
            if service.ips:
                result[key] = service.ips
            elif len(kept) == len(subnets) and all(
                ip not in others and any(ip in subnet for subnet in subnets) for ip in kept
            ):
                result[key] = tuple(kept)
                kept_by |= dict.fromkeys(kept, service.name)
            else:
                waiting.append(service)
        problems += _clashes(tenant, kept_by)
        taken |= kept_by.keys()
        free = {
            subnet: (ip for ip in subnet.hosts() if ip not in taken)
            for network in tenant.networks.values()
            for subnet in network.subnets
        }
        for service in waiting:
            subnets = tenant.networks[service.network].subnets
            chosen = [next(free[subnet], None) for subnet in subnets]
            problems += [_full(service, subnet) for ip, subnet in zip(chosen, subnets, strict=True) if ip is None]
            result[f"{tenant.name}/{service.name}"] = tuple(ip for ip in chosen if ip is not None)
    if problems:
        raise PolicyError(problems)
    return result


def _clashes(tenant: Tenant, kept_by: Mapping[IPAddress, str]) -> Iterator[Diagnostic]:
    """An address that a service asks for and another one has already."""
    for service in tenant.services.values():
        for ip in service.ips:
            owner = kept_by.get(ip)
            if owner is not None and owner != service.name:
                yield Diagnostic(
                    service.where,
                    f"services.{service.name}.ip",
                    f"service {owner!r} has {ip}: it was allocated to it, and its clients use it",
                    f"take another address, or give {owner!r} one of its own with `ip:`",
                )


def _full(service: Service, subnet: IPNetwork) -> Diagnostic:
    return Diagnostic(
        service.where,
        f"services.{service.name}",
        f"no address of {subnet} is free",
        f"enlarge the subnet of network {service.network}, or remove a service from it",
    )
