"""Flows kept as what changed are what a dict of them would be, whatever changes, and tell each other's differences."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from controller_app.model.flow import Flow, FlowKey, match
from controller_app.model.flow_table import Flows, changed, differences

PRIORITIES = st.integers(0, 40)
STEPS = st.lists(
    st.tuples(st.dictionaries(PRIORITIES, st.integers(1, 3), max_size=4), st.sets(PRIORITIES, max_size=4)), max_size=12)


def flow(priority: int, goto: int) -> Flow:
    return Flow(0, priority, match(in_port=1), (), goto, 7)


def naive(old: Mapping[FlowKey, Flow], new: Mapping[FlowKey, Flow]) -> dict[FlowKey, tuple[Flow | None, Flow | None]]:
    return {key: (old.get(key), new.get(key)) for key in {*old, *new} if old.get(key) != new.get(key)}


@given(st.sets(PRIORITIES), STEPS)
def test_they_are_what_a_dict_would_be(first: set[int], steps: list[tuple[dict[int, int], set[int]]]) -> None:
    plain = {each.key: each for each in (flow(priority, 1) for priority in first)}
    held: Mapping[FlowKey, Flow] = dict(plain)
    before = [(dict(plain), held)]
    for put, drop in steps:
        more = {each.key: each for each in (flow(priority, goto) for priority, goto in put.items())}
        less = [flow(priority, 1).key for priority in drop]
        for key in less:
            plain.pop(key, None)
        plain.update(more)
        held = changed(held, more, less)
        assert dict(held.items()) == plain == held
        assert (len(held), set(held), list(held.values())) == (
            len(plain), set(plain), [plain[key] for key in held])
        assert all((key in held, held.get(key)) == (key in plain, plain.get(key)) for key in [*less, *more])
        before.append((dict(plain), held))
    for old_plain, old in before:
        assert dict(old.items()) == old_plain, "what was before is as it was"
        for new_plain, new in before:
            found = {key: (was, now) for key, was, now in differences(old, new)}
            assert found == naive(old_plain, new_plain)


def test_few_changes_of_many_are_all_that_is_kept() -> None:
    many: dict[FlowKey, Flow] = {each.key: each for each in (flow(priority, 1) for priority in range(1000))}
    one = changed(many, {flow(3, 2).key: flow(3, 2)}, [flow(4, 1).key])
    other = changed(one, {flow(5, 2).key: flow(5, 2)})
    assert isinstance(one, Flows) and isinstance(other, Flows)
    assert one.base is other.base is many
    assert [key.priority for key, _, _ in differences(one, other)] == [5]
    assert sorted(key.priority for key, _, _ in differences(many, other)) == [3, 4, 5]
