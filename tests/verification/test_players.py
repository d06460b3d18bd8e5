"""What the machines that are functions do with frames, mode by mode."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import examples
import pytest

from controller_app.model.topology import End, Topology
from controller_app.modes.tap import Tap
from controller_app.modes.transparent import Transparent
from controller_app.pipeline.tables import GATEWAY_MAC
from controller_app.policy.topology_file import parse_topology
from controller_app.verification.conntrack import Connections
from controller_app.verification.headers import NSH, NSH_TTL, encap_nsh
from controller_app.verification.packet import ICMP, TCP, Packet, addresses, ip_packet, mac_int, ports, reply_to
from controller_app.verification.players import Played, Player, players
from controller_app.verification.stations import stations, usable_functions

TOPOLOGY = parse_topology("""\
version: 1
switches: {s1: {dpid: 1}, s2: {dpid: 2}}
links: [[s1:1, s2:1]]
hosts:
  h1: {attach: s1:11, ip: [10.1.0.11, "fd01::11"], mac: 02:00:00:00:01:11}
  w1: {attach: s2:11, ip: [10.2.0.21, "fd02::21"], mac: 02:00:00:00:02:21}
  r1: {attach: s1:21, ip: 10.1.0.2, mac: 02:00:00:00:0a:01}
  r2: {attach: {in: {port: s1:22, ip: 10.1.0.3, mac: 02:00:00:00:0a:02},
                out: {port: s2:22, ip: 10.2.0.3, mac: 02:00:00:00:0b:02}}}
  n1: {attach: s1:23, ip: 10.1.0.4, mac: 02:00:00:00:0a:03}
  n2: {attach: {in: {port: s1:24, ip: 10.1.0.5, mac: 02:00:00:00:0a:04},
                out: {port: s2:24, ip: 10.2.0.5, mac: 02:00:00:00:0b:04}}}
  f1: {attach: s1:25, mac: 02:00:00:00:0a:05}
  f2: {attach: {in: s1:26, out: s1:27}}
  fw1: {attach: {in: s1:28, out: s1:29}}
  tap1: {attach: s1:30}
""", "topology.yaml")
POLICY = examples.policy(text="""\
version: 1
networks:
  clients: {subnet: [10.1.0.0/24, "fd01::/64"], gateway: [10.1.0.254, "fd01::fe"]}
  servers: {subnet: [10.2.0.0/24, "fd02::/64"], gateway: [10.2.0.254, "fd02::fe"]}
functions:
  one: {kind: other, mode: routed, instances: {r1: {host: r1}}}
  two: {kind: other, mode: routed, instances: {r2: {host: r2}}}
  nat: {kind: nat, mode: translating, instances: {n1: {host: n1}, n2: {host: n2}}}
  sff: {kind: other, mode: nsh, instances: {f1: {host: f1}, f2: {host: f2}}}
  fw: {kind: firewall, instances: {fw1: {host: fw1}}}
  ids: {kind: ids, mode: tap, instances: {tap1: {host: tap1}}}
