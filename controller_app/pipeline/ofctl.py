"""Flows, groups and meters as ovs-ofctl text, loadable by `ovs-ofctl -O OpenFlow13 add-groups`, `add-flows` and,
line by line, `add-meter`. Meters come first, then groups, then flows.

The other direction, from what `dump-flows`, `dump-groups` and `dump-meters` print, is in `ofctl_parse`, whose
functions can be had from here too. Round trips are the identity for values in canonical form:

- a SetField writes at most 64 bits, or the whole field;
- a SetField of in_port is 16 bits wide, `SetField("in_port", 0xFFFF, 0xFFFF)`: in OpenFlow 1.3 Open vSwitch
  writes it only under its 16-bit name (`load:0xffff->NXM_OF_IN_PORT[]`, which is OFPP_NONE, so that an output
  to the port the packet came from is no longer dropped);
- ip_frag is matched under a mask of 0xff (no, first, later), 1 (any fragment) or 2 (not later);
- ct_state is matched under a mask of the eight flags there are, 0xff at most;
- a frame without a VLAN tag is matched as `vlan_tci=(0, 0x1FFF)`, the way OpenFlow 1.3 carries it;
- nsh_c1 is not matched: Open vSwitch 3.1 matches it, but leaves it out of what it prints;
- a Meter is the first action of a flow, and a meter has a burst or none (0);
- an IPv6 mask is a prefix, or begins with one of a to f (ovs-ofctl takes others for a prefix length);
- a bucket's weight is 1 unless its group is a select group; max_len is 0xffff unless the port is CONTROLLER.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address

from controller_app.model.flow import (
    CONTROLLER,
    FIELD_BITS,
    Action,
    CheckPacketLarger,
    Clone,
    Conjunction,
    Ct,
    DecapNsh,
    DecNshTtl,
    DecTtl,
    EncapNsh,
    FieldMatch,
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
    SwitchState,
    ToGroup,
)
from controller_app.pipeline.counting import counts
from controller_app.pipeline.ofctl_names import (
    CT_FLAGS,
    FRAGMENTS,
    IPV4_FIELDS,
    IPV6_FIELDS,
    MATCH_NAMES,
    MULTIPATH,
    MULTIPATH_BY_SOURCE,
    NXM_NAMES,
    PORT_NAMES,
    PROTOCOL_NAMES,
    SET_NAMES,
    TCP_FLAGS,
    OfctlError,
    value_text,
)
from controller_app.pipeline.ofctl_parse import parse_flow, parse_flows, parse_group, parse_groups, parse_meters

__all__ = [
    "OfctlError",
    "format_action",
    "format_actions",
    "format_flow",
    "format_group",
    "format_match",
    "format_meter",
    "format_meters",
    "format_state",
    "parse_flow",
    "parse_flows",
    "parse_group",
    "parse_groups",
    "parse_meters",
    "parse_state",
]

_PREFIX_LENGTHS = {
    bits: {((1 << bits) - 1) ^ ((1 << (bits - length)) - 1): length for length in range(bits + 1)}
    for bits in (32, 128)
}


def format_flow(flow: Flow, table_name: Mapping[int, str] | None = None) -> str:
    """One line for `add-flows`, with the flag that such flows are sent with. With `table_name` (number -> name) tables
    are named instead, for people."""
    fields = [
        f"cookie={flow.cookie:#x}",
        f"table={_table(flow.table, table_name)}",
        f"priority={flow.priority}",
        *format_match(flow.match),
        *(["send_flow_rem"] if table_name is None and counts(flow) else ()),
    ]
    return f"{','.join(fields)},actions={format_actions(flow.actions, flow.goto, table_name)}"


def format_group(group: Group) -> str:
    """One line for `add-groups`. Bucket ids count from 0: OpenFlow 1.3 has none and ignores them."""
    parts = [f"group_id={group.id},type={group.kind}"]
    for position, bucket in enumerate(group.buckets):
        watch = "" if bucket.watch_port is None else f"watch_port:{_port(bucket.watch_port)},"
        weight = f"weight:{bucket.weight}," if group.kind == "select" else ""
        parts.append(f"bucket=bucket_id:{position},{watch}{weight}actions={format_actions(bucket.actions)}")
    return ",".join(parts)


def format_state(state: SwitchState) -> tuple[str, str]:
    """(flows, groups) of one switch as two texts, sorted, one a line."""
    flows = [format_flow(state.flows[key]) for key in sorted(state.flows)]
    groups = [format_group(state.groups[number]) for number in sorted(state.groups)]
    return "".join(line + "\n" for line in flows), "".join(line + "\n" for line in groups)


def format_meter(meter: MeterConfig) -> str:
    """One line for `add-meter`."""
    unit, burst = "pktps" if meter.packets else "kbps", meter.burst
    head = f"meter={meter.id},{unit}{',burst' if burst else ''}"
    return f"{head},band=type=drop,rate={meter.rate}{f',burst_size={burst}' if burst else ''}"


def format_meters(state: SwitchState) -> str:
    """The meters of one switch, sorted, one a line; empty where there are none."""
    return "".join(format_meter(state.meters[number]) + "\n" for number in sorted(state.meters))


def parse_state(flows: str, groups: str, ports: Mapping[str, int] | None = None, meters: str = "") -> SwitchState:
    """One switch from what `dump-flows`, `dump-groups` and `dump-meters` printed. `ports` numbers ports given
    by name."""
    return SwitchState(
        {flow.key: flow for flow in parse_flows(flows, ports)},
        {group.id: group for group in parse_groups(groups, ports)},
        {meter.id: meter for meter in parse_meters(meters)},
    )


def format_match(match: Match) -> list[str]:
    """The conditions, one string each, the protocol's short name first where there is one."""
    exact = {item.field: item.value for item in match if item.mask == (1 << FIELD_BITS[item.field]) - 1}
    eth_type, protocol = exact.get("eth_type"), exact.get("ip_proto")
    hidden: set[str] = set()
    parts = []
    if eth_type is not None:
        for fields in ((eth_type, protocol), (eth_type, None)):
            if fields in PROTOCOL_NAMES:
                parts.append(PROTOCOL_NAMES[fields])
                hidden = {"eth_type"} if fields[1] is None else {"eth_type", "ip_proto"}
                break
        else:
            parts.append(f"dl_type={eth_type:#06x}")
            hidden = {"eth_type"}
        if protocol is not None and "ip_proto" not in hidden:
            parts.append(f"nw_proto={protocol}")
            hidden.add("ip_proto")
    # Prerequisites come before what needs them: ovs-ofctl reads from the left.
    parts += [_condition(item) for item in match if item.field not in hidden]
    return parts


