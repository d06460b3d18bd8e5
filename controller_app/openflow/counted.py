"""What a switch counted, asked and read: flows under a match, sums over flows, groups, ports (OpenFlow 1.3.5, 7.3.5).

The counters of Open vSwitch's flows are behind what its datapath did by up to a second (other_config:max-revalidator in
ovs-vswitchd.conf.db(5)).
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from controller_app.model.flow import Flow
from controller_app.openflow.decode import PORT_STATS, WireError, entries, multipart_kind
from controller_app.openflow.encode import ANY, VERSION
from controller_app.openflow.encode_parts import encode_match

FLOWS, SUM, GROUP = 1, 2, 6  # OFPMP_FLOW, OFPMP_AGGREGATE, OFPMP_GROUP
ALL_BITS = 0xFFFF_FFFF_FFFF_FFFF
_REQUEST = Struct("!BBHIHH4x")
_FLOW = Struct("!B3xII4xQQ")
_SUM = Struct("!QQI4x")
_GROUP = Struct("!H2xII4xQQII")
_PAIR = Struct("!QQ")
_PORT = Struct("!I4xQQQQ64xII")
_MISSING = ALL_BITS  # a counter that the switch does not have


class Sum(NamedTuple):
    """What some flows counted together, and how many they are."""

    packets: int
    octets: int
    flows: int


class GroupCounters(NamedTuple):
    """What a group counted, and each of its buckets: (packets, octets). `age`: for how long, in seconds."""

    group: int
    packets: int | None
    octets: int | None
    age: float
    buckets: tuple[tuple[int | None, int | None], ...]


class PortTraffic(NamedTuple):
    """What a port received and sent; None where the switch does not count. `age`: for how long, in seconds."""

    number: int
    packets_in: int | None
    packets_out: int | None
    octets_in: int | None
    octets_out: int | None
    age: float


def flow_request(flow: Flow, xid: int) -> bytes:
    """Ask for the flows in a flow's table with its cookie that match nothing outside of its match: also itself."""
    return _flows(FLOWS, flow.table, flow.cookie, ALL_BITS, encode_match(flow.match), xid)


def sum_request(table: int, cookie: int, xid: int, mask: int = ALL_BITS) -> bytes:
    """Ask for the sums over a table's flows whose cookie agrees in the bits of the mask."""
    return _flows(SUM, table, cookie, mask, encode_match(()), xid)


def group_request(group: int, xid: int) -> bytes:
    """Ask for a group's counters."""
    return _REQUEST.pack(VERSION, 18, 24, xid, GROUP, 0) + group.to_bytes(4, "big") + bytes(4)


def _flows(kind: int, table: int, cookie: int, mask: int, match: bytes, xid: int) -> bytes:
    body = _FLOW.pack(table, ANY, ANY, cookie, mask) + match
    return _REQUEST.pack(VERSION, 18, 16 + len(body), xid, kind, 0) + body


def read_sum(message: bytes) -> list[Sum]:
    """The sums in an OFPMP_AGGREGATE reply: one."""
    if multipart_kind(message) != SUM or len(message) != 16 + _SUM.size:
        raise WireError(f"{len(message)} bytes where sums over flows were expected")
    return [Sum._make(_SUM.unpack_from(message, 16))]


def read_groups(message: bytes) -> list[GroupCounters]:
    """The groups of one OFPMP_GROUP reply."""
    found = []
    for entry in entries(message, GROUP, _GROUP.size):
        _, number, _, packets, octets, seconds, nanoseconds = _GROUP.unpack_from(entry)
        if (len(entry) - _GROUP.size) % _PAIR.size:
            raise WireError("a group ends within the counters of a bucket")
        buckets = tuple((_known(a), _known(b)) for a, b in _PAIR.iter_unpack(entry[_GROUP.size:]))
        found.append(GroupCounters(number, _known(packets), _known(octets), seconds + nanoseconds / 1e9, buckets))
    return found


def read_ports(message: bytes) -> list[PortTraffic]:
    """The ports of one OFPMP_PORT_STATS reply."""
    found = []
    for entry in entries(message, PORT_STATS, _PORT.size, step=_PORT.size):
        number, *counts, seconds, nanoseconds = _PORT.unpack(entry)
        packets_in, packets_out, octets_in, octets_out = (_known(count) for count in counts)
        age = seconds + nanoseconds / 1e9
        found.append(PortTraffic(number, packets_in, packets_out, octets_in, octets_out, age))
    return found


def _known(count: int) -> int | None:
    return None if count == _MISSING else count
