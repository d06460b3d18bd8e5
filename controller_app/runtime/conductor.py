"""Where everything meets: what is declared, what is found, what is wanted, and the switches.

Events come in by method calls, one at a time, from one thread. No sockets and no threads here: time comes
from the clock that is given, messages leave by the `send` of each switch. The order of things:

    event -> discovery -> (a little later) merge -> compile -> each switch's reconciler -> messages
                                                                   all confirmed -> answers held back go out
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Unpack

from controller_app.discovery.discovery import Declared, Discovery
from controller_app.discovery.liveness import Liveness
from controller_app.discovery.merge import LinkState, Merged, merge
from controller_app.discovery.merge_links import said_of
from controller_app.discovery.ports import Effect, Port, PortId
from controller_app.model.allocation import Allocation
from controller_app.model.policy import Policy
from controller_app.model.position import Diagnostic, PolicyError
from controller_app.model.topology import Topology
from controller_app.openflow import decode
from controller_app.pipeline.compile import compile_next
from controller_app.pipeline.cookies import is_ours
from controller_app.pipeline.tables import DECIDING, GATEWAY_MAC
from controller_app.reconcile.plan import Plan, plan
from controller_app.reconcile.reconciler import SwitchSync
from controller_app.runtime.answering import Teller, kind_of
from controller_app.runtime.checking import Checking
from controller_app.runtime.computed import Computed
from controller_app.runtime.conversation import Conversation
from controller_app.runtime.effects import carry_out
from controller_app.runtime.events import Events
from controller_app.runtime.expectations import expectations, names_ports
from controller_app.runtime.first import first
from controller_app.runtime.hashing import HashChoice
from controller_app.runtime.intent import Intent
from controller_app.runtime.keeping import Keeping
from controller_app.runtime.leaving import Leaving
from controller_app.runtime.link_load import LinkLoad
from controller_app.runtime.outcomes import Outcomes
from controller_app.runtime.resolving import Resolver, is_question
from controller_app.runtime.rollout import Rollout
from controller_app.runtime.service_stats import ServiceStats
from controller_app.runtime.shortfall import Watch, must_suit, room_of
from controller_app.runtime.unmet import unmet_now
from controller_app.runtime.watching import Watching
from controller_app.store.interface import Kept, Store, StoreError

LOG = logging.getLogger(__name__)

PAUSE = 0.02  # seconds that changes are collected before the network is computed anew
LONGEST_PAUSE = 1.0
RETRY = 5.0  # seconds until a network that could not be computed, for a fault of ours, is tried again


class Conductor:
    """One controller's work. `discovering`: hosts a policy names may still turn up. Without `symmetric_hash` the
    switches' own hash is not used, whatever they show of it. `wall` gives seconds since 1970. `utilisation_cost` is
    the weight of a link's load in its cost, see `LinkLoad`."""

    def __init__(
        self,
        declared: Topology,
        intent: Intent,
        store: Store,
        clock: Callable[[], float],
        key: bytes,
        observe_links: bool = True,
        discovering: bool = False,
        symmetric_hash: bool = True,
        wall: Callable[[], float] | None = None,
        utilisation_cost: float = 0.0,
    ) -> None:
        """Computes and verifies the first state at once: PolicyError when that fails, so nothing starts with a
        policy that cannot work."""
        self.store = store
        self.intent = intent
        self.problem: str | None = None  # why the newest network could not be computed, if so
        self.notices: list[str] = []
        self._clock, self._wall = clock, wall or clock
        self.events = Events(self._wall)
        self.outcomes = Outcomes(store)
        self._watching = Watching(self.events)
        self.outcomes.listeners.append(self._watching.became)
        self._declared = declared
        self._discovering = discovering
        self._discovery = Discovery(key, GATEWAY_MAC, observe_links)
        self._liveness = Liveness()
        self._conversations: dict[int, Conversation] = {}
        self.hashing = HashChoice(symmetric_hash)
        self.shortfall = Watch()
        self.teller = Teller()
        self.checking = Checking(key, store.drains(), clock(), self._wall())
        self.stats = ServiceStats()
        self._leaving = Leaving()
        self.load = LinkLoad(utilisation_cost)
        self.resolver = Resolver()
        self._listeners: list[Callable[[str, decode.PacketIn], bool]] = []
        self._merged = Merged(declared)
        self._revision = (-1, -1)  # of discovery and of link costs, when they were last looked at
        self._due: float | None = None
        self._pause = PAUSE
        self._retry: float | None = None
        self._merged_hosts = -1  # revision of the hosts in `topology`
        self._hosts_revision = -1  # of discovery, that what is wanted was computed from
        self._confirmed = -1
        self._keeping = Keeping(store)
        self._declare(intent.policy, store.allocation())
        self._discovery.restore(self._keeping.hosts())
        self._do(self.checking.follow(intent.policy, clock(), self._wall()))
        self._merge()
        self._computed: Computed | None = None
        self._computed, self.started_with, self.verified = first(
            lambda: self.compute(intent.policy, store.allocation()), self._forget_hosts
        )
        self._rollout = Rollout.started(self.computed.state)

    # -- what can be asked ---------------------------------------------------------------------------------

    @property
    def computed(self) -> Computed:
        """What the switches are to hold now, and what it was made of."""
        assert self._computed is not None  # there is one before there is a conductor
        return self._computed

    @property
    def topology(self) -> Topology:
        """The network as it is taken to be: declared and found."""
        return self._merged.topology

    @property
    def disagreements(self) -> tuple[str, ...]:
        """Where the declaration and what is found contradict each other."""
        return self._merged.problems

    @property
    def links(self) -> tuple[LinkState, ...]:
        """Every link, declared or found, used or not; `load` and `discovery.damping` know more of them."""
        return self._merged.links

    @property
    def unkept(self) -> str | None:
        """Why nothing can be kept for now, so that nothing can be changed."""
        return self._keeping.problem

    @property
    def discovery(self) -> Discovery:
        """What was found; to be looked at only."""
        return self._discovery

    def now(self) -> float:
        """The time that discovery counts in."""
        return self._clock()

    @property
    def conversations(self) -> Mapping[int, Conversation]:
        """By datapath id, every switch that ever connected."""
        return self._conversations

    @property
    def ports(self) -> Mapping[int, Mapping[int, Port]]:
        """Every port, by datapath id and number."""
        return self._discovery.ports

    def is_declared(self, host: str) -> bool:
        """Does the topology file name this host?"""
        return host in self._declared.hosts

    def settled(self) -> bool:
        """Is everything that is known computed, and confirmed by every connected switch?"""
        return self._due is None and self._revision == self._revisions() and not self.unconfirmed()

    def in_force(self) -> bool:
        """`settled`, but for what switches take away when nothing is under way on it any more."""
        known = self._due is None and self._revision == self._revisions()
        return known and all(talk.sync.settled for talk in self._conversations.values() if talk.connected)

    def unconfirmed(self) -> list[str]:
        """The connected switches that do not hold yet what they should, with the reason if there is one."""
        found = []
        for dpid, conversation in sorted(self._conversations.items()):
            if conversation.connected and not conversation.sync.in_sync:
                problem = conversation.sync.problem
                found.append(self.name_of(dpid) + (f" ({problem})" if problem else ""))
        return found

    def name_of(self, dpid: int) -> str:
        """A switch's name."""
        switch = self.topology.by_dpid.get(dpid)
        return switch.name if switch is not None else f"s{dpid}"

    # -- what is wanted ------------------------------------------------------------------------------------

    def compute(self, policy: Policy, allocation: Allocation | None = None) -> Computed:
        """What the switches are to hold under a policy. Changes nothing. Raises PolicyError."""
        return self._compile(policy, self.topology, allocation)

    def _compile(self, policy: Policy, topology: Topology, allocation: Allocation | None = None) -> Computed:
        portable = self.hashing.portable
        before = None if self._computed is None else self._computed.compiled
        if allocation is None and before is not None and before.allocation.retired and self._rollout.over:
            allocation = replace(before.allocation, retired={})  # no packet is under way any more that carries them
        return Computed(policy, topology, compile_next(before, policy, topology, allocation, portable), portable)

    def check(self, intent: Intent, declared: Topology | None = None) -> tuple[Computed, tuple[Diagnostic, ...]]:
        """What an intent would make of the network as it is, or would be were it declared otherwise, and the warnings.
        Raises PolicyError."""
        topology = self.topology if declared is None else self._network(declared).topology
        warnings = intent.check(topology, self._discovering, self.computed.compiled.unmet)
        computed = self.compute(intent.policy) if declared is None else self._compile(intent.policy, topology)
        return computed, (*warnings, *must_suit(computed, self.computed, self.talks(), intent.stored))

    def plan(self, computed: Computed, before: Computed | None = None) -> Plan:
        """The difference between what would be wanted and what is, or was before."""
        now = before or self.computed
        after, known = (computed.policy, computed.allocation), (room_of(self.talks()), self.stats.open_connections())
        return plan(computed.state, now.state, after, (now.policy, now.allocation), *known)

    def keep(self, intent: Intent, what: str, wall: float, **kept: Unpack[Kept]) -> None:
        """Keep an intent as a revision. StoreError where that fails; then it must not be sent."""
        self.outcomes.saved(self._keeping.revision(intent.stored, what, wall, **kept), wall)

    def adopt(
        self,
        intent: Intent,
        computed: Computed,
        what: str,
        wall: float,
        declared: Topology | None = None,
        **kept: Unpack[Kept],
    ) -> None:
        """Make an intent, checked before, the one that counts, on another network if that is declared with it; the
        switches are told what changes. StoreError where it cannot be kept; nothing was changed then."""
        self.keep(intent, what, wall, **kept)
        # Before anything is sent that has new numbers: who starts after a crash must not give them to others.
        with suppress(StoreError):  # tried again each second
            self._keeping.save(computed.allocation, self._discovery, self.checking.drains)
        if declared is not None:
            self._declared = declared
            self._merge()
        self.intent = intent
        self.problem = self._retry = None
        self._declare(intent.policy, computed.allocation)
        self._want(computed)
        if computed.topology == self.topology:
            self._hosts_revision = self._merged_hosts
        elif self._due is None:
            self._due = self._clock()

    # -- events --------------------------------------------------------------------------------------------

    def connected(self, dpid: int, ports: Iterable[Port], send: Callable[[bytes], None]) -> None:
        """A switch finished its handshake."""
        now = self._clock()
        conversation = self._conversations.get(dpid)
        if conversation is None:
            conversation = self._conversations[dpid] = Conversation(dpid, DECIDING)
        elif conversation.connected:
            conversation.disconnect(now)
        self._discovery.connected(dpid, self._liveness.described(dpid, ports), now)
        self._names_may_change()
        self.events.add("switch.connected", switch=self.name_of(dpid), dpid=f"{dpid:#x}")
        conversation.connect(send, now)
        self._after(now, (conversation,))

    def lost(self, dpid: int) -> None:
        """A switch's connection ended."""
        now = self._clock()
        conversation = self._conversations.get(dpid)
        if conversation is not None:
            self.outcomes.lost(self.name_of(dpid), conversation)
            self.events.add("switch.lost", switch=self.name_of(dpid), dpid=f"{dpid:#x}")
            conversation.disconnect(now)
        self._discovery.lost(dpid)
        self._after(now)

    def message(self, dpid: int, raw: bytes) -> None:
        """A switch said something."""
        now = self._clock()
        conversation = self._conversations.get(dpid)
        if conversation is None or not conversation.connected:
            return
        try:
            kind = decode.header(raw).kind
            if kind == decode.PACKET_IN:
                self._packet_in(dpid, decode.packet_in(raw), now)
            elif kind == decode.PORT_STATUS:
                self._port_status(dpid, decode.port_status(raw), now)
            elif kind == decode.FLOW_REMOVED:
                self.stats.removed(dpid, decode.flow_removed(raw), now)
            else:
                conversation.message(raw, now)
        except decode.WireError as error:
            self.notices.append(f"{self.name_of(dpid)}: an unreadable message: {error}")
        self._after(now, (conversation,))

    def tick(self) -> None:
        """Time went by. Call it some 20 times a second."""
        now = self._clock()
        for conversation in self._conversations.values():
            conversation.tick(now)
        changed = self.hashing.look((self.name_of(dpid), c.facts) for dpid, c in self._conversations.items())
        if changed is not None:
            self.notices.append(changed)
        self.notices += self.shortfall.look(self.computed, self.talks(), now)
        if self.computed.portable != self.hashing.portable and self._due is None and self._retry is None:
            self._due = now
        self._do(self._discovery.tick(now))
        talks = ((self.name_of(dpid), conversation) for dpid, conversation in self._conversations.items())
        self._do(self.checking.tick(now, self._wall(), talks))
        self.stats.tick(now, self._conversations, self.computed)
        if self._leaving.tick(now, self.computed, self.stats):
            self._do(self.checking.over(self._leaving.over, self._wall()))
        self.load.tick(now, self._conversations, self._merged.links, self.ports)
        self._after(now, self._conversations.values())
        self._keeping.tick(now, self.computed.allocation, self._discovery, self.checking.drains)
        self._watching.look(now, self._conversations, self.name_of, self.links, self.checking.events)
        self.outcomes.tick(now, self.computed, self._conversations)

    def lossy(self) -> None:
        """Frames of switches were dropped before they came here: what was not heard says nothing."""
        self.checking.lossy(self._clock())
        self._discovery.lossy()

    def listen(self, listener: Callable[[str, decode.PacketIn], bool]) -> Callable[[], None]:
        """Let someone see each frame that switches send up, before anyone else does; the answer True means
        it was his. Returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def ask_switch(self, switch: str, in_port: int, actions: tuple[object, ...], frame: bytes) -> bool:
        """Let a switch treat a frame; answers whether it is connected."""
        conversation = self._conversations.get(self.topology.switches[switch].dpid)
        if conversation is None or not conversation.connected:
            return False
        conversation.transmit(conversation.packet_out(in_port, actions, frame))  # type: ignore[arg-type]
        return True

    def save(self) -> None:
        """Keep what was learned. StoreError when that fails; it is then still to be kept."""
        self._keeping.save(self.computed.allocation, self._discovery, self.checking.drains)

    def talks(self) -> dict[str, Conversation]:
        """The conversations by the names of their switches."""
        return {self.name_of(dpid): conversation for dpid, conversation in self._conversations.items()}

    # -- inside --------------------------------------------------------------------------------------------

    def _network(self, declared: Topology) -> Merged:
        """What is declared and found, without the providers that checks and drains take out, and with what load makes
        of costs."""
        merged = merge(declared, self._discovery.observed())
        links = self.load.costed(merged.links)
        return replace(merged, topology=replace(merged.topology, links=links, unready=self.checking.unready))

    def _revisions(self) -> tuple[int, int]:
        return self._discovery.revision, self.load.revision

    def _forget_hosts(self) -> bool:
        """Answers whether there were any."""
        known = bool(self._discovery.observed().hosts)
        self._discovery.forget_hosts()
        self._merge()
        return known

    def _packet_in(self, dpid: int, packet: decode.PacketIn, now: float) -> None:
        if self._conversations[dpid].packet(packet):
            return
        if any(listener(self.name_of(dpid), packet) for listener in tuple(self._listeners)):
            return
        if kind_of(packet) is not None:
            self._do(self.teller.tell(self.computed, self.name_of(dpid), packet, now))
            return
        taken, effects = self.checking.packet(dpid, packet, now, self._wall())
        self._do(effects)
        if taken:
            return
        in_port = packet.fields.get("in_port")
        if in_port is not None and is_question(packet):
            self._do(self.resolver.tell(self.computed, PortId(dpid, in_port), packet, now))
            return
        if in_port is not None and is_ours(packet.cookie):
            self._do(self._discovery.frame(PortId(dpid, in_port), packet.data, now))

    def _port_status(self, dpid: int, status: decode.PortStatus, now: float) -> None:
        port = status.port
        if status.reason == 1:
            self._discovery.port_gone(dpid, port.number, now)
        else:
            speed = port.speed * 1e3 or None
            told = Port(port.number, port.name, port.mac, port.up, speed, port.live)
            self._discovery.port(dpid, self._liveness.described(dpid, (told,))[0], now)
        self._names_may_change()

    def _declare(self, policy: Policy, allocation: Allocation) -> None:
        observed = self._discovery.observed()
        declared: Declared = expectations(self._declared, observed.ports, policy, allocation)
        self._discovery.declare(declared)

    def _names_may_change(self) -> None:
        """Switches told their ports: names in the topology file may have numbers now, or others."""
        if names_ports(self._declared):
            self._declare(self.intent.policy, self.computed.allocation)

    def _merge(self) -> None:
        self._revision = self._revisions()
        self._merged_hosts = self._discovery.hosts_revision
        merged = self._network(self._declared)
        self.notices += [problem for problem in merged.problems if problem not in self._merged.problems]
        self.notices += said_of(self._merged.links, merged.links)
        self._merged = merged

    def _after(self, now: float, touched: Iterable[Conversation] = ()) -> None:
        """What may follow from any event: a new network to compute, confirmed switches, words to say.
        `touched` are the switches it may have changed something for."""
        changed = self._revision != self._revisions()
        if (changed or self.checking.unready is not self._merged.topology.unready) and self._due is None:
            self._due = now + self._pause
        if self._retry is not None and now >= self._retry and self._due is None:
            self._due = now
        if self._due is not None and now >= self._due:
            self._due = self._retry = None
            self._recompute()
        self._go_on(now)
        for conversation in touched:
            if conversation.sync.settled:
                self._discovery.ready(conversation.dpid, now)
            if conversation.started_anew():
                self._discovery.emptied(conversation.dpid, now)
            for notice in conversation.notices:
                self.notices.append(f"{self.name_of(conversation.dpid)}: {notice}")
            conversation.notices.clear()
        if (
            self._hosts_revision > self._confirmed
            and self._due is None
            and not any(
                conversation.connected and not conversation.sync.settled and not conversation.sync.failures
                for conversation in self._conversations.values()
            )
        ):
            self._confirmed = self._hosts_revision
            self._do(self._discovery.confirmed(self._confirmed, now))
        for notice in self.notices:
            LOG.warning("%s", notice)
        self.notices.clear()

    def _recompute(self) -> None:
        try:
            self._merge()
            computed = self.computed
            as_it_is = self.topology == computed.topology and self.hashing.portable == computed.portable
            if not as_it_is or self.problem is not None:
                started = self._clock()
                computed = self.compute(self.intent.policy)
                self._pause = min(LONGEST_PAUSE, max(PAUSE, 2 * (self._clock() - started)))
        except PolicyError as error:
            self._cannot(str(error), "the network changed and the policy does not fit it any more")
            return
        except Exception as error:
            # A fault of ours. What comes from the network must not end following the network: whatever is wrong
            # with this picture of it, the next one may be computed, and this one is tried again.
            self._retry = self._clock() + RETRY
            self._cannot(f"{type(error).__name__}: {error}", "the network as it is now cannot be computed", error)
            return
        self.problem = None
        self._want(computed)  # also when nothing changed: a switch may be new to the conversation
        self._hosts_revision = self._merged_hosts

    def _cannot(self, why: str, what: str, fault: Exception | None = None) -> None:
        """What runs goes on running: rules for the network as it was are better than none."""
        if why != self.problem:
            LOG.error("%s; the rules stay as they are:\n%s", what, why, exc_info=fault)
        self.problem = why
        self._want(self.computed)  # a switch may be new

    def _want(self, computed: Computed) -> None:
        now = self._clock()
        self.notices += unmet_now(self.computed.compiled.unmet, computed.compiled.unmet)
        if computed is not self.computed:
            self._rollout = self._rollout.begin(computed.state, self._syncs(computed), computed.topology, now)
        self._computed = computed
        self._do(self.checking.aim(computed, now, self._wall()))
        self._tell_switches(now)
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        """The next stages of a change, as far as all switches have come."""
        while (after := self._rollout.on(self._syncs(self.computed), self.computed.topology, now)) is not self._rollout:
            self._rollout = after
            self._tell_switches(now)

    def _syncs(self, computed: Computed) -> dict[str, SwitchSync]:
        """How far each switch has come, by its name in what is wanted."""
        known = computed.topology.by_dpid
        return {known[dpid].name: talk.sync for dpid, talk in self._conversations.items() if dpid in known}

    def _tell_switches(self, now: float) -> None:
        computed = self.computed
        by_dpid = computed.topology.by_dpid
        for dpid, conversation in self._conversations.items():
            switch = by_dpid.get(dpid)
            if switch is None:
                continue
            try:
                want = self._rollout.want(switch.name)
                conversation.want(want.state, now, want.until, want.formers, want.passing)
            except Exception:
                # What is wrong with one switch (a connection that ends just now) must not keep the others from
                # their rules. Its own reconciler finds no answer, and begins again.
                LOG.exception("%s could not be told what it is to hold", self.name_of(dpid))

    def _do(self, effects: Iterable[Effect]) -> None:
        self.notices += carry_out(effects, self._conversations)
