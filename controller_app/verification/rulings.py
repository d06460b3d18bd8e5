"""The classifiers of one tenant, laid out as extents, and which of them a packet falls to.

- What is let through also classifies its replies, the mirror: a chain that returns symmetrically sends them back
  through the same functions, one with a list of its own through that, any other chain and `allow` let them pass
  directly; deny, reject, and what is for packets that come out of a function have no mirror.
- A chain is cut after each translating function: what that sends on comes from its own addresses and takes the
  rest, as if a classifier said so, with a mirror for the replies to those addresses. It asks for the DSCP that was
  written, or was asked for.
- The larger priority wins; then an explicit classifier beats a mirror; then the strict subset wins; classifiers
  that agree are no conflict.
- A fragment shows no ports (ovs-ofctl(8), set-frags), in IPv6 a later one not even its protocol: every classifier
  may be meant that could cover it by what it shows, down to the first that surely does.
- An ICMP error goes the way of replies between its two addresses, or directly, unless an explicit classifier covers
  it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from controller_app.model.flow import FRAG_ANY
from controller_app.model.policy import Chain, Classifier, Tenant
from controller_app.verification.extents import Decision, Extent, Tenancy, covers, facing, traffic_sets
from controller_app.verification.packet import ICMP, ICMPV6, IPV6, PROTOCOLS, Packet, addresses, ports
from controller_app.verification.stations import modes

# What an error message is: destination unreachable, time exceeded, parameter problem (RFC 792); in ICMPv6 packet
# too big as well (RFC 4443).
ICMP_ERRORS = {"icmp_type": (3, 11, 12), "icmpv6_type": (1, 2, 3, 4)}
IPV6_FRAGMENT = 44  # what a later fragment shows as its protocol (RFC 8200, 4.5)
_NAMES = {number: name for name, number in PROTOCOLS.items()}


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a packet falls to: nothing (the default counts), one extent, or one of several where the packet does
    not tell which (of a fragment the one it surely is in comes first); `unsaid` where it may be the default as well.
    `conflict` holds classifiers of which none comes first."""

    winners: tuple[Extent, ...] = ()
    unsaid: bool = False
    conflict: tuple[Classifier, ...] = ()


@dataclass(frozen=True, slots=True)
class Usable:
    """Which functions of a tenant have an instance that packets can go through."""

    tenant: Tenant
    working: Mapping[tuple[str, str], bool]

    def left(self, through: tuple[str, ...]) -> tuple[str, ...]:
        """The list without taps that are not there, and without functions to be skipped when they fail."""
        return tuple(name for name in through if self._works(name) or not self._skipped(name))

    def failing(self, through: tuple[str, ...]) -> str | None:
        """The first function that is not to be skipped and has no instance that works; None when all can be met."""
        return next((name for name in through if not self._works(name) and not self._skipped(name)), None)

    def _works(self, name: str) -> bool:
        return self.working.get((self.tenant.name, name), False)

    def _skipped(self, name: str) -> bool:
        function = self.tenant.functions[name]
        return not modes()[function.mode].on_path or function.on_failure == "open"


def is_fragment(packet: Packet) -> bool:
    """Whether a packet is a fragment: then no switch looks at its ports, even where they are there."""
    return bool(packet.get("ip_frag", 0) & FRAG_ANY)


def is_icmp_error(packet: Packet) -> bool:
    """Whether a packet tells its receiver that one of the receiver's own got into trouble."""
    return any(name in packet and packet[name] in kinds for name, kinds in ICMP_ERRORS.items())


