"""Turning the ways between switches while packets are on them.

A way is many rules on many switches. Were they changed one after the other, a packet could meet old rules and new ones
in turns and go in circles between them. So where old ways and new ones together have a circle, the rules that packets
are on are not touched: the new ways are put in place beside them for another name of the same destination (a block of
waypoints that nobody has, a free VLAN or MPLS label), and when all switches have them every switch turns what comes
under the old name to the new one. The destination turns it back. Whatever switches have turned, a packet goes the old
way until the first that has, and from there the new way to its end. When nothing is under way on the old rules any
more they become the new ways, and when nothing is under way under the other name it goes. (Two names for two versions:
Reitblatt et al., Abstractions for Network Update, SIGCOMM 2012.)

Ways that are broken, since a link on them is gone, are changed in place: what is lost there was lost by the link.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from controller_app.model.flow import (
    Action,
    FieldMatch,
    Flow,
    FlowKey,
    FlowState,
    Output,
    SetField,
    SwitchState,
    ToGroup,
)
from controller_app.model.flow_table import changed, differences, flat
from controller_app.model.topology import Topology
from controller_app.pipeline.labels import DETOURED, WAYPOINT, WAYPOINTS
from controller_app.pipeline.staging import LEAVING, way
from controller_app.pipeline.tables import IN_PORT_NONE

Links = Mapping[tuple[str, int], str]  # by switch and port, the switch at the other end
Name = FieldMatch  # what packets to one destination are known by: a block of waypoints, or a transport's number for it
Rules = dict[Name, list[Flow]]

_WAYPOINT = (WAYPOINTS - 1) << WAYPOINT.offset
_NUMBERS = {"vlan_tci": (0x1000 | 1, 0x1000 | 4094), "mpls_label": (32, 0xFFFFF)}  # first and last


@dataclass(frozen=True)
class Turning:
    """What switches hold instead of what is wanted, as long as ways are turned: `before` all have the new ways, and
    `after`. Switches that hold nothing else are not in it. last: of the names given out, by what kind of name it is.
    The next is another one: what Open vSwitch cached of a name that nobody has any more is to drop its packets, and
    stays for `max-idle`, 10 s."""

    before: Mapping[str, SwitchState] = field(default_factory=dict)
    after: Mapping[str, SwitchState] = field(default_factory=dict)
    last: Mapping[tuple[str, int], int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.after)


def turning(
    wanted: FlowState,
    held: Mapping[str, SwitchState],
    earlier: Sequence[FlowState],
    topology: Topology,
    last: Mapping[tuple[str, int], int] | None = None,
) -> Turning:
    """How to come to the ways of `wanted`, in `topology`, from those that switches hold. held: of the switches that
    said so. earlier: states on whose ways packets may still be. last: of the turning before."""
    given = dict(last or {})
    altered = _altered(wanted, held)
    links = _links(topology) if altered else {}
    # only what was wanted last is what switches hold: then one switch that changes makes no circle
    fewest = 1 if len(earlier) > 1 else 2
    altered = {name: found for name, found in altered.items() if _turns(name, found, wanted, held, links, fewest)}
    if not altered:
        return Turning(last=given)
    new, old = _rules(wanted, altered), _rules(held, altered)
    before = [_edges(_rules(state, altered), state, links) for state in earlier]
    now, then = _edges(old, held, links), _edges(new, wanted, links)
    taken = _taken(wanted, held)
    others: dict[Name, Name] = {}
    kept: dict[Name, Name] = {}
    for name in altered:
        other = _turned_already(name, new, old)
        if other is not None:
            kept[name] = other
        elif None not in now.get(name, {}).values() and _circle(name, now, then, before):
            free = _free(name, taken, given.get((name.field, name.mask)))
            if free is not None:
                others[name] = free
                taken.add(free)
                given[name.field, name.mask] = free.value
    found = _overlays(wanted, held, new, old, others, kept) if others or kept else Turning()
    return replace(found, last=given)


def _links(topology: Topology) -> Links:
    ends = ((near, far) for link in topology.links for near, far in ((link.a, link.b), (link.b, link.a)))
    return {(near.switch, near.port): far.switch for near, far in ends if isinstance(near.port, int)}


_Pairs = dict[str, tuple[list[Flow], list[Flow]]]  # by switch, rules as they were, and as they are to be


def _altered(wanted: FlowState, held: Mapping[str, SwitchState]) -> dict[Name, _Pairs]:
    """Destinations of which rules change, each with these."""
    found: dict[Name, _Pairs] = {}
    for switch, had in held.items():
        state = wanted.get(switch)
        for _, was, now in () if state is None else differences(had.flows, state.flows):
            either = was or now
            if either is None or way(either) is None or (was and now and was.actions == now.actions):
                continue
            name = _name(either)
            if name is not None:
                pair = found.setdefault(name, {}).setdefault(switch, ([], []))
                for flow, rules in zip((was, now), pair, strict=True):
                    if flow is not None:
                        rules.append(flow)
    return found


def _turns(
    name: Name, pairs: _Pairs, wanted: FlowState, held: Mapping[str, SwitchState], links: Links, fewest: int
) -> bool:
    """Do so many switches send what packets are on elsewhere, over links that are there, or do rules turn it already?
    This looks at what changes only, which is little where a link fails."""
    moved = 0
    for switch, (was, now) in pairs.items():
        if any(_other(name, flow) is not None for flow in was):
            return True
        old = _next(name, was, held[switch], switch, links)
        if old == "":
            continue
        if old is None:
            return False
        moved += old != _next(name, now, wanted[switch], switch, links)
    return moved >= fewest


def _next(name: Name, flows: Iterable[Flow], state: SwitchState, switch: str, links: Links) -> str | None:
    """The switch that comes next; None where no link is behind the port, "" where packets are not sent on, or are
    turned to another name: from there they go in no circle."""
    for flow in flows:
        port = _port(flow, state)
        if port is not None and not _detoured(flow) and _other(name, flow) is None:
            return links.get((switch, port))
    return ""


def _name(flow: Flow) -> Name | None:
    for item in flow.match:
        if item.field == "eth_dst" and item.mask & _WAYPOINT:
            return FieldMatch(item.field, item.value & _WAYPOINT, item.mask & _WAYPOINT)
        if item.field in _NUMBERS:
            return item
    return next((item for item in flow.match if item.field in _NUMBERS), None)


def _rules(state: Mapping[str, SwitchState], names: Iterable[Name]) -> dict[str, Rules]:
    """By switch and destination, the rules for what goes there."""
    wanted = set(names)
    found: dict[str, Rules] = {}
    for switch, held in state.items():
        mine = found[switch] = {}
        for flow in flat(held.flows).values():
            if flow.table in LEAVING and (name := _name(flow)) in wanted and name is not None:
                mine.setdefault(name, []).append(flow)
    return found


def _edges(
    rules: Mapping[str, Rules], state: Mapping[str, SwitchState], links: Links
) -> dict[Name, dict[str, str | None]]:
    """By destination and switch, the switch that comes next, as `_next` has it."""
    found: dict[Name, dict[str, str | None]] = {}
    for switch, mine in rules.items():
        for name, flows in mine.items():
            following = _next(name, flows, state[switch], switch, links)
            if following != "":
                found.setdefault(name, {})[switch] = following
    return found


def _port(flow: Flow, state: SwitchState) -> int | None:
    """The port that packets leave by as long as it works; None where they do not leave."""
    for action in flow.actions:
        if isinstance(action, Output):
            return action.port
        group = state.groups.get(action.group) if isinstance(action, ToGroup) else None
        for then in group.buckets[0].actions if group is not None and group.buckets else ():
            if isinstance(then, Output):
                return then.port
    return None


def _detoured(flow: Flow) -> bool:
    """Is it for packets alone that took a detour around a dead link?"""
    return any(item.field == "eth_dst" and item.value >> DETOURED.offset & 1 for item in flow.match)


def _other(name: Name, flow: Flow) -> Name | None:
    """The other name that a rule turns a destination's packets to."""
    first = flow.actions[0] if flow.actions else None
    if isinstance(first, SetField) and (first.field, first.mask) == (name.field, name.mask):
        return FieldMatch(first.field, first.value, first.mask)
    return None


