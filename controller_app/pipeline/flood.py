"""Broadcasts along a loop-free tree, where a policy lets them through: DHCP, multicast.

A frame gets a VLAN tag with the number of its network, goes out of every port of the tree but the one it came by, and
loses the tag towards the network's hosts. It meets no chain.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller_app.model.flow import Action, Clone, Output, PopVlan, PushVlan, SetField
from controller_app.pipeline import labels
from controller_app.pipeline.build import Fields, Rules
from controller_app.pipeline.tables import IP, IPV6, TAGGED, ZONE
from controller_app.pipeline.views import HostView, World

_TAGGED, _VID = 0x1000, 0x0FFF
_BROADCAST = 0xFF_FF_FF_FF_FF_FF
_MULTICAST = {  # destination MACs, RFC 1112 6.4 and RFC 2464 7
    IP: (0x01_00_5E_00_00_00, 0xFF_FF_FF_80_00_00),
    IPV6: (0x33_33_00_00_00_00, 0xFF_FF_00_00_00_00),
}
_DHCP = {IP: (67, 68), IPV6: (546, 547)}  # RFC 2131 4.1, RFC 8415 7.2


def flood(world: World, rules: Rules, switch: str, ports: tuple[int, ...]) -> None:
    """The rules of a switch. ports: those of it that are on the tree."""
    here = world.hosts_of.get(switch, ())
    for (tenant, network), number in world.floods.items():
        owner = f"networks/{tenant}/{network}"
        members = [host for host in here if (host.tenant, host.network) == (tenant, network)]
        tag: tuple[Action, ...] = PushVlan(), SetField("vlan_tci", _TAGGED | number, _TAGGED | _VID)
        for host in members:
            tagged: Fields = {} if host.vlan is None else {"vlan_tci": (_TAGGED, _TAGGED)}
            for kind in _kinds(world.policy.tenants[tenant].flood):
                rules.add(
                    "respond",
                    "learn",
                    owner,
                    tag if host.vlan is None else (PopVlan(), *tag),
                    "flood",
                    plus=1 if host.vlan is None else 2,
                    reg1=labels.bits(ZONE, host.zone),
                    reg5=labels.bits(TAGGED, int(host.vlan is not None)),
                    **kind,
                    **tagged,
                )
        actions: tuple[Action, ...] = tuple(Output(port) for port in ports)
        if members:
            actions = (*actions, PopVlan(), *_to_hosts(members))
        if actions:
            rules.add("flood", "exact", owner, actions, vlan_tci=(_TAGGED | number, _TAGGED | _VID))


def _kinds(wanted: tuple[str, ...]) -> Iterator[Fields]:
    """Matches of what is let through."""
    for eth_type in (IP, IPV6):
        if "multicast" in wanted:
            yield {"eth_type": eth_type, "eth_dst": _MULTICAST[eth_type]}
        if "dhcp" in wanted:
            to = _BROADCAST if eth_type == IP else _MULTICAST[IPV6]
            for port in _DHCP[eth_type]:
                yield {"eth_type": eth_type, "eth_dst": to, "ip_proto": 17, "udp_dst": port}


def _to_hosts(hosts: list[HostView]) -> Iterator[Action]:
    yield from dict.fromkeys(Output(host.port) for host in hosts if host.vlan is None)
    for host in hosts:
        if host.vlan is not None:
            tag = PushVlan(), SetField("vlan_tci", _TAGGED | host.vlan, _TAGGED | _VID)
            yield Clone((*tag, Output(host.port)))


def tree(world: World) -> dict[str, tuple[int, ...]]:
    """Ports of a spanning tree (of each connected part): every switch towards the part's first one, and the other
    ends of those links."""
    ends = {}
    for link in world.topology.links:
        for near, far in ((link.a, link.b), (link.b, link.a)):
            ends[near] = far
    far_end = {(near.switch, near.port): far for near, far in ends.items()}
    ports: dict[str, set[int]] = {switch: set() for switch in world.topology.switches}
    placed: set[str] = set()
    for root in world.topology.switches:
        if root in placed:
            continue
        row = world.routes.row(root)
        placed |= set(row.cost)
        for switch, (port, _) in row.hop.items():
            far = far_end[switch, port]
            assert isinstance(far.port, int)
            ports[switch].add(port)
            ports[far.switch].add(far.port)
    return {switch: tuple(sorted(found)) for switch, found in ports.items()}
