"""From what `ovs-ofctl dump-flows` and `dump-groups` print (OpenFlow 1.3 to 1.5) to values.

Counters, ages, timeouts and flags are left out: they do not say what happens to a packet. What the model has
no word for is an OfctlError that names it, never left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address

from controller_app.model.flow import (
    CONTROLLER,
    FIELD_BITS,
    FIELD_ORDER,
    Action,
    Bucket,
    CheckPacketLarger,
    Clone,
    Ct,
    DecTtl,
    FieldMatch,
    Flow,
    Group,
    Match,
    Move,
    Nat,
    Output,
    Resubmit,
    SetField,
    SubField,
    ToGroup,
    full_mask,
)
from controller_app.pipeline.ofctl_names import (
    CT_FLAGS,
    FIELDS_BY_NAME,
    FRAGMENTS,
    IPV4_FIELDS,
    IPV6_FIELDS,
    PROTOCOLS,
    RESERVED_PORTS,
    SUBFIELD_NAMES,
    OfctlError,
    mask_of_prefix,
    number,
    parse_value,
)

Ports = Mapping[str, int]

_NOT_BEHAVIOUR = frozenset(
    {"duration", "n_packets", "n_bytes", "idle_age", "hard_age", "idle_timeout", "hard_timeout", "importance"}
)
_FLAGS = frozenset({"send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts", "no_byte_counts"})
_SUBFIELD = re.compile(r"(\w+)\[(?:(\d+)(?:\.\.(\d+))?)?\]")
_ALL_CT_FLAGS = sum(CT_FLAGS.values())
_DEFAULT_PRIORITY = 32768


def parse_flow(line: str, ports: Ports | None = None) -> Flow:
    """Read one line of `dump-flows`, or one of `add-flows`. `ports` gives the numbers of ports that are
    named in it."""
    left, found, right = line.strip().partition("actions=")
    if not found:
        raise OfctlError(f"no actions= in {line.strip()!r}")
    table, priority, cookie = 0, _DEFAULT_PRIORITY, 0
    conditions: dict[str, str] = {}
    for item in re.split(r"[,\s]+", left.strip().strip(",")):
        name, _, value = item.partition("=")
        if name == "table":
            table = number(value, 8)
        elif name == "priority":
            priority = number(value, 16)
        elif name == "cookie":
            cookie = number(value, 64)
        elif name and name not in _NOT_BEHAVIOUR and item not in _FLAGS:
            if name in conditions:
                raise OfctlError(f"{name} is given twice")
            conditions[name] = value
    actions, goto = _instructions(right, ports or {})
    return Flow(table, priority, _match(conditions, ports or {}), actions, goto, cookie)


def parse_group(line: str, ports: Ports | None = None) -> Group:
    """Read one line of `dump-groups`, or one of `add-groups`."""
    head, *bodies = re.split(r",?\s*\bbuckets?=", line.strip())
    identifier, kind = None, None
    for item in head.split(","):
        name, _, value = item.strip().partition("=")
        if name == "group_id":
            identifier = number(value, 32)
        elif name == "type":
            kind = {"fast_failover": "ff"}.get(value, value)
        elif name == "selection_method" and value not in ("dp_hash", "hash"):
            raise OfctlError(f"selection_method {value!r} is not known")
        elif name and not name.startswith("selection_method") and name != "fields":
            raise OfctlError(f"{name!r} is not known in a group")
    if identifier is None or kind not in ("select", "all", "indirect", "ff"):
        raise OfctlError(f"no group_id or no known type in {line.strip()!r}")
    return Group(identifier, kind, tuple(_bucket(body, kind, ports or {}) for body in bodies))


def parse_flows(text: str | Iterable[str], ports: Ports | None = None) -> list[Flow]:
    """Read a whole `dump-flows`. An OfctlError says the line's number."""
    found = []
    for count, line in _lines(text):
        try:
            found.append(parse_flow(line, ports))
        except OfctlError as error:
            raise OfctlError(f"line {count}: {error}") from None
    return found


