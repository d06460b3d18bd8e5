"""Messages to a switch, as bytes: OpenFlow 1.3 with Nicira's actions and ONF's bundles.

Built for speed: the shape of a match (its fields and masks) or of a set-field becomes, once, one big number
with holes where the values go, and is kept. Encoding is then adding shifted values to it. A value with bits
where it must have none shows as a changed bit outside the holes and is a ValueError.

Sources: OpenFlow 1.3.5; nicira-ext.h and ofp-actions.c of Open vSwitch 3.1; ONF extension 230 (bundles).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import lshift
from struct import Struct
from struct import error as StructError
from typing import Any, NamedTuple

from controller_app.model.flow import (
    FIELD_BITS,
    Action,
    Bucket,
    CheckPacketLarger,
    Clone,
    Ct,
    DecTtl,
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
)
from controller_app.openflow.oxm import (
    MATCH_HEADERS,
    PART_HEADERS,
    PCP_SHIFT,
    VID_MASK,
    WIRE_BITS,
    check_match,
    masked,
    split_vlan_tci,
)

VERSION = 4  # OpenFlow 1.3
ADD, MODIFY, MODIFY_STRICT, DELETE, DELETE_STRICT = range(5)  # OFPFC_*
GROUP_ADD, GROUP_MODIFY, GROUP_DELETE = range(3)  # OFPGC_*
ALL_TABLES = 0xFF
ANY = 0xFFFFFFFF  # OFPP_ANY, OFPG_ANY; also OFP_NO_BUFFER
ALL_GROUPS = 0xFFFFFFFC
KINDS = ("all", "select", "indirect", "ff")  # OFPGT_*, in order
NICIRA, ONF = 0x2320, 0x4F4E4600
MAX_MESSAGE = 0xFFFF
MAX_LOAD_BITS = 64

_HEADER = Struct("!BBHI")
_FLOW_MOD = Struct("!BBHIQQBBHHHIIIH2x")
_APPLY = Struct("!HH4x")
_GOTO = Struct("!HHB3x")
_BUCKET = Struct("!HHII4x")
_GROUP_MOD = Struct("!BBHIHBxI")
_OUTPUT = Struct("!HHIH6x")
_GROUP_ACTION = Struct("!HHI")
_NX = Struct("!HHIH")
_NX_MOVE = Struct("!HHIHHHHII")
_NX_RESUBMIT = Struct("!HHIHHB3x")
_NX_CT = Struct("!HHIHHIHB3xH")
_NX_CLONE = Struct("!HHIH6x")
_NX_NAT = Struct("!HHIH2xHH")
_NX_CHECK = Struct("!HHIHHHI6x")
_PACKET_OUT = Struct("!BBHIIIH6x")
_MULTIPART = Struct("!BBHIHH4x")
_FLOW_REQUEST = Struct("!B3xII4xQQHH4x")
_BUNDLE_CONTROL = Struct("!BBHIIIIHH")
_BUNDLE_ADD = Struct("!BBHIIII2xH")
_ORDERED = 2  # OFPBF_ORDERED; OFPBF_ATOMIC is 1
_EXPERIMENTER_ACTION = 0xFFFF
_RANGE = (StructError, OverflowError)
_DEC_TTL = b"\0\x18\0\x08\0\0\0\0"
_PADDING = tuple(bytes(n) for n in range(8))


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
        if mask == (1 << bits) - 1:
            pieces.append(header.to_bytes(4, "big") + bytes(bits // 8))
        else:
            octets = bits // 8
            pieces.append(masked(header).to_bytes(4, "big") + bytes(octets) + mask.to_bytes(octets, "big"))
    length = 4 + sum(map(len, pieces))
    size = (length + 7) // 8 * 8
    body = b"\0\1" + length.to_bytes(2, "big") + b"".join(pieces) + _PADDING[size - length]
    shifts, holes, at, piece = [], 0, 4, iter(pieces)
    for name, mask in parts:
        if not mask:
            shifts.append(0)  # adds nothing: the value of a part left out is 0
            continue
        shift = 8 * (size - at - 4) - WIRE_BITS[name]
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
    return b"".join([_ACTIONS[type(action)](action) for action in actions])


def _output(action: Output) -> bytes:
    return _OUTPUT.pack(0, 16, action.port, action.max_len)


def _to_group(action: ToGroup) -> bytes:
    return _GROUP_ACTION.pack(22, 8, action.group)


def _set_field(action: SetField) -> bytes:
    key = action.field, action.mask
    base, left, right, size = _SETS.get(key) or _set_template(*key)
    if action.value & ~action.mask:
        raise ValueError(f"the value has bits outside the mask: {action}")
    return (base + (action.value >> right << left)).to_bytes(size, "big")


def _set_template(field: str, mask: int) -> tuple[int, int, int, int]:
    """base, left shift, right shift and size of a write under this mask: OFPAT_SET_FIELD for a whole
    field, NXAST_REG_LOAD for up to 64 bits, NXAST_REG_LOAD2 for more. Each comes back as it was sent."""
    bits = FIELD_BITS[field]
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
        body = MATCH_HEADERS[field].to_bytes(4, "big") + bytes(bits // 8)
        size = (4 + len(body) + 7) // 8 * 8
        left = 8 * (size - 4 - len(body))
        body = b"\0\x19" + size.to_bytes(2, "big") + body + bytes(left // 8)
    elif width <= MAX_LOAD_BITS:
        body = _reg_load(field, offset, width)
        right = offset
    else:
        header = masked(MATCH_HEADERS[field])
        field_part = header.to_bytes(4, "big") + bytes(bits // 8) + mask.to_bytes(bits // 8, "big")
        size = (10 + len(field_part) + 7) // 8 * 8
        left = 8 * (size - 10 - len(field_part)) + bits
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
    header = PART_HEADERS[part.field]
    if part.bits < 1 or part.offset < 0 or part.offset + part.bits > 8 * (header & 0xFF):
        raise ValueError(f"{part} is not within the field's {8 * (header & 0xFF)} bits")
    return header


def _move(action: Move) -> bytes:
    source, target = action.source, action.target
    if source.bits != target.bits:
        raise ValueError(f"the parts differ in width: {action}")
    return _NX_MOVE.pack(_EXPERIMENTER_ACTION, 24, NICIRA, 6, source.bits, source.offset, target.offset,
                         _part(source), _part(target))


def _resubmit(action: Resubmit) -> bytes:
    return _NX_RESUBMIT.pack(_EXPERIMENTER_ACTION, 16, NICIRA, 14, 0xFFF8, action.table)


def _ct(action: Ct) -> bytes:
    zone = action.zone
    if isinstance(zone, SubField):
        if zone.bits != 16:
            raise ValueError(f"a zone has 16 bits: {action}")
        source, immediate = _part(zone), zone.offset << 6 | 15
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
    return _NX_NAT.pack(_EXPERIMENTER_ACTION, 16 + len(body), NICIRA, 36, 2, present) + body


def _clone(action: Clone) -> bytes:
    inner = encode_actions(action.actions)
    return _NX_CLONE.pack(_EXPERIMENTER_ACTION, 16 + len(inner), NICIRA, 42) + inner


def _dec_ttl(action: DecTtl) -> bytes:
    return _DEC_TTL


def _check_packet_larger(action: CheckPacketLarger) -> bytes:
    if action.target.bits != 1:
        raise ValueError(f"check_pkt_larger writes one bit: {action}")
    return _NX_CHECK.pack(_EXPERIMENTER_ACTION, 24, NICIRA, 49, action.size, action.target.offset,
                          _part(action.target))


_ACTIONS: dict[type[Any], Callable[[Any], bytes]] = {
    Output: _output, ToGroup: _to_group, SetField: _set_field, Move: _move, Resubmit: _resubmit, Ct: _ct,
    Clone: _clone, DecTtl: _dec_ttl, CheckPacketLarger: _check_packet_larger,
}  # fmt: skip


# -- messages ----------------------------------------------------------------------------------------------


def flow_mod(command: int, flow: Flow, xid: int = 0, flags: int = 0, cookie_mask: int = 0) -> bytes:
    """OFPT_FLOW_MOD. `command`: ADD (replaces the flow of the same key, cookie too), MODIFY_STRICT (leaves
    the cookie), DELETE_STRICT, DELETE. Deleting, the flow's actions are left out; `cookie_mask` says which
    bits of the cookie must agree. Raises ValueError for what cannot be sent."""
    try:
        body = encode_match(flow.match)
        if command < DELETE:
            if flow.actions:
                actions = b"".join([_ACTIONS[type(action)](action) for action in flow.actions])
                body += _APPLY.pack(4, 8 + len(actions)) + actions
            if flow.goto is not None:
                body += _GOTO.pack(1, 8, flow.goto)
        return _FLOW_MOD.pack(VERSION, 14, 48 + len(body), xid, flow.cookie, cookie_mask, flow.table, command,
                              0, 0, flow.priority, ANY, ANY, ANY, flags) + body
    except _RANGE as error:
        raise ValueError(f"a number out of range, or more than {MAX_MESSAGE} bytes, in {flow}: "
                         f"{error}") from error


def group_mod(command: int, group: Group | int, xid: int = 0) -> bytes:
    """OFPT_GROUP_MOD. To delete, the id is enough (ALL_GROUPS: every one). Weights are sent for select
    groups; elsewhere a bucket has none and its value must say 1. ValueError for what cannot be sent."""
    if isinstance(group, int):
        if command != GROUP_DELETE:
            raise ValueError("only to delete a group its id is enough")
        return _GROUP_MOD.pack(VERSION, 15, 16, xid, command, 0, group)
    kind = KINDS.index(group.kind)
    try:
        body = b"" if command == GROUP_DELETE else b"".join(
            [_bucket(bucket, kind == 1) for bucket in group.buckets])
        return _GROUP_MOD.pack(VERSION, 15, 16 + len(body), xid, command, kind, group.id) + body
    except _RANGE as error:
        raise ValueError(f"a number out of range, or more than {MAX_MESSAGE} bytes, in group {group.id}: "
                         f"{error}") from error


def _bucket(bucket: Bucket, select: bool) -> bytes:
    actions = b"".join([_ACTIONS[type(action)](action) for action in bucket.actions])
    if not select and bucket.weight != 1:
        raise ValueError(f"a bucket of this group has no weight: {bucket}")
    return _BUCKET.pack(16 + len(actions), bucket.weight if select else 0,
                        ANY if bucket.watch_port is None else bucket.watch_port, ANY) + actions


def barrier_request(xid: int) -> bytes:
    """Answered when everything sent before is done."""
    return _HEADER.pack(VERSION, 20, 8, xid)


def echo_request(xid: int, data: bytes = b"") -> bytes:
    return _HEADER.pack(VERSION, 2, 8 + len(data), xid) + data


def packet_out(in_port: int, actions: Sequence[Action], data: bytes, xid: int = 0) -> bytes:
    """Let the switch run actions on a frame, as if it had come in by `in_port` (CONTROLLER: by none)."""
    try:
        body = encode_actions(actions)
        return (_PACKET_OUT.pack(VERSION, 13, 24 + len(body) + len(data), xid, ANY, in_port, len(body)) + body
                + data)
    except _RANGE as error:
        raise ValueError(f"a number out of range, or more than {MAX_MESSAGE} bytes: {error}") from error


def flow_stats_request(cookie: int = 0, cookie_mask: int = 0, xid: int = 0, table: int = ALL_TABLES) -> bytes:
    """Ask for the flows whose cookie agrees in the bits of the mask."""
    return (_MULTIPART.pack(VERSION, 18, 56, xid, 1, 0)
            + _FLOW_REQUEST.pack(table, ANY, ANY, cookie, cookie_mask, 1, 4))


def group_desc_request(xid: int = 0) -> bytes:
    """Ask for every group."""
    return _MULTIPART.pack(VERSION, 18, 16, xid, 7, 0)


def port_desc_request(xid: int = 0) -> bytes:
    """Ask for every port."""
    return _MULTIPART.pack(VERSION, 18, 16, xid, 13, 0)


def bundle_open(messages: Iterable[bytes], bundle_id: int, xid: int = 0, atomic: bool = True) -> bytes:
    """Open an ONF bundle and add the messages, in order; nothing takes effect yet.

    The open is answered (decode.BundleReply) or refused with `xid`; a message that is refused answers with
    its own xid. Raises ValueError for a message that is too long to be wrapped.
    """
    flags = _ORDERED | atomic
    parts = [_BUNDLE_CONTROL.pack(VERSION, 4, 24, xid, ONF, 2300, bundle_id, 0, flags)]
    add, pack = parts.append, _BUNDLE_ADD.pack
    for message in messages:
        length = 24 + len(message)
        if length > MAX_MESSAGE:
            raise ValueError(f"a message of {len(message)} bytes does not fit in a bundle")
        # The wrapper must carry the xid of what it wraps.
        add(pack(VERSION, 4, length, int.from_bytes(message[4:8], "big"), ONF, 2301, bundle_id, flags))
        add(message)
    return b"".join(parts)


def bundle_commit(bundle_id: int, xid: int = 0, atomic: bool = True) -> bytes:
    """Let a bundle take effect. Answered or refused with `xid`; an atomic one that is refused changed
    nothing, and the message that was the reason answers with its own xid too."""
    return _BUNDLE_CONTROL.pack(VERSION, 4, 24, xid, ONF, 2300, bundle_id, 4, _ORDERED | atomic)


def bundle_discard(bundle_id: int, xid: int = 0) -> bytes:
    """Forget a bundle."""
    return _BUNDLE_CONTROL.pack(VERSION, 4, 24, xid, ONF, 2300, bundle_id, 6, _ORDERED | 1)


def bundle(messages: Iterable[bytes], bundle_id: int, xid: int = 0, atomic: bool = True) -> bytes:
    """The messages as one bundle, opened and committed without waiting.

    Only for messages that are known to be well-formed: Open vSwitch 3.1 commits what is left of a bundle
    when it refused a message at its addition (a bad action, say). `bundle_open`, a barrier, and
    `bundle_commit` once no error came, are all or nothing in every case.
    """
    return bundle_open(messages, bundle_id, xid, atomic) + bundle_commit(bundle_id, xid, atomic)
