"""Flows, groups and actions as values: what a switch is to hold, or was found to hold.

The vocabulary is that of ovs-fields(7) and ovs-actions(7); numbers are plain ints in host order, addresses
too (a MAC is a 48-bit int). Equality of two values means the switch behaves the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

IN_PORT = 0xFFFFFFF8  # OFPP_IN_PORT: back out of the port the packet came from
CONTROLLER = 0xFFFFFFFD  # OFPP_CONTROLLER

# Width in bits of every field the pipeline, the walker and the wire know. Order is canonical match order.
FIELD_BITS: Mapping[str, int] = {
    "in_port": 32,
    **{f"reg{n}": 32 for n in range(16)},
    "metadata": 64,
    "conj_id": 32,
    "ct_state": 32,
    "ct_zone": 16,
    "ct_mark": 32,
    "ct_label": 128,
    "eth_dst": 48,
    "eth_src": 48,
    "eth_type": 16,
    "vlan_tci": 16,  # 0 without a tag; 0x1000 | vid | pcp << 13 with one
    "mpls_label": 20,
    "mpls_bos": 1,
    "nsh_spi": 24,
    "nsh_si": 8,
    "nsh_c1": 32,
    "ip_frag": 8,  # FRAG_ANY, FRAG_LATER
    "ip_proto": 8,
    "ip_dscp": 6,
    "ip_ttl": 8,
    "ipv4_src": 32,
    "ipv4_dst": 32,
    "ipv6_src": 128,
    "ipv6_dst": 128,
    "tcp_src": 16,
    "tcp_dst": 16,
    "tcp_flags": 12,  # TCP_FIN and the like, from the lowest bit up
    "udp_src": 16,
    "udp_dst": 16,
    "icmp_type": 8,
    "icmpv6_type": 8,
    "arp_op": 16,
    "arp_spa": 32,
    "arp_tpa": 32,
    "arp_sha": 48,
    "arp_tha": 48,
    "nd_target": 128,
    "nd_sll": 48,
    "nd_tll": 48,
    "nd_options_type": 8,
    "nd_reserved": 32,
}
FIELD_ORDER: Mapping[str, int] = {name: position for position, name in enumerate(FIELD_BITS)}

FRAG_ANY, FRAG_LATER = 0x01, 0x02  # bits of ip_frag (nw_frag in ovs-fields(7))

TCP_FIN, TCP_SYN, TCP_RST, TCP_ACK = 0x01, 0x02, 0x04, 0x10  # bits of tcp_flags (RFC 9293, 3.1)

# ct_state bits (ovs-fields(7)).
CT_NEW, CT_EST, CT_REL, CT_RPL, CT_INV, CT_TRK = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20


def full_mask(name: str) -> int:
    """The mask that matches every bit of the field."""
    return (1 << FIELD_BITS[name]) - 1


class FieldMatch(NamedTuple):
    """`packet.field & mask == value`. A full mask is an exact match; `value` has no bits outside `mask`."""

    field: str
    value: int
    mask: int


Match = tuple[FieldMatch, ...]  # sorted by FIELD_ORDER, each field at most once


def match(**fields: int | tuple[int, int]) -> Match:
    """Build a match: `match(in_port=3, ipv4_dst=(address, mask))`. Prerequisites (eth_type, ip_proto) are
    the caller's to give. A mask of 0 is no condition and is left out."""
    found = []
    for name, given in fields.items():
        value, mask = given if isinstance(given, tuple) else (given, full_mask(name))
        if mask:
            found.append(FieldMatch(name, value & mask, mask))
    found.sort(key=lambda item: FIELD_ORDER[item.field])
    return tuple(found)


@dataclass(frozen=True, slots=True)
class SubField:
    """`bits` bits of a field from bit `offset` up (bit 0 is the least significant)."""

    field: str
    offset: int
    bits: int


@dataclass(frozen=True, slots=True)
class Output:
    """Send out of a port. To the port it came from OVS drops it, unless the port is IN_PORT."""

    port: int
    max_len: int = 0xFFFF  # bytes sent along, for CONTROLLER only


@dataclass(frozen=True, slots=True)
class ToGroup:
    """Let a group act on the packet."""

    group: int


@dataclass(frozen=True, slots=True)
class SetField:
    """Write a constant into a field, or into one run of adjacent bits of it."""

    field: str
    value: int
    mask: int  # one run of ones; value has no bits outside


@dataclass(frozen=True, slots=True)
class Move:
    """Copy bits between fields of the packet or registers (NXAST_REG_MOVE)."""

    source: SubField
    target: SubField  # as wide as source


@dataclass(frozen=True, slots=True)
class Resubmit:
    """Look the packet up in another table, then go on with the next action (NXAST_RESUBMIT_TABLE, in_port
    unchanged)."""

    table: int


@dataclass(frozen=True, slots=True)
class Nat:
    """Translation within Ct. With address None: as the connection was committed (plain `nat`). Otherwise
    new connections get this destination or, where `source` says so, this source."""

    address: int | None = None
    port: int | None = None
    version: int = 4  # IP version of address
    source: bool = False


@dataclass(frozen=True, slots=True)
class Ct:
    """Connection tracking (NXAST_CT). Without `table` the packet goes on with the next action, untracked
    as before; with it, a tracked copy goes on in that table and this one ends (when it is the last
    action)."""

    zone: int | SubField
    commit: bool = False
    table: int | None = None
    nat: Nat | None = None
    exec: tuple[Action, ...] = ()  # SetField or Move to ct_mark or ct_label