def _condition(item: FieldMatch) -> str:
    name, value, mask = item
    bits = FIELD_BITS[name]
    full = (1 << bits) - 1
    text = MATCH_NAMES.get(name, name)
    if name == "in_port":
        return f"in_port={_port(value)}"
    if name == "tcp_flags" and mask == full:
        return f"tcp_flags={'|'.join(flag for flag, bit in TCP_FLAGS.items() if value & bit) or '0'}"
    if name in ("ct_state", "tcp_flags"):
        known = CT_FLAGS if name == "ct_state" else TCP_FLAGS
        flags = [f"{'+' if value & bit else '-'}{flag}" for flag, bit in known.items() if mask & bit]
        return f"{name}={''.join(flags)}"
    if name == "ip_frag":
        for word, (wanted, wanted_mask) in FRAGMENTS.items():
            if (value & 3, mask & 3) == (wanted, wanted_mask & 3):
                return f"ip_frag={word}"
        raise OfctlError(f"no word for ip_frag={value}/{mask}")
    if mask == full:
        return f"{text}={value_text(name, value)}"
    if bits in _PREFIX_LENGTHS and name in IPV4_FIELDS | IPV6_FIELDS and mask in _PREFIX_LENGTHS[bits]:
        return f"{text}={value_text(name, value)}/{_PREFIX_LENGTHS[bits][mask]}"
    return f"{text}={value_text(name, value)}/{value_text(name, mask)}"


def format_actions(
    actions: Iterable[Action], goto: int | None = None, table_name: Mapping[int, str] | None = None
) -> str:
    """What follows `actions=`. Nothing to do is `drop`."""
    texts = [format_action(action, table_name) for action in actions]
    if goto is not None:
        texts.append(f"goto_table:{_table(goto, table_name)}")
    return ",".join(texts) or "drop"


