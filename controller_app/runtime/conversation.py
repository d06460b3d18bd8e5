"""The conversation with one switch: what the reconciler decides becomes messages, answers become events.

Knows message bytes but no sockets: `send` is given, what the switch says is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from controller_app.model.flow import CONTROLLER, Action, Flow, FlowKey, Group, MeterConfig, Output, SwitchState
from controller_app.openflow import decode, encode
from controller_app.pipeline.cookies import OURS_COOKIE_MASK, is_our_group, is_our_meter, is_ours
from controller_app.pipeline.counting import counts
from controller_app.reconcile import reconciler as rec
from controller_app.reconcile.changes import (
    Change,
    ChangeSet,
    DropFlow,
    DropGroup,
    DropMeter,
    Former,
    PutFlow,
    PutGroup,
    PutMeter,
    Stage,
)
from controller_app.runtime.capabilities import Capabilities
from controller_app.runtime.flow_questions import FlowQuestions
from controller_app.runtime.probing import Facts, Probe
from controller_app.runtime.refused import Refused, reason
from controller_app.runtime.trying import Trying

THROUGH_PIPELINE = Output(0xFFFF_FFF9)  # OFPP_TABLE: a packet-out that is treated as if it came in
MOST_FOREIGN = 10_000  # flows of others that are kept, and groups
_FIRST_XID = 0xC500_0000  # far from where other applications count, so that answers are told apart


@dataclass(frozen=True, slots=True)
class Foreign:
    """What a switch holds that is not ours, as the last audit found it. more: how many flows beyond MOST_FOREIGN."""

    flows: tuple[Flow | decode.UnknownFlow, ...] = ()
    groups: Mapping[int, Group] = field(default_factory=dict)
    more: int = 0


class Conversation:
    """One switch while it is connected, and what is remembered of it while it is not."""

    def __init__(self, dpid: int, edge_tables: frozenset[int]) -> None:
        self.dpid = dpid
        self.sync = rec.SwitchSync(edge_tables=edge_tables)
        self.notices: list[str] = []
        self.foreign_flows = 0
        self.foreign = Foreign()
        self.sent_changes = 0  # rules sent since the start
        self.refused = Refused()
        self.questions = FlowQuestions(self._next_xid)
        self._probe = Probe(self._next_xid)
        self._trying = Trying(self._next_xid)
        self._send: Callable[[bytes], None] | None = None
        self._xid = _FIRST_XID
        self._audit: _Audit | None = None
        self._change: _OnItsWay | None = None
        self._had_rules = self._emptied = False
        self._fresh = True  # it has not told yet what it holds, since it connected

    @property
    def connected(self) -> bool:
        """Can it be talked to?"""
        return self._send is not None

    @property
    def facts(self) -> Facts:
        """What the switch told and showed of itself when it last connected."""
        return self._probe.facts

    @property
    def capabilities(self) -> Capabilities:
        """What the switch was found to be able to do, since it connected."""
        return self._trying.found

    def ask_tables(self) -> bool:
        """Ask how many flows its tables take, once while it is connected; answers whether it was asked now."""
        question = self._trying.tables() if self.connected else b""
        self.transmit(question)
        return bool(question)

    # -- events --------------------------------------------------------------------------------------------

    def connect(self, send: Callable[[bytes], None], now: float) -> None:
        """The switch is there; `send` takes whole messages."""
        self._send, self._fresh = send, True
        self._audit = self._change = None
        self._probe = Probe(self._next_xid, self._probe.facts)
        self._trying = Trying(self._next_xid)
        self.transmit(self._probe.start() + self._trying.start())
        self._step(rec.Connected(), now)

    def disconnect(self, now: float) -> None:
        """The connection is gone."""
        self._send = None
        self._audit = self._change = None
        self.questions.forget()
        self._step(rec.Lost(), now)

    def want(
        self,
        state: SwitchState,
        now: float,
        until: Stage = Stage.ALL,
        formers: tuple[Former, ...] = (),
        passing: bool = False,
    ) -> None:
        """What the switch is to hold, how much of that it may do now, and what it may not take away yet: `rec.Want`."""
        self._step(rec.Want(state, until, formers, passing), now)

    def tick(self, now: float) -> None:
        """Time went by."""
        self._probe.tick(now)
        if self.connected:
            self.transmit(self._trying.tick(now))
        self._step(rec.Tick(), now)
        if self.connected and self.sync.in_sync and self.sync.wanted is not None and not self._probe.tried:
            self.transmit(self._probe.try_hash(self.sync.wanted.groups.values(), now))

    def message(self, raw: bytes, now: float) -> None:
        """An answer of the switch: multipart, barrier, bundle or error. Those to others are passed over."""
        try:
            kind, xid = decode.header(raw).kind, decode.header(raw).xid
            if self._probe.told(raw, xid):
                self._trying.described(self.facts.hardware, self.facts.version)
                return
            if self._trying.told(raw, xid) or self.questions.told(raw, xid):
                return
            if kind == decode.ERROR:
                self._error(decode.error_message(raw), now)
            elif kind == decode.MULTIPART_REPLY and self._audit is not None:
                if self._audit.take(raw, xid):
                    self._found(self._audit, now)
            elif self._change is not None and xid == self._change.answer:
                closed = kind == decode.EXPERIMENTER and decode.bundle_reply(raw) is not None
                if kind == decode.BARRIER_REPLY if self._change.committed else closed:
                    self._passed(self._change, now)
        except decode.WireError as error:
            self.notices.append(f"an unreadable answer: {error}")

    def started_anew(self) -> bool:
        """Did the switch come back without the rules it had? True once each time."""
        emptied, self._emptied = self._emptied, False
        return emptied

    def packet(self, packet: decode.PacketIn) -> bool:
        """A frame came up; answers whether it was only an answer to a question of the conversation's own."""
        return self._probe.packet(packet) or self._trying.packet(packet)

    # -- packets -------------------------------------------------------------------------------------------

    def packet_out(self, in_port: int | None, actions: Sequence[Action], frame: bytes) -> bytes:
        """The message that lets the switch treat a frame; in_port None: as if from nowhere."""
        return encode.packet_out(CONTROLLER if in_port is None else in_port, actions, frame, self._next_xid())

    def transmit(self, messages: bytes) -> None:
        """Send what needs no answer. To a switch that is gone nothing is sent."""
        if self._send is not None and messages:
            self._send(messages)

    # -- inside --------------------------------------------------------------------------------------------

    def _next_xid(self) -> int:
        self._xid = _FIRST_XID + (self._xid + 1 - _FIRST_XID) % 0x00FF_FFFF
        return self._xid

    def _step(self, event: rec.Event, now: float) -> None:
        self.sync, effects = rec.step(self.sync, event, now)
        change = self._change
        if change is not None and (self.sync.phase, self.sync.number) != ("sending", change.number):
            self._drop(change)  # given up: a late answer must not let it take effect any more
        for effect in effects:
            match effect:
                case rec.Audit(number=number):
                    self._audit = _Audit(number, self._next_xid(), self._next_xid(), self._next_xid())
                    self.transmit(
                        encode.flow_stats_request(xid=self._audit.flows_xid)
                        + encode.group_desc_request(self._audit.groups_xid)
                        + encode.meter_config_request(self._audit.meters_xid)
                    )
                case rec.Send(number=number, changes=changes):
                    self._send_changes(number, changes, now)
                case rec.Problem(what=what):
                    self.notices.append(what)

    def _send_changes(self, number: int, changes: ChangeSet, now: float) -> None:
        xid, answer = self._next_xid(), self._next_xid()
        try:
            # No bundle takes meters: those wanted go before it, those given up after it has taken effect.
            before = [_message(change, xid) for change in changes if isinstance(change, PutMeter)]
            after = [_message(change, xid) for change in changes if isinstance(change, DropMeter)]
            messages = [_message(change, xid) for change in changes if not isinstance(change, PutMeter | DropMeter)]
            data = b"".join(before) + encode.bundle_open(messages, xid, xid) + encode.bundle_close(xid, answer)
        except ValueError as error:
            self._step(rec.Refused(number, f"cannot be sent: {error}"), now)
            return
        self._change = _OnItsWay(number, xid, answer, b"".join(after))
        self.sent_changes += len(before) + len(messages) + len(after)
        self.transmit(data)

    def _passed(self, change: _OnItsWay, now: float) -> None:
        """The switch answered without an error before: the change is complete, or has taken effect."""
        if change.committed:
            self._change, self._had_rules = None, True
            self._step(rec.Confirmed(change.number), now)
            return
        barrier = self._next_xid()
        self._change = _OnItsWay(change.number, change.xid, barrier, committed=True)
        self.transmit(encode.bundle_commit(change.xid, change.xid) + change.after + encode.barrier_request(barrier))

    def _drop(self, change: _OnItsWay) -> None:
        """Give up a change; the switch forgets what it has of it, unless it has been told to let it take effect."""
        self._change = None
        if not change.committed:
            self.transmit(encode.bundle_discard(change.xid, self._next_xid()))

    def _error(self, error: decode.SwitchError, now: float) -> None:
        if self._change is not None and error.xid in (self._change.xid, self._change.answer):
            change = self._change
            self._drop(change)
            self._step(rec.Refused(change.number, f"the switch refused a change: {error}{_refused(error)}"), now)
        elif self._audit is not None and error.xid == self._audit.meters_xid:
            if self._audit.close(error.xid):  # a switch without meters holds none
                self._found(self._audit, now)
        elif self._audit is not None and error.xid in (self._audit.flows_xid, self._audit.groups_xid):
            number, self._audit = self._audit.number, None
            self._step(rec.Refused(number, f"the switch does not say what it holds: {error}"), now)

    def _found(self, audit: _Audit, now: float) -> None:
        self._audit = None
        self.foreign_flows = audit.foreign_flows
        self.foreign = audit.others(self.foreign)
        self.refused.audited(audit.counted)
        self._emptied = self._fresh and self._had_rules and not audit.flows
        self._fresh, self._had_rules = False, bool(audit.flows)
        self._step(rec.Found(audit.number, audit.state(), frozenset(audit.foreign)), now)


