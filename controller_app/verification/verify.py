"""Try every class of packets on a flow state and compare with what the policy wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import networkx as nx

from controller_app.model.allocation import Allocation
from controller_app.model.flow import FlowState
from controller_app.model.policy import Policy
from controller_app.model.position import NOWHERE, Diagnostic, PolicyError
from controller_app.model.topology import Topology
from controller_app.pipeline.tables import GATEWAY_MAC
from controller_app.verification.classes import PacketClass, packet_classes, special
from controller_app.verification.conntrack import tuple_of
from controller_app.verification.coverage import Coverage, Share
from controller_app.verification.evaluate import Evaluator, Expectation, Target
from controller_app.verification.explain import hop_document
from controller_app.verification.judge import Judge, members_of
from controller_app.verification.packet import (
    ACK,
    TCP,
    Packet,
    addresses,
    changed,
    describe,
    ip_packet,
    mac_int,
    ports,
    reply_to,
)
from controller_app.verification.players import players
from controller_app.verification.verified import Verified
from controller_app.verification.walk import ALL_SLOTS, Fate, Network, Walk, walk_from
from controller_app.verification.witness import Evidence, Witness
from controller_app.verification.wrapping import tag_of, wrapped

MAX_FINDINGS = 20
FEW = 100  # classes for which it is not worth keeping what switches did


@dataclass(frozen=True, slots=True)
class Finding:
    """One packet that is not treated as the policy says. `way` is forward, return, "later packet" or
    forged."""

    what: str
    packet: Packet
    source: str
    way: str
    expected: Expectation
    walk: Walk

    @property
    def loss(self) -> bool:
        """Nothing got through that should not have: packets were only lost."""
        return not self.walk.of("delivered") and not self.walk.of("looped")

    def document(self, allocation: Allocation | None) -> dict[str, Any]:
        """The counterexample as JSON."""
        classifier = self.expected.classifier
        main = self.walk.main
        return {
            "what": self.what,
            "packet": describe(self.packet),
            "from": self.source,
            "way": self.way,
            "classifier": None if classifier is None else classifier.name,
            "position": None if classifier is None else str(classifier.where),
            "expected": {"verdict": self.expected.verdict, "functions": list(self.expected.functions),
                         "taps": list(self.expected.taps),
                         "hosts": sorted({target.host for target in self.expected.targets})},
            "walk": [] if main is None else [hop_document(hop, allocation) for hop in main.hops],
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome: how many classes of packets there are, what was found (at most 20 findings), and how many classes
    had to be tried: the others were before, on a state that is the same for them."""

    classes: int
    findings: tuple[Finding, ...] = ()
    allocation: Allocation | None = None
    tried: int = 0

    @property
    def ok(self) -> bool:
        return not self.findings

    @property
    def counterexample(self) -> dict[str, Any] | None:
        return self.findings[0].document(self.allocation) if self.findings else None

    def to_json(self) -> dict[str, Any]:
        """`{"ok": true, "classes": 812, "counterexample": null}`."""
        return {"ok": self.ok, "classes": self.classes, "counterexample": self.counterexample}


def verify(policy: Policy, topology: Topology, state: FlowState | None = None,
           allocation: Allocation | None = None, losses: bool = True) -> Report:
    """Try every packet class of the policy: forward, its reply, and a later packet of the same connection.

    state: what the switches hold (None: what `compile` makes of the policy). allocation: what it was compiled
    with; only names and allocated service addresses come from it. losses: whether a packet that is only lost is
    a finding.
    """
    if state is None:
        from controller_app.pipeline.compile import compile as compile_policy

        state, allocation = compile_policy(policy, topology, allocation)
    witness = Witness()
    return _verify(Checker(policy, topology, state, allocation, witness), witness, losses, None)[0]