_Edges = Mapping[Name, Mapping[str, str | None]]


def _circle(name: Name, now: _Edges, then: _Edges, before: Iterable[_Edges]) -> bool:
    """Do these ways to a destination, taken together, lead in a circle?"""
    after: dict[str, set[str]] = {}
    for edges in (now, then, *before):
        for switch, following in edges.get(name, {}).items():
            if following is not None:
                after.setdefault(switch, set()).add(following)
    left = dict(after)
    while True:  # whoever leads to nobody any more is in no circle
        done = [switch for switch, following in left.items() if following.isdisjoint(left)]
        if not done:
            return bool(left)
        for switch in done:
            del left[switch]


def _taken(wanted: FlowState, held: Mapping[str, SwitchState]) -> set[Name]:
    """Every name that rules know."""
    found: set[Name] = set()
    for state in (*wanted.values(), *held.values()):
        names = (_name(flow) for flow in flat(state.flows).values() if flow.table in LEAVING)
        found.update(name for name in names if name is not None)
    return found


def _free(name: Name, taken: set[Name], after: int | None) -> Name | None:
    """A name that nobody has, from the end where none are given out; None where there is none. after: the one to go on
    after."""
    step, (first, last) = 1, _NUMBERS.get(name.field, (0, 0))
    if name.field == "eth_dst":
        step = name.mask & -name.mask
        first, last = step, _WAYPOINT & name.mask
    rest = ~name.mask & _WAYPOINT if name.field == "eth_dst" else 0
    used = [
        (other.value, other.value | (~other.mask & _WAYPOINT if other.field == "eth_dst" else 0))
        for other in taken
        if other.field == name.field
    ]
    every = range(last, first, -step)
    start = 0 if after is None or after not in every else every.index(after) + 1
    for value in chain(every[start:], every[:start]):
        if all(value | rest < low or high < value for low, high in used):
            return name._replace(value=value)
    return None


