"""What the policy wants done with one packet, found without any flow: the oracle of verification.

Written to be read beside the policy language's rules, not to be fast. The source's tenant decides which
classifiers count (`rulings`); where none does, what is inserted at the border of networks and segments
(`insertion`); without that, the tenant's default. What comes out of a function on the way may fall to classifiers
of its own (`branch`), and what a translating function sends on is another packet: the judge asks again for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from controller_app.model.allocation import Allocation
from controller_app.model.policy import Chain, Classifier, Endpoint, Policy, Service, Tenant
from controller_app.model.topology import IPAddress, Topology
from controller_app.verification.extents import Decision, Extent, Nets, Tenancy, covers
from controller_app.verification.insertion import Area, areas_of, innermost, inserted
from controller_app.verification.packet import PROTOCOLS, Packet, addresses, ports
from controller_app.verification.rulings import (
    Ruling,
    Usable,
    branches_of,
    extents_of,
    from_source,
    is_fragment,
    is_icmp_error,
    rule,
    veiling,
)
from controller_app.verification.serving import askers, nearest, willing
from controller_app.verification.stations import Station, modes, owner, stations, usable_functions
from controller_app.verification.witness import Witness


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

    `verdict`: "deny", "reject", "allow" or "chain" (what is inserted is a chain without a name). `order` are the
    functions it meets, in order, as far as that is known before it changes its addresses; `functions` are those
    of them on the path, `taps` get copies. `reversed`: two-armed functions are entered by their far arm (None: by
    either). `mirrored`: what counts is that a classifier lets the other direction through. `dscp` is written to
    it. `missing`: it is refused because this function has no instance that works. `targets` is empty where nobody
    has the address: then nothing is expected of an allowed packet. `alternatives`: where the packet does not tell
    which classifier it falls to, everything that may become of it. `conflict` holds classifiers of which none
    comes first: a policy like that is refused elsewhere.
    """

    tenant: str
    verdict: str
    classifier: Classifier | None = None
    chain: Chain | None = None
    reversed: bool | None = False
    mirrored: bool = False
    order: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    taps: tuple[str, ...] = ()
    targets: tuple[Target, ...] = ()
    service: Service | None = None
    dscp: int | None = None
    missing: str | None = None
    areas: tuple[str, ...] = ()
    conflict: tuple[Classifier, ...] = ()
    alternatives: tuple[Expectation, ...] = ()

    @property
    def refused(self) -> bool:
        """Nobody may receive it."""
        return self.verdict in ("deny", "reject")


