"""One switch works on one packet: tables, actions and groups as Open vSwitch 3.1 runs them.

Sources: ovs-actions(7), OpenFlow 1.3.5 (5.4 to 5.12), and ofproto-dpif-xlate.c for what neither says:

- a bucket is an action set: set-fields run first, then one of group, output, resubmit and ct, in that order
  of preference, and nothing else; what it changed is forgotten after it;
- after check_pkt_larger the rest of its list runs on a copy: whoever resubmitted here sees nothing of it;
  as the last of a list it does nothing;
- an output to the port the packet came from does nothing, unless in_port was overwritten before;
- after ct() the connection's fields are gone from this packet; what it translated is seen by later look-ups
  only in the table that ct() names, and by whoever receives the packet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from controller_app.model.flow import (
    CONTROLLER,
    IN_PORT,
    Action,
    Bucket,
    CheckPacketLarger,
    Clone,
    Ct,
    DecTtl,
    Flow,
    Group,
    Move,
    Output,
    Resubmit,
    SetField,
    SubField,
    SwitchState,
    ToGroup,
)
from controller_app.verification.conntrack import NOTHING, Connections, Place, Write, track
from controller_app.verification.lookup import FlowIndex
from controller_app.verification.packet import IPV4, IPV6, Packet, on_wire

MAX_DEPTH = 64  # resubmits to the same or an earlier table, one within the other
MAX_RESUBMITS = 4096
_GOES_ON = Output | ToGroup | Resubmit | Ct | Clone
_CT_FIELDS = ("ct_state", "ct_zone", "ct_mark", "ct_label")
_FLOOD, _ALL, _NORMAL = 0xFFFFFFFB, 0xFFFFFFFC, 0xFFFFFFFA  # OpenFlow 1.3.5, 7.2.1


@dataclass(frozen=True, slots=True)
class Result:
    """One thing that became of a packet in a switch.

    `port` is where it was sent (CONTROLLER included), None where it ended here: then `reason` says why.
    `rules` are the flows it hit, in order; `looped` marks an end by the switch's own limits.
    """

    port: int | None
    packet: Packet
    rules: tuple[Flow, ...]
    reason: str = ""
    looped: bool = False


class Chooser(Protocol):
    """Decides which bucket of a select group takes the packet."""

    def __call__(self, switch: str, group: Group, packet: Packet) -> int | None:
        """The bucket's index, or None when no bucket can take it."""


@dataclass(slots=True)
class _Packet:
    """A packet under way in the switch."""

    fields: dict[str, int]
    hidden: dict[str, int] = field(default_factory=dict)  # translated, not yet seen by look-ups
    rules: list[Flow] = field(default_factory=list)
    # Where it was tracked last, what it looked like there, and whether that translated it.
    tracked: tuple[Place, Packet, bool] | None = None

    def copy(self) -> _Packet:
        return _Packet(dict(self.fields), dict(self.hidden), list(self.rules), self.tracked)

    def read(self, part: SubField) -> int:
        return self.fields.get(part.field, 0) >> part.offset & ((1 << part.bits) - 1)

    def check_length(self, action: CheckPacketLarger) -> None:
        larger = self.fields.get("length", 0) > action.size
        self.write(action.target.field, larger << action.target.offset, 1 << action.target.offset)

    def write(self, name: str, value: int, mask: int) -> None:
        if name == "in_port":
            # Sixteen bits of OpenFlow 1.0 stand for all 32: 0xff00 and above are reserved ports.
            port = (self.fields.get(name, 0) & ~mask | value) & 0xFFFF
            self.fields[name] = port | 0xFFFF0000 if port >= 0xFF00 else port
            return
        self.fields[name] = self.fields.get(name, 0) & ~mask | value
        self.hidden.pop(name, None)


