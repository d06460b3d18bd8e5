"""Questions in frames, and their answers: what scapy makes is read, and what we make scapy reads."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from controller_app.naming.datagrams import read, reply

HOST, GATEWAY = "02:00:00:00:00:11", "0a:00:00:00:00:01"
ETHERNET = Ether(src=HOST, dst=GATEWAY)
FOUR, SIX = IP(src="10.1.0.1", dst="10.1.0.254"), IPv6(src="fd01::1", dst="fd01::fe")
GATEWAY_MAC = int(GATEWAY.replace(":", ""), 16)


@given(
    st.sampled_from([FOUR, SIX, SIX / IPv6ExtHdrDestOpt()]),
    st.one_of(st.none(), st.tuples(st.integers(0, 4095), st.integers(0, 7))),
    st.integers(1, 65535),
    st.binary(max_size=1232),
    st.binary(min_size=1, max_size=1232),
)
def test_an_answer_goes_back_the_way_the_question_came(
    ip: Any, tag: tuple[int, int] | None, port: int, asked: bytes, said: bytes
) -> None:
    vlan = [] if tag is None else [Dot1Q(vlan=tag[0], prio=tag[1])]
    frame: Any = ETHERNET
    for layer in (*vlan, ip, UDP(sport=port, dport=53)):
        frame = frame / layer
    datagram = read(bytes(frame / Raw(asked)).ljust(60, b"\0"))
    assert datagram is not None
    assert (datagram.source_port, datagram.destination_port, datagram.payload) == (port, 53, asked)
    wire = reply(datagram, said, GATEWAY_MAC)
    assert len(wire) >= 60
    found = Ether(wire)
    assert (found.src, found.dst) == (GATEWAY, HOST)
    assert (Dot1Q in found) == (tag is not None)
    if tag is not None:
        assert (found[Dot1Q].vlan, found[Dot1Q].prio) == tag
    version = IPv6 if IPv6 in frame else IP
    assert (found[version].src, found[version].dst) == (frame[version].dst, frame[version].src)
    assert (found[UDP].sport, found[UDP].dport) == (53, port)
    length = found[UDP].len - 8
    assert bytes(found[UDP])[8 : 8 + length] == said
    # scapy's own checksums are the same
    again = found.copy()
    del again[UDP].chksum
    if version is IP:
        del again[IP].chksum
    assert bytes(Ether(bytes(again))) == wire


@pytest.mark.parametrize(
    "frame",
    [
        ETHERNET / ARP(),
        ETHERNET / FOUR / TCP(dport=53),
        ETHERNET / IP(src="10.1.0.1", dst="10.1.0.254", flags="MF") / UDP(sport=1, dport=53) / b"x",
        ETHERNET / IP(src="10.1.0.1", dst="10.1.0.254", frag=3) / UDP(sport=1, dport=53) / b"x",
        ETHERNET / SIX / IPv6ExtHdrFragment(m=1) / UDP(sport=1, dport=53) / b"x",
        ETHERNET / FOUR / UDP(sport=0, dport=53) / b"x",
        ETHERNET / FOUR / UDP(sport=1, dport=53, len=7) / b"x",
        ETHERNET / FOUR / UDP(sport=1, dport=53, len=100) / b"x",
        ETHERNET / IP(src="0.0.0.0", dst="10.1.0.254") / UDP(sport=1, dport=53) / b"x",
        ETHERNET / IP(src="224.0.0.1", dst="10.1.0.254") / UDP(sport=1, dport=53) / b"x",
        ETHERNET / IPv6(src="::", dst="fd01::fe") / UDP(sport=1, dport=53) / b"x",
        Ether(src="01:00:5e:00:00:01", dst=GATEWAY) / FOUR / UDP(sport=1, dport=53) / b"x",
    ],
)
def test_nothing_else_is_answered(frame: Any) -> None:
    assert read(bytes(frame)) is None


@given(st.binary(max_size=80), st.integers(0, 60))
def test_what_is_cut_or_random_does_no_harm(noise: bytes, length: int) -> None:
    read(noise)
    whole = bytes(ETHERNET / FOUR / UDP(sport=1, dport=53) / Raw(b"a question of 20 byte"))
    assert read(whole[:length]) is None
    read(whole[:14] + noise)
    read(whole[:34] + noise)
