"""What a switch did with packets before, to be done again with others that it cannot tell from them.

A passage through a switch depends on the bits that its tables and actions looked at, and on what it asked: which
bucket a hash takes, what conntrack remembers. So passages of one port are kept as a tree. A `Gate` knows, for the
values of the bits looked at up to the next question, what that question is, and behind each answer is another gate; the
last one gives what was sent, as changes to the packet. That is what Open vSwitch does with its megaflows, with the
questions kept apart. (Pfaff et al.: The Design and Implementation of Open vSwitch, NSDI 2015, 4 and 5.)

A packet that brings or gets labels or an NSH is not kept: its fields move.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from controller_app.model.flow import FIELD_BITS, Flow, Group, Nat
from controller_app.verification.conntrack import Connections, Place, Tracked, Write, track
from controller_app.verification.headers import MPLS, NSH, TAGGED
from controller_app.verification.lookup import Bits
from controller_app.verification.outcome import Result
from controller_app.verification.packet import METADATA, Packet
from controller_app.verification.witness import LookUp, Witness

WHOLE = {name: (1 << bits) - 1 for name, bits in FIELD_BITS.items()} | {"ttl": 0xFF}  # all bits of a field
_Used = tuple[str, int]  # a switch and a group of it


class Asked:
    """Who answers what a passage depends on besides the packet. `connections` is what conntrack remembers."""

    connections: Connections

    def choose(self, switch: str, group: Group) -> int | None:
        """The bucket of a select group, or None when no bucket can take the packet."""
        raise NotImplementedError

    def spread(self, switch: str, behaviour: Sequence[Hashable]) -> int:
        """One of the slots that multipath gives, standing for those of the same behaviour."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a packet's fields: some get values, others in part, some go."""

    put: Mapping[str, int]
    gone: tuple[str, ...]
    parts: tuple[tuple[str, int, int], ...]  # field, the bits that stay, and the others

    def of(self, packet: Packet) -> dict[str, int]:
        """The packet after it."""
        new = {**packet, **self.put}
        for name, stays, value in self.parts:
            new[name] = new.get(name, 0) & stays | value
        for name in self.gone:
            new.pop(name, None)
        return new


@dataclass(frozen=True, slots=True)
class Choice:
    """A group is asked for a bucket."""

    switch: str
    group: Group


@dataclass(frozen=True, slots=True)
class Spreading:
    """A slot is asked for."""

    switch: str
    behaviour: Sequence[Hashable]


@dataclass(frozen=True, slots=True)
class Tracking:
    """Conntrack is asked. The packet is as `change` makes it, or as it was at an earlier question of this passage
    (`again`, by number)."""

    change: Change
    again: int | None
    place: Place
    commit: bool
    nat: Nat | None
    mark: Write
    label: Write


Question = Choice | Spreading | Tracking


@dataclass(slots=True)
class Stretch:
    """Up to the next question, or to the end: then there are results, (port, change, rules, reason, looped, void)."""

    lookups: Collection[LookUp]
    groups: Collection[_Used]
    question: Question | None = None
    results: tuple[tuple[int | None, Change, tuple[Flow, ...], str, bool, bool], ...] = ()
    answers: dict[Hashable, Gate] = field(default_factory=dict)


@dataclass(slots=True)
class Gate:
    """Stretches by the fields they look at, and by what these hold."""

    shapes: list[tuple[Bits, dict[tuple[int, ...], Stretch]]] = field(default_factory=list)

    def find(self, packet: Packet) -> Stretch | None:
        """The stretch a packet takes from here, as far as known."""
        get = packet.get
        for bits, found in self.shapes:
            stretch = found.get(tuple([get(name, 0) & mask for name, mask in bits]))
            if stretch is not None:
                return stretch
        return None

    def put(self, bits: Bits, values: tuple[int, ...], stretch: Stretch) -> Stretch:
        """Know a stretch; the one that is known already stays."""
        for known, found in self.shapes:
            if known == bits:
                return found.setdefault(values, stretch)
        self.shapes.append((bits, {values: stretch}))
        return stretch


def copy_of(gate: Gate, changed: Collection[_Used] = frozenset()) -> Gate:
    """The same, to be added to on its own, even while others add to this. changed: groups of which nothing is known."""
    return Gate([(bits, {values: _copied(stretch, changed) for values, stretch in list(found.items())
                         if not any(group in changed for group in stretch.groups)})
                 for bits, found in list(gate.shapes)])


def _copied(stretch: Stretch, changed: Collection[_Used]) -> Stretch:
    return replace(stretch, answers={answer: copy_of(gate, changed) for answer, gate in list(stretch.answers.items())})


def is_plain(packet: Packet) -> bool:
    """Whether passages of a packet can be kept: nothing hides any of it, and a tag that is there is one."""
    return (packet.get("eth_type") not in (MPLS, NSH) and "vlan_tci2" not in packet
            and bool(packet.get("vlan_tci", TAGGED) & TAGGED) and "/eth_type" not in packet)


