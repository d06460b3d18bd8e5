"""The difference between two states of a switch, in an order in which no packet meets half a path."""

from __future__ import annotations

from controller_app.model.flow import Flow, FlowKey, Group, SwitchState
from controller_app.reconcile.changes import Change, ChangeSet, DropFlow, DropGroup, Phase, PutFlow, PutGroup


def diff(desired: SwitchState, installed: SwitchState, edge_tables: frozenset[int] = frozenset()) -> ChangeSet:
    """What turns `installed` into `desired`, make before break.

    The phases, empty ones left out:

    - `new-groups`: groups nothing points at yet;
    - `paths`: flows outside `edge_tables`, which carry packets once something sends them there;
    - `groups`: groups that change, each replaced whole;
    - `edge`: flows of `edge_tables`, which decide where packets go;
    - `old-flows`, `old-groups`: what is left over, flows before the groups they use, since a switch deletes
      the flows of a deleted group with it (OpenFlow 1.3.5, 6.4).

    Equal states give an empty change set. Both states hold only what is ours, so nothing foreign is touched.
    """
    new_groups: list[Change] = []
    groups: list[Change] = []
    for number, group in desired.groups.items():
        before = installed.groups.get(number)
        if before is None:
            new_groups.append(PutGroup(group))
        elif before != group:
            groups.append(PutGroup(group, before))
    paths: list[Change] = []
    edge: list[Change] = []
    for key, flow in desired.flows.items():
        held = installed.flows.get(key)
        if held != flow:
            (edge if key.table in edge_tables else paths).append(PutFlow(flow, held))
    old_flows: list[Change] = [DropFlow(flow) for key, flow in installed.flows.items() if key not in desired.flows]
    old_groups: list[Change] = [
        DropGroup(group) for number, group in installed.groups.items() if number not in desired.groups
    ]
    phases = (
        Phase("new-groups", tuple(new_groups)),
        Phase("paths", tuple(paths)),
        Phase("groups", tuple(groups)),
        Phase("edge", tuple(edge)),
        Phase("old-flows", tuple(old_flows)),
        Phase("old-groups", tuple(old_groups)),
    )
    return ChangeSet(tuple(phase for phase in phases if phase.changes))


def apply(changes: ChangeSet, state: SwitchState) -> SwitchState:
    """What a switch holding `state` holds after `changes`: `apply(diff(a, b), b) == a`."""
    flows: dict[FlowKey, Flow] = dict(state.flows)
    groups: dict[int, Group] = dict(state.groups)
    for change in changes:
        match change:
            case PutGroup(group=group):
                groups[group.id] = group
            case PutFlow(flow=flow):
                flows[flow.key] = flow
            case DropFlow(flow=flow):
                flows.pop(flow.key, None)
            case DropGroup(group=group):
                groups.pop(group.id, None)
    return SwitchState(flows, groups)
