"""What a chain requires of its instances: the search admits a combination if and only if it meets everything, judged
here by trying all of them on the hops that packets take."""

from __future__ import annotations

from itertools import combinations, pairwise, product
from math import prod

import networkx as nx
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from controller_app.model.policy import Require, Requirement, Selector
from controller_app.model.topology import End, Link, Switch, Topology
from controller_app.routing.combinations import TooManyError, admitted, why
from controller_app.routing.constraints import Between, Combination, Site, Trip, rates, seconds
from controller_app.routing.distances import Routes
from controller_app.routing.legs import Legs

OLD = Selector((Requirement("age", "in", ("old",)),), "age=old")
NEAR = Selector((Requirement("zone", "in", ("z1",)),), "zone=z1")


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Up to six switches, mostly connected, with parallel links, equal costs, and links of which little is known."""
    names = [f"s{n}" for n in range(draw(st.integers(2, 6)))]
    switches = {
        name: Switch(
            name,
            number,
            rack=draw(st.sampled_from(["r1", "r2", None])),
            zone=draw(st.sampled_from(["z1", "z2"])),
            labels=draw(st.sampled_from([{}, {}, {"age": "old"}])),
        )
        for number, name in enumerate(names, 1)
    }
    every = list(combinations(names, 2))
    chosen = draw(st.lists(st.sampled_from(every), min_size=len(names), max_size=10))
    ports = dict.fromkeys(names, 0)
    links = []
    for one, other in chosen:
        for name in (one, other):
            ports[name] += 1
        links.append(
            Link(
                End(one, ports[one]),
                End(other, ports[other]),
                draw(st.sampled_from([0.001, 0.002, 0.003, 0.001, None])),
                draw(st.sampled_from([1e8, 2e8, 3e8, 4e8, None])),
                draw(st.sampled_from([1, 1, 2, 3])),
            )
        )
    return Topology(switches, tuple(links))


@st.composite
def betweens(draw: st.DrawFn) -> Between:
    topology = draw(topologies())
    names = st.sampled_from(list(topology.switches))
    labels = st.sampled_from([{}, {}, {"age": "old"}])
    sites = []
    for position in range(draw(st.integers(0, 3))):
        on_path = draw(st.integers(0, 4)) > 0
        found = []
        for number in range(draw(st.integers(1, 4))):
            into = draw(names)
            out = draw(names) if draw(st.integers(0, 3)) == 0 and on_path else into
            found.append(Site(f"f{position}i{number}", into, out, draw(st.integers(1, 3)), draw(labels), on_path))
        sites.append(tuple(found))
    start, end = draw(names), draw(names)
    trips = draw(
        st.sampled_from(
            [
                (Trip(start, end),),
                (Trip(start, end), Trip(end, start, True)),
                (Trip(end, start, True),),
                (Trip(start, end), Trip(end, start)),
                (Trip(start, end), Trip(end, start, True), Trip(end, start), Trip(start, end, True)),
            ]
        )
    )
    require = None
    if draw(st.integers(0, 5)):
        require = Require(
            draw(st.sampled_from([None, 0.002, 0.004, 0.006])),
            draw(st.sampled_from([None, None, 1e8, 1.5e8])),
            draw(st.sampled_from([None, None, None, "switch", "rack", "zone"])),
            draw(st.sampled_from([None, None, OLD])),
            draw(st.sampled_from([None, None, NEAR])),
            draw(st.booleans()),
            draw(st.integers(0, 3)) == 0,
        )
    routes = Routes(topology)
    taken = draw(st.lists(st.sampled_from([0.0, 0.5e8, 1e8]), min_size=20, max_size=20))
    ports = [(end.switch, end.port) for link in topology.links for end in (link.a, link.b)]
    reserved = dict(zip(ports, taken, strict=False))
    return Between(
        topology,
        Legs(topology, routes),
        tuple(sites),
        tuple(dict.fromkeys(trips)),
        require,
        draw(st.booleans()),
        reserved,
    )


class Slow:
    """All combinations, one after the other, by the words of the policy."""

    def __init__(self, between: Between) -> None:
        self.between, self.topology = between, between.topology
        self.routes = Routes(between.topology)
        self.links = {(end.switch, end.port): link for link in self.topology.links for end in (link.a, link.b)}

    def hops(self, start: str, end: str) -> list[tuple[str, int]] | None:
        row, at, found = self.routes.row(end), start, []
        if start not in row.cost:
            return None
        while at != end:
            port, onward = row.hop[at]
            found.append((at, port))
            at = onward
        return found

    def met(self, chosen: Combination, trip: Trip) -> list[Site]:
        found = [self.between.sites[n][index] for n, index in enumerate(chosen)]
        return found[::-1] if trip.backward else found

    def stops(self, chosen: Combination, trip: Trip) -> list[tuple[str, str]]:
        """From where to where it goes by links."""
        at, found = trip.start, []
        for site in self.met(chosen, trip):
            if site.on_path:
                into, out = (site.out, site.into) if trip.backward else (site.into, site.out)
                found.append((at, into))
                at = out
        return [*found, (at, trip.end)]

    def crossed(self, chosen: Combination, trip: Trip) -> list[tuple[str, int]] | None:
        found = [self.hops(*stop) for stop in self.stops(chosen, trip)]
        return None if None in found else [arc for hops in found for arc in hops or ()]

    def copies(self, chosen: Combination, trip: Trip) -> list[tuple[str, int]]:
        at, found = trip.start, []
        for site in self.met(chosen, trip):
            if site.on_path:
                at = site.into if trip.backward else site.out
            else:
                found += self.hops(at, site.into) or []
        return found

    def meets(self, chosen: Combination) -> bool:
        require, trips = self.between.require, self.between.trips
        ways = {trip: self.crossed(chosen, trip) for trip in trips}
        if None in ways.values():
            return False
        if require is None:
            return True
        sites = [self.between.sites[n][index] for n, index in enumerate(chosen)]
        standing = {name for site in sites for name in (site.into, site.out)}
        edges = {name for trip in trips for name in (trip.start, trip.end)}
        if require.within is not None:
            level = "name" if require.within == "switch" else require.within
            places = {getattr(self.topology.switches[name], level) for name in standing | edges}
            if len(places) > 1 or None in places:
                return False
        if require.avoid is not None:
            walked = {
                name
                for trip in trips
                for start, end in self.stops(chosen, trip)
                for name in self.routes.row(end).walk(start) or ()
            }
            if any(self.topology.switches[name].labels.get("age") == "old" for name in standing | edges | walked):
                return False
            if any(site.labels.get("age") == "old" for site in sites):
                return False
        if require.apart and any({a.into, a.out} & {b.into, b.out} for a, b in combinations(sites, 2)):
            return False
        for way in ways.values():
            assert way is not None
            latencies = [self.links[arc].latency for arc in way]
            if require.latency is not None and (
                None in latencies or round(sum(each or 0 for each in latencies), 9) > require.latency
            ):
                return False
            if require.backup:
                left = self.topology.graph.copy()
                for arc in way:
                    link = self.links[arc]
                    left.remove_edges_from([(a, b, key) for a, b, key, held in left.edges(keys=True, data="link")
                                            if held is link])
                trip = next(trip for trip, found in ways.items() if found is way)
                every = product(*(range(len(sites)) for sites in self.between.sites))
                if not any(all(nx.has_path(left, *stop) for stop in self.stops(other, trip)) for other in every):
                    return False
        return require.bandwidth is None or self.carries(chosen, require.bandwidth)

    def carries(self, chosen: Combination, wanted: float) -> bool:
        for arc, times in self.frames(chosen).items():
            bandwidth = self.links[arc].bandwidth
            if bandwidth is None or wanted * times > bandwidth - self.between.reserved.get(arc, 0) + 1:
                return False
        return True

    def frames(self, chosen: Combination) -> dict[tuple[str, int], int]:
        """How many frames leave by each port when a packet is sent each way, its copies for taps among them: of the
        trips that go the same way, the one that sends most."""
        ways = {(t.start, t.end, t.start == t.end and t.backward) for t in self.between.trips}
        found: dict[tuple[str, int], int] = {}
        for way in ways:
            most: dict[tuple[str, int], int] = {}
            for trip in self.between.trips:
                if (trip.start, trip.end, trip.start == trip.end and trip.backward) == way:
                    sent = [*(self.crossed(chosen, trip) or []), *self.copies(chosen, trip)]
                    for arc in sent:
                        most[arc] = max(most.get(arc, 0), sent.count(arc))
            for arc, times in most.items():
                found[arc] = found.get(arc, 0) + times
        return found

    def every(self) -> list[Combination]:
        return [each for each in product(*(range(len(sites)) for sites in self.between.sites)) if self.meets(each)]

    def admitted(self) -> list[Combination]:
        found, require = self.every(), self.between.require
        if require is not None and require.prefer is not None:

            def liked(chosen: Combination) -> int:
                sites = [self.between.sites[n][index] for n, index in enumerate(chosen)]
                return sum(
                    any(self.topology.switches[name].zone == "z1" for name in (site.into, site.out)) for site in sites
                )

            most = max(map(liked, found), default=0)
            found = [each for each in found if liked(each) == most]
        if self.between.cheapest:
            forward = [t for t in self.between.trips if not t.backward] or list(self.between.trips)

            def cost(chosen: Combination) -> float:
                return sum(self.routes.row(end).cost[start] for t in forward for start, end in self.stops(chosen, t))

            least = min(map(cost, found), default=0)
            found = [each for each in found if cost(each) == least]
        return found


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(betweens())
def test_exactly_what_meets_everything_is_admitted(between: Between) -> None:
    slow = Slow(between)
    found = admitted(between)
    assert found == slow.admitted()
    event(f"admitted {min(len(found), 3)}")
    every = set(slow.every())
    for chosen in product(*(range(len(sites)) for sites in between.sites)):
        assert (between.reason(chosen) is None) == (chosen in every), between.reason(chosen)
        if all(slow.crossed(chosen, trip) is not None for trip in between.trips):
            assert between.crossings(chosen) == slow.frames(chosen)
    for position, sites in enumerate(between.sites):
        for index in range(len(sites)):
            said = why(between, position, index)
            assert (said is None) == any(chosen[position] == index for chosen in every)


def line(*latencies: float | None, bandwidth: float | None = 1e8) -> Topology:
    """s0 - s1 - s2 ..., with these latencies in milliseconds."""
    switches = {f"s{n}": Switch(f"s{n}", n + 1, rack=f"r{n // 2}") for n in range(len(latencies) + 1)}
    links = tuple(
        Link(End(f"s{n}", 1), End(f"s{n + 1}", 2), None if latency is None else latency / 1000, bandwidth)
        for n, latency in enumerate(latencies)
    )
    return Topology(switches, links)


def between(topology: Topology, require: Require, sites: list[list[str]], reserved: float = 0) -> Between:
    found = tuple(tuple(Site(f"f{n}{place}", place, place) for place in group) for n, group in enumerate(sites))
    return Between(
        topology,
        Legs(topology, Routes(topology)),
        found,
        (Trip("s0", "s1"), Trip("s1", "s0", True)),
        require,
        reserved={(end.switch, end.port): reserved for link in topology.links for end in (link.a, link.b)},
    )


@pytest.mark.parametrize(
    ("require", "sites", "said"),
    [
        (Require(latency=0.005), [["s2"]], "7 ms > 5 ms via s2"),
        (Require(latency=0.5), [["s3"]], "the latency of s2-s3 is not known"),
        (Require(bandwidth=9e7), [["s1"]], "80 of 90 Mbps left on s0-s1"),
        (Require(bandwidth=9e9), [["s0"]], "0.08 of 9 Gbps left on s0-s1"),
        (Require(within="rack"), [["s2"]], "s2 is in rack r1, s0 in r0"),
        (Require(within="zone"), [["s0"]], "s0 has no zone"),
        (Require(within="switch"), [["s0"]], "s1 is another switch than s0"),
        (Require(avoid=Selector((Requirement("rack", "in", ("r1",)),), "rack=r1")), [["s3"]], "s3 matches 'rack=r1'"),
        (Require(apart=True), [["s0"], ["s0"]], "f0s0 and f1s0 are both at s0"),
        (Require(backup=True), [["s1"]], "no backup: every way from s0 to s1 takes s0-s1"),
    ],
)
def test_it_says_why(require: Require, sites: list[list[str]], said: str) -> None:
    tried = between(line(1, 3, None), require, sites, 2e7)
    assert admitted(tried) == []
    assert [why(tried, n, 0) for n in range(len(sites))] == [said] * len(sites)
    assert tried.reason((0,) * len(sites)) == said


def test_without_a_backup_the_shared_links_are_named() -> None:
    far = between(line(1, 3, None), Require(backup=True), [["s3"]])
    assert far.reason((0,)) == "no backup: every way from s0 to s1 takes s0-s1 and s1-s2 and s2-s3"
    # round a ring through opposite sides: no link is on every way, but two together are
    ends = [("s0", "s1"), ("s1", "s2"), ("s2", "s3"), ("s3", "s0")]
    switches = {f"s{n}": Switch(f"s{n}", n + 1) for n in range(4)}
    ring = Topology(switches, tuple(Link(End(a, 1), End(b, 2)) for a, b in ends))
    both = Between(ring, Legs(ring, Routes(ring)), ((Site("f", "s1", "s1"),), (Site("g", "s3", "s3"),)),
                   (Trip("s0", "s2"),), Require(backup=True))
    reason = both.reason((0, 0))
    assert reason is not None
    shared = reason.removeprefix("no backup: every way from s0 to s2 takes ").split(" or ")
    assert len(shared) == 2
    left = nx.Graph(end for end in ends if f"{end[0]}-{end[1]}" not in shared)
    left.add_nodes_from(switches)
    stops = ["s0", "s1", "s3", "s2"]
    assert not all(nx.has_path(left, *stop) for stop in pairwise(stops))
    for name in shared:  # and each of them alone can be done without
        alone = nx.Graph(end for end in ends if f"{end[0]}-{end[1]}" != name)
        assert nx.is_connected(alone)


def test_too_many_to_consider_are_refused() -> None:
    many = between(line(1), Require(latency=1), [["s0"] * 41, ["s0"] * 40, ["s1"] * 40])
    assert prod(map(len, many.sites)) == 65_600
    with pytest.raises(TooManyError, match="more than 65,536 combinations of instances"):
        admitted(many)


@pytest.mark.parametrize(
    ("sites", "rate", "said"),
    [
        ([["s1"]], 8e7, None),  # s0 - s1 each way, on either side of the link
        ([["s2"]], 4e7, None),  # and s1 - s2 twice: there, and from there
        ([["s2"]], 5e7, "80 of 100 Mbps left on s1-s2, which is crossed twice"),
        ([["s1"], ["s0"], ["s1"]], 3e7, "80 of 90 Mbps left on s0-s1, which is crossed 3 times"),
        ([["s2"], ["s0"], ["s2"]], 2.5e7, "80 of 100 Mbps left on s1-s2, which is crossed 4 times"),
    ],
)
def test_a_link_that_is_crossed_again_is_kept_again(sites: list[list[str]], rate: float, said: str | None) -> None:
    tried = between(line(1, 3, None), Require(bandwidth=rate), sites, 2e7)
    assert tried.reason((0,) * len(sites)) == said
    assert bool(admitted(tried)) == (said is None)


def test_copies_for_taps_cross_links_too() -> None:
    topology = line(1, 3)
    taps = tuple(Site(f"tap{n}", "s2", "s2", on_path=False) for n in range(2))
    one = Between(topology, Legs(topology, Routes(topology)), ((Site("f", "s1", "s1"),), taps[:1], taps[1:]),
                  (Trip("s0", "s1"), Trip("s1", "s0", True)), Require(bandwidth=3e7))
    # of a request two copies from s1; of its answer two copies before it goes on
    assert one.crossings((0, 0, 0)) == {("s0", 1): 1, ("s1", 2): 1, ("s1", 1): 4}
    assert one.reason((0, 0, 0)) == "100 of 120 Mbps left on s1-s2, which is crossed 4 times"


@pytest.mark.parametrize(("value", "said"), [(0.007, "7 ms"), (2, "2 s"), (0.00025, "250 µs"), (0.0105, "10.5 ms")])
def test_times_are_said_in_their_units(value: float, said: str) -> None:
    assert seconds(value) == said


@pytest.mark.parametrize(
    ("left", "wanted", "said"),
    [(8e7, 1e8, "80 of 100 Mbps"), (5e8, 1e9, "0.5 of 1 Gbps"), (10, 20, "10 of 20 bps"), (0, 2e3, "0 of 2 kbps")],
)
def test_rates_are_said_in_one_unit(left: float, wanted: float, said: str) -> None:
    assert rates(left, wanted) == said
