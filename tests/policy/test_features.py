"""Features: what a file can demand, and what a policy and a topology use, go by the same names."""

from __future__ import annotations

import pytest
from policies_by_example import SERVING, SMALLEST, STEERING, WHOLE
from test_by_edges import REQUIRING
from test_topology_file import GOOD

from controller_app.model.policy import Policy
from controller_app.model.position import PolicyError
from controller_app.modes import MODES
from controller_app.policy.features import FEATURES, used_features
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.topology_file import parse_topology
from controller_app.transports import TRANSPORTS


def service(text: str) -> str:
    return (
        "networks: {v: {subnet: 100.1.1.0/24, kind: service}}\n"
        f"services: {{s: {{network: v, selector: x, ports: 80, {text}}}}}"
    )


def test_every_feature_is_used_by_what_uses_everything() -> None:
    steering, topology = parse_policy({"p": STEERING}).policy, parse_topology(GOOD, "t")
    serving = used_features(parse_policy({"p": SERVING}).policy)
    choosing = used_features(parse_policy({"p": REQUIRING}).policy)
    assert {*used_features(steering, topology), *serving, *choosing} == FEATURES
    assert set(used_features(steering)) < FEATURES
    assert set(serving) - {"routed-functions"} == {
        "session-affinity", "prefer", "service-health", "expose", "drain", "selector-functions",
    }  # fmt: skip
    assert {f"{word}-functions" for word in MODES} - FEATURES == {"transparent-functions", "tap-functions"}
    assert {f"transport-{word}" for word in TRANSPORTS} - FEATURES == {"transport-mac"}


def test_the_base_language_uses_none() -> None:
    plain = parse_topology("version: 1\nswitches: {s1: {dpid: 1}}\nhosts: {h: {attach: s1:1, ip: 10.0.0.1}}", "t")
    for text in (SMALLEST, WHOLE):
        assert used_features(parse_policy({"p": text}).policy, plain) == []
    assert used_features(Policy()) == []


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("flood: dhcp", ["flood"]),
        ("functions: {f: {mode: nsh, on_failure: open, instances: {a: {host: a}}}}", ["failure-open", "nsh-functions"]),
        ("classifiers: [{from: any, to: any, dscp: ef, then: {dscp: 0}}]", ["dscp-marks", "dscp-match"]),
        ("classifiers: [{from: any, to: any, then: {queue: 0}}]", ["queues"]),
        ("classifiers: [{from: any, to: any, then: {limit: 1Mbps}}]", ["limits"]),
        ("classifiers: [{from: any, to: any, then: reject}]", ["reject"]),
        ("endpoints: {e: {host: h, drain: 0s}}", ["drain"]),
        ("functions: {f: {instances: {selector: x}}}", ["selector-functions"]),
        ("functions: {f: {health: {probe: frame}, instances: {a: {host: a}}}}", ["function-health"]),
        (service("session_affinity: 1s"), ["session-affinity"]),
        (service("prefer: cost"), ["prefer"]),
        (service("health: {probe: arp}"), ["service-health"]),
        (service("expose: internal"), ["expose"]),
        (service("expose: [{host: h}]"), ["expose"]),
    ],
)
def test_each_is_found_by_itself(text: str, used: list[str]) -> None:
    assert used_features(parse_policy({"p": f"version: 1\n{text}\n"}).policy) == used


def test_a_file_may_demand_every_one_of_them() -> None:
    demand = f"version: 1\nmust_understand: [{', '.join(sorted(FEATURES))}]\n"
    assert parse_policy({"p": demand}).policy.tenants["default"].default_allow
    with pytest.raises(PolicyError, match="does not understand 'tunnel-link'"):
        parse_policy({"p": demand.replace("tunnel-links", "tunnel-link")})
