"""What Open vSwitch tells back is exactly what was sent."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from dummy_ovs import DummyOvs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from strategies import EXACT_ONLY, KINDS_OF_PACKET, METERS, flows, groups, meters
from wire_client import WireClient

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
from controller_app.openflow import decode, encode

BASE_GROUPS = [
    Group(1, "select", tuple(Bucket((SetField("eth_dst", slot, full_mask("eth_dst")), Resubmit(9)))
                             for slot in range(256))),
    Group(2, "ff", (Bucket((SetField("in_port", 0xFFFF, 0xFFFF), Output(1)), watch_port=1),
                    Bucket((Output(2),), watch_port=2))),
]
ACTIONS = (
    Output(1), Output(IN_PORT), Output(CONTROLLER), Output(CONTROLLER, 128), ToGroup(1), Resubmit(200),
    SetField("in_port", 0xFFFF, 0xFFFF), SetField("eth_dst", 0x0E0000000000, full_mask("eth_dst")),
    SetField("eth_dst", 0x11 << 8, 0xFF << 8), SetField("reg0", 5, 0xFFFFFFFF), SetField("reg15", 8, 8),
    SetField("vlan_tci", 0x1005, 0xFFFF), SetField("metadata", 1 << 63, full_mask("metadata")),
    Move(SubField("eth_src", 0, 48), SubField("eth_dst", 0, 48)),
    Move(SubField("in_port", 0, 16), SubField("reg4", 16, 16)),
    Ct(5), Ct(7, table=9), Ct(SubField("reg5", 0, 16), True, 9, Nat(0x0A000015, 80)),
    Ct(1, True, 9, Nat(), (SetField("ct_mark", 5, full_mask("ct_mark")), SetField("ct_mark", 0, 0xFF),
                           SetField("ct_label", 7 << 90, 7 << 90), SetField("ct_label", 5, (1 << 100) - 1),
                           Move(SubField("eth_dst", 0, 48), SubField("ct_label", 0, 48)))),
    Clone((SetField("eth_src", 1, full_mask("eth_src")), Output(2), Clone((Resubmit(3),)))),
    DecTtl(), CheckPacketLarger(81, SubField("reg6", 0, 1)), SetQueue(7), SetField("ip_dscp", 10, 0x3F),
    SetField("ip_dscp", 4, 4), SetField("ip_ttl", 9, 0xFF), SetField("ip_ttl", 0x10, 0xF0),
    Multipath(SubField("reg7", 0, 8)), Multipath(SubField("reg7", 16, 8)),
    Move(SubField("ip_dscp", 0, 6), SubField("reg1", 3, 6)), Move(SubField("ip_ttl", 0, 8), SubField("reg1", 0, 8)),
)
LABEL = SetField("mpls_label", 16, 0xFFFFF)
# What each transport does to a packet, and flows that are conjunctive. (match, actions)
CARRIED: tuple[tuple[Match, tuple[Action, ...]], ...] = (
    ((), (Meter(1), Output(1))), (match(eth_type=0x0800), (Meter(2), *ACTIONS)),
    ((), (PushVlan(), SetField("vlan_tci", 0x1123, 0x1FFF), Output(1), PopVlan(), Output(2))),
    (match(vlan_tci=(0x1005, 0x1FFF)), (PopVlan(), PushVlan(), SetField("vlan_tci", 0xB007, 0xFFFF))),
    ((), (Clone((PushVlan(), PushVlan(), PushMpls(), Output(1))), Output(2))),
    ((), (PushMpls(), LABEL, PushMpls(), SetField("mpls_label", 3, 0xF), Output(1), PopMpls(0x8847), PopMpls(0x86DD))),
    (match(eth_type=0x8847, mpls_label=77, mpls_bos=1),
     (LABEL, Move(SubField("mpls_label", 0, 20), SubField("reg1", 0, 20)), PopMpls(0x0800), DecTtl())),
    (match(eth_type=0x8847, mpls_bos=0), (PopMpls(0x8847), LABEL)),
    ((), (EncapNsh(), SetField("nsh_spi", 0x123456, 0xFFFFFF), SetField("nsh_si", 254, 0xFF),
          SetField("nsh_c1", 0x20, 0xFF0), SetField("nsh_c1", 1 << 31, 0xFFFFFFFF), SetField("nsh_spi", 1, 1),
          Move(SubField("nsh_spi", 8, 16), SubField("reg3", 0, 16)),
          Move(SubField("reg3", 0, 8), SubField("nsh_si", 0, 8)),
          Move(SubField("nsh_spi", 0, 8), SubField("nsh_c1", 0, 8)), SetField("eth_dst", 7, full_mask("eth_dst")),
          DecNshTtl(), Output(1), DecapNsh(), Resubmit(9))),
    (match(eth_type=0x894F, nsh_spi=5, nsh_si=255, nsh_c1=(7, 0xF)), (DecNshTtl(), DecapNsh(), Output(1))),
    (match(eth_type=0x0800), (Conjunction(7, 1, 2), Conjunction(0xFFFFFFFF, 3, 64))),
    (match(conj_id=7), (Output(1),)),
)


@pytest.fixture
def bridge(dummy_ovs: DummyOvs) -> DummyOvs:
    with dummy_ovs.transaction():
        dummy_ovs.add_bridge("br", dpid=1)
        for number in (1, 2, 3):
            dummy_ovs.add_port("br", f"p{number}", number, tx_pcap=True)
    return dummy_ovs


def every_field() -> list[Flow]:
    """For each field, a flow that matches it exactly, one under a mask where it may be, one that writes it."""
    found = []
    for needed, matched, _ in KINDS_OF_PACKET:
        names = matched or ["in_port", "conj_id", *[f"reg{n}" for n in range(16)], "metadata", "ct_state", "ct_zone",
                            "ct_mark", "ct_label", "eth_dst", "eth_src", "eth_type", "vlan_tci"]
        for name in names:
            full = {"ct_state": 0xFF, "vlan_tci": 0xFFFF}.get(name, full_mask(name))
            value = {"ct_state": 0x21, "ip_frag": 1, "arp_op": 0xFF, "eth_type": 0x0800, "in_port": 3}.get(name, full)
            found.append(match(**needed, **{name: (value, full)}))
            if name not in EXACT_ONLY | {"vlan_tci"}:
                found.append(match(**needed, **{name: (1, 1)}))
    flows = [Flow(1, n, conditions, cookie=n) for n, conditions in enumerate(found)]
    for needed, _, written in KINDS_OF_PACKET:
        names = written or [f"reg{n}" for n in range(16)] + ["metadata", "eth_dst", "eth_src", "vlan_tci"]
        for name in names:
            full = full_mask(name)
            value = 0xFF if name == "arp_op" else full  # Open vSwitch knows opcodes up to 255
            part = full & 0x3C
            flows.append(Flow(2, len(flows), match(**needed), (
                SetField(name, value, full), SetField(name, 2, 2), SetField(name, part, part),
                *([SetField(name, value - 7, full - 7)] if FIELD_BITS[name] > 8 else []))))
    return flows


def test_every_action_and_field_comes_back_as_it_was_sent(bridge: DummyOvs) -> None:
    ip = match(eth_type=0x0800)
    sent = [Flow(3, n, ip, (action,), cookie=0xC5 << 56 | n) for n, action in enumerate(ACTIONS)]
    sent += [Flow(3, 100, ip, ACTIONS), Flow(3, 101, ip, (), 4), Flow(3, 102, (), ()),
             Flow(3, 103, ip, (Output(1), Output(2)), 253), *every_field()]
    sent += [Flow(4, n, condition, actions, 200 if n < 9 else None) for n, (condition, actions) in enumerate(CARRIED)]
    with WireClient.to_bridge(bridge.management("br")) as client:
        assert client.add_meters(METERS) == []
        assert client.install(BASE_GROUPS, sent) == []
        assert sorted(client.groups(), key=lambda group: group.id) == BASE_GROUPS
        assert sorted((entry.flow for entry in client.flows()), key=repr) == sorted(sent, key=repr)
        ours = [entry.flow for entry in client.flows(0xC5 << 56, 0xFF << 56)]
        assert len(ours) == len(ACTIONS)
    assert {item.field for flow in sent for item in flow.match} == set(FIELD_BITS)


def test_meters_come_back_as_they_were_sent(bridge: DummyOvs) -> None:
    with WireClient.to_bridge(bridge.management("br")) as client:
        @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
        @given(wanted=st.lists(meters(), max_size=5, unique_by=lambda meter: meter.id))
        def check(wanted: list[MeterConfig]) -> None:
            client.ask(encode.meter_mod(encode.METER_DELETE, encode.ALL_METERS))
            assert client.add_meters(wanted) == []
            assert sorted(client.meters(), key=lambda meter: meter.id) == sorted(wanted, key=lambda meter: meter.id)
            changed = [replace(meter, rate=max(1, meter.rate ^ 1)) for meter in wanted]
            assert client.add_meters(changed, encode.METER_MODIFY) == []
            assert set(client.meters()) == set(changed)

        check()


def test_a_meter_takes_its_flows_with_it_and_goes_into_no_bundle(bridge: DummyOvs) -> None:
    """Why meters are sent outside of bundles: those wanted before the flows, those given up after them."""
    metered = Flow(0, 1, (), (Meter(1), Output(1)))
    with WireClient.to_bridge(bridge.management("br")) as client:
        assert client.install([], [metered]) == ["2000: METER_MOD_FAILED/INVALID_METER", "77: BUNDLE_FAILED/MSG_FAILED"]
        assert client.add_meters(METERS[:1]) == []
        assert client.add_meters(METERS[:1]) == ["3000: METER_MOD_FAILED/METER_EXISTS"]
        assert client.install([], [metered]) == []
        answers = client.ask(encode.bundle_open([encode.meter_mod(encode.METER_ADD, METERS[1], 9)], 5, 70))
        assert [str(decode.error_message(raw)) for raw in answers if raw[1] == decode.ERROR] == [
            "BUNDLE_FAILED/MSG_UNSUP"]
        assert [entry.flow for entry in client.flows()] == [metered]
        client.ask(encode.meter_mod(encode.METER_DELETE, 1))
        assert (client.flows(), client.meters()) == ([], [])


def test_arbitrary_flows_and_groups_come_back_as_they_were_sent(bridge: DummyOvs) -> None:
    with WireClient.to_bridge(bridge.management("br")) as client:
        assert client.add_meters(METERS) == []

        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck),
                  phases=[Phase.explicit, Phase.generate])  # a failing list says enough unshrunk
        @given(wanted=st.lists(flows(accepted=True), max_size=12, unique_by=lambda flow: flow.key),
               more=st.lists(groups(accepted=True), max_size=3, unique_by=lambda group: group.id))
        def check(wanted: list[Flow], more: list[Group]) -> None:
            more = [*BASE_GROUPS, *(group for group in more if group.id > 2)]
            client.ask(encode.flow_mod(encode.DELETE, Flow(encode.ALL_TABLES, 0, ())),
                       encode.group_mod(encode.GROUP_DELETE, encode.ALL_GROUPS))
            assert client.install(more, wanted) == []
            assert sorted(client.groups(), key=lambda group: group.id) == sorted(more, key=lambda g: g.id)
            assert {entry.flow for entry in client.flows()} == set(wanted)
            # A delete that names flows strictly leaves the others.
            client.ask(*(encode.flow_mod(encode.DELETE_STRICT, flow) for flow in wanted[1:]))
            assert [entry.flow for entry in client.flows()] == wanted[:1]

        check()


def test_an_add_replaces_the_flow_of_the_same_key_cookie_and_all(bridge: DummyOvs) -> None:
    old, new = Flow(0, 5, (), (Output(1),), cookie=1), Flow(0, 5, (), (Output(2),), 9, cookie=2)
    with WireClient.to_bridge(bridge.management("br")) as client:
        assert client.install([], [old]) == []
        assert client.install([], [new]) == []
        assert [entry.flow for entry in client.flows()] == [new]
        changed = Flow(0, 5, (), (Output(3),), cookie=3)
        client.ask(encode.flow_mod(encode.MODIFY_STRICT, changed))
        assert [entry.flow for entry in client.flows()] == [Flow(0, 5, (), (Output(3),), cookie=2)]


def test_a_bundle_whose_message_fails_at_commit_changes_nothing(bridge: DummyOvs) -> None:
    with WireClient.to_bridge(bridge.management("br")) as client:
        errors = client.install([], [Flow(0, 1, (), (Output(1),)), Flow(0, 2, (), (ToGroup(99),))])
        assert errors == ["2001: BAD_ACTION/BAD_OUT_GROUP", "77: BUNDLE_FAILED/MSG_FAILED"]
        assert client.flows() == []


def test_a_bundle_can_be_looked_at_before_it_is_committed(bridge: DummyOvs) -> None:
    """Open vSwitch commits what is left of a bundle of which it refused a message when it was added, so the
    errors have to be seen before the commit."""
    good, bad = Flow(0, 1, (), (Output(1),)), Flow(0, 2, (), (SetField("ct_mark", 1, 0xFFFFFFFF),))
    messages = [encode.flow_mod(encode.ADD, flow, 10 + n) for n, flow in enumerate((good, bad))]
    with WireClient.to_bridge(bridge.management("br")) as client:
        opened, error = client.ask(encode.bundle_open(messages, 4, 70))
        assert decode.bundle_reply(opened) == (70, 4, 1)
        assert decode.error_message(error).xid == 11
        assert client.flows() == []
        assert decode.bundle_reply(client.ask(encode.bundle_discard(4, 71))[0]) == (71, 4, 7)
        assert client.flows() == []
        client.ask(encode.bundle_open(messages[:1], 5, 72))
        assert decode.bundle_reply(client.ask(encode.bundle_commit(5, 73))[0]) == (73, 5, 5)
        assert [entry.flow for entry in client.flows()] == [good]


def test_packets_go_up_and_down(bridge: DummyOvs) -> None:
    up = Flow(0, 9, match(in_port=1), (SetField("reg3", 77, 0xFFFFFFFF), SetField("metadata", 5, full_mask("metadata")),
                                       Output(CONTROLLER)), cookie=0xABC)
    frame = bytes.fromhex("0200000000020200000000018100600508004500") + bytes(44)
    with WireClient.to_bridge(bridge.management("br")) as client:
        # A management connection is told of no packets until it asks for them (and for OpenFlow 1.3's form).
        client.send(struct.pack("!BBHIHH", 4, 9, 12, 3, 0, 0xFFFF), nicira_set_async())
        assert client.install([], [up]) == []
        bridge.receive("p1", frame)
        packet = decode.packet_in(client.read())
        assert (packet.reason, packet.table, packet.cookie) == (1, 0, 0xABC)
        assert packet.data == frame and packet.total == len(frame)
        assert packet.fields["in_port"] == 1
        assert packet.fields["reg3"] == 77 and packet.fields["metadata"] == 5
        client.ask(encode.packet_out(CONTROLLER, (Output(2),), frame))
        client.ask(encode.packet_out(3, (Output(IN_PORT),), frame))
    assert bridge.sent("p2", 1) == [frame]
    assert bridge.sent("p3", 1) == [frame]


def nicira_set_async() -> bytes:
    """OFPT_SET_ASYNC: every packet-in and port-status, as master and as slave."""
    return struct.pack("!BBHI6I", 4, 28, 32, 4, 7, 7, 7, 7, 7, 7)


def test_ports_are_told(bridge: DummyOvs) -> None:
    with WireClient.to_bridge(bridge.management("br")) as client:
        ports = [port for message in client.ask(encode.port_desc_request(4)) for port in decode.port_desc(message)]
        assert [(port.number, port.name) for port in ports if port.number < 0xFF00] == [(1, "p1"), (2, "p2"),
                                                                                       (3, "p3")]
        assert all(port.up for port in ports if port.number < 0xFF00)
        client.ask(nicira_set_async())
        bridge.appctl("netdev-dummy/set-admin-state", "p2", "down")
        status = decode.port_status(client.read())
        while status.port.up:  # the first one may still say what was
            status = decode.port_status(client.read())
        assert (status.reason, status.port.name, status.port.up) == (2, "p2", False)
