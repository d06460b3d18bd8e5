"""What becomes of fragments where classifiers ask for what fragments do not show.

Open vSwitch gives fragments no ports, not even the first of them, and later IPv6 fragments no protocol
(ovs-fields(7), ip_frag; ovs-ofctl(8), set-frags). So a fragment falls past every classifier with ports to the first
rule that needs none: a classifier, an insertion, or the tenant's default. Where a classifier with ports, above that
rule, may be meant for it and decides otherwise, it is a veil over a part of that rule. In that part fragments take
the strictest way of all that may be meant: none where something denies, or where chains differ; the chain where the
others allow. The mark a fragment shows: what asks for another is not meant.

Veils belong to rules without ports, which are few, not to classifiers with ports: from one source they name at most
`PRECISE` destinations, with more they cover all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from controller_app.pipeline.boxes import EVERYTHING, Box, Prefix, box_matches
from controller_app.pipeline.ranks import Place
from controller_app.pipeline.regions import DEFAULT, Decision, Region
from controller_app.pipeline.survey import Survey
from controller_app.pipeline.tables import IP, IPV6

PRECISE = 4
VEIL = 2  # above a plain rule that asks for as many bits

_UNMARKED = 257  # more than the bits of two addresses

_Kind = tuple[int, str, int | None]  # IP version, protocol ("" any), DSCP (None any)
_Ways = dict[Prefix, dict[Prefix, set[Decision]]]  # by source and destination, what may be meant
_Order = tuple[int, int]  # of veils over one rule, the higher wins: bits asked for, how strict
_FIRST: _Order = (-1, 0)


class Veil(NamedTuple):
    """Fragments in `box` are decided so. `owner` is the object of the rule below."""

    box: Box
    decision: Decision
    place: Place
    owner: str


class _Below(NamedTuple):
    """The rule under a veil."""

    box: Box
    decision: Decision
    owner: str
    region: Region | None  # None: the default

    def place(self, version: int, *ties: int | str) -> Place:
        if self.region is None:
            return (DEFAULT, 0, 0, 0, VEIL, *ties)
        eth_type = IP if version == 4 else IPV6
        asked = min(
            bits
            for found, bits in box_matches(self.box)
            if all(condition.field != "eth_type" or condition.value == eth_type for condition in found)
        )
        return self.region.place(asked, VEIL, *ties)


def veils(found: Survey, owner: str, default: Decision) -> Iterator[Veil]:
    """Every veil over these regions, and over what is done with the rest (`default`, of this owner)."""
    over: dict[int, list[int]] = defaultdict(list)
    for bare, hiding in sorted(found.veiled):
        over[bare].append(hiding)
    for bare, hiding_ones in over.items():
        region = found.regions[found.placed[bare].owner]
        below = _Below(found.placed[bare].box, region.decision, region.name, region)
        yield from _over(found, below, hiding_ones)
    below = _Below(Box(EVERYTHING, EVERYTHING, ""), default, owner, None)
    yield from _over(found, below, [n for n, item in enumerate(found.placed) if item.hides])


def _over(found: Survey, below: _Below, hiding: Iterable[int]) -> Iterator[Veil]:
    if below.decision.action not in ("allow", "chain"):
        return  # what falls there is lost anyway
    meant: dict[_Kind, _Ways] = defaultdict(lambda: defaultdict(lambda: defaultdict(set)))
    for position in hiding:
        box = found.placed[position].box
        way = found.regions[found.placed[position].owner].decision.way
        for version in box.versions():
            if version == 4 and not box.ported:
                continue
            protocol = box.protocol if version == 4 else below.box.protocol
            dscp = box.dscp if below.box.dscp is None else None
            source = _common(below.box.source, box.source, version)
            target = _common(below.box.destination, box.destination, version)
            meant[version, protocol, dscp][source][target].add(way)
    for kind, ways in meant.items():
        if kind[2] is not None:  # with this mark, what is meant whatever the mark may be meant as well
            for source, targets in meant.get((*kind[:2], None), {}).items():
                for target, decisions in targets.items():
                    ways[source][target] |= decisions
        yield from _alike(below, *kind, ways)


def _common(one: Prefix, other: Prefix, version: int) -> Prefix:
    inner = other if one.holds(other) else one
    return inner if inner.version else Prefix(version, 0, 0)


def _alike(below: _Below, version: int, protocol: str, dscp: int | None, ways: _Ways) -> Iterator[Veil]:
    """The veils for fragments of one kind. Those with a mark lie over those whatever the mark, all of them."""
    marked = below.box.dscp if dscp is None else dscp
    above = 0 if dscp is None else _UNMARKED
    whole = _common(below.box.destination, EVERYTHING, version)
    for source, targets in ways.items():
        if len(targets) > PRECISE:
            ways[source] = {whole: set().union(*targets.values())}
    lengths = sorted({source.length for source in ways})
    around = {
        source: [wider for n in lengths if (wider := source.shorten(version, n)) in ways] for source in ways
    }
    given: dict[Prefix, list[tuple[Prefix, _Order, Decision]]] = defaultdict(list)
    for source, target in sorted(_parts(ways, around), key=lambda part: (_asked(*part), part)):
        possible = {below.decision.way}
        taken: tuple[_Order, Decision | None] = _FIRST, below.decision.way if dscp is None else None
        for wider in around[source]:
            for other, decisions in ways[wider].items():
                if other.holds(target):
                    possible |= decisions
            for other, order, decision in given[wider]:
                if other.holds(target) and order > taken[0]:
                    taken = order, decision
        decision = strictest(possible)
        if decision == taken[1]:
            continue  # what holds all around
        order = above + _asked(source, target), {"allow": 0, "chain": 1}.get(decision.action, 2)
        given[source].append((target, order, decision))
        if decision == below.decision.way:
            decision = below.decision  # with its marks
        box = Box(source, target, protocol, dscp=marked, fragments=True)
        place = below.place(version, *order, f"{decision.list_key}{'<' if decision.backward else ''}")
        yield Veil(box, decision, place, below.owner)


def _parts(ways: _Ways, around: dict[Prefix, list[Prefix]]) -> set[tuple[Prefix, Prefix]]:
    """Where anything may be meant, and what two such parts have in common: prefixes are in one another or apart, so
    that is the narrower source and the narrower destination."""
    found = {(source, target) for source, targets in ways.items() for target in targets}
    for source, targets in ways.items():
        for wider in around[source]:
            found |= {(source, other) for other in ways[wider] if any(target.holds(other) for target in targets)}
    return found


def _asked(source: Prefix, target: Prefix) -> int:
    return source.length + target.length


def strictest(possible: set[Decision]) -> Decision:
    """The way that is right whatever a fragment belongs to."""
    if any(each.action not in ("allow", "chain") for each in possible):
        return Decision("deny")
    chains = [each for each in possible if each.action == "chain"]
    if len(chains) > 1:
        return Decision("deny")
    return chains[0] if chains else Decision("allow")
