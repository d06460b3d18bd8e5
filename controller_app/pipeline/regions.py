"""Classifiers as regions of packet space: sets of boxes that can be compared, ranked and matched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from controller_app.balancing.selectors import matches
from controller_app.model.policy import Classifier, Party, Selector, Tenant, Traffic
from controller_app.model.position import Diagnostic, PolicyError
from controller_app.model.topology import IPAddress, IPNetwork
from controller_app.pipeline.world import HostView, World, list_key

PORTS = (0, 65535)
_PROTOCOLS = {"tcp": {4: 6, 6: 6}, "udp": {4: 17, 6: 17}, "icmp": {4: 1, 6: 58}}


class Prefix(NamedTuple):
    """An address prefix. Version 0 stands for every address of both versions."""

    version: int
    base: int
    length: int

    def holds(self, other: Prefix) -> bool:
        if self.version == 0:
            return True
        if self.version != other.version or self.length > other.length:
            return False
        shift = (32 if self.version == 4 else 128) - self.length
        return self.base >> shift == other.base >> shift

    def meets(self, other: Prefix) -> bool:
        return self.holds(other) or other.holds(self)

    @property
    def size(self) -> int:
        """How many addresses; everything is more than all of either version."""
        return 1 << 130 if self.version == 0 else 1 << ((32 if self.version == 4 else 128) - self.length)


EVERYTHING = Prefix(0, 0, 0)


class Box(NamedTuple):
    """Packets from one prefix to another of one protocol ("" any) with ports in two closed ranges."""

    source: Prefix
    destination: Prefix
    protocol: str
    source_ports: tuple[int, int]
    destination_ports: tuple[int, int]

    def holds(self, other: Box) -> bool:
        return (
            self.source.holds(other.source)
            and self.destination.holds(other.destination)
            and (not self.protocol or self.protocol == other.protocol)
            and self.source_ports[0] <= other.source_ports[0]
            and other.source_ports[1] <= self.source_ports[1]
            and self.destination_ports[0] <= other.destination_ports[0]
            and other.destination_ports[1] <= self.destination_ports[1]
        )

    def meets(self, other: Box) -> bool:
        return (
            self.source.meets(other.source)
            and self.destination.meets(other.destination)
            and (not self.protocol or not other.protocol or self.protocol == other.protocol)
            and self.source_ports[0] <= other.source_ports[1]
            and other.source_ports[0] <= self.source_ports[1]
            and self.destination_ports[0] <= other.destination_ports[1]
            and other.destination_ports[0] <= self.destination_ports[1]
        )

    @property
    def size(self) -> int:
        ports = (self.source_ports[1] - self.source_ports[0] + 1) * (
            self.destination_ports[1] - self.destination_ports[0] + 1
        )
        return self.source.size * self.destination.size * ports * (1 if self.protocol else 256)


class Decision(NamedTuple):
    """What happens to a packet: "chain" with its list's key and direction, "allow" or "deny"."""

    action: str
    list_key: str = ""
    backward: bool = False


@dataclass(frozen=True)
class Region:
    """One classifier in one direction. `mirror` is the way back that it implies."""

    classifier: Classifier
    tenant: str
    mirror: bool
    decision: Decision
    boxes: tuple[Box, ...]
    rank: int = field(default=0, compare=False)

    @property
    def name(self) -> str:
        return f"classifiers/{self.tenant}/{self.classifier.name}"


def prefix_of(value: IPAddress | IPNetwork) -> Prefix:
    """An address or network as a Prefix."""
    if isinstance(value, IPv4Network | IPv6Network):
        return Prefix(value.version, int(value.network_address), value.prefixlen)
    return Prefix(value.version, int(value), value.max_prefixlen)


def regions(world: World) -> list[Region]:
    """Every classifier of every tenant as regions, ranked: where two overlap the larger rank wins.

    Raises PolicyError where two classifiers overlap, differ, and nothing says which comes first.
    """
    found: list[Region] = []
    for tenant in world.policy.tenants.values():
        by_network: dict[str, list[HostView]] = defaultdict(list)
        for host in world.hosts.values():
            if host.tenant == tenant.name and host.network is not None:
                by_network[host.network].append(host)
        mine = []
        for classifier in tenant.classifiers.values():
            mine += _of_classifier(world, tenant, classifier, by_network)
        problems = _unordered(mine)
        if problems:
            raise PolicyError(problems)
        found += mine
    return _ranked(found)


def _of_classifier(
    world: World, tenant: Tenant, classifier: Classifier, by_network: Mapping[str, list[HostView]]
) -> list[Region]:
    # disjoint prefixes and disjoint traffic make disjoint boxes, whose sizes add up
    sources = _disjoint(_party(world, tenant, classifier.source, by_network))
    destinations = _disjoint(_party(world, tenant, classifier.destination, by_network))
    boxes = tuple(
        Box(source, destination, traffic.protocol, PORTS, (traffic.low, traffic.high))
        for source in sources
        for destination in destinations
        for traffic in _merged(classifier.traffic)
        if 0 in (source.version, destination.version) or source.version == destination.version
    )
    decision = Decision(classifier.then.action)
    back: Decision | None = None if classifier.then.action == "deny" else Decision("allow")
    if classifier.then.chain is not None:
        chain = tenant.chains[classifier.then.chain]
        key = list_key(tenant.name, chain.through, chain.stickiness)
        decision = Decision("chain", key)
        if chain.returns == "symmetric":
            back = Decision("chain", key, backward=True)
    found = [Region(classifier, tenant.name, False, decision, boxes)]
    if back is not None:
        mirrored = tuple(
            Box(box.destination, box.source, box.protocol, box.destination_ports, box.source_ports)
            for box in boxes
        )
        found.append(Region(classifier, tenant.name, True, back, mirrored))
    return found


