"""Answers to senders whose packets end in the network, byte by byte, checked with scapy's dissectors."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6ND_Redirect,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from controller_app.discovery.refusals import Closed, Expired, Refused, TooBig, Why, answer

SENDER, TELLER = 0x02_00_00_00_00_11, 0x0A_00_00_00_00_01
GATEWAY, GATEWAY6 = ip_address("10.0.0.254"), ip_address("fd00::fe")
LABEL = "0e:12:34:56:78:9a"


def eth(packet: Packet, **fields: str) -> bytes:
    return bytes(Ether(**{"src": "02:00:00:00:00:11", "dst": LABEL, **fields}) / packet)


def ip(**fields: Any) -> IP:
    return IP(**{"src": "10.0.0.1", "dst": "10.1.0.9", **fields})


def ip6(**fields: Any) -> IPv6:
    return IPv6(**{"src": "fd00::1", "dst": "fd01::9", **fields})


def told(frame: bytes, why: Why, vlan: int | None = None) -> Packet:
    """The answer, dissected anew, with every checksum verified."""
    found = answer(frame, why, SENDER, TELLER, vlan)
    assert found is not None
    again = Ether(found)
    assert (again.dst, again.src) == ("02:00:00:00:00:11", "0a:00:00:00:00:01")
    upper = again[IP] if IP in again else again[IPv6]
    fresh = upper.copy()
    for layer in (fresh, fresh.payload):
        for name in ("chksum", "cksum"):
            if name in layer.fields:
                delattr(layer, name)
    assert bytes(type(upper)(bytes(fresh))) == bytes(upper), "a checksum is wrong"
    return again


@pytest.mark.parametrize("layer", [ip, ip6])
@pytest.mark.parametrize(
    ("flags", "payload", "wanted"),
    [
        # RFC 9293 3.10.7.1: without ACK the reset acknowledges what came, SYN and FIN count one each
        ("S", b"", (0, 1001, "RA")),
        ("S", b"early", (0, 1006, "RA")),
        ("SF", b"", (0, 1002, "RA")),
        ("F", b"xyz", (0, 1004, "RA")),
        ("", b"xyz", (0, 1003, "RA")),
        # with ACK it takes its number from there and acknowledges nothing
        ("A", b"", (7777, 0, "R")),
        ("PA", b"data", (7777, 0, "R")),
        ("SA", b"", (7777, 0, "R")),
        ("FA", b"", (7777, 0, "R")),
    ],
)
def test_tcp_is_reset(layer: Any, flags: str, payload: bytes, wanted: tuple[int, int, str]) -> None:
    segment = TCP(sport=40000, dport=80, seq=1000, ack=7777, flags=flags, options=[("MSS", 1460)]) / Raw(payload)
    sent = layer() / segment
    found = told(eth(sent), Refused(GATEWAY))
    reset = found[TCP]
    assert (found.payload.src, found.payload.dst) == (sent.dst, sent.src)
    assert (reset.sport, reset.dport) == (80, 40000)
    assert (reset.seq, reset.ack, str(reset.flags)) == wanted


def test_sequence_numbers_wrap() -> None:
    reset = told(eth(ip() / TCP(seq=0xFFFFFFFF, flags="S")), Refused())[TCP]
    assert reset.ack == 0


def test_what_ethernet_pads_is_not_counted() -> None:
    frame = eth(ip() / TCP(seq=5, flags="S")) + b"\0" * 6
    assert told(frame, Refused())[TCP].ack == 6


@pytest.mark.parametrize("layer", [ip, ip6])
def test_a_reset_is_never_answered(layer: Any) -> None:
    for flags in ("R", "RA"):
        assert answer(eth(layer() / TCP(flags=flags)), Refused(), SENDER, TELLER) is None


def test_other_protocols_hear_that_it_is_prohibited() -> None:
    sent = ip() / UDP(sport=5, dport=53) / Raw(b"question")
    error = told(eth(sent), Refused(GATEWAY))
    assert (error[IP].src, error[IP].dst, error[IP].tos) == ("10.0.0.254", "10.0.0.1", 0xC0)
    assert (error[ICMP].type, error[ICMP].code) == (3, 13)
    assert bytes(error[ICMP].payload)[: len(bytes(sent))] == bytes(sent)
    sent6 = ip6() / UDP(sport=5, dport=53) / Raw(b"question")
    error = told(eth(sent6), Refused(GATEWAY6))
    assert (error[IPv6].src, error[IPv6].dst) == ("fd00::fe", "fd00::1")
    assert (error[ICMPv6DestUnreach].code, error[IPv6].hlim) == (1, 64)
    assert bytes(error[ICMPv6DestUnreach].payload)[: len(bytes(sent6))] == bytes(sent6)
    # without a gateway the destination says it
    assert told(eth(ip() / ICMP()), Refused())[IP].src == "10.1.0.9"


def test_where_nobody_listens_the_address_itself_says_so() -> None:
    error = told(eth(ip() / UDP(dport=53)), Closed())
    assert (error[IP].src, error[ICMP].type, error[ICMP].code) == ("10.1.0.9", 3, 3)
    error = told(eth(ip6() / UDP(dport=53)), Closed())
    assert (error[IPv6].src, error[ICMPv6DestUnreach].code) == ("fd01::9", 4)
    assert told(eth(ip() / TCP(flags="S")), Closed())[TCP].flags == "RA"
    assert told(eth(ip() / ICMP()), Closed())[ICMP].code == 13


def test_time_exceeded_and_too_big() -> None:
    sent = ip(ttl=1, flags="DF") / UDP(dport=33434) / Raw(b"z" * 20)
    error = told(eth(sent), Expired(GATEWAY))
    assert (error[IP].src, error[ICMP].type, error[ICMP].code) == ("10.0.0.254", 11, 0)
    error = told(eth(sent), TooBig(1462, GATEWAY))
    assert (error[ICMP].type, error[ICMP].code, error[ICMP].nexthopmtu) == (3, 4, 1462)
    error = told(eth(ip6(hlim=1) / UDP()), Expired(GATEWAY6))
    assert (error[ICMPv6TimeExceeded].type, error[ICMPv6TimeExceeded].code) == (3, 0)
    error = told(eth(ip6() / TCP(flags="A")), TooBig(1442, GATEWAY6))
    assert (error[ICMPv6PacketTooBig].type, error[ICMPv6PacketTooBig].mtu) == (2, 1442)
    # no error announces less than every link must take (RFC 791, RFC 8200)
    assert told(eth(ip6() / TCP()), TooBig(1000))[ICMPv6PacketTooBig].mtu == 1280


def test_an_error_is_no_longer_than_it_may_be() -> None:
    error = told(eth(ip() / UDP() / Raw(b"x" * 1400)), Refused(GATEWAY))
    assert error[IP].len == 576
    error = told(eth(ip6() / UDP() / Raw(b"x" * 1400)), Refused(GATEWAY6))
    assert len(bytes(error[IPv6])) == 1280


@pytest.mark.parametrize(
    "packet",
    [
        *(ip() / ICMP(type=kind) / Raw(bytes(28)) for kind in (3, 4, 5, 11, 12)),
        *(ip6() / ICMPv6DestUnreach(type=kind) / Raw(bytes(48)) for kind in (1, 2, 3, 4, 100, 127)),
        ip6() / ICMPv6ND_Redirect(),
        ip(frag=10) / UDP(),
        ip(frag=10, flags="MF") / Raw(b"middle"),
        ip6() / IPv6ExtHdrFragment(offset=5) / Raw(bytes(20)),
        ip(dst="224.0.0.5") / UDP(),
        ip(dst="255.255.255.255") / UDP(),
        ip6(dst="ff02::5") / UDP(),
        *(ip(src=address) / UDP() for address in ("0.0.0.0", "224.0.0.1", "127.0.0.1", "255.255.255.255", "250.1.1.1")),
        *(ip6(src=address) / UDP() for address in ("::", "ff02::1", "::1")),
        ARP(),
        Dot1Q(vlan=5) / ip() / UDP(),
    ],
    ids=lambda packet: packet.summary()[:60],
)
@pytest.mark.parametrize("why", [Refused(), Expired(GATEWAY), TooBig(1400)])
def test_some_are_told_nothing(packet: Packet, why: Why) -> None:
    assert answer(eth(packet), why, SENDER, TELLER) is None


def test_nothing_is_said_to_or_about_a_group_of_machines() -> None:
    for fields in ({"dst": "ff:ff:ff:ff:ff:ff"}, {"dst": "01:00:5e:00:00:01"}, {"src": "03:00:00:00:00:01"}):
        assert answer(eth(ip() / UDP(), **fields), Refused(), SENDER, TELLER) is None


def test_an_error_of_the_other_family_is_none() -> None:
    assert answer(eth(ip() / UDP()), Refused(GATEWAY6), SENDER, TELLER) is None


def test_the_first_fragment_is_told_by_icmp() -> None:
    """Its segment is not whole, so a reset could not number what it acknowledges."""
    assert told(eth(ip(flags="MF") / TCP(flags="S") / Raw(b"x" * 8)), Refused(GATEWAY))[ICMP].code == 13
    error = told(eth(ip6() / IPv6ExtHdrFragment(offset=0, m=1) / TCP(flags="S")), Refused(GATEWAY6))
    assert error[ICMPv6DestUnreach].code == 1


def test_extension_headers_and_options_are_passed_over() -> None:
    authentication = Raw(bytes((6, 4)) + bytes(22))  # RFC 4302: 4 + 2 words of 4 octets
    headers = IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt(nh=51) / authentication
    assert told(eth(ip6() / headers / TCP(seq=9, flags="S")), Refused())[TCP].ack == 10
    hidden = ip6() / IPv6ExtHdrHopByHop() / ICMPv6DestUnreach() / Raw(bytes(48))
    assert answer(eth(hidden), Refused(), SENDER, TELLER) is None
    optioned = IP(src="10.0.0.1", dst="10.1.0.9", options=[b"\x94\x04\0\0"])
    assert told(eth(optioned / TCP(seq=9, flags="S")), Refused())[TCP].ack == 10
    assert told(eth(ip6() / ICMPv6EchoRequest()), Refused(GATEWAY6))[ICMPv6DestUnreach].code == 1


def test_a_tagged_sender_gets_its_tag() -> None:
    found = told(eth(ip() / TCP(flags="S")), Refused(), vlan=77)
    assert found[Dot1Q].vlan == 77
    assert len(bytes(found)) >= 64


@pytest.mark.parametrize("packet", [ip() / TCP(flags="S"), ip6() / IPv6ExtHdrHopByHop() / TCP(flags="S")])
def test_whatever_is_cut_off_raises_nothing(packet: Packet) -> None:
    whole = eth(packet)
    for length in range(len(whole)):
        for why in (Refused(), Expired(GATEWAY), TooBig(1400, GATEWAY6)):
            answer(whole[:length], why, SENDER, TELLER)
    for position in range(14, len(whole)):
        for value in (0, 1, 0x0F, 0x7F, 0xFF):
            answer(whole[:position] + bytes((value,)) + whole[position + 1 :], Refused(), SENDER, TELLER)
