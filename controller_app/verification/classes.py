"""Which packets have to be tried so that every kind of treatment was seen.

Two packets are of one class when the same classifiers cover them (those for what comes out of functions too), the
same is inserted on their way, they go between hosts in the same relation, and their ports and DSCP lie between the
same boundaries. Of each class representatives are tried from every edge switch and to every one, within it and
between two; where chains choose for each pair of edges, for each pair, up to a limit. Where classifiers look at ports,
a fragment, which shows none, and an ICMP error are tried as well; where a host's addresses were declared, a packet from
an address of another. Besides, every host is reached from every edge switch and sends something, up to a limit: rules
for single hosts are tried as well. So are rules for single members of what a classifier is from and to, and those for
parts of a range of ports (`boundaries`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address
from itertools import islice, product

from controller_app.model.flow import FRAG_ANY, FRAG_LATER
from controller_app.model.topology import IPAddress, Topology
from controller_app.verification.boundaries import Boundaries, Run
from controller_app.verification.evaluate import Evaluator
from controller_app.verification.extents import Extent, covers
from controller_app.verification.packet import ICMP, ICMPV6, IPV6, PROTOCOLS, TCP, Packet
from controller_app.verification.rulings import ICMP_ERRORS, IPV6_FRAGMENT
from controller_app.verification.stations import Station

FEWEST = 9  # pairs of edge switches tried for each treatment, if there are so many
EDGE_PAIRS = 24  # the same where chains choose for each pair of edges
COMBINED = 1000  # pairs of members of a classifier's two sides, in each tenant and IP version
REACHED = 2000  # hosts reached from edge switches, in each tenant and IP version
PORT_PAIRS = 36  # tried as a full grid; more boundaries than that are tried along the axes only
GRE = 47  # stands for every protocol that no classifier can name
_WHOLE = ("any", "cidr", "network")  # parties that one rule for a prefix stands for, wherever its hosts are
_EPHEMERAL, _UNUSED = 40001, 9
_ERROR_LENGTH = 160  # bytes: with the headers of the packet that got into trouble
_ELSEWHERE: dict[int, IPAddress] = {4: ip_address("198.51.100.7"), 6: ip_address("2001:db8:ffff::7")}


@dataclass(frozen=True, slots=True)
class Place:
    """An address packets come from or go to. `host` is None for the address of a service."""

    host: str | None
    address: IPAddress
    edge: str
    network: str | None = None
    behind: bool = False  # not the host's own: behind an uplink, or of a pool
    mode: str = ""  # of the function it is a part of


_Pairs = dict[tuple[str, str], tuple[Place, Place]]  # by edge switches


@dataclass(frozen=True, slots=True)
class PacketClass:
    """A representative: this host sends such a packet from `source` to `destination`.

    kind: "" an ordinary packet; "fragment" a later one, "first fragment", "error" an ICMP error, "forged" a packet
    from an address that its sender does not have.
    """

    tenant: str
    host: str
    source: IPAddress
    destination: IPAddress
    protocol: int
    sport: int = 0
    dport: int = 0
    dscp: int = 0
    kind: str = ""


def special(packet: Packet, kind: str) -> Packet:
    """An ordinary packet as one of this kind."""
    if kind in ("fragment", "first fragment"):
        fields = {name: value for name, value in packet.items()
                  if not name.startswith(("tcp_", "udp_", "icmp"))}
        fields["ip_frag"] = FRAG_ANY | (FRAG_LATER if kind == "fragment" else 0)
        if kind == "fragment" and fields["eth_type"] == IPV6:
            fields["ip_proto"] = IPV6_FRAGMENT
        return fields
    if kind == "error":
        fields = {name: value for name, value in packet.items() if name != "icmp_id"}
        fields |= {name: kinds[0] for name, kinds in ICMP_ERRORS.items() if name in fields}
        fields["length"] = _ERROR_LENGTH
        return fields
    return packet


def packet_classes(evaluator: Evaluator, topology: Topology,
                   runs: Iterable[Run] = ()) -> Iterator[PacketClass]:
    """All classes of all tenants. Hosts without an address or MAC cannot be reached and are left out. runs: the ports
    that flows look for."""
    for tenant in dict.fromkeys(station.tenant for station in evaluator.stations):
        extents = (*evaluator.extents(tenant),
                   *(extent for branch in evaluator.branches(tenant).values() for extent in branch))
        own = [station for station in evaluator.stations if station.tenant == tenant]
        hosts = [place for station in own for place in _places(evaluator, station, extents)]
        services = [Place(None, ip, "") for ip in evaluator.service_ips(tenant)]
        boundaries = Boundaries(runs, _known(evaluator, tenant, extents))
        for version in (4, 6):
            facing = [place for place in hosts if place.address.version == version]
            yield from _between(evaluator, tenant, extents, facing,
                                [place for place in services if place.address.version == version], boundaries)
            yield from _forging(tenant, own, facing)


def _places(evaluator: Evaluator, station: Station, extents: tuple[Extent, ...]) -> Iterator[Place]:
    if station.mac is None or not isinstance(station.end.port, int):
        return
    edge, network, mode = station.end.switch, station.network, station.mode
    for ip in station.ips:
        yield Place(station.host, ip, edge, network, False, mode)
    # Behind an uplink one address of each prefix that classifiers tell apart, and one that none names.
    named = {net for extent in extents for net in (*extent.source, *extent.destination)}
    named |= {net for area in evaluator.areas(station.tenant) for net in area.inside}
    for prefix in station.prefixes:
        inside = [net for net in named if isinstance(net, IPv4Network) == isinstance(prefix, IPv4Network)
                  and net.network_address in prefix and net.prefixlen > 0]
        tried = [*(net[min(1, net.num_addresses - 1)] for net in inside), _ELSEWHERE[prefix.version],
                 prefix[min(1, prefix.num_addresses - 1)]]
        for address in dict.fromkeys(tried):
            if address in prefix and evaluator.station(station.tenant, address) == station \
                    and address not in evaluator.service_ips(station.tenant):
                yield Place(station.host, address, edge, network, True, mode)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What places have in common: the classifiers (by index) that cover them as a sender and as a receiver,
    their network and what is inserted around them, whether they lie behind an uplink or are a function's own, and
    for a service its address."""

    sends: frozenset[int]
    receives: frozenset[int]
    network: str | None
    area: str | None = None
    uplink: bool = False
    mode: str = ""
    service: IPAddress | None = None


