"""Who is to be checked, from a policy and a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from controller_app.balancing.labelled import Labelled
from controller_app.discovery.hosts import mac_number
from controller_app.discovery.ports import PortId
from controller_app.model.policy import Endpoint, Health, Policy, Service, Tenant
from controller_app.model.topology import Host, IPAddress, Topology
from controller_app.pipeline.tables import GATEWAY_MAC
from controller_app.policy.health import checked_port, gateway_for
from controller_app.policy.membership import function_hosts, memberships

_ARM = ""
# Who asks for an address where there is no gateway, by IP version: nobody (RFC 5227 2.1), and the link-local address
# that goes with the gateways' MAC (RFC 4291 appendix A).
_LOW, _HIGH = GATEWAY_MAC & 0xFF_FFFF, GATEWAY_MAC >> 24
NOBODY: Mapping[int, IPAddress] = {
    4: IPv4Address(0),
    6: IPv6Address(0xFE80 << 112 | (_HIGH ^ 0x02_0000) << 40 | 0xFFFE << 24 | _LOW),
}
Addresses = Mapping[str, tuple[str, ...]]  # of services, as in an allocation: "TENANT/SERVICE" -> address texts
Leaving = Mapping[str, tuple[str, ...]]  # "TENANT/SERVICE" -> endpoints that no selector matches, with connections
NOBODY_LEAVES: Leaving = {}


class Spot(NamedTuple):
    """Where a machine, or one arm of it, is, and how it is reached there."""

    switch: str
    place: PortId
    mac: int
    vlan: int | None = None


class Address(NamedTuple):
    """An address that is checked, and the gateway's that the check comes from. `spot`: of the arm that has it; None
    where that is the target's."""

    address: IPAddress
    gateway: IPAddress
    spot: Spot | None = None


class Through(NamedTuple):
    """A way through a function that frames are sent, from a target's own port. `out`: where they come out. `nsh`: it
    speaks NSH. `both`: they are answered."""

    out: Spot
    nsh: bool = False
    both: bool = True


@dataclass(frozen=True, slots=True)
class Target:
    """A provider of services, or an instance of a function, to be checked in one way for all that want that.

    `port` is 0 where no connection is made. `serves` names what depends on it, as in `Topology.unready`. With `through`
    it is no addresses that are checked.
    """

    host: str
    health: Health
    port: int
    addresses: tuple[Address, ...]
    switch: str
    place: PortId
    mac: int
    vlan: int | None
    serves: tuple[str, ...]
    through: Through | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What makes it the same target wherever its host is."""
        asked = tuple(address[:2] for address in self.addresses)
        return self.host, self.health, self.port, asked, self.through and self.through[1:]

    @property
    def spots(self) -> tuple[Spot, ...]:
        """Everywhere it is looked at, its own place first."""
        own = Spot(self.switch, self.place, self.mac, self.vlan)
        others = [address.spot for address in self.addresses if address.spot is not None]
        return tuple(dict.fromkeys((own, *others, *((self.through.out,) if self.through is not None else ()))))

    @property
    def switches(self) -> frozenset[str]:
        """The switches without which it cannot be looked at."""
        return frozenset(spot.switch for spot in self.spots)

    @property
    def cost(self) -> int:
        """How many addresses, or ways through it, one check looks at."""
        if self.through is not None:
            return 2 if self.through.both else 1
        return len(self.addresses)


def provider_name(tenant: str, service: str, endpoint: str) -> str:
    """How a provider of a service is named in `Topology.unready`."""
    return f"services/{tenant}/{service}/{endpoint}"


class Wanted(NamedTuple):
    """Whom to check, and the providers that cannot be checked, by name, with the reason."""

    targets: tuple[Target, ...]
    unchecked: Mapping[str, str]


def wanted(policy: Policy, topology: Topology, addresses: Addresses, leaving: Leaving = NOBODY_LEAVES) -> Wanted:
    """Everyone the policy wants checked. Hosts that are not known yet are left out: nothing is sent to them. Those
    whose port is down stay, so that they come back only when they answer again. leaving: whose connections go on."""
    if not any(service.health for tenant in policy.tenants.values() for service in tenant.services.values()):
        return Wanted((), {})
    members = memberships(policy, topology)
    hosts = speaking_hosts(policy, topology)
    found: dict[tuple[object, ...], tuple[Target, list[str]]] = {}
    unchecked: dict[str, str] = {}
    for tenant, service, endpoint in _checked(policy, leaving):
        host = hosts.get(endpoint.host)
        ips = None if host is None else service_ips(host, versions(tenant, service, addresses))
        if host is None or ips is None:
            continue
        name = provider_name(tenant.name, service.name, endpoint.name)
        member = members.get(host.name)
        made = _target(tenant, service, host, ips, None if member is None else member.network, topology)
        if isinstance(made, str):
            unchecked[name] = made
        elif made is not None:
            found.setdefault(made.key, (made, []))[1].append(name)
    return Wanted(tuple(replace(target, serves=tuple(names)) for target, names in found.values()), unchecked)


def speaking_hosts(policy: Policy, topology: Topology) -> Mapping[str, Host]:
    """The hosts that can be providers: those that speak for themselves, at one port."""
    functions = function_hosts(policy)
    return {
        host.name: host for host in topology.hosts.values() if host.name not in functions and _ARM in host.attach
    }


def versions(tenant: Tenant, service: Service, addresses: Addresses) -> frozenset[int]:
    """The IP versions of a service's addresses."""
    texts = addresses.get(f"{tenant.name}/{service.name}", ())
    return frozenset(ip.version for ip in service.ips) or frozenset(ip_address(text).version for text in texts)


def service_ips(host: Host, wanted: frozenset[int]) -> tuple[IPAddress, ...] | None:
    """The addresses by which a host can serve, one for each IP version; None when it lacks one."""
    own: dict[int, IPAddress] = {ip.version: ip for ip in reversed(host.ips)}
    return tuple(own[version] for version in sorted(wanted)) if wanted <= own.keys() else None


def _checked(policy: Policy, leaving: Leaving) -> Iterator[tuple[Tenant, Service, Endpoint]]:
    for tenant in policy.tenants.values():
        labelled = Labelled(tenant.endpoints)
        for service in tenant.services.values():
            if service.health is None:
                continue
            left = [tenant.endpoints[name] for name in leaving.get(f"{tenant.name}/{service.name}", ())]
            for endpoint in (*labelled.matching(service.selector), *left):
                yield tenant, service, endpoint


def _target(
    tenant: Tenant,
    service: Service,
    host: Host,
    ips: tuple[IPAddress, ...],
    network: str | None,
    topology: Topology,
) -> Target | str | None:
    """What is to be checked; why it cannot be; or None while it is not known where the host is."""
    health, port = service.health, checked_port(service)
    end = host.attach[_ARM]
    switch = topology.switches.get(end.switch)
    if health is None or host.mac is None or switch is None or not isinstance(end.port, int):
        return None
    if health.probe != "arp" and port is None:
        return "it is not checked: the service has no TCP port; give its health check one"
    addresses = []
    for ip in ips:
        gateway = gateway_for(tenant, network, ip) or (NOBODY[ip.version] if health.probe == "arp" else None)
        if gateway is None:
            return f"it is not checked: the network of {ip} has no IPv{ip.version} gateway to ask as; give it one"
        addresses.append(Address(ip, gateway))
    place = PortId(switch.dpid, end.port)
    return Target(
        host.name, health, port or 0, tuple(addresses), switch.name, place, mac_number(host.mac), host.vlan, ()
    )
