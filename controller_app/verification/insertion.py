"""Insertion (`insert`): the functions that everything leaving or entering a network or a segment goes through.

A segment's own insertion counts instead of its network's, and of segments within each other the inner one's.
Leaving, the functions are met in order; entering, from the last to the first. From one such place into another:
those of the first in order, then those of the second reversed, each function once: where it first comes, or, so that
replies meet the same the other way round, where it last comes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controller_app.model.policy import Tenant
from controller_app.model.topology import IPAddress
from controller_app.verification.extents import Nets, Tenancy, covers, within


@dataclass(frozen=True, slots=True)
class Area:
    """A network or segment with functions inserted at its border."""

    name: str
    inside: Nets
    functions: tuple[str, ...]
    segment: bool


@dataclass(frozen=True, slots=True)
class Inserted:
    """What is in the way of a packet. `backward`: it enters a place, so that two-armed functions are entered by
    their far arm; None where it leaves one place and enters another: nothing says by which then."""

    functions: tuple[str, ...]
    backward: bool | None
    areas: tuple[str, ...]
    otherwise: tuple[str, ...] | None = None  # another order that is as right


def areas_of(tenancy: Tenancy, tenant: Tenant) -> tuple[Area, ...]:
    """The places of a tenant that have functions inserted."""
    networks = [Area(network.name, tenancy.network(tenant, network.name), network.insert, False)
                for network in tenant.networks.values() if network.insert]
    segments = [Area(f"{segment.network}/{segment.name}", tenancy.segment(tenant, segment), segment.insert, True)
                for segment in tenant.segments.values() if segment.insert]
    return (*networks, *segments)


def innermost(areas: Iterable[Area], address: IPAddress) -> Area | None:
    """The place of an address whose functions count for it."""
    around = [area for area in areas if covers(area.inside, address)]
    segments = [area for area in around if area.segment] or around
    for area in segments:
        if all(within(area.inside, other.inside) for other in segments):
            return area
    return segments[0] if segments else None


def inserted(areas: tuple[Area, ...], source: IPAddress, destination: IPAddress) -> Inserted | None:
    """What is in the way from one address to another."""
    leaving, entering = innermost(areas, source), innermost(areas, destination)
    if leaving is not None and covers(leaving.inside, destination):
        leaving = None
    if entering is not None and covers(entering.inside, source):
        entering = None
    if leaving is None and entering is None:
        return None
    if entering is None:
        assert leaving is not None
        return Inserted(leaving.functions, False, (leaving.name,))
    if leaving is None:
        return Inserted(entering.functions[::-1], True, (entering.name,))
    both = (*leaving.functions, *reversed(entering.functions))
    first, last = tuple(dict.fromkeys(both)), tuple(dict.fromkeys(reversed(both)))[::-1]
    return Inserted(first, None, (leaving.name, entering.name), last if last != first else None)
