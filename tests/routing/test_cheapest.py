"""The cheapest instances between many pairs of edges at once are those that the search finds pair by pair, and their
slots the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from drawn_networks import DECIMAL, EQUAL, FREE, NAMES, WHOLE, cables, topology
from hypothesis import given, settings
from hypothesis import strategies as st

from controller_app.balancing.combining import Names, share
from controller_app.model.topology import Topology
from controller_app.routing import cheapest as module
from controller_app.routing.cheapest import cheapest, combinations, count, table
from controller_app.routing.combinations import TooManyError, admitted
from controller_app.routing.constraints import Between, Site, Trip
from controller_app.routing.distances import Routes
from controller_app.routing.layered import Cheapest
from controller_app.routing.legs import Legs

name = st.sampled_from(NAMES)
drawn = st.sampled_from((EQUAL, WHOLE, FREE, DECIMAL)).flatmap(cables).map(topology)
trip = st.tuples(name, name, st.booleans()).map(lambda one: Trip(*one))


@st.composite
def sites(draw: st.DrawFn) -> tuple[tuple[Site, ...], ...]:
    """Up to four functions, some of them taps, and some whose instances have two arms."""
    found = []
    for position in range(draw(st.integers(0, 4))):
        on_path = draw(st.integers(0, 3)) > 0
        some = []
        for number in range(draw(st.integers(1, 4))):
            into = draw(name)
            out = draw(name) if on_path and draw(st.booleans()) else into
            some.append(Site(f"f{position}i{number}", into, out, draw(st.integers(1, 3)), {}, on_path))
        found.append(tuple(some))
    return tuple(found)


def names(chosen: tuple[tuple[Site, ...], ...], one: tuple[int, ...]) -> Names:
    return tuple(each[at].name for each, at in zip(chosen, one, strict=True))


@settings(max_examples=300, deadline=None)
@given(drawn, sites(), st.lists(st.lists(trip, min_size=1, max_size=4, unique=True), max_size=4), st.data())
def test_all_at_once_is_the_same_as_one_by_one(
    network: Topology, chosen: tuple[tuple[Site, ...], ...], asked: list[list[Trip]], data: st.DataObject
) -> None:
    routes = Routes(network)
    legs = Legs(network, routes)
    weights = [{site.name: site.weight for site in each} for each in chosen]
    for trips, found in zip(asked, cheapest(routes, chosen, asked), strict=True):
        alone = admitted(Between(network, legs, chosen, tuple(trips), cheapest=True))
        assert (found is None) == (not alone)
        if found is None:
            continue
        assert list(combinations(found, chosen)) == alone
        assert count(found, chosen) == len(alone)
        listed = [names(chosen, one) for one in alone]
        first = table(found, chosen, ())
        assert first == share(listed, weights)
        fewer = listed[: data.draw(st.integers(1, len(listed)))]
        for before in (first, share(fewer, weights)):
            assert table(found, chosen, before) == share(listed, weights, before)


def many(tap: bool) -> tuple[Cheapest, tuple[tuple[Site, ...], ...]]:
    """Two groups of which nobody goes with one of the other: 2 · 6 · 6 combinations."""
    network = topology([(0, 1, 1), (1, 2, 1), (0, 3, 1), (3, 2, 1)])
    functions = [[Site(f"{letter}{n}", at, at) for n in range(6) for at in ("s1", "s3")] for letter in "ab"]
    functions[0] = [replace(site, name=f"{site.name}{site.into}") for site in functions[0]]
    functions[1] = [replace(site, name=f"{site.name}{site.into}") for site in functions[1]]
    if tap:
        functions.append([Site("tap", "s0", "s0", on_path=False)])
    chosen = tuple(map(tuple, functions))
    (found,) = cheapest(Routes(network), chosen, [[Trip("s0", "s2"), Trip("s2", "s0", True)]])
    assert found is not None
    return found, chosen


def test_more_than_can_be_listed_have_their_slots_too(monkeypatch: pytest.MonkeyPatch) -> None:
    found, chosen = many(tap=False)
    assert (count(found, chosen), found.free) == (72, False)
    listed = table(found, chosen, ())
    monkeypatch.setattr(module, "MOST", 71)
    beyond = table(found, chosen, ())
    assert set(beyond) == set(listed) and len(beyond) == 256
    assert table(found, chosen, beyond) == beyond
    found, chosen = many(tap=True)
    with pytest.raises(TooManyError, match="72 combinations of instances, each with any tap, cost the same"):
        table(found, chosen, ())


def test_where_every_instance_goes_with_every_other_none_are_too_many() -> None:
    network = topology([(0, 1, 1)])
    chosen = tuple(tuple(Site(f"{letter}{n}", "s1", "s1") for n in range(60)) for letter in "abc")
    (found,) = cheapest(Routes(network), chosen, [[Trip("s0", "s0")]])
    assert found is not None
    assert count(found, chosen) == 216_000
    made = table(found, chosen, ())
    for position in range(3):
        shares = [sum(each[position] == site.name for each in made) for site in chosen[position]]
        assert set(shares) == {4, 5}