def format_action(action: Action, table_name: Mapping[int, str] | None = None) -> str:
    """One action."""
    match action:
        case Output(port=port, max_len=max_len):
            if port == CONTROLLER:
                return f"CONTROLLER:{max_len}"
            return PORT_NAMES.get(port) or f"output:{port}"
        case ToGroup(group=group):
            return f"group:{group}"
        case SetField():
            return _set_field(action)
        case Move(source=source, target=target):
            return f"move:{subfield_text(source)}->{subfield_text(target)}"
        case Resubmit(table=table):
            return f"resubmit(,{_table(table, table_name)})"
        case Ct():
            return _ct(action, table_name)
        case Clone(actions=actions):
            return f"clone({','.join(format_action(inner, table_name) for inner in actions)})"
        case DecTtl():
            return "dec_ttl"
        case CheckPacketLarger(size=size, target=target):
            return f"check_pkt_larger({size})->{subfield_text(target)}"
        case PopMpls(eth_type=eth_type):
            return f"pop_mpls:{eth_type:#06x}"
        case Meter(meter=number):
            return f"meter:{number}"
        case SetQueue(queue=queue):
            return f"set_queue:{queue}"
        case Multipath(target=target, by_source=by_source):
            return f"multipath({MULTIPATH_BY_SOURCE if by_source else MULTIPATH}{subfield_text(target)})"
        case Conjunction(id=number, clause=clause, of=of):
            return f"conjunction({number},{clause}/{of})"
        case PushVlan() | PopVlan() | PushMpls() | EncapNsh() | DecapNsh() | DecNshTtl():
            return _WORDS[type(action)]


_WORDS: Mapping[type[Action], str] = {
    PushVlan: "push_vlan:0x8100",
    PopVlan: "pop_vlan",
    PushMpls: "push_mpls:0x8847",
    EncapNsh: "encap(nsh(md_type=1)),encap(ethernet)",
    DecapNsh: "decap(),decap()",
    DecNshTtl: "dec_nsh_ttl",
}


def _set_field(action: SetField) -> str:
    bits = FIELD_BITS[action.field]
    offset = (action.mask & -action.mask).bit_length() - 1
    width = (action.mask >> offset).bit_length() if action.mask else 0
    if not action.mask or action.mask >> offset != (1 << width) - 1 or action.value & ~action.mask:
        raise OfctlError(
            f"set of {action.field}: {action.mask:#x} is not one run of bits, or "
            f"{action.value:#x} has bits outside"
        )
    if action.field in ("in_port", "vlan_tci"):
        # in_port has 16 bits under the only name it can be written by; vlan_tci is no OXM field.
        return f"load:{action.value >> offset:#x}->{subfield_text(SubField(action.field, offset, width))}"
    name = SET_NAMES.get(action.field, action.field)
    if width == bits:
        return f"set_field:{value_text(action.field, action.value)}->{name}"
    if width > 64:  # a load carries 64 bits
        value, mask = value_text(action.field, action.value), value_text(action.field, action.mask)
        return f"set_field:{value}/{mask}->{name}"
    return f"load:{action.value >> offset:#x}->{subfield_text(SubField(action.field, offset, width))}"


def subfield_text(part: SubField) -> str:
    """`NXM_NX_REG0[3..7]`; `[]` is all of it, `[3]` one bit."""
    name, whole = NXM_NAMES[part.field], FIELD_BITS[part.field]
    if part.field == "in_port":
        if part.offset + part.bits > 16:
            name = "OXM_OF_IN_PORT"
        else:
            whole = 16
    if part.bits == whole:
        return f"{name}[]"
    if part.bits == 1:
        return f"{name}[{part.offset}]"
    return f"{name}[{part.offset}..{part.offset + part.bits - 1}]"


def _ct(action: Ct, table_name: Mapping[int, str] | None) -> str:
    parts = ["commit"] if action.commit else []
    if action.table is not None:
        parts.append(f"table={_table(action.table, table_name)}")
    parts.append(f"zone={subfield_text(action.zone) if isinstance(action.zone, SubField) else action.zone}")
    if action.nat is not None:
        parts.append(_nat(action.nat))
    if action.exec:
        parts.append(f"exec({','.join(format_action(inner) for inner in action.exec)})")
    return f"ct({','.join(parts)})"


def _nat(nat: Nat) -> str:
    if nat.address is None:
        return "nat"
    if nat.version == 4:
        address = str(IPv4Address(nat.address))
    else:
        address = str(IPv6Address(nat.address))
        if nat.port is not None:
            address = f"[{address}]"
    side = "src" if nat.source else "dst"
    return f"nat({side}={address})" if nat.port is None else f"nat({side}={address}:{nat.port})"


def _port(port: int) -> str:
    return PORT_NAMES.get(port) or str(port)


def _table(table: int, names: Mapping[int, str] | None) -> str:
    return str(table) if names is None else names.get(table, str(table))
