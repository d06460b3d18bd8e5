"""Real switches refuse, expire, measure and count; who sent is told, whoever and wherever he is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bed
import dummy_ovs as dummy
import pytest
from plain_controller import PlainController
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6
from scapy.layers.l2 import ARP, Ether

from controller_app.api import steering_views, views
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.topology_file import parse_topology
from controller_app.reconcile import reconciler

GATEWAY = "0a:00:00:00:00:01"
NETWORK = """\
version: 1
switches: {s1: {dpid: 1}, s2: {dpid: 2}, s3: {dpid: 3}}
links:
  - [s1:1, s2:1]
  - {ends: [s2:2, s3:1], mtu: 1400}
hosts:
  h1: {attach: s1:11, ip: [10.1.0.1, "fd01::1"], mac: 02:00:00:00:00:11}
  h2: {attach: s3:12, ip: [10.2.0.2, "fd02::2"], mac: 02:00:00:00:00:12}
  h3: {attach: s1:13, ip: 10.1.0.3, mac: 02:00:00:00:00:13}
  r1: {attach: s2:21, ip: 10.1.0.21}
"""
POLICY = """\
version: 1
networks:
  a: {subnet: [10.1.0.0/24, "fd01::/64"], gateway: [10.1.0.254, "fd01::fe"]}
  b: {subnet: [10.2.0.0/24, "fd02::/64"], gateway: [10.2.0.254, "fd02::fe"]}
functions:
  router: {kind: other, mode: routed, instances: {r1: {host: r1}}}
chains:
  far: {through: [router], stickiness: none}
classifiers:
  - {name: no-web, from: {network: a}, to: {network: b}, traffic: [tcp/80, udp/53], then: reject}
  - {name: aside, from: {host: h3}, to: {host: h2}, traffic: [tcp/22], then: {chain: far}}
