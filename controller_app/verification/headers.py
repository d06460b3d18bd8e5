"""Headers put around a packet and taken off again: 802.1Q tags, MPLS labels, NSH.

A packet is a flat mapping (see `packet`), and a switch sees what its outermost headers let it see. What is hidden
behind a header stands in the same mapping under names that begin with "/", one for each header: an IPv4 packet
behind two labels has its address under `//ipv4_dst`, the lower label is `/mpls_label`. Further tags, which hide
nothing, are `vlan_tci2` and so on inwards. `length` and what only the switch knows are of the packet as a whole.

Sources: RFC 3032 (MPLS), RFC 8300 (NSH); flow.c, ofproto-dpif-xlate.c and packets.c of Open vSwitch 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping

from controller_app.verification.packet import IPV4, IPV6, METADATA

VLAN, MPLS, NSH = 0x8100, 0x8847, 0x894F  # ether types
TAGGED = 0x1000  # the bit of vlan_tci that says there is a tag
MAX_LABELS = 3  # that Open vSwitch can hold (FLOW_MAX_MPLS_LABELS)
NSH_TTL, NSH_SI = 63, 255  # as they are put on
_TAG, _LABEL, _NSH = 4, 4, 14 + 24  # octets: a tag, a label, an Ethernet header with an NSH of MD type 1
_DEFAULT_TTL = 64
_BEHIND = "/"
_WHOLE = METADATA | {"length"}
TAGS = tuple(f"vlan_tci{n or ''}" for n in (0, *range(2, 10)))  # outermost first
_LINK = frozenset({"eth_dst", "eth_src", *TAGS})

Fields = dict[str, int]


def push_vlan(fields: Mapping[str, int]) -> Fields:
    """With one more tag in front, of VLAN 0. Of three that it sees, Open vSwitch loses the innermost."""
    new = {**fields, "vlan_tci": TAGGED}
    if fields.get("vlan_tci", 0) & TAGGED:
        new["vlan_tci2"] = fields["vlan_tci"]
    return _longer(new, _TAG)


def pop_vlan(fields: Mapping[str, int]) -> Fields:
    """Without its outermost tag; as it is, when it has none."""
    if not fields.get("vlan_tci", 0) & TAGGED:
        return dict(fields)
    new = {**fields, "vlan_tci": fields.get("vlan_tci2", 0)}
    new.pop("vlan_tci2", None)
    return _longer(new, -_TAG)


def push_mpls(fields: Mapping[str, int]) -> Fields | None:
    """With one more label, behind the tags; None when it has as many as a switch can hold. A first label takes
    traffic class and TTL from the packet, a further one all from the label below it."""
    depth, eth_type = _labels(fields), fields.get("eth_type", 0)
    if depth == MAX_LABELS:
        return None
    new = _hide(fields, _LINK)
    if depth:
        top = {name: fields.get(name, 0) for name in ("mpls_label", "mpls_tc", "mpls_ttl")}
    else:
        ip = eth_type in (IPV4, IPV6)
        top = {
            "mpls_label": 2 if eth_type == IPV6 else 0,  # the explicit NULL labels (RFC 3032, 2.1)
            "mpls_tc": fields.get("ip_dscp", 0) & 7 if ip else 0,
            "mpls_ttl": fields.get("ttl", 0) or _DEFAULT_TTL if ip else _DEFAULT_TTL,
        }
    return _longer({**new, **top, "mpls_bos": 0 if depth else 1, "eth_type": MPLS}, _LABEL)


def pop_mpls(fields: Mapping[str, int], eth_type: int) -> Fields:
    """Without its top label; as it is, when it has none. When what comes next is not of the type it is said to be,
    nobody can read it."""
    if not _labels(fields):
        return dict(fields)
    if fields.get(_BEHIND + "eth_type") == eth_type:
        return _longer(_reveal(fields, _LINK), -_LABEL)
    new = {name: value for name, value in fields.items() if name in _LINK | _WHOLE or name.startswith(_BEHIND)}
    return _longer({**new, "eth_type": eth_type}, -_LABEL)


def encap_nsh(fields: Mapping[str, int]) -> Fields:
    """The frame behind an NSH with a new Ethernet header, whose addresses are still 0, in front."""
    outer = {"eth_dst": 0, "eth_src": 0, "eth_type": NSH, "nsh_ttl": NSH_TTL, "nsh_spi": 0, "nsh_si": NSH_SI,
             "nsh_c1": 0}
    return _longer({**_hide(unparsed(fields), frozenset()), **outer}, _NSH)


def decap_nsh(fields: Mapping[str, int]) -> Fields | None:
    """The frame behind the NSH; None when there is no NSH, or a tag before it, at which a switch gives up."""
    if fields.get("eth_type") != NSH or fields.get("vlan_tci", 0) & TAGGED:
        return None
    return _longer(_reveal(fields, frozenset()), -_NSH)


def parsed(fields: Mapping[str, int]) -> Fields:
    """A frame as a switch reads it: of two tags one, behind which it sees nothing (`vlan-limit` is 1 by default)."""
    tags = _tags(fields)
    if len(tags) < 2:
        return dict(fields)
    new = _hide({name: value for name, value in fields.items() if name not in TAGS}, _LINK)
    behind = {_BEHIND + name: tci for name, tci in zip(TAGS, tags[1:], strict=False)}
    return {**new, **behind, "vlan_tci": tags[0], "eth_type": VLAN}


def unparsed(fields: Mapping[str, int]) -> Fields:
    """The reverse, as the frame is to whoever receives it; what is no tag is left out."""
    new, tags = dict(fields), _tags(fields)
    if new.get("eth_type") == VLAN and _BEHIND + "eth_type" in new:
        new = _reveal(new, _LINK - set(TAGS))
        tags += _tags(new)
    new = {name: value for name, value in new.items() if name not in TAGS}
    return new | dict(zip(TAGS, tags, strict=False))


def _tags(fields: Mapping[str, int]) -> list[int]:
    return [fields[name] for name in TAGS if fields.get(name, 0) & TAGGED]


def _labels(fields: Mapping[str, int]) -> int:
    """How many labels it begins with."""
    depth = 0
    while fields.get(_BEHIND * depth + "eth_type") == MPLS:
        depth += 1
    return depth


def _hide(fields: Mapping[str, int], keep: frozenset[str]) -> Fields:
    """Everything but what is kept goes behind one more header."""
    stays = keep | _WHOLE
    return {name if name in stays else _BEHIND + name: value for name, value in fields.items()}


def _reveal(fields: Mapping[str, int], keep: frozenset[str]) -> Fields:
    """What is behind the outermost header comes out; that header's own fields go, but for what is kept."""
    stays = keep | _WHOLE
    new = {name: value for name, value in fields.items() if name in stays}
    return new | {name[1:]: value for name, value in fields.items() if name.startswith(_BEHIND)}


def _longer(fields: Fields, octets: int) -> Fields:
    if "length" in fields:
        fields["length"] += octets
    return fields
