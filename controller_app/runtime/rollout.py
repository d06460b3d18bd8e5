"""One change of many switches, stage by stage: what packets may be sent along is everywhere before anything sends them
there, and nothing goes away before nobody is on it.

    LOOK ── all said what they hold ──► PATHS ── all confirmed ──► CHOICES ── all confirmed ──► ALL
                                          ▲                           │ drained, where ways turn   │
                                          └────────── something else is wanted ◄───────────────────┘

A barrier's answer says that a switch's tables hold the rules. What its datapath cached of the old ones answers for a
while longer: Open vSwitch goes over all of that within `max-revalidator`, 500 ms unless set otherwise
(ovs-vswitchd.conf.db(5), other_config). Then there are packets on links, and in functions. So what was wanted before
stays for `DRAIN` seconds after all switches confirmed that nothing sends packets there any more: a state of the past,
each with its own time. What is wanted next begins at once and takes nothing of these with it.

A switch that does not answer holds the others up for a while only: what goes on without it may lose packets, and lets
none past its functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from controller_app.model.flow import FlowState, SwitchState
from controller_app.model.topology import Topology
from controller_app.reconcile.changes import Former, Stage
from controller_app.reconcile.reconciler import SwitchSync, Want
from controller_app.reconcile.turning import Turning, turning

LONGEST_WAIT = 2.0  # seconds in a stage
LONGEST_LOOK = 5.0  # from the first switch that connects, until all are asked what they hold
DRAIN = 1.0  # seconds: twice what Open vSwitch takes to follow, which is far more than a packet is under way

Syncs = Mapping[str, SwitchSync]  # of the switches that ever connected, by name


@dataclass(frozen=True, slots=True)
class Past:
    """What was wanted of all switches; None: whatever they hold. over: when nothing is under way on it any more; None
    as long as some switch may still send packets there."""

    state: FlowState | None
    over: float | None = None


@dataclass(frozen=True)
class Rollout:
    """How far what is `wanted` has come, as a value: every step gives the next one, and this one where nothing follows.
    until: when the stage has lasted too long; None as long as no switch is there. drained: when ways may be what is
    wanted, after all were turned; None before."""

    wanted: FlowState = field(default_factory=dict)
    stage: Stage = Stage.ALL
    until: float | None = 0.0
    pasts: tuple[Past, ...] = ()
    turning: Turning = field(default_factory=Turning)
    drained: float | None = None

    @staticmethod
    def started(wanted: FlowState) -> Rollout:
        """Nobody knows what switches hold: the change of a controller that died half way, maybe."""
        return Rollout(wanted, Stage.LOOK, None, (Past(None),))

    @property
    def over(self) -> bool:
        """Is nothing of the past left, so that its labels and numbers may mean something else?"""
        return self.stage is Stage.ALL and not self.pasts

    def begin(self, wanted: FlowState, syncs: Syncs, topology: Topology, now: float) -> Rollout:
        """Something else is wanted of the switches. topology: the network it was made for."""
        if self.stage is Stage.LOOK:
            return replace(self, wanted=wanted)
        pasts = (*self._left(now), Past({**self.wanted, **self.turning.after}))
        return self._starting(wanted, pasts, syncs, topology, now)

    def on(self, syncs: Syncs, topology: Topology, now: float) -> Rollout:
        """What follows from what switches confirmed, and from time."""
        pasts = self._left(now)
        rollout = self if len(pasts) == len(self.pasts) else replace(self, pasts=pasts)
        there = [sync for sync in syncs.values() if sync.phase != "away"]
        if self.stage is Stage.LOOK:
            return rollout._look(there, syncs, topology, now)
        assert self.until is not None
        if self.drained is not None:
            return rollout._turned(now) if now >= self.drained else rollout
        if not (now >= self.until or all(sync.waits for sync in there)):
            return rollout
        if self.stage is Stage.PATHS:
            return replace(rollout, stage=Stage.CHOICES, until=now + LONGEST_WAIT)
        draining = tuple(past if past.over is not None else Past(past.state, now + DRAIN) for past in pasts)
        if self.stage is Stage.CHOICES and self.turning:
            return replace(rollout, pasts=draining, drained=now + DRAIN)
        if self.stage is Stage.CHOICES:
            return replace(rollout, pasts=draining, stage=Stage.ALL, until=now + LONGEST_WAIT)
        return rollout if draining == pasts else replace(rollout, pasts=draining)

    def want(self, switch: str) -> Want:
        """What a switch is to be told."""
        state = self.wanted.get(switch)
        if self.turning:
            state = (self.turning.before if self.stage is Stage.PATHS else self.turning.after).get(switch, state)
        formers = tuple(self._formers(switch))
        return Want(state or SwitchState(), self.stage, formers, bool(self.turning) and switch in self.turning.after)

    def _formers(self, switch: str) -> Iterator[Former]:
        for past in self.pasts:
            if past.state is None:
                yield None
            elif switch in past.state:
                yield past.state[switch]

    def _left(self, now: float) -> tuple[Past, ...]:
        return tuple(past for past in self.pasts if past.over is None or now < past.over)

    def _look(self, there: list[SwitchSync], syncs: Syncs, topology: Topology, now: float) -> Rollout:
        if not there:
            return self
        if self.until is None:
            return replace(self, until=now + LONGEST_LOOK)
        here = all(name in syncs and syncs[name].phase != "away" for name in self.wanted)
        if now < self.until and not (here and all(sync.waits for sync in there)):
            return self
        if not any(sync.phase == "held-back" for sync in there):
            return Rollout(self.wanted)
        return self._starting(self.wanted, self.pasts, syncs, topology, now)

    def _turned(self, now: float) -> Rollout:
        """No packet is on the old ways any more: the rules themselves become the new ones."""
        pasts = (*self.pasts, Past({**self.wanted, **self.turning.after}))
        return Rollout(self.wanted, Stage.ALL, now + LONGEST_WAIT, pasts, Turning(last=self.turning.last))

    def _starting(
        self, wanted: FlowState, pasts: tuple[Past, ...], syncs: Syncs, topology: Topology, now: float
    ) -> Rollout:
        told = ((name, sync.target or sync.held or sync.trusted) for name, sync in syncs.items())
        held = {name: state for name, state in told if state is not None}
        earlier = [past.state for past in pasts if past.state is not None]
        turned = turning(wanted, held, earlier, topology, self.turning.last)
        return Rollout(wanted, Stage.PATHS, now + LONGEST_WAIT, pasts, turned)
