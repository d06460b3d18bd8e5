"""What was verified before, and what of it holds for another policy and state without being tried again.

Each class of packets that was tried left evidence: what its check looked up in switches, and what it asked the policy.
Where all of that is the same now, the check would go the same way. Only what a change touches is tried again, and what
was not there before. Where the ground is another one (the topology, who has addresses, how functions work) nothing of
it holds.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace

from controller_app.balancing.selectors import matches as selects
from controller_app.model.flow import Flow, FlowState, SwitchState
from controller_app.model.flow_table import differences
from controller_app.model.policy import Chain, Policy, Tenant
from controller_app.model.topology import IPAddress, Topology
from controller_app.verification.classes import PacketClass
from controller_app.verification.coverage import Coverage
from controller_app.verification.evaluate import Evaluator
from controller_app.verification.extents import Extent, covers
from controller_app.verification.journey import members_of
from controller_app.verification.packet import Packet
from controller_app.verification.rulings import is_fragment, is_icmp_error, matches
from controller_app.verification.walk import Network
from controller_app.verification.witness import Evidence, Place, Question, Witness

_NOTHING = SwitchState()


@dataclass(frozen=True)
class Verified:
    """A state that was verified, and the evidence for each class in which nothing was wrong."""

    policy: Policy
    evaluator: Evaluator
    network: Network
    witness: Witness
    evidence: Mapping[PacketClass, tuple[Evidence, ...]] = field(default_factory=dict)  # its own, and what it rests on
    coverage: Coverage = field(default_factory=Coverage)

    def still(self, policy: Policy, topology: Topology, evaluator: Evaluator,
              state: FlowState) -> tuple[dict[PacketClass, tuple[Evidence, ...]], Coverage]:
        """The classes whose check would go the same way under another policy, and on another state; and what of the
        ways that were tried would."""
        if not self.evidence or not self._same_ground(policy, topology, evaluator):
            return {}, Coverage()
        touched = _Touched(self, policy, topology, evaluator, state)
        known = {tried: seen for tried, seen in self.evidence.items() if not any(map(touched.by, seen))}
        return known, Coverage(self.coverage, lambda seen: not touched.by(seen))

    def _same_ground(self, policy: Policy, topology: Topology, evaluator: Evaluator) -> bool:
        before, tenants = self.policy.tenants, policy.tenants
        return (
            _ground(self.network.topology) == _ground(topology)
            and before.keys() == tenants.keys()
            and all(_working(before[name]) == _working(tenants[name]) for name in tenants)
            and all(_weighed(before[name]) == _weighed(tenants[name]) for name in tenants)
            and all(self._only_in_chains(tenant, _turned(tenant, self.evaluator, evaluator))
                    for tenant in tenants.values())
            and self.evaluator.stations == evaluator.stations
            and all(self.evaluator.areas(name) == evaluator.areas(name) for name in tenants)
        )

    def _only_in_chains(self, tenant: Tenant, functions: frozenset[str]) -> bool:
        """Whether functions are met on chains alone, so that it is known which packets they are about."""
        return not functions or (
            all(functions.isdisjoint(area.functions) for area in self.evaluator.areas(tenant.name))
            and not any(chain.by_edges for chain in tenant.chains.values()))


def _ground(topology: Topology) -> tuple[object, ...]:
    """What of a topology counts for every packet: not so who serves, which is asked for."""
    return topology.switches, topology.links, topology.hosts, topology.down


def _turned(tenant: Tenant, before: Evaluator, now: Evaluator) -> frozenset[str]:
    """The functions of a tenant that packets could go through and cannot now, or the other way round."""
    return frozenset(name for name in tenant.functions
                     if before.working.get((tenant.name, name)) != now.working.get((tenant.name, name)))


def _working(tenant: Tenant) -> tuple[object, ...]:
    """How a tenant's functions work, whoever their instances are, and what becomes of what no classifier names."""
    functions = {name: replace(function, instances={}, selector=None) for name, function in tenant.functions.items()}
    return tenant.default_allow, functions


def _through(chain: Chain) -> tuple[str, ...]:
    """The functions of a chain, there or back."""
    return (*chain.through, *(chain.returns if isinstance(chain.returns, tuple) else ()))


def _weighed(tenant: Tenant) -> tuple[object, ...]:
    """What the instances of a chain with requirements are chosen by, for one pair of edges with a view to others."""
    if not any(chain.by_edges for chain in tenant.chains.values()):
        return ()
    return tenant.chains, tenant.functions, tenant.endpoints, tenant.classifiers


