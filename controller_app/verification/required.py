"""Does a packet's way meet what its chain requires? Judged by the hops it really made; and, where it was dropped, by
trying every combination of instances. Written without a look at how instances are chosen, to judge that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, product
from math import inf, prod
from typing import NamedTuple

import networkx as nx

from controller_app.balancing.selectors import matches
from controller_app.model.policy import Chain, Policy, Require, Selector
from controller_app.model.topology import Link, Topology
from controller_app.routing.distances import Routes
from controller_app.verification.stations import modes, placed, works
from controller_app.verification.walk import Fate, Hop

_TRIED = 5000  # combinations, at most: of more nothing is said
_NEARLY = 1 + 1e-6


class _Site(NamedTuple):
    """Where an instance is: the switches where packets along a chain enter it, and come out. Or a tap."""

    host: str
    into: str
    out: str
    on_path: bool


_Met = tuple[_Site, ...]  # of each function, in a chain's order
_Port = tuple[str, int | str]  # a link in one direction, by the port that leads into it
_Direction = tuple[str, str, bool]  # from edge to edge; within one, whether it is back


class _Owner(NamedTuple):
    """For what bandwidth is kept: a list of a chain, between two edges."""

    tenant: str
    chain: str
    returning: bool
    edges: frozenset[str]


class _Crossings(NamedTuple):
    """How often packets of somebody leave by a port: by what they met, and by direction."""

    rate: float
    times: dict[frozenset[str], dict[_Direction, int]]

    @property
    def kept(self) -> float:
        """Bits per second, if all have the instances that cross most often."""
        return self.rate * max(sum(found.values()) for found in self.times.values())


@dataclass(frozen=True)
class Required:
    """Judges ways on one topology. How often packets cross links where a chain's bandwidth is kept is collected from
    one packet to the next."""

    policy: Policy
    topology: Topology
    _kept: dict[_Port, dict[_Owner, _Crossings]] = field(default_factory=dict)
    _known: dict[tuple[str, str, tuple[str, ...], str, str], bool] = field(default_factory=dict)
    _cheapest: dict[tuple[str, str, str, str, bool], tuple[float, list[str]]] = field(default_factory=dict)

    def problems(self, tenant: str, chain: Chain, backward: bool, fate: Fate, began: int, copies: Iterable[Fate]
                 ) -> Iterator[str]:
        """What is wrong with the way of a packet that was delivered. began: the hops before its chain. copies: those of
        it that taps got."""
        hops = fate.hops[began:]
        if not hops:
            return
        met = [visit.host for visit in fate.visits if visit.hop > began]
        if chain.require is not None:
            copies = tuple(copies)
            names = [*met, *(str(copy.host) for copy in copies)]
            said = [*self._wrong(tenant, chain, chain.require, hops, names)]
            if chain.require.bandwidth is not None:
                edges = hops[0].switch, hops[-1].switch
                owner = _Owner(tenant, chain.name, backward and isinstance(chain.returns, tuple), frozenset(edges))
                direction = *edges, backward and len(owner.edges) == 1
                own = [copy.hops[began:] for copy in copies if copy.hops[:began] == fate.hops[:began]]
                said += self._booked(chain.require.bandwidth, owner, frozenset(names), direction, [hops, *own])
            yield from (f"{one}, and chain {chain.name} requires otherwise" for one in said)
        if chain.spread == "cost" and len(met) == len(fate.visits):
            yield from self._dear(tenant, chain, backward, hops, met)

    def hopeless(self, tenant: str, chain: Chain, functions: Sequence[str], start: str, ends: Iterable[str]) -> bool:
        """Whether no combination of instances meets what a chain requires between an edge and one of others, as far as
        can be told: what others keep of links is not known here. functions: also taps, in the chain's order."""
        require = chain.require
        if require is None:
            return False
        return require.bandwidth is not None or any(
            not self._fits(tenant, chain, tuple(functions), start, end) for end in ends)

    # -- the way it went -------------------------------------------------------------------------------------

    @cached_property
    def _links(self) -> dict[tuple[str, int | str], Link]:
        return {(end.switch, end.port): link for link in self.topology.links for end in (link.a, link.b)}

    def _crossed(self, hops: Iterable[Hop]) -> list[Link]:
        return [self._links[hop.switch, hop.out_port] for hop in hops
                if hop.out_port is not None and (hop.switch, hop.out_port) in self._links]

    def _wrong(self, tenant: str, chain: Chain, require: Require, hops: Sequence[Hop], met: Sequence[str]
               ) -> Iterator[str]:
        crossed, edges = self._crossed(hops), (hops[0].switch, hops[-1].switch)
        standing = {end.switch for name in met for end in self.topology.hosts[name].attach.values()}
        way = " - ".join(dict.fromkeys(hop.switch for hop in hops))
        if require.latency is not None:
            dark = [link for link in crossed if link.latency is None]
            total = sum(link.latency or 0.0 for link in crossed)
            if dark:
                yield f"its way {way} crosses {dark[0].a}-{dark[0].b}, whose latency is not known"
            elif total > require.latency * _NEARLY:
                yield f"its way {way} takes {total * 1000:g} ms of {require.latency * 1000:g}"
        if require.within is not None and not self._together(require.within, {*standing, *edges}):
            yield f"its way {way} is not within one {require.within}"
        if require.avoid is not None:
            shunned = [hop.switch for hop in hops if self._has(require.avoid, hop.switch)]
            shunned += [name for name in met if self._labelled(tenant, name, require.avoid)]
            if shunned:
                yield f"its way {way} meets {shunned[0]}"
        if require.apart:
            places = [{end.switch for end in self.topology.hosts[name].attach.values()} for name in met]
            if any(one & other for one, other in combinations(places, 2)):
                yield f"{' and '.join(met)} are not all on different switches"
        if require.backup and not any(self._spare(tenant, chain.through, frozenset(crossed), *edges)):
            yield f"its way {way} has no other beside it"

    def _booked(self, rate: float, owner: _Owner, met: frozenset[str], direction: _Direction,
                ways: Iterable[Sequence[Hop]]) -> Iterator[str]:
        """A link on which more is kept in one direction than it has. ways: of the packet, and of its copies, whose
        frames are counted: until they part they are one."""
        frames = {id(hop): (hop.switch, hop.out_port) for way in ways for hop in way if hop.out_port is not None}
        for port, times in Counter(port for port in frames.values() if port in self._links).items():
            kept = self._kept.setdefault(port, {})
            found = kept.setdefault(owner, _Crossings(rate, {})).times.setdefault(met, {})
            found[direction] = max(times, found.get(direction, 0))
            link, total = self._links[port], sum(each.kept for each in kept.values())
            other = link.b if (link.a.switch, link.a.port) == port else link.a
            name = f"{port[0]}:{port[1]}-{other}"
            if link.bandwidth is None:
                yield f"it crosses {name}, whose bandwidth is not known"
            elif total > link.bandwidth * _NEARLY:
                yield f"chains keep {total / 1e6:g} Mbps of {name}, which has {link.bandwidth / 1e6:g}"

    def _together(self, level: str, switches: Iterable[str]) -> bool:
        attribute = "name" if level == "switch" else level
        places = {getattr(self.topology.switches[name], attribute) for name in switches}
        return len(places) == 1 and None not in places

    def _has(self, selector: Selector, switch: str) -> bool:
        return matches(selector, self.topology.switches[switch].all_labels)

    def _labelled(self, tenant: str, host: str, selector: Selector) -> bool:
        endpoints = self.policy.tenants[tenant].endpoints.values()
        found = {key: value for each in endpoints if each.host == host for key, value in each.labels.items()}
        return bool(found) and matches(selector, found)

    def _spare(self, tenant: str, functions: Sequence[str], used: frozenset[Link], start: str, end: str
               ) -> tuple[bool, bool]:
        """Whether a way through instances of these functions is left without some links, from the first edge to the
        second and from that to the first."""
        left = nx.Graph()
        left.add_nodes_from(self.topology.switches)
        left.add_edges_from((link.a.switch, link.b.switch) for link in self.topology.links if link not in used)
        part = {name: number for number, found in enumerate(nx.connected_components(left)) for name in found}
        every = [{(part[site.into], part[site.out]) for site in sites}
                 for sites in self._sites(tenant, functions) if sites[0].on_path]

        def leads(start: str, end: str) -> bool:
            reached = {part[start]}
            for ways in every:
                reached = {out for into, out in ways if into in reached}
            return part[end] in reached

        return leads(start, end), leads(end, start)

    # -- what there would have been --------------------------------------------------------------------------

    @cached_property
    def _routes(self) -> Routes:
        return Routes(self.topology)

    def _sites(self, tenant: str, functions: Sequence[str]) -> list[_Met]:
        """Where the instances that work are, of each function that has any."""
        found = [tuple(self._placed.get((tenant, name), ())) for name in functions]
        return [sites for sites in found if sites]

    @cached_property
    def _placed(self) -> dict[tuple[str, str], list[_Site]]:
        found: dict[tuple[str, str], list[_Site]] = {}
        for tenant in self.policy.tenants.values():
            for function, instance, host in placed(tenant, self.topology):
                on_path = modes()[function.mode].on_path
                unready = f"functions/{tenant.name}/{function.name}/{instance.name}" in self.topology.unready
                if works(function, host, self.topology) and not (on_path and unready):
                    first = next(iter(host.attach.values()))
                    into, out = host.attach.get("in", first), host.attach.get("out", first)
                    site = _Site(host.name, into.switch, out.switch, on_path)
                    found.setdefault((tenant.name, function.name), []).append(site)
        return found

    def _cost(self, chosen: _Met, start: str, end: str) -> float:
        """Along the chain."""
        at, total = start, 0.0
        for site in chosen:
            if site.on_path:
                total += self._routes.row(site.into).cost.get(at, inf)
                at = site.out
        return total + self._routes.row(end).cost.get(at, inf)

    def _dear(self, tenant: str, chain: Chain, backward: bool, hops: Sequence[Hop], met: Sequence[str]
              ) -> Iterator[str]:
        """Costs are added up along the chain; where both edges send along it, of both together."""
        start, end = (hops[-1].switch, hops[0].switch) if backward else (hops[0].switch, hops[-1].switch)
        every = self._sites(tenant, chain.through)
        through = [sites for sites in every if sites[0].on_path]
        names = met[::-1] if backward else met
        own = tuple(site for sites, host in zip(through, names, strict=False) for site in sites if site.host == host)
        if len(own) != len(through) or len(names) != len(through) or prod(map(len, every)) > _TRIED:
            return  # it is on another list: a way back of its own
        if chain.require is not None and (chain.require.prefer is not None or chain.require.bandwidth is not None):
            return  # what is liked better, or what others keep of links, may be in the way of what is cheaper
        for both in (False, True):
            least, _ = self._least(tenant, chain, start, end, both)
            if self._along(own, start, end, both) <= least * _NEARLY:
                return
        least, cheap = self._least(tenant, chain, start, end, False)
        yield (f"from {start} to {end} through {', '.join(names)} it costs {self._cost(own, start, end):g}, and "
               f"through {', '.join(cheap)} {least:g}")

    def _along(self, chosen: _Met, start: str, end: str, both: bool) -> float:
        return self._cost(chosen, start, end) + (self._cost(chosen, end, start) if both else 0.0)

    def _least(self, tenant: str, chain: Chain, start: str, end: str, both: bool) -> tuple[float, list[str]]:
        """The least cost of all that meets what is required, and through whom."""
        key = tenant, chain.name, start, end, both
        if key not in self._cheapest:
            found: tuple[float, list[str]] = inf, []
            for each in product(*self._sites(tenant, chain.through)):
                cost = self._along(each, start, end, both)
                if cost < found[0] and self._meets(tenant, chain, each, start, end):
                    found = cost, [site.host for site in each if site.on_path]
            self._cheapest[key] = found
        return self._cheapest[key]

    def _fits(self, tenant: str, chain: Chain, functions: tuple[str, ...], start: str, end: str) -> bool:
        """Whether a combination meets what is required whichever of the two edges packets enter by."""
        key = tenant, chain.name, functions, start, end
        if key not in self._known:
            self._known[key] = self._any_fits(tenant, chain, functions, start, end)
        return self._known[key]

    def _any_fits(self, tenant: str, chain: Chain, functions: tuple[str, ...], start: str, end: str) -> bool:
        every = self._sites(tenant, functions)
        if prod(map(len, every)) > _TRIED:
            return False
        return any(self._meets(tenant, chain, each, start, end) and self._meets(tenant, chain, each, end, start)
                   for each in product(*every))

    def _meets(self, tenant: str, chain: Chain, chosen: _Met, start: str, end: str) -> bool:
        """Whether these instances meet what is required of packets along the chain and of their replies."""
        forward = [start, *(switch for site in chosen if site.on_path for switch in (site.into, site.out)), end]
        for stops in (forward, forward[::-1]):
            walked, crossed = [start, end], []
            for at, target in zip(stops[::2], stops[1::2], strict=True):
                row = self._routes.row(target)
                way = row.walk(at)
                if way is None:
                    return False
                walked += way
                crossed += [self._links[switch, row.hop[switch][0]] for switch in way[:-1]]
            require = chain.require
            if require is not None and not self._allowed(tenant, require, chosen, walked, crossed):
                return False
            if require is not None and require.backup and not all(
                    self._spare(tenant, chain.through, frozenset(crossed), start, end)):
                return False
        return True

    def _allowed(self, tenant: str, require: Require, chosen: _Met, walked: list[str], crossed: list[Link]) -> bool:
        latencies = [link.latency for link in crossed]
        standing = {*walked[:2], *(switch for site in chosen for switch in (site.into, site.out))}
        places = [{site.into, site.out} for site in chosen]
        if require.latency is not None and (None in latencies or sum(filter(None, latencies)) > require.latency):
            return False
        if require.within is not None and not self._together(require.within, standing):
            return False
        if require.avoid is not None and (
                any(self._has(require.avoid, name) for name in (*walked, *standing))
                or any(self._labelled(tenant, site.host, require.avoid) for site in chosen)):
            return False
        return not (require.apart and any(one & other for one, other in combinations(places, 2)))