"""


@contextmanager
def lab(ovs: dummy.DummyOvs, policy: str = POLICY) -> Iterator[tuple[bed.Bed, PlainController]]:
    topology = parse_topology(NETWORK, "network.yaml")
    network = bed.Bed(ovs, topology, parse_policy({"policy.yaml": policy}).policy)
    with PlainController(topology, policy, observe_links=False) as controller:
        for bridge in network.bridges.values():
            ovs.set_controller(bridge, "127.0.0.1", controller.port)
        controller.wait_switches(3)
        for port in network.ports.values():
            ovs.sent(port)
        yield network, controller


def told(network: bed.Bed, sender: str, frame: Any, layer: Any, seconds: float = 3) -> Ether:
    """What the sender of a frame gets to hear of a layer; nobody else may hear anything of it."""
    ovs = network.ovs
    ovs.follow_flows()
    ovs.receive(network.ports[sender, ""], bytes(frame))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for found in ovs.sent(network.ports[sender, ""], 1, 0.5):
            if layer in Ether(found):
                for (other, arm), port in network.ports.items():
                    if other != sender:
                        assert not [f for f in ovs.sent(port, 0) if ARP not in Ether(f)], (other, arm)
                return Ether(found)
    raise AssertionError(f"{sender} heard no {layer.__name__}")


def to_gateway(host: int) -> Ether:
    return Ether(src=f"02:00:00:00:00:{host}", dst=GATEWAY)


def test_a_refused_sender_is_told(dummy_ovs: dummy.DummyOvs) -> None:
    with lab(dummy_ovs) as (network, controller):
        syn = to_gateway(11) / IP(src="10.1.0.1", dst="10.2.0.2") / TCP(sport=4000, dport=80, seq=100, flags="S")
        reset = told(network, "h1", syn, TCP)
        assert (reset.dst, reset.src, reset[IP].src) == ("02:00:00:00:00:11", GATEWAY, "10.2.0.2")
        assert (reset[TCP].flags, reset[TCP].ack, reset[TCP].dport) == ("RA", 101, 4000)
        error = told(network, "h1", to_gateway(11) / IP(src="10.1.0.1", dst="10.2.0.2") / UDP(dport=53), ICMP)
        assert (error[ICMP].type, error[ICMP].code, error[IP].src) == (3, 13, "10.1.0.254")
        question = to_gateway(11) / IPv6(src="fd01::1", dst="fd02::2") / UDP(dport=53)
        error = told(network, "h1", question, ICMPv6DestUnreach)
        assert (error[ICMPv6DestUnreach].code, error[IPv6].src) == (1, "fd01::fe")
        assert controller.do(lambda: dict(controller.conductor.teller.told)) == {"refused": 3}


def test_a_packet_whose_ttl_ends_at_the_far_edge_is_answered_where_it_came_from(dummy_ovs: dummy.DummyOvs) -> None:
    with lab(dummy_ovs) as (network, _):
        probe = to_gateway(11) / IP(src="10.1.0.1", dst="10.2.0.2", ttl=1) / UDP(dport=33434)
        error = told(network, "h1", probe, ICMP)
        assert (error[ICMP].type, error[ICMP].code, error[IP].src) == (11, 0, "10.1.0.254")
        assert error[IP].dst == "10.1.0.1"
        probe6 = to_gateway(11) / IPv6(src="fd01::1", dst="fd02::2", hlim=1) / UDP(dport=33434)
        assert told(network, "h1", probe6, ICMPv6TimeExceeded)[IPv6].src == "fd01::fe"
        # with one more it arrives
        probe[IP].ttl = 2
        del probe[IP].chksum
        seen = network.send("h1", bytes(probe))
        assert [Ether(f)[IP].ttl for f in seen.at("h2")] == [1]


def test_what_does_not_fit_a_link_is_announced(dummy_ovs: dummy.DummyOvs) -> None:
    with lab(dummy_ovs) as (network, _):
        large = to_gateway(11) / IP(src="10.1.0.1", dst="10.2.0.2", flags="DF") / UDP(dport=9) / (b"x" * 1373)
        error = told(network, "h1", large, ICMP)
        assert (error[ICMP].type, error[ICMP].code, error[ICMP].nexthopmtu) == (3, 4, 1400)
        large6 = to_gateway(11) / IPv6(src="fd01::1", dst="fd02::2") / UDP(dport=9) / (b"x" * 1353)
        assert told(network, "h1", large6, ICMPv6PacketTooBig)[ICMPv6PacketTooBig].mtu == 1400
        fits = to_gateway(11) / IP(src="10.1.0.1", dst="10.2.0.2", flags="DF") / UDP(dport=9) / (b"x" * 1372)
        assert len(network.send("h1", bytes(fits)).at("h2")) == 1


def test_a_function_without_a_mac_is_asked_and_then_used(dummy_ovs: dummy.DummyOvs) -> None:
    with lab(dummy_ovs) as (network, controller):
        port = network.ports["r1", ""]
        deadline = time.monotonic() + 10
        question = None
        while question is None and time.monotonic() < deadline:
            question = next((Ether(f) for f in dummy_ovs.sent(port, 1, 0.5) if ARP in Ether(f)), None)
        assert question is not None, "it was not asked"
        assert (question[ARP].pdst, question[ARP].psrc) == ("10.1.0.21", "10.1.0.254")
        mac = "02:00:00:00:00:21"
        answer = Ether(src=mac, dst=GATEWAY) / ARP(op=2, hwsrc=mac, psrc="10.1.0.21", hwdst=GATEWAY, pdst="10.1.0.254")
        dummy_ovs.receive(port, bytes(answer))
        controller.wait(lambda c: c.topology.hosts["r1"].mac == mac)
        controller.wait_switches(3)
        syn = to_gateway(13) / IP(src="10.1.0.3", dst="10.2.0.2") / TCP(dport=22, flags="S")
        assert [Ether(f).dst for f in network.send("h3", bytes(syn)).at("r1")] == [mac]


def test_forged_frames_are_counted_by_switch_port_and_reason(
    dummy_ovs: dummy.DummyOvs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "AUDIT_INTERVAL", 0.3)
    monkeypatch.setattr(reconciler, "AUDIT_PACE", 1e9)
    with lab(dummy_ovs) as (network, controller):
        own = Ether(src="02:00:00:00:00:11", dst=GATEWAY)
        forged = {
            "source": own / IP(src="10.1.0.99", dst="10.2.0.2") / UDP(),
            "label": Ether(src="02:00:00:00:00:11", dst="0e:00:00:00:00:01") / IP(src="10.1.0.1") / UDP(),
            "gateway": Ether(src=GATEWAY, dst="02:00:00:00:00:12") / IP() / UDP(),
            "mpls": Ether(src="02:00:00:00:00:11", dst=GATEWAY, type=0x8847) / (b"\0\x10\x01\x40" + b"\0" * 60),
            "nsh": Ether(src="02:00:00:00:00:11", dst=GATEWAY, type=0x894F) / (b"\0" * 60),
        }
        for count, frame in enumerate(forged.values(), 1):
            assert not network.send("h1", *[bytes(frame)] * count).hosts()
        wanted = {reason: count for count, reason in enumerate(forged, 1)}

        def counted() -> dict[str, int]:
            totals = controller.conductor.conversations[1].refused.totals
            return {place.reason: frames for place, frames in totals.items() if frames}

        controller.wait(lambda _: counted() == wanted)
        hosts = controller.do(lambda: views.hosts(controller.conductor))["hosts"]
        assert {host["name"]: host["refused"] for host in hosts} == {"h1": 3, "h2": 0, "h3": 0, "r1": 0}
        metrics = controller.do(lambda: steering_views.metrics(controller.conductor))
        assert 'chainsteer_refused_frames_total{switch="s1",port="11",reason="source"} 1\n' in metrics
        assert 'chainsteer_refused_frames_total{switch="s1",port="11",reason="label"} 2\n' in metrics


def test_the_hash_of_a_real_switch_is_tried_and_nothing_written_for_it(dummy_ovs: dummy.DummyOvs) -> None:
    functions = "r1: {attach: {in: s2:21, out: s2:22}}\n  r2: {attach: {in: s2:23, out: s2:24}}"
    network_text = NETWORK.replace("r1: {attach: s2:21, ip: 10.1.0.21}", functions)
    policy = POLICY.replace("mode: routed, instances: {r1: {host: r1}}", "instances: {r1: {host: r1}, r2: {host: r2}}")
    topology = parse_topology(network_text, "network.yaml")
    network = bed.Bed(dummy_ovs, topology, parse_policy({"policy.yaml": policy}).policy)
    with PlainController(topology, policy, observe_links=False) as controller:
        for bridge in network.bridges.values():
            dummy_ovs.set_controller(bridge, "127.0.0.1", controller.port)
        controller.wait_switches(3)
        controller.wait(lambda c: c.conversations[1].facts.symmetric is True)
        groups = dummy_ovs.ofctl("dump-groups", "b0")
        described = controller.do(lambda: views.switches(controller.conductor))["switches"]
        by_name = {switch["name"]: switch for switch in described}
        assert by_name["s1"]["version"].startswith(tuple("23456789"))
        assert by_name["s1"]["hash"] == "dp_hash, the same in both directions"
        assert by_name["s1"]["meters"]
        assert controller.do(lambda: controller.conductor.hashing.why) is None
        assert dummy_ovs.ofctl("dump-groups", "b0") == groups
        # and no question left the switch
        assert not [f for port in network.ports.values() for f in dummy_ovs.sent(port) if b"hash?" in f]
