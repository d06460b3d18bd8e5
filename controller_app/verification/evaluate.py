"""What the policy wants done with one packet, found without any flow: the oracle of verification.

Written to be read beside the policy language's rules, not to be fast:

- the source host's tenant decides which classifiers count;
- what is let through also classifies its replies, the mirror: a chain that returns symmetrically sends them
  back through the same functions, any other chain and `allow` let them pass directly, `deny` has none;
- the larger priority wins; then an explicit classifier beats a mirror; then the strict subset wins;
- classifiers that agree are no conflict; without any, the tenant's default counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from controller_app.balancing.selectors import matches
from controller_app.model.allocation import Allocation
from controller_app.model.policy import Chain, Classifier, Policy, Service, Tenant, Verdict
from controller_app.model.topology import Host, IPAddress, Topology
from controller_app.verification.extents import Decision, Extent, Tenancy, covers, facing, traffic_sets
from controller_app.verification.packet import ICMP, ICMPV6, PROTOCOLS, Packet, addresses, ports


@dataclass(frozen=True, slots=True)
class Target:
    """Who may receive the packet, and what its destination has become there."""

    host: str
    address: IPAddress
    port: int | None  # None: as sent
    routed: bool  # it changes networks on the way


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must become of a packet.

    `verdict`: "deny", "allow" or "chain". `functions` are those on the path in the order they are met, `taps`
    get copies. `targets` is empty where nobody has the address: then nothing is expected of an allowed
    packet. `conflict` holds classifiers of which none comes first: a policy like that is refused elsewhere.
    """

    tenant: str
    verdict: str
    classifier: Classifier | None = None
    chain: Chain | None = None
    reversed: bool = False
    functions: tuple[str, ...] = ()
    taps: tuple[str, ...] = ()
    targets: tuple[Target, ...] = ()
    service: Service | None = None
    conflict: tuple[Classifier, ...] = ()


