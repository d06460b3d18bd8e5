"""How fields are named on the wire: OXM and NXM headers as Open vSwitch 3.1 writes them in OpenFlow 1.3.

A header is 32 bits: class (16), field (7), has-mask (1), payload length (8) (OpenFlow 1.3.5, 7.2.3.2). The
fields of the NSH and TCP's flags are experimenters': 64 bits, of which the last 32 name the experimenter and count
towards the payload. Where a field has two names, Open vSwitch uses the OXM one in matches and set-field actions, the
NXM one in reg-load, reg-move, ct and check_pkt_larger (nx_put_match and mf_nxm_header of its nx-match.c).

One field has another form in matches: `vlan_tci` travels as VLAN_VID (with the CFI bit: "is tagged") and
VLAN_PCP, so only such combinations of value and mask can come back as they were sent, see `split_vlan_tci`.
Some travel in more octets than they have bits (a label of 20 bits in four octets); the rest is zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from controller_app.model.flow import FIELD_BITS

NXM_OF, NXM_NX, ERICSSON, BASIC, EXPERIMENTER = 0x0000, 0x0001, 0x1000, 0x8000, 0xFFFF
HAS_MASK = 0x100
NSH_VENDOR = 0x005AD650  # NXOXM_NSH_VENDOR of Open vSwitch's nx-match.c
ONF_VENDOR = 0x4F4E4600  # ONFOXM_ET_* (ONF extension 109)


def _header(oxm_class: int, number: int, length: int) -> int:
    return oxm_class << 16 | number << 9 | length


# field -> (OXM basic number, payload bytes)
_BASIC = {
    "in_port": (0, 4), "metadata": (2, 8), "eth_dst": (3, 6), "eth_src": (4, 6), "eth_type": (5, 2),
    "vlan_vid": (6, 2), "vlan_pcp": (7, 1), "ip_dscp": (8, 1), "ip_proto": (10, 1),
    "ipv4_src": (11, 4), "ipv4_dst": (12, 4),
    "tcp_src": (13, 2), "tcp_dst": (14, 2), "udp_src": (15, 2), "udp_dst": (16, 2), "icmp_type": (19, 1),
    "arp_op": (21, 2), "arp_spa": (22, 4), "arp_tpa": (23, 4), "arp_sha": (24, 6), "arp_tha": (25, 6),
    "ipv6_src": (26, 16), "ipv6_dst": (27, 16), "icmpv6_type": (29, 1), "nd_target": (31, 16),
    "nd_sll": (32, 6), "nd_tll": (33, 6), "mpls_label": (34, 4), "mpls_bos": (36, 1),
}  # fmt: skip
_NXM_OF = {
    "in_port": (0, 2), "eth_dst": (1, 6), "eth_src": (2, 6), "eth_type": (3, 2), "vlan_tci": (4, 2),
    "ip_proto": (6, 1), "ipv4_src": (7, 4), "ipv4_dst": (8, 4), "tcp_src": (9, 2), "tcp_dst": (10, 2),
    "udp_src": (11, 2), "udp_dst": (12, 2), "icmp_type": (13, 1), "arp_op": (15, 2), "arp_spa": (16, 4),
    "arp_tpa": (17, 4),
}  # fmt: skip
_NXM_NX = {
    **{f"reg{n}": (n, 4) for n in range(16)},
    "arp_sha": (17, 6), "arp_tha": (18, 6), "ipv6_src": (19, 16), "ipv6_dst": (20, 16),
    "icmpv6_type": (21, 1), "nd_target": (23, 16),
    "nd_sll": (24, 6), "nd_tll": (25, 6), "ip_frag": (26, 1), "ip_ttl": (29, 1), "tcp_flags": (34, 2),
    "conj_id": (37, 4), "ct_state": (105, 4), "ct_zone": (106, 2), "ct_mark": (107, 4), "ct_label": (108, 16),
}  # fmt: skip
_ERICSSON = {"nd_reserved": (1, 4), "nd_options_type": (2, 1)}
_NSH = {"nsh_spi": (4, 4), "nsh_si": (5, 1), "nsh_c1": (6, 4)}
_ONF = {"tcp_flags": (42, 2)}

_OXM_HEADERS = {
    **{name: _header(BASIC, *place) for name, place in _BASIC.items()},
    **{name: _header(EXPERIMENTER, number, 4 + length) << 32 | ONF_VENDOR for name, (number, length) in _ONF.items()},
}
_NXM_HEADERS = {
    **{name: _header(NXM_OF, *place) for name, place in _NXM_OF.items()},
    **{name: _header(NXM_NX, *place) for name, place in _NXM_NX.items()},
    **{name: _header(ERICSSON, *place) for name, place in _ERICSSON.items()},
    **{name: _header(EXPERIMENTER, number, 4 + length) << 32 | NSH_VENDOR for name, (number, length) in _NSH.items()},
}

# field -> header without mask, in matches and set-field. Also vlan_vid and vlan_pcp, the parts of vlan_tci.
MATCH_HEADERS: Mapping[str, int] = {**_NXM_HEADERS, **_OXM_HEADERS}
# field -> header in actions that name a part of a field
PART_HEADERS: Mapping[str, int] = {**_OXM_HEADERS, **_NXM_HEADERS}
# header without mask -> field, every name of it
FIELDS: Mapping[int, str] = {header: name for headers in (_OXM_HEADERS, _NXM_HEADERS)
                             for name, header in headers.items()}

# Fields that Open vSwitch matches exactly or not at all (ovs-fields(7), "Maskable: no").
EXACT_ONLY = frozenset({"in_port", "ct_zone", "eth_type", "ip_proto", "icmp_type", "icmpv6_type", "arp_op",
                        "nd_options_type", "nd_reserved", "vlan_pcp", "conj_id", "mpls_label", "mpls_bos",
                        "nsh_spi", "nsh_si", "ip_dscp", "ip_ttl"})
# Bits of a field's payload, more than it has where the rest must be 0
WIRE_BITS: Mapping[str, int] = {**FIELD_BITS, "vlan_vid": 16, "vlan_pcp": 8, "mpls_label": 32, "mpls_bos": 8,
                                "nsh_spi": 32, "ip_dscp": 8, "tcp_flags": 16}

VID_MASK = 0x1FFF  # VLAN id and CFI
PCP_SHIFT = 13


def masked(header: int) -> int:
    """The header of the same field followed by value and mask."""
    if header >> 32:
        top = header >> 32
        return (top & ~0xFF | HAS_MASK | (top & 0xFF) * 2 - 4) << 32 | header & 0xFFFFFFFF
    return header & ~0xFF | HAS_MASK | (header & 0xFF) * 2


def header_bytes(header: int) -> bytes:
    """The header as it is sent: 4 octets, or 8 of an experimenter's field."""
    return header.to_bytes(8 if header >> 32 else 4, "big")


