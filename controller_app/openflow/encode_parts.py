"""Matches and action lists as bytes. See `encode` for whole messages.

Built for speed: the shape of a match (its fields and masks) or of a set-field becomes, once, one big number
with holes where the values go, and is kept. Encoding is then adding shifted values to it. A value with bits
where it must have none shows as a changed bit outside the holes and is a ValueError.

Sources: OpenFlow 1.3.5; nicira-ext.h and ofp-actions.c of Open vSwitch 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import lshift
from struct import Struct
from typing import Any, NamedTuple

from controller_app.model.flow import (
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
    Match,
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
)
from controller_app.openflow.oxm import (
    MATCH_HEADERS,
    PART_HEADERS,
    PCP_SHIFT,
    VID_MASK,
    WIRE_BITS,
    check_match,
    header_bytes,
    masked,
    split_vlan_tci,
)

NICIRA = 0x2320
MAX_LOAD_BITS = 64

_OUTPUT = Struct("!HHIH6x")
_WORD = Struct("!HHI")  # an action that says one number of 32 bits
_ETHER_TYPE = Struct("!HHH2x")
_NX = Struct("!HHIH")
_NX_MOVE = Struct("!HHIHHHH")
_NX_RESUBMIT = Struct("!HHIHHB3x")
_NX_CT = Struct("!HHIHHIHB3xH")
_NX_CLONE = Struct("!HHIH6x")
_NX_NAT = Struct("!HHIH2xHH")
_NX_CHECK = Struct("!HHIHHHI6x")
_NX_MULTIPATH = Struct("!HHIHHH2xHHI2xHI")
_NX_CONJUNCTION = Struct("!HHIHBBI")
_EXPERIMENTER_ACTION = 0xFFFF
_PADDING = tuple(bytes(n) for n in range(8))

# Actions that are the same bytes each time.
_DEC_TTL = bytes.fromhex("0018000800000000")
_PUSH_VLAN = bytes.fromhex("0011000881000000")
_POP_VLAN = bytes.fromhex("0012000800000000")
_PUSH_MPLS = bytes.fromhex("0013000888470000")
# encap(nsh(md_type=1)), encap(ethernet): packet types 0x1894f and 0 (ONF EXT-382 as Open vSwitch has it)
_ENCAP_NSH = bytes.fromhex("ffff001800002320002e00000001894f0004010501000000"
                           "ffff001000002320002e000000000000")
# decap() twice: whatever the header says comes next (packet type 0xfffe)
_DECAP_NSH = bytes.fromhex("ffff001000002320002f00000000fffe" * 2)
_DEC_NSH_TTL = bytes.fromhex("ffff0010000023200030000000000000")


class _Template(NamedTuple):
    """A message part with holes: `base + sum(value << shift)`; a bit of `frame` must stay as in `base`."""

    base: int
    shifts: tuple[int, ...]
    frame: int
    size: int
    tci: int | None  # position of vlan_tci among the values


_MATCHES: dict[tuple[tuple[str, ...], tuple[int, ...]], _Template] = {}
_SETS: dict[tuple[str, int], tuple[int, int, int, int]] = {}
_EMPTY_MATCH = bytes.fromhex("0001000400000000")
_KEPT = 10_000  # shapes; more than any pipeline has, few enough to hold


def encode_match(match: Match) -> bytes:
    """An ofp_match with its padding. Raises ValueError for a condition the switch would not tell back."""
    if not match:
        return _EMPTY_MATCH
    fields, values, masks = zip(*match, strict=True)
    base, shifts, frame, size, tci = _MATCHES.get((fields, masks)) or _match_template(match, fields, masks)
    if tci is not None:
        split_vlan_tci(values[tci], masks[tci])
        value = values[tci]
        values = (*values[:tci], value & VID_MASK, value >> PCP_SHIFT, *values[tci + 1:])
    number: int = sum(map(lshift, values, shifts), base)
    if number & frame != base:
        raise ValueError(f"a value has bits outside its mask: {match}")
    return number.to_bytes(size, "big")


def _match_template(match: Match, fields: tuple[str, ...], masks: tuple[int, ...]) -> _Template:
    """Work out the shape and keep it."""
    parts: list[tuple[str, int]] = []  # name on the wire, mask; a mask of 0 is left out
    tci = None
    for position, (name, value, mask) in enumerate(match):
        check_match(name, value, mask)
        if name == "vlan_tci":
            tci = position
            vid_mask, pcp_mask = split_vlan_tci(value, mask)
            parts += [("vlan_vid", 0xFFFF if vid_mask == VID_MASK else vid_mask),
                      ("vlan_pcp", 0xFF if pcp_mask else 0)]
        else:
            parts.append((name, mask))
    pieces = []
    for name, mask in parts:
        if not mask:
            continue
        bits, header = WIRE_BITS[name], MATCH_HEADERS[name]
        octets = bits // 8
        if mask == (1 << FIELD_BITS.get(name, bits)) - 1:
            pieces.append(header_bytes(header) + bytes(octets))
        else:
            pieces.append(header_bytes(masked(header)) + bytes(octets) + mask.to_bytes(octets, "big"))
    length = 4 + sum(map(len, pieces))
    size = (length + 7) // 8 * 8
    body = b"\0\1" + length.to_bytes(2, "big") + b"".join(pieces) + _PADDING[size - length]
    shifts, holes, at, piece = [], 0, 4, iter(pieces)
    for name, mask in parts:
        if not mask:
            shifts.append(0)  # adds nothing: the value of a part left out is 0
            continue
        shift = 8 * (size - at - (8 if MATCH_HEADERS[name] >> 32 else 4)) - WIRE_BITS[name]
        shifts.append(shift)
        holes |= mask << shift
        at += len(next(piece))
    base = int.from_bytes(body, "big")
    template = _Template(base, tuple(shifts), ~holes, size, tci)
    if len(_MATCHES) >= _KEPT:
        _MATCHES.clear()
    _MATCHES[fields, masks] = template
    return template


# -- actions -----------------------------------------------------------------------------------------------


def encode_actions(actions: Sequence[Action]) -> bytes:
    """An action list. Raises ValueError for an action that cannot be sent."""
    return b"".join([ACTIONS[type(action)](action) for action in actions])


def _output(action: Output) -> bytes:
    return _OUTPUT.pack(0, 16, action.port, action.max_len)


def _to_group(action: ToGroup) -> bytes:
    return _WORD.pack(22, 8, action.group)


def _set_field(action: SetField) -> bytes:
    key = action.field, action.mask
    base, left, right, size = _SETS.get(key) or _set_template(*key)
    if action.value & ~action.mask:
        raise ValueError(f"the value has bits outside the mask: {action}")
    return (base + (action.value >> right << left)).to_bytes(size, "big")


def _set_template(field: str, mask: int) -> tuple[int, int, int, int]:
    """base, left shift, right shift and size of a write under this mask: OFPAT_SET_FIELD for a whole
    field, NXAST_REG_LOAD for up to 64 bits, NXAST_REG_LOAD2 for more and for fields whose header is an
    experimenter's. Each comes back as it was sent."""
    bits, octets = FIELD_BITS[field], WIRE_BITS[field] // 8
    offset = (mask & -mask).bit_length() - 1
    width = mask.bit_length() - offset
    if mask <= 0 or mask >> bits or mask >> offset != (1 << width) - 1:
        raise ValueError(f"set of {field}: mask {mask:#x} is not one run of bits within {bits}")
    left = right = 0
    if field == "in_port":
        # It can be written only by its 16-bit name (OXM_OF_IN_PORT refuses 0xffff).
        if mask != 0xFFFF:
            raise ValueError(f"set of in_port: only its low 16 bits can be written, not under {mask:#x}")
        body = _reg_load(field, 0, 16)
    elif width == bits:
        body = header_bytes(MATCH_HEADERS[field]) + bytes(octets)
        size = (4 + len(body) + 7) // 8 * 8
        left = 8 * (size - 4 - len(body))
        body = b"\0\x19" + size.to_bytes(2, "big") + body + bytes(left // 8)
    elif width <= MAX_LOAD_BITS and not PART_HEADERS[field] >> 32:
        body = _reg_load(field, offset, width)
        right = offset
    else:
        field_part = header_bytes(masked(MATCH_HEADERS[field])) + bytes(octets) + mask.to_bytes(octets, "big")
        size = (10 + len(field_part) + 7) // 8 * 8
        left = 8 * (size - 10 - len(field_part) + octets)
        body = _NX.pack(_EXPERIMENTER_ACTION, size, NICIRA, 33) + field_part
        body += bytes(size - len(body))
    template = (int.from_bytes(body, "big"), left, right, len(body))
    if len(_SETS) >= _KEPT:
        _SETS.clear()
    _SETS[field, mask] = template
    return template


def _reg_load(field: str, offset: int, width: int) -> bytes:
    return (_NX.pack(_EXPERIMENTER_ACTION, 24, NICIRA, 7) + (offset << 6 | width - 1).to_bytes(2, "big")
            + PART_HEADERS[field].to_bytes(4, "big") + bytes(8))


def _part(part: SubField) -> int:
    """The header of a part's field, checked that the field has these bits under that name."""
    bits = 16 if part.field == "in_port" else FIELD_BITS[part.field]
    if part.bits < 1 or part.offset < 0 or part.offset + part.bits > bits:
        raise ValueError(f"{part} is not within the field's {bits} bits")
    return PART_HEADERS[part.field]


def _short_part(part: SubField) -> int:
    """The same where the action has 32 bits for the header."""
    header = _part(part)
    if header >> 32:
        raise ValueError(f"{part.field} cannot be named here: an action has no room for an experimenter's field")
    return header


def _move(action: Move) -> bytes:
    source, target = action.source, action.target
    if source.bits != target.bits:
        raise ValueError(f"the parts differ in width: {action}")
    headers = header_bytes(_part(source)) + header_bytes(_part(target))
    headers += _PADDING[-len(headers) % 8]
    return _NX_MOVE.pack(_EXPERIMENTER_ACTION, 16 + len(headers), NICIRA, 6, source.bits, source.offset,
                         target.offset) + headers


def _resubmit(action: Resubmit) -> bytes:
    return _NX_RESUBMIT.pack(_EXPERIMENTER_ACTION, 16, NICIRA, 14, 0xFFF8, action.table)


def _ct(action: Ct) -> bytes:
    zone = action.zone
    if isinstance(zone, SubField):
        if zone.bits != 16:
            raise ValueError(f"a zone has 16 bits: {action}")
        source, immediate = _short_part(zone), zone.offset << 6 | 15
    else:
        source, immediate = 0, zone
    inner = b"" if action.nat is None else _nat(action.nat)
    if action.exec:
        inner += encode_actions(action.exec)
    if action.table == 0xFF:
        raise ValueError("ct: there is no table 255")
    return _NX_CT.pack(_EXPERIMENTER_ACTION, 24 + len(inner), NICIRA, 35, action.commit, source, immediate,
                       0xFF if action.table is None else action.table, 0) + inner


def _nat(nat: Nat) -> bytes:
    if nat.address is None:
        if nat.port is not None:
            raise ValueError("nat: a port needs an address")
        return _NX_NAT.pack(_EXPERIMENTER_ACTION, 16, NICIRA, 36, 0, 0)
    octets, present = (4, 0x01) if nat.version == 4 else (16, 0x04)
    body = nat.address.to_bytes(octets, "big")
    if nat.port is not None:
        body += nat.port.to_bytes(2, "big")
        present |= 0x10
    body += _PADDING[-len(body) % 8]
    flags = 1 if nat.source else 2
    return _NX_NAT.pack(_EXPERIMENTER_ACTION, 16 + len(body), NICIRA, 36, flags, present) + body


def _clone(action: Clone) -> bytes:
    inner = encode_actions(action.actions)
    return _NX_CLONE.pack(_EXPERIMENTER_ACTION, 16 + len(inner), NICIRA, 42) + inner


def _check_packet_larger(action: CheckPacketLarger) -> bytes:
    if action.target.bits != 1:
        raise ValueError(f"check_pkt_larger writes one bit: {action}")
    return _NX_CHECK.pack(_EXPERIMENTER_ACTION, 24, NICIRA, 49, action.size, action.target.offset,
                          _short_part(action.target))


def _pop_mpls(action: PopMpls) -> bytes:
    return _ETHER_TYPE.pack(20, 8, action.eth_type)


def _set_queue(action: SetQueue) -> bytes:
    return _WORD.pack(21, 8, action.queue)


def _multipath(action: Multipath) -> bytes:
    """Fields 3 is symmetric_l3l4+udp, 4 nw_src; algorithm 0 modulo_n; the last of 256 links is 255."""
    target = action.target
    if target.bits != 8:
        raise ValueError(f"multipath writes a slot of 8 bits: {action}")
    return _NX_MULTIPATH.pack(_EXPERIMENTER_ACTION, 32, NICIRA, 10, 4 if action.by_source else 3, 0, 0, 255, 0,
                              target.offset << 6 | 7, _short_part(target))


def _conjunction(action: Conjunction) -> bytes:
    if not 1 <= action.clause <= action.of or not 2 <= action.of <= 64:
        raise ValueError(f"a conjunction has 2 to 64 dimensions, counted from 1: {action}")
    return _NX_CONJUNCTION.pack(_EXPERIMENTER_ACTION, 16, NICIRA, 34, action.clause - 1, action.of, action.id)


def _meter(action: Meter) -> bytes:
    raise ValueError(f"{action}: in OpenFlow 1.3 a meter is the first thing a flow does, once, never inside of "
                     "another action, a bucket or a packet-out")


def _always(data: bytes) -> Callable[[Action], bytes]:
    return lambda action: data


ACTIONS: Mapping[type[Any], Callable[[Any], bytes]] = {
    Output: _output, ToGroup: _to_group, SetField: _set_field, Move: _move, Resubmit: _resubmit, Ct: _ct,
    Clone: _clone, DecTtl: _always(_DEC_TTL), CheckPacketLarger: _check_packet_larger,
    PushVlan: _always(_PUSH_VLAN), PopVlan: _always(_POP_VLAN), PushMpls: _always(_PUSH_MPLS), PopMpls: _pop_mpls,
    EncapNsh: _always(_ENCAP_NSH), DecapNsh: _always(_DECAP_NSH), DecNshTtl: _always(_DEC_NSH_TTL),
    Meter: _meter, SetQueue: _set_queue, Multipath: _multipath, Conjunction: _conjunction,
}  # fmt: skip
