"""Hosts are what the policy makes of them, and tunnels carry: with flows by hand, no controller."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from rich.console import Console

from controller_app.model.topology import Topology
from mininet_scenarios.harness import ovs
from mininet_scenarios.harness.captures import settle
from mininet_scenarios.harness.hops import trace
from mininet_scenarios.harness.instances import NshHeader
from mininet_scenarios.harness.lab import Lab, running_lab
from mininet_scenarios.harness.traffic import connect, tally

TOPOLOGY = """
version: 1
switches: {s1: {dpid: 0x1}, s2: {dpid: 0x2}, s3: {dpid: 0x3}}
links:
  - {ends: [s1:vx2, s2:vx1], kind: tunnel}
  - {ends: [s2:20, s3:gn2], kind: tunnel}
hosts:
  a: {attach: s1:1, ip: [10.0.0.1, "fd00::1"], mac: 02:00:00:00:00:01}
  b: {attach: s2:1, ip: [10.0.0.2, "fd00::2"], mac: 02:00:00:00:00:02}
  c: {attach: s3:1, ip: 10.0.0.3, mac: 02:00:00:00:00:03, vlan: 7}
  r1: {attach: s1:2, ip: [10.0.0.11, "fd00::11"], mac: 02:00:00:00:00:11}
  r2: {attach: {in: {port: s1:3, ip: 10.0.0.12, mac: 02:00:00:00:00:12}, out: {port: s1:4, mac: 02:00:00:00:00:13}}}
  n1: {attach: s1:5, mac: 02:00:00:00:00:14}
  nat: {attach: s1:6, ip: 10.0.0.15, mac: 02:00:00:00:00:15}
  pool: {attach: s1:7, ip: 10.0.0.16, mac: 02:00:00:00:00:16, prefixes: [192.0.2.8/30]}
  proxy: {attach: s1:8, ip: 10.0.0.17, mac: 02:00:00:00:00:17}
"""
POLICY = """
version: 1
networks: {lan: {subnet: [10.0.0.0/24, "fd00::/64"]}}
functions:
  r1: {mode: routed, instances: {r1: {host: r1}}}
  r2: {mode: routed, instances: {r2: {host: r2}}}
  n1: {mode: nsh, instances: {n1: {host: n1}}}
  nat: {mode: translating, kind: nat, instances: {nat: {host: nat}, pool: {host: pool}}}
  proxy: {mode: translating, kind: proxy, instances: {proxy: {host: proxy}}}
"""
A, B = "02:00:00:00:00:01", "02:00:00:00:00:02"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The lab, with flows that switch by destination MAC, and ARP and ND by flooding the tree."""
    folder = tmp_path_factory.mktemp("hosts")
    (folder / "topology.yaml").write_text(TOPOLOGY, encoding="utf-8")
    (folder / "policy.yaml").write_text(POLICY, encoding="utf-8")
    topology = Topology.load(str(folder / "topology.yaml"))
    console = Console(quiet=True)
    with running_lab("hosts", topology, [folder / "policy.yaml"], folder / "out", console, controlled=False) as lab:
        lab.web_server("b", 80).ready()
        lab.web_server("c", 80).ready()
        yield lab


@pytest.fixture
def flows(lab: Lab) -> Iterator[None]:
    for switch in lab.topology.switches:
        subprocess.run(["ovs-ofctl", "-O", ovs.OPENFLOW, "del-flows", switch], check=True)
    for switch in ("s1", "s2"):
        for match in ("arp", "icmp6,icmp_type=135", "icmp6,icmp_type=136"):
            add(switch, f"priority=10,{match},actions=flood")
    at = {"s1": {A: 1, B: 9, "02:00:00:00:00:11": 2, "02:00:00:00:00:12": 3, "02:00:00:00:00:13": 4,
                 "02:00:00:00:00:15": 6, "02:00:00:00:00:16": 7, "02:00:00:00:00:17": 8},
          "s2": {A: 21, B: 1, **{f"02:00:00:00:00:{n}": 21 for n in (11, 12, 13, 15, 16, 17)}}}  # fmt: skip
    for switch, ports in at.items():
        for mac, port in ports.items():
            add(switch, f"priority=2,dl_dst={mac},actions=output:{port}")
    yield


def add(switch: str, flow: str) -> None:
    subprocess.run(["ovs-ofctl", "-O", ovs.OPENFLOW, "add-flow", switch, flow], check=True)


