"""Cases from the field with one-interface routers: chains come, change and go while traceroute looks.

What OpenStack networking-sfc's end-to-end suite checks, case by case, with both kinds of stickiness. Every traceroute
follows one connection; each case starts with the hosts reaching each other directly, and ends so, its chain deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from mininet_scenarios.harness.hops import Trace, traces
from mininet_scenarios.harness.lab import Lab

TOPOLOGY = "chain_cases.yaml"
POLICY = "chain_cases.yaml"

NAMES = {"10.0.0.1": "A", "10.0.0.2": "B", "10.0.0.102": "R2", "10.0.0.103": "R3",
         "fd00::1": "A", "fd00::2": "B", "fd00::102": "R2", "fd00::103": "R3"}  # fmt: skip
DIRECT, R2, R3, R2_R3, R3_R2, EITHER = "direct", "R2", "R3", "R2 R3", "R3 R2", "R2 or R3"
BOTH = 16  # connections tried where two instances share them: all on one by chance in one of 2^15 runs
PORT = 33434  # closed at both hosts
FAMILIES = (  # name, protocol, address of B, address of A, connections where there is a choice
    ("tcp", "tcp", "10.0.0.2", "10.0.0.1", BOTH),
    ("udp", "udp", "10.0.0.2", "10.0.0.1", 2),
    ("tcp over IPv6", "tcp", "fd00::2", "fd00::1", 4),
)

Check = Callable[..., bool]


@dataclass(frozen=True)
class Step:
    """A policy, and the routers that connections are to pass then: A to B, and B to A with the same addresses and
    ports swapped. None: nothing is said of that direction."""

    functions: Mapping[str, Sequence[str]] = field(default_factory=dict)  # names, and the routers they run on
    chains: Mapping[str, tuple[Sequence[str], str]] = field(default_factory=dict)  # names: functions, and return
    classifiers: Sequence[tuple[str, str, str, str]] = ()  # from, to, protocol or "" for all, chain
    there: str | None = DIRECT
    back: str | None = DIRECT
    same_back: bool = False  # the way back passes the instance of the way there

    def policy(self, base: Mapping[str, Any], stickiness: str) -> dict[str, Any]:
        """The step's policy; `base` is one without functions, chains and classifiers."""
        return {
            **base,
            "functions": {
                name: {"mode": "routed", "instances": {host: {"host": host} for host in hosts}}
                for name, hosts in self.functions.items()
            },
            "chains": {
                name: {"through": list(through), "return": returns, "stickiness": stickiness}
                for name, (through, returns) in self.chains.items()
            },
            "classifiers": [
                {"name": f"{source}-{target}{protocol[:3]}", "from": {"host": source}, "to": {"host": target},
                 **({"traffic": [protocol]} if protocol else {}), "then": {"chain": chain}}
                for source, target, protocol, chain in self.classifiers
            ],
        }  # fmt: skip


A_TO_B, B_TO_A = ("a", "b", "", "chain"), ("b", "a", "", "chain")
F2, F23, F2_F3 = {"f": ["r2"]}, {"f": ["r2", "r3"]}, {"f": ["r2"], "g": ["r3"]}
ONE = {"chain": (["f"], "direct")}
ONE_BOTH_WAYS = {"chain": (["f"], "symmetric")}
TWO = {"chain": (["f", "g"], "direct")}
ALONE = Step(F2, ONE, [A_TO_B], R2, DIRECT)
OPPOSED = {"chain": (["f", "g"], "direct"), "other": (["g", "f"], "direct")}
SHARED = {"chain": (["f"], "direct"), "other": (["f"], "direct")}
BY_PROTOCOL = [("a", "b", "tcp/1-65535", "chain"), ("a", "b", "udp/1-65535", "other")]