class SwitchRun:
    """Runs one packet through one switch. `results` and `connections` hold what came of it."""

    def __init__(self, name: str, index: FlowIndex, state: SwitchState, connections: Connections,
                 datapath: str, choose: Chooser, ports: Callable[[], Iterator[int]],
                 is_up: Callable[[int], bool] = lambda port: True) -> None:
        self.results: list[Result] = []
        self.connections = connections
        self._name, self._index, self._state, self._datapath = name, index, state, datapath
        self._choose, self._ports, self._is_up = choose, ports, is_up
        self._resubmits = 0

    def run(self, packet: Packet, in_port: int, table: int = 0) -> list[Result]:
        """Process a frame that arrived at a port."""
        self._table(table, _Packet({**on_wire(packet), "in_port": in_port}), 0, True)
        # A switch that gives up does nothing at all with the packet.
        gave_up = [result for result in self.results if result.looped]
        if gave_up:
            self.results = gave_up[:1]
        return self.results

    # `last` says that nothing is done with this packet afterwards: then doing nothing is dropping it.

    def _table(self, table: int, packet: _Packet, depth: int, last: bool) -> None:
        self._resubmits += 1
        if depth > MAX_DEPTH or self._resubmits > MAX_RESUBMITS:
            self._end(packet, "the switch gave up: resubmits without end", looped=True)
            return
        flow = self._index.find(table, packet.fields)
        if flow is None:
            if last:
                self._end(packet, f"no flow of table {table} matches")
            return
        packet.rules.append(flow)
        self._list(flow.actions, packet, depth, last, table, flow.goto)

    def _list(self, actions: tuple[Action, ...], packet: _Packet, depth: int, last: bool, table: int,
              goto: int | None = None) -> None:
        for position, action in enumerate(actions):
            if isinstance(action, CheckPacketLarger):
                rest = actions[position + 1:]
                if rest or goto is not None:
                    copy = packet.copy()
                    copy.check_length(action)
                    self._list(rest, copy, depth, last, table, goto)
                return
            final = last and goto is None and position == len(actions) - 1
            if not self._act(action, packet, depth, final, table):
                return
        if goto is not None:
            self._table(goto, packet, depth + (goto <= table), last)
        elif last and not any(isinstance(action, _GOES_ON) for action in actions):
            self._end(packet, "dropped")

    def _act(self, action: Action, packet: _Packet, depth: int, last: bool, table: int) -> bool:
        """Run one action; False when the rest of its list is not to be run."""
        match action:
            case SetField(field=name, value=value, mask=mask):
                packet.write(name, value, mask)
            case Move(source=source, target=target):
                packet.write(target.field, packet.read(source) << target.offset,
                             ((1 << target.bits) - 1) << target.offset)
            case DecTtl():
                return self._dec_ttl(packet)
            case Output():
                self._output(action, packet)
            case ToGroup(group=number):
                self._group(number, packet, depth, table)
            case Resubmit(table=number):
                self._table(number, packet, depth + (number <= table), last)
            case Clone(actions=actions):
                self._list(actions, packet.copy(), depth, True, table)
            case Ct():
                self._ct(action, packet, depth, last, table)
        return True

    def _dec_ttl(self, packet: _Packet) -> bool:
        if packet.fields.get("eth_type") not in (IPV4, IPV6):
            return True
        if packet.fields.get("ttl", 0) <= 1:
            self._sent(CONTROLLER, packet, "TTL exceeded")
            return False
        packet.fields["ttl"] -= 1
        return True

    def _output(self, action: Output, packet: _Packet) -> None:
        in_port = packet.fields["in_port"]
        if action.port == IN_PORT:
            self._sent(in_port, packet)
        elif action.port in (_FLOOD, _ALL):
            for port in self._ports():
                if port != in_port:
                    self._sent(port, packet)
        elif action.port == _NORMAL:
            self._end(packet, "handed to the switch's own MAC learning (NORMAL), which is not followed")
        elif action.port == in_port:
            self._end(packet, f"an output to port {in_port} it came from does nothing")
        else:
            self._sent(action.port, packet)

    def _group(self, number: int, packet: _Packet, depth: int, table: int) -> None:
        group = self._state.groups.get(number)
        if group is None:
            self._end(packet, f"group {number} does not exist")
            return
        if depth >= MAX_DEPTH:
            self._end(packet, "the switch gave up: groups within groups without end", looped=True)
            return
        taken = self._buckets(group, packet)
        for bucket in taken:
            copy = packet.copy()
            self._bucket(bucket, copy, depth + 1, table)
            # Fields are put back after a bucket. What ct() did to the packet itself is not.
            packet.hidden, packet.tracked = {**packet.hidden, **copy.hidden}, copy.tracked
        if not taken:
            self._end(packet, f"group {number} has no bucket that is up")

    def _buckets(self, group: Group, packet: _Packet) -> tuple[Bucket, ...]:
        if group.kind == "select":
            index = self._choose(self._name, group, packet.fields)
            return () if index is None else (group.buckets[index],)
        if group.kind == "ff":
            for bucket in group.buckets:
                if bucket.watch_port is None or self._is_up(bucket.watch_port):
                    return (bucket,)
            return ()
        return group.buckets[:1] if group.kind == "indirect" else group.buckets

    def _bucket(self, bucket: Bucket, packet: _Packet, depth: int, table: int) -> None:
        final: Action | None = None
        for kind in (ToGroup, Output, Resubmit, Ct):
            found = [action for action in bucket.actions if isinstance(action, kind)]
            if found:
                final = found[-1]
                break
        if final is None:
            self._end(packet, "dropped by its bucket")
            return
        if any(isinstance(action, DecTtl) for action in bucket.actions) and not self._dec_ttl(packet):
            return
        for action in bucket.actions:
            if isinstance(action, SetField | Move):
                self._act(action, packet, depth, False, table)
        self._act(final, packet, depth, True, table)

    def _ct(self, action: Ct, packet: _Packet, depth: int, last: bool, table: int) -> None:
        zone = packet.read(action.zone) if isinstance(action.zone, SubField) else action.zone
        real = {**packet.fields, **packet.hidden}
        writes = {"ct_mark": NOTHING, "ct_label": NOTHING}
        for inner in action.exec:
            name, value, mask = _written(inner, packet)
            if name in writes:
                old = writes[name]
                writes[name] = Write(old.value & ~mask | value, old.mask | mask)
        place = (self._datapath, zone)
        translated = False
        if packet.tracked is not None and packet.tracked[0] == place:
            # The connection stays with the packet, and translates it once.
            real, translated = dict(packet.tracked[1]), packet.tracked[2]
        tracked = track(self.connections, place, real, commit=action.commit, nat=action.nat,
                        mark=writes["ct_mark"], label=writes["ct_label"])
        self.connections = tracked.connections
        if not translated:
            packet.hidden |= tracked.translated
        if tracked.known:
            packet.tracked = (place, real, translated or bool(tracked.translated))
        for name in _CT_FIELDS:
            packet.fields.pop(name, None)
        if action.table is None:
            if last:
                self._end(packet, "nothing follows ct()")
            return
        copy = packet.copy()
        copy.fields |= copy.hidden
        copy.hidden.clear()
        copy.fields |= {"ct_state": tracked.state, "ct_zone": zone, "ct_mark": tracked.mark,
                        "ct_label": tracked.label}
        self._table(action.table, copy, depth + (action.table <= table), True)

    def _sent(self, port: int, packet: _Packet, reason: str = "") -> None:
        frame = on_wire({**packet.fields, **packet.hidden})
        self.results.append(Result(port, frame, tuple(packet.rules), reason))

    def _end(self, packet: _Packet, reason: str, looped: bool = False) -> None:
        frame = on_wire({**packet.fields, **packet.hidden})
        self.results.append(Result(None, frame, tuple(packet.rules), reason, looped))


def _written(action: Action, packet: _Packet) -> tuple[str, int, int]:
    """(field, value, mask) of what an action within exec() writes."""
    match action:
        case SetField(field=name, value=value, mask=mask):
            return name, value, mask
        case Move(source=source, target=target):
            mask = ((1 << target.bits) - 1) << target.offset
            return target.field, packet.read(source) << target.offset, mask
    return "", 0, 0

