"""What comes and goes is held down until it is quiet, and never longer; what is the only way is used all the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller_app.discovery.damping import CEILING, HALF_LIFE, LONGEST, QUIET, Damping, Event, Record, step
from controller_app.discovery.discovery import Declared, Discovery
from controller_app.discovery.merge import Merged, Observed, merge
from controller_app.discovery.ports import Port, PortId
from controller_app.model.topology import End, Link, Switch, Topology

P = PortId
AB, BC, AC = (P(1, 1), P(2, 1)), (P(2, 2), P(3, 1)), (P(1, 2), P(3, 2))
EVENTS: st.SearchStrategy[Event] = st.sampled_from(("down", "up", "tick"))
HISTORY = st.lists(st.tuples(EVENTS, st.floats(0, 30)), max_size=40)


def after(history: list[tuple[Event, float]]) -> tuple[Record, float]:
    record, now = Record(), 0.0
    for event, wait in history:
        now += wait
        record = step(record, event, now)
    return record, now


@given(HISTORY)
def test_nothing_is_held_down_for_ever(history: list[tuple[Event, float]]) -> None:
    record, now = after(history)
    assert 0 <= record.penalty_at(now) <= CEILING
    assert not step(record, "tick", now + LONGEST + 0.01).held


@given(HISTORY)
def test_what_is_said_of_the_end_is_true(history: list[tuple[Event, float]]) -> None:
    record, now = after(history)
    left = record.back_in(now)
    if left is None:
        assert not step(record, "tick", now).held
        return
    assert left <= LONGEST + 1e-6
    assert not step(record, "tick", now + left + 0.001).held
    if left > 0.01:
        assert step(record, "tick", now + left - 0.01).held


@given(HISTORY)
def test_looking_changes_nothing(history: list[tuple[Event, float]]) -> None:
    """Ticks between events make no difference, and neither do events that are none."""
    doubled = [(event, wait) for event, wait in history if event != "tick" for wait in (wait, 0.0)]
    waits, plain = 0.0, []
    for event, wait in history:
        waits += wait
        if event != "tick":
            plain.append((event, waits))
            waits = 0.0
    looked, now = after(history)
    assert step(looked, "tick", now).up == after(plain)[0].up
    assert after(doubled)[0].up == after([(e, w) for e, w in history if e != "tick"])[0].up
    assert looked.penalty_at(now) == pytest.approx(after(plain)[0].penalty_at(now), rel=1e-6, abs=1e-6)


@given(HISTORY)
def test_more_trouble_is_never_released_sooner(history: list[tuple[Event, float]]) -> None:
    record, now = after(history)
    worse = step(step(record, "up", now), "down", now)
    assert worse.released >= record.released


@given(st.floats(0.01, 1000), st.floats(0.01, 1000))
def test_the_first_two_returns_are_not_held_up(first: float, second: float) -> None:
    record, _ = after([("down", 5), ("up", first), ("down", second), ("up", 0.01)])
    assert not record.held


@given(st.floats(0.02, 10))
def test_what_flaps_on_stays_out(period: float) -> None:
    record, now = Record(), 0.0
    for flap in range(30):
        for event in ("down", "up"):
            now += period / 2
            record = step(record, event, now)  # type: ignore[arg-type]
            if flap >= 5:
                assert step(record, "tick", now + period / 2).held
    assert not step(record, "tick", now + LONGEST).held


def flap(damping: Damping, times: int, now: float = 0.0, key: tuple[PortId, PortId] | int = AB) -> float:
    for _ in range(times):
        damping.saw(key, False, now)
        damping.saw(key, True, now + 0.1)
        now += 0.2
    return now


def test_the_records_are_kept_while_they_matter() -> None:
    damping = Damping()
    damping.saw(AB, True, 0)
    assert damping.held() == ()
    flap(damping, 2)
    damping.tick(0.5)
    assert damping.held() == ()
    now = flap(damping, 1, 0.5)
    assert damping.held() == (AB,)
    assert damping.failures[AB] == 3
    before = damping.revision
    assert not damping.ripe(AB)
    damping.tick(now + QUIET)
    assert damping.ripe(AB)
    assert damping.revision > before
    left = damping.back_in(AB, now)
    assert left is not None
    assert 2 * HALF_LIFE * 0.8 < left < 2 * HALF_LIFE + 2
    damping.tick(now + left + 0.1)
    assert (damping.held(), damping.back_in(AB, now + left + 0.1)) == ((), None)
    damping.tick(now + 300)
    assert damping._records == {}


def triangle(damped: dict[tuple[PortId, PortId] | int, bool], links: tuple[str, ...] = ("ab", "bc", "ac")) -> Merged:
    ends = {
        "ab": Link(End("a", 1), End("b", 1)),
        "bc": Link(End("b", 2), End("c", 1)),
        "ac": Link(End("a", 2), End("c", 2)),
    }
    switches = {name: Switch(name, number) for number, name in enumerate("abc", 1)}
    ports = {dpid: {n: Port(n, f"p{n}", n, True) for n in (1, 2)} for dpid in (1, 2, 3)}
    return merge(Topology(switches, tuple(ends[name] for name in links)), Observed(ports, damped=damped))


def states(merged: Merged) -> list[str]:
    return [state.state for state in merged.links]


def test_a_damped_link_is_not_used_where_there_is_another_way() -> None:
    merged = triangle({AB: True})
    assert states(merged) == ["damped", "declared", "declared"]
    assert len(merged.topology.links) == 2


def test_the_only_way_is_used_once_it_has_lasted() -> None:
    assert states(triangle({AB: True}, ("ab", "bc"))) == ["only-way", "declared"]
    assert states(triangle({AB: False}, ("ab", "bc"))) == ["damped", "declared"]


def test_of_several_only_as_many_as_needed_are_used_the_calmest_first() -> None:
    assert states(triangle({BC: True, AB: True, AC: True})) == ["only-way", "only-way", "damped"]
    assert states(triangle({AC: True, AB: False, BC: True})) == ["damped", "only-way", "only-way"]


def test_the_links_of_a_switch_that_comes_and_goes_are_damped() -> None:
    merged = triangle({2: True})
    assert states(merged) == ["only-way", "damped", "declared"]
    assert all(state.held for state in merged.links[:2])


def network() -> Discovery:
    found = Discovery(b"k", 0x0A_00_00_00_00_01, observe=False)
    found.declare(Declared(links=frozenset({AB})))
    for dpid in (1, 2):
        found.connected(dpid, [Port(1, "p1", 1, True)], 0)
        found.ready(dpid, 0)
    found.tick(0)
    return found


def test_each_failure_of_a_link_counts_once_whoever_tells_of_it() -> None:
    found = network()
    for now in (1.0, 2.0, 3.0):
        for up in (False, True):
            for dpid in (1, 2):
                found.port(dpid, Port(1, "p1", 1, up), now)
    assert found.damping.failures == {AB: 3}
    assert list(found.observed().damped) == [AB]


def test_a_port_deleted_and_made_again_counts() -> None:
    found = network()
    for now in (1.0, 2.0, 3.0):
        found.port_gone(1, 1, now)
        found.port(1, Port(1, "p1", 1, True), now + 0.1)
    assert found.damping.failures == {AB: 3}


def test_a_switch_found_empty_again_and_again_is_held_down() -> None:
    found = network()
    for now in (1.0, 2.0, 3.0):
        found.emptied(2, now)
    assert list(found.observed().damped) == [2]
    found.tick(3.0 + QUIET)
    assert found.observed().damped == {2: True}


def test_what_could_not_be_heard_does_not_count_as_gone() -> None:
    """A controller that was busy, or lost frames, must not take links away for it."""
    for lossy in (False, True):
        found = Discovery(b"k", 1)
        for dpid in (1, 2):
            found.connected(dpid, [Port(1, "p1", 1, True)], 0)
            found.ready(dpid, 0)
        for here, frame in zip(AB, reversed(found.tick(0)), strict=True):
            found.frame(here, frame.frame, 0.0)  # type: ignore[union-attr]
        assert found.observed().links == (AB,)
        now = 0.0
        while now < 60:
            now += 0.5 if lossy else 2.0
            if lossy:
                found.lossy()
            found.tick(now)
        assert found.observed().links == (AB,)
        while now < 80:
            now += 0.5
            found.tick(now)
        assert found.observed().lost == {AB}
