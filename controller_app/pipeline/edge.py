"""Rules where hosts are: addressing, and the way out."""

from __future__ import annotations

from controller_app.model.flow import (
    CONTROLLER,
    Action,
    Ct,
    DecTtl,
    Meter,
    Output,
    PushVlan,
    SetField,
)
from controller_app.model.policy import Tenant
from controller_app.pipeline import labels
from controller_app.pipeline.build import Fields, Rules, put, write
from controller_app.pipeline.functions import write_in_port_none
from controller_app.pipeline.labels import ANY_LABEL, IS_LABEL, Label, both
from controller_app.pipeline.regions import prefix_of
from controller_app.pipeline.serving import LEARN
from controller_app.pipeline.shared import Shared
from controller_app.pipeline.tables import (
    ANSWERS_METER,
    BASE,
    EXEMPT,
    GATEWAY_MAC,
    IP,
    IPV6,
    LEAVING,
    RESUMED,
    TENANT,
    ZONE,
)
from controller_app.pipeline.views import HostView, World


def address(world: World, rules: Rules, switch: str, shared: Shared) -> None:
    """Where frames of this switch's hosts, and of functions that lose the label, leave the network."""
    here = world.hosts_of.get(switch, ())
    resumed = {world.lists[key].tenant for key in world.resumes.get(switch, ())}
    tenants = dict.fromkeys([*(host.tenant for host in here), *sorted(resumed)])
    # A host's frame leaves this table with a label of ours, whatever it came with; one that is nobody's MAC
    # ends here. (A host's own MAC may look like a label: Mininet draws them at random.)
    rules.add("addressing", "learn", BASE, eth_dst=ANY_LABEL)
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
        or bool(world.policy.tenants.get(tenant, Tenant()).services)
    )


def _routed(world: World, rules: Rules, tenant: str) -> None:
    """Frames to the gateway."""
    register = labels.bits(TENANT, world.tenants[tenant])
    for host in world.hosts.values():
        if host.tenant == tenant and host.mac is not None:
            _address_by_ip(rules, register, host)
    for network in world.policy.tenants.get(tenant, Tenant()).networks.values():
        for subnet in network.subnets:
            version, refused = subnet.version, network.kind == "service"
            within: Fields = {f"ipv{version}_dst": (int(subnet.network_address), int(subnet.netmask))}
            rules.add(
                "addressing",
                "prefix" if refused else "learn",
                f"networks/{tenant}/{network.name}",
                # no service has this address; or somebody of ours who was not heard of yet
                () if refused else (Output(CONTROLLER),),
                "reject" if refused else None,
                plus=subnet.prefixlen if refused else 0,
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


def leave(world: World, rules: Rules, switch: str) -> None:
    """The way out to this switch's hosts, with a service's translation where one is a provider."""
    hosts = [host for host in world.hosts_of.get(switch, ()) if host.mac is not None]
    if not hosts:
        return
    rules.add("translate", "rest", BASE, goto="leave")
    remembered = both(
        (labels.REMEMBERED << labels.PATH.offset, labels.REMEMBERED << labels.PATH.offset),
        labels.bits(labels.BACKWARD, 0),
    )
    for eth_type in (IP, IPV6):
        rules.add(
            "translate",
            "learned",
            BASE,
            (Ct(zone=ZONE, commit=True, exec=LEARN),),
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
            (put(TENANT, world.tenants[host.tenant]), put(ZONE, host.zone), put(LEAVING, host.waypoint)),
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
