"""A network in which it matters between which edges packets travel: three edges, instances near each of them."""

from __future__ import annotations

from ipaddress import IPv4Address

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.topology_file import parse_topology

# a ring of five, s1 to s5, and a detour s1 - s6 - s3 that is quick and dear
NETWORK = """\
version: 1
switches:
  s1: {dpid: 1, rack: r1, zone: z1}
  s2: {dpid: 2, rack: r1, zone: z1}
  s3: {dpid: 3, rack: r2, zone: z1}
  s4: {dpid: 4, rack: r2, zone: z2, labels: {age: old}}
  s5: {dpid: 5, rack: r3, zone: z2}
  s6: {dpid: 6, rack: r3, zone: z2}
links:
  - {ends: [s1:1, s2:2], latency: 1ms, bandwidth: 1Gbps}
  - {ends: [s2:1, s3:2], latency: 1ms, bandwidth: 1Gbps}
  - {ends: [s3:1, s4:2], latency: 1ms, bandwidth: 100Mbps}
  - {ends: [s4:1, s5:2], latency: 4ms, bandwidth: 1Gbps}
  - {ends: [s5:1, s1:2], latency: 4ms, bandwidth: 1Gbps}
  - {ends: [s1:3, s6:1], latency: 200us, bandwidth: 1Gbps, cost: 3}
  - {ends: [s6:2, s3:3], latency: 200us, bandwidth: 1Gbps, cost: 3}
hosts:
  a1: {attach: s1:11, ip: 10.0.0.1, mac: 02:00:00:00:00:01}
  a2: {attach: s1:12, ip: 10.0.0.2, mac: 02:00:00:00:00:02}
  c1: {attach: s3:11, ip: 10.0.0.3, mac: 02:00:00:00:00:03}
  d1: {attach: s4:11, ip: 10.0.0.4, mac: 02:00:00:00:00:04}
  e1: {attach: s5:11, ip: 10.0.0.5, mac: 02:00:00:00:00:05}
  fw1: {attach: {in: s1:21, out: s1:22}}
  fw2: {attach: {in: s2:21, out: s2:22}}
  fw3: {attach: {in: s3:21, out: s3:22}}
  fw5: {attach: {in: s5:21, out: s5:22}}
  dpi2: {attach: {in: s2:31, out: s2:32}}
  dpi5: {attach: {in: s5:31, out: s5:32}}
  dpi4: {attach: {in: s4:31, out: s4:32}}
  tap4: {attach: s4:41}
"""
POLICY = """\
version: 1
networks: {v: {subnet: 10.9.0.0/24, kind: service}}
endpoints:
  c1: {host: c1, labels: {serves: all}}
  d1: {host: d1, labels: {serves: all}}
  e1: {host: e1, labels: {serves: all}}
functions:
  fw: {instances: {fw1: {host: fw1}, fw2: {host: fw2, weight: 2}, fw3: {host: fw3}, fw5: {host: fw5}}}
  dpi: {instances: {dpi2: {host: dpi2}, dpi5: {host: dpi5}, dpi4: {host: dpi4}}}
  tap: {mode: tap, instances: {tap4: {host: tap4}}}
chains:
  c: {through: THROUGH, stickiness: STICKINESS, MORE}
classifiers:
  - {name: web, from: SOURCE, to: TARGET, traffic: [tcp/80], then: {chain: c}}
services:
  all: {network: v, ip: 10.9.0.9, selector: serves=all, ports: [80:80/tcp]}
"""


def network(text: str = NETWORK) -> Topology:
    return parse_topology(text, "network.yaml")


def policy(
    more: str,
    through: str = "[fw, dpi]",
    stickiness: str = "connection",
    source: str = "{host: a1}",
    target: str = "any",
    text: str = POLICY,
) -> Policy:
    for word, value in (("THROUGH", through), ("STICKINESS", stickiness), ("MORE", more), ("SOURCE", source),
                        ("TARGET", target)):
        text = text.replace(word, value)
    return parse_policy({"policy.yaml": text}).policy


def frame(topology: Topology, source: str, target: str, sport: int, dport: int = 80, flags: str = "S") -> bytes:
    """A TCP segment from one host to another's address (or to this address, by the gateway)."""
    one = topology.hosts[source]
    if target in topology.hosts:
        other = topology.hosts[target]
        ip, mac = str(other.ips[0]), other.mac
    else:
        ip, mac = str(IPv4Address(target)), "0a:00:00:00:00:01"
    segment = TCP(sport=sport, dport=dport, flags=flags)
    return bytes(Ether(src=one.mac, dst=mac) / IP(src=str(one.ips[0]), dst=ip) / segment)
