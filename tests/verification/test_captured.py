"""Captured frames are read as the packets they are, and traced from where they were captured."""

from __future__ import annotations

import examples
import pytest
from like_ovs import wire
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1Q, Ether

from controller_app.model.topology import End, Topology
from controller_app.pipeline.compile import compile
from controller_app.policy.policy_file import parse_policy
from controller_app.verification.captured import FlowKey, flows_in, key_of, read_frame, text_of
from controller_app.verification.classes import packet_classes
from controller_app.verification.packet import TCP as TCP_NUMBER
from controller_app.verification.packet import packet
from controller_app.verification.pcap import CaptureError
from controller_app.verification.trace import TraceError
from controller_app.verification.trace_frame import Start, captured, port_of, summary, trace_frame
from controller_app.verification.verify import Checker
from controller_app.verification.walk import walk_from

TOPOLOGY, POLICY = examples.network(), examples.policy()
STATE, ALLOCATION = compile(POLICY, TOPOLOGY)
KNOWN = (POLICY, TOPOLOGY, STATE, ALLOCATION)
ETHER = Ether(src="02:00:00:00:01:11", dst="0a:00:00:00:00:01")
ASKED = bytes(ETHER / IP(src="10.1.0.11", dst="100.1.1.3") / TCP(sport=40000, dport=8080))


@pytest.mark.parametrize(("transport", "types"), [
    ("mac", {0x0800}), ("vlan", {0x0800}), ("mpls", {0x0800, 0x8847}), ("nsh", {0x0800, 0x894F})])
def test_frames_between_switches_are_what_the_walk_says(transport: str, types: set[int]) -> None:
    """Whatever carries the label: every hop's frame is read as that packet, and its label is found."""
    topology = Topology.load(str(examples.ROOT / "topologies" / "transports.yaml"))
    text = (examples.ROOT / "policies" / "transports.yaml").read_text().replace("transport: mac",
                                                                              f"transport: {transport}")
    policy = parse_policy({"policy.yaml": text}).policy
    state, allocation = compile(policy, topology)
    checker = Checker(policy, topology, state, allocation)
    kinds, chains, tags = set(), set(), set()
    for each in packet_classes(checker.evaluator, topology):
        sent, wanted = checker.frame(each)
        if not wanted.functions or each.kind or each.protocol != TCP_NUMBER or each.source.version == 6:
            continue
        walk = walk_from(checker.network, sent, each.host, arm=checker.arm(each))[0]
        assert walk.main is not None
        for hop in walk.main.hops:
            known = {name: value for name, value in hop.packet.items() if name != "length" and value}
            frame = wire(hop.packet)
            read = read_frame(frame)
            assert {name: value for name, value in read.items() if name != "length" and value} == known
            kinds.add(hop.packet["eth_type"])
            tags.add(bool(hop.packet.get("vlan_tci")))
            said = captured(policy, topology, allocation, frame, read)
            chains |= set(said["names"]) if said is not None else set()
            assert key_of(read) == key_of(sent)
    assert (kinds, chains, True in tags) == (types, {"inspect"}, transport == "vlan")


def test_headers_that_hosts_send() -> None:
    tagged = read_frame(bytes(ETHER / Dot1Q(vlan=7, prio=2) / IP(src="10.0.0.1", dst="10.0.0.2", tos=0xB8) / UDP(
        sport=1, dport=53)))
    assert (tagged["vlan_tci"], tagged["eth_type"], tagged["udp_dst"], tagged["ip_dscp"]) == (0x5007, 0x0800, 53, 46)
    arp = read_frame(bytes(Ether() / ARP(op=1, psrc="10.0.0.1", pdst="10.0.0.9")))
    assert (arp["arp_op"], arp["arp_tpa"], key_of(arp)) == (1, 0x0A000009, None)
    six = read_frame(bytes(Ether() / IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrHopByHop() / ICMPv6EchoRequest(
        id=9)))
    assert (six["ip_proto"], six["icmpv6_type"], six["icmp_id"]) == (58, 128, 9)
    later = read_frame(bytes(Ether() / IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrFragment(nh=6, offset=9) / b"x"))
    assert (later["ip_proto"], later["ip_frag"]) == (44, 3)
    first = read_frame(bytes(Ether() / IP(src="10.0.0.1", dst="10.0.0.2", flags="MF") / TCP(dport=80)))
    assert (first["ip_frag"], first["tcp_dst"]) == (1, 80)
    for length in (3, 13, 20, 33, 40):
        with pytest.raises(CaptureError, match="tcpdump -s 0"):
            read_frame(ASKED[:length])


