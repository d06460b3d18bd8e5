"""One network's mutants before two judges: verification, and real packets through Open vSwitch (`fates`).

What a packet's fate is: where its frames come out, and in which order, as those of its conversation do. Which instance
or provider a hash chooses is none: a conversation has another fate if it goes as no packet of its kind did before.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from dummy_ovs import DummyOvs, OvsError
from fate_frames import built
from fates import Kind, Oracle, Outcome, Sent
from mutation import Mutant
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

from controller_app.model.allocation import Allocation
from controller_app.model.flow import TCP_ACK, FlowState
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.tables import GATEWAY_MAC
from controller_app.verification.classes import PacketClass, packet_classes
from controller_app.verification.foreign import crossings, others_in
from controller_app.verification.packet import (
    ICMP as ECHO,
)
from controller_app.verification.packet import (
    ICMPV6,
    PROTOCOLS,
    Packet,
    changed,
    mac_text,
    ports,
)
from controller_app.verification.verified import Verified
from controller_app.verification.verify import Checker, Report, verify_change
from controller_app.verification.walk import walk_from
from controller_app.verification.wrapping import wrapped

VARIANTS = 2  # of each kind whose port is free
MANY = 250  # of a kind, where it is asked for what else may become of it
ASKED = 1200  # ports of a kind of which the slots are asked for: one has each slot, but for one time in a hundred
GENERATED = 120  # packets that no class asks for
FORGED = 60  # packets with what switches write between themselves
_LOWEST, _STEP = 20011, 37  # free ports that are tried
GATEWAY = mac_text(GATEWAY_MAC)

FOUND, MISSED, FALSE, EQUIVALENT = "found", "missed", "false alarm", "equivalent"
NO_CLASS, REFUSED, CONFIRMED = "not of a class", "refused by the switch", "found by its counterexample"
UNRULED = "of no classifier"
ABORTED = "Open vSwitch aborts"
SHARE = "another share"  # other instances or providers of those that other packets of the kind meet


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one mutant. told: what verification says; seen: a kind of packet that the oracle saw go
    otherwise."""

    mutant: Mutant
    kind: str
    told: str = ""
    seen: str = ""
    confirmed: bool = True  # what verification tells of, the oracle saw


