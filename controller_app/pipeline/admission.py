"""Rules of `admission`: who may send what at a switch."""

from __future__ import annotations

from collections.abc import Iterator

from controller_app.model.flow import CONTROLLER, Action, Output
from controller_app.pipeline.build import Fields, Rules, put
from controller_app.pipeline.labels import ANY_LABEL, ANY_WRAPPED
from controller_app.pipeline.regions import prefix_of
from controller_app.pipeline.tables import (
    ARP,
    BASE,
    CHECK_MACS,
    EXEMPT,
    FROM,
    GATEWAY_MAC,
    IP,
    IPV6,
    LLDP,
    TAGGED,
    TENANT,
    ZONE,
)
from controller_app.pipeline.views import HostView, World

LLDP_MAC = 0x0180C200000E
_TAGGED = 0x1000
_LINK_LOCAL = 0xFE80 << 112, 0xFFC0 << 112  # fe80::/10
# What only switches put on frames: NSH and MPLS (unicast and multicast)
_OURS_ALONE = (0x894F, 0x8847, 0x8848)


def admit(world: World, rules: Rules, switch: str) -> None:
    """Frames of links, of hosts, and of nobody."""
    # Below labels, so that Open vSwitch need not look at a labelled frame's whole address to rule these out.
    rules.add("admission", "trusted", BASE, (Output(CONTROLLER),), eth_type=LLDP, eth_dst=LLDP_MAC)
    for mac in (GATEWAY_MAC, *(CHECK_MACS if world.crossed else ())):
        rules.add("admission", "refuse", BASE, eth_src=mac)
    # what others forward must not look like ours on a link, and who is not known yet says nothing with it
    for label in (ANY_LABEL, ANY_WRAPPED):
        rules.add("admission", "learn", BASE, plus=2, eth_dst=label)
    for eth_type in _OURS_ALONE:
        rules.add("admission", "learn", BASE, plus=3, eth_type=eth_type)
    for port, owner in world.links_of.get(switch, ()):
        _link(world, rules, owner, port)
        for eth_type in (IP, IPV6, ARP):  # what has no label there is nobody's
            rules.add("admission", "learn", BASE, plus=1, in_port=port, eth_type=eth_type)
    for host in world.hosts_of.get(switch, ()):
        _host(world, rules, host)
        # Somebody's own MAC may look like a label (Mininet draws them at random): then `addressing` drops what is
        # nobody's.
        for label in () if world.looks_like_label else (ANY_LABEL, ANY_WRAPPED):
            rules.add("admission", "exact", f"hosts/{host.host}", plus=2, in_port=host.port, eth_dst=label)
    for eth_type in (IP, IPV6, ARP):  # a host not known yet
        rules.add("admission", "learn", BASE, (Output(CONTROLLER),), eth_type=eth_type)


def _link(world: World, rules: Rules, owner: str, port: int) -> None:
    rules.add("admission", "trusted", owner, goto="transit", plus=1, in_port=port, eth_dst=ANY_LABEL)
    if world.switch_numbers:
        rules.add("admission", "trusted", owner, goto="unwrap", plus=1, in_port=port, eth_dst=ANY_WRAPPED)
    for number in world.floods.values():
        rules.add("admission", "exact", owner, goto="flood", in_port=port, vlan_tci=(_TAGGED | number, 0x1FFF))


def _host(world: World, rules: Rules, host: HostView) -> None:
    owner = f"hosts/{host.host}"
    place: Fields = {"in_port": host.port}
    if host.mac is not None:
        place["eth_src"] = host.mac
    identity: tuple[Action, ...] = (put(TENANT, world.tenants[host.tenant]), put(ZONE, host.zone))
    if host.vlan is None and any(other.port == host.port and other.vlan for other in world.hosts_of[host.switch]):
        place["vlan_tci"] = (0, _TAGGED)  # who shares its port with tagged ones sends without a tag
    if host.vlan is not None:
        place["vlan_tci"] = (_TAGGED | host.vlan, 0x1FFF)
        identity = (*identity, put(TAGGED, 1))
    if host.exempt:
        identity = (*identity, put(EXEMPT, 1))
    if host.instance is not None:  # what it sends for others is known by its addresses not being its own
        # of a translating function it may as well be for others: then it comes out of it
        waypoint = world.departures.get((host.switch, host.port))
        came = () if waypoint is None else (put(FROM, waypoint),)
        for source in (*_own(host), *_nobody_yet()):  # a router asks for neighbours from its link-local address
            if source["eth_type"] != ARP:
                rules.add("admission", "exact", owner, (*identity, *came), "respond", plus=1, **place, **source)
        rules.add("admission", "exact", owner, identity, "respond", **place, eth_type=ARP)
    elif host.declared:
        for source in (*_own(host), *_nobody_yet()):
            rules.add("admission", "exact", owner, identity, "respond", plus=1, **place, **source)
        for eth_type in (IP, IPV6, ARP):
            rules.add("admission", "exact", owner, **place, eth_type=eth_type)  # another's address: forged
    else:
        for eth_type in (IP, IPV6, ARP):
            rules.add("admission", "exact", owner, identity, "respond", **place, eth_type=eth_type)


def _own(host: HostView) -> Iterator[Fields]:
    """Matches for what comes from the host's own addresses."""
    for value in (*host.ips, *host.prefixes):
        prefix = prefix_of(value)
        width = 32 if prefix.version == 4 else 128
        mask = ((1 << prefix.length) - 1) << (width - prefix.length)
        yield {"eth_type": IP if prefix.version == 4 else IPV6, f"ipv{prefix.version}_src": (prefix.base, mask)}
        if prefix.version == 4:
            yield {"eth_type": ARP, "arp_spa": (prefix.base, mask)}


def _nobody_yet() -> Iterator[Fields]:
    """What a host may send before it has an address: DHCP, probes (RFC 5227), neighbour discovery."""
    yield {"eth_type": IP, "ipv4_src": 0}
    yield {"eth_type": ARP, "arp_spa": 0}
    yield {"eth_type": IPV6, "ipv6_src": 0}
    yield {"eth_type": IPV6, "ipv6_src": _LINK_LOCAL}
