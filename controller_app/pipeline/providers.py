"""One service: who provides it, whose connections are kept, and who gets the new ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from typing import NamedTuple

from controller_app.balancing.slots import fill
from controller_app.model.allocation import Allocation
from controller_app.model.policy import Endpoint, Service
from controller_app.model.topology import End, IPAddress, Switch, Topology
from controller_app.pipeline.views import HostView, ServiceView
from controller_app.routing.distances import Routes

_MOST_REMEMBERED = 512  # waypoints of providers that connections may be remembered of, for each service
_LEVELS = ("switch", "rack", "zone")


class Source(NamedTuple):
    """What a service's view is made from. matched: whom its selector matches; leaving: whom it does not match any more,
    of those that provided it, with TCP connections that go on; out: names of those that are out, for whatever reason;
    near: what tells who is near whom, where the service prefers the near."""

    service: Service
    matched: tuple[Endpoint, ...]
    leaving: tuple[Endpoint, ...]
    number: int
    ips: tuple[IPAddress, ...]
    hosts: Mapping[str, HostView]
    out: frozenset[str]
    near: tuple[Mapping[str, Switch], Routes] | None


class Made:
    """One service's view, and what it was made from. `tables` are its slots; `served`, `served_by` and `providers` are
    its entries in the allocation; `leaving` are the endpoints that are."""

    def __init__(self, source: Source, key: str, tenant: str, previous: Allocation) -> None:
        self._source, self._key = source, key
        versions = {ip.version for ip in source.ips}
        providers: dict[str, HostView] = {}
        weights: dict[str, int] = {}
        draining: dict[str, int] = {}
        self.providers: dict[str, str] = {}
        for endpoint in (*source.matched, *source.leaving):
            host = source.hosts.get(endpoint.host)
            if host is None or host.mac is None or endpoint.name in source.out:
                continue
            if not versions <= {ip.version for ip in host.ips}:
                continue
            providers[endpoint.name] = host
            self.providers[endpoint.name] = endpoint.host
        for endpoint in source.matched:
            if endpoint.name in providers:
                (draining if endpoint.drain else weights)[endpoint.name] = endpoint.weight
        self.leaving = tuple(endpoint.name for endpoint in source.leaving if endpoint.name in providers)
        # those that are to go serve while nobody else does
        members = weights if any(weights.values()) else draining
        name = f"services/{key}"
        table = fill(members, previous.slots.get(name, ()))
        self.tables = {name: table or previous.slots.get(name, ())}
        near = _near(source, key, members, providers, previous, self.tables)
        now = {provider.waypoint: provider.host for provider in providers.values()}
        at = {provider.host: provider.waypoint for provider in providers.values()}
        before = previous.served.get(key, ())
        hosts_before = dict(zip(before, previous.served_by.get(key, ()), strict=False))
        gone = [waypoint for waypoint in before if waypoint not in now]
        gone = gone[-(_MOST_REMEMBERED - min(len(now), _MOST_REMEMBERED - 1)) :]
        every = {**{waypoint: hosts_before.get(waypoint, "") for waypoint in gone}, **dict(sorted(now.items()))}
        self.served, self.served_by = tuple(every), tuple(every.values())
        left = tuple(waypoint for waypoint in gone if every[waypoint] not in at)
        moved = {waypoint: at[every[waypoint]] for waypoint in gone if every[waypoint] in at}
        service, ips = source.service, source.ips
        going = tuple(sorted(providers[name].waypoint for name in self.leaving))
        self.view = ServiceView(key, source.number, tenant, service, ips, providers, table, near, left, moved, going)

    def fits(self, source: Source, previous: Allocation) -> bool:
        """Whether it would be made again just so."""
        return (
            self._source == source
            and previous.served.get(self._key) == self.served
            and previous.served_by.get(self._key) == self.served_by
            and all(previous.slots.get(name) == table for name, table in self.tables.items())
        )


def out_of_service(asked: Iterable[Endpoint], unready: Iterable[str], down: frozenset[str]) -> frozenset[str]:
    """The names of those that are out. unready: entries of `Topology.unready`; down: hosts whose port is."""
    out = {name.rpartition("/")[2] for name in unready}
    if down:
        out.update(each.name for each in asked if each.host in down)
    return frozenset(out)


def hosts_down(hosts: Mapping[str, HostView], topology: Topology) -> frozenset[str]:
    """The hosts whose port is down."""
    if not topology.down:
        return frozenset()
    return frozenset(name for name, host in hosts.items() if End(host.switch, host.port) in topology.down)


def _near(
    source: Source,
    key: str,
    weights: Mapping[str, int],
    providers: Mapping[str, HostView],
    previous: Allocation,
    slots: dict[str, tuple[str, ...]],
) -> dict[str, tuple[str, ...]]:
    """Switch -> the slots of its clients, where those near it come first: of the same switch, rack or zone, from the
    narrowest that is preferred outwards; or those at the least cost. Switches that have nobody near are not in it."""
    willing = [name for name, weight in weights.items() if weight]
    prefer = source.service.prefer
    if prefer is None or source.near is None or not willing:
        return {}
    switches, routes = source.near
    found: dict[str, tuple[str, ...]] = {}
    made: dict[str, tuple[str, ...]] = {}
    for switch in switches:
        where, nearest = _nearest(prefer, switch, switches, routes, willing, providers)
        if len(nearest) in (0, len(willing)):
            continue
        name = f"services/{key}@{where}"
        if name not in made:
            made[name] = fill({each: weights[each] for each in nearest}, previous.slots.get(name, ()))
        found[switch] = made[name]
    slots.update(made)
    return found


def _nearest(
    prefer: str,
    switch: str,
    switches: Mapping[str, Switch],
    routes: Routes,
    willing: list[str],
    providers: Mapping[str, HostView],
) -> tuple[str, list[str]]:
    """The place that is preferred, by its name, and who of them is there."""
    if prefer == "cost":
        costs = {name: routes.row(providers[name].switch).cost.get(switch, inf) for name in willing}
        least = min(costs.values())
        return f"switch:{switch}", [name for name, cost in costs.items() if cost == least]
    for level in _LEVELS[_LEVELS.index(prefer) :]:
        here = _place(switches, switch, level)
        there = [name for name in willing if _place(switches, providers[name].switch, level) == here]
        if here is not None and there:
            return f"{level}:{here}", there
    return "", []


def _place(switches: Mapping[str, Switch], switch: str, level: str) -> str | None:
    if level == "switch":
        return switch
    found = switches[switch]
    return found.rack if level == "rack" else found.zone
