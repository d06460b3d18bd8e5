"""Packets that single flows match which are not made from the policy: what stands for the classes of the policy may
pass such a flow by, when it is about one host or one port of many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from controller_app.model.flow import FieldMatch, Flow, full_mask
from controller_app.model.topology import IPAddress
from controller_app.verification.classes import PacketClass
from controller_app.verification.packet import PROTOCOLS
from controller_app.verification.stations import Station

_SPORTS, _DPORTS = ("tcp_src", "udp_src"), ("tcp_dst", "udp_dst")
_SENDER = {"in_port", "eth_src", "ipv4_src", "ipv6_src"}
_RECEIVER = {"eth_dst", "ipv4_dst", "ipv6_dst"}
_TELLING = {*_SENDER, *_RECEIVER, *_SPORTS, *_DPORTS, "ip_dscp"}
_Fields = Mapping[str, FieldMatch]


def aimed_at(
    flows: Mapping[str, Sequence[Flow]], stations: Sequence[Station], usual: Sequence[PacketClass]
) -> Iterator[PacketClass]:
    """For each flow, by switch: packets like those that stand for the classes of the policy (`usual`), but from the
    host at the flow's port, between its addresses, with its ports. Flows of higher priority come first: it is for the
    caller to take no more than it can try."""
    plain = [each for each in usual if not each.kind]
    seen = set(plain)
    listed = [(name, flow) for name, held in flows.items() for flow in held]
    for name, flow in sorted(listed, key=lambda item: -item[1].priority):
        fields = {item.field: item for item in flow.match}
        if not fields.keys() & _TELLING:
            continue
        senders = list(_senders(name, flow, fields, stations))
        receivers = list(_receivers(fields, stations))
        for like in plain:
            packet = _with_ports(like, fields)
            if packet is None:
                continue
            for found in _between(packet, senders, receivers):
                if found not in seen:
                    seen.add(found)
                    yield found


def _senders(
    switch: str, flow: Flow, fields: _Fields, stations: Sequence[Station]
) -> Iterator[tuple[Station, IPAddress]]:
    """Who may send what the flow matches; nobody where it does not tell."""
    at_port = [each for each in stations if flow.table == 0 and each.end.switch == switch and "in_port" in fields
               and _fits(fields, "in_port", each.end.port)]  # fmt: skip
    if not at_port and not fields.keys() & (_SENDER - {"in_port"}):
        return  # the port of a link, say
    for each in at_port or stations:
        if each.mac is None or not isinstance(each.end.port, int) or not _fits(fields, "eth_src", each.mac):
            continue
        for ip in each.ips:
            if _fits(fields, f"ipv{ip.version}_src", int(ip)):
                yield each, ip


def _receivers(fields: _Fields, stations: Sequence[Station]) -> Iterator[tuple[Station, IPAddress]]:
    """Who may be sent what the flow matches; nobody where it does not tell."""
    by_address = bool(fields.keys() & {"ipv4_dst", "ipv6_dst"})
    for each in stations:
        if each.mac is None:
            continue
        meant = fields.get("eth_dst") == FieldMatch("eth_dst", each.mac, full_mask("eth_dst"))
        for ip in each.ips:
            name = f"ipv{ip.version}_dst"
            if (name in fields and _fits(fields, name, int(ip))) or (meant and not by_address):
                yield each, ip


def _between(
    packet: PacketClass, senders: Sequence[tuple[Station, IPAddress]], receivers: Sequence[tuple[Station, IPAddress]]
) -> Iterator[PacketClass]:
    version = packet.source.version
    sources = [(each.host, ip) for each, ip in senders if ip.version == version and each.tenant == packet.tenant]
    targets = [(each.host, ip) for each, ip in receivers if ip.version == version and each.tenant == packet.tenant]
    for host, source in sources or [(packet.host, packet.source)]:
        for other, target in targets or [("", packet.destination)]:
            if other != host and source != target:
                yield replace(packet, host=host, source=source, destination=target)


def _fits(fields: _Fields, name: str, value: object) -> bool:
    """Whether a value meets the condition on a field, where there is one."""
    condition = fields.get(name)
    return condition is None or (isinstance(value, int) and value & condition.mask == condition.value)


def _with_ports(like: PacketClass, fields: _Fields) -> PacketClass | None:
    """A packet like this with the ports and the DSCP that a flow asks for; None where it is of another protocol."""
    if not _fits(fields, "ip_proto", like.protocol):
        return None

    def asked(names: tuple[str, ...], held: int) -> int:
        for name in names:
            if name in fields and PROTOCOLS[name.partition("_")[0]] == like.protocol:
                return held & ~fields[name].mask | fields[name].value
        return held

    dscp = fields["ip_dscp"].value if "ip_dscp" in fields else like.dscp
    return replace(like, sport=asked(_SPORTS, like.sport), dport=asked(_DPORTS, like.dport), dscp=dscp)
