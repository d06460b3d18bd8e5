"""Rules where hosts are: admission, addressing, and the way out."""

from __future__ import annotations

from controller_app.model.flow import (
    CONTROLLER,
    CheckPacketLarger,
    Ct,
    DecTtl,
    Move,
    Nat,
    Output,
    SetField,
)
from controller_app.model.policy import Tenant
from controller_app.pipeline import labels
from controller_app.pipeline.build import Fields, Rules, put, write
from controller_app.pipeline.functions import write_in_port_none
from controller_app.pipeline.labels import IS_LABEL, Label, both
from controller_app.pipeline.regions import prefix_of, protocol_number
from controller_app.pipeline.tables import (
    ARP,
    BASE,
    GATEWAY_MAC,
    IP,
    IPV6,
    LARGE,
    LEAVING,
    LLDP,
    NUMBER,
    SERVICE,
    TENANT,
    ZONE,
)
from controller_app.pipeline.world import HostView, ServiceView, World

LLDP_MAC = 0x0180C200000E
# What a short ICMP error is (see `guard`): less than Ethernet + IP + ICMP + the inner IP and TCP headers.
_SHORT = {4: 81, 6: 121}
_ICMP_ERRORS = {4: (3, 11, 12), 6: (1, 2, 3, 4)}


def admit(world: World, rules: Rules, switch: str) -> None:
    """Who may send what at this switch."""
    rules.add("admission", "trusted", BASE, (Output(CONTROLLER),), plus=1, eth_type=LLDP, eth_dst=LLDP_MAC)
    rules.add("admission", "refuse", BASE, eth_src=GATEWAY_MAC)
    rules.add("admission", "rest", BASE, eth_dst=IS_LABEL)  # what others forward must not look like ours on a link
    for link in world.topology.links:
        for end in (link.a, link.b):
            if end.switch == switch and isinstance(end.port, int):
                rules.add(
                    "admission",
                    "trusted",
                    f"links/{link.a}-{link.b}",
                    goto="transit",
                    in_port=end.port,
                    eth_dst=IS_LABEL,
                )
    for host in world.hosts.values():
        if host.switch != switch:
            continue
        source: Fields = {} if host.mac is None else {"eth_src": host.mac}
        identity = (put(TENANT, world.tenants[host.tenant]), put(ZONE, host.zone))
        for eth_type in (IP, IPV6, ARP):
            rules.add(
                "admission",
                "exact",
                f"hosts/{host.name}",
                identity,
                "respond",
                in_port=host.port,
                eth_type=eth_type,
                **source,
            )
    for eth_type in (IP, IPV6, ARP):  # a host not known yet; unlabelled frames on links are nobody's
        rules.add("admission", "learn", BASE, (Output(CONTROLLER),), eth_type=eth_type)
    for end in sorted(world.topology.link_ports, key=str):
        if end.switch == switch and isinstance(end.port, int):
            for eth_type in (IP, IPV6, ARP):
                rules.add("admission", "learn", BASE, plus=1, in_port=end.port, eth_type=eth_type)


def address(world: World, rules: Rules, switch: str) -> None:
    """Where frames of this switch's hosts leave the network."""
    here = [host for host in world.hosts.values() if host.switch == switch]
    for tenant in dict.fromkeys(host.tenant for host in here):
        register = labels.bits(TENANT, world.tenants[tenant])
        networks = {host.network for host in here if host.tenant == tenant}
        declared = world.policy.tenants.get(tenant, Tenant())
        # A host's frame leaves this table with a label of ours, whatever it came with; one that is nobody's MAC
        # ends here. (A host's own MAC may look like a label: Mininet draws them at random.)
        rules.add("addressing", "learn", BASE, eth_dst=IS_LABEL)
        for host in world.hosts.values():
            if host.tenant == tenant and host.mac is not None:
                _address_host(rules, register, host, host.network in networks)
        for service in world.services.values():
            if service.tenant == tenant:
                _address_service(rules, register, service)
        for network in declared.networks.values():
            if network.kind == "service":
                continue
            for subnet in network.subnets:  # somebody of ours who was not heard of yet
                version = subnet.version
                within: Fields = {f"ipv{version}_dst": (int(subnet.network_address), int(subnet.netmask))}
                rules.add(
                    "addressing",
                    "learn",
                    f"networks/{tenant}/{network.name}",
                    (Output(CONTROLLER),),
                    reg0=register,
                    eth_dst=GATEWAY_MAC,
                    eth_type=IP if version == 4 else IPV6,
                    **within,
                )


def _address_host(rules: Rules, register: tuple[int, int], host: HostView, same_network: bool) -> None:
    owner = f"hosts/{host.name}"
    assert host.mac is not None
    if same_network:
        label = Label(host.waypoint, exit=host.waypoint).mac()
        rules.add(
            "addressing",
            "exact",
            owner,
            (write("eth_dst", label), write_in_port_none()),
            "classify",
            reg0=register,
            eth_dst=host.mac,
        )
    routed = Label(host.waypoint, exit=host.waypoint, routed=True).mac()
    for value in (*host.ips, *host.prefixes):
        prefix = prefix_of(value)
        mask = ((1 << prefix.length) - 1) << ((32 if prefix.version == 4 else 128) - prefix.length)
        rules.add(
            "addressing",
            "prefix",
            owner,
            (write("eth_dst", routed), write_in_port_none()),
            "classify",
            plus=prefix.length,
            reg0=register,
            eth_dst=GATEWAY_MAC,
            eth_type=IP if prefix.version == 4 else IPV6,
            **{f"ipv{prefix.version}_dst": (prefix.base, mask)},
        )


