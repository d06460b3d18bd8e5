"""What becomes of chains when parts of the network fail: the paths before and after, held against each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from controller_app.model.allocation import Allocation
from controller_app.model.policy import Policy
from controller_app.model.topology import End, Topology
from controller_app.pipeline.paths import paths
from controller_app.pipeline.world import build_world
from controller_app.policy.membership import function_hosts

MOST_REASONS = 4  # that are told of one way
KEEPS, MOVES, FAILS = "keeps", "moves", "fails"
_Key = tuple[str, str, str, str, str, str]


class UnknownPart(ValueError):
    """Nothing in the network is called so; the text says what can be named."""


def without(topology: Topology, parts: Iterable[str]) -> Topology:
    """The network with these parts down: a link by the switches at its ends (`s2-s4`: every link between them) or by
    one of its ports (`s2:3`), a switch, a host, or the port of a host. Raises UnknownPart."""
    for part in parts:
        topology = _without(topology, part)
    return topology


def _without(topology: Topology, part: str) -> Topology:
    if part in topology.switches:
        gone = {end for link in topology.links for end in (link.a, link.b) if part in (link.a.switch, link.b.switch)}
        hosts = {end for host in topology.hosts.values() for end in host.attach.values() if end.switch == part}
        return _down(topology, gone, hosts)
    if part in topology.hosts:
        return _down(topology, set(), set(topology.hosts[part].attach.values()))
    between = {
        end
        for link in topology.links
        for a, b in ((link.a, link.b), (link.b, link.a))
        if part in (f"{a.switch}-{b.switch}", f"{a}-{b}")
        for end in (a, b)
    }
    if between:
        return _down(topology, between, set())
    ports = {str(end): end for link in topology.links for end in (link.a, link.b)}
    if part in ports:
        return _down(topology, {ports[part]}, set())
    attached = {str(end): end for host in topology.hosts.values() for end in host.attach.values()}
    if part in attached:
        return _down(topology, set(), {attached[part]})
    raise UnknownPart(
        f"nothing is called {part!r}: name a link by its switches (s1-s2) or a port of it (s1:1), a switch, or a host"
    )


def _down(topology: Topology, cables: set[End], ports: set[End]) -> Topology:
    links = tuple(link for link in topology.links if link.a not in cables and link.b not in cables)
    return replace(topology, links=links, down=topology.down | ports)


def what_if(
    policy: Policy, topology: Topology, parts: Iterable[str], allocation: Allocation | None = None
) -> dict[str, Any]:
    """The `what-if` document: for every classifier into a chain, each pair of edge switches and each direction, what
    becomes of it when the parts are down, and the paths before and after.

    effect: `keeps` (the same instances over the same switches), `moves` (with how many of the 256 slots get other
    instances: connections that are remembered stay where their instance does), or `fails` (with why). allocation: the
    slots in force; None: those of a policy applied for the first time. Raises UnknownPart.
    """
    parts = list(parts)
    after = _without_idle(policy, without(topology, parts))
    _, held = build_world(policy, topology, allocation or Allocation())
    old, new = (_by_key(paths(policy, network, held)) for network in (topology, after))
    found = [_effect(before, new.get(key)) for key, before in old.items()]
    return {"down": parts, "chains": found}


def _without_idle(policy: Policy, topology: Topology) -> Topology:
    """Without the hosts that are cut off: nothing starts or ends there. Functions stay, for what is said of them."""
    functions = function_hosts(policy)
    hosts = {
        name: host
        for name, host in topology.hosts.items()
        if name in functions or not topology.down.issuperset(host.attach.values())
    }
    return replace(topology, hosts=hosts)


def _by_key(document: Mapping[str, Any]) -> dict[_Key, dict[str, Any]]:
    return {(item["tenant"], item["name"], item["classifier"], item["ingress"], item["egress"], item["direction"]): item
            for item in document["chains"]}  # fmt: skip


def _effect(before: dict[str, Any], after: dict[str, Any] | None) -> dict[str, Any]:
    same = {name: before[name] for name in ("name", "classifier", "tenant", "ingress", "egress", "direction")}
    old = _slots(before)
    new = _slots(after) if after is not None else {}
    moved = sum(max(0, slots - new.get(instances, 0)) for instances, slots in old.items())
    ways = {tuple(way["instances"]): way["switches"] for way in before["paths"]}
    if not new:
        effect, why = (FAILS, _why(after)) if old else (KEEPS, "it had no path before")
        return {**same, "effect": effect, "moved": sum(old.values()), "why": why, **_two(before, after)}
    other = after is not None and any(ways.get(tuple(way["instances"])) != way["switches"] for way in after["paths"])
    return {**same, "effect": MOVES if moved or other else KEEPS, "moved": moved, "why": "", **_two(before, after)}


def _why(after: Mapping[str, Any] | None) -> str:
    """Why nothing is left, instance by instance."""
    if after is None or not after["rejected"]:
        return "nobody is left at one of its ends" if after is None else "no instance is left"
    reasons: dict[str, list[str]] = {}
    for item in after["rejected"]:
        reasons.setdefault(item["why"], []).append(", ".join(item["instances"]))
    said = [f"{' and '.join(filter(None, names[:3])) or 'every path'}: {why}" for why, names in reasons.items()]
    return "; ".join(said[:MOST_REASONS]) + ("; ..." if len(said) > MOST_REASONS else "")


def _two(before: Mapping[str, Any], after: Mapping[str, Any] | None) -> dict[str, Any]:
    rejected = [] if after is None else [item for item in after["rejected"] if item not in before["rejected"]]
    return {"before": before["paths"], "after": [] if after is None else after["paths"], "rejected": rejected}


def _slots(item: Mapping[str, Any]) -> dict[tuple[str, ...], int]:
    found: dict[tuple[str, ...], int] = {}
    for way in item["paths"]:
        key = tuple(way["instances"])
        found[key] = found.get(key, 0) + way["slots"]
    return found