def verify_change(policy: Policy, topology: Topology, state: FlowState, allocation: Allocation | None,
                  before: Verified | None = None, losses: bool | None = None) -> tuple[Report, Verified]:
    """`verify`, for what is about to be sent: while ports are down, or the network is in several parts, lost
    packets are no reason to refuse a policy. before: what was verified last; what a change since then does not touch
    is not tried again. losses: whether they count all the same, or not. Answers what is verified now as well."""
    whole = losses
    if whole is None:
        whole = nx.number_connected_components(topology.graph) == 1 and not topology.down
    before = None if before is None or before.witness.is_full else before
    witness = Witness(None if before is None else before.witness)
    checker = Checker(policy, topology, state, allocation, witness)
    return _verify(checker, witness, whole, before)


def _verify(checker: Checker, witness: Witness, losses: bool, before: Verified | None) -> tuple[Report, Verified]:
    evaluator, network = checker.evaluator, checker.network
    policy, topology, state = evaluator.policy, network.topology, network.state
    known: Mapping[PacketClass, tuple[Evidence, ...]] = {}
    coverage = Coverage()
    if before is not None:
        known, coverage = before.still(policy, topology, evaluator, state)
        network.learn(before.network)
    evidence: dict[PacketClass, tuple[Evidence, ...]] = {}
    findings: list[Finding] = []
    count = tried = 0
    # Connections first: what they show counts for fragments and errors as well.
    classes = sorted(packet_classes(evaluator, topology, network.runs()), key=lambda each: bool(each.kind))
    checker.network = network = replace(network, keeps=sum(each not in known for each in classes) > FEW)
    for representative in classes:
        count += 1
        seen = known.get(representative)
        if seen is not None:
            evidence[representative] = seen
        elif len(findings) < MAX_FINDINGS:
            tried += 1
            share = checker.share(representative, coverage)
            wrong = checker.check(representative, share)
            found = [found for found in wrong if losses or not found.loss]
            findings += found
            own = witness.testify()
            if share is not None and not wrong:
                coverage.done(share, own)
            if not found:
                evidence[representative] = (own,) if share is None else (own, *share.relied)
    report = Report(count, tuple(findings[:MAX_FINDINGS]), evaluator.allocation, tried)
    return report, Verified(policy, evaluator, network, witness, evidence, coverage)


def must_hold(policy: Policy, topology: Topology, state: FlowState, allocation: Allocation,
              before: Verified | None = None) -> tuple[Report, Verified]:
    """`verify_change`; raises PolicyError with the first packet that would be treated otherwise than the policy
    says."""
    report, verified = verify_change(policy, topology, state, allocation, before)
    if report.findings:
        first = report.findings[0]
        classifier = first.expected.classifier
        raise PolicyError([Diagnostic(
            NOWHERE if classifier is None else classifier.where,
            f"tenants.{first.expected.tenant}" if classifier is None else f"classifiers.{classifier.name}",
            f"the rules made of this policy do not do what it says: {describe(first.packet)} from {first.source} "
            f"({first.way}): {first.what}",
            "nothing was sent; `chainctl verify -o json` shows the packet's walk; please report it",
        )])
    return report, verified