def again(gate: Gate, packet: Packet, asked: Asked, witness: Witness | None) -> tuple[list[Result] | None, list[Any]]:
    """What becomes of a packet, if that is known; and the answers to what was asked meanwhile."""
    answers: list[Any] = []
    tracked: dict[int, Packet] = {}
    while (stretch := gate.find(packet)) is not None:
        if witness is not None:
            witness.saw(stretch.lookups, stretch.groups)
        question = stretch.question
        if question is None:
            return [
                Result(port, change.of(packet), rules, reason, looped, void)
                for port, change, rules, reason, looped, void in stretch.results], answers
        answer: Any
        if isinstance(question, Tracking):
            seen = question.change.of(packet) if question.again is None else tracked[question.again]
            tracked[len(answers)] = seen
            answer = track(asked.connections, question.place, seen, commit=question.commit, nat=question.nat,
                           mark=question.mark, label=question.label)
            asked.connections = answer.connections
        elif isinstance(question, Choice):
            answer = asked.choose(question.switch, question.group)
        else:
            answer = asked.spread(question.switch, question.behaviour)
        answers.append(answer)
        following = stretch.answers.get(_key(answer))
        if following is None:
            break
        gate = following
    return None, answers


class Recording:
    """Notes what a passage looks at and asks while a switch runs it. answers: to its first questions, where they were
    given before. fit: whether it can be kept; without, nothing is noted."""

    def __init__(self, packet: Packet, asked: Asked, answers: Sequence[Any], fit: bool = True) -> None:
        self.fit = fit
        self._packet, self._asked, self._answers = packet, asked, answers
        self._known: dict[str, int] = {}
        self._read: dict[str, int] = {}
        self._lookups: set[LookUp] = set()
        self._groups: set[_Used] = set()
        self._steps: list[tuple[Bits, Stretch, Hashable]] = []
        self._results: list[tuple[Result, Mapping[str, int]]] = []
        self._tracked: dict[int, tuple[int, Packet]] = {}  # by identity: the number of the question, and the packet

    def reads(self, name: str, mask: int) -> None:
        """Bits of the packet as it came were looked at."""
        mask &= ~self._known.get(name, 0)
        if mask:
            self._read[name] = self._read.get(name, 0) | mask

    def looked(self, bits: Bits, written: Mapping[str, int]) -> None:
        """The same for several fields, but for what was written meanwhile."""
        known, read = self._known, self._read
        for name, mask in bits:
            if name in written:
                mask &= ~written[name]
            if name in known:
                mask &= ~known[name]
            if mask:
                read[name] = read.get(name, 0) | mask

    def looked_up(self, found: LookUp) -> None:
        self._lookups.add(found)

    def used_group(self, place: _Used) -> None:
        self._groups.add(place)

    def choose(self, switch: str, group: Group) -> int | None:
        answer: int | None = self._ask(Choice(switch, group), lambda: self._asked.choose(switch, group))
        return answer

    def spread(self, switch: str, behaviour: Sequence[Hashable]) -> int:
        answer: int = self._ask(Spreading(switch, behaviour), lambda: self._asked.spread(switch, behaviour))
        return answer

    def track(self, real: Packet, written: Mapping[str, int], earlier: Packet | None, place: Place, commit: bool,
              nat: Nat | None, mark: Write, label: Write) -> Tracked:
        """Conntrack is asked. real: the packet. earlier: the same as an earlier question had it, if it was tracked."""
        if not self.fit:
            written = {}
        before = None if earlier is None else self._tracked[id(earlier)][0]
        self._tracked[id(real)] = len(self._steps), real
        question = Tracking(change_of(real, written), before, place, commit, nat, mark, label)

        def ask() -> Tracked:
            return track(self._asked.connections, place, real, commit=commit, nat=nat, mark=mark, label=label)

        answer: Tracked = self._ask(question, ask)
        self._asked.connections = answer.connections
        return answer

    def result(self, result: Result, written: Mapping[str, int]) -> None:
        """Something became of the packet."""
        self._results.append((result, written))

    def keep(self, gate: Gate, results: Sequence[Result]) -> None:
        """Let it be known from now on. results: what really happens."""
        if not self.fit:
            return
        written = {id(result): masks for result, masks in self._results}
        bits, stretch = self._end(None)
        stretch.results = tuple((one.port, change_of(one.packet, written[id(one)]), one.rules, one.reason, one.looped,
                                 one.void) for one in results)
        for step, before, answer in self._steps:
            gate = gate.put(step, self._values(step), before).answers.setdefault(answer, Gate())
        gate.put(bits, self._values(bits), stretch)

    def _ask(self, question: Question, ask: Callable[[], Any]) -> Any:
        number = len(self._steps)
        answer = self._answers[number] if number < len(self._answers) else ask()
        self._steps.append((*self._end(question), _key(answer)))
        return answer

    def _end(self, question: Question | None) -> tuple[Bits, Stretch]:
        """Of a stretch."""
        bits = tuple(self._read.items())
        stretch = Stretch(frozenset(self._lookups), frozenset(self._groups), question)
        for name, mask in bits:
            self._known[name] = self._known.get(name, 0) | mask
        self._read, self._lookups, self._groups = {}, set(), set()
        return bits, stretch

    def _values(self, bits: Bits) -> tuple[int, ...]:
        return tuple([self._packet.get(name, 0) & mask for name, mask in bits])


def change_of(packet: Packet, written: Mapping[str, int]) -> Change:
    """What was done to a packet, by its fields now and which bits of them were written."""
    put: dict[str, int] = {}
    gone, parts = [], []
    for name, mask in written.items():
        if name in METADATA:
            continue
        if name not in packet:
            gone.append(name)
        elif ~mask & WHOLE.get(name, -1):
            parts.append((name, ~mask, packet[name] & mask))
        else:
            put[name] = packet[name]
    return Change(put, tuple(gone), tuple(parts))


def _key(answer: Any) -> Hashable:
    if isinstance(answer, Tracked):
        return answer.state, answer.mark, answer.label, tuple(answer.translated.items()), answer.known
    return answer  # type: ignore[no-any-return]
