"""Packets that a classifier `after` a function has led to another list, when they are classified again.

Where a function gives a packet back without its label, the packet's list is found by classifying it. One that was led
elsewhere on its way matches the classifier it met where it entered, and those that led it: in what they have in common
the last of them counts, at the place of the first, and for such packets only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from controller_app.model.position import Diagnostic, PolicyError
from controller_app.modes import MODES
from controller_app.pipeline.boxes import EVERYTHING, PORTS, Box, Prefix, box_matches, port_masks, prefix_of
from controller_app.pipeline.ranks import Place
from controller_app.pipeline.regions import CLASSIFIER, Decision, Region
from controller_app.pipeline.views import World

BRANCHED = CLASSIFIER + 1  # a level above classifiers
LED = 3  # above what leads into the list before, which asks for as many bits


class Led(NamedTuple):
    """Packets in `box` (as they are by then) are on the list of `decision`. out_of: functions of that list that lose
    labels. met: the functions they met before. origin: the region they met first; None for fragments."""

    box: Box
    decision: Decision
    place: Place
    owner: str
    out_of: tuple[str, ...] = ()
    met: frozenset[str] = frozenset()
    origin: Region | None = None


def starts(region: Region) -> Iterator[Led]:
    """What a region leads into its list, by the rules that say so."""
    for box in region.boxes:
        for atom, bits in _atoms(box):
            marked = atom if region.decision.dscp is None else atom._replace(dscp=region.decision.dscp)
            met = frozenset(filter(None, [region.out_of]))
            yield Led(marked, region.decision, region.place(bits, LED), region.name, (), met, region)


def led(
    world: World, tenant: str, found: Iterable[Led], branches: Mapping[str, tuple[Region, ...]]
) -> Iterator[Led]:
    """All that is led on from what is found, by the classifiers after each function (`branches`), if it goes through
    functions then that lose its label.

    Raises PolicyError where such a function is met both before and after by packets of hosts there are: nobody could
    tell which it was.
    """
    for item in found:
        view = world.lists.get(item.decision.list_key) if item.decision.action == "chain" else None
        functions = () if view is None else view.functions
        met = item.met
        for name in functions[::-1] if item.decision.backward else functions:
            if _cuts(world, tenant, name) and not item.decision.backward:
                break  # what that sends on has other addresses
            met |= {name}
            for region in branches.get(name, ()):
                if region.decision.action == "chain":
                    without = losing(world, tenant, region.decision)
                    following = world.lists[region.decision.list_key].functions
                    again = met.intersection((*without, *(each for each in following if _cuts(world, tenant, each))))
                    surely = tuple(function for function in without if function not in again)
                    onward = list(_on(item, region, surely, met))
                    if again and any(_somebodys(world, tenant, each.box) for each in onward):
                        raise PolicyError([_met_twice(region, name, min(again))])
                    if surely:
                        yield from onward
                    if not met.issuperset(following):
                        yield from led(world, tenant, onward, branches)


def sent(world: World, tenant: str, branches: Mapping[str, tuple[Region, ...]]) -> Iterator[Led]:
    """What translating functions send from addresses of their own, where a classifier after them leads it to a list:
    it is so led where it enters, before anything else is asked."""
    for name, regions in branches.items():
        if not _cuts(world, tenant, name):
            continue
        own = [
            prefix_of(value)
            for host in world.hosts.values()
            if host.tenant == tenant and host.instance is not None and host.instance[1] == name
            for value in (*host.ips, *host.prefixes)
        ]
        for region in regions:
            if region.decision.action != "chain":
                continue
            without = losing(world, tenant, region.decision)
            for prefix in dict.fromkeys(own):
                everything = Box(prefix, EVERYTHING, "")
                place: Place = (BRANCHED, 0, 0, 0, LED)
                yield from _on(Led(everything, region.decision, place, region.name), region, without, frozenset())


def _met_twice(region: Region, after: str, function: str) -> Diagnostic:
    return Diagnostic(
        region.classifier.where,
        f"classifiers.{region.classifier.name}",
        f"packets that it takes come out of {function!r} before {after!r} and again after it, and nothing on them says "
        "which of the two it is",
        f"lead them through other functions than {function!r}",
    )


def _somebodys(world: World, tenant: str, box: Box) -> bool:
    """Whether there are two hosts that could exchange packets in a box."""

    def of(prefix: Prefix) -> set[str]:
        return {
            host.name
            for host in world.hosts.values()
            if host.tenant == tenant and any(prefix.meets(prefix_of(own)) for own in (*host.ips, *host.prefixes))
        }

    senders, receivers = of(box.source), of(box.destination)
    return bool(senders and receivers) and len(senders | receivers) > 1


def _cuts(world: World, tenant: str, name: str) -> bool:
    return MODES[world.policy.tenants[tenant].functions[name].mode].cuts


def losing(world: World, tenant: str, decision: Decision) -> tuple[str, ...]:
    """The functions of a list that do not keep labels, but for translating ones: what those send on has addresses of
    their own."""
    functions = world.policy.tenants[tenant].functions
    return tuple(
        name
        for name in world.lists[decision.list_key].functions
        if MODES[functions[name].mode].on_path
        and not MODES[functions[name].mode].cuts
        and (not MODES[functions[name].mode].brings_label or functions[name].handover != "label")
    )


def _on(item: Led, region: Region, out_of: tuple[str, ...], met: frozenset[str]) -> Iterator[Led]:
    for box in region.boxes:
        for atom, bits in _atoms(box):
            common = _common(item.box, atom)
            if common is None:
                continue
            if region.decision.dscp is not None:
                common = common._replace(dscp=region.decision.dscp)
            place = (*item.place, region.classifier.priority, bits)
            yield Led(common, region.decision.way, place, region.name, out_of, met, item.origin)


def _common(one: Box, other: Box) -> Box | None:
    """The packets of both; None where there are none. Fragments are in boxes without ports only."""
    if not (one.source.meets(other.source) and one.destination.meets(other.destination) and one.alike(other)):
        return None
    if one.fragments and other.ported:
        return None
    return Box(
        _inner(one.source, other.source),
        _inner(one.destination, other.destination),
        one.protocol or other.protocol,
        _overlap(one.source_ports, other.source_ports),
        _overlap(one.destination_ports, other.destination_ports),
        other.dscp if one.dscp is None else one.dscp,
        one.fragments,
    )


def _inner(one: Prefix, other: Prefix) -> Prefix:
    return other if one.holds(other) else one


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return max(one[0], other[0]), min(one[1], other[1])


def _atoms(box: Box) -> Iterator[tuple[Box, int]]:
    """A box in parts that each are one rule, with the bits it asks for."""
    for source in _parts(box.source_ports):
        for target in _parts(box.destination_ports):
            atom = box._replace(source_ports=source, destination_ports=target)
            yield atom, next(bits for _, bits in box_matches(atom))


def _parts(ports: tuple[int, int]) -> list[tuple[int, int]]:
    return [ports] if ports == PORTS else [(low, low | (0xFFFF & ~mask)) for low, mask in port_masks(*ports)]