def _known(evaluator: Evaluator, tenant: str, extents: tuple[Extent, ...]) -> dict[str, set[int]]:
    """Where classifiers and services tell the ports of a protocol apart."""
    found: dict[str, set[int]] = {name: {0, 65536} for name in PROTOCOLS}
    for extent in extents:
        for name, ports in extent.traffic.items():
            found.setdefault(name, set()).update(bound for low, high in ports for bound in (low, high + 1))
    for service in evaluator.service_ips(tenant).values():
        for port in service.ports:
            found[port.protocol] |= {port.port, port.port + 1}
    return found


def _between(evaluator: Evaluator, tenant: str, extents: tuple[Extent, ...], hosts: list[Place],
             services: list[Place], boundaries: Boundaries) -> Iterator[PacketClass]:
    """Classes between these places, by treatment and edge pair."""
    senders = _alike(evaluator, tenant, hosts, extents)
    receivers = {**senders, **_alike(evaluator, tenant, services, extents)}
    treatments: dict[tuple[object, ...], tuple[frozenset[int], frozenset[int], _Pairs]] = {}
    chains = evaluator.policy.tenants[tenant].chains
    by_edges = frozenset(index for index, extent in enumerate(extents)
                         if extent.classifier.then.chain is not None and chains[extent.classifier.then.chain].by_edges)
    for kind, group in senders.items():
        for other, other_group in receivers.items():
            covering, answering = kind.sends & other.receives, other.sends & kind.receives
            around = (kind.area, other.area) if kind.area != other.area else ()
            key = (covering, answering, kind.network == other.network, around, kind.uplink, other.uplink, kind.mode,
                   other.mode, other.service)
            _, _, pairs = treatments.setdefault(key, (covering, answering, {}))
            _pair(pairs, group, other_group, EDGE_PAIRS if covering & by_edges or answering & by_edges else FEWEST)
    tried: set[tuple[str, IPAddress]] = set()
    sent: set[IPAddress] = set()
    for covering, _, pairs in treatments.values():
        applying = [extents[index] for index in sorted(covering)]
        for number, (source, destination) in enumerate(pairs.values()):
            tried.add((source.edge, destination.address))
            sent.add(source.address)
            yield from _packets(evaluator, tenant, applying, source, destination, boundaries)
            if destination.host is not None:
                assert source.host is not None
                for protocol, what in _portless(applying, source.address.version, number == 0):
                    yield PacketClass(tenant, source.host, source.address, destination.address, protocol, kind=what)
    several = {(source.address, destination.address)
               for _, _, pairs in treatments.values() for source, destination in pairs.values()}
    for source, destination, applying in _combinations(evaluator, tenant, extents, hosts, services, several):
        tried.add((source.edge, destination.address))
        sent.add(source.address)
        yield from _packets(evaluator, tenant, applying, source, destination, boundaries)
    yield from _everybody(tenant, hosts, tried, sent)


