"""The small programs in hosts, held against scapy; nothing here needs root."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from scapy.contrib.nsh import NSH
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from mininet_scenarios.harness.instances import NshHeader
from mininet_scenarios.harness.traffic import PROGRAMS
from mininet_scenarios.insertion import _ether, _packet
from mininet_scenarios.programs import dhcp, nsh_function

OWN, SENDER = "02:00:00:00:03:51", "0a:00:00:00:00:01"
INNER = Ether(src="02:00:00:00:01:11", dst="0e:00:10:00:00:02") / IP(src="10.0.0.1", dst="10.0.0.2") / UDP() / b"data"


def wrapped(**fields: object) -> Packet:
    header = {"mdtype": 1, "nextproto": 3, "ttl": 63, "spi": 0x1234, "si": 255, "context_header": bytes(range(16))}
    return Ether(src=SENDER, dst=OWN, type=0x894F) / NSH(**{**header, **fields}) / INNER


def test_an_nsh_function_changes_the_index_and_who_it_is_for_and_nothing_else() -> None:
    frame = bytes(wrapped())
    assert nsh_function.judge(frame) == (24, None)
    got, sent = Ether(frame), Ether(nsh_function.answer(frame, bytes.fromhex(OWN.replace(":", ""))))
    assert (sent.dst, sent.src, sent[NSH].si) == (SENDER, OWN, 254)
    sent[NSH].si, sent.dst, sent.src = 255, got.dst, got.src
    assert bytes(sent) == frame
    assert NshHeader.of(frame) == (63, 0x1234, 255, bytes(range(16)))


def test_unassigned_bits_pass_as_they_are() -> None:
    frame = bytearray(bytes(wrapped()))
    frame[14] |= 0x10  # the unassigned bit after O
    frame[16] |= 0xF0  # four more before the MD type (RFC 8300 2.2)
    assert nsh_function.judge(bytes(frame))[1] is None
    answered = nsh_function.answer(bytes(frame), bytes(6))
    assert answered[14:21] == bytes(frame[14:21]) and answered[21] == frame[21] - 1


@pytest.mark.parametrize(("fields", "why"), [
    ({"ver": 1}, "version 1"),
    ({"ttl": 0}, "TTL 0"),
    ({"si": 0}, "service index 0"),
    ({"nextproto": 1}, "next protocol 1"),
    ({"length": 5}, "MD type 1 of 20 bytes"),
    ({"mdtype": 2, "length": 1}, "a length of 4 bytes"),
])  # fmt: skip
def test_an_nsh_that_is_wrong_is_said_so(fields: dict[str, object], why: str) -> None:
    assert nsh_function.judge(bytes(wrapped(**fields)))[1] == why
    assert nsh_function.judge(bytes(wrapped())[:20])[1] == "shorter than an NSH"


def test_dhcp_messages_are_what_scapy_reads() -> None:
    raw = dhcp.message(1, b"abcd", bytes.fromhex("020000000113"), "0.0.0.0", dhcp.DISCOVER)
    asked = BOOTP(raw)
    assert (asked.op, asked.xid, asked.chaddr[:6]) == (1, int.from_bytes(b"abcd", "big"), bytes.fromhex("020000000113"))
    assert asked.flags == "B"
    assert ("message-type", 1) in asked[DHCP].options
    offered = BOOTP(dhcp.message(2, b"abcd", bytes(6), "10.1.0.77", dhcp.OFFER))
    assert (offered.yiaddr, ("message-type", 2) in offered[DHCP].options) == ("10.1.0.77", True)


def test_a_forged_packet_is_well_formed() -> None:
    frame = _ether(OWN, SENDER) + b"\x08\x00" + _packet(bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
    packet = Ether(frame)
    assert (packet.dst, packet.src, packet[IP].dst, bytes(packet[Raw])[:4]) == (OWN, SENDER, "10.0.0.2", b"this")
    checksum = packet[IP].chksum
    del packet[IP].chksum
    assert Ether(bytes(packet))[IP].chksum == checksum


def test_a_traceroute_over_loopback_arrives_at_once() -> None:
    plan = [{"to": to, "protocol": protocol, "source_port": 0, "port": 9, "most": 3, "timeout": 2.0}
            for to in ("127.0.0.1",) for protocol in ("udp", "tcp")]  # fmt: skip
    done = subprocess.run([sys.executable, str(Path(PROGRAMS) / "trace_hops.py"), json.dumps(plan)],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert json.loads(done.stdout) == [["127.0.0.1"], ["127.0.0.1"]]
