"""Hosts ask their gateway for names of services: real switches send it up, and the answer comes where they are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import bed
import dns.message
import dns.rcode
import dummy_ovs as dummy
import pytest
from plain_controller import PlainController
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from controller_app.discovery.ports import PortId
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.openflow.decode import PacketIn
from controller_app.pipeline.compile import compile, compile_next
from controller_app.pipeline.cookies import cookie, object_name
from controller_app.pipeline.tables import ANSWERS_METER, NUMBER, TENANT
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.topology_file import parse_topology
from controller_app.runtime.answering import BURST
from controller_app.runtime.computed import Computed
from controller_app.runtime.resolving import Resolver, is_question

GATEWAY = "0a:00:00:00:00:01"
NETWORK = """\
version: 1
switches: {s1: {dpid: 1}, s2: {dpid: 2}}
links: [[s1:1, s2:1]]
hosts:
  h1: {attach: s1:11, ip: [10.1.0.1, "fd01::1"], mac: 02:00:00:00:00:11}
  h2: {attach: s1:12, ip: 10.1.0.2, mac: 02:00:00:00:00:12, vlan: 42}
  w1: {attach: s2:13, ip: [10.2.0.3, "fd02::3"], mac: 02:00:00:00:00:13}
  t1: {attach: s1:14, ip: 10.1.0.1, mac: 02:00:00:00:00:14}
  n1: {attach: s1:15, ip: 10.1.0.1, mac: 02:00:00:00:00:15}
"""
BLUE = """\
version: 1
tenant: blue
networks:
  a: {subnet: [10.1.0.0/24, "fd01::/64"], gateway: [10.1.0.254, "fd01::fe"]}
  b: {subnet: [10.2.0.0/24, "fd02::/64"], gateway: [10.2.0.254, "fd02::fe"]}
  vips: {subnet: [100.1.1.0/24, "fd03::/64"], kind: service}
endpoints:
  h1: {host: h1, network: a}
  h2: {host: h2, network: a}
  w1: {host: w1, network: b, labels: {tier: web}}
services:
  app-svc: {network: vips, ip: [100.1.1.3, "fd03::3"], selector: tier=web, ports: [8080:80/tcp]}
"""
RED = """\
version: 1
tenant: red
networks:
  a: {subnet: 10.1.0.0/24, gateway: 10.1.0.254}
  vips: {subnet: 100.1.1.0/24, kind: service}
endpoints:
  t1: {host: t1, network: a, labels: {tier: web}}
services:
  app-svc: {network: vips, ip: 100.1.1.9, selector: tier=web, ports: [80:80/tcp]}
"""
NO_SERVICES = """\
version: 1
tenant: green
networks:
  a: {subnet: 10.1.0.0/24, gateway: 10.1.0.254}
endpoints:
  n1: {host: n1, network: a}