@dataclass(frozen=True, slots=True)
class Clone:
    """Run the actions on a copy; the packet itself is not changed (NXAST_CLONE)."""

    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class DecTtl:
    """Decrement IP TTL or hop limit; at 0 or 1 the packet goes to the controller instead and ends here."""


@dataclass(frozen=True, slots=True)
class CheckPacketLarger:
    """Set one bit: is the packet, without its Ethernet FCS, longer than `size` bytes?"""

    size: int
    target: SubField  # one bit wide


@dataclass(frozen=True, slots=True)
class PushVlan:
    """Put an 802.1Q tag in front (TPID 0x8100, vid 0): set vlan_tci after it, with its bit 0x1000."""


@dataclass(frozen=True, slots=True)
class PopVlan:
    """Take the outer 802.1Q tag off."""


@dataclass(frozen=True, slots=True)
class PushMpls:
    """Put an MPLS label stack entry (RFC 3032) on top, behind VLAN tags; the ether type becomes 0x8847. It begins with
    the label below it. A fourth entry voids all that the packet's rules do (Open vSwitch holds 3)."""


@dataclass(frozen=True, slots=True)
class PopMpls:
    """Take the top entry off; what comes next is of this ether type (0x8847 while entries are left)."""

    eth_type: int


@dataclass(frozen=True, slots=True)
class EncapNsh:
    """Put an NSH (RFC 8300, MD type 1, TTL 63, SI 255) around the Ethernet frame, and a new Ethernet header
    with addresses of zeros around that: what is written to eth_dst or eth_src after it is the outer one's."""


@dataclass(frozen=True, slots=True)
class DecapNsh:
    """Take the outer Ethernet header and the NSH off. The inner frame is seen after a Resubmit or goto only: until then
    its fields may not be named. Within Clone, or a bucket, see verification/faults.py; with a VLAN tag before the NSH
    all is void."""


@dataclass(frozen=True, slots=True)
class DecNshTtl:
    """Decrement the NSH's TTL; at 0 or 1 the packet goes to the controller instead (as invalid TTL) and this list ends
    (RFC 8300 2.2)."""


@dataclass(frozen=True, slots=True)
class Meter:
    """Pass a meter; what is above its rate ends here. In OpenFlow 1.3 an instruction: the first action of a flow, once,
    never within Clone or a bucket. The meter must exist before the flow."""

    meter: int


@dataclass(frozen=True, slots=True)
class SetQueue:
    """The queue of whatever port the packet leaves by."""

    queue: int


@dataclass(frozen=True, slots=True)
class Multipath:
    """Write a hash of addresses, protocol and ports, the same for both directions and on every switch
    (`multipath(symmetric_l3l4+udp,0,modulo_n,256,0,target)`), into 8 bits: the slot. by_source: of the source
    address alone (`nw_src`)."""

    target: SubField
    by_source: bool = False


@dataclass(frozen=True, slots=True)
class Conjunction:
    """This flow is a member of dimension `clause` (1 up) of `of` (2 to 64) of the conjunctive match `id`
    (ovs-actions(7)); the flow that matches conj_id says what is done. Such a flow has no other actions and no goto."""

    id: int
    clause: int
    of: int


Action = (
    Output | ToGroup | SetField | Move | Resubmit | Ct | Clone | DecTtl | CheckPacketLarger
    | PushVlan | PopVlan | PushMpls | PopMpls | EncapNsh | DecapNsh | DecNshTtl | Meter | SetQueue | Multipath
    | Conjunction
)  # fmt: skip


class FlowKey(NamedTuple):
    """What identifies a flow on a switch (OpenFlow 1.3, 6.4: strict matching)."""

    table: int
    priority: int
    match: Match


@dataclass(frozen=True, slots=True)
class Flow:
    """A rule: apply `actions` in order, then go to table `goto`. Neither means drop."""

    table: int
    priority: int
    match: Match
    actions: tuple[Action, ...] = ()
    goto: int | None = None
    cookie: int = 0

    @property
    def key(self) -> FlowKey:
        return FlowKey(self.table, self.priority, self.match)


@dataclass(frozen=True, slots=True)
class Bucket:
    """One choice of a group. An action set: set-fields run first, then one resubmit, group or output."""

    actions: tuple[Action, ...]
    weight: int = 1  # select groups
    watch_port: int | None = None  # fast-failover groups


@dataclass(frozen=True, slots=True)
class Group:
    """A group. `kind`: "select" (256 unit buckets, by dp_hash), "all", "indirect" or "ff" (fast failover)."""

    id: int
    kind: str
    buckets: tuple[Bucket, ...]


@dataclass(frozen=True, slots=True)
class MeterConfig:
    """A meter with one band that drops. `rate` (1 up) in kbit/s, or packets per second when `packets`; `burst` in the
    same unit (kbit, packets), 0 for none given."""

    id: int
    rate: int
    burst: int
    packets: bool = False


@dataclass(frozen=True)
class SwitchState:
    """Everything of ours on one switch."""

    flows: Mapping[FlowKey, Flow] = field(default_factory=dict)
    groups: Mapping[int, Group] = field(default_factory=dict)
    meters: Mapping[int, MeterConfig] = field(default_factory=dict)


FlowState = Mapping[str, SwitchState]  # by switch name
