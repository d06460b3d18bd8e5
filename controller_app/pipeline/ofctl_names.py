"""The words of ovs-ofctl text: names of fields, ports and flags, and how values of each kind are written.

Sources: ovs-fields(7), ovs-actions(7), nicira-ext.h of Open vSwitch 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address

from controller_app.model import flow as model
from controller_app.model.flow import FIELD_BITS

MAC_FIELDS = frozenset({"eth_dst", "eth_src", "arp_sha", "arp_tha", "nd_sll", "nd_tll"})
IPV4_FIELDS = frozenset({"ipv4_src", "ipv4_dst", "arp_spa", "arp_tpa"})
IPV6_FIELDS = frozenset({"ipv6_src", "ipv6_dst", "nd_target"})

# OpenFlow 1.1+ reserved ports (OpenFlow 1.3.5, 7.2.1) by the names ovs-ofctl prints.
RESERVED_PORTS: Mapping[str, int] = {
    "IN_PORT": model.IN_PORT,
    "TABLE": 0xFFFFFFF9,
    "NORMAL": 0xFFFFFFFA,
    "FLOOD": 0xFFFFFFFB,
    "ALL": 0xFFFFFFFC,
    "CONTROLLER": model.CONTROLLER,
    "LOCAL": 0xFFFFFFFE,
    "ANY": 0xFFFFFFFF,
}
PORT_NAMES: Mapping[int, str] = {number: name for name, number in RESERVED_PORTS.items()}

CT_FLAGS: Mapping[str, int] = {
    "new": model.CT_NEW,
    "est": model.CT_EST,
    "rel": model.CT_REL,
    "rpl": model.CT_RPL,
    "inv": model.CT_INV,
    "trk": model.CT_TRK,
    "snat": 0x40,
    "dnat": 0x80,
}

_TCP_FLAGS = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[200]", "[400]", "[800]")
TCP_FLAGS: Mapping[str, int] = {name: 1 << bit for bit, name in enumerate(_TCP_FLAGS)}

# (eth_type, ip_proto) -> the one word that stands for both.
PROTOCOL_NAMES: Mapping[tuple[int, int | None], str] = {
    (0x0800, 6): "tcp",
    (0x0800, 17): "udp",
    (0x0800, 1): "icmp",
    (0x0800, 132): "sctp",
    (0x0800, None): "ip",
    (0x86DD, 6): "tcp6",
    (0x86DD, 17): "udp6",
    (0x86DD, 58): "icmp6",
    (0x86DD, 132): "sctp6",
    (0x86DD, None): "ipv6",
    (0x0806, None): "arp",
    (0x8035, None): "rarp",
    (0x8847, None): "mpls",
    (0x8848, None): "mplsm",
}
PROTOCOLS: Mapping[str, tuple[int, int | None]] = {
    **{name: key for key, name in PROTOCOL_NAMES.items()},
    "ipv4": (0x0800, None),
}

# ip_frag as ovs-ofctl names it. Two bits count (ANY = 1, LATER = 2); all of them matched is an exact match.
FRAGMENTS: Mapping[str, tuple[int, int]] = {
    "no": (0, 0xFF),
    "first": (1, 0xFF),
    "later": (3, 0xFF),
    "yes": (1, 1),
    "not_later": (0, 2),
}

# What a field is called in `set_field:VALUE->NAME` and in matches, where it differs from our name.
MATCH_NAMES: Mapping[str, str] = {
    "eth_dst": "dl_dst",
    "eth_src": "dl_src",
    "eth_type": "dl_type",
    "ip_proto": "nw_proto",
    "ipv4_src": "nw_src",
    "ipv4_dst": "nw_dst",
    "ip_ttl": "nw_ttl",
}
SET_NAMES: Mapping[str, str] = {"ipv4_src": "ip_src", "ipv4_dst": "ip_dst", "ip_ttl": "nw_ttl"}
FIELDS_BY_NAME: Mapping[str, str] = {
    **{name: name for name in FIELD_BITS},
    **{text: name for name, text in MATCH_NAMES.items()},
    **{text: name for name, text in SET_NAMES.items()},
    "nw_frag": "ip_frag",
}

# Names within subfields. The first name of a field is the one that is written.
_NXM: Mapping[str, tuple[str, ...]] = {
    "in_port": ("NXM_OF_IN_PORT", "OXM_OF_IN_PORT"),
    **{f"reg{n}": (f"NXM_NX_REG{n}",) for n in range(16)},
    "metadata": ("OXM_OF_METADATA",),
    "conj_id": ("NXM_NX_CONJ_ID",),
    "ct_state": ("NXM_NX_CT_STATE",),
    "ct_zone": ("NXM_NX_CT_ZONE",),
    "ct_mark": ("NXM_NX_CT_MARK",),
    "ct_label": ("NXM_NX_CT_LABEL",),
    "eth_dst": ("NXM_OF_ETH_DST", "OXM_OF_ETH_DST"),
    "eth_src": ("NXM_OF_ETH_SRC", "OXM_OF_ETH_SRC"),
    "eth_type": ("NXM_OF_ETH_TYPE", "OXM_OF_ETH_TYPE"),
    "vlan_tci": ("NXM_OF_VLAN_TCI",),
    "mpls_label": ("OXM_OF_MPLS_LABEL",),
    "mpls_bos": ("OXM_OF_MPLS_BOS",),
    "nsh_spi": ("NXOXM_NSH_SPI",),
    "nsh_si": ("NXOXM_NSH_SI",),
    "nsh_c1": ("NXOXM_NSH_C1",),
    "ip_frag": ("NXM_NX_IP_FRAG",),
    "ip_dscp": ("OXM_OF_IP_DSCP",),
    "ip_ttl": ("NXM_NX_IP_TTL",),
    "ip_proto": ("NXM_OF_IP_PROTO", "OXM_OF_IP_PROTO"),
    "ipv4_src": ("NXM_OF_IP_SRC", "OXM_OF_IPV4_SRC"),
    "ipv4_dst": ("NXM_OF_IP_DST", "OXM_OF_IPV4_DST"),
    "ipv6_src": ("NXM_NX_IPV6_SRC", "OXM_OF_IPV6_SRC"),
    "ipv6_dst": ("NXM_NX_IPV6_DST", "OXM_OF_IPV6_DST"),
    "tcp_src": ("NXM_OF_TCP_SRC", "OXM_OF_TCP_SRC"),
    "tcp_dst": ("NXM_OF_TCP_DST", "OXM_OF_TCP_DST"),
    "tcp_flags": ("NXM_NX_TCP_FLAGS", "ONFOXM_ET_TCP_FLAGS"),
    "udp_src": ("NXM_OF_UDP_SRC", "OXM_OF_UDP_SRC"),
    "udp_dst": ("NXM_OF_UDP_DST", "OXM_OF_UDP_DST"),
    "icmp_type": ("NXM_OF_ICMP_TYPE", "OXM_OF_ICMPV4_TYPE"),
    "icmpv6_type": ("NXM_NX_ICMPV6_TYPE", "OXM_OF_ICMPV6_TYPE"),
    "arp_op": ("NXM_OF_ARP_OP", "OXM_OF_ARP_OP"),
    "arp_spa": ("NXM_OF_ARP_SPA", "OXM_OF_ARP_SPA"),
    "arp_tpa": ("NXM_OF_ARP_TPA", "OXM_OF_ARP_TPA"),
    "arp_sha": ("NXM_NX_ARP_SHA", "OXM_OF_ARP_SHA"),
    "arp_tha": ("NXM_NX_ARP_THA", "OXM_OF_ARP_THA"),
    "nd_target": ("NXM_NX_ND_TARGET", "OXM_OF_IPV6_ND_TARGET"),
    "nd_sll": ("NXM_NX_ND_SLL", "OXM_OF_IPV6_ND_SLL"),
    "nd_tll": ("NXM_NX_ND_TLL", "OXM_OF_IPV6_ND_TLL"),
    "nd_options_type": ("ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE",),
    "nd_reserved": ("ERICOXM_OF_ICMPV6_ND_RESERVED",),
}
NXM_NAMES: Mapping[str, str] = {name: texts[0] for name, texts in _NXM.items()}
# Text name -> field and the bits it has under that name: in_port has 16 as NXM and 32 as OXM.
SUBFIELD_NAMES: Mapping[str, tuple[str, int]] = {
    **{text: (name, FIELD_BITS[name]) for name, texts in _NXM.items() for text in texts},
    **{text: (name, FIELD_BITS[name]) for text, name in FIELDS_BY_NAME.items()},
    "NXM_OF_IN_PORT": ("in_port", 16),
    "OXM_OF_VLAN_VID": ("vlan_tci", 12),
}
# Parts of vlan_tci that can be written by a name of their own: bits, where they stand, and what is written
# (the tag's presence bit is written with its id).
TCI_PARTS: Mapping[str, tuple[int, int, int]] = {"vlan_vid": (13, 0, 0x1FFF), "vlan_pcp": (3, 13, 0xE000)}
# The forms in which a slot is hashed, between the brackets and before the target: by the flow, or by its source alone.
MULTIPATH = "symmetric_l3l4+udp,0,modulo_n,256,0,"
MULTIPATH_BY_SOURCE = "nw_src,0,modulo_n,256,0,"


class OfctlError(ValueError):
    """Text that is not ovs-ofctl's, or says something the model has no word for. Names what it is."""


