"""Questions for counters and their answers, byte by byte against os-ken, and on a real switch."""

from __future__ import annotations

import socket
import struct
import time

import dummy_ovs as dummy
import pytest
from os_ken.ofproto import ofproto_v1_3, ofproto_v1_3_parser

from controller_app.model.flow import Bucket, Flow, Group, Output, match
from controller_app.openflow import counted, decode, encode
from controller_app.openflow.counted import GroupCounters, PortTraffic, Sum
from controller_app.openflow.decode import WireError


class _Datapath:
    ofproto, ofproto_parser, id = ofproto_v1_3, ofproto_v1_3_parser, 1


FLOW = Flow(120, 5, match(in_port=3, eth_type=0x0800, ipv4_dst=0x0A000001), cookie=0xC5_01_00_00_00_00_00_07)


def by_osken(request: object, xid: int) -> bytes:
    request.set_xid(xid)  # type: ignore[attr-defined]
    request.serialize()  # type: ignore[attr-defined]
    return bytes(request.buf)  # type: ignore[attr-defined]


def test_questions_are_those_of_os_ken() -> None:
    parser, wanted = ofproto_v1_3_parser, 0xFFFF_FFFF
    made = parser.OFPMatch(in_port=3, eth_type=0x0800, ipv4_dst="10.0.0.1")
    every = counted.ALL_BITS
    assert counted.flow_request(FLOW, 9) == by_osken(
        parser.OFPFlowStatsRequest(_Datapath(), 0, 120, wanted, wanted, FLOW.cookie, every, made), 9)
    assert counted.sum_request(120, FLOW.cookie, 9) == by_osken(
        parser.OFPAggregateStatsRequest(_Datapath(), 0, 120, wanted, wanted, FLOW.cookie, every, parser.OFPMatch()), 9)
    assert counted.group_request(77, 9) == by_osken(parser.OFPGroupStatsRequest(_Datapath(), 0, 77), 9)


def reply(kind: int, body: bytes) -> bytes:
    return struct.pack("!BBHIHH4x", 4, 19, 16 + len(body), 1, kind, 0) + body


def test_answers_are_read() -> None:
    assert counted.read_sum(reply(2, struct.pack("!QQI4x", 7, 700, 2))) == [Sum(7, 700, 2)]
    group = struct.pack("!H2xII4xQQII", 72, 77, 1, 9, 900, 3, 500_000_000) + struct.pack("!4Q", 4, 400, 5, 500)
    assert counted.read_groups(reply(6, group)) == [GroupCounters(77, 9, 900, 3.5, ((4, 400), (5, 500)))]
    unknown = 0xFFFF_FFFF_FFFF_FFFF
    port = struct.pack("!I4xQQQQ64xII", 3, 1, 2, 30, unknown, 8, 0)
    assert counted.read_ports(reply(4, port)) == [PortTraffic(3, 1, 2, 30, None, 8.0)]


@pytest.mark.parametrize(("read", "body"), [
    (counted.read_sum, reply(2, bytes(20))),
    (counted.read_sum, reply(1, bytes(24))),
    (counted.read_groups, reply(6, struct.pack("!H2xII4xQQII", 48, 77, 1, 9, 900, 3, 0) + bytes(8))),
    (counted.read_groups, reply(6, bytes(12))),
    (counted.read_ports, reply(4, bytes(50))),
])
def test_damaged_answers_are_refused(read: object, body: bytes) -> None:
    with pytest.raises(WireError):
        read(body)  # type: ignore[operator]


def test_a_real_switch_answers(dummy_ovs: dummy.DummyOvs) -> None:
    with dummy_ovs.transaction():
        dummy_ovs.add_bridge("s1", dpid=1)
        for port in (1, 2, 3):
            dummy_ovs.add_port("s1", f"p{port}", port, tx_pcap=True)
    group = Group(7, "select", (Bucket((Output(2),)), Bucket((Output(3),))))
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(5)
        wire.connect(dummy_ovs.management("s1"))
        wire.sendall(struct.pack("!BBHI", 4, 0, 8, 1) + encode.group_mod(encode.GROUP_ADD, group, 2))
        dummy_ovs.ofctl("add-flow", "s1", "cookie=0xc501,table=0,in_port=1,actions=group:7")
        dummy_ovs.ofctl("add-flow", "s1", "cookie=0xc501,table=0,in_port=2,actions=drop")
        dummy_ovs.receive("p1", *[bytes(60)] * 5)
        dummy_ovs.settle()
        dummy_ovs.purge()
        first = Flow(0, 32768, match(in_port=1), cookie=0xC501)
        wire.sendall(counted.flow_request(first, 11) + counted.sum_request(0, 0xC501, 12)
                     + counted.group_request(7, 13) + encode.port_stats_request(14))
        answers = _answers(wire, {11, 12, 13, 14})
    (entry,) = decode.flow_stats(answers[11])
    assert (entry.flow.key, entry.packets, entry.octets) == (first.key, 5, 300)
    assert counted.read_sum(answers[12]) == [Sum(5, 300, 2)]
    (told,) = counted.read_groups(answers[13])
    assert (told.group, told.packets, told.octets) == (7, 5, 300)
    assert sum(packets or 0 for packets, _ in told.buckets) == 5
    ports = {port.number: port for port in counted.read_ports(answers[14])}
    assert (ports[1].packets_in, ports[1].octets_in) == (5, 300)
    assert (ports[2].packets_out or 0) + (ports[3].packets_out or 0) == 5


def _answers(wire: socket.socket, xids: set[int]) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    data, deadline = b"", time.monotonic() + 5
    while set(found) != xids and time.monotonic() < deadline:
        data += wire.recv(1 << 16)
        while len(data) >= 8 and len(data) >= (length := int.from_bytes(data[2:4], "big")):
            message, data = data[:length], data[length:]
            if message[1] == decode.MULTIPART_REPLY:
                found[int.from_bytes(message[4:8], "big")] = message
    return found