def _pair(pairs: _Pairs, senders: list[Place], receivers: list[Place], fewest: int) -> None:
    """Add pairs until packets enter at each edge switch for another one and for itself, and leave at each for packets
    from another one; so many at least, if there are."""
    own = {here for here, there in pairs if here == there}
    entered, left = ({pair[side] for pair in pairs if pair[0] != pair[1]} for side in (0, 1))
    rounds = 3 * max(len(senders), len(receivers))
    for number, (source, destination) in enumerate(_in_turns(senders, receivers)):
        if number >= rounds and len(pairs) >= fewest:
            break
        edges = here, there = source.edge, destination.edge
        new = here not in own if here == there else here not in entered or there not in left
        if source.host == destination.host or edges in pairs or not (new or len(pairs) < fewest):
            continue
        pairs[edges] = source, destination
        if here == there:
            own.add(here)
        else:
            entered.add(here)
            left.add(there)


def _in_turns(some: list[Place], others: list[Place]) -> Iterator[tuple[Place, Place]]:
    """Every pair; each of them soon with one of the others, whichever there are more of: with the next one (which is
    elsewhere), with the one in the same position, then with those further on."""
    longer, shorter = max(len(some), len(others)), min(len(some), len(others))
    for step in sorted(range(shorter), key=lambda step: (step != 1, step)):
        for position in range(longer):
            turn = (position + step) % shorter
            yield (some[position], others[turn]) if len(some) >= len(others) else (some[turn], others[position])


def _packets(evaluator: Evaluator, tenant: str, applying: list[Extent], source: Place, destination: Place,
             boundaries: Boundaries) -> Iterator[PacketClass]:
    """Ordinary packets between two places, of every kind that these classifiers tell apart."""
    service_ports: list[tuple[str, int]] = []
    if destination.host is None:
        service = evaluator.service_ips(tenant)[destination.address]
        service_ports = [(port.protocol, port.port) for port in service.ports]
    told = {name: boundaries.between(source.address, destination.address, name) for name in PROTOCOLS}
    cells = list(dict.fromkeys(_traffic(applying, service_ports, source.address.version, told)))
    assert source.host is not None
    for dscp in _marks(applying):
        for protocol, sport, dport in cells:
            yield PacketClass(tenant, source.host, source.address, destination.address, protocol, sport, dport, dscp)


def _combinations(evaluator: Evaluator, tenant: str, extents: tuple[Extent, ...], hosts: list[Place],
                  services: list[Place],
                  tried: set[tuple[IPAddress, IPAddress]]) -> Iterator[tuple[Place, Place, list[Extent]]]:
    """Pairs of places that have rules of their own, and the classifiers that cover them: each provider with its own
    service and, where a classifier names its parties one by one, each member of one with each of the other. What was
    tried, or would be too many, is left out."""
    found: dict[tuple[IPAddress, IPAddress], tuple[Place, Place]] = {}
    for service in services:
        willing = evaluator.willing(tenant, evaluator.service_ips(tenant)[service.address])
        providers = {endpoint.host for endpoint in willing}
        for place in hosts:
            if place.host in providers and (place.address, service.address) not in tried:
                found.setdefault((place.address, service.address), (place, service))
    for extent in extents:
        parties = extent.classifier.source, extent.classifier.destination
        here, there = parties[::-1] if extent.mirrored else parties
        senders = {(net, place.edge) if here.kind in _WHOLE else place.address: place
                   for net in extent.source for place in reversed(hosts)
                   if place.address.version == net.version and place.address in net}
        receivers = {net if there.kind in _WHOLE else place.address: place
                     for net in extent.destination for place in reversed([*hosts, *services])
                     if place.address.version == net.version and place.address in net}
        for source, destination in product(senders.values(), receivers.values()):
            ends = source.address, destination.address
            if source.host != destination.host and ends not in tried and len(found) < COMBINED:
                found.setdefault(ends, (source, destination))
    for source, destination in found.values():
        yield source, destination, [extent for extent in extents if covers(extent.source, source.address)
                                    and covers(extent.destination, destination.address)]


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