def _party(
    world: World, tenant: Tenant, party: Party, by_network: Mapping[str, list[HostView]]
) -> list[Prefix]:
    if party.kind == "any":
        return [EVERYTHING]
    if party.kind == "cidr":
        assert not isinstance(party.value, str | Selector | None)
        return [prefix_of(party.value)]
    if party.kind == "service":
        return [prefix_of(ip) for ip in world.services[f"{tenant.name}/{party.value}"].ips]
    if party.kind == "network":
        network = tenant.networks[str(party.value)]
        if network.subnets:
            return [prefix_of(subnet) for subnet in network.subnets]
        return _addresses(by_network.get(network.name, ()))
    if party.kind == "selector":
        assert isinstance(party.value, Selector)
        chosen = [e.host for e in tenant.endpoints.values() if matches(party.value, e.labels)]
    elif party.kind == "endpoint":
        chosen = [tenant.endpoints[str(party.value)].host]
    else:
        chosen = [str(party.value)]
    return _addresses(world.hosts[name] for name in chosen if name in world.hosts)


def _addresses(hosts: Iterable[HostView]) -> list[Prefix]:
    return [prefix_of(value) for host in hosts for value in (*host.ips, *host.prefixes)]


def _disjoint(prefixes: list[Prefix]) -> list[Prefix]:
    kept: list[Prefix] = []
    wide: list[Prefix] = []  # those that can hold others
    for prefix in sorted(dict.fromkeys(prefixes), key=lambda p: -p.size):
        if not any(big.holds(prefix) for big in wide):
            kept.append(prefix)
            if prefix.size > 1:
                wide.append(prefix)
    return kept


def _merged(traffic: tuple[Traffic, ...]) -> list[Traffic]:
    if not traffic:
        return [Traffic("")]
    merged: list[Traffic] = []
    for item in sorted(traffic, key=lambda t: (t.protocol, t.low, t.high)):
        last = merged[-1] if merged else None
        if last is not None and last.protocol == item.protocol and item.low <= last.high + 1:
            merged[-1] = Traffic(item.protocol, last.low, max(last.high, item.high))
        else:
            merged.append(item)
    return merged


def _ranked(found: list[Region]) -> list[Region]:
    # a strict subset is smaller, so by size it comes first; any order that respects the winners will do
    def order(region: Region) -> tuple[int, bool, int]:
        return region.classifier.priority, not region.mirror, -sum(box.size for box in region.boxes)

    keys = {order(region) for region in found}
    ranks = {key: rank for rank, key in enumerate(sorted(keys), start=1)}
    return [Region(r.classifier, r.tenant, r.mirror, r.decision, r.boxes, ranks[order(r)]) for r in found]


def _unordered(found: list[Region]) -> list[Diagnostic]:
    """Overlaps between regions of one tenant that no rule decides."""
    problems = []
    for one, other in sorted(_meeting(found)):
        a, b = found[one], found[other]
        if (
            a.classifier is b.classifier
            or a.decision == b.decision
            or a.classifier.priority != b.classifier.priority
            or a.mirror != b.mirror
            or _strictly_inside(a, b)
            or _strictly_inside(b, a)
        ):
            continue
        way = "the replies of " if a.mirror else ""
        problems.append(
            Diagnostic(
                b.classifier.where,
                f"classifiers.{b.classifier.name}",
                f"{way}{b.classifier.name} and {a.classifier.name} ({a.classifier.where}) overlap and nothing "
                "says which comes first",
                "give one of them a larger priority, or make one a strict subset of the other",
            )
        )
        if len(problems) == 20:
            break
    return problems


def _strictly_inside(inner: Region, outer: Region) -> bool:
    def inside(one: Region, two: Region) -> bool:
        return all(any(big.holds(small) for big in two.boxes) for small in one.boxes)

    return inside(inner, outer) and not inside(outer, inner)


def _meeting(found: list[Region]) -> set[tuple[int, int]]:
    """Pairs of regions (by index) of which some boxes overlap.

    Two prefixes overlap when one is a prefix of the other, so the boxes that can meet a given one are found
    by looking its source up at every prefix length in use; what is left is compared one by one.
    """
    lengths = sorted({(box.source.version, box.source.length) for region in found for box in region.boxes})
    seen: dict[Prefix, list[tuple[int, Box]]] = defaultdict(list)
    for index, region in enumerate(found):
        for box in region.boxes:
            seen[box.source].append((index, box))
    pairs: set[tuple[int, int]] = set()
    for index, region in enumerate(found):
        for box in region.boxes:
            for version, length in lengths:
                shorter = _shorten(box.source, version, length)
                if shorter is None:
                    continue
                for other, candidate in seen.get(shorter, ()):
                    if other != index and box.meets(candidate):
                        pairs.add((min(index, other), max(index, other)))
    return pairs


def _shorten(prefix: Prefix, version: int, length: int) -> Prefix | None:
    if version == 0:
        return EVERYTHING
    if version != prefix.version or length > prefix.length:
        return None
    shift = (32 if version == 4 else 128) - length
    return Prefix(version, prefix.base >> shift << shift, length)


def protocol_number(protocol: str, version: int) -> int:
    """The IANA number of a protocol under an IP version (icmp differs)."""
    return _PROTOCOLS[protocol][version]


def port_masks(low: int, high: int) -> list[tuple[int, int]]:
    """A closed port range as (value, mask) pairs, the fewest there are."""
    found = []
    while low <= high:
        size = low & -low or 1 << 16
        while low + size - 1 > high:
            size >>= 1
        found.append((low, 0xFFFF & ~(size - 1)))
        low += size
    return found
