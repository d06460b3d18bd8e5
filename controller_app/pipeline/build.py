"""Building flows under the pipeline's declaration. A flow that breaks it is an error when it is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller_app.model.flow import (
    Action,
    Clone,
    Ct,
    Flow,
    FlowKey,
    Group,
    MeterConfig,
    Move,
    Multipath,
    Resubmit,
    SetField,
    SubField,
    SwitchState,
    full_mask,
    match,
)
from controller_app.pipeline import cookies
from controller_app.pipeline.tables import BANDS, BY_NAME, NUMBER, TABLE_NAMES, Table

# What a flow matches: field name -> value or (value, mask)
Fields = dict[str, Any]


class PipelineError(Exception):
    """A rule breaks the pipeline's declaration: a fault in this program, never in a policy."""


def put(field: SubField, value: int) -> SetField:
    """Write a constant into one part of a field."""
    return SetField(field.field, value << field.offset, (1 << field.bits) - 1 << field.offset)


def write(field: str, value: int) -> SetField:
    """Write a whole field."""
    return SetField(field, value, full_mask(field))


def resubmit(table: str) -> Resubmit:
    """Look up in a table by name."""
    return Resubmit(NUMBER[table])


class Rules:
    """The flows and groups of one switch, collected."""

    def __init__(self, switch: str, objects: Mapping[str, int]) -> None:
        self.switch = switch
        self.flows: dict[FlowKey, Flow] = {}
        self.groups: dict[int, Group] = {}
        self.meters: dict[int, MeterConfig] = {}
        self.objects = objects
        self._cookies: dict[str, int] = {}

    def add(
        self,
        table: str,
        band: str,
        wanted_by: str,
        actions: tuple[Action, ...] = (),
        goto: str | None = None,
        plus: int = 0,
        **fields: Any,
    ) -> None:
        """Add a flow. `band` and `plus` make its priority, `wanted_by` names the object for its cookie;
        `fields` are the match, each a value or a (value, mask)."""
        declared = BY_NAME[table]
        conditions = match(**fields)
        for condition in conditions:
            if condition.field not in declared.matches:
                raise PipelineError(f"table {table} may not match {condition.field}")
        _check(declared, actions)
        if goto is not None and goto not in declared.next:
            raise PipelineError(f"table {table} may not go to {goto}")
        flow = Flow(
            declared.number,
            BANDS[band] + plus,
            conditions,
            actions,
            None if goto is None else NUMBER[goto],
            self.cookie(wanted_by),
        )
        other = self.flows.setdefault(flow.key, flow)
        if (other.actions, other.goto) != (flow.actions, flow.goto):
            raise PipelineError(f"two rules of {self.switch} clash in {table}: {other} and {flow}")

    def include(self, block: Rules) -> None:
        """Add the flows of another collection: what many switches hold alike is built once."""
        self.flows.update(block.flows)

    def meter(self, meter: MeterConfig) -> None:
        """Add a meter. The same one twice is fine."""
        self.meters[meter.id] = meter

    def group(self, group: Group, table: str) -> None:
        """Add a group used from `table`. The same group twice is fine."""
        for bucket in {id(bucket): bucket for bucket in group.buckets}.values():  # many are the same
            _check(BY_NAME[table], bucket.actions)
        if self.groups.setdefault(group.id, group) != group:
            raise PipelineError(f"two groups of {self.switch} have the id {group.id:#x}")

    def cookie(self, name: str) -> int:
        found = self._cookies.get(name)
        if found is None:
            found = self._cookies[name] = cookies.cookie(name, self.objects.get(name, 0))
        return found

    def state(self) -> SwitchState:
        return SwitchState(self.flows, self.groups, self.meters)


def _check(table: Table, actions: tuple[Action, ...]) -> None:
    for action in actions:
        if isinstance(action, SetField | Move):
            written = action.field if isinstance(action, SetField) else action.target.field
            if written not in table.writes:
                raise PipelineError(f"table {table.name} may not write {written}")
        elif isinstance(action, Resubmit) or (isinstance(action, Ct) and action.table is not None):
            if TABLE_NAMES[action.table or 0] not in table.next:
                raise PipelineError(f"table {table.name} may not go to {TABLE_NAMES[action.table or 0]}")
            if isinstance(action, Ct):
                _check(table, action.exec)
        elif isinstance(action, Ct):
            _check(table, action.exec)
        elif isinstance(action, Multipath) and action.target.field not in table.writes:
            raise PipelineError(f"table {table.name} may not write {action.target.field}")
        elif isinstance(action, Clone):
            _check(table, action.actions)
