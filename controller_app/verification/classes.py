"""Which packets have to be tried so that every kind of treatment was seen.

Two packets are of one class when the same classifiers cover them, they go between hosts in the same relation,
and their ports lie between the same boundaries. Of each class a representative is tried for every pair of
edge switches, up to a limit. Besides, every host is reached from every edge switch and sends something, up to
a limit too: rules for single hosts are tried as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address
from itertools import islice, product

from controller_app.model.topology import Host, IPAddress, Topology
from controller_app.verification.evaluate import Evaluator
from controller_app.verification.extents import Extent, covers
from controller_app.verification.packet import ICMP, ICMPV6, PROTOCOLS, TCP

EDGE_PAIRS = 24  # tried for each treatment
REACHED = 2000  # hosts reached from edge switches, in each tenant and IP version
PORT_PAIRS = 36  # tried as a full grid; more boundaries than that are tried along the axes only
GRE = 47  # stands for every protocol that no classifier can name
_EPHEMERAL, _UNUSED = 40001, 9
_ELSEWHERE: dict[int, IPAddress] = {4: ip_address("198.51.100.7"), 6: ip_address("2001:db8:ffff::7")}


@dataclass(frozen=True, slots=True)
class Place:
    """An address packets come from or go to. `host` is None for the address of a service."""

    host: str | None
    address: IPAddress
    edge: str


_Pairs = dict[tuple[str, str], tuple[Place, Place]]  # by edge switches


@dataclass(frozen=True, slots=True)
class PacketClass:
    """A representative: this host sends such a packet from `source` to `destination`."""

    tenant: str
    host: str
    source: IPAddress
    destination: IPAddress
    protocol: int
    sport: int = 0
    dport: int = 0


def packet_classes(evaluator: Evaluator, topology: Topology) -> Iterator[PacketClass]:
    """All classes of all tenants. Hosts without an address or MAC cannot be reached and are left out."""
    for tenant in dict.fromkeys(tenant for tenant, _ in evaluator.members.values()):
        extents = evaluator.extents(tenant)
        hosts = [place for name, (of_tenant, _) in evaluator.members.items() if of_tenant == tenant
                 for place in _places(evaluator, tenant, topology.hosts[name], extents)]
        services = [Place(None, ip, "") for ip in evaluator.service_ips(tenant)]
        for version in (4, 6):
            yield from _between(evaluator, tenant, extents,
                                [place for place in hosts if place.address.version == version],
                                [place for place in services if place.address.version == version])


def _places(evaluator: Evaluator, tenant: str, host: Host, extents: tuple[Extent, ...]) -> Iterator[Place]:
    end = next(iter(host.attach.values()), None)
    if end is None or host.mac is None or not isinstance(end.port, int):
        return
    for ip in host.ips:
        yield Place(host.name, ip, end.switch)
    # Behind an uplink one address of each prefix that classifiers tell apart, and one that none names.
    named = {net for extent in extents for net in (*extent.source, *extent.destination)}
    for prefix in host.prefixes:
        inside = [net for net in named if isinstance(net, IPv4Network) == isinstance(prefix, IPv4Network)
                  and net.network_address in prefix and net.prefixlen > 0]
        tried = [*(net[min(1, net.num_addresses - 1)] for net in inside), _ELSEWHERE[prefix.version],
                 prefix[min(1, prefix.num_addresses - 1)]]
        for address in dict.fromkeys(tried):
            if address in prefix and evaluator.owner(tenant, address) == host.name \
                    and address not in evaluator.service_ips(tenant):
                yield Place(host.name, address, end.switch)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What places have in common: the classifiers (by index) that cover them as a sender and as a receiver,
    their network, whether they lie behind an uplink, and for a service its address."""

    sends: frozenset[int]
    receives: frozenset[int]
    network: str | None
    uplink: bool = False
    service: IPAddress | None = None


