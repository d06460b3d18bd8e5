"""What topology and policy tell discovery to expect: whose ports are whose, which addresses are taken."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from ipaddress import ip_address

from controller_app.discovery.discovery import Declared
from controller_app.discovery.hosts import Expected
from controller_app.discovery.links import pair
from controller_app.discovery.merge import place_of, resolve
from controller_app.discovery.ports import Port, PortId
from controller_app.model.allocation import Allocation
from controller_app.model.policy import Policy
from controller_app.model.topology import Host, IPAddress, IPNetwork, Topology
from controller_app.modes import MODES
from controller_app.policy.membership import function_hosts


def expectations(
    declared: Topology, ports: Mapping[int, Mapping[int, Port]], policy: Policy, allocation: Allocation
) -> Declared:
    """Everything discovery needs to know of a topology file and a policy."""
    topology = resolve(declared, ports).topology
    functions = function_hosts(policy)
    speaking = _speaking(policy)
    arms: set[PortId] = set()
    host_ports: set[PortId] = set()
    deaf: set[PortId] = set()
    quiet: set[PortId] = set()
    at: dict[PortId, Host] = {}
    elsewhere: list[Host] = []
    for host in topology.hosts.values():
        places = [place for end in host.attach.values() if (place := place_of(topology, end)) is not None]
        host_ports.update(places)
        if host.name in functions or len(host.attach) > 1:
            quiet.update(places)
            own = _own_arms(topology, host) if host.name in speaking else {}
            at.update(own)
            arms.update(own)
            deaf.update(place for place in places if place not in own)
            # whatever of it is at no port where it may be heard is nobody's
            elsewhere.append(_without(host, own.values()))
        elif host.prefixes:
            deaf.update(places)  # whoever is behind an uplink is not on this network
            elsewhere.append(host)
        else:
            at.update(dict.fromkeys(places, host))
    links = frozenset(
        pair(a, b)
        for link in topology.links
        if (a := place_of(topology, link.a)) is not None and (b := place_of(topology, link.b)) is not None
    )
    taken: set[IPAddress] = {ip_address(text) for texts in allocation.addresses.values() for text in texts}
    networks: list[tuple[IPNetwork, IPAddress | None]] = []
    for tenant in policy.tenants.values():
        taken |= {ip for service in tenant.services.values() for ip in service.ips}
        for network in tenant.networks.values():
            taken |= set(network.gateways)
            if network.kind != "service":
                for subnet in network.subnets:
                    gateways = [gateway for gateway in network.gateways if gateway.version == subnet.version]
                    networks.append((subnet, gateways[0] if gateways else None))
    expected = Expected(at, frozenset(deaf), tuple(elsewhere), frozenset(taken), tuple(networks))
    return Declared(frozenset(host_ports), links, frozenset(quiet), expected, frozenset(arms))


def _speaking(policy: Policy) -> frozenset[str]:
    """The hosts of functions that packets are sent to by their MAC: they may say it, and be asked for it."""
    return frozenset(
        instance.host
        for tenant in policy.tenants.values()
        for function in tenant.functions.values()
        if MODES[function.mode].is_host or MODES[function.mode].needs_mac or function.mode == "nsh"
        for instance in function.instances.values()
    )


def _own_arms(topology: Topology, host: Host) -> dict[PortId, Host]:
    """The arms of a function that have addresses, as hosts with one port: NAME, or NAME:out."""
    found = {}
    for arm, end in host.attach.items():
        place = place_of(topology, end)
        ips, mac = (host.out_ips, host.out_mac) if arm == "out" else (host.ips, host.mac)
        if place is not None and ips:
            name = f"{host.name}:out" if arm == "out" else host.name
            found[place] = Host(name, {"": end}, ips, mac)
    return found


def _without(host: Host, arms: Collection[Host]) -> Host:
    """A host without what its arms have: for those addresses their own ports count."""
    ips = {ip for arm in arms for ip in arm.ips}
    macs = {arm.mac for arm in arms}
    return replace(
        host,
        ips=tuple(ip for ip in (*host.ips, *host.out_ips) if ip not in ips),
        mac=next((mac for mac in (host.mac, host.out_mac) if mac not in macs), None),
    )


def names_ports(topology: Topology) -> bool:
    """Does it name ports by the names that switches give them?"""
    ends = [end for link in topology.links for end in (link.a, link.b)]
    ends += [end for host in topology.hosts.values() for end in host.attach.values()]
    return any(isinstance(end.port, str) for end in ends)