""")
PLAYED = players(POLICY, TOPOLOGY)
MACS = {f"{name}:{arm}" if arm == "out" else name: mac_int(mac) for name, host in TOPOLOGY.hosts.items()
        for arm in host.attach if (mac := host.arm_mac(arm)) is not None}
H1, W1 = ip_address("10.1.0.11"), ip_address("10.2.0.21")


def frame(to: str, **others: int) -> Packet:
    """A packet from h1 to w1 as it is handed to a router."""
    return {**ip_packet(H1, W1, TCP, 40000, 80, eth_src=MACS["h1"], eth_dst=MACS[to]), **others}


def play(name: str, packet: Packet, arm: str = "", connections: Connections | None = None) -> Played:
    return PLAYED[name].play(packet, arm, connections or Connections())


def macs(played: Played) -> tuple[int, int]:
    assert played.packet is not None
    return played.packet["eth_src"], played.packet["eth_dst"]


def test_every_function_has_a_player() -> None:
    assert set(PLAYED) == {"r1", "r2", "n1", "n2", "f1", "f2", "fw1", "tap1"}


@pytest.mark.parametrize(("arm", "other"), [("in", "out"), ("out", "in")])
def test_a_transparent_function_sends_the_same_out_of_its_other_arm(arm: str, other: str) -> None:
    sent = play("fw1", frame("r1", vlan_tci=0x1007), arm)
    assert (sent.arm, sent.packet) == (other, frame("r1", vlan_tci=0x1007))
    assert Transparent(("in",)).play(frame("r1"), "in", Connections()).packet is None


def test_a_tap_keeps_everything() -> None:
    player: Player = Tap()
    assert player.swallows
    assert play("tap1", frame("r1")).packet is None


def test_a_router_with_one_arm_sends_it_back_with_less_ttl() -> None:
    sent = play("r1", frame("r1"))
    assert sent.arm == "" and sent.packet is not None and not sent.translated
    assert sent.packet["ttl"] == 63
    assert macs(sent) == (MACS["r1"], GATEWAY_MAC)
    assert addresses(sent.packet) == (H1, W1)


def test_a_router_sends_straight_to_a_host_of_its_own_network() -> None:
    there = play("r2", frame("r2"), "in")
    assert there.arm == "out" and macs(there) == (MACS["r2:out"], MACS["w1"])
    answer = reply_to(frame("r2"), eth_src=MACS["w1"], eth_dst=MACS["r2:out"])
    back = play("r2", answer, "out")
    assert back.arm == "in" and macs(back) == (MACS["r2"], MACS["h1"])


@pytest.mark.parametrize(("packet", "says"), [
    (frame("h1"), "not addressed to the MAC of r1"),
    (frame("r1", ttl=1), "TTL is used up"),
    ({"eth_dst": MACS["r1"], "eth_src": 1, "eth_type": 0x0806}, "nothing but IP"),
])
def test_what_a_router_does_not_take(packet: Packet, says: str) -> None:
    sent = play("r1", packet)
    assert sent.packet is None and not sent.own
    assert says in sent.reason


def test_what_is_for_a_routers_own_address_is_its_own() -> None:
    for address, arm, mac in (("10.1.0.3", "in", "r2"), ("10.2.0.3", "in", "r2"), ("10.1.0.3", "out", "r2:out")):
        own = ip_packet(H1, ip_address(address), ICMP, 1, eth_src=MACS["h1"], eth_dst=MACS[mac], ttl=1)
        assert play("r2", own, arm).own


def test_nsh_goes_back_with_a_lower_index_and_everything_else_as_it_was() -> None:
    wrapped = {**encap_nsh(frame("h1")), "eth_src": GATEWAY_MAC, "eth_dst": MACS["f1"], "nsh_spi": 0x123,
               "nsh_si": 255, "nsh_c1": 7}
    sent = play("f1", wrapped)
    assert sent.arm == ""
    assert sent.packet == {**wrapped, "nsh_si": 254, "eth_src": MACS["f1"], "eth_dst": GATEWAY_MAC}
    assert sent.packet["nsh_ttl"] == NSH_TTL and sent.packet["eth_type"] == NSH
    # with two arms, and no MAC that is known: as it was addressed
    sent = play("f2", {**wrapped, "eth_dst": 0xFFFFFFFFFFFF}, "in")
    assert sent.arm == "out" and macs(sent) == (0xFFFFFFFFFFFF, GATEWAY_MAC)
    assert play("f1", frame("f1")).packet is None
    assert play("f1", {**wrapped, "nsh_si": 1}).packet is None


def test_nat_sends_from_its_own_address_and_puts_the_addresses_of_answers_back() -> None:
    there = play("n1", frame("n1"))
    assert there.translated and there.packet is not None and there.packet["ttl"] == 63
    assert addresses(there.packet) == (ip_address("10.1.0.4"), W1)
    assert ports(there.packet) == (40000, 80)
    again = play("n1", frame("n1"), connections=there.connections)
    assert again.packet == there.packet
    answer = reply_to(there.packet, eth_src=GATEWAY_MAC, eth_dst=MACS["n1"])
    back = play("n1", answer, connections=there.connections)
    assert back.packet is not None and back.translated
    assert addresses(back.packet) == (W1, H1)
    assert ports(back.packet) == (80, 40000)
    assert macs(back) == (MACS["n1"], MACS["h1"])
    # An answer to nobody is for the machine itself.
    assert play("n1", answer).own


def test_nat_moves_a_port_that_is_taken() -> None:
    first = play("n1", frame("n1"))
    other = play("n1", frame("n1", ipv4_src=int(ip_address("10.1.0.99"))), connections=first.connections)
    assert other.packet is not None and ports(other.packet) == (40001, 80)
    answer = reply_to(other.packet, eth_src=GATEWAY_MAC, eth_dst=MACS["n1"])
    back = play("n1", answer, connections=other.connections)
    assert back.packet is not None
    assert addresses(back.packet) == (W1, ip_address("10.1.0.99")) and ports(back.packet) == (80, 40000)


def test_nat_with_two_arms_sends_from_its_far_arm_and_lets_nothing_in_by_it() -> None:
    there = play("n2", frame("n2"), "in")
    assert there.arm == "out" and there.packet is not None
    assert addresses(there.packet) == (ip_address("10.2.0.5"), W1)
    assert macs(there) == (MACS["n2:out"], MACS["w1"])
    answer = reply_to(there.packet, eth_src=MACS["w1"], eth_dst=MACS["n2:out"])
    back = play("n2", answer, "out", there.connections)
    assert back.arm == "in" and back.packet is not None and addresses(back.packet) == (W1, H1)
    stranger = reply_to(frame("n2"), eth_src=MACS["w1"], eth_dst=MACS["n2:out"])
    assert "no translation" in play("n2", stranger, "out").reason


def test_nat_of_a_version_it_has_no_address_of_ends() -> None:
    six = ip_packet(ip_address("fd01::11"), ip_address("fd02::21"), TCP, 1, 2, eth_src=1, eth_dst=MACS["n1"])
    assert "no address" in play("n1", six).reason


def test_stations_are_hosts_and_the_arms_of_routers() -> None:
    known = {(station.host, station.arm): station for station in stations(POLICY, TOPOLOGY)}
    assert set(known) == {("h1", ""), ("w1", ""), ("r1", ""), ("r2", "in"), ("r2", "out"), ("n1", ""), ("n2", "in"),
                          ("n2", "out")}
    assert (known["r2", "out"].network, known["r2", "in"].network) == ("servers", "clients")
    assert known["r2", "out"].mode == "routed" and known["h1", ""].mode == ""


def unusable(topology: Topology) -> set[str]:
    return {name for (_, name), works in usable_functions(POLICY, topology).items() if not works}


def test_which_functions_can_be_gone_through() -> None:
    assert unusable(TOPOLOGY) == set()
    ends = [end for name in ("r1", "tap1") for end in TOPOLOGY.hosts[name].attach.values()]
    assert unusable(replace(TOPOLOGY, down=frozenset(ends))) == {"one"}
    hosts = {**TOPOLOGY.hosts, "r1": replace(TOPOLOGY.hosts["r1"], mac=None)}
    del hosts["fw1"], hosts["n1"]
    assert unusable(replace(TOPOLOGY, hosts=hosts)) == {"one", "fw"}


def test_a_function_that_leads_nowhere_cannot_be_gone_through() -> None:
    far = replace(TOPOLOGY.hosts["fw1"], attach={"in": End("s1", 28), "out": End("s2", 29)})
    hosts = {"h1": TOPOLOGY.hosts["h1"], "fw1": far, "tap1": TOPOLOGY.hosts["tap1"]}
    assert unusable(replace(TOPOLOGY, hosts=hosts)) == {"one", "two", "nat", "sff"}
    assert unusable(replace(TOPOLOGY, hosts=hosts, links=())) == {"one", "two", "nat", "sff", "fw"}
    both = {**hosts, "w1": TOPOLOGY.hosts["w1"]}
    assert unusable(replace(TOPOLOGY, hosts=both, links=())) == {"one", "two", "nat", "sff"}
