"""Can a chain be routed at all? A walk over the connected parts of the topology, function by function.

Parts (connected components) are enough to say that no path exists; which path is best is decided in
`routing`. A transparent function may join two parts: forward traffic enters by `in` and leaves by `out`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import networkx as nx

from controller_app.model.policy import Classifier, Function, Party, Tenant
from controller_app.model.position import Position
from controller_app.model.topology import Host, Topology
from controller_app.modes import MODES
from controller_app.policy.diagnostics import Findings
from controller_app.policy.members import Members

Parts = Mapping[str, int]  # the part each switch is in, by number


@dataclass(frozen=True, slots=True)
class _Failure:
    """Where a chain ends: at a function that cannot be reached, or (None) before the destination."""

    function: str | None
    switches: tuple[str, ...]


def check_classifier(
    tenant: Tenant, classifier: Classifier, topology: Topology, part_of: Parts, members: Members, findings: Findings
) -> None:
    """Report a chain that none of the classifier's traffic can take (error) or only some (warning), and the same
    of its replies where they have functions of their own."""
    chain = tenant.chains.get(classifier.then.chain or "")
    if chain is None:
        return
    sources = _ends(members.hosts(classifier.source), part_of)
    destinations = _ends(members.hosts(classifier.destination), part_of)
    if classifier.after is not None:
        sources = _after(tenant.functions.get(classifier.after), topology, part_of)
    path = f"classifiers.{classifier.name}.then.chain"
    check = _Check(topology, part_of, classifier.where, path, findings)
    chained = _known(tenant, chain.through)
    if not check.ways(f"chain {chain.name!r}", chained, sources, destinations) or classifier.after is not None:
        return
    if isinstance(chain.returns, tuple):
        returned = _known(tenant, chain.returns)
        check.ways(f"the way back of chain {chain.name!r}", returned, destinations, sources)


def check_insertions(
    tenant: Tenant, topology: Topology, part_of: Parts, members: Members, findings: Findings
) -> None:
    """The same of what leaves networks and segments: it must get to every function that is inserted there."""
    for network in tenant.networks.values():
        check = _Check(topology, part_of, network.where, f"networks.{network.name}.insert", findings)
        inside = members.hosts(Party("network", network.name))
        check.leaving(network.name, _known(tenant, network.insert), inside)
    for segment in tenant.segments.values():
        check = _Check(topology, part_of, segment.where, f"segments.{segment.name}.insert", findings)
        check.leaving(segment.name, _known(tenant, segment.insert), members.segment(segment))


def _known(tenant: Tenant, names: tuple[str, ...]) -> list[Function]:
    """The functions, or none where one is unknown, which is reported as such."""
    return [tenant.functions[name] for name in names] if all(name in tenant.functions for name in names) else []


def _after(function: Function | None, topology: Topology, part_of: Parts) -> dict[int, str]:
    """The parts where a function's packets come out, in either direction."""
    attached = _attached(function, topology, part_of) if function is not None else []
    return {part_of[switch]: switch for pair in attached for switch in pair}


@dataclass(frozen=True)
class _Check:
    """Walks for one object of the policy, and says what fails."""

    topology: Topology
    part_of: Parts
    where: Position
    path: str
    findings: Findings

    def leaving(self, place: str, inserted: list[Function], inside: Iterable[Host]) -> None:
        """Can what leaves a place get to every function inserted there?"""
        everywhere = {part: name for name, part in self.part_of.items()}
        if inserted:
            self.ways(f"what leaves {place!r}", inserted, _ends(inside, self.part_of), everywhere)

    def ways(
        self, what: str, functions: list[Function], sources: dict[int, str], destinations: dict[int, str]
    ) -> bool:
        """Can traffic get from these parts to one of those through the functions? Whether any can."""
        if not self.part_of or not sources or not destinations:
            return True  # nobody to route for yet
        if not functions or any(not _attached(each, self.topology, self.part_of) for each in functions):
            return True  # their hosts are unknown, which is reported
        failures = {
            part: _walk(part, functions, destinations, self.topology, self.part_of) for part in sources
        }
        failed = {part: failure for part, failure in failures.items() if failure is not None}
        if not failed:
            return True
        part, failure = next(iter(failed.items()))
        said = _what(what, sources[part], destinations, failure)
        if len(failed) == len(sources):
            remedy = "connect the switches with a link, or use instances that can be reached"
            self.findings.error(self.where, self.path, said, remedy)
            return False
        remedy = "connect the switches with a link if these hosts are to use the chain"
        self.findings.warning(self.where, self.path, said, remedy)
        return True


def parts(topology: Topology) -> Parts:
    """Which switches can reach each other by links."""
    components: Iterable[set[str]] = nx.connected_components(topology.graph)
    return {name: number for number, component in enumerate(components) for name in component}


def _ends(hosts: Iterable[Host], part_of: Parts) -> dict[int, str]:
    """The parts the hosts are on, each with one switch where one of them is attached."""
    found: dict[int, str] = {}
    for host in hosts:
        for end in host.attach.values():
            if end.switch in part_of:
                found.setdefault(part_of[end.switch], end.switch)
    return found


def _attached(function: Function, topology: Topology, part_of: Parts) -> list[tuple[str, str]]:
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
    part_of: Parts,
) -> _Failure | None:
    current = frozenset({start})
    for function in functions:
        attached = _attached(function, topology, part_of)
        entered = [(into, out) for into, out in attached if part_of[into] in current]
        if not entered:
            return _Failure(function.name, tuple(dict.fromkeys(into for into, _ in attached)))
        if MODES[function.mode].on_path:  # traffic goes on from where a tap's copy was made
            current = frozenset(part_of[out] for _, out in entered)
    if current.isdisjoint(destinations):
        return _Failure(None, tuple(destinations.values()))
    return None


def _what(what: str, source: str, destinations: dict[int, str], failure: _Failure) -> str:
    switches = ", ".join(failure.switches)
    if failure.function is not None:
        return (
            f"{what} cannot be routed: no link leads from switch {source} to function "
            f"{failure.function!r} on {switches}"
        )
    return f"{what} cannot be routed: from switch {source} through it no link leads to {switches}"