def parse_groups(text: str | Iterable[str], ports: Ports | None = None) -> list[Group]:
    """Read a whole `dump-groups`. An OfctlError says the line's number."""
    found = []
    for count, line in _lines(text):
        try:
            found.append(parse_group(line, ports))
        except OfctlError as error:
            raise OfctlError(f"line {count}: {error}") from None
    return found


def _lines(text: str | Iterable[str]) -> Iterator[tuple[int, str]]:
    for count, line in enumerate(text.splitlines() if isinstance(text, str) else text, 1):
        stripped = line.partition("#")[0].strip()
        if stripped and not re.match(r"(OFPST|NXST)_\w+ reply", stripped):
            yield count, stripped


# -- matches -----------------------------------------------------------------------------------------------


def _match(conditions: Mapping[str, str], ports: Ports) -> Match:
    found: dict[str, tuple[int, int]] = {}
    for name in list(conditions):
        if name in PROTOCOLS and not conditions[name]:
            eth_type, protocol = PROTOCOLS[name]
            found["eth_type"] = (eth_type, 0xFFFF)
            if protocol is not None:
                found["ip_proto"] = (protocol, 0xFF)
    for name in ("dl_type", "eth_type", "nw_proto", "ip_proto"):
        if name in conditions:
            field = FIELDS_BY_NAME[name]
            found[field] = (number(conditions[name], FIELD_BITS[field]), full_mask(field))
    for name, text in conditions.items():
        if (name in PROTOCOLS and not text) or name in ("dl_type", "eth_type", "nw_proto", "ip_proto"):
            continue
        field, value, mask = _one(name, text, found, ports)
        if field in found:
            if field != "vlan_tci":
                raise OfctlError(f"{field} is given twice")
            value, mask = value | found[field][0], mask | found[field][1]
        found[field] = (value & mask, mask)
    return tuple(
        sorted(
            (FieldMatch(name, value, mask) for name, (value, mask) in found.items() if mask),
            key=lambda item: FIELD_ORDER[item.field],
        )
    )


def _one(name: str, text: str, found: Mapping[str, tuple[int, int]], ports: Ports) -> tuple[str, int, int]:
    """One condition as (field, value, mask). What tp_src, icmp_type and the like mean depends on `found`."""
    eth_type = found.get("eth_type", (0, 0))[0]
    protocol = found.get("ip_proto", (0, 0))[0]
    if name == "in_port":
        return "in_port", _port(text, ports), full_mask("in_port")
    if name == "ct_state":
        return "ct_state", *_ct_state(text)
    if name in ("ip_frag", "nw_frag"):
        if text not in FRAGMENTS:
            raise OfctlError(f"{name}={text} is not known")
        return "ip_frag", *FRAGMENTS[text]
    if name == "dl_vlan":
        vlan = number(text, 16)
        return ("vlan_tci", 0, 0x1FFF) if vlan == 0xFFFF else ("vlan_tci", 0x1000 | vlan, 0x1FFF)
    if name == "dl_vlan_pcp":
        return "vlan_tci", 0x1000 | number(text, 3) << 13, 0xF000
    if name in ("nw_src", "nw_dst") and eth_type == 0x0806:
        name = {"nw_src": "arp_spa", "nw_dst": "arp_tpa"}[name]
    elif name in ("tp_src", "tp_dst") and protocol in (6, 17):
        name = {6: "tcp", 17: "udp"}[protocol] + name[2:]
    elif name == "icmp_type" and eth_type == 0x86DD:
        name = "icmpv6_type"
    field = FIELDS_BY_NAME.get(name)
    if field is None:
        raise OfctlError(f"match field {name!r} is not known")
    value, slash, mask = text.partition("/")
    if not slash:
        return field, parse_value(field, value), full_mask(field)
    if field in IPV4_FIELDS | IPV6_FIELDS and mask.isdigit():
        if int(mask) > FIELD_BITS[field]:
            raise OfctlError(f"{name}={text}: the prefix is too long")
        return field, parse_value(field, value), mask_of_prefix(FIELD_BITS[field], int(mask))
    return field, parse_value(field, value), parse_value(field, mask)


