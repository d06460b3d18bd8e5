"""What topology and policy tell discovery to expect: whose ports are whose, which addresses are taken."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from controller_app.discovery.discovery import Declared
from controller_app.discovery.hosts import Expected
from controller_app.discovery.merge import place_of, resolve
from controller_app.discovery.ports import Port, PortId
from controller_app.model.allocation import Allocation
from controller_app.model.policy import Policy
from controller_app.model.topology import Host, IPAddress, IPNetwork, Topology
from controller_app.policy.membership import function_hosts


def expectations(
    declared: Topology, ports: Mapping[int, Mapping[int, Port]], policy: Policy, allocation: Allocation
) -> Declared:
    """Everything discovery needs to know of a topology file and a policy."""
    topology = resolve(declared, ports).topology
    functions = function_hosts(policy)
    host_ports: set[PortId] = set()
    deaf: set[PortId] = set()
    quiet: set[PortId] = set()
    at: dict[PortId, Host] = {}
    elsewhere: list[Host] = []
    for host in topology.hosts.values():
        places = [place for end in host.attach.values() if (place := place_of(topology, end)) is not None]
        host_ports.update(places)
        if host.name in functions or len(host.attach) > 1:
            deaf.update(places)
            quiet.update(places)
            elsewhere.append(host)
        elif host.prefixes:
            deaf.update(places)  # whoever is behind an uplink is not on this network
            elsewhere.append(host)
        else:
            at.update(dict.fromkeys(places, host))
    link_ports = frozenset(
        place
        for link in topology.links
        for end in (link.a, link.b)
        if (place := place_of(topology, end)) is not None
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
    return Declared(frozenset(host_ports), link_ports, frozenset(quiet), expected)
