"""Follow a packet through the whole network: switches, cables, and the functions it is handed to.

Knows nothing of our pipeline: any flows of the model's vocabulary can be walked, and any dump.

Where a select group decides by a hash, a walk follows every bucket that makes a difference. Open vSwitch's
dp_hash is symmetric and of 256 equal buckets takes the one its low byte names, so a walk is labelled with
the slots it stands for (a bit mask, bit n for slot n), and a reply is walked with the slots of its forward
packet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from controller_app.model.allocation import SLOTS
from controller_app.model.flow import CONTROLLER, Flow, FlowState, Group, SwitchState
from controller_app.model.topology import End, Topology
from controller_app.verification.conntrack import Connections
from controller_app.verification.lookup import FlowIndex
from controller_app.verification.packet import Packet
from controller_app.verification.switch import Result, SwitchRun

ALL_SLOTS = (1 << SLOTS) - 1
MAX_HOPS = 1000  # switches a packet passes, functions included; more is a loop


@dataclass(frozen=True)
class Network:
    """What packets are walked through.

    `played` says what the machines that are functions do with a frame: "transparent" sends it unchanged out
    of its other arm, "tap" swallows it. `down` are ports without a cable or with a dead one. With
    `one_datapath` all switches share one table of connections, as bridges of one Open vSwitch do.
    """

    topology: Topology
    state: FlowState
    played: Mapping[str, str] = field(default_factory=dict)
    down: frozenset[End] = frozenset()
    one_datapath: bool = True

    @cached_property
    def indexes(self) -> Mapping[str, FlowIndex]:
        return {name: FlowIndex(switch.flows.values()) for name, switch in self.state.items()}

    @cached_property
    def peers(self) -> Mapping[End, End]:
        """The other end of each cable."""
        ends = [(link.a, link.b) for link in self.topology.links]
        return {**dict(ends), **{b: a for a, b in ends}}

    @cached_property
    def attached(self) -> Mapping[End, tuple[str, str]]:
        """Host and arm behind each switch port."""
        return {end: (name, arm) for name, host in self.topology.hosts.items()
                for arm, end in host.attach.items()}

    @cached_property
    def ports(self) -> Mapping[str, tuple[int, ...]]:
        found: dict[str, set[int]] = {}
        for end in (*self.peers, *self.attached):
            if isinstance(end.port, int):
                found.setdefault(end.switch, set()).add(end.port)
        return {switch: tuple(sorted(numbers)) for switch, numbers in found.items()}

    def other_arm(self, host: str, arm: str) -> End | None:
        """Where a transparent function with two arms lets out what came in by `arm`."""
        others = [end for name, end in self.topology.hosts[host].attach.items() if name != arm]
        return others[0] if len(others) == 1 else None


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
    """A frame handed to a function. `hop` counts the hops before it."""

    host: str
    arm: str
    packet: Packet
    hop: int


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
    choices: tuple[tuple[str, int, int], ...] = ()  # (switch, group, bucket)

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
                connections: Connections | None = None, slots: int = ALL_SLOTS) -> list[Walk]:
    """Every way this frame, arriving at (switch, port), can go under the given hash slots: one Walk for each
    set of slots that behaves alike. Functions are played; their frames go on in the same walk."""
    walks = []
    script: list[int] = []
    while True:
        run = _Run(network, connections or Connections(), slots, script)
        walks.append(run.walk(packet, at))
        # Depth first: the last choice that has an alternative takes it, the choices after it start over.
        script = run.taken
        while script and script[-1] + 1 >= run.offered[len(script) - 1]:
            script.pop()
        if not script:
            return walks
        script[-1] += 1


def walk_from(network: Network, packet: Packet, host: str, *, arm: str | None = None,
              connections: Connections | None = None, slots: int = ALL_SLOTS) -> list[Walk]:
    """`walk_packet` for a frame that a host sends (by its first arm, unless told)."""
    attach = network.topology.hosts[host].attach
    end = attach[arm] if arm is not None else next(iter(attach.values()))
    if not isinstance(end.port, int):
        raise ValueError(f"the number of port {end} is not known")
    return walk_packet(network, packet, (end.switch, end.port), connections=connections, slots=slots)


def group_parts(group: Group, slots: int) -> list[tuple[int, int]]:
    """The buckets of a select group that make a difference, as (index, slots that lead there)."""
    usable = [index for index, bucket in enumerate(group.buckets) if bucket.weight > 0]
    if len(usable) == SLOTS == len(group.buckets) and len({bucket.weight for bucket in group.buckets}) == 1:
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


class _Run:
    """One walk with the choices of `script`, and the first bucket wherever the script ends."""

    def __init__(self, network: Network, connections: Connections, slots: int, script: list[int]) -> None:
        self.taken: list[int] = []
        self.offered: list[int] = []
        self._network, self._connections, self._slots = network, connections, slots
        self._script = script
        self._choices: list[tuple[str, int, int]] = []
        self._fates: list[Fate] = []

    def walk(self, packet: Packet, at: tuple[str, int]) -> Walk:
        waiting = [_Arrival(at, packet)]
        while waiting:
            arrival = waiting.pop()
            # What a switch sends first is walked first.
            waiting += reversed(self._switch(arrival))
        return Walk(self._slots, tuple(self._fates), self._connections, tuple(self._choices))

    def _choose(self, switch: str, group: Group, packet: Packet) -> int | None:
        parts = group_parts(group, self._slots)
        if not parts:
            return None
        step = len(self.taken)
        choice = self._script[step] if step < len(self._script) else 0
        self.taken.append(choice)
        self.offered.append(len(parts))
        index, self._slots = parts[choice]
        self._choices.append((switch, group.id, index))
        return index

    def _switch(self, arrival: _Arrival) -> list[_Arrival]:
        switch, in_port = arrival.at
        key = (switch, in_port, frozenset(arrival.packet.items()))
        if key in arrival.seen or len(arrival.hops) >= MAX_HOPS:
            self._fates.append(Fate("looped", arrival.packet, arrival.hops, arrival.visits,
                                    reason=f"the same frame came to {switch}:{in_port} again"))
            return []
        network = self._network
        state = network.state.get(switch)
        run = SwitchRun(switch, network.indexes.get(switch, FlowIndex(())), state or SwitchState(),
                        self._connections, "" if network.one_datapath else switch, self._choose,
                        lambda: iter(network.ports.get(switch, ())),
                        lambda port: End(switch, port) not in network.down)
        results = run.run(arrival.packet, in_port)
        self._connections = run.connections
        onward = []
        for result in results:
            hop = Hop(switch, in_port, arrival.packet, result.rules, result.port)
            trail = replace(arrival, hops=(*arrival.hops, hop), seen=arrival.seen | {key})
            follower = self._result(result, trail)
            if follower is not None:
                onward.append(follower)
        return onward

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
            return replace(trail, at=(peer.switch, peer.port), packet=result.packet)
        host, arm = self._network.attached.get(place, (None, ""))
        if host is None or place in self._network.down:
            end("lost", f"nothing is attached to {place}" if host is None else f"{place} is down")
            return None
        mode = self._network.played.get(host)
        if mode is None:
            end("delivered", "", host, arm)
            return None
        visits = (*trail.visits, Visit(host, arm, result.packet, len(trail.hops)))
        if mode == "tap":
            self._fates.append(Fate("tapped", result.packet, trail.hops, visits, host, arm))
            return None
        other = self._network.other_arm(host, arm)
        if other is None or not isinstance(other.port, int):
            self._fates.append(Fate("lost", result.packet, trail.hops, visits, host, arm,
                                    f"{host} has no other arm to send it on"))
            return None
        return replace(trail, at=(other.switch, other.port), packet=result.packet, visits=visits)


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A frame that is about to enter a switch, and its story so far."""

    at: tuple[str, int]
    packet: Packet
    hops: tuple[Hop, ...] = ()
    visits: tuple[Visit, ...] = ()
    seen: frozenset[tuple[str, int, frozenset[tuple[str, int]]]] = frozenset()