def through(mac: str, port: int, *, v6: bool = False) -> None:
    """What a and b send each other is handed to a MAC at a port of s1 first."""
    family = "ipv6" if v6 else "ip"
    add("s1", f"priority=9,in_port=1,{family},dl_dst={B},actions=set_field:{mac}->eth_dst,output:{port}")
    add("s1", f"priority=9,in_port=9,{family},dl_dst={A},actions=set_field:{mac}->eth_dst,output:{port}")


def test_ports_have_their_numbers(lab: Lab, flows: None) -> None:
    numbers = ovs.port_numbers()
    assert (numbers["vx2"], numbers["vx1"], numbers["s2-eth20"], numbers["gn2"]) == (9, 21, 20, 2)


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_a_one_armed_router_is_a_hop(lab: Lab, flows: None, protocol: str) -> None:
    assert trace(lab.network, "a", "10.0.0.2", protocol) == ["10.0.0.2"]
    through("02:00:00:00:00:11", 2)
    assert trace(lab.network, "a", "10.0.0.2", protocol) == ["10.0.0.11", "10.0.0.2"]
    assert trace(lab.network, "b", "10.0.0.1", protocol) == ["10.0.0.11", "10.0.0.1"]
    assert tally(connect(lab.network, "a", "10.0.0.2", 80, [5001])) == {"b": 1}


def test_and_in_ipv6(lab: Lab, flows: None) -> None:
    through("02:00:00:00:00:11", 2, v6=True)
    assert trace(lab.network, "a", "fd00::2", "udp") == ["fd00::11", "fd00::2"]
    assert trace(lab.network, "a", "fd00::2", "tcp") == ["fd00::11", "fd00::2"]
    assert trace(lab.network, "b", "fd00::1", "udp") == ["fd00::11", "fd00::1"]


def test_a_two_armed_router_passes_on_to_its_other_arm(lab: Lab, flows: None) -> None:
    add("s1", f"priority=9,in_port=1,ip,dl_dst={B},actions=set_field:02:00:00:00:00:12->eth_dst,output:3")
    add("s1", f"priority=9,in_port=9,ip,dl_dst={A},actions=set_field:02:00:00:00:00:13->eth_dst,output:4")
    inner, outer = lab.capture("r2", "in"), lab.capture("r2", "out")
    inner.ready()
    outer.ready()
    assert tally(connect(lab.network, "a", "10.0.0.2", 80, [5002])) == {"b": 1}
    settle()
    for capture in (inner, outer):
        assert {packet.source for packet in capture.tcp()} == {"10.0.0.1", "10.0.0.2"}
    sent = next(packet.frame for packet in outer.tcp() if packet.source == "10.0.0.1")
    assert sent[6:12].hex(":") == "02:00:00:00:00:13"
    assert sent[22] == 63
    assert trace(lab.network, "a", "10.0.0.2", "udp")[0] == "10.0.0.12"


def test_an_nsh_function_counts_down_and_sends_back(lab: Lab, flows: None) -> None:
    encapsulate = "encap(nsh(md_type=1)),set_field:0x1234->nsh_spi,set_field:255->nsh_si,set_field:0xabc->nsh_c1"
    add("s1", f"priority=9,in_port=1,ip,dl_dst={B},actions={encapsulate},encap(ethernet),"
              "set_field:02:00:00:00:00:14->eth_dst,set_field:02:aa:00:00:00:01->eth_src,output:5")  # fmt: skip
    add("s1", "priority=9,in_port=5,dl_type=0x894f,nsh_spi=0x1234,nsh_si=254,actions=decap(),decap(),output:9")
    assert tally(connect(lab.network, "a", "10.0.0.2", 80, [5003])) == {"b": 1}
    frames = lab.instances.nsh["n1"].frames()
    assert frames and all(frame["why"] is None for frame in frames)
    for frame in frames:
        got, sent = NshHeader.of(frame["got"]), NshHeader.of(frame["sent"])
        assert got == (63, 0x1234, 255, bytes([0, 0, 0x0A, 0xBC]) + bytes(12))
        assert sent == got._replace(service=254)
        assert frame["sent"][:12].hex(":") == "02:aa:00:00:00:01:02:00:00:00:00:14"


