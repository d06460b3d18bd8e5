"""Arbitrary flows and groups for property tests, in the one form in which a switch tells them back.

`flows()` and `groups()` are anything the wire can carry. With `accepted=True` they are also what Open vSwitch
accepts: prerequisites given, only writable fields written, ct marks written only by ct, and meters among
those of `METERS`, which have to be there.
"""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from controller_app.model.flow import (
    CONTROLLER,
    FIELD_BITS,
    IN_PORT,
    Action,
    Bucket,
    CheckPacketLarger,
    Clone,
    Conjunction,
    Ct,
    DecapNsh,
    DecNshTtl,
    DecTtl,
    EncapNsh,
    Flow,
    Group,
    Match,
    Meter,
    MeterConfig,
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
    match,
)

EXACT_ONLY = {"in_port", "ct_zone", "eth_type", "ip_proto", "icmp_type", "icmpv6_type", "arp_op",
              "nd_options_type", "nd_reserved", "conj_id", "mpls_label", "mpls_bos", "nsh_spi", "nsh_si", "ip_dscp",
              "ip_ttl"}
METERS = (MeterConfig(1, 1000, 0), MeterConfig(2, 500, 100, packets=True))
REGISTERS = [f"reg{n}" for n in range(16)]
META = [*REGISTERS, "metadata", "ct_mark", "ct_label", "eth_dst", "eth_src"]  # no prerequisite, any mask
# Combinations that exist: a packet is tracked or not, then new or established with more. (Invalid is left out:
# with it Open vSwitch refuses to commit.)
CT_STATES = [0, 0x20, 0x21, 0x22, 0x25, 0x2A, 0x26, 0x61, 0xA2]
CT_FIELDS = ["ct_mark", "ct_label"]
# (conditions needed, fields that may then be matched, fields that may then be written)
KINDS_OF_PACKET: list[tuple[dict[str, int], list[str], list[str]]] = [
    ({}, [], []),
    ({"eth_type": 0x0800}, ["ipv4_src", "ipv4_dst", "ip_frag", "ip_dscp", "ip_ttl"],
     ["ipv4_src", "ipv4_dst", "ip_dscp", "ip_ttl"]),
    ({"eth_type": 0x0800, "ip_proto": 6}, ["ipv4_src", "ipv4_dst", "tcp_src", "tcp_dst", "tcp_flags"],
     ["ipv4_src", "ipv4_dst", "tcp_src", "tcp_dst"]),
    ({"eth_type": 0x0800, "ip_proto": 17}, ["ipv4_src", "udp_src", "udp_dst"], ["udp_src", "udp_dst"]),
    ({"eth_type": 0x0800, "ip_proto": 1}, ["icmp_type", "ipv4_dst"], ["icmp_type"]),
    ({"eth_type": 0x86DD}, ["ipv6_src", "ipv6_dst", "ip_frag", "ip_dscp"],
     ["ipv6_src", "ipv6_dst", "ip_dscp", "ip_ttl"]),
    ({"eth_type": 0x86DD, "ip_proto": 6}, ["ipv6_src", "ipv6_dst", "tcp_dst", "tcp_flags"], ["tcp_src"]),
    ({"eth_type": 0x86DD, "ip_proto": 58}, ["icmpv6_type"], ["ipv6_dst", "icmpv6_type"]),
    ({"eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 135}, ["nd_target", "nd_sll", "nd_reserved"],
     ["nd_target", "nd_sll", "nd_reserved", "nd_options_type", "icmpv6_type"]),
    ({"eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 136}, ["nd_target", "nd_tll", "nd_options_type"],
     ["nd_target", "nd_tll", "nd_reserved", "nd_options_type"]),
    ({"eth_type": 0x0806}, ["arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha"],
     ["arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha"]),
    ({"eth_type": 0x8847}, ["mpls_label", "mpls_bos"], ["mpls_label"]),
    ({"eth_type": 0x894F}, ["nsh_spi", "nsh_si", "nsh_c1"], ["nsh_spi", "nsh_si", "nsh_c1"]),
]


def numbers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << bits) - 1)


def masks(name: str) -> st.SearchStrategy[int]:
    """Masks under which the field can be matched."""
    if name in EXACT_ONLY:
        return st.just(full_mask(name))
    return st.one_of(st.just(full_mask(name)), numbers(FIELD_BITS[name]).filter(bool))


@st.composite
def conditions(draw: st.DrawFn, name: str) -> tuple[int, int]:
    """(value, mask) for one field."""
    if name == "vlan_tci":
        return draw(st.one_of(
            st.just((0, 0x1FFF)), st.just((0, 0x1000)), st.just((0x1000, 0x1000)),
            st.builds(lambda vid: (0x1000 | vid, 0x1FFF), numbers(12)),
            st.builds(lambda tci: (0x1000 | tci, 0xFFFF), numbers(16)),
            st.builds(lambda tci: (0x1000 | tci & 0xE000, 0xF000), numbers(16))))
    if name == "ct_state":
        value = draw(st.sampled_from(CT_STATES))
        return value, value | 0x20 | draw(numbers(8))
    if name == "ip_frag":  # no, first, later, any, not later
        return draw(st.sampled_from([(0, 0xFF), (1, 0xFF), (3, 0xFF), (1, 1), (0, 2)]))
    mask = draw(masks(name))
    limit = {"arp_op": 8, "in_port": 15}.get(name, FIELD_BITS[name])
    return draw(numbers(limit)) & mask, mask


