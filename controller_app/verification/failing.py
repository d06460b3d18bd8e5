"""Does a state that was verified hold when any one thing fails: a link, an instance of a function, a whole function?

A failure has two moments. Until the controller does something, switches help themselves with fast-failover groups:
packets and copies may be lost, and a detour may be another way than a chain requires, but nothing gets past its
functions, meets them in another order or at other instances, comes to somebody else, or goes round for ever. A port
that is down changes nothing but which bucket such a group takes (and what is sent out of it is lost), so only classes
of packets are tried that asked a group which takes another bucket now. What the controller answers with is what it
compiles then, with the numbers and slots of before; that is verified like any change, by what is wanted then
(`on_failure`).

What was verified before is used and left as it was: failures are tried on a copy of what is known of switches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from controller_app.model.allocation import Allocation
from controller_app.model.flow import Bucket, FlowState, Group
from controller_app.model.policy import Policy
from controller_app.model.topology import End, Topology
from controller_app.verification.coverage import Coverage
from controller_app.verification.evaluate import Expectation
from controller_app.verification.journey import Journey
from controller_app.verification.judge import Judge
from controller_app.verification.packet import Packet
from controller_app.verification.passages import copy_of
from controller_app.verification.verified import Verified
from controller_app.verification.verify import MAX_FINDINGS, Checker, Finding, verify_change
from controller_app.verification.walk import Fate, Network, Walk

Answer = Callable[[Topology], tuple[FlowState, Allocation]]
_Place = tuple[str, int]  # a switch and a group of it


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that fails. `ends`: ports that are dead until it is answered. `unready`: who is out in the answer, as
    in `Topology.unready`; there is none to be tried where nobody is."""

    what: str  # "link s1:2-s2:1 is down"
    ends: tuple[End, ...]
    unready: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Fault:
    """A packet that is not treated rightly while something fails. `allocation`: of the state it is found in."""

    failure: str
    finding: Finding
    allocation: Allocation | None

    def document(self) -> dict[str, Any]:
        """The counterexample as JSON."""
        return {**self.finding.document(self.allocation), "failure": self.failure}


