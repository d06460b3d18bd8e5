"""The same messages made by os-ken's own encoder, for what it can encode."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import os_ken.base.app_manager  # noqa: F401  (must be imported before the protocol modules)
from os_ken.ofproto import ofproto_protocol
from os_ken.ofproto import ofproto_v1_3 as ofp
from os_ken.ofproto import ofproto_v1_3_parser as parser

from controller_app.model.flow import (
    FIELD_BITS,
    Action,
    Conjunction,
    Ct,
    DecTtl,
    Flow,
    Group,
    Match,
    Meter,
    MeterConfig,
    Move,
    Multipath,
    Nat,
    Output,
    PopMpls,
    PopVlan,
    PushMpls,
    PushVlan,
    Resubmit,
    SetField,
    SetQueue,
    SubField,
    ToGroup,
    full_mask,
)
from controller_app.openflow import encode

DATAPATH = ofproto_protocol.ProtocolDesc(version=ofp.OFP_VERSION)
KINDS = {"all": ofp.OFPGT_ALL, "select": ofp.OFPGT_SELECT, "indirect": ofp.OFPGT_INDIRECT, "ff": ofp.OFPGT_FF}

# What os-ken calls a field in matches and set-field, and in parts of a field.
NAMES = {name: name for name in FIELD_BITS} | {
    "icmp_type": "icmpv4_type", "nd_target": "ipv6_nd_target", "nd_sll": "ipv6_nd_sll", "nd_tll": "ipv6_nd_tll",
    "ip_ttl": "nw_ttl"}
PART_NAMES = {name: name for name in FIELD_BITS} | {
    name: f"{NAMES[name]}_nxm" for name in (
        "in_port", "eth_dst", "eth_src", "eth_type", "ip_proto", "ipv4_src", "ipv4_dst", "tcp_src", "tcp_dst",
        "udp_src", "udp_dst", "icmp_type", "arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha", "ipv6_src",
        "ipv6_dst", "icmpv6_type")}
PART_NAMES |= {"ip_ttl": "nw_ttl", "tcp_flags": "tcp_flags_nxm"}
UNKNOWN_FIELDS = {"nd_options_type", "nd_reserved"}
NSH_FIELDS = {"nsh_spi", "nsh_si", "nsh_c1"}  # known, but neither in parts nor with the NSH's own length


def encodable(item: Action) -> bool:
    """Can os-ken encode this action?"""
    match item:
        case SetField(field=field) | Move(source=SubField(field=field)):
            named = {field, item.target.field} if isinstance(item, Move) else {field}
            if named & UNKNOWN_FIELDS:
                return False
            if named & NSH_FIELDS and (isinstance(item, Move) or item.mask != full_mask(field)):
                return False
            return not isinstance(item, SetField) or item.mask.bit_count() in (FIELD_BITS[field], *range(65))
        case Ct(nat=nat, exec=inner):
            # os-ken leaves out the padding of a nat whose range is not a multiple of 8 bytes long.
            aligned = nat is None or nat.address is None or (nat.version == 6 and nat.port is None)
            return aligned and all(map(encodable, inner))
        case Multipath() | Conjunction() | Meter() | SetQueue() | PushVlan() | PopVlan() | PushMpls() | PopMpls():
            return True
        case Output() | ToGroup() | Resubmit() | DecTtl():
            return True
    return False


def _value(name: str, value: int) -> Any:
    match FIELD_BITS[name]:
        case 48:
            return ":".join(f"{byte:02x}" for byte in value.to_bytes(6, "big"))
        case 128 if name != "ct_label":
            return str(IPv6Address(value))
    return str(IPv4Address(value)) if name in ("ipv4_src", "ipv4_dst", "arp_spa", "arp_tpa") else value


def match(conditions: Match) -> Any:
    ordered = []
    for name, value, mask in conditions:
        if name == "vlan_tci":
            if mask & 0x1FFF:
                ordered.append(("vlan_vid", value & 0x1FFF if mask & 0x1FFF == 0x1FFF
                                else (value & 0x1FFF, mask & 0x1FFF)))
            if mask >> 13:
                ordered.append(("vlan_pcp", value >> 13))
        else:
            ordered.append((NAMES[name], _value(name, value) if mask == full_mask(name)
                            else (_value(name, value), _value(name, mask))))
    return parser.OFPMatch(_ordered_fields=ordered)


def action(item: Action) -> Any:
    match item:
        case Output(port=port, max_len=max_len):
            return parser.OFPActionOutput(port, max_len)
        case ToGroup(group=group):
            return parser.OFPActionGroup(group)
        case DecTtl():
            return parser.OFPActionDecNwTtl()
        case PushVlan():
            return parser.OFPActionPushVlan(0x8100)
        case PopVlan():
            return parser.OFPActionPopVlan()
        case PushMpls():
            return parser.OFPActionPushMpls(0x8847)
        case PopMpls(eth_type=eth_type):
            return parser.OFPActionPopMpls(eth_type)
        case SetQueue(queue=queue):
            return parser.OFPActionSetQueue(queue)
        case Multipath(target=target):
            return parser.NXActionMultipath(3, 0, 0, 255, 0, target.offset << 6 | 7, PART_NAMES[target.field])
        case Conjunction(id=number, clause=clause, of=of):
            return parser.NXActionConjunction(clause - 1, of, number)
        case Resubmit(table=table):
            return parser.NXActionResubmitTable(0xFFF8, table)
        case SetField(field=field, value=value, mask=mask):
            if mask == full_mask(field):
                return parser.OFPActionSetField(**{NAMES[field]: _value(field, value)})
            offset = (mask & -mask).bit_length() - 1
            return parser.NXActionRegLoad(offset << 6 | mask.bit_count() - 1, PART_NAMES[field], value >> offset)
        case Move(source=source, target=target):
            return parser.NXActionRegMove(PART_NAMES[source.field], PART_NAMES[target.field], source.bits,
                                          source.offset, target.offset)
        case Ct(zone=zone, commit=commit, table=table, nat=nat, exec=inner):
            source, place = (PART_NAMES[zone.field], zone.offset << 6 | zone.bits - 1) \
                if isinstance(zone, SubField) else ("", zone)
            return parser.NXActionCT(int(commit), source, place, 255 if table is None else table, 0,
                                     [*([] if nat is None else [_nat(nat)]), *map(action, inner)])
    raise AssertionError(item)


def _nat(nat: Nat) -> Any:
    if nat.address is None:
        return parser.NXActionNAT(0)
    where = {"range_ipv4_min": str(IPv4Address(nat.address))} if nat.version == 4 else {
        "range_ipv6_min": str(IPv6Address(nat.address))}
    return parser.NXActionNAT(2, **where, range_proto_min=nat.port)


def _bytes(message: Any, xid: int) -> bytes:
    message.set_xid(xid)
    message.serialize()
    return bytes(message.buf)


def flow_mod(command: int, flow: Flow, xid: int = 0) -> bytes:
    instructions = []
    if command < encode.DELETE:
        listed = flow.actions
        if listed and isinstance(listed[0], Meter):
            instructions.append(parser.OFPInstructionMeter(listed[0].meter))
            listed = listed[1:]
        if listed:
            instructions.append(parser.OFPInstructionActions(ofp.OFPIT_APPLY_ACTIONS,
                                                             [action(item) for item in listed]))
        if flow.goto is not None:
            instructions.append(parser.OFPInstructionGotoTable(flow.goto))
    return _bytes(parser.OFPFlowMod(
        DATAPATH, cookie=flow.cookie, table_id=flow.table, command=command, priority=flow.priority,
        out_port=ofp.OFPP_ANY, out_group=ofp.OFPG_ANY, match=match(flow.match), instructions=instructions), xid)


def group_mod(command: int, group: Group, xid: int = 0) -> bytes:
    buckets = [parser.OFPBucket(bucket.weight if group.kind == "select" else 0,
                                ofp.OFPP_ANY if bucket.watch_port is None else bucket.watch_port, ofp.OFPG_ANY,
                                [action(item) for item in bucket.actions]) for bucket in group.buckets]
    return _bytes(parser.OFPGroupMod(DATAPATH, command, KINDS[group.kind], group.id, buckets), xid)


def meter_mod(command: int, meter: MeterConfig, xid: int = 0) -> bytes:
    flags = (ofp.OFPMF_PKTPS if meter.packets else ofp.OFPMF_KBPS) | (ofp.OFPMF_BURST if meter.burst else 0)
    return _bytes(parser.OFPMeterMod(DATAPATH, command, flags, meter.id, [
        parser.OFPMeterBandDrop(meter.rate, meter.burst)]), xid)


def packet_out(in_port: int, actions: tuple[Action, ...], data: bytes, xid: int = 0) -> bytes:
    return _bytes(parser.OFPPacketOut(DATAPATH, buffer_id=ofp.OFP_NO_BUFFER, in_port=in_port, data=data,
                                      actions=[action(item) for item in actions]), xid)
