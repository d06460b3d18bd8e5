"""Services: their addresses, and the providers that their labels choose."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from controller_app.balancing.selectors import matches
from controller_app.balancing.slots import fill
from controller_app.model.allocation import Allocation
from controller_app.model.policy import Policy
from controller_app.model.position import Diagnostic, PolicyError
from controller_app.model.topology import End, IPAddress, IPNetwork, Topology
from controller_app.pipeline.ids import Numbers
from controller_app.pipeline.views import HostView, ServiceView


def build_services(
    policy: Policy,
    topology: Topology,
    hosts: Mapping[str, HostView],
    previous: Allocation,
    slots: dict[str, tuple[str, ...]],
    numbers: Numbers,
) -> tuple[dict[str, ServiceView], dict[str, int], dict[str, tuple[str, ...]]]:
    """The services, their ids, their addresses as texts. `slots` gets the table of every service."""
    keys = [f"{t.name}/{s.name}" for t in policy.tenants.values() for s in t.services.values()]
    ids = numbers.assign("services", keys, previous.ids.get("services", {}), limit=1 << 14)
    addresses = _addresses(policy, hosts, previous)
    found: dict[str, ServiceView] = {}
    for tenant in policy.tenants.values():
        for service in tenant.services.values():
            key = f"{tenant.name}/{service.name}"
            ips = addresses[key]
            versions = {ip.version for ip in ips}
            providers = {}
            weights = {}
            for endpoint in tenant.endpoints.values():
                host = hosts.get(endpoint.host)
                if host is None or host.mac is None or not matches(service.selector, endpoint.labels):
                    continue
                if End(host.switch, host.port) in topology.down:
                    continue
                if versions <= {ip.version for ip in host.ips}:
                    providers[endpoint.name] = host
                    weights[endpoint.name] = endpoint.weight
            table = fill(weights, previous.slots.get(f"services/{key}", ()))
            slots[f"services/{key}"] = table or slots.get(f"services/{key}", ())
            found[key] = ServiceView(key, ids[key], tenant.name, service, ips, providers, table)
    return found, ids, {key: tuple(str(ip) for ip in ips) for key, ips in addresses.items()}


def _addresses(
    policy: Policy, hosts: Mapping[str, HostView], previous: Allocation
) -> dict[str, tuple[IPAddress, ...]]:
    """Every service's addresses: declared, or kept, or the lowest free one of its network."""
    result: dict[str, tuple[IPAddress, ...]] = {}
    for tenant in policy.tenants.values():
        taken: set[IPAddress] = {
            ip for host in hosts.values() if host.tenant == tenant.name for ip in host.ips
        }
        taken |= {gateway for network in tenant.networks.values() for gateway in network.gateways}
        taken |= {ip for service in tenant.services.values() for ip in service.ips}
        waiting = []
        for service in tenant.services.values():
            key = f"{tenant.name}/{service.name}"
            kept = previous.addresses.get(key, ())
            subnets = tenant.networks[service.network].subnets
            usable = {str(ip): ip for ip in _candidates(subnets, kept)}
            if service.ips:
                result[key] = service.ips
            elif kept and all(text in usable and usable[text] not in taken for text in kept):
                result[key] = tuple(usable[text] for text in kept)
                taken |= set(result[key])
            else:
                waiting.append((key, service, subnets))
        for key, service, subnets in waiting:
            chosen = []
            for subnet in subnets:
                address = next((ip for ip in subnet.hosts() if ip not in taken), None)
                if address is None:
                    raise PolicyError(
                        [
                            Diagnostic(
                                service.where,
                                f"services.{service.name}",
                                f"no address of {subnet} is free",
                                f"enlarge the subnet of network {service.network}, or give the service an ip",
                            )
                        ]
                    )
                chosen.append(address)
                taken.add(address)
            result[key] = tuple(chosen)
    return result


def _candidates(subnets: tuple[IPNetwork, ...], texts: tuple[str, ...]) -> list[IPAddress]:
    found = [ip_address(text) for text in texts]
    return [ip for ip in found if any(ip in subnet for subnet in subnets)]
