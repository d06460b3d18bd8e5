"""From what `ovs-ofctl dump-flows`, `dump-groups` and `dump-meters` print (OpenFlow 1.3 to 1.5) to values.

Counters, ages, timeouts and flags are left out: they do not say what happens to a packet. What the model has
no word for is an OfctlError that names it, never left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from controller_app.model.flow import (
    FIELD_BITS,
    FIELD_ORDER,
    Bucket,
    FieldMatch,
    Flow,
    Group,
    Match,
    MeterConfig,
    full_mask,
)
from controller_app.pipeline.ofctl_actions import Ports, parse_actions, parse_instructions, parse_port, split
from controller_app.pipeline.ofctl_names import (
    CT_FLAGS,
    FIELDS_BY_NAME,
    FRAGMENTS,
    IPV4_FIELDS,
    IPV6_FIELDS,
    PROTOCOLS,
    RESERVED_PORTS,
    TCP_FLAGS,
    OfctlError,
    mask_of_prefix,
    number,
    parse_value,
)

_NOT_BEHAVIOUR = frozenset(
    {"duration", "n_packets", "n_bytes", "idle_age", "hard_age", "idle_timeout", "hard_timeout", "importance"}
)
_FLAGS = frozenset({"send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts", "no_byte_counts"})
# Fields that are written flag by flag
_FLAG_FIELDS: Mapping[str, Mapping[str, int]] = {"ct_state": CT_FLAGS, "tcp_flags": TCP_FLAGS}
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
    actions, goto = parse_instructions(right, ports or {})
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


def parse_meters(text: str | Iterable[str]) -> list[MeterConfig]:
    """Read a whole `dump-meters`, or lines for `add-meter`. An OfctlError names the meter."""
    whole = " ".join(line for _, line in _lines(text))
    return [_meter(piece) for piece in re.split(r"(?=\bmeter=)", whole) if piece.strip()]


def _meter(text: str) -> MeterConfig:
    """One meter: `meter=5 kbps burst bands= type=drop rate=1000 burst_size=200`, at commas or blanks."""
    said: dict[str, str] = {}
    for item in re.split(r"[,\s]+", text.strip().strip(",")):
        name, _, value = item.removeprefix("band=").partition("=")
        if name in said:
            raise OfctlError(f"meter {said.get('meter')}: {name} is given twice; only one band is known")
        said[name] = value
    unknown = said.keys() - {"meter", "kbps", "pktps", "burst", "stats", "bands", "type", "rate", "burst_size"}
    if unknown or said.get("type") != "drop" or "meter" not in said or "rate" not in said:
        raise OfctlError(f"{text.strip()!r} is no meter with one band that drops")
    burst = number(said.get("burst_size", "0"), 32) if "burst" in said else 0
    return MeterConfig(number(said["meter"], 32), number(said["rate"], 32), burst, "pktps" in said)


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
        return "in_port", parse_port(text, ports), full_mask("in_port")
    if name in _FLAG_FIELDS:
        return name, *_flags(name, text)
    if name in ("ip_frag", "nw_frag"):
        if text not in FRAGMENTS:
            raise OfctlError(f"{name}={text} is not known")
        return "ip_frag", *FRAGMENTS[text]
    if name == "dl_vlan":
        vlan = number(text, 16)
        return ("vlan_tci", 0, 0x1FFF) if vlan == 0xFFFF else ("vlan_tci", 0x1000 | vlan, 0x1FFF)
    if name == "nw_tos":
        tos = number(text, 8)
        if tos & 3:
            raise OfctlError(f"nw_tos={text}: the two bits of ECN are not known here")
        return "ip_dscp", tos >> 2, full_mask("ip_dscp")
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


def _flags(name: str, text: str) -> tuple[int, int]:
    """`+trk-new`, or all flags at once as `new|trk`, or a number."""
    known = _FLAG_FIELDS[name]
    total, covered = 0, 0
    if text[:1] in ("+", "-"):
        for sign, flag in re.findall(r"([+-])(\w+|\[\w+\])", text):
            covered |= _flag(name, flag)
            total |= _flag(name, flag) if sign == "+" else 0
        return total, covered
    if text[:1].isdigit():
        value, slash, mask = text.partition("/")
        bits = FIELD_BITS[name]
        return number(value, bits), number(mask, bits) if slash else sum(known.values())
    for flag in text.split("|"):
        total |= _flag(name, flag)
    return total, sum(known.values())


def _flag(name: str, flag: str) -> int:
    known = _FLAG_FIELDS[name]
    if flag not in known:
        raise OfctlError(f"{name} flag {flag!r} is not known")
    return known[flag]


def _bucket(body: str, kind: str, ports: Ports) -> Bucket:
    weight, watch = 1, None
    parts = split(body.strip().rstrip(","))
    while parts:
        name, _, value = re.split(r"([:=])|$", parts[0], maxsplit=1)
        if name == "actions":
            parts[0] = value
            break
        if name == "weight":
            weight = number(value, 16)
        elif name == "watch_port":
            watch = parse_port(value, ports)
        elif name == "watch_group":
            raise OfctlError("watch_group is not known")
        elif name != "bucket_id":
            break  # the actions start without saying so
        parts.pop(0)
    if watch == RESERVED_PORTS["ANY"]:
        watch = None
    return Bucket(parse_actions([part for part in parts if part], ports), weight if kind == "select" else 1, watch)
