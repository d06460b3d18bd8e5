"""Rules where hosts are: addressing, and the way out."""

from __future__ import annotations

from controller_app.model.flow import (
    CONTROLLER,
    Action,
    CheckPacketLarger,
    Ct,
    DecTtl,
    Meter,
    Move,
    Nat,
    Output,
    PushVlan,
    SetField,
)
from controller_app.model.policy import Tenant
from controller_app.pipeline import labels
from controller_app.pipeline.build import Fields, Rules, put, write
from controller_app.pipeline.functions import write_in_port_none
from controller_app.pipeline.labels import IS_LABEL, Label, both
from controller_app.pipeline.regions import prefix_of, protocol_number
from controller_app.pipeline.shared import Shared
from controller_app.pipeline.tables import (
    ANSWERS_METER,
    BASE,
    EXEMPT,
    GATEWAY_MAC,
    IP,
    IPV6,
    LARGE,
    LEAVING,
    NUMBER,
    RESUMED,
    SERVICE,
    TENANT,
    ZONE,
)
from controller_app.pipeline.views import HostView, ServiceView, World

# What a short ICMP error is (see `guard`): less than Ethernet + IP + ICMP + the inner IP and TCP headers.
_SHORT = {4: 81, 6: 121}
_ICMP_ERRORS = {4: (3, 11, 12), 6: (1, 2, 3, 4)}


def address(world: World, rules: Rules, switch: str, shared: Shared) -> None:
    """Where frames of this switch's hosts, and of functions that lose the label, leave the network."""
    here = world.hosts_of.get(switch, ())
    resumed = {world.lists[key].tenant for key in world.resumes.get(switch, ())}
    tenants = dict.fromkeys([*(host.tenant for host in here), *sorted(resumed)])
    # A host's frame leaves this table with a label of ours, whatever it came with; one that is nobody's MAC
    # ends here. (A host's own MAC may look like a label: Mininet draws them at random.)
    rules.add("addressing", "learn", BASE, eth_dst=IS_LABEL)
    for tenant in tenants:
        if tenant in resumed or _routes(world, tenant):
            rules.include(shared.block(_routed, tenant))
        for network in dict.fromkeys(host.network for host in here if host.tenant == tenant):
            rules.include(shared.block(_switched, tenant, network))
        if tenant in resumed:
            # the sender's edge saw to it that only hosts of its network were addressed by their MAC
            rules.include(shared.block(_switched, tenant, None, True))
    rules.add("branch", "rest", BASE, goto="classify")


def _routes(world: World, tenant: str) -> bool:
    """Whether hosts of this tenant have anything to send to a gateway: one network without a gateway has not."""
    networks = world.policy.tenants.get(tenant, Tenant()).networks.values()
    return (
        any(network.gateways for network in networks)
        or len({host.network for host in world.hosts.values() if host.tenant == tenant}) > 1
        or any(service.tenant == tenant for service in world.services.values())
    )


def _routed(world: World, rules: Rules, tenant: str) -> None:
    """Frames to the gateway."""
    register = labels.bits(TENANT, world.tenants[tenant])
    for host in world.hosts.values():
        if host.tenant == tenant and host.mac is not None:
            _address_by_ip(rules, register, host)
    for service in world.services.values():
        if service.tenant == tenant:
            _address_service(rules, register, service)
    for network in world.policy.tenants.get(tenant, Tenant()).networks.values():
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


def _switched(world: World, rules: Rules, tenant: str, network: str | None, resumed: bool = False) -> None:
    """Frames to hosts of one network, by their MAC; for frames that come back from a function, of any."""
    more: Fields = {"reg6": labels.bits(RESUMED, 1)} if resumed else {}
    for host in world.hosts.values():
        if host.tenant == tenant and host.mac is not None and (resumed or host.network == network):
            label = Label(host.waypoint, exit=host.waypoint).mac()
            rules.add(
                "addressing",
                "exact",
                f"hosts/{host.host}",
                (write("eth_dst", label), write_in_port_none(), *_exempt(host)),
                "branch",
                plus=1 if resumed else 0,
                reg0=labels.bits(TENANT, world.tenants[tenant]),
                eth_dst=host.mac,
                **more,
            )


def _exempt(host: HostView) -> tuple[Action, ...]:
    """What is sent to a function for itself meets no chain."""
    return (put(EXEMPT, 1),) if host.exempt else ()


def _address_by_ip(rules: Rules, register: tuple[int, int], host: HostView) -> None:
    routed = Label(host.waypoint, exit=host.waypoint, routed=True).mac()
    for value in (*host.ips, *host.prefixes):
        prefix = prefix_of(value)
        mask = ((1 << prefix.length) - 1) << ((32 if prefix.version == 4 else 128) - prefix.length)
        rules.add(
            "addressing",
            "prefix",
            f"hosts/{host.host}",
            (write("eth_dst", routed), write_in_port_none(), *_exempt(host)),
            "branch",
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
        rules.add("addressing", "exact", owner, (), "reject", **target)  # no such port: its sender is told
        for port in view.service.ports:
            rules.add(
                "addressing",
                "exact",
                owner,
                (write("eth_dst", label), put(SERVICE, view.id), write_in_port_none()),
                "branch",
                plus=1,
                **target,
                **{"ip_proto": protocol_number(port.protocol, ip.version), f"{port.protocol}_dst": port.port},
            )


def untranslate(world: World, rules: Rules, switch: str) -> None:
    """Replies of this switch's providers get the service's address back; everyone else passes.

    Short ICMP errors are dropped before translation: Open vSwitch 3.1.0 writes past such a packet.
    """
    rules.add("guard", "rest", BASE, goto="addressing")
    zones = {provider.zone: service.key for service, provider in world.providers_of.get(switch, ())}
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
    hosts = [host for host in world.hosts_of.get(switch, ()) if host.mac is not None]
    if not hosts:
        return
    rules.add("translate", "rest", BASE, goto="leave")
    learn = (
        Move(labels.PATH, labels.LEARNED_PATH),
        Move(labels.EXIT, labels.LEARNED_WAYPOINT),
        put(labels.LEARNED_VALID, 1),
    )
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
        for ttl in (0, 1):  # before a service's address is another: the sender is told of his packet
            rules.add(
                "translate",
                "trusted",
                BASE,
                (Meter(ANSWERS_METER), Output(CONTROLLER)),
                eth_dst=labels.bits(labels.ROUTED, 1),
                eth_type=eth_type,
                ip_ttl=ttl,
            )
    rules.add("leave", "rest", BASE, goto="emit")
    for host in hosts:
        owner = f"hosts/{host.host}"
        assert host.mac is not None
        rules.add(
            "deliver",
            "exact",
            owner,
            (put(ZONE, host.zone), put(LEAVING, host.waypoint)),
            "translate",
            eth_dst=both(IS_LABEL, labels.bits(labels.WAYPOINT, host.waypoint)),
        )
        tag: tuple[Action, ...] = ()
        if host.vlan is not None:
            tag = PushVlan(), SetField("vlan_tci", 0x1000 | host.vlan, 0x1FFF)
        rules.add(
            "emit",
            "exact",
            owner,
            (write("eth_dst", host.mac), *tag, Output(host.port)),
            reg4=labels.bits(LEAVING, host.waypoint),
        )
    for view, provider in world.providers_of.get(switch, ()):
        _translate(rules, view, provider, learn)


def _translate(rules: Rules, view: ServiceView, host: HostView, learn: tuple[Move | SetField, ...]) -> None:
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
