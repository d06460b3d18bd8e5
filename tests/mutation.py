"""Mutants of a compiled state: one thing is wrong on one switch.

Which ones are made of a state depends on the state and a seed alone. They are spread over the tables, so that rules of
which there are few come as often as those of which there are many.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from controller_app.model.flow import (
    CONTROLLER,
    IN_PORT,
    Action,
    Bucket,
    Clone,
    Conjunction,
    Flow,
    FlowState,
    Group,
    Output,
    SetField,
    SubField,
    SwitchState,
    match,
)
from controller_app.model.topology import Topology
from controller_app.pipeline import labels
from controller_app.pipeline.tables import NUMBER

FOREIGN = 0xF0  # the cookie of flows that nobody of us made
_PARTS = (labels.WAYPOINT, labels.PATH, labels.BACKWARD, labels.EXIT, labels.ROUTED)
_ATTEMPTS = 40  # to find something of a kind before there is none


@dataclass(frozen=True, slots=True)
class Mutant:
    """One wrong thing: flows gone, flows there instead or besides, or a group that is another."""

    kind: str
    switch: str
    what: str
    gone: tuple[Flow, ...] = ()
    come: tuple[Flow, ...] = ()
    group: Group | None = None
    bucket: int | None = None  # the one that was changed

    def of(self, state: FlowState) -> FlowState:
        """The state with it."""
        held = state[self.switch]
        flows, groups = held.flows, held.groups
        if self.gone or self.come:
            flows = {key: flow for key, flow in flows.items() if flow not in self.gone}
            flows |= {flow.key: flow for flow in self.come}
        if self.group is not None:
            groups = {**groups, self.group.id: self.group}
        return {**state, self.switch: SwitchState(flows, groups, held.meters)}


class Maker:
    """Makes the mutants of one state on one topology."""

    def __init__(self, topology: Topology, state: FlowState, seed: str) -> None:
        self._topology, self._state, self._random = topology, state, random.Random(seed)
        self._tables: dict[int, list[tuple[str, Flow]]] = {}
        for switch in sorted(state):
            for key in sorted(state[switch].flows):
                self._tables.setdefault(key.table, []).append((switch, state[switch].flows[key]))
        self._groups = [(switch, held.groups[number]) for switch, held in sorted(state.items())
                        for number in sorted(held.groups)]
        ports: dict[str, set[int]] = {name: set() for name in state}
        for end in (*(end for link in topology.links for end in (link.a, link.b)),
                    *(end for host in topology.hosts.values() for end in host.attach.values())):
            assert isinstance(end.port, int)
            ports[end.switch].add(end.port)
        self._ports = {name: sorted(found) for name, found in ports.items()}

    def make(self, each: int) -> Iterator[Mutant]:
        """At most so many of each kind, no two alike."""
        kinds: Sequence[Callable[[int], Mutant | None]] = (
            self._dropped, self._swapped, self._port, self._priority, self._bypass, self._bucket, self._label,
            self._goto)
        for kind in kinds:
            seen: set[Mutant] = set()
            for number in range(each * _ATTEMPTS):
                made = kind(number)
                if made is not None and made not in seen:
                    seen.add(made)
                    yield made
                if len(seen) == each:
                    break

    def _flow(self, number: int, able: Callable[[Flow], bool]) -> tuple[str, Flow] | None:
        """One of the flows that qualify, from one table after the other."""
        tables = [table for table, flows in sorted(self._tables.items()) if any(able(flow) for _, flow in flows)]
        if not tables:
            return None
        return self._random.choice([one for one in self._tables[tables[number % len(tables)]] if able(one[1])])

    def _dropped(self, number: int) -> Mutant | None:
        found = self._flow(number, lambda flow: True)
        if found is None:
            return None
        switch, flow = found
        return Mutant("dropped", switch, f"without {said(flow)}", (flow,))

    def _swapped(self, number: int) -> Mutant | None:
        found = self._flow(number, lambda flow: not _member(flow))
        if found is None:
            return None
        switch, one = found
        others = [other for name, other in self._tables[one.table]
                  if name == switch and not _member(other) and _does(other) != _does(one) and _alike(one, other)]
        if not others:
            return None
        other = self._random.choice(others)
        come = (replace(one, actions=other.actions, goto=other.goto),
                replace(other, actions=one.actions, goto=one.goto))
        return Mutant("swapped", switch, f"{said(one)} does what {said(other)} did, and the other way round",
                      (one, other), come)

    def _port(self, number: int) -> Mutant | None:
        found = self._flow(number, lambda flow: bool(_outputs(flow.actions)))
        if found is None:
            return None
        switch, flow = found
        old = self._random.choice(_outputs(flow.actions))
        new = self._random.choice([port for port in (*self._ports[switch], IN_PORT) if port != old])
        changed = replace(flow, actions=_to(flow.actions, old, new))
        return Mutant("port", switch, f"port {new} instead of {old} in {said(flow)}", (flow,), (changed,))

    def _priority(self, number: int) -> Mutant | None:
        """Below or above another flow of its table that overlaps it, and of no flow's priority."""
        found = self._flow(number, lambda flow: True)
        if found is None:
            return None
        switch, flow = found
        held = [other for name, other in self._tables[flow.table] if name == switch]
        taken = {other.priority for other in held}
        others = [other for other in held if other.priority != flow.priority and _overlap(flow, other)]
        if not others:
            return None
        other = self._random.choice(others)
        step = 1 if other.priority > flow.priority else -1
        new = other.priority + step
        while new in taken:
            new += step
        if not 0 < new < 65536:
            return None
        return Mutant("priority", switch, f"priority {new} for {said(flow)}", (flow,), (replace(flow, priority=new),))

    def _bypass(self, number: int) -> Mutant | None:
        """A flow of somebody else's that takes packets past what they should meet: out of a port at once, on in the
        pipeline past the classifiers, or what a rule takes another way."""
        way = number % 4
        switch = self._random.choice(sorted(self._state))
        if way < 3:
            ends = sorted((end.port for host in self._topology.hosts.values() for end in host.attach.values()
                           if end.switch == switch), key=str)
            if not ends:
                return None
            fields = {"in_port": self._random.choice(ends), "eth_type": 0x0800}
            if way == 1:
                fields["ip_proto"] = self._random.choice((6, 17))
            table, priority = 0, 65000
            if way == 2:
                table, priority = NUMBER["classify"], 40000
                del fields["in_port"]
            port = self._random.choice(self._ports[switch])
            actions: tuple[Action, ...] = (Output(port),)
            goto = None
            if way == 2:  # as if nobody had classified it
                actions, goto = (), NUMBER["remember"]
            flow = Flow(table, priority, match(**fields), actions, goto, FOREIGN)
        else:
            found = self._flow(number // 4, lambda flow: not _member(flow) and flow.priority < 60000)
            assert found is not None
            switch, one = found
            port = self._random.choice(self._ports[switch])
            flow = Flow(one.table, 65001, one.match, (Output(port),), None, FOREIGN)
        if flow.key in self._state[switch].flows:
            return None
        return Mutant("bypass", switch, f"added {said(flow)}", (), (flow,))

    def _bucket(self, number: int) -> Mutant | None:
        """One bucket does what another one does, something wrong, or nothing."""
        if not self._groups:
            return None
        several = [one for one in self._groups if one[1].kind == "select"]
        switch, group = self._random.choice(several if several and number % 4 else self._groups)
        index = self._random.randrange(len(group.buckets))
        old = group.buckets[index]
        others = sorted({bucket.actions for bucket in group.buckets} - {old.actions}, key=repr)
        way = number % 3
        if way == 0 and others:
            actions = self._random.choice(others)
        elif way == 1 or not _labelling(old.actions):
            ports = _outputs(old.actions)
            if ports and way != 1:
                new = self._random.choice([port for port in self._ports[switch] if port != ports[0]])
                actions = _to(old.actions, ports[0], new)
            else:
                actions = ()
        else:
            actions = self._otherwise(old.actions)
        if actions == old.actions:
            return None
        buckets = list(group.buckets)
        buckets[index] = Bucket(actions, old.weight, old.watch_port)
        return Mutant("bucket", switch, f"bucket {index} of group {group.id:#x}: {actions} instead of {old.actions}",
                      group=replace(group, buckets=tuple(buckets)), bucket=index)

    def _label(self, number: int) -> Mutant | None:
        found = self._flow(number, lambda flow: bool(_labelling(flow.actions)))
        if found is None:
            return None
        switch, flow = found
        changed = replace(flow, actions=self._otherwise(flow.actions))
        return Mutant("label", switch, f"{changed.actions} in {said(flow)}", (flow,), (changed,))

    def _goto(self, number: int) -> Mutant | None:
        found = self._flow(number, lambda flow: flow.goto is not None)
        if found is None:
            return None
        switch, flow = found
        changed = replace(flow, goto=None)
        return Mutant("goto", switch, f"no goto in {said(flow)}", (flow,), (changed,))

    def _otherwise(self, actions: tuple[Action, ...]) -> tuple[Action, ...]:
        """With one part of what is written to a label, or one bit of a register, another."""
        place = self._random.choice(_labelling(actions))
        action = actions[place]
        assert isinstance(action, SetField)
        if action.field == "eth_dst":
            parts = [part for part in _PARTS if action.mask >> part.offset & 1] or [SubField("eth_dst", 40, 8)]
            part = self._random.choice(parts)
            bit = part.offset + self._random.randrange(part.bits)
        else:
            bit = self._random.choice([bit for bit in range(32) if action.mask >> bit & 1][:8])
        changed = replace(action, value=(action.value ^ 1 << bit) & action.mask)
        return (*actions[:place], changed, *actions[place + 1 :])


def said(flow: Flow) -> str:
    """A flow in a few words."""
    looks = " ".join(f"{item.field}={item.value:#x}/{item.mask:#x}" for item in flow.match)
    return f"[table {flow.table} priority {flow.priority} {looks}: {flow.actions} goto {flow.goto}]"


def _member(flow: Flow) -> bool:
    return any(isinstance(action, Conjunction) for action in flow.actions)


def _does(flow: Flow) -> tuple[tuple[Action, ...], int | None]:
    return flow.actions, flow.goto


def _alike(one: Flow, other: Flow) -> bool:
    """Whether what one does is valid in the other: they ask for the same kind of packet."""
    def kinds(flow: Flow) -> list[tuple[str, int]]:
        return [(item.field, item.value) for item in flow.match if item.field in ("eth_type", "ip_proto")]
    return kinds(one) == kinds(other)


def _overlap(one: Flow, other: Flow) -> bool:
    """Whether some packet may match both."""
    looks = {item.field: item for item in other.match}
    return all(item.field not in looks or not (item.value ^ looks[item.field].value) & item.mask
               & looks[item.field].mask for item in one.match)


def _outputs(actions: Sequence[Action]) -> list[int]:
    found = []
    for action in actions:
        if isinstance(action, Output) and action.port != CONTROLLER:
            found.append(action.port)
        elif isinstance(action, Clone):
            found += _outputs(action.actions)
    return found


def _to(actions: tuple[Action, ...], old: int, new: int) -> tuple[Action, ...]:
    return tuple(
        Output(new) if action == Output(old) else Clone(_to(action.actions, old, new)) if isinstance(action, Clone)
        else action for action in actions)


def _labelling(actions: Sequence[Action]) -> list[int]:
    """Where a part of the label, or a register, is written."""
    return [place for place, action in enumerate(actions)
            if isinstance(action, SetField) and (action.field == "eth_dst" or action.field.startswith("reg"))]