@dataclass
class Trial:
    """A policy on its network: what was compiled of it is right, and what its packets come to is known."""

    ovs: DummyOvs
    topology: Topology
    policy: Policy
    state: FlowState
    allocation: Allocation
    _known: dict[Kind, set[object]] = field(default_factory=lambda: defaultdict(set))
    _many: dict[Kind, list[Outcome]] = field(default_factory=dict)
    _slots: dict[Kind, dict[int, list[int]]] = field(default_factory=dict)
    _users: dict[tuple[str, int], list[Kind]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        report, self.verified = verify_change(self.policy, self.topology, self.state, self.allocation)
        assert report.ok, report.counterexample
        self.checker = Checker(self.policy, self.topology, self.state, self.allocation)
        self.oracle = Oracle(self.ovs, self.topology, self.policy, self.state)
        self.classes = list(packet_classes(self.checker.evaluator, self.topology, self.checker.network.runs()))
        self.kinds = {each: self._kind(each) for each in self.classes}
        # The same bytes from the same host are one kind, whichever class they stand for.
        every = [*self.kinds.values(), *self._generated(), *self._forged()]
        alike = {(kind.host, kind.arm, kind.first): kind for kind in reversed(every)}
        free = iter(range(_LOWEST, 0xFFFF))  # no port twice: nothing is of the same connection as anything else
        self.sent = [Sent(kind, next(free) if kind.varies else 0) for kind in reversed(alike.values())
                     for _ in range(VARIANTS if kind.varies and kind.later is not None else 1)]
        self.others = [Sent(kind) for kind in self._unclassed()]
        self.turned = list({each.kind: each for each in self.sent if each.kind.later is not None}.values())
        self.base = self._learn(self.sent, self.oracle.run(self.sent, turning=False))
        self.base_turned = self._learn(self.turned, self.oracle.run(self.turned))
        self.base_others = self.oracle.run(self.others, turning=False)
        self.hits = self.oracle.hits()

    def close(self) -> None:
        self.oracle.close()

    # -- packets ---------------------------------------------------------------------------------------------

    def _kind(self, tried: PacketClass) -> Kind:
        packet, wanted = self.checker.frame(tried)
        later = None if tried.kind else built(packet, TCP_ACK)
        loose = tried.kind in ("fragment", "first fragment", "error")
        loose = loose or (wanted.service is not None and ports(packet) is None)  # a switch may answer an echo
        return Kind(str(tried), tried.host, self.checker.arm(tried), built(packet), later, self._varies(tried, packet),
                    loose, wanted.classifier is not None or bool(wanted.order) or wanted.refused)

    def _varies(self, tried: PacketClass, packet: Packet) -> str:
        """Which of its ports no classifier looks at: with any other one it is of the same class."""
        if not tried.kind and tried.protocol in (ECHO, ICMPV6):
            return "identifier"
        if tried.kind or ports(packet) is None:
            return ""
        wanted = self.checker.evaluator.evaluate(packet, tried.host)
        for side, name in (("source", "sport"), ("destination", "dport")):
            others = [changed(packet, **{name: port}) for port in (_LOWEST, _LOWEST + _STEP * ASKED)]
            if all(self.checker.evaluator.evaluate(other, tried.host) == wanted for other in others):
                return side
        return ""

    def _free(self, kind: Kind, count: int) -> list[int]:
        return [_LOWEST + _STEP * n for n in range(count)]

    def _generated(self) -> Iterator[Kind]:
        """Between any two hosts or services, at the borders of what classifiers name and elsewhere."""
        chance = random.Random(f"packets of {sorted(self.topology.hosts)}")
        evaluator = self.checker.evaluator
        extents = [extent for tenant in self.policy.tenants for extent in evaluator.extents(tenant)]
        borders = {port for extent in extents for runs in extent.traffic.values() for run in runs
                   for end in run for port in (end - 1, end, end + 1) if 0 < port < 65536}
        numbers = sorted(borders) or [80]
        stations = [one for one in evaluator.stations if one.mac is not None and not one.mode and one.ips]
        for _ in range(GENERATED if stations else 0):
            sender = chance.choice(stations)
            source = chance.choice(sender.ips)
            ends = [ip for one in stations if one.host != sender.host and one.tenant == sender.tenant for ip in one.ips]
            ends += evaluator.service_ips(sender.tenant)
            ends = [ip for ip in ends if ip.version == source.version]
            if not ends:
                continue
            echo = ECHO if source.version == 4 else ICMPV6
            protocol = chance.choice((*PROTOCOLS.values(), *PROTOCOLS.values(), echo))
            sport, dport = (chance.choice((chance.choice(numbers), chance.randrange(1, 65536))) for _ in range(2))
            yield self._kind(PacketClass(sender.tenant, sender.host, source, chance.choice(ends), protocol, sport,
                                         77 if protocol in (ECHO, ICMPV6) and dport == 1 else dport))

    def _forged(self) -> Iterator[Kind]:
        """What hosts send with the labels that switches write for such a packet."""
        found: dict[tuple[str, bytes], Kind] = {}
        for tried in self.classes:
            if tried.kind or len(found) >= FORGED:
                continue
            packet, wanted = self.checker.frame(tried)
            if not wanted.functions:
                continue
            walk = walk_from(self.checker.network, packet, tried.host, arm=self.checker.arm(tried))[0]
            for hop in (hop for fate in walk.of("delivered") for hop in fate.hops[1:]):
                label = hop.packet.get("eth_dst", 0)
                if not wrapped(hop.packet) and label >> 40 in (0x0E, 0x2E):
                    forged = built(changed(packet, eth_dst=label))
                    name = f"{tried} with the label {label:#x}"
                    found.setdefault((tried.host, forged[:6]),
                                     Kind(name, tried.host, self.checker.arm(tried), forged, None,
                                          self._varies(tried, packet)))
        return islice(iter(found.values()), FORGED)

    def _unclassed(self) -> Iterator[Kind]:
        """ARP, neighbour discovery and echo of gateways: verification has no classes of them."""
        for station in self.checker.evaluator.stations:
            if station.mac is None or station.mode:
                continue
            mac, vlan = mac_text(station.mac), self.topology.hosts[station.host].vlan
            tenant = self.policy.tenants[station.tenant]
            network = tenant.networks.get(station.network or "")
            asked = [*(network.gateways if network is not None else ()),
                     *[ip for one in self.checker.evaluator.stations if one.network == station.network
                       for ip in one.ips if one.host != station.host][:2],
                     *list(self.checker.evaluator.service_ips(station.tenant))[:2]]
            for own in station.ips:
                for ip in asked:
                    if ip.version != own.version:
                        continue
                    below = Ether(src=mac, dst="ff:ff:ff:ff:ff:ff" if own.version == 4 else "33:33:ff:00:00:01")
                    to = Ether(src=mac, dst=GATEWAY)
                    if vlan is not None:
                        below, to = below / Dot1Q(vlan=vlan), to / Dot1Q(vlan=vlan)
                    if own.version == 4:
                        frames = [below / ARP(op=1, hwsrc=mac, psrc=str(own), pdst=str(ip)),
                                  to / IP(src=str(own), dst=str(ip)) / ICMP(id=9)]
                    else:
                        frames = [below / IPv6(src=str(own), dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt=str(ip))
                                  / ICMPv6NDOptSrcLLAddr(lladdr=mac)]
                    for frame in frames:
                        yield Kind(f"{frame.summary()} from {station.host}", station.host, station.arm, bytes(frame))

    # -- what became of them ---------------------------------------------------------------------------------

    def _learn(self, sent: Sequence[Sent], outcomes: list[Outcome]) -> list[Outcome]:
        """Remember what may become of packets of a kind."""
        for each, outcome in zip(sent, outcomes, strict=False):
            self._known[each.kind].add((outcome.whole, outcome.alike))
        return outcomes

    def _may(self, kind: Kind) -> set[object]:
        """All that may become of a kind of packet in the state as it is."""
        if kind.varies and kind not in self._many:
            many = [Sent(kind, port) for port in self._free(kind, MANY)]
            self._many[kind] = self._learn(many, self.oracle.run(many))
        return self._known[kind]

    def judge(self, mutant: Mutant) -> Verdict:
        """Both judges on one mutant."""
        refused = self.oracle.put(mutant)
        if refused:
            return Verdict(mutant, REFUSED, refused)
        state = {**self.state, mutant.switch: self.oracle.held(mutant.switch)}
        report, verified = verify_change(self.policy, self.topology, state, self.allocation, self.verified)
        self.oracle.take_back()
        told = report.findings[0].what if report.findings else self._crossed(state)
        try:
            return self._compared(mutant, report, verified, told)
        except (OvsError, OSError) as error:
            return Verdict(mutant, ABORTED, told, str(error))

    def _crossed(self, state: FlowState) -> str:
        """What verification says of flows that are not ours; nothing where they change nothing."""
        held = others_in(state)
        if not any(others.flows for others in held.values()):
            return ""
        found = crossings(self.policy, self.topology, self.state, self.allocation, held, self.verified)
        return found[0].finding.what if found else ""

    def _compared(self, mutant: Mutant, report: Report, verified: Verified, told: str) -> Verdict:
        """What verification says (`told`) beside what becomes of real packets."""
        if self.unseen(mutant):
            sent, base, outcomes = [], [], [self.base[-1]]
        else:
            sent, base, outcomes = self.sent, self.base, self._on_mutant(mutant, self.sent, turning=False)
            if outcomes == base or not told:
                sent, base = [*sent, *self.turned], [*base[:-1], *self.base_turned]
                outcomes = [*outcomes[:-1], *self._on_mutant(mutant, self.turned)]
        if mutant.group is not None:
            more, before, after = self._by_bucket(mutant)
            sent, base, outcomes = [*more, *sent], [*before, *base], [*after, *outcomes]
        differing = [(each, now) for each, was, now in zip(sent, base, outcomes, strict=False) if was != now]
        strays = outcomes[-1] not in (self.base[-1], self.base_turned[-1])
        strict = [(each, now) for each, now in differing if not each.kind.loose]
        other = self._other_fates(strict)
        seen = other.name if other is not None else "strays" if strays else ""
        if told:
            failing = self._failing(verified)
            confirmed = (report.ok and bool(strict)) or any(each.kind in failing for each, _ in differing) or \
                self._confirms(mutant, report, failing)
            if other is not None or strays:
                return Verdict(mutant, FOUND, told, seen, confirmed)
            return Verdict(mutant, CONFIRMED if confirmed else FALSE, told, seen)
        if other is not None or strays:
            ruled = [one for one in strict if one[0].kind.ruled]
            unruled = not strays and mutant.kind == "bypass" and self._other_fates(ruled) is None
            return Verdict(mutant, UNRULED if unruled else MISSED, "", seen)
        if strict:
            return Verdict(mutant, SHARE, "", strict[0][0].kind.name)
        if differing:
            return Verdict(mutant, NO_CLASS, "", differing[0][0].kind.name)
        if not self.unseen(mutant) and self._on_mutant(mutant, self.others, turning=False) != self.base_others:
            return Verdict(mutant, NO_CLASS)
        return Verdict(mutant, EQUIVALENT)

    def unseen(self, mutant: Mutant) -> bool:
        """Whether only flows are missing, or do something else, that none of all packets met: they go as before."""
        if mutant.group is not None or any(flow.key not in self.state[mutant.switch].flows for flow in mutant.come):
            return False
        return self.hits[mutant.switch].isdisjoint(flow.key for flow in (*mutant.gone, *mutant.come))

    def _on_mutant(self, mutant: Mutant, sent: Sequence[Sent], turning: bool = True) -> list[Outcome]:
        assert not self.oracle.put(mutant)
        outcomes = self.oracle.run(sent, turning)
        self.oracle.take_back()
        return outcomes

    def _other_fates(self, differing: Iterable[tuple[Sent, Outcome]]) -> Kind | None:
        """A kind of which some conversation went as none did before."""
        for each, now in differing:
            met = now.whole, now.alike
            if met not in self._known[each.kind] and met not in self._may(each.kind):
                return each.kind
        return None

    def _failing(self, verified: Verified) -> set[Kind]:
        """The kinds that verification found something wrong with, or did not come to any more."""
        return {kind for tried, kind in self.kinds.items() if tried not in verified.evidence}

    def _confirms(self, mutant: Mutant, report: Report, failing: set[Kind]) -> bool:
        """Whether the oracle sees the packets of the counterexamples go otherwise, by the slots they tell of."""
        tried = dict.fromkeys(kind for kind in self.kinds.values() if kind in failing)
        slots = {slot for finding in report.findings for slot in range(256) if finding.walk.slots >> slot & 1}
        sent = [each for kind in islice(tried, 6) for each in self._by_slots(kind, slots)]
        for finding in report.findings[:3]:
            if finding.way in ("forward", "forged") and not wrapped(finding.packet):
                arm = next(iter(self.topology.hosts[finding.source].attach))
                sent.append(Sent(Kind(finding.what, finding.source, arm, built(finding.packet))))
        return self.oracle.run(sent) != self._on_mutant(mutant, sent)

    def _by_slots(self, kind: Kind, slots: Iterable[int]) -> list[Sent]:
        """Conversations of a kind that hash to these slots, two of each, but not many; and some that need not."""
        if not kind.varies:
            return [Sent(kind)]
        if kind not in self._slots:
            ports = self._free(kind, ASKED)
            known = self._slots[kind] = defaultdict(list)
            for port, slot in zip(ports, self.oracle.slots([kind.frame(port) for port in ports]), strict=True):
                known[slot].append(port)
        found = [Sent(kind, port) for slot in slots for port in self._slots[kind][slot][:2]]
        return found[:: max(1, len(found) // 40)] + [Sent(kind, port) for port in self._free(kind, 8)]

    def _by_bucket(self, mutant: Mutant) -> tuple[list[Sent], list[Outcome], list[Outcome]]:
        """For one changed bucket: conversations that its group takes to it; what became of them before, and with the
        mutant."""
        assert mutant.bucket is not None
        sent = [each for kind in self._group_users(mutant) for each in self._by_slots(kind, [mutant.bucket])]
        if not sent:
            return [], [], []
        return sent, self._learn(sent, self.oracle.run(sent))[:-1], self._on_mutant(mutant, sent)[:-1]

    def _group_users(self, mutant: Mutant) -> list[Kind]:
        """The kinds of packets whose way depends on a group, spread: those that go otherwise without its buckets."""
        assert mutant.group is not None
        place = mutant.switch, mutant.group.id
        if place not in self._users:
            held = self.state[mutant.switch].groups[mutant.group.id]
            empty = replace(mutant, group=replace(held, buckets=tuple(
                replace(bucket, actions=()) for bucket in held.buckets)))
            outcomes = self._on_mutant(empty, self.sent)
            found = dict.fromkeys(each.kind for each, was, now in zip(self.sent, self.base, outcomes, strict=False)
                                  if was != now)
            users = list(found)
            self._users[place] = users[:: max(1, len(users) // 8)]
        return self._users[place]
