"""Everything that sends packets of its own: hosts, and the arms of functions that are hosts as well; and which
functions have an instance that packets can go through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING

import networkx as nx

from controller_app.model.policy import Function, Instance, Policy, Tenant
from controller_app.model.topology import End, Host, IPAddress, IPNetwork, Topology
from controller_app.pipeline.tables import GATEWAY_MAC
from controller_app.policy.membership import function_hosts, memberships
from controller_app.verification.packet import mac_int

if TYPE_CHECKING:
    from controller_app.modes.mode import Mode


def modes() -> Mapping[str, Mode]:
    """The modes of functions. Their files use this room, so it asks for them when it needs them."""
    from controller_app.modes import MODES

    return MODES


@dataclass(frozen=True, slots=True)
class Station:
    """A place with addresses of its own: a host, or one arm of a function that is a host too (then `mode` is
    the function's)."""

    host: str
    arm: str
    end: End
    tenant: str
    network: str | None
    mac: int | None
    ips: tuple[IPAddress, ...] = ()
    prefixes: tuple[IPNetwork, ...] = ()
    vlan: int | None = None
    declared: bool = False
    mode: str = ""

    def reach(self, address: IPAddress) -> int | None:
        """How exactly it has an address: the length of the prefix, None when it does not."""
        if address in self.ips:
            return 129
        return max((prefix.prefixlen for prefix in self.prefixes if address in prefix), default=None)


def stations(policy: Policy, topology: Topology) -> tuple[Station, ...]:
    """Every station of every tenant; a host that plays no role sends by its first arm."""
    playing = function_hosts(policy)
    found = []
    for name, member in memberships(policy, topology).items():
        host = topology.hosts[name]
        if name not in playing and host.attach:
            found.append(_station(host, next(iter(host.attach)), member.tenant, member.network, ""))
    for tenant in policy.tenants.values():
        for function, _, host in placed(tenant, topology):
            if modes()[function.mode].is_host:
                for arm in host.attach:
                    network = _network_of(tenant, host.arm_ips(arm))
                    found.append(_station(host, arm, tenant.name, network, function.mode))
    return tuple(found)


def owner(known: Iterable[Station], tenant: str, address: IPAddress) -> Station | None:
    """The tenant's station that has an address, or the uplink with the longest prefix around it."""
    best: tuple[int, Station] | None = None
    for station in known:
        length = station.reach(address) if station.tenant == tenant else None
        if length is not None and (best is None or length > best[0]):
            best = (length, station)
    return None if best is None else best[1]


def next_hop(known: Iterable[Station], station: Station, destination: IPAddress) -> int:
    """The MAC address to which a station sends a packet: the receiver's in its own network, else the gateway's."""
    found = owner(known, station.tenant, destination)
    if found is None or found.network != station.network or found.mac is None:
        return GATEWAY_MAC
    return found.mac


def own_nets(host: Host) -> list[IPNetwork]:
    """Every address of a machine, on any of its arms."""
    return [*(ip_network(ip) for ip in (*host.ips, *host.out_ips)), *host.prefixes]


def usable_functions(policy: Policy, topology: Topology) -> Mapping[tuple[str, str], bool]:
    """(tenant, function) -> whether one of its instances can be gone through.

    Its ports work (a tap's need not: losing copies harms nobody), no health check found it out, what its mode needs is
    known of its host, and it is not in a part of the network that no host sends to, or that nothing comes back from.
    """
    parts: dict[str, int] = {}
    for number, switches in enumerate(nx.connected_components(topology.graph)):
        parts.update(dict.fromkeys(switches, number))
    every: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for tenant in policy.tenants.values():
        for function in tenant.functions.values():
            every[tenant.name, function.name] = []
        for function, instance, host in placed(tenant, topology):
            unready = f"functions/{tenant.name}/{function.name}/{instance.name}" in topology.unready
            if works(function, host, topology) and not (unready and modes()[function.mode].on_path):
                ends = [end for arm, end in sorted(host.attach.items())]
                every[tenant.name, function.name].append((parts[ends[0].switch], parts[ends[-1].switch]))
    starts = {parts[station.end.switch] for station in stations(policy, topology) if station.end.switch in parts}
    ways = [way for found in every.values() for way in found]
    ahead, behind = set(starts), set(starts)
    for _ in range(len(set(parts.values()))):  # no way leads through more parts than there are
        ahead |= {out for into, out in ways if into in ahead}
        behind |= {into for into, out in ways if out in behind}
    return {key: any(into in ahead and out in behind for into, out in found) for key, found in every.items()}


def works(function: Function, host: Host, topology: Topology) -> bool:
    """Whether an instance on this host can be gone through: its ports work, and what its mode needs is known."""
    mode = modes()[function.mode]
    if frozenset(host.attach) not in mode.arms:
        return False
    for arm, end in host.attach.items():
        if not isinstance(end.port, int) or end.switch not in topology.switches:
            return False
        if mode.needs_mac and host.arm_mac(arm) is None:
            return False
    if mode.needs_address and not own_nets(host):
        return False
    return not mode.on_path or topology.down.isdisjoint(host.attach.values())


def placed(tenant: Tenant, topology: Topology) -> Iterator[tuple[Function, Instance, Host]]:
    """The instances whose host is there."""
    for function in tenant.functions.values():
        for instance in function.instances.values():
            host = topology.hosts.get(instance.host)
            if host is not None:
                yield function, instance, host


def _station(host: Host, arm: str, tenant: str, network: str | None, mode: str) -> Station:
    mac = host.arm_mac(arm)
    return Station(host.name, arm, host.attach[arm], tenant, network, None if mac is None else mac_int(mac),
                   host.arm_ips(arm), () if arm == "out" else host.prefixes, host.vlan, host.declared, mode)


def _network_of(tenant: Tenant, ips: tuple[IPAddress, ...]) -> str | None:
    return next((network.name for network in tenant.networks.values() if network.kind != "service"
                 and any(ip in subnet for ip in ips for subnet in network.subnets)), None)