def _address_service(rules: Rules, register: tuple[int, int], view: ServiceView) -> None:
    owner = f"services/{view.key}"
    label = Label(0, routed=True).mac()  # the group fills in who answers
    for ip in view.ips:
        target: Fields = {
            "reg0": register,
            "eth_dst": GATEWAY_MAC,
            "eth_type": IP if ip.version == 4 else IPV6,
            f"ipv{ip.version}_dst": int(ip),
        }
        rules.add("addressing", "exact", owner, **target)  # no such port
        for port in view.service.ports:
            rules.add(
                "addressing",
                "exact",
                owner,
                (write("eth_dst", label), put(SERVICE, view.id), write_in_port_none()),
                "classify",
                plus=1,
                **target,
                **{"ip_proto": protocol_number(port.protocol, ip.version), f"{port.protocol}_dst": port.port},
            )


def untranslate(world: World, rules: Rules, switch: str) -> None:
    """Replies of this switch's providers get the service's address back; everyone else passes.

    Short ICMP errors are dropped before translation: Open vSwitch 3.1.0 writes past such a packet.
    """
    rules.add("guard", "rest", BASE, goto="addressing")
    zones = {
        provider.zone: service.key
        for service in world.services.values()
        for provider in service.providers.values()
        if provider.switch == switch
    }
    if not zones:
        return
    for eth_type in (IP, IPV6):
        rules.add(
            "returning",
            "rest",
            BASE,
            (Ct(zone=ZONE, nat=Nat(), table=NUMBER["addressing"]),),
            eth_type=eth_type,
        )
    rules.add("guard-size", "exact", BASE, goto="returning", reg5=labels.bits(LARGE, 1))
    for zone, service in zones.items():
        owner = f"services/{service}"
        register = labels.bits(ZONE, zone)
        rules.add("guard", "exact", owner, goto="returning", reg1=register)
        for version, kinds in _ICMP_ERRORS.items():
            for kind in kinds:
                rules.add(
                    "guard",
                    "exact",
                    owner,
                    (CheckPacketLarger(_SHORT[version], LARGE),),
                    "guard-size",
                    plus=1,
                    reg1=register,
                    eth_type=IP if version == 4 else IPV6,
                    ip_proto=1 if version == 4 else 58,
                    **{"icmp_type" if version == 4 else "icmpv6_type": kind},
                )


def leave(world: World, rules: Rules, switch: str) -> None:
    """The way out to this switch's hosts, with a service's translation where one is a provider."""
    hosts = [host for host in world.hosts.values() if host.switch == switch and host.mac is not None]
    if not hosts:
        return
    rules.add("translate", "rest", BASE, goto="leave")
    learn = (Move(labels.PATH, labels.LEARNED_PATH), put(labels.LEARNED_VALID, 1))
    remembered = both(
        (labels.REMEMBERED << labels.PATH.offset, labels.REMEMBERED << labels.PATH.offset),
        labels.bits(labels.BACKWARD, 0),
    )
    for eth_type in (IP, IPV6):
        rules.add(
            "translate",
            "learned",
            BASE,
            (Ct(zone=ZONE, commit=True, exec=learn),),
            "leave",
            eth_dst=remembered,
            eth_type=eth_type,
        )
        rules.add(
            "leave",
            "exact",
            BASE,
            (DecTtl(), write("eth_src", GATEWAY_MAC)),
            "emit",
            eth_dst=labels.bits(labels.ROUTED, 1),
            eth_type=eth_type,
        )
    rules.add("leave", "rest", BASE, goto="emit")
    for host in hosts:
        owner = f"hosts/{host.name}"
        assert host.mac is not None
        rules.add(
            "deliver",
            "exact",
            owner,
            (put(ZONE, host.zone), put(LEAVING, host.waypoint)),
            "translate",
            eth_dst=both(IS_LABEL, labels.bits(labels.WAYPOINT, host.waypoint)),
        )
        rules.add(
            "emit",
            "exact",
            owner,
            (write("eth_dst", host.mac), Output(host.port)),
            reg4=labels.bits(LEAVING, host.waypoint),
        )
    for view in world.services.values():
        for provider in view.providers.values():
            if provider.switch == switch:
                _translate(rules, view, provider, learn)


def _translate(rules: Rules, view: ServiceView, host: HostView, learn: tuple[Move, SetField]) -> None:
    for ip in view.ips:
        own = host.ip(ip.version)
        if own is None:
            continue
        for port in view.service.ports:
            addressed: Fields = {f"ipv{ip.version}_dst": int(ip), f"{port.protocol}_dst": port.port}
            rules.add(
                "translate",
                "exact",
                f"services/{view.key}",
                (
                    Ct(
                        zone=ZONE,
                        commit=True,
                        table=NUMBER["leave"],
                        nat=Nat(int(own), port.target, ip.version),
                        exec=learn,
                    ),
                ),
                reg4=labels.bits(LEAVING, host.waypoint),
                eth_type=IP if ip.version == 4 else IPV6,
                ip_proto=protocol_number(port.protocol, ip.version),
                **addressed,
            )