@dataclass(frozen=True, slots=True)
class Failures:
    """The outcome: how many failures were tried, how many classes of packets under all of them together, and what was
    found (at most 20)."""

    failures: int
    classes: int
    faults: tuple[Fault, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.faults

    @property
    def counterexample(self) -> dict[str, Any] | None:
        return self.faults[0].document() if self.faults else None

    def to_json(self) -> dict[str, Any]:
        """`{"ok": true, "failures": 31, "classes": 4120, "counterexample": null}`; a counterexample says under which
        `failure` it is one."""
        return {"ok": self.ok, "failures": self.failures, "classes": self.classes,
                "counterexample": self.counterexample}


def failures_of(policy: Policy, topology: Topology) -> Iterator[Failure]:
    """Every link, every instance of every function, and every function that has several."""
    for link in topology.links:
        yield Failure(f"link {link.a}-{link.b} is down", (link.a, link.b))
    for tenant in policy.tenants.values():
        within = "" if tenant.name == "default" else f"{tenant.name}/"
        for function in tenant.functions.values():
            names: list[str] = []
            ends: list[End] = []
            for instance in function.instances.values():
                host = topology.hosts.get(instance.host)
                own = () if host is None else tuple(host.attach.values())
                name = f"functions/{tenant.name}/{function.name}/{instance.name}"
                names.append(name)
                ends += own
                yield Failure(f"instance {within}{function.name}/{instance.name} does not answer", own,
                              frozenset((name,)))
            if len(names) > 1:
                yield Failure(f"no instance of function {within}{function.name} answers", tuple(ends),
                              frozenset(names))


def verify_failures(verified: Verified, answer: Answer | None = None,
                    failures: Iterable[Failure] | None = None) -> Failures:
    """Try every single failure (or those given) on a state in which nothing is wrong.

    answer: what the controller makes the switches hold on a topology, as `compile_next` from what they hold now; None
    where only what switches do by themselves is to be tried. Raises what `answer` does.
    """
    base = _copied(verified)
    topology = base.network.topology
    meanwhile, found, tried = _Meanwhile(base), list[Fault](), 0
    count = 0
    for failure in failures_of(base.policy, topology) if failures is None else failures:
        if len(found) >= MAX_FINDINGS:
            break
        count += 1
        classes, wrong = meanwhile.under(failure)
        tried += classes
        found += [Fault(failure.what, each, base.evaluator.allocation) for each in wrong]
        if answer is not None and not failure.unready <= topology.unready:
            without = replace(topology, unready=topology.unready | failure.unready)
            state, allocation = answer(without)
            report, _ = verify_change(base.policy, without, state, allocation, base)
            tried += report.tried
            found += [Fault(failure.what, each, allocation) for each in report.findings]
    return Failures(count, tried, tuple(found[:MAX_FINDINGS]))


def _copied(verified: Verified) -> Verified:
    """The same to go on from, without writing anything into what others use."""
    witness = verified.witness.copy()
    network = replace(verified.network, witness=witness, keeps=True,
                      gates={place: copy_of(gate) for place, gate in list(verified.network.gates.items())})
    return replace(verified, network=network, witness=witness)


class _Meanwhile:
    """What switches do by themselves."""

    def __init__(self, base: Verified) -> None:
        self._base = base
        network, evaluator = base.network, base.evaluator
        self._checker = Checker(base.policy, network.topology, network.state, evaluator.allocation, base.witness)
        self._checker.judge = _Lenient(evaluator=self._checker.evaluator, topology=network.topology,
                                       functions=self._checker.judge.functions)
        self._watching: dict[End, list[_Place]] = {}
        for switch, held in network.state.items():
            for group in held.groups.values():
                for port in {bucket.watch_port for bucket in group.buckets if group.kind == "ff"}:
                    if port is not None:
                        self._watching.setdefault(End(switch, port), []).append((switch, group.id))
        self._asking: dict[_Place, list[int]] = {}  # by group, which of the classes asked it, by number
        self._classes = list(base.evidence)
        watched = {place for places in self._watching.values() for place in places}
        for number, evidence in enumerate(base.evidence.values()):
            for place in evidence[0].groups & watched:
                self._asking.setdefault(place, []).append(number)

    def under(self, failure: Failure) -> tuple[int, list[Finding]]:
        """How many classes had to be tried, and what is found."""
        network = self._base.network.without(failure.ends)
        turned = self._turned(failure.ends, network)
        # Where no bucket is left, packets are lost and nothing else.
        concerned = {number for place, goes_on in turned.items() if goes_on for number in self._asking.get(place, ())}
        if not concerned:
            return 0, []
        for place, gate in self._base.network.gates.items():
            if place not in network.gates:
                network.gates[place] = copy_of(gate, turned)
        checker, coverage = copy(self._checker), Coverage()
        checker.network = network
        found: list[Finding] = []
        count = 0
        for number in sorted(concerned):
            if len(found) >= MAX_FINDINGS:
                break
            count += 1
            share = checker.share(self._classes[number], coverage)
            wrong = [each for each in checker.check(self._classes[number], share) if not each.loss]
            own = self._base.witness.testify()
            if share is not None and not wrong:
                coverage.done(share, own)
            found += wrong
        return count, found[:MAX_FINDINGS]

    def _turned(self, ends: Iterable[End], failed: Network) -> dict[_Place, bool]:
        """The groups that take another bucket, and whether there is one left."""
        network, found = self._base.network, dict[_Place, bool]()
        peers = [network.peers.get(end, end) for end in ends]
        for switch, number in {place for end in (*ends, *peers) for place in self._watching.get(end, ())}:
            group = network.state[switch].groups[number]
            now = _taken(failed, switch, group)
            if now is not _taken(network, switch, group):
                found[switch, number] = now is not None
        return found


def _taken(network: Network, switch: str, group: Group) -> Bucket | None:
    """The bucket of a fast-failover group."""
    return next((bucket for bucket in group.buckets
                 if bucket.watch_port is None or network.is_up(End(switch, bucket.watch_port))), None)


class _Lenient(Judge):
    """Judges while nobody has done anything about a failure: what does not arrive is no mistake, and ways are as they
    happen to be."""

    def problems(self, wanted: Expectation, sent: Packet, walk: Walk) -> list[str]:
        kept = tuple(fate for fate in walk.fates if fate.kind != "lost")
        return super().problems(wanted, sent, replace(walk, fates=kept))

    def _unmet(self, journey: Journey, sent: Packet, walk: Walk, fate: Fate) -> list[str]:
        return []

    def _copies(self, journey: Journey, walk: Walk) -> Iterator[str]:
        arrived = Counter((self._tap(fate), len(fate.visits) - 1) for fate in walk.of("tapped"))
        due = []
        for each in journey.copies:
            if arrived[each.tap, each.after] > 0:
                arrived[each.tap, each.after] -= 1
                due.append(each)
        return super()._copies(replace(journey, copies=due), walk)

