"""Networks and policies with every mode of function, and with every kind of host."""

from __future__ import annotations

from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.topology_file import parse_topology

NETWORK = """\
version: 1
switches: {s1: {dpid: 1}, s2: {dpid: 2}, s3: {dpid: 3}}
links: [[s1:1, s2:1], [s2:2, s3:1], [s1:2, s3:2]]
hosts:
  a: {attach: s1:11, ip: 10.1.0.11, mac: 02:00:00:00:01:11}
  a2: {attach: s1:12, ip: 10.1.0.12, mac: 02:00:00:00:01:12}
  b: {attach: s3:11, ip: 10.2.0.21, mac: 02:00:00:00:02:21}
  b2: {attach: s3:12, ip: 10.1.0.22, mac: 02:00:00:00:01:22}
  r1: {attach: s2:21, ip: 10.1.0.101, mac: 02:00:00:00:03:01}
  r2: {attach: s3:21, ip: 10.1.0.102, mac: 02:00:00:00:03:02}
  r3:
    attach:
      in: {port: s2:22, mac: 02:00:00:00:03:13, ip: 10.1.0.103}
      out: {port: s2:23, mac: 02:00:00:00:03:23, ip: 10.2.0.103}
  fw1: {attach: {in: s2:31, out: s2:32}}
  fw2: {attach: {in: s3:31, out: s3:32}}
  n1: {attach: s2:41, mac: 02:00:00:00:04:01}
  n2: {attach: {in: s3:41, out: s3:42}, mac: 02:00:00:00:04:02}
  ids1: {attach: s1:51}
"""
POLICY = """\
version: 1
networks:
  clients: {subnet: 10.1.0.0/24, gateway: 10.1.0.254}
  servers: {subnet: 10.2.0.0/24, gateway: 10.2.0.254}
functions:
  FUNCTIONS
chains:
  way: {through: [THROUGH], stickiness: STICKINESS, transport: TRANSPORT}
classifiers:
  - {name: web, from: {host: a}, to: {host: b}, traffic: [tcp/80], then: {chain: way}}
  - {name: near, from: {host: a}, to: {host: b2}, traffic: [tcp/80], then: {chain: way}}
"""
A, A2, B, B2 = "02:00:00:00:01:11", "02:00:00:00:01:12", "02:00:00:00:02:21", "02:00:00:00:01:22"
ROUTED = "router: {mode: routed, instances: {r1: {host: r1}, r2: {host: r2}}}"
TWO_ARMED = "router: {mode: routed, instances: {r3: {host: r3}}}"
FIREWALL = "fw: {kind: firewall, instances: {fw1: {host: fw1}, fw2: {host: fw2}}}"
ORIGINAL = "fw: {kind: firewall, handover: original, instances: {fw1: {host: fw1}, fw2: {host: fw2}}}"
SPEAKER = "nsh: {mode: nsh, instances: {n1: {host: n1}, n2: {host: n2}}}"
TAP = "ids: {mode: tap, instances: {ids1: {host: ids1}}}"
NAT = "nat: {kind: nat, mode: translating, instances: {r1: {host: r1}, r2: {host: r2}}}"
STICKINESS = ("connection", "none")


def both(functions: str, through: str, stickiness: str = "none", transport: str = "mac") -> tuple[Topology, Policy]:
    text = POLICY.replace("FUNCTIONS", functions).replace("THROUGH", through)
    text = text.replace("STICKINESS", stickiness).replace("TRANSPORT", transport)
    return parse_topology(NETWORK, "network.yaml"), parse_policy({"policy.yaml": text}).policy