def _ct_state(text: str) -> tuple[int, int]:
    """`+trk-new`, or all flags at once as `new|trk`."""
    total, covered = 0, 0
    if text[:1] in ("+", "-"):
        for sign, flag in re.findall(r"([+-])(\w+)", text):
            covered |= _ct_flag(flag)
            total |= _ct_flag(flag) if sign == "+" else 0
        return total, covered
    if text[:1].isdigit():
        value, slash, mask = text.partition("/")
        return number(value, 32), number(mask, 32) if slash else _ALL_CT_FLAGS
    for flag in text.split("|"):
        total |= _ct_flag(flag)
    return total, _ALL_CT_FLAGS


def _ct_flag(name: str) -> int:
    if name not in CT_FLAGS:
        raise OfctlError(f"ct_state flag {name!r} is not known")
    return CT_FLAGS[name]


def _port(text: str, ports: Ports) -> int:
    name = text.strip('"')
    if text.isdigit():
        return number(text, 32)
    if name in ports:
        return ports[name]
    if name.upper() in RESERVED_PORTS:
        return RESERVED_PORTS[name.upper()]
    raise OfctlError(f"port {name!r} is not known by number; dump with --no-names")


# -- actions -----------------------------------------------------------------------------------------------


def _split(text: str) -> list[str]:
    """At commas and blanks outside brackets."""
    parts, depth, start = [], 0, 0
    for position, letter in enumerate(text):
        if letter in "([":
            depth += 1
        elif letter in ")]":
            depth -= 1
            if depth < 0:
                break
        elif letter in ", " and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    if depth != 0:
        raise OfctlError(f"brackets do not match in {text!r}")
    parts.append(text[start:])
    return [part for part in parts if part]


def _instructions(text: str, ports: Ports) -> tuple[tuple[Action, ...], int | None]:
    parts = _split(text.strip())
    goto = None
    if parts and parts[-1].startswith("goto_table:"):
        goto = number(parts.pop().partition(":")[2], 8)
    return _actions(parts, ports), goto


def _actions(parts: Iterable[str], ports: Ports) -> tuple[Action, ...]:
    return tuple(_action(part, ports) for part in parts if part != "drop")


def _call(text: str) -> tuple[str, str | None, str]:
    """`name(inside)rest` -> (name, inside, rest); without brackets inside is None."""
    name, bracket, tail = text.partition("(")
    if not bracket or not re.fullmatch(r"\w+", name):
        return text, None, ""
    inside, _, rest = tail.rpartition(")")
    return name, inside, rest


def _action(text: str, ports: Ports) -> Action:
    name, inside, rest = _call(text)
    if inside is not None and name in ("resubmit", "ct", "clone", "check_pkt_larger", "controller"):
        if name == "check_pkt_larger":
            return CheckPacketLarger(number(inside, 16), _subfield(rest.removeprefix("->")))
        if rest:
            raise OfctlError(f"action {text!r} is not understood")
        if name == "resubmit":
            port, _, table = inside.partition(",")
            if port.strip() not in ("", "in_port", "IN_PORT") or not table:
                raise OfctlError(f"action {text!r}: a resubmit with another in_port is not known")
            return Resubmit(number(table.strip(), 8))
        if name == "ct":
            return _ct(inside)
        if name == "clone":
            return Clone(_actions(_split(inside), ports))
        return _controller(inside)
    word, colon, value = text.partition(":")
    if word == "output" and colon:
        return Output(_port(value, ports))
    if word == "group" and colon:
        return ToGroup(number(value, 32))
    if word.upper() == "CONTROLLER":
        return Output(CONTROLLER, number(value, 16) if colon else 0xFFFF)
    if word == "set_field" and colon:
        return _set_field(value)
    if word == "load" and colon:
        return _load(value)
    if word == "move" and colon:
        source, arrow, target = value.partition("->")
        if not arrow:
            raise OfctlError(f"action {text!r} has no ->")
        return Move(_subfield(source), _subfield(target))
    if text == "dec_ttl":
        return DecTtl()
    if not colon and (text.isdigit() or text.strip('"') in ports or text.upper() in RESERVED_PORTS):
        return Output(_port(text, ports))
    raise OfctlError(f"action {text!r} is not known")