class Evaluator:
    """Answers for one policy on one topology."""

    def __init__(self, policy: Policy, topology: Topology, allocation: Allocation | None = None) -> None:
        self._tenancy = Tenancy(policy, topology, allocation)
        self._topology = topology
        self._extents: dict[str, tuple[Extent, ...]] = {}

    @cached_property
    def members(self) -> dict[str, tuple[str, str | None]]:
        """Host -> (tenant, network) of every host that is no function."""
        return dict(self._tenancy.members())

    def evaluate(self, packet: Packet, source: str) -> Expectation:
        """What must become of an IP packet that this host sends (or, for a service's reply, with the address
        of the service already put back)."""
        name = self.members[source][0]
        tenant = self._tenancy.tenant(name)
        winner, conflict = self._decide(tenant, packet)
        targets, service = self._targets(tenant, packet, source)
        if winner is None:
            verdict = "allow" if tenant.default_allow else "deny"
            return Expectation(name, verdict, targets=targets, service=service)
        classifier = winner.classifier
        if winner.decision.action != "chain" or classifier.then.chain is None:
            return Expectation(name, winner.decision.action, classifier, targets=targets, service=service,
                               conflict=conflict)
        chain = tenant.chains[classifier.then.chain]
        through = chain.through[::-1] if winner.mirrored else chain.through
        taps = tuple(function for function in through if tenant.functions[function].mode == "tap")
        return Expectation(name, "chain", classifier, chain, winner.mirrored,
                           tuple(function for function in through if function not in taps), taps, targets,
                           service, conflict)

    def extents(self, name: str) -> tuple[Extent, ...]:
        """Every classifier of a tenant and every mirror."""
        if name not in self._extents:
            tenant = self._tenancy.tenant(name)
            found = []
            for classifier in tenant.classifiers.values():
                source = self._tenancy.party(tenant, classifier.source)
                destination = self._tenancy.party(tenant, classifier.destination)
                source, destination = facing(source, destination), facing(destination, source)
                traffic = traffic_sets(classifier.traffic)
                forward, backward = _decisions(tenant, classifier.then)
                found.append(Extent(classifier, source, destination, traffic, forward))
                if backward is not None:
                    found.append(Extent(classifier, destination, source, traffic, backward, True))
            self._extents[name] = tuple(found)
        return self._extents[name]

    def service_ips(self, tenant: str) -> dict[IPAddress, Service]:
        """The service addresses of a tenant."""
        found = self._tenancy.tenant(tenant)
        return {ip: service for service in found.services.values()
                for ip in self._tenancy.service_ips(found, service)}

    def providers(self, tenant: str, service: Service) -> tuple[str, ...]:
        """The hosts that may answer for a service: chosen by their labels, of some weight, and with an
        address of every IP version the service has."""
        party = self._tenancy.tenant(tenant)
        versions = {ip.version for ip in self._tenancy.service_ips(party, service)}
        return tuple(endpoint.host for endpoint in party.endpoints.values()
                     if matches(service.selector, endpoint.labels) and endpoint.host in self.members
                     and endpoint.weight > 0
                     and versions <= {ip.version for ip in self._topology.hosts[endpoint.host].ips})

    def has_address(self, host: str, address: IPAddress) -> bool:
        """Whether an address is the host's own, not one behind it."""
        return address in self._topology.hosts[host].ips

    def owner(self, tenant: str, address: IPAddress) -> str | None:
        """The tenant's host that has an address, or the uplink with the longest prefix around it."""
        best: tuple[int, str] | None = None
        for name, (of_tenant, _) in self.members.items():
            host = self._topology.hosts[name]
            if of_tenant != tenant:
                continue
            length = _reach(host, address)
            if length is not None and (best is None or length > best[0]):
                best = (length, name)
        return None if best is None else best[1]

    def _decide(self, tenant: Tenant, packet: Packet) -> tuple[Extent | None, tuple[Classifier, ...]]:
        found = [extent for extent in self.extents(tenant.name) if _matches(extent, packet)]
        if not found:
            return None, ()
        level = max((extent.classifier.priority, not extent.mirrored) for extent in found)
        found = [extent for extent in found if (extent.classifier.priority, not extent.mirrored) == level]
        for extent in found:
            others = [other for other in found if other.decision != extent.decision]
            if all(extent.subset_of(other) and not other.subset_of(extent) for other in others):
                return extent, ()
        return found[0], tuple(extent.classifier for extent in found)

    def _targets(self, tenant: Tenant, packet: Packet,
                 source: str) -> tuple[tuple[Target, ...], Service | None]:
        ends = addresses(packet)
        if ends is None:
            return (), None
        address = ends[1]
        service = self.service_ips(tenant.name).get(address)
        if service is not None:
            sides = ports(packet)
            name = {number: text for text, number in PROTOCOLS.items()}.get(packet["ip_proto"])
            for port in service.ports:
                if sides is not None and port.protocol == name and port.port == sides[1]:
                    hosts = self.providers(tenant.name, service)
                    return tuple(Target(host, own, port.target, True) for host in hosts
                                 if (own := self._own_address(host, address.version)) is not None), service
            return (), service
        owner = self.owner(tenant.name, address)
        if owner is None or owner == source:
            return (), None
        return (Target(owner, address, None, self.members[source][1] != self.members[owner][1]),), None

    def _own_address(self, host: str, version: int) -> IPAddress | None:
        return next((ip for ip in self._topology.hosts[host].ips if ip.version == version), None)


def evaluate(policy: Policy, topology: Topology, packet: Packet, source: str,
             allocation: Allocation | None = None) -> Expectation:
    """`Evaluator(...).evaluate(packet, source)`, for a single question."""
    return Evaluator(policy, topology, allocation).evaluate(packet, source)


def _decisions(tenant: Tenant, then: Verdict) -> tuple[Decision, Decision | None]:
    """What is done with the traffic, and with its replies."""
    if then.chain is None:
        return Decision(then.action), Decision("allow") if then.action == "allow" else None
    chain = tenant.chains[then.chain]
    forward = Decision("chain", chain.through, chain.stickiness)
    return forward, replace(forward, backward=True) if chain.returns == "symmetric" else Decision("allow")


def _matches(extent: Extent, packet: Packet) -> bool:
    ends = addresses(packet)
    if ends is None or not (covers(extent.source, ends[0]) and covers(extent.destination, ends[1])):
        return False
    if not extent.traffic:
        return True
    protocol = packet["ip_proto"]
    if protocol in (ICMP, ICMPV6):
        return "icmp" in extent.traffic and protocol == (ICMP if ends[0].version == 4 else ICMPV6)
    sides = ports(packet)
    if sides is None:
        return False
    name = next(text for text, number in PROTOCOLS.items() if number == protocol)
    port = sides[0] if extent.mirrored else sides[1]
    return any(low <= port <= high for low, high in extent.traffic.get(name, ()))


def _reach(host: Host, address: IPAddress) -> int | None:
    """How exactly a host has an address: the length of the prefix, None when it does not."""
    if address in host.ips:
        return 129
    return max((prefix.prefixlen for prefix in host.prefixes if address in prefix), default=None)