class _Touched:
    """What a change touches."""

    def __init__(self, before: Verified, policy: Policy, topology: Topology, evaluator: Evaluator,
                 state: FlowState) -> None:
        self._flows: dict[Place, list[Flow]] = {}
        self._groups: set[tuple[str, int]] = set()
        held = before.network.state
        for switch in held.keys() | state.keys():
            self._of_switch(switch, held.get(switch, _NOTHING), state.get(switch, _NOTHING))
        self._lookups = {lookup for place, flows in self._flows.items() for lookup in before.witness.known(place)
                         if any(lookup.meets(flow) for flow in flows)}
        old, new = members_of(before.policy), members_of(policy)
        self._hosts = {host for host in old.keys() | new.keys() if old.get(host) != new.get(host)}
        self._extents: dict[str, list[Extent]] = {}
        self._services: set[tuple[str, IPAddress]] = set()
        self._providers: set[tuple[str, str]] = set()
        for name in policy.tenants:
            had, have = before.policy.tenants[name].chains, policy.tenants[name].chains
            chains = {chain for chain in had.keys() | have.keys() if had.get(chain) != have.get(chain)}
            turned = _turned(policy.tenants[name], before.evaluator, evaluator)
            chains |= {chain.name for chain in have.values() if not turned.isdisjoint(_through(chain))}
            self._extents[name] = list(_changed(chains, _by_classifier(before.evaluator, name),
                                                _by_classifier(evaluator, name)))
            self._of_services(name, before.evaluator, evaluator)
            self._of_endpoints(before.policy.tenants[name], policy.tenants[name])
        for name in before.network.topology.unready ^ topology.unready:
            kind, tenant, named, _ = name.split("/")
            if kind == "services":  # which functions work is of the ground, and who is an instance is seen in the rules
                self._providers.add((tenant, named))
        self._asked: dict[Question, bool] = {}
        self._found: dict[int, bool] = {}  # by the evidence's identity: the same is asked for by many

    def by(self, seen: Evidence) -> bool:
        """Whether it touches what a check looked at."""
        found = self._found.get(id(seen))
        if found is None:
            found = self._found[id(seen)] = self._meets(seen)
        return found

    def _meets(self, seen: Evidence) -> bool:
        return (
            not self._groups.isdisjoint(seen.groups)
            or not self._providers.isdisjoint(seen.providers)
            or not self._hosts.isdisjoint(seen.visited)
            or any(self._answers(question) for question in seen.questions)
            or not self._lookups.isdisjoint(seen.lookups)
        )

    def _of_switch(self, switch: str, before: SwitchState, now: SwitchState) -> None:
        if before is now:
            return
        for _, held, flow in differences(before.flows, now.flows):
            either = held or flow
            if either is not None and (held is None or flow is None or _does(held) != _does(flow)):
                self._flows.setdefault((switch, either.table), []).append(either)
        for number in before.groups.keys() | now.groups.keys():
            group = before.groups.get(number)
            if group is not now.groups.get(number) and group != now.groups.get(number):
                self._groups.add((switch, number))

    def _of_services(self, tenant: str, before: Evaluator, now: Evaluator) -> None:
        old, new = before.service_ips(tenant), now.service_ips(tenant)
        for ip in old.keys() | new.keys():
            was, service = old.get(ip), new.get(ip)
            if was is None or service is None or was != service or before.askers(tenant, was) != now.askers(
                    tenant, service):
                self._services.add((tenant, ip))

    def _of_endpoints(self, before: Tenant, now: Tenant) -> None:
        """Services of which one that may serve, or might have, is another now."""
        names = before.endpoints.keys() | now.endpoints.keys()
        pairs = [(before.endpoints.get(name), now.endpoints.get(name)) for name in names]
        changed = [each for pair in pairs if pair[0] != pair[1] for each in pair if each is not None]
        for service in now.services.values() if changed else ():
            if any(selects(service.selector, endpoint.labels) for endpoint in changed):
                self._providers.add((now.name, service.name))

    def _answers(self, question: Question) -> bool:
        """Whether the policy may say something else of packets between two addresses."""
        found = self._asked.get(question)
        if found is None:
            tenant, source, destination, told = question
            packet = dict(told)
            found = self._asked[question] = (
                (tenant, source) in self._services or (tenant, destination) in self._services
                or any(_may_cover(extent, source, packet) for extent in self._extents.get(tenant, ())))
        return found


def _may_cover(extent: Extent, source: IPAddress, packet: Packet) -> bool:
    """Whether a classifier has a say in a packet: in a fragment and in an error also where it is for other packets of
    the same sender."""
    if is_fragment(packet) or is_icmp_error(packet):
        return covers(extent.source, source)
    return matches(extent, packet)


def _does(flow: Flow) -> tuple[object, ...]:
    return flow.actions, flow.goto


_ByClassifier = Mapping[tuple[str, str], list[Extent]]  # by the function it is for the output of, and its name


def _by_classifier(evaluator: Evaluator, tenant: str) -> _ByClassifier:
    found: dict[tuple[str, str], list[Extent]] = {}
    for function, extents in (("", evaluator.extents(tenant)), *evaluator.branches(tenant).items()):
        for extent in extents:
            found.setdefault((function, extent.classifier.name), []).append(extent)
    return found


def _changed(chains: Container[str | None], before: _ByClassifier, now: _ByClassifier) -> Iterator[Extent]:
    """The extents that are not the same any more, as they were and as they are."""
    for key in before.keys() | now.keys():
        old, new = before.get(key, []), now.get(key, [])
        if old != new or any(extent.classifier.then.chain in chains for extent in new):
            yield from old
            yield from new