def _between(evaluator: Evaluator, tenant: str, extents: tuple[Extent, ...], hosts: list[Place],
             services: list[Place]) -> Iterator[PacketClass]:
    """Classes between these places, by treatment and edge pair."""
    senders = _alike(evaluator, hosts, extents)
    receivers = {**senders, **_alike(evaluator, services, extents)}
    treatments: dict[tuple[object, ...], tuple[frozenset[int], _Pairs]] = {}
    for kind, group in senders.items():
        for other, other_group in receivers.items():
            covering = kind.sends & other.receives
            key = (covering, other.sends & kind.receives, kind.network == other.network, kind.uplink,
                   other.uplink, other.service)
            _, pairs = treatments.setdefault(key, (covering, {}))
            for source, destination in product(group, other_group):
                if len(pairs) >= EDGE_PAIRS:
                    break
                if source.host != destination.host:
                    pairs.setdefault((source.edge, destination.edge), (source, destination))
    tried: set[tuple[str, IPAddress]] = set()
    sent: set[IPAddress] = set()
    for covering, pairs in treatments.values():
        applying = [extents[index] for index in sorted(covering)]
        for source, destination in pairs.values():
            tried.add((source.edge, destination.address))
            sent.add(source.address)
            service_ports: list[tuple[str, int]] = []
            if destination.host is None:
                service = evaluator.service_ips(tenant)[destination.address]
                service_ports = [(port.protocol, port.port) for port in service.ports]
            for protocol, sport, dport in _traffic(applying, service_ports, source.address.version):
                assert source.host is not None
                yield PacketClass(tenant, source.host, source.address, destination.address, protocol, sport,
                                  dport)


    yield from _everybody(tenant, hosts, tried, sent)


def _everybody(tenant: str, hosts: list[Place], tried: set[tuple[str, IPAddress]],
               sent: set[IPAddress]) -> Iterator[PacketClass]:
    """One packet from each edge switch to each host, and from each host, that was not tried yet."""
    by_edge: dict[str, list[Place]] = {}
    for place in hosts:
        by_edge.setdefault(place.edge, []).append(place)
    # By destination first: where the limit cuts, far hosts were at least reached from some edges.
    wanted = ((edge, place) for place in hosts for edge in by_edge if (edge, place.address) not in tried)
    pairs = []
    for edge, destination in islice(wanted, REACHED):
        others = [place for place in by_edge[edge] if place.host != destination.host]
        if others:
            source = next((place for place in others if place.address not in sent), others[0])
            sent.add(source.address)
            pairs.append((source, destination))
    for source in [place for place in hosts if place.address not in sent][:REACHED]:
        pairs += [(source, destination) for destination in hosts if destination.host != source.host][:1]
    for source, destination in pairs:
        assert source.host is not None
        yield PacketClass(tenant, source.host, source.address, destination.address, TCP, _EPHEMERAL, _UNUSED)


def _alike(evaluator: Evaluator, places: Iterable[Place],
           extents: tuple[Extent, ...]) -> dict[_Kind, list[Place]]:
    """Places grouped by kind; of each kind at most two for each edge switch, since a pair within one switch
    is a pair too."""
    groups: dict[_Kind, dict[tuple[str, bool], Place]] = {}
    for place in places:
        sends = frozenset(index for index, extent in enumerate(extents)
                          if covers(extent.source, place.address))
        receives = frozenset(index for index, extent in enumerate(extents)
                             if covers(extent.destination, place.address))
        if place.host is None:
            kind = _Kind(sends, receives, None, service=place.address)
        else:
            kind = _Kind(sends, receives, evaluator.members[place.host][1],
                         not evaluator.has_address(place.host, place.address))
        group = groups.setdefault(kind, {})
        group.setdefault((place.edge, (place.edge, False) in group), place)
    return {kind: list(group.values()) for kind, group in groups.items()}


def _traffic(extents: list[Extent], service_ports: list[tuple[str, int]],
             version: int) -> Iterator[tuple[int, int, int]]:
    """(protocol, source port, destination port) for every cell between the boundaries."""
    for name, number in PROTOCOLS.items():
        into = _cuts([run for extent in extents if not extent.mirrored
                      for run in extent.traffic.get(name, ())]
                     + [(port, port) for protocol, port in service_ports if protocol == name], _UNUSED)
        out_of = _cuts([run for extent in extents if extent.mirrored for run in extent.traffic.get(name, ())],
                       _EPHEMERAL)
        if len(into) * len(out_of) <= PORT_PAIRS:
            pairs = list(product(out_of, into))
        else:
            pairs = [(out_of[0], dport) for dport in into] + [(sport, into[0]) for sport in out_of[1:]]
        for sport, dport in pairs:
            yield number, sport, dport
    yield (ICMP if version == 4 else ICMPV6), 77, 0
    if extents:
        yield GRE, 0, 0


def _cuts(runs: list[tuple[int, int]], preferred: int) -> list[int]:
    """One port for each interval between the boundaries of these runs, the one `preferred` lies in first."""
    above = (high + 1 for _, high in runs if high < 65535)
    starts = sorted({1, *(low for low, _ in runs if low > 1), *above})
    found: list[int] = []
    for low, following in zip(starts, [*starts[1:], 65536], strict=True):
        if low <= preferred < following:
            found.insert(0, preferred)
        else:
            found.append(low)
    return found
