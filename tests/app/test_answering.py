"""Who is told that his packet ended in the network: whatever is left of where it came from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether

from controller_app.discovery.ports import PortId, SendFrame
from controller_app.model.allocation import Allocation
from controller_app.model.topology import Topology
from controller_app.openflow.decode import PacketIn
from controller_app.pipeline.compile import compile_next
from controller_app.pipeline.cookies import OURS_COOKIE
from controller_app.pipeline.labels import Label
from controller_app.pipeline.tables import NUMBER, TENANT, TRANSPORT, ZONE
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.topology_file import parse_topology
from controller_app.runtime.answering import BURST, INVALID_TTL, MAX_SENDERS, RATE, Answers, Rates, Teller, kind_of
from controller_app.runtime.computed import Computed
from controller_app.transports import TRANSPORTS

NETWORK = """\
version: 1
switches: {s1: {dpid: 1}, s2: {dpid: 2}}
links: [[s1:1, s2:1]]
hosts:
  h1: {attach: s1:11, ip: 10.1.0.1, mac: 02:00:00:00:00:11}
  h2: {attach: s2:12, ip: 10.2.0.2, mac: 02:00:00:00:00:12}
  t1: {attach: s2:13, ip: 10.1.0.1, mac: 02:00:00:00:00:13}
  t2: {attach: s1:14, ip: 10.2.0.2, mac: 02:00:00:00:00:14}
  wan: {attach: s2:15, mac: 02:00:00:00:00:15, prefixes: [0.0.0.0/0]}
"""
BLUE = """\
version: 1
tenant: blue
networks:
  a: {subnet: 10.1.0.0/24, gateway: 10.1.0.254}
  b: {subnet: 10.2.0.0/24, gateway: 10.2.0.254}
endpoints:
  h1: {host: h1, network: a}
  h2: {host: h2, network: b}
  wan: {host: wan, network: b}
"""
RED = """\
version: 1
tenant: red
networks:
  a: {subnet: 10.1.0.0/24, gateway: 10.1.0.1}
  b: {subnet: 10.2.0.0/24}
endpoints:
  t1: {host: t1, network: a}
  t2: {host: t2, network: b}
