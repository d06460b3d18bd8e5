"""Functions inserted by network and by segment: regions of the lowest level, that any classifier overrules.

What leaves a place meets its functions in order, what enters it meets them the other way round, and what goes from
one place to another meets those of both. Places are told apart by address: a segment is a part of its network, and
inside one place nothing is inserted. Which pair of places an address pair belongs to follows from the longest
prefixes, so every pair of places gets a region, also those where nothing is inserted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from controller_app.model.policy import Classifier, Party, Tenant, Verdict
from controller_app.pipeline.boxes import EVERYTHING, Prefix
from controller_app.pipeline.lists import insertion_list
from controller_app.pipeline.parties import Parties, disjoint
from controller_app.pipeline.regions import INSERTION, Decision, Region
from controller_app.pipeline.views import World

_ANY = Party("any")


@dataclass(frozen=True)
class _Place:
    """A network or segment with functions, or (no network) everything outside of all of them. prefixes: without
    those that belong to a smaller place; all: with them."""

    network: str
    name: str
    insert: tuple[str, ...]
    prefixes: tuple[Prefix, ...]
    all: tuple[Prefix, ...]

    def inside(self, other: _Place) -> bool:
        """Whether it is a part of the other, or the other itself. Nothing is inside of the outside."""
        if not other.network:
            return not self.network
        return self.network == other.network and all(
            any(big.holds(small) for big in other.all) for small in self.all
        )


def insertion(world: World, tenant: Tenant) -> Iterator[Region]:
    """What a tenant's networks and segments insert, and what of it the functions' own addresses are spared."""
    places = _places(world, tenant)
    if not places:
        return
    outside = _Place("", "", (), (EVERYTHING,), (EVERYTHING,))
    for source in (*places, outside):
        for target in (*places, outside):
            if source.network or target.network:
                yield _between(tenant, source, target)
    own = disjoint(Parties(world, tenant).of_functions())
    if own:
        spared = Classifier("spared", _ANY, _ANY, Verdict("allow"), priority=1)
        owner = f"policies/{tenant.name}/default"
        for sources, targets in ((own, (EVERYTHING,)), ((EVERYTHING,), own)):
            yield Region(
                spared, tenant.name, False, _default(tenant), sources, targets, level=INSERTION, owner=owner
            )


def _default(tenant: Tenant) -> Decision:
    return Decision("allow" if tenant.default_allow else "deny")


def _between(tenant: Tenant, source: _Place, target: _Place) -> Region:
    leaving = () if target.inside(source) else source.insert
    entering = () if source.inside(target) else target.insert
    network = source.network or target.network
    made = Classifier(f"insert/{source.name}/{target.name}", _ANY, _ANY, Verdict("chain"))
    return Region(
        made,
        tenant.name,
        False,
        _decide(tenant, leaving, entering, source.name <= target.name),
        source.prefixes,
        target.prefixes,
        level=INSERTION,
        owner=f"networks/{tenant.name}/{network}",
    )


def _decide(
    tenant: Tenant, leaving: tuple[str, ...], entering: tuple[str, ...], first: bool
) -> Decision:
    """Both directions between two places use one list, so that they meet the same instances."""
    if not leaving and not entering:
        return _default(tenant)
    if not leaving:
        return Decision("chain", insertion_list(tenant.name, entering, ()).key, True)
    if not entering:
        return Decision("chain", insertion_list(tenant.name, leaving, ()).key)
    one, other = (leaving, entering) if first else (entering, leaving)
    return Decision("chain", insertion_list(tenant.name, one, other).key, not first)


def _places(world: World, tenant: Tenant) -> list[_Place]:
    parties = Parties(world, tenant)
    found: list[tuple[str, str, tuple[str, ...], tuple[Prefix, ...]]] = []
    for network in tenant.networks.values():
        if network.insert:
            prefixes = disjoint(parties.of_network(network.name))
            found.append((network.name, f"network {network.name}", network.insert, prefixes))
    for segment in tenant.segments.values():
        if segment.insert:
            prefixes = disjoint(parties.of_segment(segment))
            found.append((segment.network, f"segment {segment.name}", segment.insert, prefixes))
    # an address that several places have belongs to the smallest, of a segment and its network to the segment
    owner: dict[Prefix, str] = {}
    for _, name, _, prefixes in sorted(found, key=lambda place: (-sum(p.size for p in place[3]), place[1])):
        owner.update(dict.fromkeys(prefixes, name))
    return [
        _Place(network, name, insert, tuple(p for p in prefixes if owner[p] == name), prefixes)
        for network, name, insert, prefixes in found
        if prefixes
    ]