@pytest.mark.parametrize(("name", "mac", "port", "seen"), [
    ("nat", "02:00:00:00:00:15", 6, {"10.0.0.15"}),
    ("pool", "02:00:00:00:00:16", 7, {f"192.0.2.{n}" for n in (8, 9, 10, 11)}),
    ("proxy", "02:00:00:00:00:17", 8, {"10.0.0.17"}),
])  # fmt: skip
def test_translators_have_addresses_of_their_own(
    lab: Lab, flows: None, name: str, mac: str, port: int, seen: set[str]
) -> None:
    add("s1", f"priority=9,in_port=1,ip,dl_dst={B},actions=set_field:{mac}->eth_dst,output:{port}")
    if name == "pool":
        add("s2", f"priority=19,in_port=1,arp,arp_tpa=192.0.2.8/30,actions={ARP_ANSWER.format(mac=mac)}")
        lab.network.on("b", "ip", "route", "replace", "192.0.2.8/30", "dev", "eth0")
    witness = lab.capture("b")
    witness.ready()
    assert tally(connect(lab.network, "a", "10.0.0.2", 80, [6000 + port, 6100 + port])) == {"b": 2}
    settle()
    clients = {packet.source for packet in witness.tcp() if packet.target == "10.0.0.2"}
    assert clients and clients <= seen
    if name == "proxy":
        (first, second) = lab.instances.proxies["proxy"].connections()
        assert (first["client"], first["to"], first["to_port"]) == ("10.0.0.1", "10.0.0.2", 80)
        assert {first["client_port"], second["client_port"]} == {6008, 6108}


ARP_ANSWER = (
    "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:{mac}->eth_src,set_field:2->arp_op,"
    "move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],set_field:{mac}->arp_sha,move:NXM_OF_ARP_SPA[]->NXM_NX_REG0[],"
    "move:NXM_OF_ARP_TPA[]->NXM_OF_ARP_SPA[],move:NXM_NX_REG0[]->NXM_OF_ARP_TPA[],in_port"
)


def test_a_host_in_a_vlan_tags_and_takes_only_its_own_tag(lab: Lab, flows: None) -> None:
    add("s3", "in_port=1,dl_vlan=7,actions=pop_vlan,output:2")
    add("s3", "in_port=2,actions=push_vlan:0x8100,set_field:4103->vlan_vid,output:1")
    add("s2", "priority=8,in_port=20,dl_dst=02:00:00:00:00:02,actions=output:1")
    add("s2", "priority=8,dl_dst=02:00:00:00:00:03,actions=output:20")
    assert tally(connect(lab.network, "b", "10.0.0.3", 80, [5010])) == {"c": 1}
    add("s3", "in_port=2,actions=push_vlan:0x8100,set_field:4104->vlan_vid,output:1")
    assert tally(connect(lab.network, "b", "10.0.0.3", 80, [5011], timeout=1)) == {"TimeoutError": 1}


def test_tunnels_are_what_they_are_called(lab: Lab, flows: None) -> None:
    assert [tunnel.kind for tunnel in lab.network.tunnels] == ["vxlan", "geneve"]
    add("s3", "in_port=1,dl_vlan=7,actions=pop_vlan,output:2")
    add("s3", "in_port=2,actions=push_vlan:0x8100,set_field:4103->vlan_vid,output:1")
    add("s2", "priority=8,in_port=20,dl_dst=02:00:00:00:00:01,actions=output:21")
    add("s2", "priority=8,in_port=21,dl_dst=02:00:00:00:00:03,actions=output:20")
    add("s1", "priority=8,dl_dst=02:00:00:00:00:03,actions=output:9")
    captures = lab.capture_port("s1", "vx2"), lab.capture_port("s3", "gn2")
    for capture in captures:
        capture.ready()
    assert tally(connect(lab.network, "a", "10.0.0.3", 80, [5020])) == {"c": 1}
    settle()
    for capture, port in zip(captures, (4789, 6081), strict=True):
        outer = [frame for _, frame in capture.frames() if frame[12:14] == b"\x08\x00" and frame[23] == 17]
        assert {frame[36:38] for frame in outer} == {port.to_bytes(2, "big")}
        there, back = bytes.fromhex("0a000001 0a000003"), bytes.fromhex("0a000003 0a000001")  # the inner addresses
        asked, answered = ({frame for frame in outer if ips in frame[50:]} for ips in (there, back))
        assert len(asked) >= 4 and len(answered) >= 3


def test_a_tunnel_takes_what_its_cable_takes(lab: Lab, flows: None) -> None:
    answers = [lab.network.mininet.nameToNode["a"].cmd(f"ping -c 1 -W 1 -M do -s {size - 28} 10.0.0.2")
               for size in (1450, 1451)]  # fmt: skip
    assert [" 1 received" in answer for answer in answers] == [True, False]