"""
WAYPOINTS = {"host:h1": 8, "host:h2": 16, "host:t1": 17, "host:t2": 9, "host:wan": 18}
ALLOCATION = Allocation(
    waypoints=WAYPOINTS,
    ids={"tenants": {"blue": 1, "red": 2}, "zones": {"s1:11": 5, "s2:12": 6, "s2:13": 7, "s1:14": 8, "s2:15": 9}},
)
ANY = 0xFFFF_FFFF  # what is left of in_port where the pipeline wrote it


@pytest.fixture(scope="module")
def topology() -> Topology:
    return parse_topology(NETWORK, "network.yaml")


@pytest.fixture(scope="module")
def answers(topology: Topology) -> Answers:
    policy = parse_policy({"blue.yaml": BLUE, "red.yaml": RED}).policy
    return Answers(policy, topology, ALLOCATION)


def packet_in(table: str, frame: Any, tenant: int = 0, zone: int = 0, **fields: int) -> PacketIn:
    data = bytes(frame)
    registers = {TENANT.field: tenant << TENANT.offset, ZONE.field: zone << ZONE.offset}
    return PacketIn(1, NUMBER[table], OURS_COOKIE, {"in_port": ANY, **registers, **fields}, data, len(data))


def frame(upper: Any, src: str, dst: str, exit_host: str, routed: bool = True, mac: str = "02:00:00:00:00:11") -> Any:
    label = Label(3, 7, exit=WAYPOINTS[f"host:{exit_host}"], routed=routed).mac().to_bytes(6, "big").hex(":")
    return Ether(src=mac, dst=label) / IP(src=src, dst=dst) / upper


def told(found: SendFrame | None) -> tuple[int, int, Ether]:
    assert found is not None
    (port,) = found.ports
    return found.dpid, port, Ether(found.frame)


def test_a_refused_connection_is_reset_at_its_own_port(answers: Answers) -> None:
    sent = frame(TCP(dport=80, flags="S"), "10.1.0.1", "10.2.0.2", "h2")
    dpid, port, answer = told(answers.to("s1", packet_in("reject", sent, tenant=1, zone=5)))
    assert (dpid, port) == (1, 11)
    assert (answer.dst, answer.src) == ("02:00:00:00:00:11", "0a:00:00:00:00:01")
    assert answer[TCP].flags == "RA"


@pytest.mark.parametrize("table", ["reject", "classify", "choose"])
def test_tenants_with_the_same_addresses_are_told_apart(answers: Answers, table: str) -> None:
    sent = frame(UDP(), "10.1.0.1", "10.2.0.2", "t2", mac="02:00:00:00:00:13")
    dpid, port, answer = told(answers.to("s2", packet_in(table, sent, tenant=2, zone=7)))
    assert (dpid, port, answer.dst) == (2, 13, "02:00:00:00:00:13")
    assert answer[IP].src == "10.1.0.1"  # the gateway of red's network, as it happens


def test_at_the_far_edge_the_label_says_whose_it_is_and_the_answer_goes_back(answers: Answers) -> None:
    # h1's packet arrived at s2 and its TTL is used up: no tenant, and the zone is the receiver's
    sent = frame(UDP(dport=33434), "10.1.0.1", "10.2.0.2", "h2")
    dpid, port, answer = told(answers.to("s2", packet_in("translate", sent, zone=6)))
    assert (dpid, port, answer.dst) == (1, 11, "02:00:00:00:00:11")
    assert (answer[IP].src, answer[ICMP].type) == ("10.1.0.254", 11)
    red = frame(UDP(dport=33434), "10.1.0.1", "10.2.0.2", "t2", mac="02:00:00:00:00:13")
    dpid, port, _ = told(answers.to("s1", packet_in("translate", red, zone=8)))
    assert (dpid, port) == (2, 13)


def test_the_switchs_own_reason_counts_in_any_table(answers: Answers) -> None:
    sent = frame(UDP(), "10.1.0.1", "10.2.0.2", "h2")
    expired = packet_in("emit", sent)._replace(reason=INVALID_TTL)
    assert told(answers.to("s2", expired))[2][ICMP].type == 11


def test_who_has_no_gateway_hears_nothing_of_a_ttl_but_is_refused(answers: Answers) -> None:
    sent = frame(UDP(), "10.2.0.2", "10.1.0.1", "t1", mac="02:00:00:00:00:14")
    assert answers.to("s2", packet_in("translate", sent)) is None
    assert told(answers.to("s1", packet_in("reject", sent, tenant=2, zone=8)))[2][IP].src == "10.1.0.1"


def test_in_one_network_the_other_host_seems_to_say_it(answers: Answers) -> None:
    sent = frame(TCP(flags="S"), "10.1.0.1", "10.1.0.9", "h2", routed=False)
    assert told(answers.to("s1", packet_in("reject", sent, tenant=1)))[2].src == "02:00:00:00:00:12"


def test_addresses_for_services_answer_like_closed_ports(topology: Topology) -> None:
    pool = BLUE.replace("endpoints:", "  vips: {subnet: 100.1.1.0/24, kind: service}\nendpoints:")
    answers = Answers(parse_policy({"blue.yaml": pool, "red.yaml": RED}).policy, topology, ALLOCATION)
    sent = frame(UDP(dport=53), "10.1.0.1", "100.1.1.9", "h2")
    error = told(answers.to("s1", packet_in("reject", sent, tenant=1, zone=5)))[2]
    assert (error[IP].src, error[ICMP].type, error[ICMP].code) == ("100.1.1.9", 3, 3)
    red = frame(UDP(dport=53), "10.1.0.1", "100.1.1.9", "t2", mac="02:00:00:00:00:13")  # has no services
    error = told(answers.to("s2", packet_in("reject", red, tenant=2, zone=7)))[2]
    assert (error[IP].src, error[ICMP].code) == ("10.1.0.1", 13)


def test_someone_behind_an_uplink(answers: Answers) -> None:
    sent = frame(TCP(flags="S"), "203.0.113.9", "10.1.0.1", "h1", mac="02:00:00:00:00:15")
    dpid, port, answer = told(answers.to("s2", packet_in("reject", sent, tenant=1, zone=9)))
    assert (dpid, port, answer.dst) == (2, 15, "02:00:00:00:00:15")


def test_a_sender_nobody_knows_is_told_where_it_came_from(topology: Topology) -> None:
    hosts = {name: host for name, host in topology.hosts.items() if name != "wan"}
    policy = parse_policy({"blue.yaml": BLUE.replace("  wan: {host: wan, network: b}\n", "")}).policy
    answers = Answers(policy, replace(topology, hosts=hosts), ALLOCATION)
    sent = frame(TCP(flags="S"), "10.1.0.77", "10.2.0.2", "h2", mac="02:00:00:00:00:77")
    for fields in ({"zone": 5}, {"in_port": 11}):
        dpid, port, answer = told(answers.to("s1", packet_in("reject", sent, tenant=1, **fields)))
        assert (dpid, port, answer.dst) == (1, 11, "02:00:00:00:00:77")
    assert answers.to("s1", packet_in("reject", sent, tenant=1)) is None
    assert answers.to("s2", packet_in("translate", sent, zone=6)) is None  # that zone is the receiver's


def test_the_tag_of_a_tagged_host_is_put_on_again(topology: Topology) -> None:
    tagged = {**topology.hosts, "h1": replace(topology.hosts["h1"], vlan=42)}
    policy = parse_policy({"blue.yaml": BLUE}).policy
    sent = frame(TCP(flags="S"), "10.1.0.1", "10.2.0.2", "h2")
    found = Answers(policy, replace(topology, hosts=tagged), ALLOCATION).to("s1", packet_in("reject", sent, tenant=1))
    assert told(found)[2][Dot1Q].vlan == 42


@pytest.mark.parametrize("word", list(TRANSPORTS))
def test_what_is_too_big_hears_what_fits(topology: Topology, answers: Answers, word: str) -> None:
    sent = frame(UDP() / (b"x" * 1400), "10.1.0.1", "10.2.0.2", "h2")
    transport = {TRANSPORT.field: TRANSPORTS[word].number << TRANSPORT.offset}
    assert answers.to("s1", packet_in("too-big", sent, tenant=1, **transport)) is None  # no link says its MTU
    links = (replace(topology.links[0], mtu=1400),)
    narrow = replace(answers, topology=replace(topology, links=links))
    found = told(narrow.to("s1", packet_in("too-big", sent, tenant=1, **transport)))[2]
    assert (found[ICMP].type, found[ICMP].code) == (3, 4)
    assert found[ICMP].nexthopmtu == 1400 - TRANSPORTS[word].overhead


def test_other_frames_are_no_business_of_ours(answers: Answers) -> None:
    sent = frame(TCP(flags="S"), "10.1.0.1", "10.2.0.2", "h2")
    assert kind_of(packet_in("reject", sent)) == "refused"
    assert kind_of(packet_in("reject", sent)._replace(cookie=7)) is None
    for table in ("admission", "respond", "addressing", "copies", "commit"):
        assert kind_of(packet_in(table, sent)) is None
    assert answers.to("s1", packet_in("reject", Ether() / ARP(), tenant=1)) is None


def test_nobody_is_told_too_much() -> None:
    rates = Rates()
    here, there = PortId(1, 1), PortId(1, 2)
    assert sum(rates.allows(here, 10.0) for _ in range(1000)) == BURST
    assert rates.allows(there, 10.0)  # one does not keep another from his answers
    assert not rates.allows(here, 10.0)
    assert sum(rates.allows(here, 10.5) for _ in range(1000)) == pytest.approx(RATE / 2, abs=1)
    # however many there are, all together are limited, and forgotten in time
    assert 900 <= sum(rates.allows(PortId(2, n), 20.0) for n in range(10 * MAX_SENDERS)) <= 1000
    assert len(rates._each) == MAX_SENDERS


def test_the_teller_counts_and_holds_back(topology: Topology, answers: Answers) -> None:
    computed = Computed(answers.policy, topology, compile_next(None, answers.policy, topology, ALLOCATION))
    sent = packet_in("reject", frame(TCP(flags="S"), "10.1.0.1", "10.2.0.2", "h2"), tenant=1)
    teller = Teller()
    told_at = [bool(teller.tell(computed, "s1", sent, 1.0)) for _ in range(int(BURST) + 5)]
    assert told_at == [True] * int(BURST) + [False] * 5
    assert teller.told == {"refused": BURST, "held-back": 5}
    assert teller.tell(computed, "s1", packet_in("reject", Ether() / ARP(), tenant=1), 1.0) == ()
    # red's host with the same address is another one
    red = packet_in("reject", frame(TCP(flags="S"), "10.1.0.1", "10.2.0.2", "t2"), tenant=2)
    assert teller.tell(computed, "s2", red, 1.0)
