"""A packet's way from function to function, held against what the policy wants of it at each step.

What is wanted is not known beforehand: what comes out of a function may fall to classifiers of its own, and what
a translating function sends on is another packet. So the evaluator is asked again where that happens, and the
frame that is expected further on is the one the last router sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.tables import GATEWAY_MAC
from controller_app.verification.evaluate import Evaluator, Expectation, Target
from controller_app.verification.packet import Packet, addresses, changed, describe, mac_int, mac_text, ports
from controller_app.verification.stations import modes
from controller_app.verification.walk import Fate, Visit
from controller_app.verification.wrapping import inside, tag_of, wrapped

_BROADCAST = 0xFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class Member:
    """A host that is an instance of a function."""

    tenant: str
    function: str
    instance: str
    mode: str
    handover: str = "label"


def members_of(policy: Policy) -> Mapping[str, Member]:
    """Host -> what it is an instance of."""
    return {instance.host: Member(tenant.name, function.name, instance.name, function.mode, function.handover)
            for tenant in policy.tenants.values() for function in tenant.functions.values()
            for instance in function.instances.values()}


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy that a tap has to get: after so many functions on the path, of this frame."""

    tap: str
    after: int
    frame: Packet


@dataclass(slots=True)
class Journey:
    """What was found of one fate. `wanted` counts for what is left of the way: `left` are the functions still to be
    met, `frame` is what the last sender wrote. `over`: nothing is expected of the rest. `strayed`: it came to where
    it should not be, and was not followed further. `unsure`: nothing says its further way. `branched`: a classifier
    for what comes out of a function took it elsewhere; `forgetful`: and that to a chain of stickiness none, from or
    through functions that lose labels, so that its receiver is chosen by the hash alone. `legs`: what was wanted of
    each of the packets that it was, one more with each translation. `began`: the hops before the chain it is on now."""

    wanted: Expectation
    frame: Packet
    left: tuple[str, ...]
    met: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    over: bool = False
    strayed: bool = False
    unsure: bool = False
    branched: bool = False
    forgetful: bool = False
    began: int = 0
    legs: list[Expectation] = field(default_factory=list)


