"""Rates from counters, and costs that follow the load without swinging."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller_app.discovery.links import Pair
from controller_app.discovery.ports import Port, PortId
from controller_app.discovery.utilisation import (
    CALM,
    MOST_DOUBLINGS,
    PATIENCE,
    PAUSE,
    STEPS,
    SUSTAIN,
    Costs,
    Load,
    Rate,
    Rates,
    Use,
    keep,
    settle,
    use,
)
from controller_app.model.topology import End, Link

POLL = 5.0
A: Pair = (PortId(1, 1), PortId(2, 1))
B: Pair = (PortId(1, 2), PortId(2, 2))
C: Pair = (PortId(3, 1), PortId(4, 1))


def test_rates_are_what_was_counted_between_two_readings() -> None:
    rates = Rates()
    rates.read(1, [(1, 1000, 5000, 10.0), (2, None, 0, 10.0)], 100.0)
    assert rates.at(PortId(1, 1)) is None
    rates.read(1, [(1, 2000, 5000, 15.0), (2, None, 500, 15.0)], 105.4)
    assert rates.at(PortId(1, 1)) == Rate(1600.0, 0.0)  # by the port's own clock
    assert rates.at(PortId(1, 2)) == Rate(None, 800.0)
    rates.forget(1)
    assert rates.at(PortId(1, 1)) is None


@pytest.mark.parametrize("age", [0.0, 4294967299.29])
def test_without_a_clock_of_the_port_ours_counts(age: float) -> None:
    rates = Rates()
    rates.read(1, [(1, 0, 0, age)], 100.0)
    rates.read(1, [(1, 1000, 0, age)], 104.0)
    assert rates.at(PortId(1, 1)) == Rate(2000.0, 0.0)


def test_a_port_that_was_made_anew_has_no_rate_at_first() -> None:
    rates = Rates()
    for before, after in (((1, 900, 0, 10.0), (1, 100, 0, 15.0)), ((1, 100, 0, 10.0), (1, 900, 0, 2.0))):
        rates.forget(1)
        rates.read(1, [before], 0.0)
        rates.read(1, [after], 5.0)
        assert rates.at(PortId(1, 1)) is None
    rates.read(1, [(1, 1025, 0, 7.0)], 10.0)
    assert rates.at(PortId(1, 1)) == Rate(200.0, 0.0)


def test_the_use_of_a_link_in_both_directions() -> None:
    rates = Rates()
    for dpid, port, sent, received in ((1, 1, 0, 0), (2, 1, 0, 0)):
        rates.read(dpid, [(port, received, sent, 0.0)], 0.0)
    rates.read(1, [(1, 500, 1000, 4.0)], 4.0)
    rates.read(2, [(1, 998, 501, 4.0)], 4.0)
    link = Link(End("s1", 1), End("s2", 1), bandwidth=4000)
    assert use(link, A, rates, {}) == Use(2000.0, 1002.0, 4000)
    assert use(link, A[::-1], rates, {}).forward == 1002.0
    assert use(link, A, rates, {}).share == 0.5
    rates.forget(1)  # then the other end tells what it received
    assert use(link, A, rates, {}) == Use(1996.0, 1002.0, 4000)


def test_what_is_not_declared_the_slower_port_says() -> None:
    link = Link(End("s1", 1), End("s2", 1))
    ports = {1: {1: Port(1, "p", 1, True, 10e9)}, 2: {1: Port(1, "p", 1, True, 1e9)}}
    assert use(link, A, Rates(), ports).capacity == 1e9
    assert use(link, A, Rates(), {}) == Use(None, None, None)
    assert use(link, A, Rates(), ports).share is None


def step(costs: Costs, shares: Mapping[Pair, float], now: float) -> Costs:
    """With links of 1 Gbit/s."""
    return settle(costs, {link: Load(share * 1e9, 1e9) for link, share in shares.items()}, now)


def run(costs: Costs, shares: Mapping[Pair, float], now: float, seconds: float) -> tuple[Costs, float]:
    for _ in range(round(seconds / POLL)):
        now += POLL
        costs = step(costs, shares, now)
    return costs, now


def test_a_burst_changes_nothing_and_lasting_load_does() -> None:
    costs = step(step(Costs(), {A: 0.9}, 0), {A: 0.1}, POLL)
    assert run(costs, {A: 0.1}, POLL, 100)[0].steps == {}
    costs, _ = run(Costs(), {A: 0.8, C: 0.1}, 0, SUSTAIN + POLL)
    assert costs.steps == {A: 3}
    assert costs.factor(A, 4) == 4
    assert costs.factor(C, 4) == 1


def test_between_two_steps_nothing_happens() -> None:
    costs, now = run(Costs(), {A: 0.51}, 0, 60)
    assert costs.steps == {A: 2}
    for share in (0.49, 0.42, 0.55, 0.74):
        costs, now = run(costs, {A: share}, now, CALM * 4)
        assert costs.steps == {A: 2}


def test_what_is_calm_comes_down_step_by_step() -> None:
    costs, now = run(Costs(), {A: 1.0}, 0, 60)
    assert costs.steps == {A: STEPS}
    seen = [STEPS]
    for _ in range(100):
        costs, now = run(costs, {A: 0.0}, now, POLL)
        if costs.steps.get(A, 0) != seen[-1]:
            seen.append(costs.steps.get(A, 0))
    assert seen == [4, 3, 2, 1, 0]


def test_a_link_that_is_always_busy_keeps_others_up_for_a_while_only() -> None:
    costs, now = run(Costs(), {A: 0.6, C: 0.95}, 0, 120)
    assert costs.steps == {A: 2, C: 3}
    costs, now = run(costs, {A: 0.0, C: 0.95}, now, PATIENCE - 30)
    assert costs.steps == {A: 2, C: 3}
    costs, now = run(costs, {A: 0.0, C: 0.95}, now, PATIENCE + 60)
    assert costs.steps == {C: 3}


def test_a_link_that_is_gone_is_forgotten() -> None:
    costs, _ = run(Costs(), {A: 0.6}, 0, 60)
    assert keep(costs, [A, C]) is costs
    assert keep(costs, [C]).steps == {}


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1.5), st.floats(0, 1.5)), min_size=1, max_size=300))
def test_changes_keep_their_distance(shares: list[tuple[float, float]]) -> None:
    costs, changes = Costs(), []
    for number, (a, b) in enumerate(shares):
        before = costs
        costs = step(costs, {A: a, B: b}, number * POLL)
        if costs.steps != before.steps:
            changes.append(number * POLL)
            assert sum(costs.steps.get(link, 0) > before.steps.get(link, 0) for link in (A, B)) <= 1
        assert all(0 < raised <= STEPS for raised in costs.steps.values())
        assert costs.doublings <= MOST_DOUBLINGS
    assert all(later - sooner >= PAUSE for sooner, later in itertools.pairwise(changes))


def loop(demand: float, hours: float, moving: float = 1.0, second: float = 1.0, parts: int = 1) -> list[float]:
    """Two equal ways, and a load that goes the cheaper one: when does it change over? `moving`: which part of it can
    go either way, the rest is bound to the first; `second`: how much more fits on the second; `parts`: of how many
    parallel links that is one, between which the load is split."""
    others = [B, *((PortId(1, 10 + number), PortId(2, 10 + number)) for number in range(1, parts))]
    costs, on_a, now, swings = Costs(), True, 0.0, []
    while now < hours * 3600:
        now += POLL
        a = demand if on_a else demand * (1 - moving)
        b = 0.0 if on_a else demand * moving / parts
        loads = {A: Load(a, 1.0), C: Load(0.2, 1.0), **{link: Load(b, second) for link in others}}
        costs = settle(costs, loads, now)
        cheaper = costs.factor(A, 4) <= costs.factor(B, 4)
        if cheaper != on_a:
            on_a = cheaper
            swings.append(now)
    return swings


@pytest.mark.parametrize("demand", [0.2, 0.3, 0.45, 0.55, 0.8, 1.0, 1.4])
@pytest.mark.parametrize(
    ("moving", "second", "parts"), [(1.0, 1.0, 1), (0.3, 1.0, 1), (0.6, 1.0, 1), (1.0, 10.0, 1), (0.8, 1.0, 3)]
)
def test_a_load_that_does_not_change_does_not_swing(demand: float, moving: float, second: float, parts: int) -> None:
    """A cost that simply followed the load would move it every PAUSE, 5,760 times in a day. What is tried again after
    PATIENCE, twice that and so on, goes there and back: 8 times at most."""
    swings = loop(demand, 24, moving, second, parts)
    assert len(swings) <= 2 * 8 + 2
    assert len([at for at in swings if at > 12 * 3600]) <= 4


def test_two_ways_do_share_what_one_cannot_carry() -> None:
    """It is not only quiet: what is busy is left."""
    assert loop(0.9, 0.1)[0] <= SUSTAIN + 2 * POLL
