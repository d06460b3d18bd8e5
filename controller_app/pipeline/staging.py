"""Which rules decide where packets go, and which carry packets that somebody sent: what a change of many switches has
to know to put the ones in place before the others, and to take them away after."""

from __future__ import annotations

from controller_app.model.flow import FieldMatch, Flow, FlowKey, Match, SetField
from controller_app.pipeline.tables import BANDS, FROM, NUMBER

_ADMISSION, _BRANCH = NUMBER["admission"], NUMBER["branch"]
_ONWARD = {NUMBER["transit"], NUMBER["unwrap"], NUMBER["branch"], NUMBER["nsh"]}
LEAVING = {NUMBER["transit"], NUMBER["unwrap"]}
# These are asked for what an earlier table wrote into registers. Open vSwitch may have asked that one before a change,
# and ask these after it: what conntrack looks up goes on as a packet of its own (`ct(table=)`, ovs-actions(7)).
_ASKED_LATER = {NUMBER["remember"], NUMBER["recalled"], NUMBER["choose"], NUMBER["slot"]}
_RANGES = {"reg7", "reg11"}  # of slots, and of remembered paths: one answer of several to the same question
_BELOW_PREFIX = (1 << 40) - 1  # of a label


def carries(flow: Flow) -> bool:
    """Is it, in a table that decides, a rule for packets that are under way: with a label from a link, or out of a
    function?"""
    if flow.table == _ADMISSION:
        return flow.goto in _ONWARD or any(
            isinstance(action, SetField) and action.field == FROM.field for action in flow.actions
        )
    return flow.table == _BRANCH and flow.key == out_of(flow)


def out_of(flow: Flow) -> FlowKey | None:
    """In `branch`: the key of the rule with which packets out of the same arm go on, where no classifier takes them. A
    switch without that one has nothing to do with the arm. None for rules of other tables, and of no arm."""
    if flow.table != _BRANCH:
        return None
    came = next((item for item in flow.match if item.field == FROM.field), None)
    if came is None:
        return None
    mask = (1 << FROM.bits) - 1 << FROM.offset
    return FlowKey(_BRANCH, BANDS["learn"], (FieldMatch(FROM.field, came.value & mask, mask),))


def question(flow: Flow) -> tuple[int, Match] | None:
    """What a rule answers that is asked for registers written before: its table and match, without which of several
    answers it is. None for other rules."""
    if flow.table not in _ASKED_LATER:
        return None
    return flow.table, tuple(item for item in flow.match if item.field not in _RANGES)


def way(flow: Flow) -> tuple[int, int, Match] | None:
    """Which way a rule is for that sends packets on between switches, whether they took a detour or not. None for other
    rules."""
    if flow.table not in LEAVING:
        return None
    return flow.table, flow.priority, tuple(_without_prefix(item) for item in flow.match)


def _without_prefix(item: FieldMatch) -> FieldMatch:
    if item.field != "eth_dst":
        return item
    return FieldMatch(item.field, item.value & _BELOW_PREFIX, item.mask & _BELOW_PREFIX)