def number(text: str, bits: int) -> int:
    """Read a decimal or 0x number of at most `bits` bits."""
    try:
        value = int(text, 0)
    except ValueError:
        raise OfctlError(f"{text!r} is not a number") from None
    if not 0 <= value < 1 << bits:
        raise OfctlError(f"{text} does not fit in {bits} bits")
    return value


def mac_text(value: int) -> str:
    return ":".join(f"{value >> shift & 0xFF:02x}" for shift in range(40, -1, -8))


def value_text(name: str, value: int) -> str:
    """A field's value as ovs-ofctl reads it."""
    if name in MAC_FIELDS:
        return mac_text(value)
    if name in IPV4_FIELDS:
        return str(IPv4Address(value))
    if name in IPV6_FIELDS:
        return str(IPv6Address(value))
    return hex(value)


def parse_value(name: str, text: str) -> int:
    """The reverse of `value_text`; numbers may be decimal."""
    bits = FIELD_BITS[name]
    try:
        if name in MAC_FIELDS and ":" in text:
            parts = text.split(":")
            if len(parts) != 6:
                raise ValueError
            return int.from_bytes(bytes(int(part, 16) for part in parts), "big")
        if name in IPV4_FIELDS and "." in text:
            return int(IPv4Address(text))
        if name in IPV6_FIELDS:
            return int(IPv6Address(text))
    except ValueError:
        raise OfctlError(f"{text!r} is no value for {name}") from None
    return number(text, bits)


def mask_of_prefix(bits: int, length: int) -> int:
    return ((1 << bits) - 1) ^ ((1 << (bits - length)) - 1)
