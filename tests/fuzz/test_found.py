"""Policies that random ones were cut down to, when what was accepted did not do what it says. (Those without services
are corners of `tests/verification/test_agreement_modes.py`.)"""

from __future__ import annotations

import pytest
from policy_texts import TOPOLOGY

from controller_app import compile, verify
from controller_app.policy.policy_file import parse_policy

HEAD = """\
version: 1
networks:
  clients: {subnet: [10.1.0.0/24], gateway: 10.1.0.254}
  servers: {subnet: [10.2.0.0/24], gateway: 10.2.0.254}
  vips: {subnet: [10.4.0.0/24], kind: service}
endpoints:
  web: {host: web, network: servers, labels: {tier: web}}
  web5: {host: web5, network: servers, labels: {tier: web}}
services: {svc: {network: vips, selector: tier=web, ports: ['8080:80/tcp', '53:53/udp']}}
functions:
  hop: {mode: routed, instances: {hop1: {host: hop1}, hop2: {host: hop2}}}
  nat: {mode: translating, instances: {nat1: {host: nat1}, nat2: {host: nat2}}}
  talk: {mode: nsh, instances: {talk1: {host: talk1}}}
  skip: {on_failure: open, instances: {skip: {host: skip}}}
  spy: {mode: tap, instances: {spy1: {host: spy1}}}
"""
FOUND = {
    "edges hash a reply of a service with its address, behind a translation too": """\
chains: {c: {through: [nat, hop], stickiness: none, transport: nsh}}
classifiers: [{from: {host: web}, to: {service: svc}, then: {chain: c}}]
""",
    "replies out of a translating function go on through one that takes labels off": """\
chains: {c: {through: [talk, hop, nat]}}
classifiers: [{from: {host: web}, to: {service: svc}, then: {chain: c}}]
""",
    "answers start from an NSH function that kept its header": """\
chains: {c: {through: [skip, talk], transport: nsh}}
classifiers: [{from: any, to: {host: c1}, then: {chain: c}}]
""",
    "answers do not start where a branch left the chain": """\
chains: {c: {through: [skip, hop]}}
classifiers:
  - {name: there, from: {network: servers}, to: {host: c1}, then: {chain: c}}
  - {name: branch, from: any, to: any, traffic: tcp/80, after: skip, then: allow}
""",
    "replies out of a translating function begin a list of taps": """\
chains: {c: {through: [nat], return: [nat, spy]}}
classifiers: [{from: {cidr: 10.1.0.0/24}, to: {service: svc}, then: {chain: c}}]
""",
    "what a branch takes is not marked by what it would have fallen to": """\
chains: {c: {through: [skip, nat]}}
classifiers:
  - {name: there, from: {network: servers}, to: {selector: tier=web}, traffic: tcp/8080, then: {chain: c, dscp: af21}}
  - {name: branch, from: any, to: {selector: tier=web}, traffic: tcp/8080, after: nat, then: {limit: 5Mbps}}
""",
    "what a translating function sends to a service takes a branch": """\
chains: {c: {through: [nat]}, d: {through: [hop, skip]}}
classifiers:
  - {name: there, from: {network: clients}, to: {service: svc}, then: {chain: c}}
  - {name: branch, from: any, to: {service: svc}, after: nat, then: {chain: d}}
""",
}


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("what", FOUND)
def test_what_was_found(what: str, portable: bool) -> None:
    policy = parse_policy({"p.yaml": HEAD + FOUND[what]}).policy
    state, allocation = compile(policy, TOPOLOGY, portable=portable)
    report = verify(policy, TOPOLOGY, state, allocation)
    assert report.ok, report.counterexample