@dataclass(frozen=True)
class Guide:
    """Follows packets on one topology."""

    evaluator: Evaluator
    topology: Topology
    functions: Mapping[str, Member]

    def follow(self, wanted: Expectation, sent: Packet, fate: Fate) -> Journey:
        """Replay what a packet met. `sent` is what its sender wrote, as functions are to see it."""
        journey = Journey(wanted, _marked(sent, wanted), wanted.order, legs=[wanted])
        for visit in fate.visits:
            member = self.functions.get(visit.host)
            self._taps(journey)
            if member is not None and not modes()[member.mode].on_path:
                return journey  # the last of a copy's fate
            if not self._arrived(journey, visit, member):
                return journey
            if visit.sent is None:
                journey.over = member is not None and modes()[member.mode].cuts
                return journey
            assert member is not None
            self._onward(journey, visit, member)
            if journey.wanted.refused or journey.wanted.conflict or journey.unsure:
                return journey
        self._taps(journey)
        return journey

    def losing(self, tenant: str) -> set[str]:
        """The functions of a tenant that do not give labels back."""
        return {member.function for member in self.functions.values()
                if member.tenant == tenant
                and (member.handover == "original" or not modes()[member.mode].brings_label)}

    def name(self, host: str | None) -> str:
        """A function's name for people."""
        member = self.functions.get(host or "")
        return f"{host}" if member is None else f"{member.function} ({member.instance})"

    def delivery(self, journey: Journey, fate: Fate | Visit) -> list[str]:
        """What is wrong with what a receiver gets."""
        wanted = journey.wanted
        target = next((target for target in wanted.targets if target.host == fate.host), None)
        if target is None:
            allowed = ", ".join(sorted({target.host for target in wanted.targets}))
            return [f"{fate.host} receives it, and only {allowed or 'nobody'} may"]
        return list(self._received(target, journey.frame, fate.packet, fate.arm))

    def _taps(self, journey: Journey) -> None:
        """Copies that are due before the packet goes on."""
        while journey.left and journey.left[0] not in journey.wanted.functions:
            journey.copies.append(Copy(journey.left[0], len(journey.met), journey.frame))
            journey.left = journey.left[1:]

    def _arrived(self, journey: Journey, visit: Visit, member: Member | None) -> bool:
        """Whether the packet may be where it is; what is wrong with it there is a problem, but no reason to stop."""
        named = member is not None and member.tenant == journey.wanted.tenant
        name = member.function if member is not None and named else visit.host
        expected = (*journey.met, *(left for left in journey.left if left in journey.wanted.functions))
        journey.met.append(name)
        if journey.left and journey.left[0] == name:
            assert member is not None
            journey.left = journey.left[1:]
            found = self._handed(journey, visit, member)
            # What is sent to the function itself may as well be delivered to it.
            if found and any(target.host == visit.host for target in journey.wanted.targets):
                found = self.delivery(journey, visit)
            journey.problems += found
            return True
        if not journey.left and any(target.host == visit.host for target in journey.wanted.targets):
            journey.problems += self.delivery(journey, visit)
            return True
        journey.strayed = True
        journey.problems.append(f"it meets {', '.join(journey.met)} and should meet {', '.join(expected) or 'none'}")
        return False

    def _onward(self, journey: Journey, visit: Visit, member: Member) -> None:
        """What is wanted of what came out of a function."""
        assert visit.sent is not None
        if modes()[member.mode].is_host:
            journey.frame = _untagged(visit.sent)
        if visit.translated:
            itself = any(target.host == visit.host for target in journey.wanted.targets)
            # What is sent to its address in so many words may be an answer, or not: nothing says how it goes on.
            journey.unsure = itself and journey.wanted.classifier is not None and not journey.wanted.mirrored
            again = self.evaluator.evaluate(journey.frame, visit.host, member.function)
            journey.wanted, journey.left = again, _rest(again.order, member.function)
            journey.legs.append(again)
        branch = self.evaluator.branch(member.tenant, member.function, journey.frame)
        if branch is None:
            if visit.translated:
                journey.frame = _marked(journey.frame, journey.wanted)
        else:
            journey.branched = True
            journey.began = visit.hop
            remembered = branch.chain is None or branch.chain.stickiness == "connection"
            losing = self.losing(member.tenant).intersection((member.function, *branch.functions))
            journey.forgetful |= not remembered and bool(losing)
            journey.unsure |= bool(branch.alternatives)
            journey.wanted = _towards(branch, journey.wanted)
            journey.left = branch.order
            journey.frame = _marked(journey.frame, branch)

    def _handed(self, journey: Journey, visit: Visit, member: Member) -> list[str]:
        """What is wrong with what a function sees."""
        name, host, seen = self.name(visit.host), self.topology.hosts[visit.host], visit.packet
        found = []
        arm = "out" if journey.wanted.reversed else "in"
        if journey.wanted.reversed is not None and len(host.attach) > 1 and visit.arm != arm:
            found.append(f"it enters {name} by its arm {visit.arm!r} and should by {arm!r}")
        mac = host.arm_mac(visit.arm)
        if member.mode == "nsh":
            inner = inside(seen)
            if inner is None:
                return [*found, f"{name} sees no NSH: {describe(seen)}"]
            if seen.get("eth_dst") not in ({mac_int(mac)} if mac is not None else {_BROADCAST}):
                found.append(f"{name} sees it for {mac_text(seen.get('eth_dst', 0))}, and its MAC is {mac}")
            seen = inner
        else:
            found += self._outside(name, visit.host, seen)
        frame = journey.frame
        if modes()[member.mode].is_host and mac is not None and seen.get("eth_dst") != mac_int(mac):
            found.append(f"{name} sees it for {mac_text(seen.get('eth_dst', 0))}, and its MAC is {mac}")
        if member.handover == "original" and seen.get("eth_dst") != frame["eth_dst"]:
            found.append(f"{name} sees it for {mac_text(seen.get('eth_dst', 0))} and should see "
                         f"{mac_text(frame['eth_dst'])}, as its sender wrote")
        return found + differences(name, frame, seen)

    def _outside(self, name: str, host: str, seen: Packet) -> list[str]:
        """What switches put on frames between themselves, and a wrong tag."""
        found = []
        if wrapped(seen):
            found.append(f"{name} sees what switches put on frames between themselves: {describe(seen)}")
        vlan = self.topology.hosts[host].vlan
        if tag_of(seen) != vlan:
            found.append(f"{name} sees {_tag_text(tag_of(seen))} and should see {_tag_text(vlan)}")
        return found

    def _received(self, target: Target, sent: Packet, got: Packet, arm: str) -> list[str]:
        host = target.host
        found = self._outside(host, host, got)
        mac = self.topology.hosts[host].arm_mac(arm)
        if mac is not None and got.get("eth_dst") != mac_int(mac):
            found.append(f"{host} receives it for {mac_text(got.get('eth_dst', 0))}, and its MAC is {mac}")
        before, after = addresses(sent), addresses(got)
        if before is None or after is None:
            return [*found, f"{host} receives {describe(got)}"]
        # No host answers itself: it is asked from the address of the service.
        sender = before[1] if target.address == before[0] else before[0]
        if after[0] != sender:
            found.append(f"it comes from {after[0]} and should come from {sender}")
        if after[1] != target.address:
            found.append(f"it arrives for {after[1]} and should be for {target.address}")
        sides, got_sides = ports(sent), ports(got)
        if sides is not None and got_sides is not None:
            port = sides[1] if target.port is None else target.port
            if got_sides[0] != sides[0]:
                found.append(f"it comes from port {got_sides[0]} and should come from {sides[0]}")
            if got_sides[1] != port:
                found.append(f"it arrives for port {got_sides[1]} and should be for {port}")
        routed = sent["eth_dst"] == GATEWAY_MAC
        source = GATEWAY_MAC if routed else sent["eth_src"]
        if got.get("eth_src") != source:
            found.append(f"its sender is {mac_text(got.get('eth_src', 0))} and should be {mac_text(source)}")
        for what, key, value in (("TTL", "ttl", sent["ttl"] - routed), ("DSCP", "ip_dscp", sent.get("ip_dscp", 0))):
            if got.get(key, 0) != value:
                found.append(f"its {what} is {got.get(key, 0)} and should be {value}")
        return found