class Field(NamedTuple):
    """A field's header as it was received. `end` is where its payload ends, `start` where it begins."""

    header: int  # without the mask flag, and as long as the value alone
    has_mask: bool
    start: int
    end: int


def read_header(data: bytes, at: int) -> Field:
    """Read the header at `at`. Nothing is checked but that an odd length has no halves (then header is 0)."""
    word = int.from_bytes(data[at:at + 4], "big")
    start, end, has_mask = at + 4, at + 4 + (word & 0xFF), bool(word & HAS_MASK)
    vendor = 0
    if word >> 16 == EXPERIMENTER:
        start += 4
        vendor = int.from_bytes(data[at + 4:at + 8], "big")
    octets = end - start
    if octets < 0 or (has_mask and octets & 1):
        return Field(0, has_mask, start, max(start, end))
    if has_mask:
        octets //= 2
    top = word & ~(HAS_MASK | 0xFF) | octets
    return Field((top + 4) << 32 | vendor if vendor else top, has_mask, start, end)


def split_vlan_tci(value: int, mask: int) -> tuple[int, int]:
    """The masks of VLAN_VID and VLAN_PCP for a match on vlan_tci; 0 where that part is left out.

    Raises ValueError for what Open vSwitch would not tell back: priority bits matched in part, or without a
    tag (untagged is `vlan_tci=0` under mask 0x1fff or 0x1000).
    """
    vid_mask, pcp_mask = mask & VID_MASK, mask >> PCP_SHIFT
    if pcp_mask not in (0, 7) or (pcp_mask and not value & 0x1000):
        raise ValueError(f"match vlan_tci={value:#06x}/{mask:#06x}: priority bits are matched all or none "
                         f"and together with bit 0x1000; untagged is 0/0x1fff")
    return vid_mask, pcp_mask


def check_match(field: str, value: int, mask: int) -> None:
    """Raise ValueError for a condition that Open vSwitch refuses, or would tell back in another form."""
    full = (1 << FIELD_BITS[field]) - 1
    if not mask or mask & ~full:
        raise ValueError(f"match {field}: mask {mask:#x} is empty or wider than the field")
    if field in EXACT_ONLY and mask != full:
        raise ValueError(f"match {field}: this field is matched exactly or not at all, not under {mask:#x}")
    if field == "ip_frag" and mask not in (1, 2, 0xFF):
        raise ValueError(f"match ip_frag: mask {mask:#x} is none of 0xff (exact), 1 (any) and 2 (later)")
    if field == "ct_state" and mask & ~0xFF:
        raise ValueError(f"match ct_state: mask {mask:#x} has bits that are no connection state (0xff)")
    if field == "vlan_tci":
        split_vlan_tci(value, mask)
