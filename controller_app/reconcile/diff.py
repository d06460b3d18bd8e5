"""The difference between two states of a switch, in an order in which no packet meets half a path."""

from __future__ import annotations

from controller_app.model.flow import Flow, FlowKey, Group, MeterConfig, SwitchState
from controller_app.model.flow_table import changed, differences
from controller_app.pipeline.staging import carries, out_of, question, way
from controller_app.reconcile.changes import (
    Change,
    ChangeSet,
    DropFlow,
    DropGroup,
    DropMeter,
    Phase,
    PutFlow,
    PutGroup,
    PutMeter,
    Stage,
)


def diff(desired: SwitchState, installed: SwitchState, edge_tables: frozenset[int] = frozenset()) -> ChangeSet:
    """What turns `installed` into `desired`, make before break.

    The phases, empty ones left out:

    - `meters`: meters that are new or change, since a switch refuses flows of a meter it does not have;
    - `new-groups`: groups nothing points at yet;
    - `path-groups`: groups that change and choose nothing, each replaced whole;
    - `paths`: flows that carry packets once something sends them there (`pipeline.staging`): all outside `edge_tables`,
      and some within; and the ways that they take the place of;
    - `groups`: groups that choose (select) and change, each replaced whole;
    - `edge`, `old-edge`: flows of `edge_tables`, which decide where packets go, and those of them without which others
      decide otherwise;
    - `old-flows`, `old-groups`, `old-meters`: what else is left over, flows before the groups and meters they use,
      since a switch deletes the flows of a deleted group or meter with it (OpenFlow 1.3.5, 6.4 and 6.5).

    Where several switches change, a phase's stage says what has to be done on all of them before.

    Meters stand at both ends because no bundle takes them: they are sent before it and after it.

    Equal states give an empty change set. Both states hold only what is ours, so nothing foreign is touched.
    """
    new_groups: list[Change] = []
    path_groups: list[Change] = []
    groups: list[Change] = []
    same = desired.groups is installed.groups  # as they are where nothing was computed anew
    for number, group in () if same else desired.groups.items():
        before = installed.groups.get(number)
        if before is None:
            new_groups.append(PutGroup(group))
        elif before != group:
            (groups if group.kind == "select" else path_groups).append(PutGroup(group, before))
    paths: list[Change] = []
    edge: list[Change] = []
    old_edge: list[Change] = []
    old_flows: list[Change] = []
    dropped: list[Flow] = []
    for key, held, flow in differences(installed.flows, desired.flows):
        if flow is not None:
            (edge if key.table in edge_tables and _decides(flow, installed) else paths).append(PutFlow(flow, held))
        elif held is not None:
            dropped.append(held)
    if dropped:
        turned = {way(change.flow) for change in paths if isinstance(change, PutFlow)} - {None}
        questions = _questions(dropped, desired)
        for flow in dropped:
            if way(flow) in turned:
                paths.append(DropFlow(flow))  # the same packets have another rule now: not both at once
            elif flow.table not in edge_tables or not _decides(flow, desired):
                old_flows.append(DropFlow(flow))
            else:
                asked = question(flow)
                (old_flows if asked is not None and asked not in questions else old_edge).append(DropFlow(flow))
    old_groups: list[Change] = [
        DropGroup(group) for number, group in installed.groups.items() if number not in desired.groups
    ]
    meters: list[Change] = []
    for number, meter in desired.meters.items():
        had = installed.meters.get(number)
        if had != meter:
            meters.append(PutMeter(meter, had))
    old_meters: list[Change] = [
        DropMeter(meter) for number, meter in installed.meters.items() if number not in desired.meters
    ]
    phases = (
        Phase("meters", tuple(meters), Stage.PATHS),
        Phase("new-groups", tuple(new_groups), Stage.PATHS),
        Phase("path-groups", tuple(path_groups), Stage.PATHS),
        Phase("paths", tuple(paths), Stage.PATHS),
        Phase("groups", tuple(groups), Stage.CHOICES),
        Phase("edge", tuple(edge), Stage.CHOICES),
        Phase("old-edge", tuple(old_edge), Stage.CHOICES),
        Phase("old-flows", tuple(old_flows)),
        Phase("old-groups", tuple(old_groups)),
        Phase("old-meters", tuple(old_meters)),
    )
    return ChangeSet(tuple(phase for phase in phases if phase.changes))


def _decides(flow: Flow, other: SwitchState) -> bool:
    """Is a flow of a table that decides there to decide, given the state where it is not? If not it is for packets that
    are under way, or for arms that the other state knows nothing of, so that nothing comes out of them."""
    if carries(flow):
        return False
    arm = out_of(flow)
    return arm is None or arm in other.flows


def _questions(dropped: list[Flow], desired: SwitchState) -> set[object]:
    """What is asked of `desired` in the tables of flows that are dropped. What nobody asks any more may still have been
    asked, so that the answers are the last to go."""
    tables = {flow.table for flow in dropped if question(flow) is not None}
    return {question(flow) for key, flow in desired.flows.items() if key.table in tables} if tables else set()


def apply(changes: ChangeSet, state: SwitchState) -> SwitchState:
    """What a switch holding `state` holds after `changes`: `apply(diff(a, b), b) == a`."""
    put: dict[FlowKey, Flow] = {}
    drop: dict[FlowKey, None] = {}
    groups: dict[int, Group] = dict(state.groups)
    meters: dict[int, MeterConfig] = dict(state.meters)
    for change in changes:
        match change:
            case PutGroup(group=group):
                groups[group.id] = group
            case PutFlow(flow=flow):
                put[flow.key] = flow
                drop.pop(flow.key, None)
            case DropFlow(flow=flow):
                put.pop(flow.key, None)
                drop[flow.key] = None
            case DropGroup(group=group):
                groups.pop(group.id, None)
            case PutMeter(meter=meter):
                meters[meter.id] = meter
            case DropMeter(meter=meter):
                meters.pop(meter.id, None)
    flows = changed(state.flows, put, drop) if put or drop else state.flows
    return SwitchState(flows, groups, meters)
