"""Topology files in our own format: what is read, what is refused and where."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from marked import unmark

from controller_app.model.position import PolicyError, Position
from controller_app.model.topology import End, Host, Link, Switch, Topology
from controller_app.policy.topology_file import load_topologies, load_topology, parse_topology

GOOD = """\
version: 1
switches:
  s1: {dpid: 0x1, rack: r1, zone: z1, region: eu, longitude: 13, latitude: 52.5}
  s2: {dpid: 00000000000000ff, rack: 7, labels: {age: old}}
  3:  {dpid: 1000000000000001}
links:
  - [s1:1, s2:1]
  - {ends: [s1:2, s2:2], latency: 2ms, bandwidth: 10Gbps, cost: 10}
  - {ends: [s1:vx2, 3:vx1], kind: tunnel, latency: 50us, bandwidth: 1.5Mbps, mtu: 1450}
hosts:
  h1:  {attach: s1:3, ip: 10.1.0.11, mac: 02-00-00-00-01-AA}
  h2:  {attach: s1:4, ip: [10.1.0.12, "fd01::12"]}
  fw1: {attach: {in: s2:3, out: s1:9}}
  ids: {attach: {in: s2:4}}
  wan: {attach: s2:9, prefixes: [0.0.0.0/0, "::/0"]}
  tag: {attach: s1:4, vlan: 4094}
  rtr:
    attach:
      in: {port: s2:5, mac: 02:00:00:00:03:01, ip: 10.1.0.3}
      out: {port: s1:10, mac: 02:00:00:00:03:02, ip: [10.2.0.3]}
  nat: {attach: {in: s2:6, out: {port: s1:11, ip: 10.2.0.4}}, mac: 02:00:00:00:04:01}