@dataclass(frozen=True, slots=True)
class _OnItsWay:
    """A change the switch has been sent. Its rules are added to a bundle, and only when the answer to its close shows
    that none was refused is that committed, with a barrier behind it: Open vSwitch 3.1 commits what is left when it
    refused one at its addition. So a change has one barrier for each of its stages."""

    number: int  # the reconciler's
    xid: int  # of all its messages, and its bundle's id
    answer: int  # the xid of what tells how far it is: the close of the bundle, then the barrier
    after: bytes = b""  # what is sent behind the bundle's commit
    committed: bool = False


class _Audit:
    """The answers to the three questions what a switch holds, as they come in, in any number of parts."""

    def __init__(self, number: int, flows_xid: int, groups_xid: int, meters_xid: int) -> None:
        self.number, self.flows_xid, self.groups_xid, self.meters_xid = number, flows_xid, groups_xid, meters_xid
        self.flows: dict[FlowKey, Flow] = {}
        self.groups: dict[int, Group] = {}
        self.meters: dict[int, MeterConfig] = {}
        self.foreign: set[FlowKey] = set()
        self.foreign_flows = 0
        self.foreign_held: list[Flow | decode.UnknownFlow] = []
        self.foreign_groups: dict[int, Group] = {}
        self.counted: list[tuple[Flow, int]] = []  # flows of ours that refuse frames, with their counters
        self._open = {flows_xid, groups_xid, meters_xid}

    def take(self, raw: bytes, xid: int) -> bool:
        """Read one part; answers whether that was the last of all."""
        if xid not in self._open:
            return False
        if xid == self.flows_xid:
            for entry in decode.flow_stats(raw):
                self._flow(entry.flow)
                if isinstance(entry.flow, Flow) and reason(entry.flow) is not None:
                    self.counted.append((entry.flow, entry.packets))
        elif xid == self.meters_xid:
            for meter in decode.meter_config(raw):
                if is_our_meter(meter.id):
                    known_meter = meter if isinstance(meter, MeterConfig) else MeterConfig(meter.id, 0, 0)
                    self.meters[known_meter.id] = known_meter
        else:
            for group in decode.group_desc(raw):
                if is_our_group(group.id):
                    # One without words here is an earlier version's: unlike anything wanted, so it goes.
                    known = group if isinstance(group, Group) else Group(group.id, "all", ())
                    self.groups[known.id] = known
                elif isinstance(group, Group) and len(self.foreign_groups) < MOST_FOREIGN:
                    self.foreign_groups[group.id] = group
        return self.close(xid) if not decode.more_follows(raw) else False

    def close(self, xid: int) -> bool:
        """No more comes to one question; answers whether that was the last."""
        self._open.discard(xid)
        return not self._open

    def _flow(self, flow: Flow | decode.UnknownFlow) -> None:
        key = flow.key
        if is_ours(flow.cookie):
            if key is not None:
                known = flow if isinstance(flow, Flow) else Flow(*key, cookie=flow.cookie)
                self.flows[key] = known
            return
        self.foreign_flows += 1
        if len(self.foreign_held) < MOST_FOREIGN:
            self.foreign_held.append(flow)
        if key is not None:
            self.foreign.add(key)

    def others(self, before: Foreign) -> Foreign:
        """What is not ours; the very same value where that is as it was."""
        found = Foreign(tuple(self.foreign_held), self.foreign_groups, self.foreign_flows - len(self.foreign_held))
        return before if found == before else found

    def state(self) -> SwitchState:
        """What is ours."""
        return SwitchState(self.flows, self.groups, self.meters)