def pieces(tenant: Tenant, through: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """A list cut after each translating function; the last piece may be empty."""
    found: list[list[str]] = [[]]
    for name in through:
        found[-1].append(name)
        if modes()[tenant.functions[name].mode].cuts:
            found.append([])
    return tuple(tuple(piece) for piece in found)


def extents_of(tenancy: Tenancy, tenant: Tenant, usable: Usable) -> tuple[Extent, ...]:
    """Everything that classifies what hosts send: classifiers, their mirrors, and what they imply."""
    return tuple(extent for classifier in tenant.classifiers.values()
                 for extent in _of(tenancy, tenant, usable, classifier) if classifier.after is None or extent.implied)


def branches_of(tenancy: Tenancy, tenant: Tenant, usable: Usable) -> Mapping[str, tuple[Extent, ...]]:
    """Function -> the classifiers of what comes out of it."""
    found: dict[str, list[Extent]] = {}
    for classifier in tenant.classifiers.values():
        if classifier.after is not None:
            found.setdefault(classifier.after, []).extend(
                extent for extent in _of(tenancy, tenant, usable, classifier) if not extent.implied)
    return {name: tuple(extents) for name, extents in found.items()}


def _of(tenancy: Tenancy, tenant: Tenant, usable: Usable, classifier: Classifier) -> Iterator[Extent]:
    everyone = tenancy.party(tenant, classifier.destination)
    source = facing(tenancy.party(tenant, classifier.source), everyone)
    destination = facing(everyone, source)
    first = Extent(classifier, source, destination, traffic_sets(classifier.traffic),
                   Decision(classifier.then.action, dscp=classifier.then.dscp), dscp=frozenset(classifier.dscp))
    if classifier.then.chain is None:
        yield first
        if classifier.then.action == "allow" and classifier.after is None:
            yield _mirror(first, Decision("allow"))
        return
    chain = tenant.chains[classifier.then.chain]
    there = pieces(tenant, usable.left(chain.through))
    back = _returning(tenant, chain, there, usable.left(chain.returns) if isinstance(chain.returns, tuple) else None)
    for number, piece in enumerate(there):
        # What a translating function sends has the mark already, or is of a connection that is its own.
        mark = None if number else classifier.then.dscp
        extent = replace(first, decision=_decision(chain, piece, False, number == 0, mark))
        if number:
            function = tenancy.function(tenant, there[number - 1][-1])
            extent = replace(extent, source=facing(function, everyone), destination=facing(everyone, function),
                             implied=True)
            if first.dscp and classifier.then.dscp is not None:
                extent = replace(extent, dscp=frozenset({classifier.then.dscp}))  # marked on the way there
        yield extent
        if classifier.after is None:
            # Replies get to what a later function sent; only from there do they take this part.
            out_of = there[number][-1] if number + 1 < len(there) else None
            yield replace(_mirror(extent, back[number]), dscp=first.dscp, out_of=out_of)


def _mirror(extent: Extent, decision: Decision) -> Extent:
    return replace(extent, source=extent.destination, destination=extent.source, decision=decision, mirrored=True)


def _decision(chain: Chain, piece: tuple[str, ...], backward: bool, whole: bool, dscp: int | None = None) -> Decision:
    if not piece and not whole:
        return Decision("allow", dscp=dscp)
    return Decision("chain", piece, chain.stickiness, backward, dscp)


def _returning(tenant: Tenant, chain: Chain, there: tuple[tuple[str, ...], ...],
               listed: tuple[str, ...] | None) -> list[Decision]:
    """What is done with the replies of each piece."""
    if chain.returns == "direct":
        return [Decision("allow") for _ in there]
    if listed is None:
        return [_decision(chain, piece, True, number == 0) for number, piece in enumerate(there)]
    # What comes before a translating function is met on the way to its address, what follows on the way from it.
    parts: list[list[str]] = [[]]
    for name in listed:
        if modes()[tenant.functions[name].mode].cuts and len(parts) < len(there):
            parts.append([])
        parts[-1].append(name)
    parts += [[] for _ in range(len(there) - len(parts))]
    return [_decision(chain, tuple(part), False, len(there) == 1) for part in reversed(parts)]


def rule(extents: Iterable[Extent], packet: Packet, out_of: str | None = None) -> Ruling:
    """What a packet falls to among these. out_of: the translating function it comes out of."""
    known = tuple(extents)
    found = [extent for extent in known if matches(extent, packet) and extent.out_of in (None, out_of)]
    if is_fragment(packet):
        return _of_fragment(found, packet)
    ruling = _first(found)
    if is_icmp_error(packet) and all(winner.mirrored for winner in ruling.winners):
        ways = [extent for extent in known if extent.mirrored and _faces(extent, packet)]
        priority = max((extent.classifier.priority for extent in ways), default=0)
        ways = [extent for extent in ways if extent.classifier.priority == priority]
        return Ruling(_distinct([*ruling.winners, *ways]), bool(ways), ruling.conflict)
    return ruling


def _first(found: list[Extent]) -> Ruling:
    if not found:
        return Ruling()
    level = max(extent.level for extent in found)
    found = [extent for extent in found if extent.level == level]
    # What follows from a classifier for a function's own addresses is the narrower part of it.
    narrower = {extent.classifier.name for extent in found if extent.implied}
    found = [extent for extent in found if extent.implied or extent.classifier.name not in narrower]
    for extent in found:
        others = [other for other in found if other.decision != extent.decision]
        if all(extent.subset_of(other) and not other.subset_of(extent) for other in others):
            return Ruling((extent,))
    return Ruling((found[0],), conflict=tuple(extent.classifier for extent in found))


def _of_fragment(found: list[Extent], packet: Packet) -> Ruling:
    sure = [extent for extent in found if not hidden(extent, packet)]
    first = _first(sure)
    level = max((extent.level for extent in sure), default=None)
    possible = [extent for extent in found if hidden(extent, packet) and (level is None or extent.level >= level)]
    return Ruling(_distinct([*first.winners, *possible]), not sure, first.conflict)


def from_source(extent: Extent, packet: Packet) -> bool:
    """Whether a packet comes from where an extent's packets come from."""
    ends = addresses(packet)
    return ends is not None and covers(extent.source, ends[0])


def veiling(extent: Extent, packet: Packet) -> bool:
    """Whether an extent asks for anything that fragments like this one, of whatever protocol in IPv6, do not show."""
    if extent.dscp and packet.get("ip_dscp", 0) not in extent.dscp:
        return False
    return hidden(extent, packet) or bool(is_fragment(packet) and extent.traffic and packet["eth_type"] == IPV6)


def hidden(extent: Extent, packet: Packet) -> bool:
    """Whether a fragment does not show if it is in an extent that could cover it."""
    if not extent.traffic or not is_fragment(packet):
        return False
    if packet["ip_proto"] == IPV6_FRAGMENT:
        return True
    runs = extent.traffic.get(_NAMES.get(packet["ip_proto"], ""), ())
    return bool(runs) and runs != ((0, 0xFFFF),)


def _distinct(found: list[Extent]) -> tuple[Extent, ...]:
    """One for each decision."""
    kept: list[Extent] = []
    for extent in found:
        if all(extent.decision != other.decision for other in kept):
            kept.append(extent)
    return tuple(kept)


def _faces(extent: Extent, packet: Packet) -> bool:
    """Whether a packet goes between addresses that an extent covers."""
    ends = addresses(packet)
    return ends is not None and covers(extent.source, ends[0]) and covers(extent.destination, ends[1])


def matches(extent: Extent, packet: Packet) -> bool:
    """Whether an extent covers a packet; a fragment whatever is asked for that it does not show."""
    ends = addresses(packet)
    if ends is None or not _faces(extent, packet):
        return False
    if extent.dscp and packet.get("ip_dscp", 0) not in extent.dscp:
        return False
    if not extent.traffic:
        return True
    protocol = packet["ip_proto"]
    if protocol == IPV6_FRAGMENT and is_fragment(packet):
        return True
    if protocol in (ICMP, ICMPV6):
        return "icmp" in extent.traffic and protocol == (ICMP if ends[0].version == 4 else ICMPV6)
    name = _NAMES.get(protocol)
    if name is None or name not in extent.traffic:
        return False
    if is_fragment(packet):
        return True
    sides = ports(packet)
    if sides is None:
        return False
    port = sides[0] if extent.mirrored else sides[1]
    return any(low <= port <= high for low, high in extent.traffic[name])
