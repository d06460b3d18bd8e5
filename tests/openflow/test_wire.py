"""decode(encode(x)) == x, and bytes that are wrong raise WireError and nothing else."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from typing import Any

import pytest
from effort import effort
from hypothesis import given
from hypothesis import strategies as st
from strategies import flows, groups, meters

from controller_app.model.flow import (
    FIELD_BITS,
    Bucket,
    CheckPacketLarger,
    Clone,
    Conjunction,
    Ct,
    EncapNsh,
    Flow,
    Group,
    Meter,
    MeterConfig,
    Move,
    Multipath,
    Nat,
    Output,
    Resubmit,
    SetField,
    SubField,
    full_mask,
    match,
)
from controller_app.openflow import decode, encode
from controller_app.openflow.decode import WireError


def flow_reply(*found: Flow) -> bytes:
    """An OFPMP_FLOW reply, made from flow-mods: match and instructions have the same form there."""
    body = b""
    for flow in found:
        rest = encode.flow_mod(encode.ADD, flow)[48:]
        body += struct.pack("!HBxIIHHHH4xQQQ", 48 + len(rest), flow.table, 5, 500_000_000, flow.priority,
                            0, 0, 0, flow.cookie, 7, 700) + rest
    return struct.pack("!BBHIHH4x", 4, 19, 16 + len(body), 1, 1, 0) + body


def group_reply(*found: Group) -> bytes:
    body = b""
    for group in found:
        rest = encode.group_mod(encode.GROUP_ADD, group)[16:]
        body += struct.pack("!HBxI", 8 + len(rest), encode.KINDS.index(group.kind), group.id) + rest
    return struct.pack("!BBHIHH4x", 4, 19, 16 + len(body), 1, 7, 0) + body


def meter_reply(*found: MeterConfig) -> bytes:
    body = b"".join(b"\0\x18" + encode.meter_mod(encode.METER_ADD, meter)[10:] for meter in found)
    return struct.pack("!BBHIHH4x", 4, 19, 16 + len(body), 1, 10, 0) + body


@effort(share=100, many=2000)
@given(flow=flows())
def test_a_flow_comes_back_as_it_was_sent(flow: Flow) -> None:
    assert decode.flow_mod(encode.flow_mod(encode.ADD, flow)) == (encode.ADD, flow)
    entries = decode.flow_stats(flow_reply(flow, flow))
    assert [entry.flow for entry in entries] == [flow, flow]
    assert entries[0][1:] == (7, 700, 5.5, 0, 0, 0)


@effort(share=80, many=2000)
@given(flow=flows())
def test_the_end_of_a_flow_is_read(flow: Flow) -> None:
    """struct ofp_flow_removed (OpenFlow 1.3.5, 7.4.2)."""
    body = struct.pack("!QHBBIIHHQQ", flow.cookie, flow.priority, 2, flow.table, 5, 500_000_000, 30, 60, 7, 700)
    body += encode.encode_match(flow.match)
    message = struct.pack("!BBHI", 4, 11, 8 + len(body), 0) + body
    assert decode.flow_removed(message) == (flow.key, flow.cookie, 2, 7, 700, 5.5)
    tunnel = struct.pack("!HHIQ", 1, 16, 0x80004C08, 5)  # OXM_OF_TUNNEL_ID
    foreign = struct.pack("!BBHI", 4, 11, 64, 0) + body[:40] + tunnel
    assert decode.flow_removed(foreign)[:2] == (None, flow.cookie)
    with pytest.raises(decode.WireError):
        decode.flow_removed(foreign[:48])


@effort(share=80, many=2000)
@given(group=groups())
def test_a_group_comes_back_as_it_was_sent(group: Group) -> None:
    assert decode.group_mod(encode.group_mod(encode.GROUP_ADD, group)) == (encode.GROUP_ADD, group)
    assert decode.group_desc(group_reply(group, group)) == [group, group]


@given(meter=meters())
def test_a_meter_comes_back_as_it_was_sent(meter: MeterConfig) -> None:
    assert decode.meter_mod(encode.meter_mod(encode.METER_MODIFY, meter)) == (encode.METER_MODIFY, meter)
    assert decode.meter_config(meter_reply(meter, meter)) == [meter, meter]


@pytest.mark.parametrize("name", list(FIELD_BITS))
def test_every_field_can_be_matched_exactly(name: str) -> None:
    value = {"ip_frag": 3, "ct_state": 0x21, "vlan_tci": 0xF123}.get(name, full_mask(name))
    mask = {"ct_state": 0xFF}.get(name, full_mask(name))
    flow = Flow(0, 1, match(**{name: (value, mask)}))
    assert decode.flow_mod(encode.flow_mod(encode.ADD, flow))[1] == flow


@pytest.mark.parametrize(("name", "offset", "bits"), [
    (name, offset, bits) for name in FIELD_BITS if name != "in_port" for offset in (0, 3)
    for bits in (1, 5, FIELD_BITS[name] - offset) if 1 <= bits <= FIELD_BITS[name] - offset])
def test_every_run_of_bits_can_be_written(name: str, offset: int, bits: int) -> None:
    mask = ((1 << bits) - 1) << offset
    flow = Flow(0, 1, (), (SetField(name, mask, mask),))
    assert decode.flow_mod(encode.flow_mod(encode.ADD, flow))[1] == flow


@pytest.mark.parametrize("bad", [
    Flow(0, 1, match(in_port=(1, 3))),
    Flow(0, 1, match(ip_frag=(3, 3))),
    Flow(0, 1, match(vlan_tci=0)),
    Flow(0, 1, match(vlan_tci=(0x5005, 0x5FFF))),
    Flow(0, 1, match(ct_state=1)),
    Flow(0, 1, (("eth_dst", 5, 4),)),  # type: ignore[arg-type]  # a value outside its mask
    Flow(0, 1, (("eth_dst", 1 << 48, 0xFFFFFFFFFFFF),)),  # type: ignore[arg-type]
    Flow(0, 70000, ()),
    Flow(0, 1, (), (Output(1 << 32),)),
    Flow(0, 1, (), (SetField("reg0", 5, 0b101),)),
    Flow(0, 1, (), (SetField("reg0", 8, 7),)),
    Flow(0, 1, (), (SetField("reg0", 0, 0),)),
    Flow(0, 1, (), (SetField("reg0", 1 << 32, 1 << 32),)),
    Flow(0, 1, (), (SetField("in_port", 5, 0xFFFFFFFF),)),
    Flow(0, 1, (), (Move(SubField("reg0", 0, 8), SubField("reg1", 0, 9)),)),
    Flow(0, 1, (), (Move(SubField("reg0", 30, 8), SubField("reg1", 0, 8)),)),
    Flow(0, 1, (), (Move(SubField("in_port", 0, 32), SubField("reg1", 0, 32)),)),
    Flow(0, 1, (), (CheckPacketLarger(9, SubField("reg1", 0, 2)),)),
    Flow(0, 1, (), (Ct(70000),)),
    Flow(0, 1, (), (Ct(1, table=255),)),
    Flow(0, 1, (), (Ct(1, nat=Nat(port=5)),)),
    Flow(0, 1, (), (Ct(1, nat=Nat(1 << 32)),)),
    Flow(0, 1, (), (Resubmit(256),)),
    Flow(0, 1, (), (Clone((Resubmit(1),) * 5000),)),
    Flow(0, 1, (), (Output(1), Meter(5))),
    Flow(0, 1, (), (Clone((Meter(5),)),)),
    Flow(0, 1, (), (Multipath(SubField("reg1", 0, 9)),)),
    Flow(0, 1, (), (Multipath(SubField("nsh_c1", 0, 8)),)),
    Flow(0, 1, (), (CheckPacketLarger(9, SubField("nsh_spi", 0, 1)),)),
    Flow(0, 1, (), (Conjunction(5, 0, 2),)),
    Flow(0, 1, (), (Conjunction(5, 3, 2),)),
    Flow(0, 1, (), (Conjunction(5, 1, 1),)),
    Flow(0, 1, (), (SetField("mpls_label", 1 << 20, 1 << 20),)),
    Flow(0, 1, match(mpls_label=(1, 1))),
    Flow(0, 1, (("nsh_spi", 1 << 24, 0xFFFFFF),)),  # type: ignore[arg-type]
])
def test_what_cannot_be_sent_is_refused(bad: Flow) -> None:
    with pytest.raises(ValueError, match=r"."):
        encode.flow_mod(encode.ADD, bad)


def test_groups_that_cannot_be_sent_are_refused() -> None:
    with pytest.raises(ValueError, match="weight"):
        encode.group_mod(encode.GROUP_ADD, Group(1, "ff", (Bucket((), 2, 1),)))
    with pytest.raises(ValueError, match="65535"):
        encode.group_mod(encode.GROUP_ADD, Group(1, "select", (Bucket((Resubmit(1),) * 100),) * 256))
    with pytest.raises(ValueError, match="id is enough"):
        encode.group_mod(encode.GROUP_ADD, 5)


def test_meters_that_cannot_be_sent_are_refused() -> None:
    with pytest.raises(ValueError, match="range"):
        encode.meter_mod(encode.METER_ADD, MeterConfig(1, 1 << 32, 0))
    with pytest.raises(ValueError, match="rate 0"):
        encode.meter_mod(encode.METER_ADD, MeterConfig(1, 0, 0))
    with pytest.raises(ValueError, match="id is enough"):
        encode.meter_mod(encode.METER_ADD, 5)


def test_what_the_model_has_no_words_for_is_kept_as_unknown() -> None:
    def entry(matched: bytes, instructions: bytes) -> bytes:
        body = matched + instructions
        return struct.pack("!HBxIIHHHH4xQQQ", 48 + len(body), 3, 0, 0, 9, 60, 0, 1, 77, 0, 0) + body

    good = encode.encode_match(match(in_port=4))
    tunnel = struct.pack("!HHIQ", 1, 16, 0x80004C08, 5)  # OXM_OF_TUNNEL_ID
    dec_mpls_ttl = struct.pack("!HH4x HH4x", 4, 16, 16, 8)
    write_actions = struct.pack("!HH4x HHI", 3, 16, 22, 8, 1)
    body = entry(good, dec_mpls_ttl) + entry(tunnel, b"") + entry(good, write_actions) + entry(good, b"")
    reply = struct.pack("!BBHIHH4x", 4, 19, 16 + len(body), 1, 1, 1) + body
    assert decode.more_follows(reply)
    mpls, metered, written, plain = decode.flow_stats(reply)
    assert isinstance(mpls.flow, decode.UnknownFlow) and mpls.flow.key == (3, 9, match(in_port=4))
    assert mpls.flow.cookie == 77 and "16" in mpls.flow.why and mpls.flow.raw == entry(good, dec_mpls_ttl)
    assert isinstance(metered.flow, decode.UnknownFlow) and metered.flow.key is None
    assert isinstance(written.flow, decode.UnknownFlow) and "instruction" in written.flow.why
    assert plain.flow == Flow(3, 9, match(in_port=4), cookie=77)
    assert (plain.idle_timeout, plain.hard_timeout, plain.flags) == (60, 0, 1)
    watching = struct.pack("!HBxI HHII4x", 24, 0, 5, 16, 0, encode.ANY, 3)
    found = decode.group_desc(struct.pack("!BBHIHH4x", 4, 19, 16 + 24, 1, 7, 0) + watching)
    assert found == [decode.UnknownGroup(5, "a bucket that watches a group", watching)]
    two_bands = struct.pack("!HHI HHII4x HHII4x", 40, 1, 5, 1, 16, 9, 0, 1, 16, 8, 0)
    (metered_twice,) = decode.meter_config(struct.pack("!BBHIHH4x", 4, 19, 16 + 40, 1, 10, 0) + two_bands)
    assert isinstance(metered_twice, decode.UnknownMeter)
    assert (metered_twice.id, metered_twice.why) == (5, "meter with flags 0x1 and 2 bands")


def steps(*bodies: str) -> bytes:
    """Nicira actions from their bodies: subtype, then what follows."""
    return b"".join(struct.pack("!HHI", 0xFFFF, 8 + len(body) // 2, encode.NICIRA) + bytes.fromhex(body)
                    for body in bodies)


ENCAP_NSH, ENCAP_ETHERNET, DECAP = "002e00000001894f", "002e000000000000", "002f00000000fffe"


def test_encapsulation_of_others_is_read_where_it_means_what_we_know() -> None:
    spi = encode.encode_actions([SetField("nsh_spi", 0x1234, 0xFFFFFF)])
    assert decode.decode_actions(steps(ENCAP_NSH) + spi + steps(ENCAP_ETHERNET)) == (
        EncapNsh(), SetField("nsh_spi", 0x1234, 0xFFFFFF))
    for odd in ((ENCAP_NSH,), (DECAP,), (ENCAP_ETHERNET,), (ENCAP_NSH, DECAP), (DECAP, ENCAP_NSH),
                (ENCAP_NSH, ENCAP_NSH), ("002e000000018847", ENCAP_ETHERNET), ("002f00000000894f", DECAP)):
        with pytest.raises(decode.UnknownWords):
            decode.decode_actions(steps(*odd))


def test_a_vlan_id_written_under_its_own_name_is_part_of_vlan_tci() -> None:
    assert decode.decode_actions(bytes.fromhex("0019001080000c0211230000000000000019001080000e010500000000000000")) == (
        SetField("vlan_tci", 0x1123, 0x1FFF), SetField("vlan_tci", 0xA000, 0xE000))


def test_foreign_set_field_under_a_mask_of_two_runs_is_unknown() -> None:
    action = struct.pack("!HHIH IIIxx", 0xFFFF, 24, encode.NICIRA, 33, 0x00010108, 5, 5)
    with pytest.raises(decode.UnknownWords):
        decode.decode_actions(action)


READERS: list[Callable[[bytes], Any]] = [
    decode.header, decode.flow_stats, decode.group_desc, decode.port_desc, decode.port_status,
    decode.meter_config, decode.meter_mod, decode.packet_in, decode.error_message, decode.bundle_reply,
    decode.flow_mod, decode.group_mod, decode.port_stats,
    decode.more_follows, decode.decode_actions, decode.decode_match]


@effort(share=100, many=2000)
@given(flow=flows(), group=groups(), data=st.data())
def test_damaged_messages_raise_only_wire_error(flow: Flow, group: Group, data: st.DataObject) -> None:
    plain = [action for action in flow.actions if not isinstance(action, Meter)]
    for message in (flow_reply(flow), group_reply(group), encode.flow_mod(encode.ADD, flow),
                    meter_reply(MeterConfig(1, 2, 3)), encode.packet_out(1, plain, b"frame")):
        damaged = bytearray(message)
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        cut = damaged[:data.draw(st.integers(0, len(damaged)))]
        cut[2:4] = len(cut).to_bytes(2, "big")
        for broken in (bytes(damaged), bytes(cut)):
            for read in READERS:
                with contextlib.suppress(WireError):
                    read(broken)


@effort(share=300, many=3000)
@given(body=st.binary(max_size=200), kind=st.sampled_from([1, 4, 10, 12, 14, 15, 19, 29]),
       sub=st.sampled_from([0, 1, 4, 7, 10, 13]))
def test_noise_raises_only_wire_error(body: bytes, kind: int, sub: int) -> None:
    message = struct.pack("!BBHI", 4, kind, 10 + len(body), 5) + sub.to_bytes(2, "big") + body
    for read in READERS:
        for given_ in (message, body):
            with contextlib.suppress(WireError):
                read(given_)


def test_what_ports_counted() -> None:
    def entry(number: int, received: int, sent: int, seconds: int, nanoseconds: int) -> bytes:
        return struct.pack("!I4x12Q2I", number, 1, 2, received, sent, *[9] * 8, seconds, nanoseconds)

    entries = entry(7, 1000, 2**64 - 2, 10, 500_000_000) + entry(8, 2**64 - 1, 0, 0, 0)
    message = struct.pack("!BBHIHH4x", 4, 19, 16 + len(entries), 5, 4, 0) + entries
    assert decode.port_stats(message) == [
        decode.PortCounters(7, 1000, 2**64 - 2, 10.5), decode.PortCounters(8, None, 0, 0.0)]
    for broken in (message[:-1], message + bytes(8)):
        with pytest.raises(WireError):
            decode.port_stats(broken[:2] + len(broken).to_bytes(2, "big") + broken[4:])


def test_what_a_port_runs_at() -> None:
    port = struct.pack("!I4x6s2x16s8I", 3, bytes(6), b"eth3", 0, 0, 1, 2, 3, 4, 10_000_000, 40_000_000)
    message = struct.pack("!BBHIHH4x", 4, 19, 16 + len(port), 5, 13, 0) + port
    (found,) = decode.port_desc(message)
    assert (found.name, found.speed) == ("eth3", 10_000_000)


def test_deep_nesting_is_an_error_not_a_crash() -> None:
    actions = b""
    for _ in range(3000):
        actions = struct.pack("!HHIH6x", 0xFFFF, 16 + len(actions), encode.NICIRA, 42) + actions
    with pytest.raises(WireError, match="deep"):
        decode.decode_actions(actions)


def test_errors_have_names() -> None:
    refused = struct.pack("!BBHIHH", 4, 1, 12 + 8, 55, 2, 9) + b"12345678"
    error = decode.error_message(refused)
    assert (error.xid, str(error), error.data) == (55, "BAD_ACTION/BAD_OUT_GROUP", b"12345678")
    bundle = struct.pack("!BBHIHHI", 4, 1, 16, 56, 0xFFFF, 2313, encode.ONF)
    assert str(decode.error_message(bundle)) == "BUNDLE_FAILED/MSG_FAILED"
    assert str(decode.error_message(struct.pack("!BBHIHH", 4, 1, 12, 5, 99, 98))) == "TYPE 99/CODE 98"
