"""Can a chain be routed at all? A walk over the connected parts of the topology, function by function.

Parts (connected components) are enough to say that no path exists; which path is best is decided in
`routing`. A transparent function may join two parts: forward traffic enters by `in` and leaves by `out`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import networkx as nx

from controller_app.model.policy import Chain, Classifier, Function, Tenant
from controller_app.model.topology import Host, Topology
from controller_app.policy.diagnostics import Findings
from controller_app.policy.members import Members

Parts = frozenset[int]


@dataclass(frozen=True, slots=True)
class _Failure:
    """Where a chain ends: at a function that cannot be reached, or (None) before the destination."""

    function: str | None
    switches: tuple[str, ...]


def check_classifier(
    tenant: Tenant, classifier: Classifier, topology: Topology, members: Members, findings: Findings
) -> None:
    """Report a chain that none of the classifier's traffic can take (error) or only some (warning)."""
    chain = tenant.chains.get(classifier.then.chain or "")
    if chain is None or any(name not in tenant.functions for name in chain.through):
        return  # not a chain, or reported as an unknown name
    part_of = _parts(topology)
    sources = _ends(members.hosts(classifier.source), part_of)
    destinations = _ends(members.hosts(classifier.destination), part_of)
    if not part_of or not sources or not destinations:
        return  # nobody to route for yet
    functions = [tenant.functions[name] for name in chain.through]
    if any(not _attached(function, topology, part_of) for function in functions):
        return  # its hosts are unknown, which is reported
    failures = {part: _walk(part, functions, destinations, topology, part_of) for part in sources}
    failed = {part: failure for part, failure in failures.items() if failure is not None}
    if not failed:
        return
    part, failure = next((part, failure) for part, failure in failures.items() if failure is not None)
    where = classifier.where
    path = f"classifiers.{classifier.name}.then.chain"
    what = _what(chain, sources[part], destinations, failure)
    if len(failed) == len(sources):
        findings.error(
            where, path, what, "connect the switches with a link, or use instances that can be reached"
        )
    else:
        findings.warning(
            where, path, what, "connect the switches with a link if these hosts are to use the chain"
        )


def _parts(topology: Topology) -> dict[str, int]:
    components: Iterable[set[str]] = nx.connected_components(topology.graph)
    return {name: number for number, component in enumerate(components) for name in component}


def _ends(hosts: Iterable[Host], part_of: dict[str, int]) -> dict[int, str]:
    """The parts the hosts are on, each with one switch where one of them is attached."""
    found: dict[int, str] = {}
    for host in hosts:
        for end in host.attach.values():
            if end.switch in part_of:
                found.setdefault(part_of[end.switch], end.switch)
    return found


def _attached(function: Function, topology: Topology, part_of: dict[str, int]) -> list[tuple[str, str]]:
    """Per instance the switch where forward traffic enters and the one where it leaves."""
    found = []
    for instance in function.instances.values():
        host = topology.hosts.get(instance.host)
        if host is None or not host.attach:
            continue
        first = next(iter(host.attach.values()))
        into, out = host.attach.get("in", first).switch, host.attach.get("out", first).switch
        if into in part_of and out in part_of:
            found.append((into, out))
    return found


def _walk(
    start: int,
    functions: list[Function],
    destinations: dict[int, str],
    topology: Topology,
    part_of: dict[str, int],
) -> _Failure | None:
    current: Parts = frozenset({start})
    for function in functions:
        attached = _attached(function, topology, part_of)
        entered = [(into, out) for into, out in attached if part_of[into] in current]
        if not entered:
            return _Failure(function.name, tuple(dict.fromkeys(into for into, _ in attached)))
        if function.mode != "tap":  # traffic goes on from where a tap's copy was made
            current = frozenset(part_of[out] for _, out in entered)
    if current.isdisjoint(destinations):
        return _Failure(None, tuple(destinations.values()))
    return None


def _what(chain: Chain, source: str, destinations: dict[int, str], failure: _Failure) -> str:
    switches = ", ".join(failure.switches)
    if failure.function is not None:
        return (
            f"chain {chain.name!r} cannot be routed: no link leads from switch {source} to function "
            f"{failure.function!r} on {switches}"
        )
    return (
        f"chain {chain.name!r} cannot be routed: from switch {source} through it no link leads to {switches}"
    )
