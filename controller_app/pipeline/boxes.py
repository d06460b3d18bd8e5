"""Parts of packet space: prefixes, boxes of packets, and the matches that are exactly a box."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from controller_app.model.flow import FRAG_ANY, Match, match
from controller_app.model.topology import IPAddress, IPNetwork
from controller_app.pipeline.build import Fields
from controller_app.pipeline.tables import IP, IPV6

PORTS = (0, 65535)
_PROTOCOLS = {"tcp": {4: 6, 6: 6}, "udp": {4: 17, 6: 17}, "icmp": {4: 1, 6: 58}}
_WIDTH = {4: 32, 6: 128}
_WHOLE = 0  # ip_frag of what is no fragment


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
        shift = _WIDTH[self.version] - self.length
        return self.base >> shift == other.base >> shift

    def meets(self, other: Prefix) -> bool:
        return self.holds(other) or other.holds(self)

    def shorten(self, version: int, length: int) -> Prefix | None:
        """The prefix of this version and length that holds this one; None where there is none."""
        if version == 0:
            return EVERYTHING
        if version != self.version or length > self.length:
            return None
        shift = _WIDTH[version] - length
        return Prefix(version, self.base >> shift << shift, length)

    @property
    def size(self) -> int:
        """How many addresses; everything is more than all of either version."""
        return 1 << 130 if self.version == 0 else 1 << (_WIDTH[self.version] - self.length)


EVERYTHING = Prefix(0, 0, 0)


class Prefixes:
    """A set of prefixes, to find those that have addresses in common with another."""

    def __init__(self, found: Iterable[Prefix]) -> None:
        self._found = dict.fromkeys(found)
        self._lengths = sorted({(prefix.version, prefix.length) for prefix in self._found})

    def __iter__(self) -> Iterator[Prefix]:
        return iter(self._found)

    def around(self, prefix: Prefix) -> Iterator[Prefix]:
        """Those that hold a prefix, the widest first."""
        wider = (prefix.shorten(version, length) for version, length in self._lengths)
        return (each for each in wider if each is not None and each in self._found)

    def meets(self, prefix: Prefix) -> bool:
        """Whether any has addresses in common with a prefix."""
        return any(True for _ in self.around(prefix)) or (
            prefix.size > 1 and any(prefix.holds(each) for each in self._found)
        )

    def common(self, others: Iterable[Prefix]) -> Iterator[Prefix]:
        """What it has in common with others."""
        for other in others:
            if any(True for _ in self.around(other)):
                yield other
            elif other.size > 1:
                yield from (each for each in self._found if other.holds(each))


class Box(NamedTuple):
    """Packets from one prefix to another of one protocol ("" any), with ports in two closed ranges and, where
    given, one DSCP (RFC 2474). `fragments`: only fragments, of whatever ports (see `fragments`)."""

    source: Prefix
    destination: Prefix
    protocol: str
    source_ports: tuple[int, int] = PORTS
    destination_ports: tuple[int, int] = PORTS
    dscp: int | None = None
    fragments: bool = False

    def holds(self, other: Box) -> bool:
        return (
            self.source.holds(other.source)
            and self.destination.holds(other.destination)
            and (not self.protocol or self.protocol == other.protocol)
            and self.source_ports[0] <= other.source_ports[0]
            and other.source_ports[1] <= self.source_ports[1]
            and self.destination_ports[0] <= other.destination_ports[0]
            and other.destination_ports[1] <= self.destination_ports[1]
            and (self.dscp is None or self.dscp == other.dscp)
            and (other.fragments or not self.fragments)
        )

    def meets(self, other: Box) -> bool:
        return (
            self.source.meets(other.source) and self.destination.meets(other.destination) and self.alike(other)
        )

    def alike(self, other: Box) -> bool:
        """Whether they have packets in common, addresses aside."""
        return (
            (not self.protocol or not other.protocol or self.protocol == other.protocol)
            and self.source_ports[0] <= other.source_ports[1]
            and other.source_ports[0] <= self.source_ports[1]
            and self.destination_ports[0] <= other.destination_ports[1]
            and other.destination_ports[0] <= self.destination_ports[1]
            and (self.dscp is None or other.dscp is None or self.dscp == other.dscp)
        )

    @property
    def ported(self) -> bool:
        """Whether it asks for ports, which fragments do not show."""
        return self.source_ports != PORTS or self.destination_ports != PORTS

    def versions(self) -> tuple[int, ...]:
        """The IP versions its packets can be of."""
        version = self.source.version or self.destination.version
        return (version,) if version else (4, 6)


def prefix_of(value: IPAddress | IPNetwork) -> Prefix:
    """An address or network as a Prefix."""
    if isinstance(value, IPv4Network | IPv6Network):
        return Prefix(value.version, int(value.network_address), value.prefixlen)
    return Prefix(value.version, int(value), value.max_prefixlen)


def protocol_number(protocol: str, version: int) -> int:
    """The IANA number of a protocol under an IP version (icmp differs)."""
    return _PROTOCOLS[protocol][version]


@lru_cache(maxsize=1 << 16)
def port_masks(low: int, high: int) -> tuple[tuple[int, int], ...]:
    """A closed port range as (value, mask) pairs, the fewest there are."""
    found = []
    while low <= high:
        size = low & -low or 1 << 16
        while low + size - 1 > high:
            size >>= 1
        found.append((low, 0xFFFF & ~(size - 1)))
        low += size
    return tuple(found)


def address_fields(side: str, prefix: Prefix) -> Fields:
    """The match for a prefix as "src" or "dst"; nothing for all addresses."""
    if not prefix.length:
        return {}
    width = _WIDTH[prefix.version]
    return {f"ipv{prefix.version}_{side}": (prefix.base, ((1 << prefix.length) - 1) << (width - prefix.length))}


@lru_cache(maxsize=1 << 16)
def traffic_fields(
    version: int,
    protocol: str,
    source_ports: tuple[int, int],
    destination_ports: tuple[int, int],
    dscp: int | None,
    fragments: bool,
) -> tuple[Fields, ...]:
    """The matches for everything but addresses, under one IP version (0: any packet). Do not modify them.

    A range that port 0 is in also says that the packet is no fragment: Open vSwitch takes the ports of fragments
    for 0 (ovs-ofctl(8), set-frags).
    """
    if not version:
        return ({},)
    fields: Fields = {"eth_type": IP if version == 4 else IPV6}
    if dscp is not None:
        fields["ip_dscp"] = dscp
    if fragments:
        fields["ip_frag"] = (FRAG_ANY, FRAG_ANY)
    if not protocol:
        return (fields,)
    fields["ip_proto"] = protocol_number(protocol, version)
    if protocol == "icmp" or (source_ports == PORTS and destination_ports == PORTS):
        return (fields,)
    found: list[Fields] = []
    for source in _masks(source_ports):
        for destination in _masks(destination_ports):
            one = {**fields, f"{protocol}_src": source, f"{protocol}_dst": destination}
            if any(mask and not value for value, mask in (source, destination)):
                one["ip_frag"] = _WHOLE
            found.append(one)
    return tuple(found)


def box_matches(box: Box) -> Iterator[tuple[Match, int]]:
    """The matches that together are exactly the box, each with how many bits it asks for: of two that lie in each
    other the inner one asks for more."""
    source, destination = box.source, box.destination
    version = source.version or destination.version
    plain = not box.protocol and box.dscp is None
    ends = address_match("src", source) + address_match("dst", destination)
    bits = source.length + destination.length
    for chosen in (version,) if version or plain else (4, 6):
        for before, after, asked in traffic_matches(chosen, *box[2:]):
            yield before + ends + after, asked + bits


@lru_cache(maxsize=1 << 16)
def traffic_matches(
    version: int,
    protocol: str,
    source_ports: tuple[int, int],
    destination_ports: tuple[int, int],
    dscp: int | None,
    fragments: bool,
) -> tuple[tuple[Match, Match, int], ...]:
    """`traffic_fields` as what stands in a match before the addresses and after them, with the bits asked for."""
    found = []
    for fields in traffic_fields(version, protocol, source_ports, destination_ports, dscp, fragments):
        ports = {name: value for name, value in fields.items() if name.startswith(("tcp", "udp"))}
        rest = {name: value for name, value in fields.items() if name not in ports}
        found.append((match(**rest), match(**ports), bits_asked(fields)))
    return tuple(found)


@lru_cache(maxsize=1 << 16)
def address_match(side: str, prefix: Prefix) -> Match:
    """`address_fields` as a match."""
    return match(**address_fields(side, prefix))


def bits_asked(fields: Fields) -> int:
    """How much a match of everything but addresses asks for. That it is no fragment does not count."""
    asked = 0
    for name, given in fields.items():
        if name in ("eth_type", "ip_proto"):
            asked += 1
        elif name == "ip_frag":
            asked += given != _WHOLE
        else:
            asked += given[1].bit_count() if isinstance(given, tuple) else 8
    return asked


def _masks(ports: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    return ((0, 0),) if ports == PORTS else port_masks(*ports)