def _controller(inside: str) -> Output:
    max_len = 0xFFFF
    for part in _split(inside):
        name, _, value = part.partition("=")
        if name == "max_len":
            max_len = number(value, 16)
        elif (name, value) not in (("reason", "action"), ("id", "0")):
            raise OfctlError(f"controller option {part!r} is not known")
    return Output(CONTROLLER, max_len)


def _subfield(text: str) -> SubField:
    found = _SUBFIELD.fullmatch(text.strip())
    if not found or found[1] not in SUBFIELD_NAMES:
        raise OfctlError(f"field {text!r} is not known")
    name, bits = SUBFIELD_NAMES[found[1]]
    first = int(found[2] or 0)
    last = int(found[3]) if found[3] else first if found[2] else bits - 1
    if not first <= last < bits:
        raise OfctlError(f"{text} has bits that {found[1]} has not")
    return SubField(name, first, last - first + 1)


def _load(text: str) -> SetField:
    value, arrow, target = text.partition("->")
    if not arrow:
        raise OfctlError(f"load {text!r} has no ->")
    part = _subfield(target)
    mask = ((1 << part.bits) - 1) << part.offset
    return SetField(part.field, number(value, part.bits) << part.offset, mask)


def _set_field(text: str) -> SetField:
    value, arrow, name = text.rpartition("->")
    field = FIELDS_BY_NAME.get(name)
    if not arrow or field is None:
        raise OfctlError(f"set_field of {name!r} is not known")
    if field == "in_port":
        # OpenFlow 1.5 prints the 16-bit OFPP_NONE as ANY.
        port = _port(value, {})
        return SetField("in_port", port & 0xFFFF, 0xFFFF)
    plain, slash, mask_text = value.partition("/")
    mask = parse_value(field, mask_text) if slash else full_mask(field)
    return SetField(field, parse_value(field, plain) & mask, mask)


def _ct(inside: str) -> Ct:
    commit, table, nat = False, None, None
    zone: int | SubField = 0
    inner: tuple[Action, ...] = ()
    for part in _split(inside):
        name, brackets, _ = _call(part)
        key, _, value = part.partition("=")
        if part == "commit":
            commit = True
        elif part == "nat":
            nat = Nat()
        elif name == "nat" and brackets is not None:
            nat = _nat(brackets)
        elif name == "exec" and brackets is not None:
            inner = _actions(_split(brackets), {})
        elif key == "zone":
            zone = _subfield(value) if "[" in value else number(value, 16)
        elif key == "table":
            table = number(value, 8)
        else:
            raise OfctlError(f"ct argument {part!r} is not known")
    return Ct(zone, commit, table, nat, inner)


def _nat(text: str) -> Nat:
    key, _, value = text.partition("=")
    if key != "dst":
        raise OfctlError(f"nat({text}) is not known: only plain nat and nat(dst=ADDRESS:PORT)")
    try:
        if value.startswith("["):
            address, _, port = value[1:].partition("]:")
            return Nat(int(IPv6Address(address)), number(port, 16), 6)
        if value.count(":") < 2:
            address, colon, port = value.partition(":")
            return Nat(int(IPv4Address(address)), number(port, 16) if colon else None, 4)
        return Nat(int(IPv6Address(value)), None, 6)
    except ValueError:
        raise OfctlError(f"nat({text}) is not understood: one address and at most one port") from None


def _bucket(body: str, kind: str, ports: Ports) -> Bucket:
    weight, watch = 1, None
    parts = _split(body.strip().rstrip(","))
    while parts:
        name, _, value = re.split(r"([:=])|$", parts[0], maxsplit=1)
        if name == "actions":
            parts[0] = value
            break
        if name == "weight":
            weight = number(value, 16)
        elif name == "watch_port":
            watch = _port(value, ports)
        elif name == "watch_group":
            raise OfctlError("watch_group is not known")
        elif name != "bucket_id":
            break  # the actions start without saying so
        parts.pop(0)
    if watch == RESERVED_PORTS["ANY"]:
        watch = None
    return Bucket(_actions([part for part in parts if part], ports), weight if kind == "select" else 1, watch)
