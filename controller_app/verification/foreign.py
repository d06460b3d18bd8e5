"""Whether flows of others change what becomes of packets that a policy decides about.

What a switch holds of others is put beside ours, and the packet classes it can touch are walked again. What others do
with packets that no classifier, function or `default: deny` is about is their business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from controller_app.model.allocation import Allocation
from controller_app.model.flow import CONTROLLER, Flow, FlowState, Group, Output, SwitchState
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.cookies import is_ours
from controller_app.pipeline.ofctl import format_flow
from controller_app.verification.aimed import aimed_at
from controller_app.verification.classes import PacketClass, packet_classes
from controller_app.verification.coverage import Coverage
from controller_app.verification.verified import Verified
from controller_app.verification.verify import Checker, Finding
from controller_app.verification.walk import Fate, Walk, walk_from
from controller_app.verification.witness import Witness

NOT_FOLLOWED = Output(0xFFFF_FFFA)  # OFPP_NORMAL: where packets go then is not known
MOST = 20  # flows of others that are named
AIMED = 4_000  # packets made for single flows of others that are tried


@dataclass(frozen=True)
class Held:
    """What one switch holds of others: flows, and the groups they may use. What a flow does that there are no words
    for is NOT_FOLLOWED."""

    flows: tuple[Flow, ...] = ()
    groups: Mapping[int, Group] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Crossing:
    """A flow of others that a packet of a policy meets, with what becomes of that packet. lost: it is only dropped, and
    gets nowhere it should not."""

    switch: str
    flow: Flow
    finding: Finding
    lost: bool


def beside(state: FlowState, held: Mapping[str, Held]) -> FlowState:
    """Ours with what others have. Where a flow of theirs has the place of one of ours, ours is not sent."""
    merged = dict(state)
    for name, others in held.items():
        ours = state.get(name, SwitchState())
        flows = {**ours.flows, **{flow.key: flow for flow in others.flows}}
        merged[name] = SwitchState(flows, {**others.groups, **ours.groups}, ours.meters)
    return merged


def others_in(state: FlowState) -> dict[str, Held]:
    """What of a state that was read from switches is not ours."""
    return {
        name: Held(tuple(flow for flow in each.flows.values() if not is_ours(flow.cookie)), each.groups)
        for name, each in state.items()
    }


def met(walk: Walk) -> Iterator[tuple[str, Flow]]:
    """The flows of others that a walk met, with their switches, each once."""
    found = (
        (hop.switch, flow) for fate in walk.fates for hop in fate.hops for flow in hop.rules if not is_ours(flow.cookie)
    )
    yield from dict.fromkeys(found)


def crossings(
    policy: Policy,
    topology: Topology,
    state: FlowState,
    allocation: Allocation | None,
    held: Mapping[str, Held],
    before: Verified | None = None,
) -> tuple[Crossing, ...]:
    """The flows of others that change what becomes of a packet the policy decides about: the first such packet for
    each, MOST at most, those that let packets go elsewhere before those that only drop them. before: what was verified
    of ours alone, of which only what these flows touch is walked again. The state by itself is taken to be right."""
    held = {name: others for name, others in held.items() if others.flows}
    if not held:
        return ()
    before = None if before is None or before.witness.is_full else before
    witness = Witness(None if before is None else before.witness)
    merged = beside(state, held)
    checker = Checker(policy, topology, merged, allocation, witness)
    known: Mapping[PacketClass, object] = {}
    coverage = Coverage()
    if before is not None:
        known, coverage = before.still(policy, topology, checker.evaluator, merged)
        checker.network.learn(before.network)
    found: dict[tuple[str, Flow], Crossing] = {}
    usual = tuple(packet_classes(checker.evaluator, topology, checker.network.runs()))
    aimed = aimed_at({name: others.flows for name, others in held.items()}, checker.evaluator.stations, usual)
    for tried in dict.fromkeys((*(each for each in usual if each not in known), *islice(aimed, AIMED))):
        share = checker.share(tried, coverage)
        wrong = checker.check(tried, share)
        for finding in (*wrong, *_let_through(checker, tried)):
            if not _decided(finding):
                continue
            lost = _only_lost(finding)
            for place in met(finding.walk):
                if place not in found or (found[place].lost and not lost):
                    found[place] = Crossing(*place, finding, lost)
        seen = witness.testify()
        if share is not None and not wrong:
            coverage.done(share, seen)
        if sum(not crossing.lost for crossing in found.values()) >= MOST:
            break
    return tuple(sorted(found.values(), key=lambda crossing: crossing.lost)[:MOST])


def document(crossing: Crossing, allocation: Allocation | None) -> dict[str, Any]:
    """As JSON: switch, flow, whether packets are only lost, and the packet as verification shows it."""
    return {
        "switch": crossing.switch,
        "flow": format_flow(crossing.flow),
        "lost": crossing.lost,
        **crossing.finding.document(allocation),
    }


def _let_through(checker: Checker, tried: PacketClass) -> Iterator[Finding]:
    """What should be dropped and comes to a flow of others that may send it anywhere: a walk ends there, as it
    should."""
    packet, wanted = checker.frame(tried)
    if not wanted.refused or tried.kind == "forged":
        return
    for walk in walk_from(checker.network, packet, tried.host, arm=checker.arm(tried)):
        if any(_anywhere(fate) for fate in walk.fates):
            yield Finding(
                "it is to be dropped, and nobody knows what becomes of it", packet, tried.host, "forward", wanted, walk
            )


def _decided(finding: Finding) -> bool:
    """Whether the policy says something of this packet, and not only that it goes the shortest path."""
    wanted = finding.expected
    return wanted.classifier is not None or bool(wanted.functions) or (wanted.refused and finding.way != "forged")


def _only_lost(finding: Finding) -> bool:
    """Whether all that happens is that packets get nowhere. Where a flow of others hands them to the switch's own
    learning, to another application or out of a port where nothing is known to be, they may get anywhere."""
    return finding.loss and not any(_anywhere(fate) for fate in finding.walk.fates)


def _anywhere(fate: Fate) -> bool:
    """Whether a way ended with a flow of others that may have sent the packet anywhere."""
    last = fate.hops[-1].rules[-1] if fate.hops and fate.hops[-1].rules else None
    if last is None or is_ours(last.cookie):
        return False
    return fate.kind == "lost" or any(
        isinstance(action, Output) and action.port in (CONTROLLER, NOT_FOLLOWED.port) for action in last.actions
    )
