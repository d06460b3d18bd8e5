"""The difference between two states: complete, minimal, and in a safe order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller_app.model.flow import Bucket, Flow, Group, Meter, MeterConfig, Output, SwitchState, ToGroup, match
from controller_app.reconcile.changes import Counts, DropFlow, DropGroup, DropMeter, PutFlow, PutGroup, PutMeter
from controller_app.reconcile.diff import apply, diff

EDGE = frozenset({0, 1})


def group_of(number: int, port: int, kind: str = "select") -> Group:
    return Group(number, kind, (Bucket((Output(port),)),))


@st.composite
def states(draw: st.DrawFn) -> SwitchState:
    """A state whose flows name only groups and meters it has, as any switch enforces."""
    groups = {
        number: group_of(number, draw(st.integers(1, 3)), draw(st.sampled_from(["select", "ff", "all"])))
        for number in draw(st.sets(st.integers(1, 4)))
    }
    meters = {
        number: MeterConfig(number, draw(st.integers(1, 2)), draw(st.integers(0, 1)))
        for number in draw(st.sets(st.integers(1, 3)))
    }
    passed = st.lists(st.sampled_from(sorted(meters)).map(Meter), max_size=1) if meters else st.just([])
    actions = st.one_of(
        st.integers(1, 3).map(Output), *([st.sampled_from(sorted(groups)).map(ToGroup)] if groups else [])
    )
    flows = draw(
        st.lists(
            st.builds(
                Flow,
                table=st.integers(0, 3),
                priority=st.integers(0, 2),
                match=st.sampled_from([match(), match(in_port=1), match(in_port=2)]),
                actions=st.builds(lambda first, then: (*first, *then), passed, st.lists(actions, max_size=2)),
                cookie=st.integers(0, 2),
            )
        )
    )
    return SwitchState({flow.key: flow for flow in flows}, groups, meters)


@given(states(), states())
def test_applying_the_difference_gives_what_was_wanted(wanted: SwitchState, held: SwitchState) -> None:
    assert apply(diff(wanted, held, EDGE), held) == wanted
    assert apply(diff(wanted, held), held) == wanted


@given(states())
def test_equal_states_need_no_change(state: SwitchState) -> None:
    again = SwitchState(dict(reversed(state.flows.items())), dict(state.groups), dict(state.meters))
    changes = diff(state, again, EDGE)
    assert not changes
    assert list(changes) == []
    assert changes.counts == Counts(0, 0, 0)


@given(states(), states())
def test_no_message_is_sent_for_what_is_right_already(wanted: SwitchState, held: SwitchState) -> None:
    for change in diff(wanted, held, EDGE):
        match change:
            case PutFlow(flow=flow, replaces=before):
                assert held.flows.get(flow.key) == before != flow == wanted.flows[flow.key]
            case PutGroup(group=group, replaces=before):
                assert held.groups.get(group.id) == before != group == wanted.groups[group.id]
            case DropFlow(flow=flow):
                assert flow.key not in wanted.flows
            case DropGroup(group=group):
                assert group.id not in wanted.groups
            case PutMeter(meter=meter, replaces=before):
                assert held.meters.get(meter.id) == before != meter == wanted.meters[meter.id]
            case DropMeter(meter=meter):
                assert meter.id not in wanted.meters


@given(states(), states())
def test_no_flow_ever_names_a_group_or_meter_that_is_not_there(wanted: SwitchState, held: SwitchState) -> None:
    """A switch refuses such a flow (BAD_OUT_GROUP, INVALID_METER), and deletes the flows of what it deletes."""
    flows, groups, meters = dict(held.flows), dict(held.groups), dict(held.meters)
    for change in diff(wanted, held, EDGE):
        match change:
            case PutFlow(flow=flow):
                flows[flow.key] = flow
            case PutGroup(group=group):
                groups[group.id] = group
            case DropFlow(flow=flow):
                del flows[flow.key]
            case DropGroup(group=group):
                del groups[group.id]
            case PutMeter(meter=meter):
                meters[meter.id] = meter
            case DropMeter(meter=meter):
                del meters[meter.id]
        named = {action.group for flow in flows.values() for action in flow.actions if isinstance(action, ToGroup)}
        assert named <= groups.keys()
        passed = {action.meter for flow in flows.values() for action in flow.actions if isinstance(action, Meter)}
        assert passed <= meters.keys()


def test_paths_stand_before_the_edge_sends_packets_to_them() -> None:
    held = SwitchState(
        groups={1: group_of(1, 1), 9: group_of(9, 1)},
        flows={f.key: f for f in (Flow(0, 1, match(in_port=9)), Flow(2, 1, match(in_port=9)))},
    )
    edge, path = Flow(0, 1, match(in_port=1), goto=2), Flow(2, 1, match(in_port=1), (ToGroup(2),))
    wanted = SwitchState(groups={1: group_of(1, 2), 2: group_of(2, 1)}, flows={f.key: f for f in (edge, path)})
    changes = diff(wanted, held, EDGE)
    assert [phase.name for phase in changes.phases] == [
        "new-groups",
        "paths",
        "groups",
        "edge",
        "old-edge",
        "old-flows",
        "old-groups",
    ]
    assert [phase.stage for phase in changes.phases] == [1, 1, 2, 2, 2, 3, 3]
    assert changes.phases[1].changes == (PutFlow(path),)
    assert changes.phases[2].changes == (PutGroup(group_of(1, 2), group_of(1, 1)),)
    assert changes.phases[3].changes == (PutFlow(edge),)
    assert changes.counts == Counts(add=3, modify=1, delete=3)


def test_meters_come_before_everything_and_go_after_it() -> None:
    """No bundle takes them, so nothing of the change may lie between them and its ends."""
    flow = Flow(0, 1, (), (Meter(1),))
    held = SwitchState(groups={9: group_of(9, 1)}, meters={1: MeterConfig(1, 5, 0), 2: MeterConfig(2, 5, 0)})
    wanted = SwitchState({flow.key: flow}, {2: group_of(2, 1)}, {1: MeterConfig(1, 6, 0), 3: MeterConfig(3, 5, 0)})
    changes = diff(wanted, held, EDGE)
    assert [phase.name for phase in changes.phases] == ["meters", "new-groups", "edge", "old-groups", "old-meters"]
    assert changes.phases[0].changes == (
        PutMeter(MeterConfig(1, 6, 0), MeterConfig(1, 5, 0)),
        PutMeter(MeterConfig(3, 5, 0)),
    )
    assert changes.phases[-1].changes == (DropMeter(MeterConfig(2, 5, 0)),)
    assert changes.counts == Counts(add=3, modify=1, delete=2)


def test_another_cookie_alone_is_a_change() -> None:
    held, wanted = Flow(0, 1, match(), cookie=1), Flow(0, 1, match(), cookie=2)
    changes = diff(SwitchState({wanted.key: wanted}), SwitchState({held.key: held}))
    assert list(changes) == [PutFlow(wanted, held)]
    assert changes.counts == Counts(modify=1)