class Checker:
    """Checks single packets against one policy and one flow state."""

    def __init__(self, policy: Policy, topology: Topology, state: FlowState,
                 allocation: Allocation | None = None, witness: Witness | None = None) -> None:
        self.evaluator = Evaluator(policy, topology, allocation)
        self.evaluator.witness = witness
        self.judge = Judge(self.evaluator, topology, members_of(policy))
        self.network = Network(topology, state, players(policy, topology), witness=witness)
        self._topology = topology
        self._macs = {station.mac for station in self.evaluator.stations} | {GATEWAY_MAC}

    def frame(self, tried: PacketClass) -> tuple[Packet, Expectation]:
        """The frame this host really sends, to its gateway or straight to the other host, and what is
        expected of it."""
        packet = ip_packet(tried.source, tried.destination, tried.protocol, tried.sport, tried.dport,
                           eth_src=self._mac(tried.host, self.arm(tried)), eth_dst=GATEWAY_MAC)
        packet = special(packet, tried.kind)
        if tried.dscp:
            packet = changed(packet, ip_dscp=tried.dscp)
        wanted = self.evaluator.evaluate(packet, tried.host)
        vlan = self._topology.hosts[tried.host].vlan
        frame = self._addressed(packet, wanted)
        if tried.kind == "forged":
            wanted = Expectation(tried.tenant, "deny", targets=wanted.targets)
        return frame if vlan is None else changed(frame, vlan_tci=0x1000 | vlan), wanted

    def arm(self, tried: PacketClass) -> str:
        """The arm by which a host sends from an address."""
        arms = [station.arm for station in self.evaluator.stations
                if station.host == tried.host and station.reach(tried.source) is not None]
        return arms[0] if arms else next(iter(self._topology.hosts[tried.host].attach))

    def share(self, tried: PacketClass, coverage: Coverage) -> Share | None:
        """Which ways have to be gone for this packet, after others."""
        wanted = self.frame(tried)[1]
        if self._itself(tried, wanted) or any(target.host == tried.host for target in wanted.targets):
            return None
        ends = frozenset(end.switch for target in wanted.targets
                         for end in self._topology.hosts[target.host].attach.values())
        return coverage.share(wanted, ends, tried.kind, tried.protocol == TCP, tried.destination.version)

    def check(self, tried: PacketClass, share: Share | None = None) -> list[Finding]:
        """Everything wrong with this packet, its reply and the packet after that, whichever way it goes, but for those
        that `share` leaves out.

        Not judged is what no translating function can translate: a fragment, an error whose cause it cannot be seen to
        belong to, and what is sent to itself.
        """
        packet, wanted = self.frame(tried)
        itself = self._itself(tried, wanted)
        if (itself or tried.kind in ("fragment", "first fragment", "error")) and self._translates(wanted):
            return []
        found: list[Finding] = []
        way = "forged" if tried.kind == "forged" else "forward"
        for walk in walk_from(self.network, packet, tried.host, arm=self.arm(tried), share=share):
            delivered = walk.of("delivered")
            if wanted.service is not None and ports(packet) is None and _is_echo(packet, delivered):
                continue  # the switch answered for the service
            problems = self.judge.problems(wanted, packet, walk)
            if tried.kind == "forged":  # nobody is to learn from it either
                problems += [f"it is forged, and the controller gets it: {fate.reason}"
                             for fate in walk.of("controller")]
            found += [Finding(what, packet, tried.host, way, wanted, walk) for what in problems]
            if not problems and not wanted.refused and delivered and not tried.kind and not itself:
                found += self._conversation(tried, packet, wanted, walk, delivered[0])
                if wanted.functions:
                    found += self._forged(tried, packet, wanted, delivered[0])
        return found

    def _itself(self, tried: PacketClass, wanted: Expectation) -> bool:
        """Whether it is from or for a translating function."""
        ends = [self.evaluator.station(wanted.tenant, end) for end in (tried.source, tried.destination)]
        return any(station is not None and station.mode == "translating" for station in ends)

    def reply(self, packet: Packet, wanted: Expectation, fate: Fate) -> tuple[Packet, Packet, Expectation]:
        """The receiver's answer as it leaves the receiver, the same as functions are to see it, and what is
        expected of it."""
        assert fate.host is not None
        answer = reply_to(fate.packet, eth_src=self._mac(fate.host, fate.arm), eth_dst=GATEWAY_MAC)
        if answer.get("ip_dscp", 0) != packet.get("ip_dscp", 0):
            answer = changed(answer, ip_dscp=packet.get("ip_dscp", 0))  # what the sender asked for, not our mark
        seen = answer
        if wanted.service is not None:
            ends, sides = addresses(packet), ports(packet)
            assert ends is not None
            seen = changed(answer, source=ends[1], sport=None if sides is None else sides[1])
            came = addresses(fate.packet)
            if came is not None and came[0] == ends[1]:  # a provider asked itself: its own address is put back as well
                seen = changed(seen, destination=ends[0])
                expected = self.evaluator.evaluate(seen, fate.host)
                back = (Target(fate.host, ends[0], None, True),)
                expected = replace(expected, targets=back, alternatives=tuple(
                    replace(other, targets=back) for other in expected.alternatives))
                return self._addressed(answer, expected), self._addressed(seen, expected), expected
        expected = self.evaluator.evaluate(seen, fate.host)
        return self._addressed(answer, expected), self._addressed(seen, expected), expected

    def _conversation(self, tried: PacketClass, packet: Packet, wanted: Expectation, walk: Walk,
                      fate: Fate) -> list[Finding]:
        answer, seen, expected = self.reply(packet, wanted, fate)
        assert fate.host is not None
        if tuple_of(answer) == tuple_of(packet):
            return []  # it asks itself from the port that it serves at: nothing tells its answers from its questions
        through = self.judge.instances(fate)
        # A service without a chain is always remembered where it was chosen.
        sticky = wanted.service is not None
        if wanted.chain is not None:
            sticky = wanted.chain.stickiness == "connection"
        sticky = sticky and not self.judge.follow(wanted, packet, fate).forgetful
        # A provider that asks itself is judged for the slots as they are, not for what its port remembers.
        sticky = sticky and fate.host != tried.host
        found: list[Finding] = []
        connections = walk.connections
        # Where the edges remember, the way back must not depend on the hash. A connection that starts in the
        # direction of replies is no reply to anything: there each edge chooses, by the same hash.
        anew = sticky and not wanted.reversed and self._remembered(expected, through)
        # Edges hash a service's reply with the service's address put back.
        slots, hashes = (ALL_SLOTS, None) if anew else (walk.slots_of(seen), walk.hashes)
        for back in walk_from(self.network, answer, fate.host, arm=fate.arm, connections=connections, slots=slots,
                              hashes=hashes):
            problems = self.judge.problems(expected, seen, back)
            for returned in back.of("delivered"):
                if not problems and self._differs(wanted, packet, fate, expected, seen, returned):
                    problems = [f"its reply meets {', '.join(self.judge.instances(returned)) or 'none'}, and it met "
                                f"{', '.join(through)}"]
            found += [Finding(what, answer, fate.host, "return", expected, back) for what in problems]
            connections = back.connections
        if found:
            return found
        # A later packet: the same way, whatever the groups would choose now.
        slots, hashes = (ALL_SLOTS & ~walk.slots or ALL_SLOTS, None) if sticky else (walk.slots, walk.hashes)
        packet = changed(packet, tcp_flags=ACK) if "tcp_flags" in packet else packet
        for later in walk_from(self.network, packet, tried.host, arm=self.arm(tried), connections=connections,
                               slots=slots, hashes=hashes):
            problems = self.judge.problems(wanted, packet, later)
            for again in later.of("delivered"):
                met = self.judge.instances(again)
                if not problems and (again.host, met) != (fate.host, through):
                    problems = [f"a later packet goes through {', '.join(met) or 'none'} to {again.host}, "
                                f"the first one through {', '.join(through) or 'none'} to {fate.host}"]
            found += [Finding(what, packet, tried.host, "later packet", wanted, later) for what in problems]
        return found

    def _remembered(self, expected: Expectation, met: tuple[str, ...]) -> bool:
        """Whether every function on a reply's way that loses labels can have remembered its connection: one that met
        nothing of it has only the hash for a SYN/ACK, which conntrack does not open a connection for."""
        known = {self.judge.functions[host].function for host in met}
        return not (self.judge.losing(expected.tenant) & set(expected.functions)) - known

    def _differs(self, wanted: Expectation, packet: Packet, fate: Fate, expected: Expectation, seen: Packet,
                 returned: Fate) -> bool:
        """Whether a reply should have met the same instances the other way round, and did not."""
        there, back = self.judge.instances(fate), self.judge.instances(returned)
        way, way_back = self.judge.follow(wanted, packet, fate), self.judge.follow(expected, seen, returned)
        if way.branched or way_back.branched:
            return False
        if wanted.areas:
            # Between two places that both insert something the order may not turn round, but who is met is the same.
            both = len(wanted.areas) > 1
            return set(expected.areas) == set(wanted.areas) and (
                sorted(there) != sorted(back) if both else there[::-1] != back)
        # Each packet that it was is answered by the mirror of the same classifier.
        same = len(way.legs) == len(way_back.legs) and all(
            one.classifier == other.classifier and one.mirrored != other.mirrored
            for one, other in zip(way.legs, reversed(way_back.legs), strict=True))
        return (same and wanted.chain is not None and wanted.chain.returns == "symmetric" and there[::-1] != back)

    def _forged(self, tried: PacketClass, packet: Packet, wanted: Expectation, fate: Fate) -> list[Finding]:
        """A host must not get past its functions by writing what switches write between themselves."""
        found = []
        for forged in self._labelled(packet, fate):
            for walk in walk_from(self.network, forged, tried.host, arm=self.arm(tried)):
                for end in walk.of("delivered"):
                    if self.judge.instances(end) != self.judge.instances(fate):
                        wrote = "headers" if wrapped(forged) or tag_of(forged) != tag_of(packet) \
                            else "a destination MAC"
                        what = f"{end.host} receives it past the functions, because {tried.host} wrote {wrote} " \
                               "that switches use"
                        found.append(Finding(what, forged, tried.host, "forged", wanted, walk))
        return found

    def _labelled(self, packet: Packet, fate: Fate) -> list[Packet]:
        """The packet as switches sent it to each other, as far as that differs from what hosts send."""
        found: list[Packet] = []
        for hop in fate.hops[1:]:
            inner = hop.packet
            if wrapped(inner) or tag_of(inner) != tag_of(packet):
                forged = inner
            elif inner.get("eth_dst") not in self._macs:
                forged = changed(packet, eth_dst=inner.get("eth_dst", 0))
            else:
                continue
            if forged not in found:
                found.append(forged)
        return found

    def _translates(self, wanted: Expectation) -> bool:
        """Whether a function on the way changes addresses."""
        modes = {(member.tenant, member.function): member.mode for member in self.judge.functions.values()}
        return any(modes.get((wanted.tenant, name)) == "translating"
                   for each in (wanted, *wanted.alternatives) for name in each.order)

    def _addressed(self, packet: Packet, wanted: Expectation) -> Packet:
        """With the destination MAC a host would use: the gateway's between networks."""
        target = wanted.targets[0] if wanted.targets else None
        if target is None or target.routed:
            return packet
        station = self.evaluator.station(wanted.tenant, target.address)
        return changed(packet, eth_dst=self._mac(target.host, "" if station is None else station.arm))

    def _mac(self, host: str, arm: str = "") -> int:
        mac = self._topology.hosts[host].arm_mac(arm)
        if mac is None:
            raise ValueError(f"the MAC address of {host} is not known")
        return mac_int(mac)


def _is_echo(packet: Packet, delivered: tuple[Fate, ...]) -> bool:
    """Whether all that is delivered is the answer to an echo request, to whom it is from."""
    if packet.get("icmp_type") != 8 and packet.get("icmpv6_type") != 128:
        return False
    wanted = {**reply_to(packet, eth_src=packet["eth_dst"], eth_dst=packet["eth_src"]), "ttl": 0}
    return len(delivered) == 1 and {**delivered[0].packet, "ttl": 0} == wanted
