"""What comes back out of a translating function: answers that got the sender's addresses back there.

They are packets that were not seen before. So any classifier may be theirs, as if a host sent them from where the
function is, and it marks and limits them. The mirror of the classifier whose chain led through the function is for
them alone; further on, where a function of its list gives them back without their label, it knows them by that
function.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from controller_app.model.position import Diagnostic, PolicyError
from controller_app.modes import MODES
from controller_app.pipeline.boxes import Box, Prefix, Prefixes, prefix_of
from controller_app.pipeline.led import Led, losing
from controller_app.pipeline.overlaps import Placed, meetings
from controller_app.pipeline.ranks import Place
from controller_app.pipeline.regions import Decision, Region
from controller_app.pipeline.views import World


class Answers(NamedTuple):
    """What can come back out of a function: where from, where to. Nothing below `floor` is for any of it."""

    sources: Prefixes
    destinations: Prefixes
    floor: Place


def answers(world: World, tenant: str, regions: Iterable[Region]) -> Mapping[str, Answers]:
    """Function -> what comes back out of it, of the traffic that these regions send through it."""
    sources: dict[str, dict[Prefix, None]] = defaultdict(dict)
    destinations: dict[str, dict[Prefix, None]] = defaultdict(dict)
    floors: dict[str, Place] = {}
    functions = world.policy.tenants[tenant].functions
    for region in regions:
        if region.out_of:
            floors[region.out_of] = min(floors.get(region.out_of, region.kind), region.kind)
            continue
        last = "" if region.decision.backward else "".join(_functions(world, region.decision)[-1:])
        if last and MODES[functions[last].mode].cuts:
            sources[last].update(dict.fromkeys(region.destinations))
            destinations[last].update(dict.fromkeys(region.sources))
    # what a classifier `after` a function sends there has no mirror: then anything may be for it
    mirrorless = {region.decision.list_key for region in regions if region.classifier.after is not None}
    for name in sources:
        if any(_functions_of(world, key)[-1:] == (name,) for key in mirrorless if key):
            floors[name] = ()
    return {
        name: Answers(Prefixes(found), Prefixes(destinations[name]), floors.get(name, ()))
        for name, found in sources.items()
    }


def known_by(world: World, region: Region) -> tuple[str, ...]:
    """The functions by which packets of such a mirror are known: the one it is for, then those of its list that take
    labels off."""
    after = losing(world, region.tenant, region.decision) if region.decision.action == "chain" else ()
    return region.out_of, *after


def check(world: World, tenant: str, regions: Sequence[Region], onward: Iterable[Led]) -> None:
    """Refuse what could not be told apart: behind a function that takes labels off, packets that came back out of a
    translating one, and others between the same hosts that go through that function by another list.

    Raises PolicyError.
    """
    mirrors: dict[str, list[Region]] = defaultdict(list)  # by the functions that know them
    for region in regions:
        for name in known_by(world, region)[1:] if region.out_of else ():
            mirrors[name].append(region)
    others: dict[str, list[_Other]] = defaultdict(list)
    for other in _others(regions, onward) if mirrors else ():
        for name in mirrors.keys() & _functions(world, other.decision):
            others[name].append(other)
    found: dict[str, Diagnostic] = {}
    for name, known in mirrors.items():
        for mirror, other in _meeting(known, others[name], _Alike(world, name)):
            if mirror.classifier.name not in found and _exchanged(world, tenant, other, mirror):
                found[mirror.classifier.name] = _mixed(mirror, other, name)
    if found:
        raise PolicyError(list(found.values()))


class _Other(NamedTuple):
    """Packets on a list of their own. region: what they met first. owner: what put them on it."""

    region: Region
    decision: Decision
    owner: str
    boxes: tuple[Box, ...]


def _others(regions: Iterable[Region], onward: Iterable[Led]) -> Iterator[_Other]:
    for region in regions:
        if not region.out_of:
            yield _Other(region, region.decision, region.name, region.boxes)
    for item in onward:
        if item.origin is not None and not item.origin.out_of:
            yield _Other(item.origin, item.decision, item.owner, (item.box,))


def _meeting(
    mirrors: Sequence[Region], others: Sequence[_Other], alike: _Alike
) -> Iterator[tuple[Region, _Other]]:
    """The pairs that have packets in common, go on differently, and of which the mirror would win."""
    decisions = dict.fromkeys(mirror.decision for mirror in mirrors)
    highest = max(mirror.kind for mirror in mirrors)
    parting = [
        each
        for each in others
        if each.region.kind <= highest and not all(alike(decision, each.decision) for decision in decisions)
    ]
    placed = [Placed(number, box, "", "mirror") for number, each in enumerate(mirrors) for box in each.boxes]
    first = len(mirrors)
    placed += [Placed(first + number, box, "", "") for number, each in enumerate(parting) for box in each.boxes]
    pairs: dict[tuple[int, int], None] = {}

    def meet(one: int, other: int) -> None:
        ends = sorted((placed[one].owner, placed[other].owner))
        pairs[ends[0], ends[1] - first] = None

    meetings(placed if parting else (), meet)
    for number, other in pairs:
        mirror, against = mirrors[number], parting[other]
        if _loses(against.region, mirror) and not alike(mirror.decision, against.decision):
            yield mirror, against


def _functions(world: World, decision: Decision) -> tuple[str, ...]:
    return _functions_of(world, decision.list_key) if decision.action == "chain" else ()


def _functions_of(world: World, key: str) -> tuple[str, ...]:
    return world.lists[key].functions


class _Alike:
    """Whether it does not matter behind a function which of two lists a packet is on: nothing follows, and both choose
    the same instance of that function."""

    def __init__(self, world: World, name: str) -> None:
        self._world, self._name = world, name
        self._places: dict[Decision, int | None] = {}

    def __call__(self, one: Decision, other: Decision) -> bool:
        if (one.list_key, one.backward) == (other.list_key, other.backward):
            return True
        place = self._place(one)
        return place is not None and place == self._place(other)

    def _place(self, decision: Decision) -> int | None:
        """The function's place in the list; None where others follow it."""
        if decision not in self._places:
            functions = _functions(self._world, decision)
            at = functions.index(self._name)
            follow = functions[:at] if decision.backward else functions[at + 1 :]
            self._places[decision] = None if follow else at
        return self._places[decision]