def _turned_already(name: Name, new: Mapping[str, Rules], old: Mapping[str, Rules]) -> Name | None:
    """The name that all switches turn this one's packets to on exactly the ways that are wanted, if so."""
    others: set[Name | None] = set()
    for mine in old.values():
        others.update(_other(name, flow) for flow in mine.get(name, ()) if _carries(flow))
    if len(others) != 1 or None in others:
        return None
    (other,) = others
    assert other is not None
    for switch, mine in old.items():
        wanted = {flow.key: _turned(flow, {name: other}) for flow in new.get(switch, {}).get(name, ())}
        if any(_carries(flow) and wanted.get(flow.key) != flow for flow in mine.get(name, ())):
            return None
    return other


def _carries(flow: Flow) -> bool:
    """Does it send packets out, rather than take them in?"""
    return any(isinstance(action, Output | ToGroup) for action in flow.actions)


def _turned(flow: Flow, others: Mapping[Name, Name]) -> Flow:
    """The rule, sending on by other names."""
    actions: list[Action] = []
    name = _name(flow)
    if name in others and name is not None:
        other = others[name]
        # the new way may lead back to where the packet came from on the old one: Open vSwitch drops that otherwise
        actions += [SetField(other.field, other.value, other.mask), SetField("in_port", IN_PORT_NONE, 0xFFFF)]
    for action in flow.actions:
        number = None
        if isinstance(action, SetField) and action.field in _NUMBERS:
            number = others.get(FieldMatch(action.field, action.value, action.mask))
        actions.append(action if number is None else SetField(number.field, number.value, number.mask))
    return replace(flow, actions=tuple(actions))


def _renamed(flow: Flow, name: Name, other: Name) -> Flow:
    """The rule for what comes by the other name; where it arrives it gets its own back."""
    match = tuple(
        item._replace(value=item.value & ~name.mask | other.value) if item.field == name.field else item
        for item in flow.match
    )
    back = () if _carries(flow) else (SetField(name.field, name.value, name.mask),)
    return replace(flow, match=match, actions=(*back, *flow.actions))


def _starts(flow: Flow) -> bool:
    """Does it put a transport's header on? That is done where packets set out, under their own name."""
    return any(item.field == "reg5" for item in flow.match)


def _overlays(
    wanted: FlowState,
    held: Mapping[str, SwitchState],
    new: Mapping[str, Rules],
    old: Mapping[str, Rules],
    others: Mapping[Name, Name],
    kept: Mapping[Name, Name],
) -> Turning:
    every = {**others, **kept}
    numbers = any(name.field in _NUMBERS for name in every)
    before: dict[str, SwitchState] = {}
    after: dict[str, SwitchState] = {}
    for switch, state in wanted.items():
        flows = [flow for name in every for flow in new.get(switch, {}).get(name, ())]
        if numbers:
            flows += _putting_on(state, every)
        beside = {
            renamed.key: renamed
            for name, other in every.items()
            for flow in new.get(switch, {}).get(name, ())
            if not _starts(flow)
            for renamed in (_renamed(flow, name, other),)
        }
        turned = {flow.key: _turned(flow, every) for flow in flows if _carries(flow)}
        if not beside and not turned:
            continue
        after[switch] = replace(state, flows=changed(state.flows, {**beside, **turned}))
        put: dict[FlowKey, Flow] = dict(beside)
        drop: dict[FlowKey, None] = {}
        had = held.get(switch)
        for name in every:
            there = [flow for flow in old.get(switch, {}).get(name, ()) if _carries(flow)]
            if there:
                drop.update(dict.fromkeys(flow.key for flow in new.get(switch, {}).get(name, ()) if _carries(flow)))
                put.update((flow.key, flow) for flow in there)
        for flow in flows:
            if had is not None and flow.key in had.flows and _carries(flow):
                put[flow.key] = had.flows[flow.key]
        before[switch] = replace(state, flows=changed(state.flows, put, [key for key in drop if key not in put]))
    return Turning(before, after)


def _putting_on(state: SwitchState, others: Mapping[Name, Name]) -> Iterator[Flow]:
    """Rules that put a header on with a number that is turned."""
    for flow in flat(state.flows).values():
        if flow.table in LEAVING and _starts(flow) and any(
            isinstance(action, SetField) and FieldMatch(action.field, action.value, action.mask) in others
            for action in flow.actions
        ):
            yield flow
