"""What a switch holds after a change of some parts is what it holds of all of them anew."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller_app.model.flow import Flow, FlowKey, match
from controller_app.pipeline.build import PipelineError
from controller_app.pipeline.holding import Holding

Parts = tuple[dict[FlowKey, Flow], ...]


def part(numbers: frozenset[int], goto: int | None = None) -> dict[FlowKey, Flow]:
    flows = [Flow(100, number, match(), (), goto, 7) for number in sorted(numbers)]
    return {flow.key: flow for flow in flows}


POOL = [part(frozenset(numbers)) for numbers in ({1}, {1, 2}, {3}, {4, 5, 6}, set(range(10, 60)), {70, 71}, {72, 1})]
CHOSEN = st.lists(st.sampled_from(range(len(POOL))), unique=True, max_size=7).map(
    lambda numbers: tuple(POOL[number] for number in numbers))


@given(st.lists(CHOSEN, min_size=2, max_size=5))
def test_following_is_making_anew(steps: list[Parts]) -> None:
    held = Holding(("s1", steps[0], (), ()))
    for parts in steps[1:]:
        before, held = held, held.following(("s1", parts, (), ()))
        assert held.state.flows == Holding(("s1", parts, (), ())).state.flows
        if parts == before._source.flows:
            assert held.state is before.state


def test_parts_that_contradict_each_other_are_refused_however_they_come() -> None:
    large = part(frozenset(range(10, 60)))
    one, other = part(frozenset({10}), 101), part(frozenset({1}))
    with pytest.raises(PipelineError, match="clash"):
        Holding(("s1", (large, one), (), ()))
    held = Holding(("s1", (large, other), (), ()))
    with pytest.raises(PipelineError, match="clash"):
        held.following(("s1", (large, other, one), (), ()))
    with pytest.raises(PipelineError, match="clash"):
        held.following(("s1", (large, one), (), ()))