def test_the_connections_of_a_capture() -> None:
    answer = bytes(Ether() / IP(src="100.1.1.3", dst="10.1.0.11") / TCP(sport=8080, dport=40000, flags="SA"))
    ping = bytes(ETHER / IP(src="10.1.0.11", dst="10.2.0.21") / ICMP(id=5))
    found, others = flows_in(enumerate([ASKED, bytes(Ether() / ARP()), answer, ASKED, ping, b"short"], 1))
    assert [(flow.line, flow.packets, flow.answers) for flow in found] == [(1, 2, 1), (5, 1, 0)]
    assert others == 2
    assert text_of(found[0].key) == "tcp 10.1.0.11:40000 > 100.1.1.3:8080"
    assert text_of(found[1].key) == "icmp 10.1.0.11 > 10.2.0.21"
    assert found[0].key.turned().turned() == found[0].key
    assert isinstance(found[0].key, FlowKey)


def test_a_frame_is_traced_from_its_sender() -> None:
    document = trace_frame(*KNOWN, ASKED)
    assert (document["verdict"], document["classifier"], document["captured"]) == ("delivered", "web", None)
    assert document["forward"][0]["switch"] == TOPOLOGY.hosts["h1"].attach[""].switch
    short = summary(document)
    assert (short["classifier"], short["ways"]) == ("web", len(document["candidates"]))
    answer = bytes(Ether() / IP(src="100.1.1.3", dst="10.1.0.11") / TCP(sport=8080, dport=40000, flags="SA"))
    turned = trace_frame(*KNOWN, answer)
    assert turned["packet"] == document["packet"]
    assert "taken for an answer" in turned["note"]


def test_a_labelled_frame_is_decoded_and_goes_on_from_its_port() -> None:
    whole = trace_frame(*KNOWN, ASKED)
    checker = Checker(*KNOWN)
    asked = next(each for each in packet_classes(checker.evaluator, TOPOLOGY)
                 if each.host == "h1" and each.dport == 8080 and each.source.version == 4)
    walk = walk_from(checker.network, checker.frame(asked)[0], "h1")[0]
    assert walk.main is not None
    hop = walk.main.hops[1]
    at = End(hop.switch, hop.in_port)
    document = trace_frame(*KNOWN, wire(hop.packet), Start(at))
    assert document["captured"]["names"] == ["inspect"]
    assert document["captured"]["direction"] == "forward"
    assert document["forward"][0]["in_port"] == hop.in_port
    assert [hop["switch"] for hop in document["forward"]] == [hop.switch for hop in walk.main.hops[1:]]
    assert document["classifier"] == "web"
    assert document["return"] == []
    assert "candidates" not in document  # its label has chosen
    assert whole["return"]


@pytest.mark.parametrize(("frame", "start", "says"), [
    (bytes(Ether() / ARP()), Start(), "--port SWITCH:PORT"),
    (bytes(Ether() / IP(src="9.9.9.9", dst="10.2.0.21") / TCP()), Start(), "--from HOST"),
    (bytes(Ether() / IP(src="10.1.0.11", dst="10.2.0.21") / ICMP(type=3)), Start(), "no echo"),
    (ASKED, Start(host="h11"), "did you mean 'h1'"),
    (ASKED, Start(End("s1", 77)), "nothing is known to be at s1:77"),
])
def test_what_cannot_be_traced_is_said_with_what_to_do(frame: bytes, start: Start, says: str) -> None:
    with pytest.raises(TraceError, match=says):
        trace_frame(*KNOWN, frame, start)


def test_places_that_are_none() -> None:
    assert port_of("s1:2", TOPOLOGY) == End("s1", 2)
    for text, says in (("s1", "SWITCH:NUMBER"), ("s1:eth0", "SWITCH:NUMBER"), ("s11:1", "did you mean"),
                       ("core:1", "there are s1, s2")):
        with pytest.raises(TraceError, match=says):
            port_of(text, TOPOLOGY)
    assert key_of(packet(eth_type=0x88CC)) is None
