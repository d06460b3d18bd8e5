"""Is what became of a packet what the policy wants? Says every way in which it is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from controller_app.verification.evaluate import Expectation
from controller_app.verification.journey import Guide, Journey, Member, differences, members_of
from controller_app.verification.packet import Packet, describe, mac_text
from controller_app.verification.required import Required
from controller_app.verification.rulings import is_fragment, is_icmp_error
from controller_app.verification.walk import Fate, Walk
from controller_app.verification.wrapping import wrapped

__all__ = ["Judge", "Member", "members_of"]


@dataclass(frozen=True)
class Judge(Guide):
    """Judges walks on one topology."""

    def problems(self, wanted: Expectation, sent: Packet, walk: Walk) -> list[str]:
        """Everything wrong with a walk, in the order of how bad it is.

        `sent` is the packet as the functions should see it: a service's reply already with the service's
        address. Where one of several things may become of it, what is wrong if it should be the first.
        """
        if wanted.conflict:
            names = " and ".join(classifier.name for classifier in wanted.conflict)
            return [f"nothing says which of the classifiers {names} comes first"]
        found: list[str] = []
        for alternative in wanted.alternatives[::-1] or (wanted,):
            found = self._problems(alternative, sent, walk)
            if not found:
                break
        return found

    def instances(self, fate: Fate) -> tuple[str, ...]:
        """The hosts of the instances that a packet went through, in order."""
        return tuple(visit.host for visit in fate.visits)

    def _problems(self, wanted: Expectation, sent: Packet, walk: Walk) -> list[str]:
        found = [f"it loops: {fate.reason}" for fate in walk.of("looped")]
        found += [f"it is lost: {fate.reason}" for fate in walk.of("lost")]
        if wanted.refused or not wanted.targets:
            why = _refusal(wanted) if wanted.refused else "nobody may have it"
            found += [f"{why}, and {fate.host} receives it" for fate in walk.of("delivered")]
            if wanted.refused:
                found += [f"{why}, and function {self.name(fate.host)} gets a copy" for fate in walk.of("tapped")]
            return found + list(_unanswered(wanted, sent, walk))
        delivered = walk.of("delivered")
        for fate in delivered[1:]:
            found.append(f"it is delivered twice: to {delivered[0].host} and to {fate.host}")
        main = delivered[0] if delivered else walk.main
        if main is None:
            return [*found, "nobody receives it"]
        journey = self.follow(wanted, sent, main)
        if journey.unsure:
            return [*found, *journey.problems]
        if journey.wanted.conflict:
            names = " and ".join(classifier.name for classifier in journey.wanted.conflict)
            return [*found, f"nothing says which of the classifiers {names} comes first after {journey.met[-1]}"]
        if self._hopeless(journey, main) or self._unknown(journey, sent, main):
            return [*found, *journey.problems]
        if journey.wanted.refused:
            why = f"{_refusal(journey.wanted)} after {journey.met[-1]}"
            found += [f"{why}, and {fate.host} receives it" for fate in delivered]
            found += _unanswered(journey.wanted, sent, walk)
        elif delivered:
            found += self._ending(journey, main) or self._unmet(journey, sent, walk, main)
        elif not journey.over and (journey.wanted.targets or journey.problems):
            found.append(f"nobody receives it: {main.reason or main.kind}")
        return [*found, *journey.problems, *(() if journey.strayed else self._copies(journey, walk))]

    def _ending(self, journey: Journey, fate: Fate) -> list[str]:
        """What is wrong with the last step: the delivery. Of what went astray only who gets it counts."""
        if journey.strayed:
            known = any(target.host == fate.host for target in journey.wanted.targets)
            return [] if known else self.delivery(journey, fate)
        missed = [name for name in journey.left if name in journey.wanted.functions]
        found = self.delivery(journey, fate)
        if journey.problems:
            return found
        member = self.functions.get(fate.host or "")
        if missed and not (member is not None and member.function == missed[0]):
            found.append(f"it meets {', '.join(journey.met) or 'no function'} and should meet "
                         f"{', '.join((*journey.met, *missed))}")
        return found

    @cached_property
    def _required(self) -> Required:
        return Required(self.evaluator.policy, self.topology)

    def _unmet(self, journey: Journey, sent: Packet, walk: Walk, fate: Fate) -> list[str]:
        """What a chain requires that the way of a delivered packet does not meet. What was translated on its way began
        as another packet, and nobody remembers the way of an error."""
        wanted = journey.wanted
        if wanted.chain is None or not wanted.chain.by_edges or len(journey.legs) > 1 or journey.strayed:
            return []
        if is_icmp_error(sent) and self.losing(wanted.tenant).intersection(journey.met):
            return []
        backward, copies = bool(wanted.reversed), walk.of("tapped")
        return list(self._required.problems(wanted.tenant, wanted.chain, backward, fate, journey.began, copies))

    def _hopeless(self, journey: Journey, fate: Fate) -> bool:
        """Whether it was rightly dropped: no instances meet what its chain requires on its way."""
        wanted = journey.wanted
        hops = fate.hops[journey.began :]
        if fate.kind != "dropped" or wanted.chain is None or len(hops) != 1 or len(journey.legs) > 1:
            return False
        ends = {end.switch for target in wanted.targets for end in self.topology.hosts[target.host].attach.values()}
        functions = wanted.order[::-1] if wanted.reversed else wanted.order
        return self._required.hopeless(wanted.tenant, wanted.chain, functions, hops[0].switch, ends)

    def _unknown(self, journey: Journey, sent: Packet, fate: Fate) -> bool:
        """Whether it is an error that may end behind a function which took its label: between which edges it travels
        is not known any more, and its chain requires something of that."""
        chain, met = journey.wanted.chain, journey.met[-1:]
        return (fate.kind == "dropped" and is_icmp_error(sent) and chain is not None and chain.require is not None
                and bool(self.losing(journey.wanted.tenant).intersection(met)))

    def _copies(self, journey: Journey, walk: Walk) -> Iterator[str]:
        tapped = walk.of("tapped")
        got = Counter(self._tap(fate) for fate in tapped)
        due = Counter(copy.tap for copy in journey.copies)
        for function in {**got, **due}:
            if got[function] != due[function]:
                yield f"tap {function} gets {got[function]} copies and should get {due[function]}"
        for fate in tapped:
            name = self.name(fate.host)
            after = len(fate.visits) - 1
            wanted = [copy for copy in journey.copies if copy.tap == self._tap(fate)]
            copy = next((copy for copy in wanted if copy.after == after), None)
            if copy is None:
                if wanted:
                    yield f"tap {name} gets its copy after {after} functions and should after {wanted[0].after}"
                continue
            yield from self._outside(f"tap {name}", str(fate.host), fate.packet)
            if wrapped(fate.packet):
                continue
            yield from differences(f"tap {name}", copy.frame, fate.packet)
            if fate.packet.get("eth_dst") != copy.frame.get("eth_dst"):
                yield (f"tap {name} sees it for {mac_text(fate.packet.get('eth_dst', 0))} and should see "
                       f"{mac_text(copy.frame.get('eth_dst', 0))}")

    def _tap(self, fate: Fate) -> str:
        member = self.functions.get(fate.host or "")
        return str(fate.host) if member is None else member.function


def _refusal(wanted: Expectation) -> str:
    if wanted.missing is not None:
        return f"it should meet {wanted.missing}, of which no instance works"
    return "it is rejected" if wanted.verdict == "reject" else "it is denied"


def _unanswered(wanted: Expectation, sent: Packet, walk: Walk) -> Iterator[str]:
    """Who is rejected is told so by the controller, but not about errors and fragments (RFC 1122, 3.2.2)."""
    told = walk.of("controller")
    if wanted.verdict == "reject" and not told and not is_fragment(sent) and not is_icmp_error(sent):
        yield f"it is rejected, and its sender is not told: {describe(sent)} does not come to the controller"
