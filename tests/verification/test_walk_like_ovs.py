"""The walker does with random small pipelines what a real Open vSwitch does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dummy_ovs import DummyOvs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from like_ovs import PORTS, disagreement, one_switch

from controller_app.model.flow import (
    CT_EST,
    CT_NEW,
    CT_RPL,
    CT_TRK,
    IN_PORT,
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
    SwitchState,
    ToGroup,
    match,
)
from controller_app.verification.packet import Packet, packet

LAST_TABLE = 4
FULL = {"reg0": 0xFFFFFFFF, "reg1": 0xFFFFFFFF, "eth_dst": (1 << 48) - 1, "eth_src": (1 << 48) - 1}

tables = st.integers(0, LAST_TABLE)
small = st.integers(0, 3)
registers = st.sampled_from(["reg0", "reg1"])


@st.composite
def writes(draw: st.DrawFn) -> Action:
    kind = draw(st.integers(0, 6))
    if kind == 0:
        return SetField("in_port", 0xFFFF, 0xFFFF)
    if kind == 1:
        return SetField("eth_dst", draw(small) << 8, 0x300)
    if kind == 2:
        return SetField("eth_src", draw(small), FULL["eth_src"])
    if kind == 3:
        return SetField("tcp_dst", draw(st.sampled_from([80, 81])), 0xFFFF)
    if kind == 4:
        return Move(SubField("eth_dst", 0, 2), SubField(draw(registers), 0, 2))
    if kind == 5:
        return Move(SubField(draw(registers), 0, 2), SubField("eth_dst", 8, 2))
    return SetField(draw(registers), draw(small), 0x3)


outputs = st.builds(Output, st.sampled_from([*PORTS, IN_PORT]))
executed = st.lists(st.one_of(st.builds(SetField, st.just("ct_mark"), small, st.just(0x3)),
                              st.just(Move(SubField("eth_dst", 0, 8), SubField("ct_label", 8, 8)))), max_size=2)


@st.composite
def cts(draw: st.DrawFn, upwards: int) -> Ct:
    commit = draw(st.booleans())
    nat = draw(st.sampled_from([None, None, Nat(), Nat(0x0A000009, 8000), Nat(0x0A000008)])) if commit else \
        draw(st.sampled_from([None, Nat()]))
    table = draw(st.one_of(st.none(), st.integers(upwards, LAST_TABLE))) if upwards <= LAST_TABLE else None
    # Seldom the same zone twice in one pipeline: what a second pass does depends on the datapath.
    zone = draw(st.one_of(st.integers(1, 1000), st.just(SubField("reg0", 0, 16))))
    return Ct(zone, commit, table, nat, tuple(draw(executed)) if commit else ())


def actions(table: int, nested: bool = True) -> st.SearchStrategy[Action]:
    choices = [outputs, writes(), st.just(DecTtl()), cts(table + 1),
               st.just(CheckPacketLarger(60, SubField("reg0", 1, 1)))]
    if table < 3:  # groups send packets to the tables after these
        choices.append(st.builds(ToGroup, st.integers(1, 3)))
    if table < LAST_TABLE:
        choices.append(st.builds(Resubmit, st.integers(table + 1, LAST_TABLE)))
    if nested:
        choices.append(st.builds(Clone, st.lists(actions(table, False), min_size=1, max_size=3).map(tuple)))
    return st.one_of(choices)


@st.composite
def matches(draw: st.DrawFn) -> Match:
    fields: dict[str, int | tuple[int, int]] = {"eth_type": 0x0800, "ip_proto": 6}
    for name in draw(st.lists(st.sampled_from(["in_port", "reg0", "eth_dst", "ct", "tcp_dst", "ipv4_dst"]),
                              max_size=2, unique=True)):
        if name == "in_port":
            fields[name] = draw(st.sampled_from(PORTS))
        elif name == "ct":
            bits = draw(st.sampled_from([CT_TRK, CT_TRK | CT_NEW, CT_TRK | CT_EST, CT_TRK | CT_RPL]))
            fields["ct_state"] = (draw(st.sampled_from([bits, CT_TRK])), bits)
            fields["ct_mark"] = (draw(small), 0x3)
        elif name == "tcp_dst":
            fields[name] = draw(st.sampled_from([80, 81, 8000]))
        elif name == "ipv4_dst":
            fields[name] = (draw(st.sampled_from([0x0A000009, 0x0A000000])), 0xFFFFFFFE)
        else:
            fields[name] = (draw(small), 0x3)
    return match(**fields)


@st.composite
def states(draw: st.DrawFn) -> SwitchState:
    flows = {}
    for table in range(LAST_TABLE + 1):
        for priority in range(draw(st.integers(1, 3))):
            goto = draw(st.one_of(st.none(), st.integers(table + 1, LAST_TABLE))) if table < LAST_TABLE else None
            # The lowest priority of a table matches every packet, so that few end in a miss.
            condition = draw(matches()) if priority else match(eth_type=0x0800, ip_proto=6)
            flow = Flow(table, priority + 1, condition, tuple(draw(st.lists(actions(table), max_size=4))), goto)
            flows[flow.key] = flow
    groups = {}
    for number in (1, 2, 3):
        final = st.one_of(outputs, st.builds(Resubmit, st.integers(3, LAST_TABLE)), cts(3))
        bucket = st.builds(lambda first, last: Bucket((*first, last)), st.lists(writes(), max_size=2), final)
        kind = draw(st.sampled_from(["all", "indirect"]))
        groups[number] = Group(number, kind, tuple(draw(st.lists(
            bucket, min_size=1, max_size=1 if kind == "indirect" else 3))))
    return SwitchState(flows, groups)


SENT = [(1, 40000, False), (2, 40001, False), (1, 40000, False), (3, 40000, True), (1, 40000, False)]


def frame(sport: int, reply: bool) -> Packet:
    """A TCP packet from 10.0.0.1 to 10.0.0.2:80, or one the other way."""
    fields = {"eth_src": 0x020000000001, "eth_dst": 0x020000000002, "eth_type": 0x0800, "ip_proto": 6,
              "ipv4_src": 0x0A000001, "ipv4_dst": 0x0A000002, "tcp_src": sport, "tcp_dst": 80, "ttl": 3,
              "length": 64, "tcp_flags": 0x12 if reply else 0x02}
    if reply:
        fields |= {"ipv4_src": 0x0A000002, "ipv4_dst": 0x0A000001, "tcp_src": 80, "tcp_dst": sport}
    return packet(**fields)


@pytest.fixture(scope="module")
def ovs() -> Iterator[DummyOvs]:
    with one_switch() as started:
        yield started


@settings(max_examples=25, derandomize=True, deadline=None, phases=[Phase.explicit, Phase.generate],
          suppress_health_check=list(HealthCheck))
@given(states())
def test_open_vswitch_does_the_same(ovs: DummyOvs, state: SwitchState) -> None:
    frames = [(in_port, frame(sport, reply)) for in_port, sport, reply in SENT]
    assert disagreement(ovs, state, frames) is None


@pytest.mark.parametrize("flags", [0x01, 0x02, 0x04, 0x10, 0x11, 0x12, 0x14, 0x18, 0x19, 0x3F])
def test_flags_of_tcp_are_matched_the_same(ovs: DummyOvs, flags: int) -> None:
    conditions: list[tuple[int, int]] = [(0x04, 0x14), (0x14, 0x14), (0x01, 0x01), (0x12, 0xFFF), (0, 0x06)]
    flows = [Flow(0, 9 - n, match(eth_type=0x0800, ip_proto=6, tcp_flags=condition),
                  (SetField("eth_dst", n + 1, FULL["eth_dst"]), Output(4)))
             for n, condition in enumerate(conditions)]
    flows.append(Flow(0, 1, match(eth_type=0x0800, ip_proto=6), (Output(2),)))
    state = SwitchState({flow.key: flow for flow in flows})
    sent = frame(40000, False)
    assert disagreement(ovs, state, [(1, packet(**{**sent, "tcp_flags": flags})), (1, sent)]) is None