def _loses(region: Region, mirror: Region) -> bool:
    """Whether a region does not count where both cover a packet that came out of the translating function."""
    return region.kind < mirror.kind or (region.kind == mirror.kind and not region.inside(mirror))


def _exchanged(world: World, tenant: str, other: _Other, mirror: Region) -> bool:
    """Whether there are two parties that could exchange packets of both, which have some in common."""
    sources = Prefixes(Prefixes(box.source for box in other.boxes).common(mirror.sources))
    destinations = Prefixes(Prefixes(box.destination for box in other.boxes).common(mirror.destinations))
    addresses = [
        (host.host, value)
        for host in world.hosts.values()
        if host.tenant == tenant
        for value in (*host.ips, *host.prefixes)
    ]
    addresses += [(key, ip) for key, view in world.services.items() if view.tenant == tenant for ip in view.ips]
    for version in (4, 6):
        here = [(name, prefix_of(value)) for name, value in addresses if value.version == version]
        senders = {name for name, prefix in here if sources.meets(prefix)}
        receivers = {name for name, prefix in here if destinations.meets(prefix)}
        if senders and receivers and len(senders | receivers) > 1:
            return True
    return False


def _mixed(mirror: Region, other: _Other, function: str) -> Diagnostic:
    name, (kind, _, by) = mirror.classifier.name, other.owner.split("/", 2)
    remedy = f"lead one of them through another function than {function!r}"
    if kind == "networks":
        by = f"what is inserted at network {by!r}"
    else:
        remedy += f", or give {by} the larger priority: then it counts for the replies as well"
    return Diagnostic(
        mirror.classifier.where,
        f"classifiers.{name}",
        f"its replies go through {function!r} after they came back out of {mirror.out_of!r}, and other traffic between "
        f"the same hosts goes through {function!r} by {by}; behind it nothing on a packet says which of the two it is",
        remedy,
    )
