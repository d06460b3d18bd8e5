"""Which flow of a table does a packet hit? Tuple space search, as in Open vSwitch.

Flows whose matches look at the same bits share a hash table; tables are tried from the one with the highest
priority down. So a look-up costs one hash per shape of match, however many flows there are.
(Srinivasan, Suri, Varghese: Packet classification using tuple space search, SIGCOMM 1999.)

Members of conjunctive matches stand apart. A conjunction holds where flows of all its dimensions, of one
priority, match; then the packet is looked up again with its conj_id, unless an ordinary flow of that priority or
a higher one matches. That second look-up does not see ordinary flows below a member with the very same match.
(ovs-actions(7), "conjunction"; classifier_lookup__ of Open vSwitch's classifier.c.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller_app.model.allocation import SLOTS
from controller_app.model.flow import Conjunction, Flow, FlowKey, SubField
from controller_app.verification.packet import METADATA, Packet

Values = tuple[int, ...]  # of fields
Bits = tuple[tuple[str, int], ...]  # fields and masks
PACKET_NAMES = {"ip_ttl": "ttl"}  # a field by the name a packet has it under, where that differs
# Looked at first, as in the stages of Open vSwitch's classifier: where no flow of a shape has what the packet has in
# these, its other fields are not looked at.
_FIRST = METADATA | {"eth_type", "ip_proto", "ip_frag", "arp_op", "icmp_type", "icmpv6_type"}


@dataclass(slots=True)
class Found:
    """The flow that a look-up found, if any, and what of the packet it looked at. No flow of a priority below `least`
    can change what it found."""

    flow: Flow | None
    bits: Bits
    least: int
    testimony: Any = None  # for whoever has to remember that it was looked up


@dataclass(slots=True)
class _Shape:
    """All flows of a table that look at the same bits of the same fields."""

    bits: Bits
    top: int = -1  # highest priority in it
    flows: dict[tuple[int, ...], Flow] = field(default_factory=dict)
    _first: tuple[Bits, set[tuple[int, ...]]] | None = None

    def key(self, packet: Packet) -> tuple[int, ...]:
        return tuple([packet.get(name, 0) & mask for name, mask in self.bits])

    def looks(self, packet: Packet) -> Bits:
        """What of a packet has to be looked at to know which flow it hits."""
        if self._first is None:
            places = [place for place, (name, _) in enumerate(self.bits) if name in _FIRST]
            self._first = (tuple(self.bits[place] for place in places),
                           {tuple([key[place] for place in places]) for key in self.flows})
        bits, some = self._first
        return self.bits if tuple([packet.get(name, 0) & mask for name, mask in bits]) in some else bits


@dataclass(slots=True)
class _Members:
    """The flows of one shape that are members of conjunctive matches; several may match alike."""

    bits: Bits
    flows: dict[tuple[int, ...], dict[int, Flow]] = field(default_factory=dict)  # by priority

    def of(self, packet: Packet) -> Iterable[Flow]:
        return self.flows.get(tuple([packet.get(name, 0) & mask for name, mask in self.bits]), {}).values()


class FlowIndex:
    """The flows of one switch, ready for look-ups. Of flows with the same match and priority the last
    counts, as it would on a switch."""

    def __init__(self, flows: Iterable[Flow]) -> None:
        self._held: dict[int, list[Flow]] = {}
        for flow in flows:
            self._held.setdefault(flow.table, []).append(flow)
        # Made when first looked at: of most tables nothing is asked while little changes.
        self._shapes: dict[int, list[_Shape]] = {}
        self._conjunctions: dict[int, dict[Bits, _Members]] = {}
        self._found: dict[int, tuple[tuple[str, ...], dict[Values, Found]]] = {}  # by table: fields, by values

    def following(self, changes: Iterable[tuple[FlowKey, Flow | None, Flow | None]]) -> FlowIndex:
        """The index after some changes (see `differences`); of other tables all is taken over."""
        anew: dict[int, dict[FlowKey, Flow]] = {}
        for key, _, flow in changes:
            if key.table not in anew:
                anew[key.table] = {each.key: each for each in self._held.get(key.table, ())}
            if flow is None:
                anew[key.table].pop(key, None)
            else:
                anew[key.table][key] = flow
        found = FlowIndex(())
        found._held = {**self._held, **{table: list(flows.values()) for table, flows in anew.items()}}
        for table, shapes in self._shapes.items():
            if table not in anew:
                found._shapes[table], found._conjunctions[table] = shapes, self._conjunctions[table]
                if table in self._found:
                    found._found[table] = self._found[table]
        return found

    def _table(self, table: int) -> list[_Shape]:
        """The shapes of a table, the one with the highest priority first."""
        found = self._shapes.get(table)
        if found is None:
            found, self._conjunctions[table] = _sorted_out(self._held.get(table, ()))
            self._shapes[table] = found
        return found

    def _members(self, table: int) -> dict[Bits, _Members]:
        """The members of conjunctions in a table."""
        self._table(table)
        return self._conjunctions[table]

    def look_up(self, table: int, packet: Packet) -> Found:
        """`find`, and what it looked at. What is the same in all fields that flows of the table look at is found once
        only."""
        known = self._found.get(table)
        if known is None:
            known = self._found[table] = tuple(name for name, _ in self.bits(table)), {}
        names, found = known
        values = tuple([packet.get(name, 0) for name in names])
        if values not in found:
            flow = self.find(table, packet)
            found[values] = Found(flow, *self._looked(table, packet, flow))
        return found[values]

    def _looked(self, table: int, packet: Packet, flow: Flow | None) -> tuple[Bits, int]:
        """What of a packet was looked at to find a flow, and the least priority that counts."""
        if self._members(table):
            return self.bits(table), 0
        least = -1 if flow is None else flow.priority
        masks: dict[str, int] = {}
        for shape in self._table(table):
            if shape.top < least:
                break
            for name, mask in shape.looks(packet):
                masks[name] = masks.get(name, 0) | mask
        return tuple(masks.items()), max(0, least)

    def find(self, table: int, packet: Packet) -> Flow | None:
        """The flow with the highest priority that matches, or None: a table miss. Where flows of equal
        priority overlap a switch may take any; here it is always the same one."""
        best = self._ordinary(table, packet)
        members = self._members(table)
        return best if not members else self._conjunctive(table, packet, members, best)

    def bits(self, table: int) -> Bits:
        """What of a packet the flows of a table look at."""
        shapes: list[_Shape | _Members] = [*self._table(table), *self._members(table).values()]
        masks: dict[str, int] = {}
        for shape in shapes:
            for name, mask in shape.bits:
                if name != "conj_id":
                    masks[name] = masks.get(name, 0) | mask
        return tuple(masks.items())

    def looks_at(self, table: int, part: SubField) -> bool:
        """Whether any flow of a table looks at a part of a field."""
        shapes: list[_Shape | _Members] = [*self._table(table), *self._members(table).values()]
        return any(_overlap(bits, part) for shape in shapes for bits in shape.bits)

    def find_slots(self, table: int, packet: Packet, part: SubField) -> list[Flow | None]:
        """What `find` gives for each slot, were it in that part of a field."""
        cleared = packet.get(part.field, 0) & ~(SLOTS - 1 << part.offset)
        if self._members(table):
            return [self.find(table, {**packet, part.field: cleared | slot << part.offset}) for slot in range(SLOTS)]
        found: list[Flow | None] = [None] * SLOTS
        for shape in self._table(table):
            place = next((n for n, bits in enumerate(shape.bits) if _overlap(bits, part)), None)
            if place is None:
                candidate = shape.flows.get(shape.key(packet))
                if candidate is not None:
                    found = [_higher(known, candidate) for known in found]
                continue
            key, mask = list(shape.key(packet)), shape.bits[place][1]
            for slot in range(SLOTS):
                key[place] = (cleared | slot << part.offset) & mask
                candidate = shape.flows.get(tuple(key))
                if candidate is not None:
                    found[slot] = _higher(found[slot], candidate)
        return found

    def _ordinary(self, table: int, packet: Packet, hiding: Mapping[Bits, _Members] | None = None) -> Flow | None:
        """The best flow that is no member; without those hidden by a member with the same match."""
        best: Flow | None = None
        for shape in self._table(table):
            if best is not None and best.priority >= shape.top:
                break
            key = tuple([packet.get(name, 0) & mask for name, mask in shape.bits])
            found = shape.flows.get(key)
            if found is not None and (best is None or found.priority > best.priority):
                alike = hiding.get(shape.bits) if hiding else None
                if alike is None or all(priority < found.priority for priority in alike.flows.get(key, ())):
                    best = found
        return best

    def _conjunctive(self, table: int, packet: Packet, members: Mapping[Bits, _Members],
                     best: Flow | None) -> Flow | None:
        """`best`, or what a conjunction of a higher priority leads to."""
        levels: dict[int, list[Flow]] = {}
        for alike in members.values():
            for flow in alike.of(packet):
                if best is None or flow.priority > best.priority:
                    levels.setdefault(flow.priority, []).append(flow)
        for priority in sorted(levels, reverse=True):
            for number in _holding(levels[priority]):
                found = self._ordinary(table, {**packet, "conj_id": number}, members)
                if found is not None:
                    return found
                break  # a switch tries one conjunction of a priority
        return best


def _sorted_out(flows: Iterable[Flow]) -> tuple[list[_Shape], dict[Bits, _Members]]:
    """One table's flows by shape, and the members of conjunctions."""
    shapes: dict[Bits, _Shape] = {}
    members: dict[Bits, _Members] = {}
    for flow in {flow.key: flow for flow in flows}.values():
        bits = tuple((PACKET_NAMES.get(item.field, item.field), item.mask) for item in flow.match)
        values = tuple(item.value for item in flow.match)
        if any(isinstance(action, Conjunction) for action in flow.actions):
            members.setdefault(bits, _Members(bits)).flows.setdefault(values, {})[flow.priority] = flow
            continue
        shape = shapes.setdefault(bits, _Shape(bits))
        known = shape.flows.get(values)
        if known is None or known.priority <= flow.priority:
            shape.flows[values] = flow
        shape.top = max(shape.top, flow.priority)
    return sorted(shapes.values(), key=lambda shape: -shape.top), members


def _holding(flows: Iterable[Flow]) -> list[int]:
    """The conjunctions of which every dimension has a member among these flows."""
    missing: dict[int, set[int]] = {}
    for flow in flows:
        for action in flow.actions:
            if isinstance(action, Conjunction):
                missing.setdefault(action.id, set(range(1, action.of + 1))).discard(action.clause)
    return sorted(number for number, dimensions in missing.items() if not dimensions)


def _overlap(bits: tuple[str, int], part: SubField) -> bool:
    return bits[0] == part.field and bool(bits[1] >> part.offset & (1 << part.bits) - 1)


def _higher(known: Flow | None, candidate: Flow) -> Flow:
    return candidate if known is None or candidate.priority > known.priority else known
