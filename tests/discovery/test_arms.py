"""Functions whose MAC nobody declared are asked for it, and only for that."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import pairwise

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether

from controller_app.discovery.arms import LAST_PAUSE
from controller_app.discovery.discovery import Discovery
from controller_app.discovery.merge import merge
from controller_app.discovery.ports import Port, PortId, SendFrame
from controller_app.model.allocation import Allocation
from controller_app.model.topology import Host, Topology
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.topology_file import parse_topology
from controller_app.runtime.expectations import expectations

GATEWAY = 0x0A_00_00_00_00_01
NETWORK = """\
version: 1
switches: {s1: {dpid: 1}}
hosts:
  h1: {attach: s1:1, ip: 10.0.0.1, mac: 02:00:00:00:00:01}
  r2: {attach: s1:2, ip: [10.0.0.2, fd00::2]}
  r3: {attach: s1:3, ip: 10.9.0.3}
  ids: {attach: s1:4, ip: 10.0.0.4}
"""
POLICY = """\
version: 1
networks:
  lan: {subnet: [10.0.0.0/24, fd00::/64], gateway: [10.0.0.254, fd00::fe]}
functions:
  r: {kind: other, mode: routed, instances: {r2: {host: r2}, r3: {host: r3}}}
  t: {kind: ids, mode: tap, instances: {ids: {host: ids}}}
chains: {c: {through: [r, t]}}
classifiers: [{from: {host: h1}, to: any, then: {chain: c}}]
"""
R2, R3 = 0x02_00_00_00_00_22, 0x02_00_00_00_00_33


class Bench:
    """One switch, and a clock."""

    def __init__(self) -> None:
        self.topology: Topology = parse_topology(NETWORK, "network.yaml")
        self.policy = parse_policy({"policy.yaml": POLICY}).policy
        self.discovery = Discovery(b"k" * 16, GATEWAY)
        self.now = 0.0
        self.discovery.declare(expectations(self.topology, {}, self.policy, Allocation()))
        self.asked: list[tuple[float, int, Ether]] = []

    def connect(self) -> None:
        self.discovery.connected(1, [Port(n, f"p{n}", n, True) for n in range(1, 5)], self.now)
        self.discovery.ready(1, self.now)

    def run(self, seconds: float) -> list[tuple[float, int, Ether]]:
        """Let time go by; what was asked meanwhile, as (when, port, frame), LLDP left out."""
        found = []
        for _ in range(round(seconds * 10)):
            for effect in self.discovery.tick(self.now):
                if isinstance(effect, SendFrame) and effect.frame[12:14] != b"\x88\xcc":
                    found += [(self.now, port, Ether(effect.frame)) for port in effect.ports]
            self.now += 0.1
        return found

    def hear(self, port: int, frame: Ether) -> None:
        self.discovery.frame(PortId(1, port), bytes(frame), self.now)

    def host(self, name: str) -> Host:
        return merge(self.topology, self.discovery.observed()).topology.hosts[name]


def tells(mac: str, ip: str) -> Ether:
    return Ether(src=mac, dst="0a:00:00:00:00:01") / ARP(op=2, hwsrc=mac, psrc=ip, pdst="10.0.0.254")


def test_a_function_is_asked_out_of_its_own_port_from_the_gateway() -> None:
    bench = Bench()
    assert bench.run(1) == []  # nobody can be asked yet
    bench.connect()
    asked = bench.run(0.1)
    assert {port for _, port, _ in asked} == {2, 3}
    arp = next(frame[ARP] for _, port, frame in asked if port == 2 and ARP in frame)
    assert (arp.psrc, arp.pdst, arp.op) == ("10.0.0.254", "10.0.0.2", 1)
    solicitation = next(frame for _, port, frame in asked if port == 2 and IPv6 in frame)
    assert (solicitation[IPv6].src, solicitation[ICMPv6ND_NS].tgt) == ("fd00::fe", "fd00::2")
    elsewhere = next(frame[ARP] for _, port, frame in asked if port == 3)
    assert elsewhere.psrc == "0.0.0.0"  # in no network of ours: a probe


def test_questions_become_rare_and_end_with_the_answer() -> None:
    bench = Bench()
    bench.connect()
    times = [when for when, port, _ in bench.run(120) if port == 3]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[0] < 1
    assert gaps == sorted(gaps)
    assert abs(gaps[-1] - LAST_PAUSE) < 0.2
    bench.hear(3, tells("02:00:00:00:00:33", "10.9.0.3"))
    assert bench.host("r3").mac == "02:00:00:00:00:33"
    assert {port for _, port, _ in bench.run(60)} == {2}


def test_what_it_sends_for_others_is_not_taken_for_its_own() -> None:
    bench = Bench()
    bench.connect()
    bench.run(4)  # no LLDP came: these ports are at the edge
    forwarded = Ether(src="02:00:00:00:00:22", dst="0a:00:00:00:00:01") / IP(src="10.0.0.1", dst="10.0.0.9") / UDP()
    bench.hear(2, forwarded)
    assert bench.host("r2").mac is None
    assert [host.mac for host in bench.discovery.observed().hosts] == []
    bench.hear(2, tells("02:00:00:00:00:22", "10.0.0.2"))
    assert bench.host("r2").mac == "02:00:00:00:00:22"
    bench.hear(2, forwarded)
    assert bench.host("r2").ips == bench.topology.hosts["r2"].ips
    assert bench.host("h1").mac == "02:00:00:00:00:01"


def test_another_functions_address_is_not_learned_there() -> None:
    bench = Bench()
    bench.connect()
    bench.run(4)
    bench.hear(2, tells("02:00:00:00:00:22", "10.9.0.3"))
    assert bench.host("r3").mac is None
    bench.hear(4, tells("02:00:00:00:00:44", "10.0.0.4"))  # a tap says nothing that counts
    assert bench.host("ids").mac is None


def test_both_arms_are_learned_each_by_itself() -> None:
    bench = Bench()
    host = Host(
        "fw",
        {"in": bench.topology.hosts["r2"].attach[""], "out": bench.topology.hosts["r3"].attach[""]},
        (ip_address("10.0.0.2"),),
        out_ips=(ip_address("10.9.0.3"),),
    )
    hosts = {name: h for name, h in bench.topology.hosts.items() if name not in ("r2", "r3")}
    bench.topology = Topology(bench.topology.switches, (), {**hosts, "fw": host})
    text = POLICY.replace("{r2: {host: r2}, r3: {host: r3}}", "{fw: {host: fw}}")
    policy = parse_policy({"policy.yaml": text}).policy
    bench.discovery.declare(expectations(bench.topology, {}, policy, Allocation()))
    bench.connect()
    assert {port for _, port, _ in bench.run(4)} == {2, 3}
    bench.hear(3, tells("02:00:00:00:00:33", "10.9.0.3"))
    assert (bench.host("fw").mac, bench.host("fw").out_mac) == (None, "02:00:00:00:00:33")
    bench.hear(2, tells("02:00:00:00:00:22", "10.0.0.2"))
    fw = bench.host("fw")
    assert (fw.mac, fw.out_mac) == ("02:00:00:00:00:22", "02:00:00:00:00:33")
    assert (fw.ips, fw.out_ips) == (host.ips, host.out_ips)
    assert bench.run(60) == []