"""


def test_everything_this_version_knows() -> None:
    topology = parse_topology(GOOD, "t.yaml")
    assert list(topology.switches.values()) == [
        Switch("s1", 1, "r1", "z1", "eu", 13.0, 52.5),
        Switch("s2", 0xFF, "7", labels={"age": "old"}),
        Switch("3", 0x1000000000000001),
    ]
    assert topology.links == (
        Link(End("s1", 1), End("s2", 1)),
        Link(End("s1", 2), End("s2", 2), 0.002, 1e10, 10),
        Link(End("s1", "vx2"), End("3", "vx1"), 5e-5, 1.5e6, kind="tunnel", mtu=1450),
    )
    assert topology.hosts == {
        "h1": Host(
            "h1", {"": End("s1", 3)}, (ip_address("10.1.0.11"),), "02:00:00:00:01:aa", declared=True
        ),
        "h2": Host(
            "h2", {"": End("s1", 4)}, (ip_address("10.1.0.12"), ip_address("fd01::12")), declared=True
        ),
        "fw1": Host("fw1", {"in": End("s2", 3), "out": End("s1", 9)}),
        "ids": Host("ids", {"in": End("s2", 4)}),
        "wan": Host(
            "wan", {"": End("s2", 9)}, prefixes=(ip_network("0.0.0.0/0"), ip_network("::/0")), declared=True
        ),
        "tag": Host("tag", {"": End("s1", 4)}, vlan=4094),
        "rtr": Host(
            "rtr",
            {"in": End("s2", 5), "out": End("s1", 10)},
            (ip_address("10.1.0.3"),),
            "02:00:00:00:03:01",
            out_mac="02:00:00:00:03:02",
            out_ips=(ip_address("10.2.0.3"),),
            declared=True,
        ),
        "nat": Host(
            "nat",
            {"in": End("s2", 6), "out": End("s1", 11)},
            mac="02:00:00:00:04:01",
            out_ips=(ip_address("10.2.0.4"),),
            declared=True,
        ),
    }
    assert topology.switches["s2"].where == Position("t.yaml", 4, 3)
    assert topology.links[1].where == Position("t.yaml", 8, 5)
    assert topology.hosts["fw1"].where == Position("t.yaml", 13, 3)


def test_json_is_the_same() -> None:
    data = {"version": 1, "switches": {"s1": {"dpid": 1}, "s2": {"dpid": "0x2"}}, "links": [["s1:1", "s2:1"]]}
    assert parse_topology(json.dumps(data), "t.json").links == (Link(End("s1", 1), End("s2", 1)),)


@pytest.mark.parametrize(
    ("written", "dpid"),
    [
        ("0x1", 1),
        ("1", 1),
        ("10", 10),
        ("0x10", 16),
        ("0000000000000010", 16),
        ("1234567890123456", 0x1234567890123456),
        ("0xFFFFFFFFFFFFFFFF", 2**64 - 1),
        ('"00:00:00:00:00:00:00:2a"', 42),
        ("ffffffffffffffff", 2**64 - 1),
    ],
)
def test_datapath_ids_are_read_as_text(written: str, dpid: int) -> None:
    assert parse_topology(f"version: 1\nswitches: {{s: {{dpid: {written}}}}}", "t").switches["s"].dpid == dpid


S = "switches: {s1: {dpid: 1}, s2: {dpid: 2}, s3: {dpid: 3}}\n"


def host(text: str) -> str:
    return f"{S}hosts:\n  h: {text}\n"


# id, text (after `version: 1`), path, what, remedy
CASES = [
    (
        "duplicate key",
        "switches:\n  s1: {dpid: 1}\n  §s1: {dpid: 2}",
        "switches.s1",
        "duplicate key 's1'",
        "line 3",
    ),
    ("host twice", S + "hosts: {h: {attach: s1:1}, §h: {attach: s1:2}}", "hosts.h", "duplicate key 'h'", ""),
    ("unknown key", "§switchs: {}", "switchs", "unknown key", "did you mean 'switches'?"),
    (
        "unknown key of a link",
        S + "links: [{ends: [s1:1, s2:1], §latncy: 2ms}]",
        "links[0].latncy",
        "unknown key",
        "'latency'",
    ),
    (
        "duplicate dpid",
        "switches: {s1: {dpid: 7}, §s2: {dpid: 0x7}}",
        "switches.s2.dpid",
        "dpid 0x7 is that of switch 's1' already (t.yaml:2:12)",
        "of its own",
    ),
    ("dpid 0", "switches: {s1: {dpid: §0}}", "switches.s1.dpid", "dpid 0 is not allowed", "from 1"),
    ("dpid 0 in hex", "switches: {s1: {dpid: §0x0}}", "switches.s1.dpid", "dpid 0 is not allowed", "from 1"),
    ("dpid 0, all digits", "switches: {s1: {dpid: §0000000000000000}}", "switches.s1.dpid", "dpid 0", ""),
    (
        "dpid of 65 bits",
        "switches: {s1: {dpid: §0x10000000000000000}}",
        "switches.s1.dpid",
        "longer than 64 bits",
        "16 hex digits",
    ),
    ("dpid negative", "switches: {s1: {dpid: §-1}}", "switches.s1.dpid", "is not a datapath id", ""),
    ("dpid a word", "switches: {s1: {dpid: §one}}", "switches.s1.dpid", "'one' is not a datapath id", "0x"),
    ("no dpid", "switches: {§s1: {}}", "switches.s1", "'dpid' is missing", "add"),
    (
        "unknown switch of a link",
        S + "links: [[s1:1, §s4:1]]",
        "links[0]",
        "no switch named 's4'",
        "s1, s2, s3",
    ),
    (
        "unknown switch of a host",
        "switches: {core1: {dpid: 1}}\nhosts: {h: {attach: §core2:1}}",
        "hosts.h.attach",
        "no switch named 'core2'",
        "did you mean 'core1'?",
    ),
    (
        "unknown switch of an arm",
        S + "hosts: {h: {attach: {in: s1:1, out: §x:2}}}",
        "hosts.h.attach.out",
        "no switch named 'x'",
        "",
    ),
    (
        "port used by two links",
        S + "links: [[s1:1, s2:1], [s2:2, §s1:1]]",
        "links[1]",
        "port s1:1 is used by a link already (t.yaml:3:10)",
        "once",
    ),
    (
        "port used by a link and a host",
        S + "links: [[s1:1, s2:1]]\nhosts: {h: {attach: §s2:1}}",
        "hosts.h.attach",
        "port s2:1 is used by a link already",
        "once",
    ),
    (
        "port used by two hosts",
        S + "hosts: {g: {attach: s2:1}, h: {attach: {in: §s2:1, out: s2:2}}}",
        "hosts.h.attach.in",
        "port s2:1 is used by host 'g' already",
        "once",
    ),
    ("named port twice", S + "links: [[s1:a, s2:1], [§s1:a, s3:1]]", "links[1]", "port s1:a is used", ""),
    (
        "arms at one port",
        host("{attach: §{in: s1:1, out: s1:1}}"),
        "hosts.h.attach",
        "both arms are at s1:1",
        "",
    ),
    ("port 0", S + "links: [[s1:1, §s2:0]]", "links[0][1]", "port 0 does not exist", "1 to 65279"),
    (
        "reserved port",
        S + "links: [{ends: [§s1:65280, s2:1]}]",
        "links[0].ends[0]",
        "port 65280 does not exist",
        "",
    ),
    (
        "reserved port of OpenFlow 1.3",
        S + "links: [[s1:1, §s2:4294967040]]",
        "links[0][1]",
        "does not exist",
        "",
    ),
    ("no port", host("{attach: §s1}"), "hosts.h.attach", "'s1' names no port", "s1:3"),
    ("odd port name", host('{attach: §"s1:a b"}'), "hosts.h.attach", "'a b' is not the name of a port", ""),
    ("link of one end", S + "links: [§[s1:1]]", "links[0]", "1 where 2 are needed", ""),
    ("link of three ends", S + "links: [§[s1:1, s2:1, s3:1]]", "links[0]", "more than 2 values", ""),
    (
        "link to itself",
        S + "links: [§[s1:1, s1:2]]",
        "links[0]",
        "joins switch 's1' to itself",
        "two switches",
    ),
    ("cost 0", S + "links: [{ends: [s1:1, s2:1], cost: §0}]", "links[0].cost", "0 is too small", "above 0"),
    ("cost infinite", S + "links: [{ends: [s1:1, s2:1], cost: §.inf}]", "links[0].cost", "number", ""),
    (
        "latency without unit",
        S + "links: [{ends: [s1:1, s2:1], latency: §2}]",
        "links[0].latency",
        "'2' is not a time",
        "2ms",
    ),
    (
        "bandwidth without unit",
        S + "links: [{ends: [s1:1, s2:1], bandwidth: §10G}]",
        "links[0].bandwidth",
        "is not a rate",
        "10Gbps",
    ),
    ("link kind", S + "links: [{ends: [s1:1, s2:1], kind: §tunel}]", "links[0].kind", "'tunel'", "tunnel?"),
    ("host not attached", "switches: {}\nhosts: {§h: {ip: 10.0.0.1}}", "hosts.h", "'attach' is missing", ""),
    ("arm missing", host("{§attach: {out: s1:1}}"), "hosts.h.attach", "'in' is missing", ""),
    ("arm unknown", host("{attach: {in: s1:1, §oot: s1:2}}"), "hosts.h.attach.oot", "unknown key", "'out'"),
    (
        "bad MAC",
        host("{attach: s1:1, mac: §02:00:00:00:01}"),
        "hosts.h.mac",
        "is not a MAC address",
        "six pairs",
    ),
    ("multicast MAC", host("{attach: s1:1, mac: §03:00:00:00:00:01}"), "hosts.h.mac", "multicast", "even"),
    ("broadcast MAC", host("{attach: s1:1, mac: §ff:ff:ff:ff:ff:ff}"), "hosts.h.mac", "multicast", ""),
    ("zero MAC", host("{attach: s1:1, mac: §00:00:00:00:00:00}"), "hosts.h.mac", "all zero", "leave it out"),
    (
        "gateway MAC",
        host("{attach: s1:1, mac: §0a:00:00:00:00:01}"),
        "hosts.h.mac",
        "the gateways' own address",
        "02:",
    ),
    ("bad IP", host("{attach: s1:1, ip: §10.0.0}"), "hosts.h.ip", "'10.0.0' is not an IP address", ""),
    (
        "bad IP in a list",
        host("{attach: s1:1, ip: [10.0.0.1, §10.0.0.256]}"),
        "hosts.h.ip[1]",
        "not an IP",
        "",
    ),
    ("IP with a length", host("{attach: s1:1, ip: §10.0.0.1/24}"), "hosts.h.ip", "is a prefix", "without"),
    ("multicast IP", host("{attach: s1:1, ip: §224.0.0.1}"), "hosts.h.ip", "one machine", "unicast"),
    (
        "bad prefix",
        host("{attach: s1:1, prefixes: [§10.0.0.1/8]}"),
        "hosts.h.prefixes[0]",
        "bits set",
        "10.0.0.0/8",
    ),
    ("mtu too small", S + "links: [{ends: [s1:1, s2:1], mtu: §500}]", "links[0].mtu", "500 is too small", "576"),
    ("mtu with a unit", S + "links: [{ends: [s1:1, s2:1], mtu: §1500B}]", "links[0].mtu", "a whole number", "digits"),
    ("vlan 0", host("{attach: s1:1, vlan: §0}"), "hosts.h.vlan", "0 is too small", "least is 1"),
    ("vlan 4095", host("{attach: s1:1, vlan: §4095}"), "hosts.h.vlan", "4095 is too large", "most is 4094"),
    (
        "hosts with one vlan at one port",
        S + "hosts: {a: {attach: s1:1, vlan: 7}, b: {attach: §s1:1, vlan: 7}}",
        "hosts.b.attach",
        "port s1:1 is used by host 'a' already",
        "or give the hosts a `vlan` each",
    ),
    (
        "host with a vlan at the port of a link",
        S + "links: [[s1:1, s2:1]]\nhosts: {a: {attach: §s1:1, vlan: 7}}",
        "hosts.a.attach",
        "port s1:1 is used by a link already",
        "use each port once",
    ),
    (
        "MAC at both places",
        host("{attach: {in: {port: s1:1, mac: §02:00:00:00:00:01}}, mac: 02:00:00:00:00:02}"),
        "hosts.h.attach.in.mac",
        "host 'h' has its mac written at t.yaml:4:",
        "keep one",
    ),
    (
        "addresses at both places",
        host("{attach: {in: {port: s1:1, ip: §10.0.0.1}, out: s1:2}, ip: 10.0.0.1}"),
        "hosts.h.attach.in.ip",
        "host 'h' has its ip written at t.yaml:4:",
        "keep one",
    ),
    ("arm without a port", host("{attach: {§in: {mac: 02:00:00:00:00:01}}}"), "hosts.h.attach.in", "'port' is m", ""),
    (
        "arm with an unknown key",
        host("{attach: {in: s1:1, out: {port: s1:2, §macs: 02:00:00:00:00:01}}}"),
        "hosts.h.attach.out.macs",
        "unknown key",
        "did you mean 'mac'?",
    ),
    (
        "arms at one port, long form",
        host("{attach: §{in: {port: s1:1}, out: {port: s1:1}}}"),
        "hosts.h.attach",
        "both arms are at s1:1",
        "",
    ),
    (
        "long arm at a taken port",
        S + "hosts: {a: {attach: s1:1}, b: {attach: {in: {port: §s1:1}}}}",
        "hosts.b.attach.in",
        "port s1:1 is used by host 'a' already",
        "",
    ),
    ("switch name", "switches: {§a b: {dpid: 1}}", "switches.a b", "'a b' is not a name", ""),
    ("longitude", "switches: {s1: {dpid: 1, longitude: §200}}", "switches.s1.longitude", "too large", "180"),
]


@pytest.mark.parametrize(
    ("text", "path", "what", "remedy"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_refused_at_its_place(text: str, path: str, what: str, remedy: str) -> None:
    text, (place,) = unmark(f"version: 1\n{text}\n", "t.yaml")
    with pytest.raises(PolicyError) as caught:
        parse_topology(text, "t.yaml")
    (problem,) = caught.value.diagnostics
    assert (str(problem.position), problem.path) == (str(place), path), problem
    assert what in problem.what
    assert remedy in problem.remedy


def test_hosts_with_different_tags_share_a_port() -> None:
    hosts = "{a: {attach: s1:1, vlan: 7}, b: {attach: s1:1}, c: {attach: s1:1, vlan: 8}}"
    topology = parse_topology(f"version: 1\n{S}hosts: {hosts}\n", "t")
    assert [host.vlan for host in topology.hosts.values()] == [7, None, 8]
    assert {host.attach[""] for host in topology.hosts.values()} == {End("s1", 1)}


def test_an_arm_has_what_is_its_own() -> None:
    hosts = parse_topology(GOOD, "t").hosts
    assert (hosts["rtr"].arm_mac("in"), hosts["rtr"].arm_mac("out")) == ("02:00:00:00:03:01", "02:00:00:00:03:02")
    assert hosts["nat"].arm_mac("out") == "02:00:00:00:04:01"
    assert hosts["nat"].arm_ips("out") == (ip_address("10.2.0.4"),)


def test_a_faulty_section_does_not_make_everything_in_it_unknown() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_topology("version: 1\nswitches: [s1]\nlinks: [[s1:1, s2:1]]\nhosts: {h: {attach: s3:1}}\n", "t")
    assert [item.path for item in caught.value.diagnostics] == ["switches"]


def test_several_files_make_one_topology(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("version: 1\nhosts: {h1: {attach: s1:9}}\nlinks: [[s1:1, s2:1]]\n")
    (tmp_path / "b.yaml").write_text("version: 1\nswitches: {s1: {dpid: 1}, s2: {dpid: 2}}\n")
    paths = [str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]
    topology = load_topologies([*paths, paths[0]])
    assert list(topology.switches) == ["s1", "s2"]
    assert topology.hosts["h1"].attach == {"": End("s1", 9)}
    with pytest.raises(PolicyError, match="no switch named 's1'"):
        load_topology(paths[0])
    assert load_topologies([]) == Topology()


def test_the_same_object_in_two_files_names_both_places(tmp_path: Path) -> None:
    text = "version: 1\nswitches: {s1: {dpid: 1}}\nhosts: {h: {attach: s1:1}}\n"
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(text)
    with pytest.raises(PolicyError) as caught:
        load_topologies([str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")])
    switch, attached = caught.value.diagnostics
    assert switch.position == Position(str(tmp_path / "b.yaml"), 2, 12)
    assert f"is declared at {tmp_path / 'a.yaml'}:2:12 too" in switch.what
    assert f"is attached at {tmp_path / 'a.yaml'}:3:9 already" in attached.what


def test_the_model_loads_by_itself(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(GOOD)
    assert Topology.load(str(tmp_path / "t.yaml")) == parse_topology(GOOD, "t.yaml")


def test_a_python_file_needs_a_class() -> None:
    with pytest.raises(PolicyError, match=r"lab\.py:1:1: .*name the class: lab\.py:MyTopo"):
        load_topologies(["lab.py"])
