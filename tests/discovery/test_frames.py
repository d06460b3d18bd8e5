"""Address resolution frames, with scapy as the other opinion."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether

from controller_app.discovery import frames
from controller_app.discovery.frames import Asks, Carries, Tells

A, B = 0x02_00_00_00_00_0A, 0x02_00_00_00_00_0B
A_TEXT, B_TEXT = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
V4_A, V4_B = IPv4Address("10.0.0.10"), IPv4Address("10.0.0.11")
V6_A, V6_B = IPv6Address("2001:db8::a"), IPv6Address("2001:db8::b:cdef")


def content(packet: Ether) -> object:
    frame = frames.parse(bytes(packet))
    assert frame is not None
    return frame.content


def test_arp_is_read() -> None:
    request = Ether(src=A_TEXT) / ARP(op=1, hwsrc=A_TEXT, psrc="10.0.0.10", pdst="10.0.0.11")
    assert content(request) == Asks(V4_A, A, V4_B)
    probe = Ether(src=A_TEXT) / ARP(op=1, hwsrc=A_TEXT, psrc="0.0.0.0", pdst="10.0.0.11")
    assert content(probe) == Asks(None, A, V4_B)
    reply = Ether(src=B_TEXT, dst=A_TEXT) / ARP(op=2, hwsrc=B_TEXT, psrc="10.0.0.11", pdst="10.0.0.10")
    assert content(reply) == Tells(V4_B, B)


def test_neighbour_discovery_is_read() -> None:
    asks = (
        Ether(src=A_TEXT)
        / IPv6(src=str(V6_A), dst="ff02::1:ff0b:cdef")
        / ICMPv6ND_NS(tgt=str(V6_B))
        / ICMPv6NDOptSrcLLAddr(lladdr=A_TEXT)
    )
    assert content(asks) == Asks(V6_A, A, V6_B)
    tests_address = Ether(src=A_TEXT) / IPv6(src="::", dst="ff02::1:ff0b:cdef") / ICMPv6ND_NS(tgt=str(V6_B))
    assert content(tests_address) == Asks(None, A, V6_B)
    tells = (
        Ether(src=B_TEXT)
        / IPv6(src=str(V6_B), dst=str(V6_A))
        / ICMPv6ND_NA(tgt=str(V6_B))
        / ICMPv6NDOptDstLLAddr(lladdr=B_TEXT)
    )
    assert content(tells) == Tells(V6_B, B)


def test_neighbour_discovery_that_was_forwarded_or_damaged_is_not_believed() -> None:
    asks = IPv6(src=str(V6_A), dst="ff02::1:ff0b:cdef", hlim=254) / ICMPv6ND_NS(tgt=str(V6_B))
    assert content(Ether(src=A_TEXT) / asks) is None
    whole = bytes(Ether(src=A_TEXT) / IPv6(src=str(V6_A), dst="ff02::1") / ICMPv6ND_NS(tgt=str(V6_B)))
    damaged = frames.parse(whole[:-1] + bytes((whole[-1] ^ 1,)))
    assert damaged is not None
    assert damaged.content is None


def test_other_ip_is_read_and_what_is_tagged_is_not() -> None:
    ping = IP(src="10.0.0.10", dst="10.0.0.11") / ICMP()
    assert content(Ether(src=A_TEXT, dst=B_TEXT) / ping) == Carries(V4_A, V4_B)
    assert content(Ether(src=A_TEXT, dst=B_TEXT) / Dot1Q(vlan=5) / ping) is None


def test_questions_and_answers_are_proper() -> None:
    asks = Ether(frames.question(V4_B, V4_A, A))
    assert (asks.dst, asks.src, asks[ARP].op, asks[ARP].pdst) == ("ff:ff:ff:ff:ff:ff", A_TEXT, 1, "10.0.0.11")
    tells = Ether(frames.answer(V4_B, B, Asks(V4_A, A, V4_B)))
    assert (tells.dst, tells.src, tells[ARP].op) == (A_TEXT, B_TEXT, 2)
    assert (tells[ARP].hwsrc, tells[ARP].psrc, tells[ARP].hwdst, tells[ARP].pdst) == (
        B_TEXT,
        "10.0.0.11",
        A_TEXT,
        "10.0.0.10",
    )
    solicits = Ether(frames.question(V6_B, V6_A, A))
    assert (solicits.dst, solicits[IPv6].dst) == ("33:33:ff:0b:cd:ef", "ff02::1:ff0b:cdef")
    assert solicits[ICMPv6NDOptSrcLLAddr].lladdr == A_TEXT
    advert = Ether(frames.answer(V6_B, B, Asks(V6_A, A, V6_B)))
    assert (advert.dst, advert[IPv6].dst, advert[IPv6].hlim) == (A_TEXT, str(V6_A), 255)
    assert (advert[ICMPv6ND_NA].tgt, advert[ICMPv6ND_NA].S, advert[ICMPv6ND_NA].O) == (str(V6_B), 1, 1)
    assert advert[ICMPv6NDOptDstLLAddr].lladdr == B_TEXT


@pytest.mark.parametrize("raw", [frames.question(V6_B, V6_A, A), frames.answer(V6_B, B, Asks(V6_A, A, V6_B))])
def test_our_checksums_are_right(raw: bytes) -> None:
    packet = Ether(raw)
    ours = packet[IPv6].payload.cksum
    del packet[IPv6].payload.cksum
    assert Ether(bytes(packet))[IPv6].payload.cksum == ours


@given(st.binary(max_size=120))
def test_no_bytes_are_too_strange(data: bytes) -> None:
    frames.parse(data)
    for eth_type in (b"\x08\x06", b"\x08\x00", b"\x86\xdd"):
        frames.parse(data[:12].ljust(12, b"\0") + eth_type + data)
    icmp6 = b"\x60\0\0\0" + len(data).to_bytes(2, "big") + b"\x3a\xff" + bytes(32)
    for kind in (b"\x87", b"\x88"):
        frames.parse(bytes(12) + b"\x86\xdd" + icmp6 + kind + data)