def _forging(tenant: str, own: list[Station], hosts: list[Place]) -> Iterator[PacketClass]:
    """A packet of each host whose addresses are declared, from the address of the next host to one after it."""
    addresses = [place for place in hosts if not place.behind]
    for number, station in enumerate(own[:REACHED]):
        if not station.declared or station.mode or station.mac is None or not isinstance(station.end.port, int):
            continue
        turned = [*addresses[number % max(1, len(addresses)):], *addresses]
        others = [place for place in turned if place.host != station.host]
        victim = next((place for place in others if station.reach(place.address) is None), None)
        receiver = next((place for place in others if victim is not None and place.host != victim.host), None)
        if victim is not None and receiver is not None:
            yield PacketClass(tenant, station.host, victim.address, receiver.address, TCP, _EPHEMERAL, _UNUSED,
                              kind="forged")


def _alike(evaluator: Evaluator, tenant: str, places: Iterable[Place],
           extents: tuple[Extent, ...]) -> dict[_Kind, list[Place]]:
    """Places grouped by kind; of each kind at most two for each edge switch, since a pair within one switch
    is a pair too."""
    groups: dict[_Kind, dict[tuple[str, bool], Place]] = {}
    for place in places:
        sends = frozenset(index for index, extent in enumerate(extents)
                          if covers(extent.source, place.address))
        receives = frozenset(index for index, extent in enumerate(extents)
                             if covers(extent.destination, place.address))
        area = evaluator.area(tenant, place.address)
        if place.host is None:
            kind = _Kind(sends, receives, None, area, service=place.address)
        else:
            kind = _Kind(sends, receives, place.network, area, place.behind, place.mode)
        group = groups.setdefault(kind, {})
        group.setdefault((place.edge, (place.edge, False) in group), place)
    return {kind: list(group.values()) for kind, group in groups.items()}


def _traffic(extents: list[Extent], service_ports: list[tuple[str, int]], version: int,
             told: Mapping[str, tuple[list[tuple[int, int]], list[tuple[int, int]]]]) -> Iterator[tuple[int, int, int]]:
    """(protocol, source port, destination port) for every cell between the boundaries. Those that only flows have
    (`told`) are tried along the axes."""
    for name, number in PROTOCOLS.items():
        named = [run for extent in extents if not extent.mirrored for run in extent.traffic.get(name, ())]
        named += [(port, port) for protocol, port in service_ports if protocol == name]
        mirrored = [run for extent in extents if extent.mirrored for run in extent.traffic.get(name, ())]
        into, out_of = _cuts(named, _UNUSED), _cuts(mirrored, _EPHEMERAL)
        if len(into) * len(out_of) <= PORT_PAIRS:
            pairs = list(product(out_of, into))
        else:
            pairs = [(out_of[0], dport) for dport in into] + [(sport, into[0]) for sport in out_of[1:]]
        pairs += [(out_of[0], dport) for dport in _cuts(named + told[name][1], _UNUSED)] if told[name][1] else []
        pairs += [(sport, into[0]) for sport in _cuts(mirrored + told[name][0], _EPHEMERAL)] if told[name][0] else []
        for sport, dport in pairs:
            yield number, sport, dport
    yield (ICMP if version == 4 else ICMPV6), 77, 0
    if extents:
        yield GRE, 0, 0


def _marks(extents: list[Extent]) -> list[int]:
    """One DSCP for each set of classifiers that look at it, and 0."""
    looking = [extent.dscp for extent in extents if extent.dscp]
    found: dict[tuple[bool, ...], int] = {}
    for value in sorted({0, *(value for values in looking for value in values)}):
        found.setdefault(tuple(value in values for values in looking), value)
    return list(dict.fromkeys([0, *found.values()]))


def _portless(extents: list[Extent], version: int, first: bool) -> Iterator[tuple[int, str]]:
    """(protocol, kind) of what shows no ports, where classifiers look at them; first fragments once only."""
    named = [name for name in PROTOCOLS if any(extent.traffic.get(name) for extent in extents)]
    for name in named[:1] if version == 6 else named:  # in IPv6 a later fragment is of no protocol
        yield PROTOCOLS[name], "fragment"
    for name in named if first else ():
        yield PROTOCOLS[name], "first fragment"
    if any(extent.mirrored for extent in extents):
        yield (ICMP if version == 4 else ICMPV6), "error"


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
