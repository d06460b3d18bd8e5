"""Tags, MPLS, NSH, conjunctions, meters and multipath: the walker does what a real Open vSwitch does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dummy_ovs import DummyOvs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from like_ovs import PORTS, disagreement, one_switch

from controller_app.model.flow import (
    IN_PORT,
    Action,
    CheckPacketLarger,
    Clone,
    Conjunction,
    Ct,
    DecapNsh,
    DecNshTtl,
    DecTtl,
    EncapNsh,
    Flow,
    Match,
    Meter,
    MeterConfig,
    Multipath,
    Output,
    PopMpls,
    PopVlan,
    PushMpls,
    PushVlan,
    Resubmit,
    SetField,
    SetQueue,
    SubField,
    SwitchState,
    match,
)
from controller_app.pipeline.ofctl import parse_state
from controller_app.verification.headers import encap_nsh, push_mpls, push_vlan
from controller_app.verification.packet import Packet, packet

LAST_TABLE = 3
SLOT = SubField("reg7", 0, 8)
small = st.integers(0, 3)


def tcp(sport: int = 40000, dport: int = 80, reply: bool = False, **others: int) -> Packet:
    """A TCP packet from 10.0.0.1 to 10.0.0.2, or one the other way."""
    fields = {"eth_src": 0x020000000001, "eth_dst": 0x020000000002, "eth_type": 0x0800, "ip_proto": 6,
              "ipv4_src": 0x0A000001, "ipv4_dst": 0x0A000002, "tcp_src": sport, "tcp_dst": dport, "ttl": 3,
              "length": 64, "ip_dscp": 10, "tcp_flags": 0x12 if reply else 0x02}
    if reply:
        fields |= {"ipv4_src": 0x0A000002, "ipv4_dst": 0x0A000001, "tcp_src": dport, "tcp_dst": sport}
    return packet(**{**fields, **others})


def tagged(frame: Packet, *tcis: int) -> Packet:
    for tci in tcis:
        frame = {**push_vlan(frame), "vlan_tci": 0x1000 | tci}
    return frame


def labelled(frame: Packet, *labels: int) -> Packet:
    for label in labels:
        pushed = push_mpls(frame)
        assert pushed is not None
        frame = {**pushed, "mpls_label": label}
    return frame


def nsh(frame: Packet, spi: int, si: int, ttl: int = 63) -> Packet:
    return {**encap_nsh(frame), "eth_dst": 2, "eth_src": 1, "nsh_spi": spi, "nsh_si": si, "nsh_ttl": ttl}


SENT = [(1, tcp()), (2, tagged(tcp(), 1)), (3, tagged(tcp(), 2, 1)), (4, labelled(tcp(), 1)),
        (1, labelled(tagged(tcp(), 3), 1, 2)), (2, labelled(tcp(), 3, 2, 1)), (3, nsh(tcp(), 1, 2)),
        (4, tagged(nsh(tagged(tcp(), 1), 2, 255), 2)), (1, nsh(nsh(tcp(), 3, 1, 1), 1, 1, 2)),
        (2, nsh(labelled(tcp(), 2), 2, 3))]

outputs = st.builds(Output, st.sampled_from([*PORTS, IN_PORT]))
anywhere = st.one_of(
    outputs, st.just(SetField("in_port", 0xFFFF, 0xFFFF)), st.builds(SetField, st.just("reg0"), small, st.just(3)),
    st.builds(SetField, st.just("eth_dst"), small, st.just(0xFFFFFFFFFFFF)), st.just(SetQueue(0)))


def tag(draw: st.DrawFn) -> Action:
    return draw(st.sampled_from([SetField("vlan_tci", 0x1000 | draw(small), 0x1FFF),
                                 SetField("vlan_tci", 0xF000 | draw(small), 0xFFFF), SetField("vlan_tci", 0, 0xFFFF)]))


@st.composite
def of_ip(draw: st.DrawFn, table: int) -> tuple[Match, tuple[Action, ...]]:
    """What may be done to an IP packet. Another header comes last: what it needs to be seen is not there after it."""
    writes = st.one_of(anywhere, st.just(DecTtl()), st.builds(SetField, st.just("ip_dscp"), small, st.just(0x3F)),
                       st.builds(SetField, st.just("ip_ttl"), st.integers(1, 3), st.just(0xFF)),
                       st.builds(CheckPacketLarger, st.sampled_from([60, 66, 70, 100]),
                                 st.just(SubField("reg0", 0, 1))))
    chosen = [draw(writes) for _ in range(draw(st.integers(0, 3)))]
    if table < LAST_TABLE and draw(st.booleans()):
        chosen.append(Ct(draw(st.integers(1, 1000)), draw(st.booleans()), LAST_TABLE))
    label = SetField("mpls_label", draw(small), 0xFFFFF)
    more: list[tuple[Action, ...]] = [
        (), (), (PushVlan(), tag(draw)), (PushVlan(), SetField("vlan_tci", 0x1002, 0x1FFF), PopVlan()),
        (PushMpls(), label),
        (PushMpls(), label, PushMpls()), (PushMpls(), PushMpls(), PopMpls(0x8847), PopMpls(0x0800), DecTtl()),
        (PushVlan(), tag(draw), PushMpls()), *around(draw)]
    fields: dict[str, int | tuple[int, int]] = {"eth_type": 0x0800}
    for name in draw(st.lists(st.sampled_from(["vlan_tci", "ip_ttl", "ip_dscp", "reg0", "eth_dst"]), max_size=2)):
        fields[name] = {"vlan_tci": draw(st.sampled_from([(0x1000, 0x1000), (0, 0x1000), (0x1001, 0x1FFF)])),
                        "ip_ttl": draw(st.integers(1, 3)), "ip_dscp": draw(st.sampled_from([0, 1, 10]))}.get(
                            name, (draw(small), 3))
    return match(**fields), (*chosen, *draw(st.sampled_from(more)))


def around(draw: st.DrawFn) -> list[tuple[Action, ...]]:
    """What puts an NSH on, and perhaps takes it off."""
    path = (SetField("nsh_spi", draw(small), 0xFFFFFF), SetField("nsh_si", draw(small), 0xFF),
            SetField("nsh_c1", draw(small) << 4, 0x30))
    return [(EncapNsh(), *path, SetField("eth_src", 5, 0xFFFFFFFFFFFF)), (EncapNsh(), DecNshTtl(), DecapNsh()),
            (EncapNsh(), *path, PushVlan()), (EncapNsh(), EncapNsh(), *path)]


@st.composite
def of_mpls(draw: st.DrawFn, table: int) -> tuple[Match, tuple[Action, ...]]:
    label, bottom = SetField("mpls_label", draw(small), 0xFFFFF), draw(st.booleans())
    more: list[tuple[Action, ...]] = [
        (), (label,), (SetField("mpls_label", 2, 2),), (PushMpls(),), (PushMpls(), label, PushMpls()),
        (PushVlan(), tag(draw)), *around(draw)]
    more += [(PopMpls(0x0800 if bottom else 0x8847),)] * 4
    fields: dict[str, int] = {"eth_type": 0x8847, "mpls_bos": int(bottom)}
    if draw(st.booleans()):
        fields["mpls_label"] = draw(small)
    return match(**fields), (*draw(st.lists(anywhere, max_size=2)), *draw(st.sampled_from(more)))


@st.composite
def of_nsh(draw: st.DrawFn, table: int) -> tuple[Match, tuple[Action, ...]]:
    more: list[tuple[Action, ...]] = [
        (), (DecNshTtl(), SetField("nsh_si", draw(small), 0xFF)), (DecNshTtl(), DecNshTtl()), *around(draw),
        (PushVlan(), tag(draw)), (DecapNsh(), PushVlan()), *[(DecapNsh(),)] * 4]
    fields: dict[str, int | tuple[int, int]] = {"eth_type": 0x894F}
    for name in draw(st.lists(st.sampled_from(["nsh_spi", "nsh_si", "vlan_tci"]), max_size=2)):
        fields[name] = draw(st.sampled_from([(0x1000, 0x1000), (0, 0x1000)])) if name == "vlan_tci" else draw(small)
    return match(**fields), (*draw(st.lists(anywhere, max_size=2)), *draw(st.sampled_from(more)))


@st.composite
def of_anything(draw: st.DrawFn, table: int) -> tuple[Match, tuple[Action, ...]]:
    has_tag = draw(st.booleans())
    more: list[tuple[Action, ...]] = [(), (PushVlan(), tag(draw)), *around(draw)]
    if has_tag:
        more += [(PopVlan(),), (PopVlan(),), (tag(draw),)]
    return match(**({"vlan_tci": (0x1000, 0x1000)} if has_tag else {})), (
        *draw(st.lists(anywhere, max_size=2)), *draw(st.sampled_from(more)))


@st.composite
def states(draw: st.DrawFn) -> SwitchState:
    flows = {}
    for table in range(LAST_TABLE + 1):
        kinds = [of_anything, *draw(st.lists(st.sampled_from([of_ip, of_ip, of_mpls, of_nsh]), min_size=2, max_size=5))]
        for priority, kind in enumerate(kinds, 1):
            condition, actions = draw(kind(table))
            goto = None
            if table < LAST_TABLE:
                upwards = st.integers(table + 1, LAST_TABLE)
                actions += tuple(draw(st.lists(st.one_of(outputs, st.builds(Resubmit, upwards)), max_size=2)))
                goto = draw(st.one_of(st.none(), upwards, upwards))
            else:
                actions += (draw(outputs),)
            if draw(st.integers(0, 4)) == 0:
                actions = (Clone(actions), draw(outputs))
            elif draw(st.integers(0, 4)) == 0:
                actions = (Meter(1), *actions)
            flow = Flow(table, priority, condition, actions, goto)
            flows[flow.key] = flow
    return SwitchState(flows, {}, {1: MeterConfig(1, 1_000_000, 0)})


@pytest.fixture(scope="module")
def ovs() -> Iterator[DummyOvs]:
    with one_switch() as started:
        yield started


OPTIONS = settings(max_examples=40, derandomize=True, deadline=None, phases=[Phase.explicit, Phase.generate],
                   suppress_health_check=list(HealthCheck))


@OPTIONS
@given(states())
def test_headers(ovs: DummyOvs, state: SwitchState) -> None:
    assert disagreement(ovs, state, SENT) is None


@st.composite
def conjunctive(draw: st.DrawFn) -> SwitchState:
    """One table of ordinary flows and members of two conjunctions, each of one priority."""
    conditions = st.sampled_from([match(in_port=1), match(in_port=2), match(eth_type=0x0800, ip_proto=6, tcp_dst=80),
                                  match(eth_type=0x0800, ip_proto=6, tcp_dst=(80, 0xFFFE)), match(eth_type=0x0800),
                                  match(eth_type=0x0800, ipv4_src=(0x0A000000, 0xFFFFFFFE)),
                                  match(eth_type=0x0800, ipv4_dst=0x0A000001)])
    flows = {}
    for priority in draw(st.sets(st.sampled_from([5, 10, 15, 20, 25]), min_size=1)):
        flow = Flow(0, priority, draw(conditions), (Output(4),))
        flows[flow.key] = flow
    for number, priority, of in ((1, 10, 2), (2, 20, draw(st.integers(2, 3)))):
        for condition in draw(st.lists(conditions, max_size=5)):
            flow = Flow(0, priority, condition, (Conjunction(number, draw(st.integers(1, of)), of),))
            flows.setdefault(flow.key, flow)
        if draw(st.integers(0, 5)):
            flow = Flow(0, draw(st.sampled_from([priority + 1, 4])), match(conj_id=number), (Output(number + 1),))
            flows[flow.key] = flow
    return SwitchState(flows)


@OPTIONS
@given(conjunctive())
def test_conjunctions(ovs: DummyOvs, state: SwitchState) -> None:
    sent = [(in_port, tcp(dport=dport, reply=reply)) for in_port in (1, 3) for dport in (80, 81)
            for reply in (False, True)]
    assert disagreement(ovs, state, sent) is None


@st.composite
def spread(draw: st.DrawFn) -> SwitchState:
    """A slot is chosen in table 0, and two tables behave by it, the second perhaps behind a label or an NSH."""
    wrapping = draw(st.sampled_from([(), (PushMpls(),), (EncapNsh(),), (PushVlan(),)]))
    first = Flow(0, 1, match(eth_type=0x0800), (SetField("reg7", 0xABC00, 0xFFFFFF00), Multipath(SLOT), *wrapping), 1)
    flows = {first.key: first}
    for table, ports in ((1, (1, 2)), (2, (3, 4))):
        turn = draw(st.integers(1, 8))
        for slot in range(256):
            actions: tuple[Action, ...] = (SetField("reg0", slot >> turn & 3, 3), Output(ports[slot >> turn & 1]))
            mask = 0xFF if table == 1 else 0xFFFFFFFF
            flow = Flow(table, 1, match(reg7=(slot | 0xABC00 & mask, mask)), actions, 2 if table == 1 else None)
            flows[flow.key] = flow
    return SwitchState(flows)


@settings(OPTIONS, max_examples=10)
@given(spread())
def test_slots_by_multipath_are_the_same_in_both_directions(ovs: DummyOvs, state: SwitchState) -> None:
    sent = [(3, tcp(sport=sport, reply=reply)) for sport in range(40000, 40012) for reply in (False, True, False)]
    assert disagreement(ovs, state, sent) is None


def test_what_is_too_much_for_a_switch_voids_everything(ovs: DummyOvs) -> None:
    for flows in ("actions=output:2,push_mpls:0x8847,push_mpls:0x8847,push_mpls:0x8847,push_mpls:0x8847,output:3",
                  "actions=output:2,encap(nsh(md_type=1)),encap(ethernet),push_vlan:0x8100,decap(),decap(),output:3",
                  "priority=9,dl_type=0x894f,actions=output:4,clone(push_vlan:0x8100,decap(),decap()),output:3\n"
                  "actions=output:2"):
        assert disagreement(ovs, parse_state(flows, ""), SENT) is None
