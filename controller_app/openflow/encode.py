"""Messages to a switch, as bytes: OpenFlow 1.3 with Nicira's actions and ONF's bundles.

Matches and actions are in `encode_parts`. Sources: OpenFlow 1.3.5; ofp-msgs.h and ofp-meter.c of Open vSwitch
3.1; ONF extension 230 (bundles).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct
from struct import error as StructError

from controller_app.model.flow import Action, Bucket, Flow, Group, Meter, MeterConfig
from controller_app.openflow.encode_parts import ACTIONS, NICIRA, encode_actions, encode_match

__all__ = ["ADD", "ALL_GROUPS", "ALL_METERS", "ALL_TABLES", "ANY", "DELETE", "DELETE_STRICT", "GROUP_ADD",
           "GROUP_DELETE", "GROUP_MODIFY", "KINDS", "METER_ADD", "METER_DELETE", "METER_MODIFY", "MODIFY",
           "MODIFY_STRICT", "NICIRA", "ONF", "SEND_FLOW_REM", "VERSION", "barrier_request", "bundle", "bundle_commit",
           "bundle_discard", "bundle_open", "echo_request", "encode_actions", "encode_match", "flow_mod",
           "flow_stats_request", "group_desc_request", "group_mod", "meter_config_request", "meter_mod",
           "packet_out", "port_desc_request", "port_stats_request"]

VERSION = 4  # OpenFlow 1.3
ADD, MODIFY, MODIFY_STRICT, DELETE, DELETE_STRICT = range(5)  # OFPFC_*
SEND_FLOW_REM = 1  # OFPFF_SEND_FLOW_REM: the switch tells when the flow is gone, and what it counted
GROUP_ADD, GROUP_MODIFY, GROUP_DELETE = range(3)  # OFPGC_*
METER_ADD, METER_MODIFY, METER_DELETE = range(3)  # OFPMC_*
ALL_TABLES = 0xFF
ANY = 0xFFFFFFFF  # OFPP_ANY, OFPG_ANY; also OFP_NO_BUFFER
ALL_GROUPS = 0xFFFFFFFC
ALL_METERS = 0xFFFFFFFF
KINDS = ("all", "select", "indirect", "ff")  # OFPGT_*, in order
ONF = 0x4F4E4600
MAX_MESSAGE = 0xFFFF

_HEADER = Struct("!BBHI")
_FLOW_MOD = Struct("!BBHIQQBBHHHIIIH2x")
_APPLY = Struct("!HH4x")
_GOTO = Struct("!HHB3x")
_METER = Struct("!HHI")
_BUCKET = Struct("!HHII4x")
_GROUP_MOD = Struct("!BBHIHBxI")
_METER_MOD = Struct("!BBHIHHI")
_DROP_BAND = Struct("!HHII4x")
_PACKET_OUT = Struct("!BBHIIIH6x")
_MULTIPART = Struct("!BBHIHH4x")
_FLOW_REQUEST = Struct("!B3xII4xQQHH4x")
_BUNDLE_CONTROL = Struct("!BBHIIIIHH")
_BUNDLE_ADD = Struct("!BBHIIII2xH")
_ORDERED = 2  # OFPBF_ORDERED; OFPBF_ATOMIC is 1
_KBPS, _PKTPS, _BURST = 1, 2, 4  # OFPMF_*
_RANGE = (StructError, OverflowError)


def flow_mod(command: int, flow: Flow, xid: int = 0, flags: int = 0, cookie_mask: int = 0) -> bytes:
    """OFPT_FLOW_MOD. `command`: ADD (replaces the flow of the same key, cookie too), MODIFY_STRICT (leaves
    the cookie), DELETE_STRICT, DELETE. Deleting, the flow's actions are left out; `cookie_mask` says which
    bits of the cookie must agree. A Meter, which must be the first action, travels as an instruction. Raises
    ValueError for what cannot be sent."""
    try:
        body = encode_match(flow.match)
        if command < DELETE:
            listed = flow.actions
            if listed and isinstance(listed[0], Meter):
                body += _METER.pack(6, 8, listed[0].meter)
                listed = listed[1:]
            if listed:
                actions = b"".join([ACTIONS[type(action)](action) for action in listed])
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
    actions = b"".join([ACTIONS[type(action)](action) for action in bucket.actions])
    if not select and bucket.weight != 1:
        raise ValueError(f"a bucket of this group has no weight: {bucket}")
    return _BUCKET.pack(16 + len(actions), bucket.weight if select else 0,
                        ANY if bucket.watch_port is None else bucket.watch_port, ANY) + actions


def meter_mod(command: int, meter: MeterConfig | int, xid: int = 0) -> bytes:
    """OFPT_METER_MOD. To delete, the id is enough (ALL_METERS: every one). Open vSwitch 3.1 takes none in a
    bundle. ValueError for what cannot be sent."""
    if isinstance(meter, int):
        if command != METER_DELETE:
            raise ValueError("only to delete a meter its id is enough")
        return _METER_MOD.pack(VERSION, 29, 16, xid, command, 0, meter)
    if not meter.rate:
        raise ValueError(f"a meter of rate 0 is refused: {meter}; to let nothing pass, drop instead")
    flags = (_PKTPS if meter.packets else _KBPS) | (_BURST if meter.burst else 0)
    try:
        return (_METER_MOD.pack(VERSION, 29, 32, xid, command, flags, meter.id)
                + _DROP_BAND.pack(1, 16, meter.rate, meter.burst))
    except _RANGE as error:
        raise ValueError(f"a number out of range in {meter}: {error}") from error


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


def meter_config_request(xid: int = 0) -> bytes:
    """Ask for every meter."""
    return _MULTIPART.pack(VERSION, 18, 24, xid, 10, 0) + ALL_METERS.to_bytes(4, "big") + bytes(4)


def port_desc_request(xid: int = 0) -> bytes:
    """Ask for every port."""
    return _MULTIPART.pack(VERSION, 18, 16, xid, 13, 0)


def port_stats_request(xid: int = 0) -> bytes:
    """Ask for the counters of every port."""
    return _MULTIPART.pack(VERSION, 18, 24, xid, 4, 0) + ANY.to_bytes(4, "big") + bytes(4)


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


def bundle_close(bundle_id: int, xid: int = 0) -> bytes:
    """Nothing more is added. Answered with `xid` (decode.BundleReply), after every error that what was added led to:
    messages of a connection are taken in order (OpenFlow 1.4.0, 7.3.9.2)."""
    return _BUNDLE_CONTROL.pack(VERSION, 4, 24, xid, ONF, 2300, bundle_id, 2, _ORDERED | 1)


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
