"""Policies that say everything a policy can say: the smallest, all sections, steering, services."""

from __future__ import annotations

SMALLEST = """\
version: 1
functions:
  firewall: {kind: firewall, instances: {fw1: {host: fw1}}}
chains:
  protected: {through: [firewall]}
classifiers:
  - {from: {host: h1}, to: {host: h2}, traffic: [tcp/80], then: {chain: protected}}
"""
WHOLE = """\
version: 1
must_understand: []
tenant: blue
default: deny
networks:
  clients: {subnet: [10.1.0.0/24, "fd01::/64"], gateway: [10.1.0.254, "fd01::1"]}
  servers: {subnet: 10.2.0.0/24}
  vips:    {subnet: 100.1.1.0/24, kind: service}
endpoints:
  web1: {host: h3, network: servers, labels: {tier: web, version: 1.0, on: true}, weight: 2, drain: false}
functions:
  edge-firewall:
    kind: firewall
    mode: transparent
    handover: label
    on_failure: closed
    instances:
      fw1: {host: fw1, weight: 2}
      fw2: {host: fw2}
  ids: {mode: tap, instances: {ids1: {host: ids1}}}
chains:
  inspect-web:
    through: [edge-firewall, ids]
    return: direct
    transport: mac
    stickiness: none
    spread: weight
classifiers:
  - name: clients-to-web
    from: {network: clients}
    to: {service: app-svc}
    traffic: [tcp/80, tcp/8000-8999, UDP/53, icmp, tcp]
    then: {chain: inspect-web}
    priority: 100
  - {from: any, to: {selector: "tier=web"}, then: allow}
  - {from: {cidr: 10.0.0.0/8}, to: {endpoint: web1}, traffic: udp/1, then: deny}
services:
  app-svc:
    network: vips
    ip: 100.1.1.3
    selector: {matchLabels: {tier: web}, matchExpressions: [{key: old, operator: DoesNotExist}]}
    ports: [8080:80/tcp, 9090:90:UDP, 443/tcp]
    expose: everyone
"""
STEERING = """\
version: 1
must_understand: [tunnel-links, after, segments]
flood: [multicast, dhcp, dhcp]
networks:
  clients: {subnet: [10.1.0.0/24, "fd01::/64"], insert: [router, ids]}
  servers: {subnet: 10.2.0.0/24}
segments:
  kiosks: {network: clients, cidr: 10.1.0.128/26, insert: [firewall, ids]}
  lobby: {network: clients, selector: "place=lobby"}
endpoints:
  k1: {host: h1, network: clients, labels: {place: lobby}}
functions:
  firewall:
    {handover: original, on_failure: open, health: {probe: frame, interval: 200ms}, instances: {fw1: {host: fw1}}}
  router: {mode: routed, on_failure: reject, health: {probe: ICMP, misses: 1, hold: 1m}, instances: {r1: {host: r1}}}
  ids: {mode: tap, instances: {i1: {host: ids1}}}
  classifier: {mode: nsh, instances: {n1: {host: n1}}}
  nat: {mode: translating, kind: nat, instances: {nat1: {host: nat1}}}
chains:
  there-and-back: {through: [firewall, classifier], return: [ids, router], transport: nsh}
  out: {through: [router, nat], return: direct, transport: vlan, stickiness: none}
  marked: {through: [router], transport: mpls}
classifiers:
  - {from: {segment: kiosks}, to: {segment: lobby}, then: {chain: there-and-back, limit: 50Mbps, dscp: af21, queue: 1}}
  - {from: any, to: any, after: classifier, dscp: [ef, 10, CS7, 10], then: {chain: marked}, priority: 5}
  - {from: {host: h1}, to: any, dscp: voice-admit, then: {allow: true, limit: 1kbps}, priority: 7}
  - {from: {host: h1}, to: {cidr: 0.0.0.0/0}, dscp: 0, then: {queue: 0}, priority: 6}
  - {from: {host: h2}, to: any, then: reject, priority: 1}
  - {from: {host: h2}, to: {host: h1}, then: {reject: true}, priority: 2}
"""
SERVING = """\
version: 1
must_understand: [session-affinity, prefer, service-health, expose, drain, selector-functions]
networks:
  clients: {subnet: [10.1.0.0/24, "fd01::/64"]}
  servers: {subnet: [10.2.0.0/24, "fd02::/64"], gateway: [10.2.0.254, "fd02::fe"]}
  vips: {subnet: [100.1.1.0/24, "fd64::/64"], kind: service}
endpoints:
  c1: {host: h1, network: clients, labels: {role: client}}
  web1: {host: web1, network: servers, labels: {tier: web}, drain: 10m}
  web2: {host: web2, network: servers, labels: {tier: web}, drain: true}
  web3: {host: web3, network: servers, labels: {tier: web}}
  box1: {host: fw1, labels: {role: firewall}, weight: 3}
  box2: {host: fw2, labels: {role: firewall}, drain: 0s}
functions:
  firewall: {kind: firewall, instances: {selector: "role=firewall"}}
  proxy: {mode: routed, instances: {selector: {matchExpressions: [{key: role, operator: In, values: [proxy]}]}}}
chains:
  inspect: {through: [firewall]}
classifiers:
  - {from: {network: clients}, to: {service: inner}, then: {chain: inspect}}
services:
  app:
    network: vips
    selector: tier=web
    ports: [8080:80/tcp]
    session_affinity: 3h
    prefer: zone
    health: {probe: "http://:80/ready?full=1", interval: 200ms, misses: 2}
    expose: [{network: clients}, {endpoint: c1}, {cidr: 192.0.2.0/24}, {selector: role=client}]
  inner: {network: vips, selector: tier=web, ports: 443, prefer: cost, health: {probe: TCP/443}, expose: internal}
  near: {network: vips, selector: tier=web, ports: 53/udp, prefer: switch, health: {probe: arp, interval: 1m}}
"""
# The whole language by example, as the design has it, without the words of later versions.
BY_EXAMPLE = """\
version: 1
must_understand: [tunnel-links]
tenant: blue
default: allow
flood: [dhcp]
networks:
  clients: {subnet: 10.1.0.0/24, gateway: 10.1.0.254, insert: [edge-firewall]}
  servers: {subnet: 10.2.0.0/24, gateway: 10.2.0.254}
  vips:    {subnet: 100.1.1.0/24, kind: service}
segments:
  kiosks:  {network: clients, cidr: 10.1.0.128/26, insert: [edge-firewall, ids]}
endpoints:
  web1: {host: h3, network: servers, labels: {tier: web, release: stable}, weight: 1, drain: false}
functions:
  edge-firewall:
    kind: firewall
    mode: transparent
    handover: label
    on_failure: closed
    instances:
      fw1: {host: fw1, weight: 2}
      fw2: {host: fw2}
  ids:
    kind: ids
    mode: tap
    instances: {ids1: {host: ids1}}
chains:
  inspect-web:
    through: [edge-firewall, ids]
    return: symmetric
    transport: mac
    stickiness: connection
    spread: weight
classifiers:
  - name: clients-to-web
    from: {network: clients}
    to: {service: app-svc}
    traffic: [tcp/80, tcp/8000-8999]
    after: ids
    then: {chain: inspect-web, limit: 50Mbps, dscp: af21}
    priority: 100
services:
  app-svc:
    network: vips
    ip: 100.1.1.3
    selector: "tier=web, release in (stable, canary), !drained"
    ports: [8080:80/tcp]
    session_affinity: 10m
    prefer: rack
    health: {probe: http://:80/ready, interval: 1s, misses: 3}
    expose: everyone
"""