"""


def network(*texts: str) -> tuple[Topology, Policy]:
    """The network with the hosts of these policies."""
    policy = parse_policy({f"{n}.yaml": text for n, text in enumerate(texts)}).policy
    topology = parse_topology(NETWORK, "network.yaml")
    named = {endpoint.host for tenant in policy.tenants.values() for endpoint in tenant.endpoints.values()}
    return replace(topology, hosts={name: topology.hosts[name] for name in topology.hosts if name in named}), policy


def frame(ip: Any, name: str, rdtype: str = "A", host: int = 11, vlan: int | None = None) -> Any:
    """A question as a host sends it, from port 5353."""
    tag = [] if vlan is None else [Dot1Q(vlan=vlan, prio=3)]
    made: Any = Ether(src=f"02:00:00:00:00:{host}", dst=GATEWAY)
    for layer in (*tag, ip, UDP(sport=5353, dport=53), Raw(dns.message.make_query(name, rdtype, id=7).to_wire())):
        made = made / layer
    return made


def said(found: bytes) -> dns.message.Message:
    return dns.message.from_wire(bytes(Ether(found)[UDP].payload)[: Ether(found)[UDP].len - 8])


def texts(message: dns.message.Message) -> list[str]:
    return [rdata.to_text() for rrset in message.answer for rdata in rrset]


# -- rules -------------------------------------------------------------------------------------------------------------


def test_only_gateways_of_tenants_with_services_take_questions() -> None:
    topology, policy = network(BLUE, RED, NO_SERVICES)
    state, allocation = compile(policy, topology)
    asked = [
        flow
        for flow in state["s1"].flows.values()
        if any((c.field, c.value) in (("udp_dst", 53), ("tcp_dst", 53)) for c in flow.match)
    ]
    assert {flow.table for flow in asked} == {NUMBER["respond"]}
    # by UDP and TCP; what refuses TCP takes a tag off first where there is anybody with one
    names = [object_name(flow.cookie, allocation) for flow in asked]
    assert {name: names.count(name) for name in names} == {
        "networks/blue/a": 6, "networks/blue/b": 6, "networks/red/a": 2,
    }  # fmt: skip
    assert ANSWERS_METER in state["s1"].meters
    topology, policy = network(BLUE[: BLUE.index("services:")], NO_SERVICES)
    state, _ = compile(policy, topology)
    fields = {c.field for held in state.values() for flow in held.flows.values() for c in flow.match}
    assert not fields & {"udp_dst", "tcp_dst"}


# -- what comes up, and what goes out ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def computed() -> Computed:
    topology, policy = network(BLUE, RED, NO_SERVICES)
    return Computed(policy, topology, compile_next(None, policy, topology))


def packet_in(computed: Computed, made: Any, tenant: str, owner: str = "", table: str = "respond") -> PacketIn:
    name = owner or f"networks/{tenant}/a"
    known = cookie(name, computed.allocation.ids["objects"].get(name, 0))
    fields = {TENANT.field: computed.allocation.ids["tenants"].get(tenant, 999) << TENANT.offset}
    return PacketIn(1, NUMBER[table], known, fields, bytes(made), len(made))


FOUR = IP(src="10.1.0.1", dst="10.1.0.254")


def test_a_question_is_answered_at_its_port(computed: Computed) -> None:
    resolver = Resolver()
    for tenant, address in (("blue", "100.1.1.3"), ("red", "100.1.1.9")):
        packet = packet_in(computed, frame(FOUR, f"app-svc.{tenant}.svc.internal"), tenant)
        assert is_question(packet)
        (sent,) = resolver.tell(computed, PortId(1, 11), packet, 1.0)
        assert (sent.dpid, sent.ports) == (1, (11,))
        assert texts(said(sent.frame)) == [address]
    assert resolver.told == {"NOERROR": 2}


def test_what_else_comes_up_is_no_question(computed: Computed) -> None:
    made = frame(FOUR, "app-svc.blue.svc.internal")
    for owner, table in (("hosts/h1", "respond"), ("pipeline/base", "respond"), ("services/blue/app-svc", "respond"),
                         ("networks/blue/a", "addressing")):  # fmt: skip
        assert not is_question(packet_in(computed, made, "blue", owner, table))
    assert not is_question(packet_in(computed, made, "blue")._replace(cookie=7))


def test_what_cannot_be_read_or_told_is_counted(computed: Computed) -> None:
    resolver = Resolver()
    good = packet_in(computed, frame(FOUR, "app-svc.blue.svc.internal"), "blue")
    answered = Ether(dst=GATEWAY) / FOUR / UDP(sport=53, dport=53) / Raw(b"\0\0\x80\0" + bytes(8))
    assert resolver.tell(computed, PortId(1, 11), packet_in(computed, answered, "blue"), 1.0) == ()
    assert resolver.tell(computed, PortId(1, 11), packet_in(computed, Ether() / ARP(), "blue"), 1.0) == ()
    assert resolver.tell(computed, PortId(1, 11), packet_in(computed, frame(FOUR, "x"), "nobody"), 1.0) == ()
    assert resolver.tell(computed, PortId(1, 0xFFFFFFFE), good, 1.0) == ()
    assert resolver.told == {"unreadable": 4}
    told = [bool(resolver.tell(computed, PortId(1, 12), good, 1.0)) for _ in range(int(BURST) + 3)]
    assert told == [True] * int(BURST) + [False] * 3
    assert resolver.told["held-back"] == 3
    assert resolver.tell(computed, PortId(1, 11), good, 1.0)  # another is not kept from his


def test_a_name_follows_its_address_through_a_change(computed: Computed) -> None:
    resolver = Resolver()
    packet = packet_in(computed, frame(FOUR, "app-svc.blue.svc.internal"), "blue")
    assert texts(said(resolver.tell(computed, PortId(1, 11), packet, 1.0)[0].frame)) == ["100.1.1.3"]
    topology, policy = network(BLUE.replace("100.1.1.3", "100.1.1.77"), RED, NO_SERVICES)
    moved = Computed(policy, topology, compile_next(computed.compiled, policy, topology))
    assert texts(said(resolver.tell(moved, PortId(1, 11), packet, 1.0)[0].frame)) == ["100.1.1.77"]
    assert texts(said(resolver.tell(computed, PortId(1, 11), packet, 1.0)[0].frame)) == ["100.1.1.3"]


# -- real switches -----------------------------------------------------------------------------------------------------


@contextmanager
def lab(ovs: dummy.DummyOvs, policy: str) -> Iterator[tuple[bed.Bed, PlainController]]:
    topology, read = network(policy)
    switches = bed.Bed(ovs, topology, read)
    with PlainController(topology, policy, observe_links=False) as controller:
        for bridge in switches.bridges.values():
            ovs.set_controller(bridge, "127.0.0.1", controller.port)
        controller.wait_switches(2)
        for port in switches.ports.values():
            ovs.sent(port)
        yield switches, controller


def heard(switches: bed.Bed, sender: str, made: Any, layer: Any, seconds: float = 3) -> bytes:
    """What the sender of a frame gets back; nobody else may hear anything of it."""
    ovs = switches.ovs
    ovs.follow_flows()
    ovs.receive(switches.ports[sender, ""], bytes(made))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for found in ovs.sent(switches.ports[sender, ""], 1, 0.5):
            if layer in Ether(found):
                for (other, arm), port in switches.ports.items():
                    if other != sender:
                        assert not [f for f in ovs.sent(port, 0) if ARP not in Ether(f)], (other, arm)
                return found
    raise AssertionError(f"{sender} heard no {layer.__name__}")


def test_real_switches(dummy_ovs: dummy.DummyOvs) -> None:
    with lab(dummy_ovs, BLUE) as (switches, controller):
        name = "aPp-Svc.blue.svc.internal"
        found = heard(switches, "h1", frame(FOUR, name), UDP)
        assert (Ether(found).dst, Ether(found).src) == ("02:00:00:00:00:11", GATEWAY)
        assert (Ether(found)[IP].src, Ether(found)[UDP].sport, Ether(found)[UDP].dport) == ("10.1.0.254", 53, 5353)
        answer = said(found)
        assert (answer.id, texts(answer), answer.question[0].name.to_text()) == (7, ["100.1.1.3"], f"{name}.")
        # IPv6, and another network's gateway
        six = heard(switches, "h1", frame(IPv6(src="fd01::1", dst="fd02::fe"), name, "AAAA"), UDP)
        assert (Ether(six)[IPv6].src, texts(said(six))) == ("fd02::fe", ["fd03::3"])
        # with the tag it came with
        tagged = heard(switches, "h2", frame(IP(src="10.1.0.2", dst="10.1.0.254"), name, host=12, vlan=42), UDP)
        assert (Ether(tagged)[Dot1Q].vlan, Ether(tagged)[Dot1Q].prio, texts(said(tagged))) == (42, 3, ["100.1.1.3"])
        # at the other switch
        assert texts(said(heard(switches, "w1", frame(IP(src="10.2.0.3", dst="10.2.0.254"), name, host=13), UDP)))
        for unknown, rcode in (("x.blue.svc.internal", dns.rcode.NXDOMAIN), ("example.org", dns.rcode.REFUSED)):
            assert said(heard(switches, "h1", frame(FOUR, unknown), UDP)).rcode() == rcode
        assert controller.do(lambda: dict(controller.conductor.resolver.told)) == {
            "NOERROR": 4, "NXDOMAIN": 1, "REFUSED": 1,
        }  # fmt: skip
        # by TCP it is refused at once
        syn = Ether(src="02:00:00:00:00:11", dst=GATEWAY) / FOUR / TCP(sport=4000, dport=53, seq=9, flags="S")
        reset = Ether(heard(switches, "h1", syn, TCP))
        assert (reset[IP].src, reset[TCP].sport, reset[TCP].flags, reset[TCP].ack) == ("10.1.0.254", 53, "RA", 10)
        tagged_syn = Ether(src="02:00:00:00:00:12", dst=GATEWAY) / Dot1Q(vlan=42) / IP(
            src="10.1.0.2", dst="10.1.0.254") / TCP(sport=4000, dport=53, flags="S")  # fmt: skip
        reset = Ether(heard(switches, "h2", tagged_syn, TCP))
        assert (reset[Dot1Q].vlan, reset[IP].src, reset[TCP].flags) == (42, "10.1.0.254", "RA")


def test_what_is_for_others_or_forged_is_not_answered(dummy_ovs: dummy.DummyOvs) -> None:
    with lab(dummy_ovs, BLUE) as (switches, controller):
        name = "app-svc.blue.svc.internal"
        to_server = frame(IP(src="10.1.0.1", dst="10.2.0.3"), name)
        assert len(switches.send("h1", bytes(to_server)).at("w1")) == 1
        forged = frame(IP(src="10.1.0.99", dst="10.1.0.254"), name)
        assert not switches.send("h1", bytes(forged)).hosts()
        # what came before on the same connection has been looked at by now
        assert texts(said(heard(switches, "h1", frame(FOUR, name), UDP))) == ["100.1.1.3"]
        assert controller.do(lambda: dict(controller.conductor.resolver.told)) == {"NOERROR": 1}


def test_who_has_no_services_is_not_answered(dummy_ovs: dummy.DummyOvs) -> None:
    with lab(dummy_ovs, NO_SERVICES) as (switches, controller):
        assert not switches.send("n1", bytes(frame(FOUR, "app-svc.green.svc.internal", host=15))).hosts()
        echo = Ether(src="02:00:00:00:00:15", dst=GATEWAY) / FOUR / ICMP()
        assert len(switches.send("n1", bytes(echo)).at("n1")) == 1  # the gateway is there
        assert not controller.do(lambda: dict(controller.conductor.resolver.told))
