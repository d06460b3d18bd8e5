"""Actions from ovs-ofctl text. See `ofctl_parse` for whole lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address

from controller_app.model.encapsulation import Step, fold
from controller_app.model.flow import (
    CONTROLLER,
    Action,
    CheckPacketLarger,
    Clone,
    Conjunction,
    Ct,
    DecNshTtl,
    DecTtl,
    Meter,
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
from controller_app.pipeline.ofctl_names import (
    FIELDS_BY_NAME,
    MULTIPATH,
    MULTIPATH_BY_SOURCE,
    RESERVED_PORTS,
    SUBFIELD_NAMES,
    TCI_PARTS,
    OfctlError,
    number,
    parse_value,
)

Ports = Mapping[str, int]

_SUBFIELD = re.compile(r"(\w+)\[(?:(\d+)(?:\.\.(\d+))?)?\]")
_WORDS: Mapping[str, Action | Step] = {
    "dec_ttl": DecTtl(),
    "push_vlan:0x8100": PushVlan(),
    "pop_vlan": PopVlan(),
    "strip_vlan": PopVlan(),
    "push_mpls:0x8847": PushMpls(),
    "dec_nsh_ttl": DecNshTtl(),
    "encap(nsh(md_type=1))": Step.ENCAP_NSH,
    "encap(nsh)": Step.ENCAP_NSH,
    "encap(ethernet)": Step.ENCAP_ETHERNET,
    "decap()": Step.DECAP,
    "decap": Step.DECAP,
}


def parse_port(text: str, ports: Ports) -> int:
    """A port by number, by name or by one of the reserved names."""
    name = text.strip('"')
    if text.isdigit():
        return number(text, 32)
    if name in ports:
        return ports[name]
    if name.upper() in RESERVED_PORTS:
        return RESERVED_PORTS[name.upper()]
    raise OfctlError(f"port {name!r} is not known by number; dump with --no-names")


def split(text: str) -> list[str]:
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


def parse_instructions(text: str, ports: Ports) -> tuple[tuple[Action, ...], int | None]:
    """What follows `actions=`: the actions and the table to go to."""
    parts = split(text.strip())
    goto = None
    if parts and parts[-1].startswith("goto_table:"):
        goto = number(parts.pop().partition(":")[2], 8)
    return parse_actions(parts, ports), goto


def parse_actions(parts: Iterable[str], ports: Ports) -> tuple[Action, ...]:
    """Actions from their texts."""
    steps = [_action(part, ports) for part in parts if part != "drop"]
    try:
        return fold(steps)
    except ValueError as error:
        raise OfctlError(str(error)) from None


def _call(text: str) -> tuple[str, str | None, str]:
    """`name(inside)rest` -> (name, inside, rest); without brackets inside is None."""
    name, bracket, tail = text.partition("(")
    if not bracket or not re.fullmatch(r"\w+", name):
        return text, None, ""
    inside, _, rest = tail.rpartition(")")
    return name, inside, rest


def _action(text: str, ports: Ports) -> Action | Step:
    if text in _WORDS:
        return _WORDS[text]
    name, inside, rest = _call(text)
    if inside is not None and name in _CALLS:
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
        if name == "multipath":
            return _multipath(inside)
        if name == "conjunction":
            return _conjunction(inside)
        if name == "clone":
            return Clone(parse_actions(split(inside), ports))
        return _controller(inside)
    word, colon, value = text.partition(":")
    if word == "output" and colon:
        return Output(parse_port(value, ports))
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
    if word == "pop_mpls" and colon:
        return PopMpls(number(value, 16))
    if word == "set_queue" and colon:
        return SetQueue(number(value, 32))
    if word == "meter" and colon:
        return Meter(number(value, 32))
    if not colon and (text.isdigit() or text.strip('"') in ports or text.upper() in RESERVED_PORTS):
        return Output(parse_port(text, ports))
    raise OfctlError(f"action {text!r} is not known")


_CALLS = frozenset({"resubmit", "ct", "clone", "check_pkt_larger", "controller", "multipath", "conjunction"})


def _multipath(inside: str) -> Multipath:
    head, _, target = inside.replace(" ", "").rpartition(",")
    if f"{head}," not in (MULTIPATH, MULTIPATH_BY_SOURCE):
        raise OfctlError(f"multipath({inside}) is not known: only multipath({MULTIPATH}FIELD[FIRST..LAST])")
    part = _subfield(target)
    if part.bits != 8:
        raise OfctlError(f"multipath({inside}): a slot has 8 bits")
    return Multipath(part, f"{head}," == MULTIPATH_BY_SOURCE)


def _conjunction(inside: str) -> Conjunction:
    found = re.fullmatch(r"(\w+),\s*(\d+)/(\d+)", inside.strip())
    if not found:
        raise OfctlError(f"conjunction({inside}) is not understood")
    return Conjunction(number(found[1], 32), number(found[2], 8), number(found[3], 8))


def _controller(inside: str) -> Output:
    max_len = 0xFFFF
    for part in split(inside):
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
    if arrow and name in TCI_PARTS and "/" not in value:
        bits, shift, mask = TCI_PARTS[name]
        return SetField("vlan_tci", number(value, bits) << shift | mask & 0x1000, mask)
    field = FIELDS_BY_NAME.get(name)
    if not arrow or field is None:
        raise OfctlError(f"set_field of {name!r} is not known")
    if field == "in_port":
        # OpenFlow 1.5 prints the 16-bit OFPP_NONE as ANY.
        port = parse_port(value, {})
        return SetField("in_port", port & 0xFFFF, 0xFFFF)
    plain, slash, mask_text = value.partition("/")
    mask = parse_value(field, mask_text) if slash else full_mask(field)
    return SetField(field, parse_value(field, plain) & mask, mask)


def _ct(inside: str) -> Ct:
    commit, table, nat = False, None, None
    zone: int | SubField = 0
    inner: tuple[Action, ...] = ()
    for part in split(inside):
        name, brackets, _ = _call(part)
        key, _, value = part.partition("=")
        if part == "commit":
            commit = True
        elif part == "nat":
            nat = Nat()
        elif name == "nat" and brackets is not None:
            nat = _nat(brackets)
        elif name == "exec" and brackets is not None:
            inner = parse_actions(split(brackets), {})
        elif key == "zone":
            zone = _subfield(value) if "[" in value else number(value, 16)
        elif key == "table":
            table = number(value, 8)
        else:
            raise OfctlError(f"ct argument {part!r} is not known")
    return Ct(zone, commit, table, nat, inner)


def _nat(text: str) -> Nat:
    key, _, value = text.partition("=")
    if key not in ("src", "dst"):
        raise OfctlError(f"nat({text}) is not known: only plain nat, nat(dst=ADDRESS:PORT) and nat(src=ADDRESS:PORT)")
    source = key == "src"
    try:
        if value.startswith("["):
            address, _, port = value[1:].partition("]:")
            return Nat(int(IPv6Address(address)), number(port, 16), 6, source)
        if value.count(":") < 2:
            address, colon, port = value.partition(":")
            return Nat(int(IPv4Address(address)), number(port, 16) if colon else None, 4, source)
        return Nat(int(IPv6Address(value)), None, 6, source)
    except ValueError:
        raise OfctlError(f"nat({text}) is not understood: one address and at most one port") from None
