"""Random policies as people write them, over topologies/function_modes.yaml with a second server.

Everything the language has is in them: every mode of function, way back, transport, way to fail, party, mark, branch
and insertion, and a service. What they say need not make sense; most of it is accepted.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from controller_app import Topology
from controller_app.modes import MODES
from controller_app.policy.topology_file import parse_topology

ROOT = Path(__file__).parents[2]
SECOND = '  web5:   {attach: s3:41, ip: [10.2.0.25, "fd02::25"], mac: 02:00:00:00:02:25}\n'


def measured(topology: Topology) -> Topology:
    """With places, labels, latencies and bandwidths, so that there is something to require."""
    where = {"s1": ("r1", "z1", {}), "s2": ("r1", "z1", {"age": "old"}), "s3": ("r2", "z1", {}), "s4": ("r2", "z2", {})}
    known = [(0.001, 5e8), (0.001, 1e9), (0.002, 3e8), (0.001, None)]
    return replace(
        topology,
        switches={
            name: replace(switch, rack=where[name][0], zone=where[name][1], labels=where[name][2])
            for name, switch in topology.switches.items()
        },
        links=tuple(
            replace(link, latency=latency, bandwidth=bandwidth)
            for link, (latency, bandwidth) in zip(topology.links, known, strict=True)
        ),
    )


TOPOLOGY = measured(
    parse_topology((ROOT / "topologies" / "function_modes.yaml").read_text() + SECOND, "topology.yaml")
)
BASE: dict[str, Any] = yaml.safe_load((ROOT / "policies" / "function_modes.yaml").read_text())
FUNCTIONS: dict[str, dict[str, Any]] = BASE["functions"]
TRANSLATING = frozenset(name for name, each in FUNCTIONS.items() if each.get("mode") == "translating")
TAPS = frozenset(name for name, each in FUNCTIONS.items() if each.get("mode") == "tap")
SERVICE = {"service": "svc"}
PARTIES: tuple[Any, ...] = (
    "any", {"network": "clients"}, {"network": "servers"}, {"host": "c1"}, {"host": "web"}, {"endpoint": "c2"},
    {"selector": "tier=web"}, {"cidr": "10.1.0.0/28"}, {"cidr": "10.2.0.0/24"}, {"cidr": "fd02::/64"},
)  # fmt: skip
TRAFFIC: tuple[Any, ...] = (
    "tcp/8080", "tcp/80", "udp/53", "icmp", "tcp", "udp/50-60", ["tcp/80", "udp/53"],
)  # fmt: skip
REQUIRED: tuple[tuple[str, Any], ...] = (
    ("latency", "3ms"), ("latency", "6ms"), ("bandwidth", "100Mbps"), ("bandwidth", "400Mbps"), ("within", "zone"),
    ("avoid", "age=old"), ("avoid", "zone=z2"), ("prefer", "rack=r1"), ("apart", True), ("backup", True),
)  # fmt: skip
ENDPOINTS = {
    "c1": {"host": "c1", "network": "clients", "labels": {"role": "desk"}},
    "c2": {"host": "c2", "network": "clients", "labels": {"role": "kiosk"}},
    "web": {"host": "web", "network": "servers", "labels": {"tier": "web"}},
    "web5": {"host": "web5", "network": "servers", "labels": {"tier": "web"}},
}


def text_of(policy: dict[str, Any]) -> str:
    """A policy as YAML."""
    return yaml.safe_dump(policy, sort_keys=False, default_flow_style=None, width=200)


def some(names: list[str], most: int = 5) -> st.SearchStrategy[list[str]]:
    """Some of these names, each once, in any order; at least one."""
    return st.lists(st.sampled_from(names), min_size=1, max_size=most, unique=True)


def rarely(value: st.SearchStrategy[Any], otherwise: Any = None) -> st.SearchStrategy[Any]:
    """In one of four cases."""
    return st.integers(0, 3).flatmap(lambda number: value if number == 3 else st.just(otherwise))


@st.composite
def chains(draw: st.DrawFn, names: list[str]) -> dict[str, Any]:
    """A chain of these functions, with any way back."""
    chain: dict[str, Any] = {"through": draw(some(names))}
    for key, words in (("stickiness", ["none", "connection"]), ("transport", ["mac", "vlan", "mpls", "nsh"])):
        if draw(st.booleans()):
            chain[key] = draw(st.sampled_from(words))
    if draw(rarely(st.just(True))):
        chain["spread"] = draw(st.sampled_from(["cost", "cost", "weight"]))
    required = draw(rarely(st.lists(st.sampled_from(REQUIRED), min_size=1, max_size=2, unique_by=lambda each: each[0])))
    if required is not None:
        chain["require"] = dict(required)
    way = draw(rarely(st.sampled_from(["direct", "listed"])))
    if way == "direct":
        chain["return"] = way
    elif way == "listed":
        listed = draw(some(names))
        # translating functions are met in the order of their addresses, or not named
        cutting = [name for name in reversed(chain["through"]) if name in TRANSLATING] if draw(st.booleans()) else []
        listed = [name for name in listed if name not in TRANSLATING]
        for number, name in enumerate(cutting):
            listed.insert(draw(st.integers(0, len(listed))) if not number else len(listed), name)
        if listed:
            chain["return"] = listed
    return chain


@st.composite
def classifiers(draw: st.DrawFn, number: int, found: dict[str, dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """A classifier whose number is its priority."""
    sender, receiver = draw(st.sampled_from(PARTIES)), draw(st.sampled_from([*PARTIES, SERVICE, SERVICE]))
    classifier: dict[str, Any] = {"name": f"k{number}", "from": sender, "to": receiver, "priority": number}
    if draw(st.booleans()):
        classifier["traffic"] = draw(st.sampled_from(TRAFFIC))
    dscp = draw(rarely(st.sampled_from(["ef", "af21", ["af21", "cs1"]])))
    if dscp is not None:
        classifier["dscp"] = dscp
    verdict = draw(st.sampled_from(["chain", "chain", "chain", "allow", "deny", "reject", "marks"]))
    on_path = [name for name in names if name not in TAPS]
    if number and on_path and draw(rarely(st.just(True))):
        classifier["after"] = draw(st.sampled_from(on_path))
    marks = {key: value for key, value in (("limit", "5Mbps"), ("dscp", "af21"), ("queue", 3)) if draw(st.booleans())}
    if verdict == "chain":
        after = classifier.get("after")
        fitting = [name for name, chain in found.items() if after not in chain["through"]]
        verdict = "chain" if fitting else "allow"
        if fitting:
            classifier["then"] = {"chain": draw(st.sampled_from(fitting)), **marks}
    if verdict == "marks":
        classifier["then"] = marks or {"limit": "5Mbps"}
    elif verdict != "chain":
        classifier["then"] = verdict
    return classifier


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    """A whole policy, as the mapping that is its YAML."""
    names = draw(some(list(FUNCTIONS)))
    on_path = [name for name in names if name not in TAPS]
    inserted = [name for name in names if name not in TRANSLATING]
    policy: dict[str, Any] = {"version": 1}
    default = draw(rarely(st.sampled_from(["allow", "deny"])))
    flood = draw(rarely(st.sampled_from(["dhcp", "multicast", ["dhcp", "multicast"]])))
    policy |= {key: value for key, value in (("default", default), ("flood", flood)) if value is not None}
    networks = {name: dict(network) for name, network in BASE["networks"].items()}
    policy["networks"] = {**networks, "vips": {"subnet": ["10.4.0.0/24", "fd04::/64"], "kind": "service"}}
    policy["endpoints"] = ENDPOINTS
    policy["functions"] = {name: dict(FUNCTIONS[name]) for name in names}
    for name in on_path:
        failing = draw(rarely(st.sampled_from(["closed", "open", "reject"])))
        if failing is not None:
            policy["functions"][name]["on_failure"] = failing
        if draw(rarely(st.just(True))):
            probe = "icmp" if MODES[FUNCTIONS[name].get("mode", "transparent")].is_host else "frame"
            policy["functions"][name]["health"] = {"probe": probe}
    found = {f"ch{number}": draw(chains(names)) for number in range(draw(st.integers(1, 3)))}
    policy["chains"] = found
    policy["services"] = {"svc": {"network": "vips", "selector": "tier=web", "ports": ["8080:80/tcp", "53:53/udp"]}}
    if inserted and draw(rarely(st.just(True))):
        policy["networks"]["clients"]["insert"] = draw(some(inserted))
    if inserted and draw(rarely(st.just(True))):
        part = draw(st.sampled_from([{"selector": "role=kiosk"}, {"cidr": "10.1.0.8/30"}]))
        policy["segments"] = {"kio": {"network": "clients", **part, "insert": draw(some(inserted, 1))}}
    policy["classifiers"] = [draw(classifiers(n, found, names)) for n in range(draw(st.integers(1, 5)))]
    return policy


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """The topology, sometimes with ports of functions down, and with instances that health checks found out."""
    hosts = [instance["host"] for each in FUNCTIONS.values() for instance in each["instances"].values()]
    failed = draw(rarely(some(hosts, 3), []))
    down = frozenset(end for name in failed for end in TOPOLOGY.hosts[name].attach.values())
    every = [f"functions/default/{name}/{one}" for name, each in FUNCTIONS.items() for one in each["instances"]]
    unready = frozenset(draw(rarely(some(every, 3), [])))
    return replace(TOPOLOGY, down=down, unready=unready) if down or unready else TOPOLOGY
