"""Byte for byte what os-ken's encoder makes of the same values. (What it cannot encode, clone,
check_pkt_larger and encap among them, is compared with Open vSwitch in test_real_switch.)"""

from __future__ import annotations

from dataclasses import replace

import osken_oracle as oracle
import pytest
from effort import effort
from hypothesis import given
from strategies import flows, groups, meters

from controller_app.model.flow import CONTROLLER, Ct, Flow, Group, Meter, MeterConfig, Nat, Output, SetField, match
from controller_app.openflow import encode

_SETTINGS = effort(share=60, many=2000)


def _reduced(flow: Flow) -> Flow:
    """Without what os-ken cannot encode."""
    return replace(flow, actions=tuple(filter(oracle.encodable, flow.actions)),
                   match=tuple(item for item in flow.match if item.field not in oracle.UNKNOWN_FIELDS))


@_SETTINGS
@given(flow=flows())
def test_flow_mods(flow: Flow) -> None:
    flow = _reduced(flow)
    for command in (encode.ADD, encode.MODIFY_STRICT, encode.DELETE_STRICT):
        assert encode.flow_mod(command, flow, 77).hex() == oracle.flow_mod(command, flow, 77).hex()


@_SETTINGS
@given(group=groups())
def test_group_mods(group: Group) -> None:
    group = replace(group, buckets=tuple(replace(bucket, actions=tuple(filter(oracle.encodable, bucket.actions)))
                                         for bucket in group.buckets))
    for command in (encode.GROUP_ADD, encode.GROUP_MODIFY):
        assert encode.group_mod(command, group, 5).hex() == oracle.group_mod(command, group, 5).hex()


@given(meter=meters())
def test_meter_mods(meter: MeterConfig) -> None:
    for command in (encode.METER_ADD, encode.METER_MODIFY):
        assert encode.meter_mod(command, meter, 5).hex() == oracle.meter_mod(command, meter, 5).hex()


@_SETTINGS
@given(flow=flows())
def test_packet_outs(flow: Flow) -> None:
    # With no action os-ken writes its header over the frame.
    actions = (Output(1), *(action for action in _reduced(flow).actions if not isinstance(action, Meter)))
    assert encode.packet_out(3, actions, b"frame", 9).hex() == oracle.packet_out(3, actions, b"frame", 9).hex()


def test_requests() -> None:
    parser, datapath = oracle.parser, oracle.DATAPATH
    same = [
        (encode.barrier_request(5), parser.OFPBarrierRequest(datapath)),
        (encode.echo_request(5, b"abc"), parser.OFPEchoRequest(datapath, b"abc")),
        (encode.flow_stats_request(0xC5 << 56, 0xFF << 56, 5), parser.OFPFlowStatsRequest(
            datapath, 0, cookie=0xC5 << 56, cookie_mask=0xFF << 56, match=parser.OFPMatch())),
        (encode.group_desc_request(5), parser.OFPGroupDescStatsRequest(datapath, 0)),
        (encode.port_desc_request(5), parser.OFPPortDescStatsRequest(datapath, 0)),
        (encode.port_stats_request(5), parser.OFPPortStatsRequest(datapath, 0, oracle.ofp.OFPP_ANY)),
        (encode.meter_config_request(5), parser.OFPMeterConfigStatsRequest(datapath, 0, oracle.ofp.OFPM_ALL)),
        (encode.meter_mod(encode.METER_DELETE, 9, 5), parser.OFPMeterMod(
            datapath, oracle.ofp.OFPMC_DELETE, 0, 9, [])),
        (encode.group_mod(encode.GROUP_DELETE, 9, 5), parser.OFPGroupMod(
            datapath, oracle.ofp.OFPGC_DELETE, 0, 9, [])),
    ]
    for ours, message in same:
        assert ours.hex() == oracle._bytes(message, 5).hex(), message


def test_bundles() -> None:
    parser, datapath, ofp = oracle.parser, oracle.DATAPATH, oracle.ofp
    flow = Flow(1, 2, match(in_port=3), (Output(CONTROLLER),), 4, cookie=5)
    inner = parser.OFPFlowMod(datapath, cookie=5, table_id=1, priority=2, match=parser.OFPMatch(in_port=3),
                              out_port=ofp.OFPP_ANY, out_group=ofp.OFPG_ANY, instructions=[
                                  parser.OFPInstructionActions(ofp.OFPIT_APPLY_ACTIONS, [
                                      parser.OFPActionOutput(CONTROLLER, 0xFFFF)]),
                                  parser.OFPInstructionGotoTable(4)])
    inner.set_xid(8)
    flags = ofp.ONF_BF_ATOMIC | ofp.ONF_BF_ORDERED
    wrapped = parser.ONFBundleAddMsg(datapath, 6, flags, inner, [])
    expected = b"".join((
        oracle._bytes(parser.ONFBundleCtrlMsg(datapath, 6, ofp.ONF_BCT_OPEN_REQUEST, flags, []), 7),
        oracle._bytes(wrapped, 8),
        oracle._bytes(parser.ONFBundleCtrlMsg(datapath, 6, ofp.ONF_BCT_COMMIT_REQUEST, flags, []), 7)))
    assert encode.bundle([encode.flow_mod(encode.ADD, flow, 8)], 6, 7).hex() == expected.hex()


@pytest.mark.parametrize("nat", [None, Nat(), Nat(5, None, 6)])
def test_nat(nat: Nat | None) -> None:
    flow = Flow(0, 0, (), (Ct(1, True, 2, nat, (SetField("ct_mark", 1, 3),)),))
    assert encode.flow_mod(0, flow).hex() == oracle.flow_mod(0, flow).hex()
