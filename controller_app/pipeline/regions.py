"""Classifiers as regions of packet space: sets of boxes that can be compared, ranked and matched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from controller_app.model.policy import Chain, Classifier, Tenant, Traffic
from controller_app.pipeline.boxes import (
    EVERYTHING,
    PORTS,
    Box,
    Prefix,
    port_masks,
    prefix_of,
    protocol_number,
)
from controller_app.pipeline.lists import kept, list_key, pieces, return_pieces
from controller_app.pipeline.parties import Parties, disjoint
from controller_app.pipeline.ranks import Place
from controller_app.pipeline.views import World

__all__ = [
    "EVERYTHING", "PORTS", "Box", "Decision", "Prefix", "Region", "branches", "port_masks", "prefix_of",
    "protocol_number", "regions",
]  # fmt: skip

# Levels of rules, the higher wins: (tenants' defaults, see `fragments`,) insertions, ICMP errors, classifiers.
DEFAULT, INSERTION, ERRORS, CLASSIFIER = 0, 1, 2, 3


class Decision(NamedTuple):
    """What happens to a packet: "chain" with its list's key and direction, "allow", "deny" or "reject".

    limit: the name of the meter it has to pass ("" none); dscp and queue: the marks it gets.
    """

    action: str
    list_key: str = ""
    backward: bool = False
    limit: str = ""
    dscp: int | None = None
    queue: int | None = None

    @property
    def way(self) -> Decision:
        """The same without marks and limit."""
        return Decision(self.action, self.list_key, self.backward)


@dataclass(frozen=True)
class Region:
    """One classifier in one direction: packets from one of `sources` to one of `destinations` (disjoint prefixes)
    with one of `traffic` and of `dscp` (none: any).

    `mirror` is the way back that a classifier implies. `part` counts the pieces of a chain that translating
    functions cut: 0 is the classifier's own traffic, the others are what comes from the function before them.
    `out_of`: it is only for what comes out of this function.
    """

    classifier: Classifier
    tenant: str
    mirror: bool
    decision: Decision
    sources: tuple[Prefix, ...]
    destinations: tuple[Prefix, ...]
    traffic: tuple[Traffic, ...] = (Traffic(""),)
    part: int = 0
    out_of: str = ""
    level: int = CLASSIFIER
    owner: str = ""
    dscp: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The object that its rules belong to."""
        return self.owner or f"classifiers/{self.tenant}/{self.classifier.name}"

    @property
    def kind(self) -> tuple[int, int, bool]:
        """What is compared before sizes: level, priority, explicit ones before mirrors."""
        return self.level, self.classifier.priority, not self.mirror

    def place(self, asked: int, *ties: int | str) -> Place:
        """Where one of its rules, that asks for so many bits, stands in the order of all rules.

        Of regions of one kind that overlap and differ, one is strictly inside the other (`survey` sees to it).
        Then so are their rules, or they match the same: the one that asks for more bits belongs to the inner one.
        """
        if self.out_of:
            ties = (*ties, 1)  # it asks for that, too
        return self.level, self.classifier.priority, int(not self.mirror), asked, *ties

    @cached_property
    def boxes(self) -> tuple[Box, ...]:
        """The region, as boxes that have nothing in common."""
        return tuple(box for source in self.sources for box in self.leaving(source))

    def leaving(self, source: Prefix) -> Iterator[Box]:
        """Its boxes from one of its sources."""
        for target in self.destinations:
            yield from self.between(source, target)

    def between(self, source: Prefix, target: Prefix) -> Iterator[Box]:
        """Its boxes from one of its sources to one of its destinations; none between IP versions."""
        versioned = bool(self.traffic[0].protocol or self.dscp) or self.decision.dscp is not None
        for ends in _facing(source, target, versioned):
            for traffic in self.traffic:
                ports = (traffic.low, traffic.high)
                sides = (ports, PORTS) if self.mirror else (PORTS, ports)
                for dscp in self.dscp or (None,):
                    yield Box(*ends, traffic.protocol, *sides, dscp)

    @cached_property
    def size(self) -> int:
        """How many packets are in it, roughly: a strict subset is smaller."""
        kinds = sum((t.high - t.low + 1 if t.protocol else 1 << 24) for t in self.traffic)
        marks = len(self.dscp) or 64
        sources, targets = _addresses_in(self.sources), _addresses_in(self.destinations)
        ends = 0
        for one, many in sources.items():
            for other, more in targets.items():
                if not one or not other or one == other:
                    every = Prefix(one or other, 0, 0).size
                    ends += (many if one else every) * (more if other else every)
        return ends * kinds * marks

    @cached_property
    def exact(self) -> frozenset[Box]:
        """The boxes, to look one up."""
        return frozenset(self.boxes)

    def inside(self, outer: Region) -> bool:
        """Whether every packet of this one is in the other, and not the other way round."""
        if self.size >= outer.size:
            return False
        return all(
            small in outer.exact or any(big.holds(small) for big in outer.boxes) for small in self.boxes
        )