class Evaluator:
    """Answers for one policy on one topology."""

    def __init__(self, policy: Policy, topology: Topology, allocation: Allocation | None = None) -> None:
        self._tenancy = Tenancy(policy, topology, allocation)
        self._topology = topology
        self.working = usable_functions(policy, topology)  # (tenant, function) -> whether it can be gone through
        self._extents: dict[str, tuple[Extent, ...]] = {}
        self._branches: dict[str, dict[str, tuple[Extent, ...]]] = {}
        self._areas: dict[str, tuple[Area, ...]] = {}
        self._owners: dict[tuple[str, IPAddress], Station | None] = {}
        self.witness: Witness | None = None  # who is told what is asked

    @property
    def policy(self) -> Policy:
        """What it answers for."""
        return self._tenancy.policy

    @property
    def allocation(self) -> Allocation | None:
        """Where addresses of services come from that the policy does not say."""
        return self._tenancy.allocation

    @cached_property
    def stations(self) -> tuple[Station, ...]:
        """Everything that sends packets of its own."""
        return stations(self._tenancy.policy, self._topology)

    @cached_property
    def _translating(self) -> dict[str, str]:
        """Host -> the translating function that it is an instance of."""
        return {instance.host: function.name for tenant in self._tenancy.policy.tenants.values()
                for function in tenant.functions.values() if modes()[function.mode].cuts
                for instance in function.instances.values()}

    @cached_property
    def members(self) -> dict[str, tuple[str, str | None]]:
        """Host -> (tenant, network) of everything that sends packets of its own (by its first arm)."""
        found: dict[str, tuple[str, str | None]] = {}
        for station in self.stations:
            found.setdefault(station.host, (station.tenant, station.network))
        return found

    def evaluate(self, packet: Packet, source: str, out_of: str | None = None) -> Expectation:
        """What must become of an IP packet that this host sends (or, for a service's reply, with the address
        of the service already put back). out_of: the translating function that it is an instance of, where the packet
        came out of that for somebody else. What such a function sends for itself looks the same, and falls to the
        classifiers after it as well."""
        tenant = self._tenancy.tenant(self.members[source][0])
        ends = addresses(packet)
        if self.witness is not None:
            self.witness.asked(tenant.name, packet)
        targets, service = self._targets(tenant, packet, source)
        own = ends is not None and self.owner(tenant.name, ends[0]) == source
        # what it sends on has its own address; only answers get the sender's back
        ruling = rule(self.extents(tenant.name), packet, None if own else out_of)
        wanted = self._expected(tenant, ruling, packet, self._exempt(tenant, packet))
        if out_of is None and source in self._translating:
            wanted = self.branch(tenant.name, self._translating[source], packet) or wanted
        return self._with(wanted, targets, service)

    def branch(self, tenant: str, function: str, packet: Packet) -> Expectation | None:
        """What must become of what comes out of a function, where a classifier says so; without targets.

        With alternatives where it is a fragment that may be meant, and may then go on, be steered or be dropped.
        """
        found = self.branches(tenant).get(function, ())
        if self.witness is not None:
            self.witness.asked(tenant, packet)
        ruling = rule(found, packet) if found else Ruling()
        decided = [self._decided(self._tenancy.tenant(tenant), winner) for winner in ruling.winners]
        if any(veiling(extent, packet) and from_source(extent, packet) for extent in found):
            unsure = Expectation(tenant, "allow")
            return next((each for each in decided if each.refused), replace(unsure, alternatives=(unsure, *decided)))
        return replace(decided[0], conflict=ruling.conflict) if decided else None

    def extents(self, name: str) -> tuple[Extent, ...]:
        """Every classifier of what a tenant's hosts send, every mirror, and what follows from translation."""
        if name not in self._extents:
            tenant = self._tenancy.tenant(name)
            self._extents[name] = extents_of(self._tenancy, tenant, Usable(tenant, self.working))
        return self._extents[name]

    def branches(self, name: str) -> dict[str, tuple[Extent, ...]]:
        """Function -> the classifiers of what comes out of it."""
        if name not in self._branches:
            tenant = self._tenancy.tenant(name)
            self._branches[name] = dict(branches_of(self._tenancy, tenant, Usable(tenant, self.working)))
        return self._branches[name]

    def areas(self, name: str) -> tuple[Area, ...]:
        """The places of a tenant that have functions inserted."""
        if name not in self._areas:
            self._areas[name] = areas_of(self._tenancy, self._tenancy.tenant(name))
        return self._areas[name]

    def area(self, tenant: str, address: IPAddress) -> str | None:
        """The place whose insertion counts for an address."""
        found = innermost(self.areas(tenant), address)
        return None if found is None else found.name

    def service_ips(self, tenant: str) -> dict[IPAddress, Service]:
        """The service addresses of a tenant."""
        found = self._tenancy.tenant(tenant)
        return {ip: service for service in found.services.values()
                for ip in self._tenancy.service_ips(found, service)}

    def willing(self, tenant: str, service: Service) -> list[Endpoint]:
        """The providers that get new connections of a service."""
        party = self._tenancy.tenant(tenant)
        versions = {ip.version for ip in self._tenancy.service_ips(party, service)}
        return [each for each in willing(party, service, self._topology, versions) if each.host in self.members]

    def providers(self, tenant: str, service: Service, source: str) -> tuple[str, ...]:
        """The hosts that may answer a host's new connections to a service."""
        found = nearest(service, self.willing(tenant, service), source, self._topology)
        return tuple(endpoint.host for endpoint in found)

    def askers(self, tenant: str, service: Service) -> tuple[Nets, ...] | None:
        """Whose packets may be for a service; None: everybody's."""
        party = self._tenancy.tenant(tenant)
        found = askers(party, service)
        return None if found is None else tuple(self._tenancy.party(party, each) for each in found)

    def station(self, tenant: str, address: IPAddress) -> Station | None:
        """Who has an address: the station itself, or the uplink with the longest prefix around it."""
        place = tenant, address
        if place not in self._owners:
            self._owners[place] = owner(self.stations, tenant, address)
        return self._owners[place]

    def owner(self, tenant: str, address: IPAddress) -> str | None:
        """The host of `station`."""
        found = self.station(tenant, address)
        return None if found is None else found.host

    def _expected(self, tenant: Tenant, ruling: Ruling, packet: Packet, exempt: bool = False) -> Expectation:
        """What follows from a ruling. exempt: no chain is in the way."""
        said = [self._decided(tenant, winner) for winner in ruling.winners]
        if exempt:
            said = [each if each.chain is None else
                    Expectation(tenant.name, "allow", each.classifier, dscp=each.dscp) for each in said]
        found = [*said, self._unclassified(tenant, packet)] if ruling.unsaid or not said else said
        # By the default alone: what a router says of packets that got into trouble on it may get through.
        spared = exempt and len(found) > len(said) and found[-1].refused and not any(each.refused for each in said)
        if spared:
            found = [*found, Expectation(tenant.name, "allow")]
        elif is_fragment(packet):
            return self._of_fragment(tenant, packet, found, len(found) == len(said))
        if is_icmp_error(packet) and (ruling.unsaid or found[-1].areas):
            found.append(Expectation(tenant.name, "allow"))
        if len(found) == 1:
            return replace(found[0], conflict=ruling.conflict)
        return replace(found[0], alternatives=tuple(found))

    def _of_fragment(self, tenant: Tenant, packet: Packet, meant: list[Expectation], sure: bool) -> Expectation:
        """What is right whatever it is a fragment of: nothing gets through where something is refused or chains
        differ; the chain where all else is allowed. Where nothing is sure it may be dropped as well, or go through
        a chain that fragments from the same sender to others have to take. sure: it is in the first, as it shows."""
        refusal = next((each for each in meant if each.refused), None)
        chains = {(each.order, each.reversed): each for each in meant if each.verdict == "chain"}
        if refusal is not None or len(chains) > 1:
            return Expectation(tenant.name, "deny", (refusal or meant[0]).classifier)
        right = next(iter(chains.values()), meant[0])
        # A mark is for packets that surely are the classifier's.
        first = meant[0]
        alike = (first.verdict, first.order, first.reversed) == (right.verdict, right.order, right.reversed)
        right = first if sure and alike else replace(right, dscp=None)
        veiled = [self._decided(tenant, extent) for extent in self.extents(tenant.name)
                  if veiling(extent, packet) and from_source(extent, packet)]
        if not veiled:
            return right
        others = [replace(each, dscp=None) for each in veiled if each.verdict == "chain" and not chains]
        dropped = Expectation(tenant.name, "deny", right.classifier)
        return replace(right, alternatives=(right, *others, dropped))

    def _decided(self, tenant: Tenant, winner: Extent) -> Expectation:
        decision, classifier = winner.decision, winner.classifier
        chain = tenant.chains[classifier.then.chain] if classifier.then.chain is not None else None
        wanted = Expectation(tenant.name, decision.action, classifier, dscp=decision.dscp, mirrored=winner.mirrored)
        if decision.action != "chain":
            return wanted
        return self._through(tenant, replace(wanted, chain=chain), decision)

    def _unclassified(self, tenant: Tenant, packet: Packet) -> Expectation:
        ends = addresses(packet)
        between = None if ends is None else inserted(self.areas(tenant.name), *ends)
        if between is None or ends is None or any(self._is_function(tenant, end) for end in ends):
            return Expectation(tenant.name, "allow" if tenant.default_allow else "deny")
        wanted = Expectation(tenant.name, "chain", reversed=between.backward, areas=between.areas)
        found = [self._through(tenant, wanted, Decision("chain", Usable(tenant, self.working).left(functions)))
                 for functions in (between.functions, between.otherwise) if functions is not None]
        return found[0] if len(found) == 1 else replace(found[0], alternatives=tuple(found))

    def _through(self, tenant: Tenant, wanted: Expectation, decision: Decision) -> Expectation:
        """Along these functions, if there is an instance of each."""
        failing = Usable(tenant, self.working).failing(decision.through)
        if failing is not None:
            verdict = "reject" if tenant.functions[failing].on_failure == "reject" else "deny"
            return replace(wanted, verdict=verdict, missing=failing)
        order = decision.through[::-1] if decision.backward else decision.through
        taps = tuple(name for name in order if not modes()[tenant.functions[name].mode].on_path)
        return replace(wanted, order=order, functions=tuple(name for name in order if name not in taps), taps=taps,
                       reversed=decision.backward if wanted.chain is not None else wanted.reversed)

    def _with(self, wanted: Expectation, targets: tuple[Target, ...], service: Service | None) -> Expectation:
        others = tuple(replace(other, targets=targets, service=service) for other in wanted.alternatives)
        return replace(wanted, targets=targets, service=service, alternatives=others)

    def _exempt(self, tenant: Tenant, packet: Packet) -> bool:
        """Whether it is of, or for, a routed function itself."""
        ends = addresses(packet) or ()
        stations = [self.station(tenant.name, end) for end in ends]
        return any(found is not None and bool(found.mode) and modes()[found.mode].exempt for found in stations)

    def _is_function(self, tenant: Tenant, address: IPAddress) -> bool:
        found = self.station(tenant.name, address)
        return found is not None and found.mode != ""

    def _targets(self, tenant: Tenant, packet: Packet,
                 source: str) -> tuple[tuple[Target, ...], Service | None]:
        ends = addresses(packet)
        if ends is None:
            return (), None
        address = ends[1]
        service = self.service_ips(tenant.name).get(address)
        if service is not None:
            asking = self.askers(tenant.name, service)
            if asking is not None and not any(covers(nets, ends[0]) for nets in asking):
                return (), service
            sides = ports(packet)
            name = {number: text for text, number in PROTOCOLS.items()}.get(packet["ip_proto"])
            for port in service.ports:
                if sides is not None and port.protocol == name and port.port == sides[1]:
                    if self.witness is not None:
                        self.witness.asked_providers(tenant.name, service.name)
                    hosts = self.providers(tenant.name, service, source)
                    return tuple(Target(host, own, port.target, True) for host in hosts
                                 if (own := self._own_address(host, address.version)) is not None), service
            return (), service
        receiver = self.station(tenant.name, address)
        if receiver is None or receiver.host == source:
            return (), None
        sender = self._sender(tenant, ends[0], source)
        return (Target(receiver.host, address, None, sender != receiver.network),), None

    def _sender(self, tenant: Tenant, address: IPAddress, source: str) -> str | None:
        """The network a host sends from: that of the arm with this address."""
        found = self.station(tenant.name, address)
        if found is not None and found.host == source:
            return found.network
        return self.members[source][1]

    def _own_address(self, host: str, version: int) -> IPAddress | None:
        return next((ip for ip in self._topology.hosts[host].ips if ip.version == version), None)


def evaluate(policy: Policy, topology: Topology, packet: Packet, source: str,
             allocation: Allocation | None = None) -> Expectation:
    """`Evaluator(...).evaluate(packet, source)`, for a single question."""
    return Evaluator(policy, topology, allocation).evaluate(packet, source)
