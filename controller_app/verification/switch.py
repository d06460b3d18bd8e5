"""One switch works on one packet: tables, actions and groups as Open vSwitch 3.1 runs them.

Sources: ovs-actions(7), OpenFlow 1.3.5 (5.4 to 5.12), and ofproto-dpif-xlate.c for what neither says:

- a bucket is an action set: set-fields run first, then one of group, output, resubmit and ct, in that order
  of preference, and nothing else; what it changed is forgotten after it;
- after check_pkt_larger the rest of its list runs on a copy: whoever resubmitted here sees nothing of it;
  as the last of a list it does nothing;
- an output to the port the packet came from does nothing, unless in_port was overwritten before;
- after ct() the connection's fields are gone from this packet; what it translated is seen by later look-ups
  only in the table that ct() names, and by whoever receives the packet;
- what is behind an MPLS label, an NSH or a second tag is seen only once that is off, see `headers`;
- a label too many, or an NSH that is not there to be taken off, voids everything: nothing at all is sent in that pass;
- what Open vSwitch does wrong with headers in clones and buckets is in `faults`.

Where multipath writes a slot, all slots are meant at once until a look-up, or an action that reads it, tells some
of them apart: then `spread` decides which of these go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from controller_app.model.allocation import SLOTS
from controller_app.model.flow import (
    CONTROLLER,
    IN_PORT,
    Action,
    Bucket,
    CheckPacketLarger,
    Clone,
    Ct,
    DecapNsh,
    DecNshTtl,
    DecTtl,
    EncapNsh,
    Flow,
    Group,
    Move,
    Multipath,
    Output,
    PopMpls,
    PopVlan,
    PushMpls,
    PushVlan,
    Resubmit,
    SetField,
    SubField,
    SwitchState,
    ToGroup,
)
from controller_app.verification.conntrack import NOTHING, Write
from controller_app.verification.faults import ABORTS, FORGETS, MANGLED, STARTS_OVER
from controller_app.verification.headers import (
    MPLS,
    NSH,
    decap_nsh,
    encap_nsh,
    parsed,
    pop_mpls,
    pop_vlan,
    push_mpls,
    push_vlan,
    unparsed,
)
from controller_app.verification.lookup import FlowIndex
from controller_app.verification.outcome import Passes, Result
from controller_app.verification.packet import IPV4, IPV6, Packet, on_wire
from controller_app.verification.passages import Recording
from controller_app.verification.underway import Underway, needs_reading, touches, written_by
from controller_app.verification.witness import Witness

MAX_DEPTH = 64  # resubmits to the same or an earlier table, one within the other
MAX_RESUBMITS = 4096
_GOES_ON = Output | ToGroup | Resubmit | Ct | Clone
_CT_FIELDS = ("ct_state", "ct_zone", "ct_mark", "ct_label")
_FLOOD, _ALL, _NORMAL, _NO_PORT = 0xFFFFFFFB, 0xFFFFFFFC, 0xFFFFFFFA, 0xFFFFFFFF  # OpenFlow 1.3.5, 7.2.1


class SwitchRun:
    """Runs one packet through one switch. `results` holds what came of it; what is asked and noted, `notes` has."""

    def __init__(self, name: str, index: FlowIndex, state: SwitchState, datapath: str, notes: Recording,
                 ports: Callable[[], Iterator[int]], is_up: Callable[[int], bool] = lambda port: True,
                 witness: Witness | None = None) -> None:
        self.results: list[Result] = []
        self._name, self._index, self._state, self._datapath = name, index, state, datapath
        self._notes, self._ports, self._is_up, self._witness = notes, ports, is_up, witness
        self._resubmits = 0
        self._exited = False  # nothing that was to come after is done any more
        self._passes = Passes()
        self._wrapped = 0  # how often an NSH was put on
        self._broken = ""  # why nothing may be sent any more

    def run(self, packet: Packet, in_port: int, table: int = 0) -> list[Result]:
        """Process a frame that arrived at a port."""
        fields = {**parsed(on_wire(packet)), "in_port": in_port}
        self._table(table, Underway(fields, notes=self._notes if self._notes.fit else None), 0, True)
        self.results = self._passes.kept()
        return self.results

    # `last` says that nothing is done with this packet afterwards: then doing nothing is dropping it.

    def _table(self, table: int, packet: Underway, depth: int, last: bool) -> None:
        self._resubmits += 1
        if depth > MAX_DEPTH or self._resubmits > MAX_RESUBMITS:
            self._end(packet, "the switch gave up: resubmits without end", looped=True)
            return
        flow = self._find(table, packet)
        if flow is None:
            if last:
                self._end(packet, f"no flow of table {table} matches")
            return
        packet.rules.append(flow)
        self._list(flow.actions, packet, depth, last, table, flow.goto)

    def _find(self, table: int, packet: Underway) -> Flow | None:
        part = packet.slot
        if part is None or not self._index.looks_at(table, part):
            found = self._index.look_up(table, packet.fields)
            packet.looked(found.bits)
            if self._witness is not None:
                if found.testimony is None:
                    found.testimony = self._witness.look_up(self._name, table, found.bits, packet.fields, found.least)
                self._witness.looked_up(found.testimony)
                self._notes.looked_up(found.testimony)
            return found.flow
        bits = self._index.bits(table)
        packet.looked(bits)
        if self._witness is not None:
            several = self._witness.look_up(self._name, table, bits, packet.fields, 0, part.field)
            self._witness.looked_up(several)
            self._notes.looked_up(several)
        flows = self._index.find_slots(table, packet.fields, part)
        slot = self._notes.spread(self._name, [None if flow is None else (flow.actions, flow.goto) for flow in flows])
        self._settle(packet, slot)
        packet.slot = part
        return flows[slot]

    def _settle(self, packet: Underway, slot: int | None = None) -> None:
        """Write one slot where all were meant: that one, or what is decided where each behaves in its own way."""
        if packet.slot is not None:
            packet.put(packet.slot, self._notes.spread(self._name, range(SLOTS)) if slot is None else slot)

    def _list(self, actions: tuple[Action, ...], packet: Underway, depth: int, last: bool, table: int,
              goto: int | None = None) -> None:
        for position, action in enumerate(actions):
            if packet.was_mpls and needs_reading(action):
                self._reread(packet)
            if isinstance(action, CheckPacketLarger):
                rest = actions[position + 1:]
                if rest or goto is not None:
                    if packet.slot is not None and touches(action, packet.slot):
                        self._settle(packet)
                    if self._commit(packet):
                        copy = packet.copy()
                        copy.check_length(action)
                        before = self._broken
                        self._list(rest, copy, depth, last, table, goto)
                        self._leave(packet, copy, before)
                        if self._broken == ABORTS:  # the switch runs the rest for both answers
                            self._end(packet, ABORTS, void=True)
                return
            final = last and goto is None and position == len(actions) - 1
            if not self._act(action, packet, depth, final, table):
                return
            if self._exited:
                if not final:
                    self._end(packet, FORGETS)
                return
        if goto is not None:
            if packet.was_mpls:
                self._reread(packet)
            self._table(goto, packet, depth + (goto <= table), last)
        elif last and not any(isinstance(action, _GOES_ON) for action in actions):
            self._end(packet, "dropped")

    def _act(self, action: Action, packet: Underway, depth: int, last: bool, table: int) -> bool:
        """Run one action; False when the rest of its list is not to be run."""
        if packet.slot is not None and touches(action, packet.slot):
            self._settle(packet)
        match action:
            case SetField(field=name, value=value, mask=mask):
                packet.write(name, value, mask)
            case Move(source=source, target=target):
                packet.put(target, packet.read(source))
            case Multipath(target=target):
                packet.put(target, 0)
                packet.slot = target
            case DecTtl():
                return self._dec_ttl(packet)
            case DecNshTtl():
                return self._dec_nsh_ttl(packet)
            case PushVlan() | PopVlan() | PushMpls() | PopMpls() | EncapNsh() | DecapNsh():
                if last and isinstance(action, DecapNsh):
                    self._end(packet, STARTS_OVER, looped=True)
                    return False
                return self._headers(action, packet)
            case Output():
                self._output(action, packet)
            case ToGroup(group=number):
                self._group(number, packet, depth, table)
            case Resubmit(table=number):
                self._table(number, packet, depth + (number <= table), last)
            case Clone(actions=actions):
                copy = packet.copy()
                before = self._broken
                self._list(actions, copy, depth, True, table)
                if copy.wrapped and not any(isinstance(inner, EncapNsh | Ct) for inner in actions):
                    before = self._broken = self._broken or MANGLED
                self._leave(packet, copy, before)
            case Ct():
                self._ct(action, packet, depth, last, table)
        return True

    def _dec_ttl(self, packet: Underway) -> bool:
        packet.reads("eth_type")
        packet.reads("ttl")
        if packet.fields.get("eth_type") not in (IPV4, IPV6):
            return True
        if packet.fields.get("ttl", 0) <= 1:
            self._sent(CONTROLLER, packet, "TTL exceeded")
            return False
        packet.fields["ttl"] -= 1
        packet.wrote("ttl")
        return True

    def _reread(self, packet: Underway) -> None:
        """The packet goes through the switch anew, with what is left to be done."""
        packet.was_mpls, packet.reread = False, True
        self._passes.begin()

    def _commit(self, packet: Underway) -> bool:
        """What was done to a packet so far is really done to it; False when that cannot be."""
        if self._broken:
            self._end(packet, self._broken, void=True)
            return False
        packet.pending = 0
        return True

    def _leave(self, packet: Underway, copy: Underway, before: str) -> None:
        """A list was run on a copy, and what goes on is the packet as it was before, broken or not."""
        if self._broken == MANGLED:
            self._broken = before
        self._exited |= copy.reread
        packet.reread |= copy.reread
        if copy.pending not in (0, packet.pending) and not copy.reread:
            self._broken = ABORTS
        if copy.pending != packet.pending:
            packet.pending = 0  # it was done with the copy

    def _dec_nsh_ttl(self, packet: Underway) -> bool:
        if packet.fields.get("eth_type") != NSH:
            return False  # the rest of the list is not run, nothing more
        if packet.fields.get("nsh_ttl", 0) <= 1:
            self._sent(CONTROLLER, packet, "NSH TTL exceeded")
            return False
        packet.fields["nsh_ttl"] -= 1
        return True

    def _headers(self, action: PushVlan | PopVlan | PushMpls | PopMpls | EncapNsh | DecapNsh, packet: Underway) -> bool:
        """Put a header on or take one off. After an NSH, and after the last label, the packet is read anew."""
        new: dict[str, int] | None
        self._notes.fit &= isinstance(action, PushVlan | PopVlan)
        match action:
            case PushVlan() | PopVlan():
                packet.retags()
                packet.fields = push_vlan(packet.fields) if isinstance(action, PushVlan) else pop_vlan(packet.fields)
                return True
            case EncapNsh():
                if not self._commit(packet):
                    return False
                new = encap_nsh(packet.seen())
                self._wrapped += 1
                packet.wrapped, packet.pending = True, self._wrapped
            case PushMpls():
                if packet.fields.get("eth_type") != MPLS and not self._commit(packet):
                    return False
                new = push_mpls(packet.seen())
            case PopMpls(eth_type=eth_type):
                new = pop_mpls(packet.seen(), eth_type)
                if eth_type != MPLS:
                    new = parsed(unparsed(new))
                    packet.was_mpls = True
            case DecapNsh():
                if not self._commit(packet):
                    return False
                new = decap_nsh(packet.seen())
                if new is not None:
                    new = parsed(unparsed(new))
                    self._reread(packet)
        if new is None:
            self._end(packet, "the switch gave up: more labels than it can hold" if isinstance(action, PushMpls)
                      else "the switch gave up: no NSH to take off", void=True)
            return False
        packet.reshape(new)
        return True

    def _output(self, action: Output, packet: Underway) -> None:
        in_port = packet.fields["in_port"]
        if action.port == IN_PORT and in_port == _NO_PORT:
            self._end(packet, "the port it came from was overwritten")
        elif action.port == IN_PORT:
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

    def _group(self, number: int, packet: Underway, depth: int, table: int) -> None:
        group = self._state.groups.get(number)
        self._notes.used_group((self._name, number))
        if self._witness is not None:
            self._witness.used_group(self._name, number)
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
            if copy.pending != packet.pending:
                packet.pending = 0
            if copy.wrapped or copy.reread:
                self._broken = self._broken or MANGLED
        if not taken:
            self._end(packet, f"group {number} has no bucket that is up")

    def _buckets(self, group: Group, packet: Underway) -> tuple[Bucket, ...]:
        if group.kind == "select":
            index = self._notes.choose(self._name, group)
            return () if index is None else (group.buckets[index],)
        if group.kind == "ff":
            for bucket in group.buckets:
                if bucket.watch_port is None or self._is_up(bucket.watch_port):
                    return (bucket,)
            return ()
        return group.buckets[:1] if group.kind == "indirect" else group.buckets

    def _bucket(self, bucket: Bucket, packet: Underway, depth: int, table: int) -> None:
        final: Action | None = None
        for kind in (ToGroup, Output, Resubmit, Ct):
            found = [action for action in bucket.actions if isinstance(action, kind)]
            if found:
                final = found[-1]
                break
        if final is None:
            self._end(packet, "dropped by its bucket")
            return
        # Of each of these the last counts; of encap() and decap() that is half of what would be needed.
        for shape in (PopVlan, PopMpls, DecapNsh, PushMpls, PushVlan, DecTtl, DecNshTtl):
            shaping = [action for action in bucket.actions if isinstance(action, shape)]
            if shaping and isinstance(shaping[-1], DecapNsh):
                self._end(packet, "an NSH cannot be taken off in a bucket")
                return
            if shaping and not self._act(shaping[-1], packet, depth, False, table):
                return
        for action in bucket.actions:
            if isinstance(action, SetField | Move):
                self._act(action, packet, depth, False, table)
        self._act(final, packet, depth, True, table)

    def _ct(self, action: Ct, packet: Underway, depth: int, last: bool, table: int) -> None:
        if not self._commit(packet):
            return
        zone = packet.read(action.zone) if isinstance(action.zone, SubField) else action.zone
        real, earlier = packet.seen(), None
        writes = {"ct_mark": NOTHING, "ct_label": NOTHING}
        for inner in action.exec:
            name, value, mask = written_by(inner, packet)
            if name in writes:
                old = writes[name]
                writes[name] = Write(old.value & ~mask | value, old.mask | mask)
        place = (self._datapath, zone)
        translated = False
        if packet.tracked is not None and packet.tracked[0] == place:
            # The connection stays with the packet, and translates it once.
            earlier, translated = packet.tracked[1:]
            real = dict(earlier)
        tracked = self._notes.track(real, packet.changes(), earlier, place, action.commit, action.nat,
                                    writes["ct_mark"], writes["ct_label"])
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
        copy.reshape(parsed(unparsed(copy.seen())))
        copy.fields |= {"ct_state": tracked.state, "ct_zone": zone, "ct_mark": tracked.mark,
                        "ct_label": tracked.label}
        # That is a pass of its own, whatever becomes of this one.
        passed = self._exited, self._broken, self._passes.current
        self._exited, self._broken = False, ""
        self._passes.begin()
        self._table(action.table, copy, depth + (action.table <= table), True)
        self._exited, self._broken, self._passes.current = passed

    def _sent(self, port: int, packet: Underway, reason: str = "") -> None:
        if not self._commit(packet):
            return
        frame = on_wire(unparsed(packet.seen()))
        self._became(Result(port, frame, tuple(packet.rules), reason), packet)

    def _end(self, packet: Underway, reason: str, looped: bool = False, void: bool = False) -> None:
        frame = on_wire(unparsed(packet.seen()))
        self._became(Result(None, frame, tuple(packet.rules), reason, looped, void), packet)

    def _became(self, result: Result, packet: Underway) -> None:
        if self._notes.fit:
            self._notes.result(result, packet.changes())
        self._passes.add(result)
