"""A service with providers in several racks and zones, some clients, and a chain in front for one of them."""

from __future__ import annotations

from dataclasses import replace

from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.topology_file import parse_topology

PLACES = """
version: 1
switches:
  s1: {dpid: 1, rack: r1, zone: z1}
  s2: {dpid: 2, rack: r1, zone: z1}
  s3: {dpid: 3, rack: r2, zone: z1}
  s4: {dpid: 4, rack: r3, zone: z2}
links: [[s1:1, s2:1], [s2:2, s3:1], [s3:2, s4:1]]
hosts:
  c1: {attach: s1:11, ip: [10.0.1.1, "fd01::1"], mac: 02:00:00:00:00:01}
  c4: {attach: s4:11, ip: [10.0.1.4, "fd01::4"], mac: 02:00:00:00:00:04}
  p1: {attach: s1:12, ip: [10.0.2.1, "fd02::1"], mac: 02:00:00:00:02:01}
  p2: {attach: s2:12, ip: [10.0.2.2, "fd02::2"], mac: 02:00:00:00:02:02}
  p3: {attach: s3:12, ip: [10.0.2.3, "fd02::3"], mac: 02:00:00:00:02:03}
  p4: {attach: s4:12, ip: [10.0.2.4, "fd02::4"], mac: 02:00:00:00:02:04}
  fw: {attach: {in: s2:21, out: s2:22}}
"""
POLICY = """
version: 1
networks:
  clients: {subnet: [10.0.1.0/24, "fd01::/64"], gateway: [10.0.1.254, "fd01::fe"]}
  servers: {subnet: [10.0.2.0/24, "fd02::/64"], gateway: [10.0.2.254, "fd02::fe"]}
  vips: {subnet: [100.1.1.0/24, "fd03::/64"], kind: service}
endpoints:
  p1: {host: p1, network: servers, labels: {tier: web}}
  p2: {host: p2, network: servers, labels: {tier: web}}
  p3: {host: p3, network: servers, labels: {tier: web}}
  p4: {host: p4, network: servers, labels: {tier: web}}
functions: {wall: {instances: {fw: {host: fw}}}}
chains: {walled: {through: [wall], stickiness: none}}
classifiers:
  - {name: chained, from: {host: c4}, to: {service: app}, then: {chain: walled}}
services:
  app: {network: vips, selector: tier=web, ports: [8080:80/tcp, 53:5353/udp]}
"""


def network() -> Topology:
    return parse_topology(PLACES, "places.yaml")


def policy(**changes: object) -> Policy:
    """The policy with its service changed."""
    found = parse_policy({"policy.yaml": POLICY}).policy
    tenant = found.tenants["default"]
    services = {"app": replace(tenant.services["app"], **changes)}  # type: ignore[arg-type]
    return Policy({"default": replace(tenant, services=services)})


def with_endpoint(found: Policy, name: str, **changes: object) -> Policy:
    tenant = found.tenants["default"]
    changed = replace(tenant.endpoints[name], **changes)  # type: ignore[arg-type]
    return Policy({"default": replace(tenant, endpoints={**tenant.endpoints, name: changed})})