def _message(change: Change, xid: int) -> bytes:
    match change:
        case PutGroup(group=group, replaces=before):
            return encode.group_mod(encode.GROUP_ADD if before is None else encode.GROUP_MODIFY, group, xid)
        case PutFlow(flow=flow):
            return encode.flow_mod(encode.ADD, flow, xid, encode.SEND_FLOW_REM if counts(flow) else 0)
        case DropFlow(flow=flow):
            # The mask keeps a foreign flow that took the same place meanwhile.
            return encode.flow_mod(encode.DELETE_STRICT, flow, xid, cookie_mask=OURS_COOKIE_MASK)
        case DropGroup(group=group):
            return encode.group_mod(encode.GROUP_DELETE, group.id, xid)
        case PutMeter(meter=meter, replaces=had):
            return encode.meter_mod(encode.METER_ADD if had is None else encode.METER_MODIFY, meter, xid)
        case DropMeter(meter=meter):
            return encode.meter_mod(encode.METER_DELETE, meter.id, xid)


def _refused(error: decode.SwitchError) -> str:
    """Which rule it was, as far as the error shows it."""
    try:
        _, flow = decode.flow_mod(error.data)
    except (decode.WireError, decode.UnknownWords):
        return ""  # cut short, or not a flow: the error's own name has to do
    return f" (table {flow.table}, priority {flow.priority})"