CASES: dict[str, tuple[str, list[Step]]] = {
    "C1": ("a chain with R2 for A to B", [ALONE]),
    "C2": ("the same, symmetric", [Step(F2, ONE_BOTH_WAYS, [A_TO_B], R2, R2)]),
    "C3": ("one chain, two classifiers", [Step(F2, ONE, [A_TO_B, B_TO_A], R2, R2)]),
    "C4": ("one chain, two classifiers, symmetric", [Step(F2, ONE_BOTH_WAYS, [A_TO_B, B_TO_A], R2, R2)]),
    "C5": ("one function with two instances", [Step(F23, ONE, [A_TO_B], EITHER, DIRECT)]),
    "C6": ("two instances, symmetric", [Step(F23, ONE_BOTH_WAYS, [A_TO_B], EITHER, EITHER, same_back=True)]),
    "C7": ("two functions", [Step(F2_F3, TWO, [A_TO_B], R2_R3, DIRECT)]),
    "C8": ("two functions, symmetric", [Step(F2_F3, {"chain": (["f", "g"], "symmetric")}, [A_TO_B], R2_R3, R3_R2)]),
    "C9": ("a chain for each direction", [Step(F2_F3, OPPOSED, [A_TO_B, ("b", "a", "", "other")], R2_R3, R3_R2)]),
    "C10": ("a classifier added to a live chain", [ALONE, Step(F2, ONE, [A_TO_B, B_TO_A], R2, R2)]),
    "C11": ("a classifier taken from a live chain", [Step(F2, ONE, [A_TO_B, B_TO_A], R2, R2), ALONE]),
    "C12": ("a second function for a live chain", [ALONE, Step(F2_F3, TWO, [A_TO_B], R2_R3, None)]),
    "C13": ("an instance added to a live function", [ALONE, Step(F23, ONE, [A_TO_B], EITHER, None)]),
    "C14": ("the only instance of a function of two chains replaced",
            [Step(F2, SHARED, BY_PROTOCOL, R2, None), Step({"f": ["r3"]}, SHARED, BY_PROTOCOL, R3, None)]),
}  # fmt: skip


def run(lab: Lab) -> None:
    """Every case, with each stickiness."""
    assert lab.controller is not None
    lab.controller.delete("chain_cases")
    ports = count(20001)
    for stickiness in ("connection", "none"):
        for name, (text, steps) in CASES.items():
            lab.say(f"{name}, stickiness {stickiness}: {text}")
            _case(lab, f"{name}: {text}, stickiness {stickiness}", steps, stickiness, ports)


def _case(lab: Lab, topic: str, steps: Sequence[Step], stickiness: str, ports: Iterator[int]) -> None:
    assert lab.controller is not None
    base = {"version": 1, "networks": {"lan": {"subnet": ["10.0.0.0/24", "fd00::/64"]}}}
    bare = Step(F2_F3).policy(base, stickiness)
    for when, step in [("before", None), *((f"step {n}", step) for n, step in enumerate(steps, 1)), ("after", None)]:
        if when != "before":  # the case before this one, or the lab's beginning, left no chain
            lab.controller.apply("chain_cases", step.policy(base, stickiness) if step is not None else bare)
        _look(partial(lab.checks.that, topic), lab, when, step or Step(), ports)


def _look(check: Check, lab: Lab, when: str, step: Step, ports: Iterator[int]) -> None:
    """Traceroutes there and back over TCP, UDP and IPv6, each connection twice: it keeps its way."""
    asked = [
        (family, Trace(to, protocol, next(ports), PORT), Trace(own, protocol, PORT, 0))
        for family, protocol, to, own, number in FAMILIES
        for _ in range(number if EITHER in (step.there, step.back) else 2)
    ]
    there_and_again = traces(lab.network, "a", [forward for _, forward, _ in asked] * 2)
    found = [_routers(hops, "B") for hops in there_and_again]
    there, again = found[: len(asked)], found[len(asked) :]
    wanted_back = [backward._replace(port=forward.source_port) for _, forward, backward in asked]
    back = [_routers(hops, "A") for hops in (traces(lab.network, "b", wanted_back) if step.back else [])]
    for family, *_ in FAMILIES:
        mine = [number for number, (each, _, _) in enumerate(asked) if each == family]
        whole = family == "tcp"  # enough connections that each instance gets some
        if step.there is not None:
            _check(check, f"{when}, A to B, {family}", [there[n] for n in mine], step.there, whole)
            kept = sum(there[n] == again[n] for n in mine)
            check(f"{when}, A to B, {family}: connections that kept their way", kept, len(mine))
        if step.back is not None:
            _check(check, f"{when}, B to A, {family}", [back[n] for n in mine], step.back, whole)
        if step.same_back:
            same = sum(there[n] == back[n] for n in mine)
            check(f"{when}, {family}: connections back by the same instance", same, len(mine))


def _routers(hops: Sequence[str | None], destination: str) -> str:
    """The routers of a traceroute that reached its destination, in order; what was wrong otherwise."""
    names = [NAMES.get(hop, hop) if hop is not None else "?" for hop in hops]
    if names[-1] != destination:
        return f"{' '.join(names)}, lost"
    return " ".join(names[:-1]) or DIRECT


def _check(check: Check, claim: str, found: Sequence[str], wanted: str, whole: bool) -> None:
    """Every connection passed what it had to; and where there is a choice, enough of them passed either."""
    allowed = set(wanted.split(" or "))
    seen = set(found)
    passed = seen == allowed if whole or len(allowed) == 1 else seen <= allowed
    check(claim, ", ".join(sorted(seen)), wanted, passed)