HOSTS = """\
version: 1
switches: {s1: {dpid: 1}, s2: {dpid: 2}, s3: {dpid: 3}}
links: [[s1:1, s2:1], [s2:2, s3:1], {ends: [s1:2, s3:2]MTU}]
hosts:
  a: {attach: s1:11, ip: [10.1.0.11, "fd01::11"], mac: 02:00:00:00:01:11}
  b: {attach: s3:11, ip: [10.1.0.12, "fd01::12"], mac: 02:00:00:00:01:12}
  c: {attach: s2:11, ip: 10.2.0.13, mac: 02:00:00:00:02:13}
  v1: {attach: s1:20, ip: 10.1.0.21, mac: 02:00:00:00:01:21, vlan: 7}
  v2: {attach: s3:20, ip: 10.1.0.22, mac: 02:00:00:00:01:22, vlan: 9}
  v3: {attach: s3:20, ip: 10.1.0.23, mac: 02:00:00:00:01:23, vlan: 8}
  fw: {attach: {in: s2:31, out: s2:32}}
  x1: {attach: s1:41, ip: 10.9.0.1, mac: 02:00:00:00:09:01}
  x2: {attach: s3:41, ip: 10.9.0.2, mac: 02:00:00:00:09:02}
  y1: {attach: s1:42, ip: 10.9.0.1, mac: 02:00:00:00:09:01}
  y2: {attach: s3:42, ip: 10.9.0.2, mac: 02:00:00:00:09:02}
"""
HOST_POLICY = """\
version: 1
flood: [dhcp, multicast]
networks:
  near: {subnet: [10.1.0.0/24, "fd01::/64"], gateway: [10.1.0.254, "fd01::fe"]}
  far: {subnet: 10.2.0.0/24, gateway: 10.2.0.254}
endpoints:
  one: {host: a, network: near, labels: {side: left}}
  two: {host: v1, network: near, labels: {side: left}}
  three: {host: b, network: near, labels: {side: right}}
  four: {host: v2, network: near, labels: {side: right}}
  five: {host: v3, network: near, labels: {side: right}}
functions:
  fw: {instances: {fw: {host: fw}}}
chains:
  way: {through: [fw], transport: TRANSPORT}
classifiers:
  - {name: web, from: {network: near}, to: {network: near}, traffic: [tcp/80], then: {chain: way}}
  - {name: games, from: {selector: side=left}, to: {selector: side=right}, traffic: [udp/7, udp/9, udp/11], then: deny}
"""
TENANT = """\
version: 1
tenant: NAME
networks: {net: {subnet: 10.9.0.0/24}}
endpoints: {one: {host: H1, network: net}, two: {host: H2, network: net}}
"""


def hosts(transport: str = "mac", mtu: str = "") -> tuple[Topology, Policy]:
    files = {"policy.yaml": HOST_POLICY.replace("TRANSPORT", transport)}
    for name, (one, two) in (("red", ("x1", "x2")), ("blue", ("y1", "y2"))):
        files[f"{name}.yaml"] = TENANT.replace("NAME", name).replace("H1", one).replace("H2", two)
    return parse_topology(HOSTS.replace("MTU", mtu), "network.yaml"), parse_policy(files).policy


MARKED = """\
version: 1
functions:
  fw: {kind: firewall, on_failure: reject, instances: {fw1: {host: fw1}}}
  router: {mode: routed, instances: {r1: {host: r1}}}
  ids: {mode: tap, instances: {ids1: {host: ids1}}}
chains:
  way: {through: [fw, ids]}
  on: {through: [router], transport: vlan}
classifiers:
  - {name: web, from: {host: a}, to: {host: b}, traffic: [tcp/80, tcp/90],
     then: {chain: way, limit: 5Mbps, dscp: af21, queue: 1}}
  - {name: voice, from: {host: a}, to: {host: b}, dscp: ef, then: {allow: true, dscp: cs5}, priority: 1}
  - {name: no, from: {host: a}, to: {host: b2}, then: reject}
  - {name: marked, after: fw, from: any, to: any, dscp: af11, then: {chain: on}}
  - {name: odd, after: fw, from: any, to: any, traffic: [tcp/90], then: {allow: true, dscp: cs1}, priority: 1}
  - {name: far, after: fw, from: {cidr: "fd01::/64"}, to: {cidr: "fd02::/64"}, traffic: [udp/53], then: deny,
     priority: 3}
  - {name: back, after: fw, from: {host: b}, to: {host: a}, traffic: [udp/54], then: deny, priority: 3}
  - {name: worse, after: fw, from: {host: a}, to: any, traffic: [tcp/91], then: reject, priority: 2}
"""


def marked() -> tuple[Topology, Policy]:
    """Limits, marks, refusals and branches."""
    return parse_topology(NETWORK, "network.yaml"), parse_policy({"policy.yaml": MARKED}).policy
