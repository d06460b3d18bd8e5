"""Is what became of a packet what the policy wants? Says every way in which it is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.tables import GATEWAY_MAC
from controller_app.verification.evaluate import Expectation, Target
from controller_app.verification.packet import Packet, addresses, describe, mac_int, mac_text, ports
from controller_app.verification.walk import Fate, Walk


@dataclass(frozen=True, slots=True)
class Member:
    """A host that is an instance of a function."""

    tenant: str
    function: str
    instance: str
    mode: str


def members_of(policy: Policy) -> Mapping[str, Member]:
    """Host -> what it is an instance of."""
    return {instance.host: Member(tenant.name, function.name, instance.name, function.mode)
            for tenant in policy.tenants.values() for function in tenant.functions.values()
            for instance in function.instances.values()}


@dataclass(frozen=True)
class Judge:
    """Judges walks on one topology."""

    topology: Topology
    functions: Mapping[str, Member]

    def problems(self, wanted: Expectation, sent: Packet, walk: Walk) -> list[str]:
        """Everything wrong with a walk, in the order of how bad it is.

        `sent` is the packet as the functions should see it: a service's reply already with the service's
        address.
        """
        if wanted.conflict:
            names = " and ".join(classifier.name for classifier in wanted.conflict)
            return [f"nothing says which of the classifiers {names} comes first"]
        found = [f"it loops: {fate.reason}" for fate in walk.of("looped")]
        found += [f"it is lost: {fate.reason}" for fate in walk.of("lost")]
        delivered = walk.of("delivered")
        if wanted.verdict == "deny" or not wanted.targets:
            why = "it is denied" if wanted.verdict == "deny" else "nobody may have it"
            found += [f"{why}, and {fate.host} receives it" for fate in delivered]
            found += [f"{why}, and function {self._name(fate.host)} gets a copy" for fate in walk.of("tapped")
                      if wanted.verdict == "deny"]
            return found
        if not delivered:
            main = walk.main
            found.append(f"nobody receives it: {main.reason or main.kind}" if main else "nobody receives it")
        for fate in delivered[1:]:
            found.append(f"it is delivered twice: to {delivered[0].host} and to {fate.host}")
        for fate in delivered[:1]:
            found += self._delivery(wanted, sent, fate)
            found += self._path(wanted, sent, fate)
        return found + list(self._copies(wanted, sent, walk))

    def instances(self, fate: Fate) -> tuple[str, ...]:
        """The hosts of the instances that a packet went through, in order."""
        return tuple(visit.host for visit in fate.visits)

    def _name(self, host: str | None) -> str:
        member = self.functions.get(host or "")
        return f"{host}" if member is None else f"{member.function} ({member.instance})"

    def _delivery(self, wanted: Expectation, sent: Packet, fate: Fate) -> Iterator[str]:
        target = next((target for target in wanted.targets if target.host == fate.host), None)
        if target is None:
            allowed = ", ".join(sorted({target.host for target in wanted.targets}))
            yield f"{fate.host} receives it, and only {allowed} may"
            return
        got = fate.packet
        mac = self.topology.hosts[target.host].mac
        if mac is not None and got.get("eth_dst") != mac_int(mac):
            yield f"{fate.host} receives it for {mac_text(got.get('eth_dst', 0))}, and its MAC is {mac}"
        yield from self._headers(target, sent, got)

    def _headers(self, target: Target, sent: Packet, got: Packet) -> Iterator[str]:
        before, after = addresses(sent), addresses(got)
        if before is None or after is None:
            return
        if after[0] != before[0]:
            yield f"it comes from {after[0]} and should come from {before[0]}"
        if after[1] != target.address:
            yield f"it arrives for {after[1]} and should be for {target.address}"
        sides, got_sides = ports(sent), ports(got)
        if sides is not None and got_sides is not None:
            if got_sides[0] != sides[0]:
                yield f"it comes from port {got_sides[0]} and should come from {sides[0]}"
            if got_sides[1] != (sides[1] if target.port is None else target.port):
                yield f"it arrives for port {got_sides[1]} and should be for " \
                      f"{sides[1] if target.port is None else target.port}"
        source = GATEWAY_MAC if target.routed else sent["eth_src"]
        if got.get("eth_src") != source:
            yield f"its sender is {mac_text(got.get('eth_src', 0))} and should be {mac_text(source)}"
        ttl = sent["ttl"] - (1 if target.routed else 0)
        if got.get("ttl") != ttl:
            yield f"its TTL is {got.get('ttl')} and should be {ttl}"

    def _path(self, wanted: Expectation, sent: Packet, fate: Fate) -> Iterator[str]:
        met = [self.functions.get(visit.host) for visit in fate.visits]
        names = [member.function if member is not None and member.tenant == wanted.tenant else visit.host
                 for member, visit in zip(met, fate.visits, strict=True)]
        if tuple(names) != wanted.functions:
            yield f"it meets {', '.join(names) or 'no function'} and should meet " \
                  f"{', '.join(wanted.functions) or 'none'}"
            return
        arm = "out" if wanted.reversed else "in"
        for visit in fate.visits:
            if visit.arm != arm:
                yield f"it enters {self._name(visit.host)} by its arm {visit.arm!r} and should by {arm!r}"
            if _inner(visit.packet) != _inner(sent):
                yield f"{self._name(visit.host)} sees {describe(visit.packet)} and should see " \
                      f"{describe(sent)}"

    def _copies(self, wanted: Expectation, sent: Packet, walk: Walk) -> Iterator[str]:
        got = Counter(member.function if (member := self.functions.get(fate.host or "")) else str(fate.host)
                      for fate in walk.of("tapped"))
        for function in {**got, **Counter(wanted.taps)}:
            expected = wanted.taps.count(function)
            if got[function] != expected:
                yield f"tap {function} gets {got[function]} copies and should get {expected}"
        for fate in walk.of("tapped"):
            if (_inner(fate.packet), _macs(fate.packet)) != (_inner(sent), _macs(sent)):
                yield f"tap {self._name(fate.host)} sees {describe(fate.packet)} and should see " \
                      f"{describe(sent)}"


def _inner(packet: Packet) -> tuple[object, ...]:
    return addresses(packet), packet.get("ip_proto"), ports(packet), packet.get("ttl")


def _macs(packet: Packet) -> tuple[int, int]:
    return packet.get("eth_src", 0), packet.get("eth_dst", 0)