def differences(name: str, wanted: Packet, seen: Packet) -> list[str]:
    """How what a function or tap sees differs from what was sent, destination MAC aside."""
    if (addresses(seen), seen.get("ip_proto"), ports(seen)) != (addresses(wanted), wanted.get("ip_proto"),
                                                                ports(wanted)):
        return [f"{name} sees {describe(seen)} and should see {describe(wanted)}"]
    asked: tuple[tuple[str, str, Callable[[int], object]], ...] = (
        ("TTL", "ttl", int), ("DSCP", "ip_dscp", int), ("sender", "eth_src", mac_text))
    return [f"{name} sees {what} {text(seen.get(key, 0))} and should see {text(wanted.get(key, 0))}"
            for what, key, text in asked if seen.get(key, 0) != wanted.get(key, 0)]


def _rest(order: tuple[str, ...], function: str) -> tuple[str, ...]:
    """What of a list comes after a function; all of it when the function is not in it."""
    return order[order.index(function) + 1:] if function in order else order


def _towards(branch: Expectation, before: Expectation) -> Expectation:
    return replace(branch, targets=before.targets, service=before.service)


def _marked(frame: Packet, wanted: Expectation) -> Packet:
    frame = _untagged(frame)
    return frame if wanted.dscp is None else changed(frame, ip_dscp=wanted.dscp)


def _untagged(frame: Packet) -> Packet:
    """The frame as it is inside: a host's tag is on its port only."""
    return {name: value for name, value in frame.items() if name != "vlan_tci"}


def _tag_text(vlan: int | None) -> str:
    return "no VLAN tag" if vlan is None else f"VLAN {vlan}"
