"""A small network and policy that most tests of the core use, and Topology Zoo networks made into labs."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from controller_app.model.policy import Policy
from controller_app.model.topology import End, Host, Topology
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.topology_file import load_topology, parse_topology

ROOT = Path(__file__).parents[1]
ZOO = ROOT.parent / "shared" / "data" / "topology_zoo"

NETWORK = """\
version: 1
switches: {s1: {dpid: 1}, s2: {dpid: 2}, s3: {dpid: 3}, s4: {dpid: 4}}
links: [[s1:1, s2:1], [s1:2, s3:1], [s2:2, s4:1], [s3:2, s4:2], [s2:3, s3:3]]
hosts:
  h1: {attach: s1:11, ip: [10.1.0.11, "fd01::11"], mac: 02:00:00:00:01:11}
  h2: {attach: s1:12, ip: 10.1.0.12, mac: 02:00:00:00:01:12}
  w1: {attach: s4:11, ip: [10.2.0.21, "fd02::21"], mac: 02:00:00:00:02:21}
  w2: {attach: s4:12, ip: [10.2.0.22, "fd02::22"], mac: 02:00:00:00:02:22}
  w3: {attach: s3:11, ip: [10.2.0.23, "fd02::23"], mac: 02:00:00:00:02:23}
  fw1: {attach: {in: s2:21, out: s2:22}}
  fw2: {attach: {in: s3:21, out: s3:22}}
  ids1: {attach: s4:31}
"""

POLICY = """\
version: 1
networks:
  clients: {subnet: [10.1.0.0/24, "fd01::/64"], gateway: [10.1.0.254, "fd01::fe"]}
  servers: {subnet: [10.2.0.0/24, "fd02::/64"], gateway: [10.2.0.254, "fd02::fe"]}
  vips: {subnet: 100.1.1.0/24, kind: service}
endpoints:
  web1: {host: w1, network: servers, labels: {tier: web}}
  web2: {host: w2, network: servers, labels: {tier: web}}
  web3: {host: w3, network: servers, labels: {tier: web}}
functions:
  fw: {kind: firewall, instances: {fw1: {host: fw1, weight: 2}, fw2: {host: fw2}}}
  ids: {kind: ids, mode: tap, instances: {ids1: {host: ids1}}}
chains:
  inspect: {through: [fw, ids], stickiness: STICKINESS, return: RETURN}
classifiers:
  - {name: web, from: {network: clients}, to: {service: app-svc}, traffic: [tcp/8080], then: {chain: inspect}}
  - {name: direct, from: {network: clients}, to: {network: servers}, traffic: [tcp/20-29, udp/53],
     then: {chain: inspect}}
  - {name: no-telnet, from: {host: h1}, to: {network: servers}, traffic: [tcp/23], then: deny}
  - {name: ssh, from: {host: h2}, to: {endpoint: web1}, traffic: [tcp/22], then: allow}
services:
  app-svc: {network: vips, ip: 100.1.1.3, selector: tier=web, ports: [8080:80/tcp]}
"""


def network() -> Topology:
    """Four switches, a ring with a chord; two clients, three servers, two firewalls, an IDS."""
    return parse_topology(NETWORK, "network.yaml")


def policy(stickiness: str = "connection", returns: str = "symmetric", text: str = POLICY) -> Policy:
    """The policy for it."""
    return parse_policy(
        {"policy.yaml": text.replace("STICKINESS", stickiness).replace("RETURN", returns)}
    ).policy


def zoo_lab(path: Path) -> tuple[Topology, Policy] | None:
    """A Topology Zoo network with a client, two servers, two firewalls and an IDS put on it, far from each
    other, and a policy. None where its largest connected part has fewer than four switches."""
    import networkx as nx

    bare = load_topology(str(path))
    part = sorted(max(nx.connected_components(bare.graph), key=lambda nodes: (len(nodes), min(nodes))))
    if len(part) < 4:
        return None
    highest = dict.fromkeys(bare.switches, 0)
    for end in bare.link_ports:
        assert isinstance(end.port, int)
        highest[end.switch] = max(highest[end.switch], end.port)

    def end_at(share: float, plus: int) -> End:
        switch = part[int(share * (len(part) - 1))]
        return End(switch, highest[switch] + plus)

    hosts = {
        "h1": Host("h1", {"": end_at(0, 1)}, (ip_address("10.1.0.11"),), "02:00:00:00:01:11"),
        "w1": Host("w1", {"": end_at(1, 2)}, (ip_address("10.2.0.21"),), "02:00:00:00:02:21"),
        "w2": Host("w2", {"": end_at(0.5, 3)}, (ip_address("10.2.0.22"),), "02:00:00:00:02:22"),
        # arms of one instance on two switches, the other on one
        "fw1": Host("fw1", {"in": end_at(0.3, 4), "out": end_at(0.6, 5)}),
        "fw2": Host("fw2", {"in": end_at(0.8, 6), "out": end_at(0.8, 7)}),
        "ids1": Host("ids1", {"": end_at(0.4, 8)}),
    }
    text = POLICY.replace("  web3: {host: w3, network: servers, labels: {tier: web}}\n", "")
    text = "\n".join(line for line in text.splitlines() if "h2" not in line and "no-telnet" not in line)
    return replace(bare, hosts=hosts), policy("none", "symmetric", text)
