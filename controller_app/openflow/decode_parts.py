"""Matches and action lists from bytes. See `decode` for whole messages.

Two things may be wrong with bytes. They are no OpenFlow: WireError. Or they say something the model has no
word for, such as another controller's learn action: UnknownWords, which is a WireError too, so that a caller who
wants to treat such a flow as opaque can tell the two apart.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from controller_app.model.encapsulation import Step, fold
from controller_app.model.flow import (
    CONTROLLER,
    FIELD_BITS,
    FIELD_ORDER,
    Action,
    CheckPacketLarger,
    Clone,
    Conjunction,
    Ct,
    DecNshTtl,
    DecTtl,
    FieldMatch,
    Match,
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
from controller_app.openflow.encode_parts import NICIRA
from controller_app.openflow.oxm import FIELDS, PCP_SHIFT, VID_MASK, WIRE_BITS, read_header

_TYPE = Struct("!HH")
_VENDOR = Struct("!IH")
_PORT = Struct("!IH")
_MOVE = Struct("!HHH")
_LOAD = Struct("!HIQ")
_RESUBMIT = Struct("!HB")
_CT = Struct("!HIHB3xH")
_NAT = Struct("!2xHH")
_CHECK = Struct("!HHI")
_MULTIPATH = Struct("!HHHHHIHHI")
_CONJUNCTION = Struct("!BBI")
_PACKET_TYPES = {0x1894F: Step.ENCAP_NSH, 0: Step.ENCAP_ETHERNET}
_NO_TABLE = 0xFF
_MAX_DEPTH = 32  # nested clones; Open vSwitch allows a few more, nobody uses them


class WireError(ValueError):
    """Bytes that are not what OpenFlow 1.3 says they must be."""


class UnknownWords(WireError):
    """Proper OpenFlow that the model has no word for."""


def decode_match(data: bytes, start: int = 0) -> tuple[Match, int]:
    """Read an ofp_match at `start`: the match in canonical form, and where its padding ends.

    Raises UnknownWords when a field is matched that the model does not know.
    """
    found, end, unknown = read_fields(data, start)
    if unknown:
        raise UnknownWords(f"match on a field with OXM header {unknown[0]:#010x}")
    return _canonical(found), end


def read_fields(data: bytes, start: int) -> tuple[dict[str, tuple[int, int]], int, list[int]]:
    """Read an ofp_match: field -> (value, mask), where its padding ends, and the headers not known."""
    if len(data) < start + 4:
        raise WireError("the message ends within a match")
    kind, length = _TYPE.unpack_from(data, start)
    stop, end = start + length, start + (length + 7) // 8 * 8
    if kind != 1 or length < 4 or end > len(data):
        raise WireError(f"a match of type {kind} and {length} bytes, where {len(data) - start} are left")
    found: dict[str, tuple[int, int]] = {}
    unknown = []
    at = start + 4
    while at < stop:
        field = read_header(data, at)
        if field.end > stop:
            raise WireError("a field runs past the end of its match")
        name = FIELDS.get(field.header)
        if name is None:
            unknown.append(int.from_bytes(data[at:at + 4], "big"))
        elif name in found:
            raise WireError(f"field {name} is matched twice")
        else:
            octets = WIRE_BITS[name] // 8
            value = int.from_bytes(data[field.start:field.start + octets], "big")
            full = (1 << FIELD_BITS.get(name, 8 * octets)) - 1
            mask = int.from_bytes(data[field.start + octets:field.end], "big") if field.has_mask else full
            if (value | mask) & ~full:
                raise WireError(f"field {name} has {full.bit_length()} bits and is matched with {value:#x}/{mask:#x}")
            found[name] = value & mask, mask
        at = field.end
    return found, end, unknown


def _canonical(found: dict[str, tuple[int, int]]) -> Match:
    """The form in which the model writes what Open vSwitch may write in several."""
    vid, pcp = found.pop("vlan_vid", None), found.pop("vlan_pcp", None)
    if vid or pcp:
        value, mask = vid or (0, 0)
        high, high_mask = (pcp[0] & 7, 7) if pcp else (0, 0)
        found["vlan_tci"] = (value & VID_MASK | high << PCP_SHIFT, mask & VID_MASK | high_mask << PCP_SHIFT)
    if "ip_frag" in found and found["ip_frag"][1] & 3 == 3:
        found["ip_frag"] = found["ip_frag"][0] & 3, 0xFF
    if "in_port" in found and found["in_port"][1] == 0xFFFF:
        found["in_port"] = _wide_port(found["in_port"][0]), 0xFFFFFFFF
    items = [FieldMatch(name, value, mask) for name, (value, mask) in found.items() if mask]
    items.sort(key=_order)
    return tuple(items)


def _order(item: FieldMatch) -> int:
    return FIELD_ORDER[item.field]


def _wide_port(port: int) -> int:
    """OpenFlow 1.0 port number (16 bits) to OpenFlow 1.1+ (32 bits)."""
    return port | 0xFFFF0000 if port >= 0xFF00 else port


# -- actions -----------------------------------------------------------------------------------------------


def decode_actions(data: bytes, start: int = 0, stop: int | None = None,
                   depth: int = 0) -> tuple[Action, ...]:
    """Read an action list. Raises UnknownWords for an action, or a form of one, the model does not know."""
    if stop is None:
        stop = len(data)
    if depth > _MAX_DEPTH:
        raise WireError(f"actions nested more than {_MAX_DEPTH} deep")
    actions: list[Action | Step] = []
    at = start
    while at < stop:
        if at + 8 > stop:
            raise WireError("an action list ends within an action")
        kind, length = _TYPE.unpack_from(data, at)
        end = at + length
        if length < 8 or length % 8 or end > stop:
            raise WireError(f"an action of {length} bytes, where {stop - at} are left")
        if kind == 0xFFFF:
            actions.append(_nicira(data, at, end, depth))
        else:
            read = _ACTIONS.get(kind)
            if read is None:
                raise UnknownWords(f"action of type {kind}")
            actions.append(read(data, at, end))
        at = end
    try:
        return fold(actions)
    except ValueError as error:
        raise UnknownWords(str(error)) from None


def _need(at: int, end: int, length: int) -> None:
    if end - at < length:
        raise WireError(f"an action of {end - at} bytes that needs {length}")


def _output(data: bytes, at: int, end: int) -> Action:
    _need(at, end, 16)
    port, max_len = _PORT.unpack_from(data, at + 4)
    return Output(port, max_len) if port == CONTROLLER else Output(port)


def _to_group(data: bytes, at: int, end: int) -> Action:
    return ToGroup(int.from_bytes(data[at + 4:at + 8], "big"))


def _set_field(data: bytes, at: int, end: int) -> Action:
    return _written(data, at + 4, end, masks=False)


def _written(data: bytes, at: int, end: int, masks: bool) -> Action:
    """The field and value (and mask) of a set-field."""
    field = read_header(data, at)
    if field.end > end:
        raise WireError("a field runs past the end of its action")
    if field.has_mask and not masks:
        raise UnknownWords("set-field with a mask")
    name = FIELDS.get(field.header)
    if name is None:
        raise UnknownWords(f"write to a field with OXM header {data[at:at + 4].hex()}")
    middle = field.start + WIRE_BITS[name] // 8
    value = int.from_bytes(data[field.start:middle], "big")
    if name in _TCI_PARTS and not field.has_mask:
        shift, mask = _TCI_PARTS[name]
        return SetField("vlan_tci", value << shift & mask, mask)
    if name not in FIELD_BITS:
        raise UnknownWords(f"write to {name} under a mask")
    mask = full_mask(name)
    if value > mask:
        raise WireError(f"write of {value:#x} to {name}, which has {FIELD_BITS[name]} bits")
    if field.has_mask:
        mask = int.from_bytes(data[middle:field.end], "big")
        run = mask // (mask & -mask) if mask else 0
        if not run or run & (run + 1) or mask > full_mask(name):
            raise UnknownWords(f"write to {name} under mask {mask:#x}, which is not one run of its bits")
        value &= mask
    return SetField(name, value, mask)


# The parts of vlan_tci that can be written by a name of their own: where they stand, and its bits.
_TCI_PARTS = {"vlan_vid": (0, VID_MASK), "vlan_pcp": (PCP_SHIFT, 0xE000)}


def _push_vlan(data: bytes, at: int, end: int) -> Action:
    if (eth_type := _ether_type(data, at)) != 0x8100:
        raise UnknownWords(f"push_vlan of type {eth_type:#06x}")
    return PushVlan()


def _push_mpls(data: bytes, at: int, end: int) -> Action:
    if (eth_type := _ether_type(data, at)) != 0x8847:
        raise UnknownWords(f"push_mpls of type {eth_type:#06x}")
    return PushMpls()


def _ether_type(data: bytes, at: int) -> int:
    return int.from_bytes(data[at + 4:at + 6], "big")


_ACTIONS: dict[int, Callable[[bytes, int, int], Action]] = {
    0: _output, 17: _push_vlan, 18: lambda data, at, end: PopVlan(), 19: _push_mpls,
    20: lambda data, at, end: PopMpls(_ether_type(data, at)),
    21: lambda data, at, end: SetQueue(int.from_bytes(data[at + 4:at + 8], "big")),
    22: _to_group, 24: lambda data, at, end: DecTtl(), 25: _set_field}


def _nicira(data: bytes, at: int, end: int, depth: int) -> Action | Step:
    _need(at, end, 16)
    vendor, subtype = _VENDOR.unpack_from(data, at + 4)
    read = _NICIRA.get(subtype) if vendor == NICIRA else None
    if read is not None:
        return read(data, at, end)
    if vendor != NICIRA or subtype not in _NESTING:
        raise UnknownWords(f"action of experimenter {vendor:#x}, type {subtype}")
    return _NESTING[subtype](data, at, end, depth)


def _part(header: int, offset: int, bits: int) -> SubField:
    name = FIELDS.get(header)
    if name is None or name not in FIELD_BITS:
        raise UnknownWords(f"a part of a field with OXM header {header:#010x}")
    if bits < 1 or offset + bits > FIELD_BITS[name]:
        raise WireError(f"bits {offset} to {offset + bits - 1} of {name}, which has {FIELD_BITS[name]}")
    return SubField(name, offset, bits)


def _move(data: bytes, at: int, end: int) -> Action:
    _need(at, end, 24)
    bits, source_at, target_at = _MOVE.unpack_from(data, at + 10)
    source = read_header(data, at + 16)
    target = read_header(data, source.start)
    if target.start > end:
        raise WireError("a field runs past the end of its action")
    return Move(_part(source.header, source_at, bits), _part(target.header, target_at, bits))


def _load(data: bytes, at: int, end: int) -> Action:
    _need(at, end, 24)
    place, header, value = _LOAD.unpack_from(data, at + 10)
    part = _part(header, place >> 6, (place & 0x3F) + 1)
    if value >> part.bits:
        raise WireError(f"load of {value:#x} into {part.bits} bits")
    return SetField(part.field, value << part.offset, ((1 << part.bits) - 1) << part.offset)


def _load2(data: bytes, at: int, end: int) -> Action:
    return _written(data, at + 10, end, masks=True)


def _resubmit(data: bytes, at: int, end: int) -> Action:
    in_port, table = _RESUBMIT.unpack_from(data, at + 10)
    if in_port != 0xFFF8 or table == _NO_TABLE:
        raise UnknownWords("resubmit with a port, or to the same table")
    return Resubmit(table)


def _check_packet_larger(data: bytes, at: int, end: int) -> Action:
    _need(at, end, 24)
    size, offset, header = _CHECK.unpack_from(data, at + 10)
    return CheckPacketLarger(size, _part(header, offset, 1))


def _multipath(data: bytes, at: int, end: int) -> Action:
    _need(at, end, 32)
    fields, basis, _, algorithm, most, argument, _, place, header = _MULTIPATH.unpack_from(data, at + 10)
    if (basis, algorithm, most, argument) != (0, 0, 255, 0) or fields not in (3, 4) or place & 0x3F != 7:
        raise UnknownWords("multipath other than over 256 slots by symmetric_l3l4+udp or nw_src, and modulo_n")
    return Multipath(_part(header, place >> 6, 8), fields == 4)


def _conjunction(data: bytes, at: int, end: int) -> Action:
    clause, of, number = _CONJUNCTION.unpack_from(data, at + 10)
    return Conjunction(number, clause + 1, of)


def _encap(data: bytes, at: int, end: int) -> Step:
    """Properties say no more than MD type 1, which is also what is meant without them."""
    step = _PACKET_TYPES.get(int.from_bytes(data[at + 12:at + 16], "big"))
    properties = data[at + 16:end]
    if step is None or (properties and properties != _MD_TYPE_1):
        raise UnknownWords("encap of other than an NSH of MD type 1 or Ethernet")
    return step


def _decap(data: bytes, at: int, end: int) -> Step:
    if data[at + 12:at + 16] != _NEXT_PROTOCOL:
        raise UnknownWords("decap to a packet type of its own")
    return Step.DECAP


_MD_TYPE_1 = bytes.fromhex("0004010501000000")
_NEXT_PROTOCOL = bytes.fromhex("0000fffe")
_NICIRA: dict[int, Callable[[bytes, int, int], Action | Step]] = {
    6: _move, 7: _load, 10: _multipath, 14: _resubmit, 33: _load2, 34: _conjunction, 46: _encap, 47: _decap,
    48: lambda data, at, end: DecNshTtl(), 49: _check_packet_larger}


def _clone(data: bytes, at: int, end: int, depth: int) -> Action:
    return Clone(decode_actions(data, at + 16, end, depth + 1))


def _ct(data: bytes, at: int, end: int, depth: int) -> Action:
    _need(at, end, 24)
    flags, source, place, table, helper = _CT.unpack_from(data, at + 10)
    if flags & ~1 or helper:
        raise UnknownWords("ct with force or alg")
    nat, others, from_ = None, [], at + 24
    # NAT stands among the actions that are run on the connection.
    while from_ < end:
        if from_ + 8 > end:
            raise WireError("ct ends within an action")
        kind, length = _TYPE.unpack_from(data, from_)
        if length < 8 or from_ + length > end:
            raise WireError("an action runs past the end of its ct")
        if kind == 0xFFFF and length >= 16 and _VENDOR.unpack_from(data, from_ + 4) == (NICIRA, 36):
            if nat is not None:
                raise UnknownWords("ct with nat twice")
            nat = _nat(data, from_, from_ + length)
        else:
            (action,) = decode_actions(data, from_, from_ + length, depth + 1)
            if not isinstance(action, SetField | Move):
                raise UnknownWords("ct that runs more than writes")
            others.append(action)
        from_ += length
    zone = _part(source, place >> 6, (place & 0x3F) + 1) if source else place
    return Ct(zone, bool(flags & 1), None if table == _NO_TABLE else table, nat, tuple(others))


def _nat(data: bytes, at: int, end: int) -> Nat:
    flags, present = _NAT.unpack_from(data, at + 10)
    if not flags and not present:
        return Nat()
    if flags not in (1, 2) or present & ~0x10 not in (0x01, 0x04):
        raise UnknownWords("nat other than to one destination, or one source")
    octets = 4 if present & 0x01 else 16
    _need(at, end, 16 + octets + (2 if present & 0x10 else 0))
    middle = at + 16 + octets
    return Nat(int.from_bytes(data[at + 16:middle], "big"),
               int.from_bytes(data[middle:middle + 2], "big") if present & 0x10 else None,
               4 if octets == 4 else 6, flags == 1)


_NESTING: dict[int, Callable[[bytes, int, int, int], Action]] = {35: _ct, 42: _clone}