def regions(world: World) -> list[Region]:
    """Every classifier of every tenant as regions, but for those `after` a function (`branches`)."""
    return [region for tenant in world.policy.tenants.values() for region in of_tenant(world, tenant)]


def of_tenant(world: World, tenant: Tenant) -> Iterator[Region]:
    """The regions of one tenant."""
    parties = Parties(world, tenant)
    for classifier in tenant.classifiers.values():
        every = list(_of_classifier(tenant, classifier, parties, world.left_out))
        yield from every if classifier.after is None else every[1:]


def branches(world: World) -> Mapping[tuple[str, str], tuple[Region, ...]]:
    """The classifiers of what comes out of a function, by tenant and function."""
    found: dict[tuple[str, str], list[Region]] = defaultdict(list)
    for tenant in world.policy.tenants.values():
        after = [classifier for classifier in tenant.classifiers.values() if classifier.after is not None]
        parties = Parties(world, tenant) if after else None
        for classifier in after:
            assert parties is not None
            first = next(_of_classifier(tenant, classifier, parties, world.left_out))
            found[tenant.name, str(classifier.after)].append(first)
    return {key: tuple(group) for key, group in found.items()}


def _of_classifier(
    tenant: Tenant, classifier: Classifier, parties: Parties, left_out: Set[tuple[str, str]]
) -> Iterator[Region]:
    """Its own traffic first; then its mirror, and what comes from the translating functions of its chain."""
    then = classifier.then
    chain = tenant.chains[then.chain] if then.chain is not None else None
    limit = f"classifiers/{tenant.name}/{classifier.name}" if then.limit is not None else ""
    sources = disjoint(parties.prefixes(classifier.source))
    targets = disjoint(parties.prefixes(classifier.destination))
    traffic = tuple(_merged(classifier.traffic))
    cut = pieces(tenant.functions, kept(tenant, chain.through, left_out)) if chain is not None else ()
    there = [_along(tenant, chain, piece) for piece in cut] or [Decision(then.action)]
    back = _way_back(tenant, classifier.then.action, chain, cut, left_out)
    for part, decision in enumerate(there):
        if part:
            sources = disjoint(parties.of_function(cut[part - 1][-1]))
        if not part:
            decision = decision._replace(limit=limit, dscp=then.dscp, queue=then.queue)
        dscp = tuple(dict.fromkeys(classifier.dscp))
        # what a translating function sends has its mark already
        asked = (then.dscp,) if part and dscp and then.dscp is not None else dscp
        yield Region(classifier, tenant.name, False, decision, sources, targets, traffic, part, dscp=asked)
        if part < len(back) and classifier.after is None:
            # replies come from the translating function: only what comes out of it is known by this
            out_of = cut[part][-1] if part + 1 < len(cut) else ""
            yield Region(classifier, tenant.name, True, back[part], targets, sources, traffic, part, out_of, dscp=dscp)


def _along(tenant: Tenant, chain: Chain | None, piece: tuple[str, ...], backward: bool = False) -> Decision:
    if not piece or chain is None:
        return Decision("allow")
    return Decision("chain", list_key(tenant.name, piece, chain), backward)


def _way_back(
    tenant: Tenant,
    action: str,
    chain: Chain | None,
    cut: tuple[tuple[str, ...], ...],
    left_out: Set[tuple[str, str]],
) -> list[Decision]:
    """What replies meet, for each piece of the way there; empty where nothing is said of replies."""
    if chain is None:
        return [Decision("allow")] if action == "allow" else []
    if chain.returns == "symmetric":
        return [_along(tenant, chain, piece, True) for piece in cut]
    if isinstance(chain.returns, str):
        return [Decision("allow")] * len(cut)
    # replies meet the last piece first; between two pieces they are sent to the function itself, by its address
    returns = kept(tenant, chain.returns, left_out)
    ways = [_along(tenant, chain, piece) for piece in return_pieces(tenant.functions, returns)]
    return [*[Decision("allow")] * (len(cut) - len(ways)), *ways[::-1]]


def _facing(source: Prefix, target: Prefix, versioned: bool) -> tuple[tuple[Prefix, Prefix], ...]:
    """The pairs of prefixes of one IP version that stand for these two. Everything to everything stays one pair,
    unless what is asked besides differs by version."""
    version = source.version or target.version
    if not version and not versioned:
        return ((source, target),)
    if source.version and target.version:
        return ((source, target),) if source.version == target.version else ()
    found = []
    for each in (version,) if version else (4, 6):
        every = Prefix(each, 0, 0)
        found.append((source if source.version else every, target if target.version else every))
    return tuple(found)


def _addresses_in(prefixes: tuple[Prefix, ...]) -> dict[int, int]:
    """How many addresses of each version."""
    counted: dict[int, int] = defaultdict(int)
    for prefix in prefixes:
        counted[prefix.version] += prefix.size
    return counted


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