@st.composite
def subfields(draw: st.DrawFn, names: Sequence[str], bits: int | None = None, most: int = 128) -> SubField:
    name = draw(st.sampled_from([n for n in names if bits is None or _width(n) >= bits]))
    width = bits or draw(st.integers(1, min(_width(name), most)))
    return SubField(name, draw(st.integers(0, _width(name) - width)), width)


def _width(name: str) -> int:
    return {"in_port": 16, "ip_frag": 2}.get(name, FIELD_BITS[name])


@st.composite
def set_fields(draw: st.DrawFn, names: Sequence[str]) -> SetField:
    name = draw(st.sampled_from(list(names)))
    if name == "in_port":
        return SetField(name, draw(numbers(16)), 0xFFFF)
    if draw(st.booleans()):
        bits = 8 if name == "arp_op" else FIELD_BITS[name]  # Open vSwitch knows opcodes up to 255
        return SetField(name, draw(numbers(bits)), full_mask(name))
    part = SubField(name, 0, 8) if name == "arp_op" else draw(subfields([name]))
    return SetField(name, draw(numbers(part.bits)) << part.offset, ((1 << part.bits) - 1) << part.offset)


@st.composite
def moves(draw: st.DrawFn, sources: Sequence[str], targets: Sequence[str]) -> Move:
    source = draw(subfields(sources, most=max(_width(name) for name in targets)))
    return Move(source, draw(subfields(targets, bits=source.bits)))


@st.composite
def cts(draw: st.DrawFn, sources: Sequence[str], version: int, tables: st.SearchStrategy[int]) -> Ct:
    commit = draw(st.booleans())
    nat = draw(st.one_of(st.none(), st.just(Nat()), st.builds(
        Nat, numbers(32 if version == 4 else 128).filter(bool),
        st.one_of(st.none(), st.integers(1, 0xFFFF)), st.just(version)))) if version else None
    if nat is not None and nat.address is not None:
        commit = True
    inner: tuple[Action, ...] = ()
    if commit:
        inner = tuple(draw(st.lists(st.one_of(set_fields(CT_FIELDS), moves(sources, CT_FIELDS)), max_size=2)))
    zone = draw(st.one_of(numbers(16), subfields(REGISTERS, bits=16)))
    return Ct(zone, commit, draw(st.one_of(st.none(), tables)), nat, inner)


def actions(matched: Sequence[str] = (), written: Sequence[str] = tuple(FIELD_BITS), version: int = 4,
            ports: st.SearchStrategy[int] | None = None, groups: st.SearchStrategy[int] | None = None,
            tables: st.SearchStrategy[int] | None = None, nested: bool = True,
            anything: bool = True) -> st.SearchStrategy[Action]:
    """One action. `written` may be written, `matched` read too; version 0: not IP. `anything`: headers are put on
    and taken off, and conjunctions told, wherever that may stand."""
    if ports is None:
        ports = st.one_of(st.integers(1, 0xFFFFFF00 - 1), st.sampled_from([IN_PORT, 0xFFFFFFFB]))
    groups = st.integers(0, 0xFFFFFF00) if groups is None else groups
    tables = st.integers(0, 254) if tables is None else tables
    readable = [*REGISTERS, "eth_dst", "eth_src", "ct_label", "metadata", *matched]
    writable = [name for name in written if name not in CT_FIELDS]
    choices: list[st.SearchStrategy[Action]] = [
        st.builds(Output, ports),
        st.builds(Output, st.just(CONTROLLER), numbers(16)),
        st.builds(ToGroup, groups),
        st.builds(Resubmit, tables),
        set_fields(writable),
        moves(readable, writable),
        st.builds(CheckPacketLarger, numbers(16), subfields(REGISTERS, bits=1)),
        st.builds(SetQueue, numbers(32)),
        st.builds(Multipath, subfields(REGISTERS, bits=8)),
    ]
    if anything:
        choices += [
            st.sampled_from([PushVlan(), PopVlan(), PushMpls(), EncapNsh(), DecapNsh(), DecNshTtl()]),
            st.builds(PopMpls, numbers(16)), conjunctions]
    if version:
        choices += [st.just(DecTtl()), cts(readable, version, tables)]
    if nested:
        choices.append(st.builds(Clone, st.lists(
            actions(matched, written, version, ports, groups, tables, False, anything), max_size=3).map(tuple)))
    return st.one_of(choices)


conjunctions = st.integers(2, 64).flatmap(
    lambda of: st.builds(Conjunction, numbers(32), st.integers(1, of), st.just(of)))


