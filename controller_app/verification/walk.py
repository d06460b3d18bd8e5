"""Follow a packet through the whole network: switches, cables, and the functions it is handed to.

Knows nothing of our pipeline: any flows of the model's vocabulary can be walked, and any dump.

Where a select group decides by a hash, a walk follows every bucket that makes a difference. Open vSwitch's
dp_hash is symmetric and of 256 equal buckets takes the one its low byte names, so a walk is labelled with
the slots it stands for (a bit mask, bit n for slot n), and a reply is walked with the slots of its forward
packet. Where multipath gives the slot, a walk stands for all slots that meet the same rules. What a translating
function sends on has a hash of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from controller_app.model.allocation import SLOTS
from controller_app.model.flow import CONTROLLER, Flow, FlowState, Group, SwitchState
from controller_app.model.flow_table import differences
from controller_app.model.topology import End, Topology
from controller_app.verification.boundaries import Run, runs_of
from controller_app.verification.conntrack import Connections, Tuple, tuple_of
from controller_app.verification.coverage import Share
from controller_app.verification.lookup import FlowIndex
from controller_app.verification.outcome import Result
from controller_app.verification.packet import Packet
from controller_app.verification.passages import Asked, Gate, Recording, again, is_plain
from controller_app.verification.players import Player
from controller_app.verification.switch import SwitchRun
from controller_app.verification.witness import Witness

ALL_SLOTS = (1 << SLOTS) - 1
MAX_HOPS = 1000  # switches a packet passes, functions included; more is a loop
_NOTHING = SwitchState()
_TAG = 0x1FFF  # of vlan_tci: that there is a tag, and its VLAN
Parts = Sequence[tuple[int, int]]  # of what a group offers: an index, and the slots that lead there
FlowOf = Tuple | None  # a flow, the same for both of its directions; None for what has no addresses


@dataclass(frozen=True)
class Network:
    """What packets are walked through.

    `played` says what the machines that are functions do with a frame. `down` are ports without a cable or with
    a dead one. With `one_datapath` all switches share one table of connections, as bridges of one Open vSwitch
    do.
    """

    topology: Topology
    state: FlowState
    played: Mapping[str, Player] = field(default_factory=dict)
    down: frozenset[End] = frozenset()
    one_datapath: bool = True
    witness: Witness | None = field(default=None, compare=False)  # who is told what walks look at

    keeps: bool = True  # whether what switches do is kept; not worth it for a few packets

    _indexes: dict[str, FlowIndex] = field(default_factory=dict, compare=False)
    _runs: dict[str, frozenset[Run]] = field(default_factory=dict, compare=False)
    _parts: dict[tuple[str, int], tuple[int, ...] | None] = field(default_factory=dict, compare=False)
    gates: dict[tuple[str, int], Gate] = field(default_factory=dict, compare=False)  # what is known by switch and port

    def without(self, ends: Iterable[End]) -> Network:
        """The same with ports that do not work, such as the ends of links that failed: what switches do by themselves
        when nobody tells them anything. What is known of switches that have none of these ports still holds."""
        ends = frozenset(ends)
        touched = {end.switch for each in ends for end in (each, self.peers.get(each, each))}
        gates = {place: gate for place, gate in self.gates.items() if place[0] not in touched}
        return replace(self, down=self.down | ends, gates=gates)

    def is_up(self, place: End) -> bool:
        """Whether a port works: a cable does with both of its ends."""
        return {place, self.peers.get(place, place)}.isdisjoint(self.down | self.topology.down)

    def index(self, switch: str) -> FlowIndex:
        """The flows of a switch, ready for look-ups."""
        found = self._indexes.get(switch)
        if found is None:
            held = self.state.get(switch)
            found = self._indexes[switch] = FlowIndex(() if held is None else held.flows.values())
        return found

    def learn(self, before: Network) -> None:
        """Take over what was made ready for look-ups, where flows and groups are the same."""
        for name, index in before._indexes.items():
            held = self.state.get(name)
            if held is not None:
                had = before.state[name].flows
                self._indexes[name] = index if held.flows is had else index.following(differences(had, held.flows))
        for name, runs in before._runs.items():
            held = self.state.get(name)
            if held is not None:
                changes = differences(before.state[name].flows, held.flows)
                if not runs_of(flow for _, *pair in changes for flow in pair if flow is not None):
                    self._runs[name] = runs
        for (name, number), parts in before._parts.items():
            held = self.state.get(name)
            if held is not None and held.groups.get(number) is before.state[name].groups.get(number):
                self._parts[name, number] = parts

        for (name, port), gate in before.gates.items():
            if self.state.get(name) is before.state.get(name):
                self.gates[name, port] = gate

    def runs(self) -> frozenset[Run]:
        """The ports that flows of any switch look for."""
        for name, held in self.state.items():
            if name not in self._runs:
                self._runs[name] = runs_of(held.flows.values())
        return frozenset().union(*self._runs.values())

    def group_parts(self, switch: str, group: Group, slots: int) -> list[tuple[int, int]]:
        """`group_parts` of a group of a switch."""
        place = switch, group.id
        if place not in self._parts:
            self._parts[place] = tuple(mask for _, mask in group_parts(group, ALL_SLOTS)) if _slotted(group) else None
        masks = self._parts[place]
        if masks is None:
            return group_parts(group, slots)
        return sorted(((left & -left).bit_length() - 1, left) for mask in masks if (left := mask & slots))

    @cached_property
    def peers(self) -> Mapping[End, End]:
        """The other end of each cable."""
        ends = [(link.a, link.b) for link in self.topology.links]
        return {**dict(ends), **{b: a for a, b in ends}}

    @cached_property
    def attached(self) -> Mapping[tuple[End, int], tuple[str, str]]:
        """Host and arm behind each switch port, by the VLAN tag of its frames (0: none)."""
        return {(end, _tag(host.vlan)): (name, arm) for name, host in self.topology.hosts.items()
                for arm, end in host.attach.items()}

    def attached_at(self, place: End, frame: Packet) -> tuple[str | None, str]:
        """The host and arm that a frame sent out of a port reaches: that with its tag, or that without any."""
        tag = frame.get("vlan_tci", 0) & _TAG
        return self.attached.get((place, tag)) or self.attached.get((place, 0)) or (None, "")

    @cached_property
    def ports(self) -> Mapping[str, tuple[int, ...]]:
        found: dict[str, set[int]] = {}
        for end in (*self.peers, *(end for end, _ in self.attached)):
            if isinstance(end.port, int):
                found.setdefault(end.switch, set()).add(end.port)
        return {switch: tuple(sorted(numbers)) for switch, numbers in found.items()}


@dataclass(frozen=True, slots=True)
class Hop:
    """A passage through one switch: by which port in, which flows were hit, by which port out (None: it
    ended here)."""

    switch: str
    in_port: int
    packet: Packet  # as it arrived
    rules: tuple[Flow, ...]
    out_port: int | None


@dataclass(frozen=True, slots=True)
class Visit:
    """A frame handed to a function. `hop` counts the hops before it; `sent` is what came out of it, None where
    nothing did; `translated` says that this has other addresses."""

    host: str
    arm: str
    packet: Packet
    hop: int
    sent: Packet | None = None
    translated: bool = False


@dataclass(frozen=True, slots=True)
class Fate:
    """How one copy of the packet ended.

    `kind`: "delivered" (to `host`), "tapped" (swallowed by the tap `host`), "dropped", "controller", "lost"
    (sent out of a port where nothing is) or "looped". `reason` is for people.
    """

    kind: str
    packet: Packet
    hops: tuple[Hop, ...]
    visits: tuple[Visit, ...] = ()
    host: str | None = None
    arm: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Walk:
    """Everything that became of one packet under one choice of the groups."""

    slots: int  # the hash slots that choose so
    fates: tuple[Fate, ...]
    connections: Connections  # what the switches remember afterwards
    choices: tuple[tuple[str, int, int], ...] = ()  # (switch, group, bucket); by multipath (switch, -1, slot)
    hashes: Mapping[FlowOf, int] = field(default_factory=dict)  # the slots of every flow that it became

    def slots_of(self, packet: Packet) -> int:
        """The hash slots of a packet that answers what was delivered, or belongs to it."""
        return self.hashes.get(flow_of(packet), self.slots)

    def of(self, kind: str) -> tuple[Fate, ...]:
        return tuple(fate for fate in self.fates if fate.kind == kind)

    @property
    def main(self) -> Fate | None:
        """The delivery; without one, the end that tells most about why."""
        for kind in ("delivered", "looped", "lost", "controller", "dropped"):
            found = self.of(kind)
            if found:
                return max(found, key=lambda fate: len(fate.hops))
        return None


def walk_packet(network: Network, packet: Packet, at: tuple[str, int], *,
                connections: Connections | None = None, slots: int = ALL_SLOTS,
                hashes: Mapping[FlowOf, int] | None = None, share: Share | None = None) -> list[Walk]:
    """Every way this frame, arriving at (switch, port), can go under the given hash slots: one Walk for each
    set of slots that behaves alike. Functions are played; their frames go on in the same walk. hashes: the slots
    of flows that it may become, where they are known from packets before it. share: says which ways need not be gone,
    none if left out."""
    walks = []
    script: list[int] = []
    known: list[Parts] = []
    while True:
        hashes_now = {**(hashes or {}), flow_of(packet): slots}
        run = _Run(network, connections or Connections(), hashes_now, script, share, known)
        walks.append(run.walk(packet, at))
        known = run.parts
        # Depth first: the last choice that has an alternative takes it, the choices after it start over.
        script = run.taken
        while script and script[-1] + 1 >= len(run.parts[len(script) - 1]):
            script.pop()
        if not script:
            return walks
        script[-1] += 1


def walk_from(network: Network, packet: Packet, host: str, *, arm: str | None = None,
              connections: Connections | None = None, slots: int = ALL_SLOTS,
              hashes: Mapping[FlowOf, int] | None = None, share: Share | None = None) -> list[Walk]:
    """`walk_packet` for a frame that a host sends (by its first arm, unless told)."""
    attach = network.topology.hosts[host].attach
    end = attach[arm] if arm is not None else next(iter(attach.values()))
    if not isinstance(end.port, int):
        raise ValueError(f"the number of port {end} is not known")
    return walk_packet(network, packet, (end.switch, end.port), connections=connections, slots=slots, hashes=hashes,
                       share=share)


def group_parts(group: Group, slots: int) -> list[tuple[int, int]]:
    """The buckets of a select group that make a difference, as (index, slots that lead there)."""
    usable = [index for index, bucket in enumerate(group.buckets) if bucket.weight > 0]
    if _slotted(group):
        masks: dict[object, list[int]] = {}
        for index, bucket in enumerate(group.buckets):
            if slots >> index & 1:
                part = masks.setdefault(bucket.actions, [index, 0])
                part[1] |= 1 << index
        return [(index, mask) for index, mask in masks.values()]
    # Any other group spreads the hash in a way of its own: every bucket may be taken by every slot.
    first: dict[object, int] = {}
    for index in usable:
        first.setdefault(group.buckets[index].actions, index)
    return [(index, slots) for index in first.values()]


def _slotted(group: Group) -> bool:
    """Whether the low byte of the hash names the bucket."""
    weights = {bucket.weight for bucket in group.buckets}
    return len(group.buckets) == SLOTS and len(weights) == 1 and 0 not in weights


def flow_of(packet: Packet) -> FlowOf:
    """The flow a packet belongs to."""
    found = tuple_of(packet)
    return None if found is None else min(found, found.reverse())


def _tag(vlan: int | None) -> int:
    return 0 if vlan is None else 0x1000 | vlan


class _Run(Asked):
    """One walk with the choices of `script`, and the first bucket wherever the script ends."""

    def __init__(self, network: Network, connections: Connections, hashes: dict[FlowOf, int],
                 script: list[int], share: Share | None, known: list[Parts]) -> None:
        self.taken: list[int] = []
        self.parts: list[Parts] = known[: len(script)]  # what each step offers: before the last it is as it was
        self._network, self.connections, self._hashes = network, connections, hashes
        self._flow: FlowOf = None
        self._script, self._share = script, share
        self._choices: list[tuple[str, int, int]] = []
        self._fates: list[Fate] = []

    def walk(self, packet: Packet, at: tuple[str, int]) -> Walk:
        first = flow_of(packet)
        waiting = [_Arrival(at, packet, flow=first)]
        while waiting:
            arrival = waiting.pop()
            # What a switch sends first is walked first.
            waiting += reversed(self._switch(arrival))
        return Walk(self._hashes[first], tuple(self._fates), self.connections, tuple(self._choices), self._hashes)

    def choose(self, switch: str, group: Group) -> int | None:
        def offered() -> Parts:
            parts = self._network.group_parts(switch, group, self._hashes.get(self._flow, ALL_SLOTS))
            return parts if self._share is None else self._share.of_group(switch, group, parts)

        parts = self._offered(offered)
        return self._take(switch, group.id, parts) if parts else None

    def spread(self, switch: str, behaviour: Sequence[Hashable]) -> int:
        def offered() -> Parts:
            slots = self._hashes.get(self._flow, ALL_SLOTS)
            masks: dict[Hashable, list[int]] = {}
            for slot, what in enumerate(behaviour):
                if slots >> slot & 1:
                    masks.setdefault(what, [slot, 0])[1] |= 1 << slot
            parts = [(slot, mask) for slot, mask in masks.values()]
            return parts if self._share is None else self._share.of_slots(switch, behaviour, parts)

        return self._take(switch, -1, self._offered(offered))

    def _offered(self, find: Callable[[], Parts]) -> Parts:
        """What there is to take at this step, as (index, slots that lead there)."""
        step = len(self.taken)
        return self.parts[step] if step < len(self.parts) else find()

    def _take(self, switch: str, group: int, parts: Parts) -> int:
        """One of several, as the script says."""
        step = len(self.taken)
        choice = self._script[step] if step < len(self._script) else 0
        self.taken.append(choice)
        if step == len(self.parts):
            self.parts.append(parts)
        index, self._hashes[self._flow] = parts[choice]
        if len(parts) > 1 or group >= 0:
            self._choices.append((switch, group, index))
        return index

    def _switch(self, arrival: _Arrival) -> list[_Arrival]:
        switch, in_port = arrival.at
        before = any(hop.switch == switch and hop.in_port == in_port and hop.packet == arrival.packet
                     for hop in arrival.hops)
        if before or len(arrival.hops) >= MAX_HOPS:
            self._fates.append(Fate("looped", arrival.packet, arrival.hops, arrival.visits,
                                    reason=f"the same frame came to {switch}:{in_port} again"))
            return []
        self._flow = arrival.flow
        onward = []
        for result in self._passage(arrival.packet, switch, in_port):
            hop = Hop(switch, in_port, arrival.packet, result.rules, result.port)
            follower = self._result(result, arrival.through(hop))
            if follower is not None:
                onward.append(follower)
        return onward

    def _passage(self, packet: Packet, switch: str, in_port: int) -> list[Result]:
        """What one switch does with it: as it did before, or found out."""
        network = self._network
        answers: list[Any] = []
        gate = network.gates.setdefault((switch, in_port), Gate()) if is_plain(packet) else None
        if gate is not None:
            known, answers = again(gate, packet, self, network.witness)
            if known is not None:
                return known
        notes = Recording(packet, self, answers, gate is not None and network.keeps)
        run = SwitchRun(switch, network.index(switch), network.state.get(switch, _NOTHING),
                        "" if network.one_datapath else switch, notes, lambda: iter(network.ports.get(switch, ())),
                        lambda port: network.is_up(End(switch, port)), network.witness)
        results = run.run(packet, in_port)
        if gate is not None:
            notes.keep(gate, results)
        return results

    def _result(self, result: Result, trail: _Arrival) -> _Arrival | None:
        switch = trail.at[0]

        def end(kind: str, reason: str, host: str | None = None, arm: str = "") -> None:
            self._fates.append(Fate(kind, result.packet, trail.hops, trail.visits, host, arm, reason))

        if result.port is None:
            end("looped" if result.looped else "dropped", result.reason)
            return None
        if result.port == CONTROLLER:
            end("controller", result.reason)
            return None
        place = End(switch, result.port)
        peer = self._network.peers.get(place)
        if peer is not None and isinstance(peer.port, int):
            if {place, peer} & self._network.down:
                end("lost", f"the cable at {place} is down")
                return None
            return trail.entering((peer.switch, peer.port), result.packet)
        host, arm = self._network.attached_at(place, result.packet)
        if host is None or place in self._network.down:
            end("lost", f"nothing is attached to {place}" if host is None else f"{place} is down")
            return None
        player = self._network.played.get(host)
        if player is None:
            end("delivered", "", host, arm)
            return None
        return self._played(host, arm, player, result.packet, trail)

    def _played(self, host: str, arm: str, player: Player, frame: Packet, trail: _Arrival) -> _Arrival | None:
        """Hand a frame to a function, and take from it what it sends on."""
        if self._network.witness is not None:
            self._network.witness.handed_to(host)
        played = player.play(frame, arm, self.connections)
        self.connections = played.connections
        if played.own:
            self._fates.append(Fate("delivered", frame, trail.hops, trail.visits, host, arm))
            return None
        visit = Visit(host, arm, frame, len(trail.hops), played.packet, played.translated)
        visits = (*trail.visits, visit)
        if played.packet is None or played.arm is None:
            kind = "tapped" if player.swallows else "dropped"
            self._fates.append(Fate(kind, frame, trail.hops, visits, host, arm, f"{host}: {played.reason}"))
            return None
        if played.translated and any(earlier.translated and earlier.host == host for earlier in trail.visits):
            # It is another packet each time, which no switch has seen before.
            self._fates.append(Fate("looped", frame, trail.hops, visits, host, arm, f"{host} translates it again"))
            return None
        leaving = self._network.topology.hosts[host].attach[played.arm]
        if not isinstance(leaving.port, int):
            self._fates.append(Fate("lost", frame, trail.hops, visits, host, arm,
                                    f"the number of port {leaving} is not known"))
            return None
        return replace(trail, at=(leaving.switch, leaving.port), packet=played.packet, visits=visits,
                       flow=flow_of(played.packet) if played.translated else trail.flow)


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A frame that is about to enter a switch, and its story so far."""

    at: tuple[str, int]
    packet: Packet
    hops: tuple[Hop, ...] = ()
    visits: tuple[Visit, ...] = ()
    flow: FlowOf = None  # what a switch's hash is made of

    # Made by hand, since there are so many: `replace` looks at the fields each time.
    def through(self, hop: Hop) -> _Arrival:
        """With another switch behind it."""
        return _Arrival(self.at, self.packet, (*self.hops, hop), self.visits, self.flow)

    def entering(self, at: tuple[str, int], packet: Packet) -> _Arrival:
        """At the next switch, and as it is there."""
        return _Arrival(at, packet, self.hops, self.visits, self.flow)
