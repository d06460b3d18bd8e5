"""Between which edges the packets of a list of functions travel, as far as classifiers tell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping
from typing import NamedTuple

from controller_app.pipeline.boxes import Prefix, Prefixes, prefix_of
from controller_app.pipeline.regions import Region, branches, of_tenant
from controller_app.pipeline.views import Pair, World, pair
from controller_app.routing.constraints import Trip


class Use(NamedTuple):
    """What travels between two edges. needed: also packets of new connections, not only of those that stay with a
    provider that gets no new ones."""

    trips: tuple[Trip, ...]
    needed: bool


_Ends = dict[str, set[str]]  # switch -> who is there: hosts by their names
_Found = dict[Pair, dict[Trip, bool]]


def uses(world: World, lists: Container[str]) -> dict[str, dict[Pair, Use]]:
    """By list's key and pair of edges. lists: the keys that are asked for."""
    found: dict[str, _Found] = defaultdict(lambda: defaultdict(dict))
    for region, arms in _regions(world):
        key, backward = region.decision.list_key, region.decision.backward
        if region.decision.action != "chain" or key not in lists:
            continue
        for start, end, needed in _ways(world, region, arms):
            trips = found[key][pair(start, end)]
            trip = Trip(start, end, backward)
            trips[trip] = trips.get(trip, False) or needed
    return {
        key: {ends: Use(tuple(sorted(trips)), any(trips.values())) for ends, trips in sorted(pairs.items())}
        for key, pairs in found.items()
    }


def _regions(world: World) -> Iterator[tuple[Region, _Ends | None]]:
    """Every region; with those of what comes out of a function, where that comes out."""
    for tenant in world.policy.tenants.values():
        for region in of_tenant(world, tenant) if tenant.classifiers else ():
            yield region, None
    for function, group in branches(world).items():
        arms: _Ends = {}
        for instance in world.instances.get(function, ()):
            for arm in instance.arms:
                arms.setdefault(arm.switch, set()).add(f"instance {instance.name}")
        for region in group:
            yield region, arms


def _ways(world: World, region: Region, arms: _Ends | None) -> Iterator[tuple[str, str, bool]]:
    """The switch where packets enter, the one where they leave, and whether new connections do so."""
    for version in (4, 6):
        starts = _hosts(world, region.tenant, region.sources, version) if arms is None else arms
        ends = _hosts(world, region.tenant, region.destinations, version)
        for start, who in starts.items():
            for end, whom in ends.items():
                if len(who | whom) > 1:  # nobody sends himself anything
                    yield start, end, True
            yield from ((start, end, new) for end, new in _providers(world, region, start, version, "destinations"))
        if arms is None:
            for end in ends:
                yield from ((start, end, new) for start, new in _providers(world, region, end, version, "sources"))


def _hosts(world: World, tenant: str, prefixes: tuple[Prefix, ...], version: int) -> _Ends:
    """The switches of hosts with an address of this version in one of the prefixes."""
    wanted = Prefixes(prefix for prefix in prefixes if prefix.version in (0, version))
    found: _Ends = {}
    for host in world.hosts.values():
        if host.tenant == tenant and host.mac is not None and not host.exempt:
            own = (prefix_of(value) for value in (*host.ips, *host.prefixes) if value.version == version)
            if any(map(wanted.meets, own)):
                found.setdefault(host.switch, set()).add(host.host)
    return found


def _providers(world: World, region: Region, client: str, version: int, side: str) -> Iterator[tuple[str, bool]]:
    """The switches of those who provide the services among the region's sources, or destinations, to clients of a
    switch; and whether they get new connections."""
    wanted = Prefixes(getattr(region, side))
    for service in world.services.values():
        if service.tenant != region.tenant:
            continue
        if any(ip.version == version and wanted.meets(prefix_of(ip)) for ip in service.ips):
            serving: Mapping[str, None] = dict.fromkeys(service.slots_at(client))
            for name, provider in service.providers.items():
                yield provider.switch, name in serving