@st.composite
def carried(draw: st.DrawFn, needed: dict[str, int], has_tag: bool) -> tuple[Action, ...]:
    """Headers put on, changed and taken off, in orders in which Open vSwitch accepts them as the last things a flow
    does."""
    label = st.builds(SetField, st.just("mpls_label"), numbers(20), st.just(0xFFFFF))
    nsh = draw(st.lists(set_fields(["nsh_spi", "nsh_si", "nsh_c1"]), max_size=3))
    tag = SetField("vlan_tci", 0x1000 | draw(numbers(16)), 0xFFFF)
    vid = SetField("vlan_tci", 0x1000 | draw(numbers(12)), 0x1FFF)
    orders: list[tuple[Action, ...]] = [
        (), (PushVlan(), tag), (PushVlan(), vid, PopVlan()), (PushMpls(), draw(label), PushMpls(), draw(label)),
        (PushMpls(), draw(label), PushMpls(), PopMpls(0x8847), PopMpls(0x0800), SetField("ip_dscp", 3, 0x3F)),
        (PushVlan(), vid, PushMpls(), draw(label)), (EncapNsh(), *nsh, SetField("eth_dst", 7, full_mask("eth_dst"))),
        (EncapNsh(), DecNshTtl(), *nsh, DecapNsh()),
    ]
    if has_tag:
        orders += [(PopVlan(),), (vid, PopVlan())]
    if needed.get("eth_type") == 0x8847:
        orders += [(draw(label), PopMpls(0x86DD)), (PopMpls(0x8847), draw(label))]
    if needed.get("eth_type") == 0x894F:
        orders += [(DecNshTtl(), *nsh), (DecapNsh(), Resubmit(253))]
    return draw(st.sampled_from(orders))


@st.composite
def matches(draw: st.DrawFn, needed: dict[str, int], more: Sequence[str]) -> Match:
    fields: dict[str, int | tuple[int, int]] = dict(needed)
    optional = [name for name in (*META, "in_port", "conj_id", "ct_state", "ct_zone", "vlan_tci", *more)
                if name not in needed]
    for name in draw(st.lists(st.sampled_from(optional), unique=True, max_size=6)):
        fields[name] = draw(conditions(name))
    return match(**fields)


@st.composite
def flows(draw: st.DrawFn, accepted: bool = False, ports: Sequence[int] = (1, 2, 3),
          groups: Sequence[int] = (1, 2)) -> Flow:
    """A flow. accepted: outputs go to `ports`, groups are of `groups`, tables only go up."""
    needed, matched, written = draw(st.sampled_from(KINDS_OF_PACKET))
    version = {0x0800: 4, 0x86DD: 6}.get(needed.get("eth_type", 0), 0)
    table = draw(st.integers(0, 252))
    condition = draw(matches(needed, matched))
    place = (table, draw(numbers(16)), condition)
    if draw(st.integers(0, 9)) == 0:  # such flows do nothing else
        return Flow(*place, tuple(draw(st.lists(conjunctions, min_size=1, max_size=3))), None, draw(numbers(64)))
    if accepted:
        one = actions(matched, [*REGISTERS, "metadata", "eth_dst", "eth_src", "in_port", *written], version,
                      st.sampled_from([*ports, IN_PORT]), st.sampled_from(list(groups)), st.integers(0, 253),
                      anything=False)
        has_tag = any(item.field == "vlan_tci" and item.value & 0x1000 for item in condition)
        last, meters = draw(carried(needed, has_tag)), st.sampled_from([meter.id for meter in METERS])
    else:
        one, last, meters = actions(matched), (), numbers(32)
    first = draw(st.lists(st.builds(Meter, meters), max_size=1))
    goto = draw(st.one_of(st.none(), st.integers(table + 1, 253)))
    return Flow(*place, (*first, *draw(st.lists(one, max_size=6)), *last), goto, draw(numbers(64)))


@st.composite
def meters(draw: st.DrawFn) -> MeterConfig:
    """Any meter."""
    number, rate = draw(st.integers(1, 0xFFFF0000)), draw(st.integers(1, 0xFFFFFFFF))
    return MeterConfig(number, rate, draw(numbers(32)), draw(st.booleans()))


@st.composite
def groups(draw: st.DrawFn, accepted: bool = False, ports: Sequence[int] = (1, 2, 3),
           number: int | None = None) -> Group:
    """A group of any kind. Its buckets write and then do one thing more."""
    kind = draw(st.sampled_from(["select", "all", "indirect", "ff"]))
    output = st.builds(Output, st.sampled_from(list(ports)))
    one = st.one_of(output, st.builds(Resubmit, st.integers(0, 253)), cts(REGISTERS, 0, st.integers(0, 253)))
    writes = st.lists(set_fields([*REGISTERS, "eth_dst", "metadata", "in_port"]), max_size=3)
    bucket = st.builds(
        lambda first, last, weight, watch: Bucket((*first, last), weight if kind == "select" else 1,
                                                  watch if kind == "ff" else None),
        writes, one if accepted else actions(), numbers(16).filter(bool), st.sampled_from(list(ports)))
    most = 1 if kind == "indirect" else 5
    return Group(number if number is not None else draw(st.integers(1, 0xFFFFFF00)), kind,
                 tuple(draw(st.lists(bucket, min_size=1 if kind == "indirect" else 0, max_size=most))))
