"""Checks of service providers and of functions' instances, and drains, at work: what they send and hear through
switches, what follows from them.

What they find is a set of those that must not be chosen (`unready`); it goes into the topology that the network is
computed with. Nothing is done here with switches themselves: frames to send are answered, packets that came up are
handed in. No clock: `now` is a monotonic clock in seconds, `wall` the time since 1970.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from controller_app.discovery.ports import Effect, Notice, PortId, SendFrame
from controller_app.discovery.refusals import Refused, answer
from controller_app.health.checks import RATE, Checks, Turn
from controller_app.health.crossing import crossed
from controller_app.health.drains import Drains
from controller_app.health.instances import InstanceState, instance_states, wanted_instances
from controller_app.health.segments import Segment, hear, untag
from controller_app.health.states import Findings, ProviderState, provider_states
from controller_app.health.targets import wanted
from controller_app.model.policy import Policy
from controller_app.openflow.decode import PacketIn
from controller_app.pipeline.cookies import KINDS, is_ours
from controller_app.pipeline.tables import GATEWAY_MAC, TABLE_NAMES
from controller_app.runtime.answering import Rates
from controller_app.runtime.computed import Computed
from controller_app.runtime.conversation import Conversation

MAX_EVENTS = 1000  # that are remembered
OVER = "its last connections are over"
DRAINED = "the time it had to drain is over"

_CHECKED = frozenset((KINDS.index("services"), KINDS.index("functions")))  # owners of the rules that bring answers up


class Event(NamedTuple):
    """A provider became unready, or serves again; an instance is out, or works again; `at` in seconds since 1970."""

    at: float
    name: str
    ready: bool
    text: str


class Checking:
    """secret: for ports and sequence numbers of checks. stored: what `drains` remembered."""

    def __init__(self, secret: bytes, stored: Mapping[str, float], now: float, wall: float) -> None:
        self.unready: frozenset[str] = frozenset()  # another object whenever it changes
        self.events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self.drains = Drains(stored, now, wall)
        self._checks = Checks(secret, GATEWAY_MAC)
        self._over: frozenset[str] = frozenset()
        self._over_next = float("inf")
        self._gone: frozenset[str] = frozenset()
        self._unchecked: Mapping[str, str] = {}
        self._policy: Policy | None = None
        self._followed: tuple[object, ...] | None = None
        self._ready: frozenset[str] = frozenset()
        self._rates = Rates()
        self._said_overload = False

    def follow(self, policy: Policy, now: float, wall: float) -> list[Effect]:
        """This policy counts from now on, as far as drains go."""
        if policy is self._policy:
            return []
        self._policy = policy
        self.drains.follow(policy, now, wall)
        self._over_next = now
        return self._deadlines(now, wall)

    def aim(self, computed: Computed, now: float, wall: float) -> list[Effect]:
        """Switches are told to hold this: its providers and instances are checked from now on."""
        effects = self.follow(computed.policy, now, wall)
        topology, allocation = computed.topology, computed.allocation
        followed = computed.policy, topology.hosts, topology.switches, allocation.addresses, computed.leaving
        if self._followed is not None and all(
            new is old or new == old for new, old in zip(followed, self._followed, strict=True)
        ):
            return effects
        self._followed = followed
        providers, instances = wanted(computed.policy, topology, allocation.addresses, computed.leaving), \
            wanted_instances(computed.policy, topology)
        effects += self._checks.aim((*providers.targets, *instances.targets), now)
        unchecked = {**providers.unchecked, **instances.unchecked}
        for name, why in unchecked.items():
            if name not in self._unchecked:
                effects.append(Notice(f"{called(name)}: {why}"))
        self._unchecked = unchecked
        demand = self._checks.demand
        if demand > RATE and not self._said_overload:
            effects.append(
                Notice(
                    f"health checks of {demand:.0f} addresses a second are asked for, and {RATE:.0f} are made: "
                    "intervals are longer than they say; give services and functions longer ones"
                )
            )
        self._said_overload = demand > RATE
        return effects + self._turned(wall)

    def tick(self, now: float, wall: float, switches: Iterable[tuple[str, Conversation]]) -> list[Effect]:
        """Time went by. switches: all that ever connected, by name."""
        effects = self._deadlines(now, wall)
        if len(self._checks):
            # Who once held our rules goes on to hold those that matter here while others are being changed.
            connected = {name: to.sync.settled for name, to in switches if to.connected}
            settled = frozenset(name for name, is_settled in connected.items() if is_settled)
            ready = settled | (self._ready & connected.keys())
            if gone := self._ready - ready:
                self._checks.away(gone)
            self._ready = ready
            effects += self._checks.tick(now, ready, settled)
        return effects + self._turned(wall)

    def packet(self, dpid: int, packet: PacketIn, now: float, wall: float) -> tuple[bool, list[Effect]]:
        """A frame came up. Answers whether it is of no use to others, and what is to be done."""
        port, table = packet.fields.get("in_port"), TABLE_NAMES.get(packet.table)
        if port is None or table not in ("respond", "admission", "nsh") or not is_ours(packet.cookie):
            return False, []
        owned = packet.cookie >> 40 & 0xFF in _CHECKED
        if table != "respond":
            # what came out of a function: a frame that was sent through it, or looks like one, is nobody else's
            if not owned or crossed(packet.data) is None:
                return False, []
            return True, [*(self._checks.hear(PortId(dpid, port), packet.data) or ()), *self._turned(wall)]
        frame, vlan = untag(packet.data)
        heard = self._checks.hear(PortId(dpid, port), frame)
        taken = owned
        effects: list[Effect] = list(heard or ())
        if taken and isinstance(hear(frame), Segment) and heard is None and self._rates.allows(PortId(dpid, port), now):
            # of a check that is over, or of nobody's: as any machine does where no connection is
            reset = answer(frame, Refused(), int.from_bytes(frame[6:12], "big"), GATEWAY_MAC, vlan)
            if reset is not None:
                effects.append(SendFrame(dpid, (port,), reset))
        return taken, effects + self._turned(wall)

    def over(self, gone: frozenset[str], wall: float) -> list[Effect]:
        """The connections of these providers are over, which no selector matches any more."""
        effects: list[Effect] = [Notice(f"{called(name)} has left: {OVER}") for name in sorted(gone - self._gone)]
        self._gone = gone
        return effects + self._turned(wall)

    def lossy(self, now: float) -> None:
        """Frames that switches sent up were dropped by the controller itself."""
        self._checks.lossy(now)

    # -- what can be asked ---------------------------------------------------------------------------------

    def states(self, computed: Computed, now: float) -> dict[tuple[str, str, str], ProviderState]:
        """The state of every provider of every service, by tenant, service and endpoint."""
        ended = dict.fromkeys(self._over, DRAINED)
        findings = Findings({**self._checks.failing, **ended}, self._unchecked, self.drains.left(now))
        return provider_states(computed.policy, computed.topology, computed.allocation.addresses, findings,
                               computed.leaving)  # fmt: skip

    def instance_states(self, computed: Computed) -> dict[tuple[str, str, str], InstanceState]:
        """The state of every instance of every function, by tenant, function and instance."""
        return instance_states(computed.policy, computed.topology, self._checks.failing, self._unchecked)

    # -- inside --------------------------------------------------------------------------------------------

    def _deadlines(self, now: float, wall: float) -> list[Effect]:
        """Drains whose time is over now, or not any more."""
        if now < self._over_next:
            return []
        over, self._over_next = self.drains.over(now), self.drains.next(now)
        effects: list[Effect] = []
        for name in sorted(over - self._over):
            effects.append(self._event(Turn(name, False, DRAINED), wall))
        self._over = over
        return effects + self._turned(wall)

    def _turned(self, wall: float) -> list[Effect]:
        """What is to be said of who stands differently now; and `unready` is brought up to date."""
        effects: list[Effect] = [self._event(turn, wall) for turn in self._checks.turns]
        self._checks.turns.clear()
        unready = self._over | self._gone | self._checks.failing.keys()
        if unready != self.unready:
            self.unready = frozenset(unready)
        return effects

    def _event(self, turn: Turn, wall: float) -> Notice:
        words = {True: "serves again", False: "is unready"}
        if turn.name.startswith("functions/"):
            words = {True: "works again", False: "is out"}
        text = f"{called(turn.name)} {words[turn.ready]}: {turn.reason}"
        self.events.append(Event(wall, turn.name, turn.ready, text))
        return Notice(text)


def called(name: str) -> str:
    """A provider or an instance as people call it."""
    section, tenant, owner, item = name.split("/")
    what = f"provider {item} of service" if section == "services" else f"instance {item} of function"
    return f"{what} {owner}" + ("" if tenant == "default" else f" of tenant {tenant}")
