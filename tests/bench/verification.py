"""What verification costs beside what it is done before: sending the rules.

A network of leaves and spines, every leaf with hosts of four networks and instances of functions; classifiers between
the networks, each for a port, over chains of several functions. `apply` is what the controller does with a finished
state: from having it in memory until every switch, real ones on the dummy datapath, has answered the last barrier.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from statistics import median

from app.plain_controller import PlainController
from dummy_ovs import DummyOvs, missing

from bench.repair import Switches
from bench.report import Line, Spread, ratios
from bench.speed import clock
from controller_app.model.allocation import Allocation
from controller_app.model.flow import FlowState
from controller_app.model.policy import Policy
from controller_app.model.topology import End, Host, Link, Switch, Topology
from controller_app.pipeline.compile import compile_next
from controller_app.policy.policy_file import parse_policy
from controller_app.runtime.computed import Computed
from controller_app.runtime.conductor import Conductor
from controller_app.verification.failing import verify_failures
from controller_app.verification.verified import Verified
from controller_app.verification.verify import verify_change

ROUNDS = 5
LONGEST = 30.0  # seconds of one verification of everything
MOST_FULL, MOST_CHANGE, MOST_FAILURES = 1.0, 0.1, 20.0
NETWORKS = 4
WAIT = 300.0  # seconds for switches
SEED = 8


@dataclass(frozen=True, slots=True)
class Size:
    """Of a network and its policy. `hosts` are those of one leaf, `instances` those of one function."""

    leaves: int
    spines: int
    hosts: int
    functions: int
    instances: int
    chains: int
    through: int
    classifiers: int

    def __str__(self) -> str:
        return (f"{self.leaves} leaves, {self.spines} spines, {self.leaves * self.hosts} hosts, {self.chains} chains "
                f"of {self.through} out of {self.functions} functions with {self.instances} instances, "
                f"{self.classifiers} classifiers")


SMALL = Size(4, 2, 2, 3, 2, 6, 2, 6)
SIZES = (  # of which the largest is taken whose verification takes no longer than a round may
    SMALL,
    Size(4, 2, 4, 5, 2, 20, 2, 20),
    Size(4, 2, 6, 5, 2, 20, 2, 40),
    Size(6, 2, 6, 6, 3, 20, 3, 40),
    Size(12, 4, 12, 6, 4, 30, 3, 120),
    Size(24, 4, 24, 6, 4, 30, 3, 600),
)


def network(size: Size) -> Topology:
    """Leaves `l0`, …, each with a link to every spine `sp0`, …; function `f0` has the hosts `i0x0`, …"""
    switches = {f"l{n}": Switch(f"l{n}", 1 + n) for n in range(size.leaves)}
    switches |= {f"sp{n}": Switch(f"sp{n}", 1 + size.leaves + n) for n in range(size.spines)}
    links = tuple(Link(End(f"l{leaf}", 900 + spine), End(f"sp{spine}", 1 + leaf))
                  for leaf in range(size.leaves) for spine in range(size.spines))
    ports = dict.fromkeys(range(size.leaves), 0)

    def end(leaf: int) -> End:
        ports[leaf] += 1
        return End(f"l{leaf}", ports[leaf])

    hosts = {}
    for n in range(size.leaves * size.hosts):
        address = ip_address(f"10.{1 + n % NETWORKS}.{n // NETWORKS // 250}.{1 + n // NETWORKS % 250}")
        hosts[f"h{n}"] = Host(f"h{n}", {"": end(n // size.hosts)}, (address,),
                              f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}", declared=True)
    for function in range(size.functions):
        for n in range(size.instances):
            leaf, name = (function * 3 + n) % size.leaves, f"i{function}x{n}"
            hosts[name] = Host(name, {"in": end(leaf), "out": end(leaf)})
    return Topology(switches, links, hosts)


def policy(size: Size) -> Policy:
    """Which functions a chain has, and between which networks a classifier is, is drawn from a fixed seed."""
    drawn = random.Random(SEED)
    lines = ["version: 1", "networks:"]
    lines += [f"  n{n}: {{subnet: 10.{n + 1}.0.0/16, gateway: 10.{n + 1}.255.254}}" for n in range(NETWORKS)]
    lines.append("functions:")
    for function in range(size.functions):
        instances = ", ".join(f"i{function}x{n}: {{host: i{function}x{n}}}" for n in range(size.instances))
        lines.append(f"  f{function}: {{kind: firewall, instances: {{{instances}}}}}")
    lines.append("endpoints:")
    lines += [f"  e{n}: {{host: h{n}, network: n{n % NETWORKS}}}" for n in range(size.leaves * size.hosts)]
    lines.append("chains:")
    for chain in range(size.chains):
        through = ", ".join(f"f{n}" for n in drawn.sample(range(size.functions), size.through))
        lines.append(f"  c{chain}: {{through: [{through}]}}")
    lines.append("classifiers:")
    for n in range(size.classifiers):
        source, destination = drawn.sample(range(NETWORKS), 2)
        lines.append(f"  - {{name: k{n}, from: {{network: n{source}}}, to: {{network: n{destination}}}, "
                     f"traffic: [tcp/{1000 + n}], then: {{chain: c{n % size.chains}}}}}")
    return parse_policy({"policy.yaml": "\n".join(lines) + "\n"}).policy


def turned(chains: Policy, number: int) -> Policy:
    """One chain has its functions the other way round."""
    tenant = chains.tenants["default"]
    name = list(tenant.chains)[number % len(tenant.chains)]
    chain = tenant.chains[name]
    other = replace(chain, through=chain.through[::-1])
    return Policy({"default": replace(tenant, chains={**tenant.chains, name: other})})


class Applied:
    """A controller and its switches, and what was verified of what it wants."""

    def __init__(self, controller: PlainController) -> None:
        self._controller, self._conductor = controller, controller.conductor

    def compute(self, wanted: Policy) -> Computed:
        return self._controller.do(lambda: self._conductor.compute(wanted))

    def apply(self, computed: Computed) -> float:
        """Seconds until every switch confirmed, but for what is taken away a second later (`rollout.DRAIN`)."""
        intent = replace(self._conductor.intent, policy=computed.policy)
        start = clock()
        self._controller.do(lambda: self._conductor.adopt(intent, computed, "bench", time.time()))
        self._controller.wait(Conductor.in_force, WAIT)
        seconds = time.perf_counter() - start
        self._controller.wait(Conductor.settled, WAIT)
        return seconds


def verified(computed: Computed, before: Verified | None = None) -> tuple[float, Verified, int]:
    """Seconds, what is verified, and how many classes had to be tried."""
    start = clock()
    report, found = verify_change(computed.policy, computed.topology, computed.state, computed.allocation, before)
    seconds = time.perf_counter() - start
    if not report.ok:
        raise RuntimeError(f"what is measured is wrong: {report.counterexample}")
    return seconds, found, report.tried


@dataclass(frozen=True, slots=True)
class Beside:
    """Seconds of verifying, and of sending the same."""

    verifying: list[float]
    sending: list[float]
    tried: list[int]

    @property
    def told(self) -> str:
        spread = ratios(self.verifying, self.sending)
        return f"{spread} ({median(self.verifying):.3g} ÷ {median(self.sending):.3g} s)"

    @property
    def ratio(self) -> float:
        return ratios(self.verifying, self.sending).median


def largest() -> Size:
    """The largest of `SIZES` that can be verified in time, going by the one before it: classes grow as rules do."""
    taken, share = SIZES[0], 0.0
    for size in SIZES:
        topology, chains = network(size), policy(size)
        computed = Computed(chains, topology, compile_next(None, chains, topology))
        rules = sum(len(held.flows) for held in computed.state.values())
        if rules * share > LONGEST:
            break
        share, taken = verified(computed)[0] / rules, size
    return taken


def beside(size: Size, rounds: int = ROUNDS) -> tuple[Beside, Beside, int]:
    """Of everything, and of one chain that changes; and how many rules there are. Measured in turns."""
    topology, chains = network(size), policy(size)
    full, change = Beside([], [], []), Beside([], [], [])
    with DummyOvs() as ovs, PlainController(topology, observe_links=False) as controller:
        Switches(ovs, topology).connect(controller.port)
        controller.wait(lambda c: c.settled() and len(c.conversations) == len(topology.switches), 120)
        applied = Applied(controller)
        computed, known = applied.compute(chains), None
        for number in range(rounds):
            if number:
                applied.apply(applied.compute(Policy()))
                computed = applied.compute(chains)
            for verifying in (True, False) if number % 2 == 0 else (False, True):
                if verifying:
                    seconds, known, tried = verified(computed)
                    full.verifying.append(seconds)
                    full.tried.append(tried)
                else:
                    full.sending.append(applied.apply(computed))
        rules = sum(len(held.flows) for held in computed.state.values())
        for turn in range(rounds):
            chains = turned(chains, turn)
            computed = applied.compute(chains)
            seconds, known, tried = verified(computed, known)
            change.verifying.append(seconds)
            change.tried.append(tried)
            change.sending.append(applied.apply(computed))
    return full, change, rules


def failing(size: Size, rounds: int = ROUNDS) -> tuple[list[float], list[float], int, int]:
    """Seconds under every single failure, and of full verification; how many failures there are, and rules."""
    topology, chains = network(size), policy(size)
    compiled = compile_next(None, chains, topology)
    computed = Computed(chains, topology, compiled)

    def answer(without: Topology) -> tuple[FlowState, Allocation]:
        made = compile_next(compiled, chains, without)
        return made.state, made.allocation

    above, below, count = [], [], 0
    for _ in range(rounds):
        seconds, known, _ = verified(computed)
        below.append(seconds)
        start = clock()
        outcome = verify_failures(known, answer)
        above.append(time.perf_counter() - start)
        if not outcome.ok:
            raise RuntimeError(f"what is measured is wrong: {outcome.counterexample}")
        count = outcome.failures
    return above, below, count, sum(len(held.flows) for held in compiled.state.values())


def lines(large: Size | None = None, small: Size = SMALL) -> Iterator[Line]:
    """All of it. large: None for the largest that is verified in time."""
    if problem := missing():
        yield Line("full verification ÷ apply", "", f"≤ {MOST_FULL:g}", None, problem)
        return
    large = largest() if large is None else large
    full, change, rules = beside(large)
    yield Line(
        f"full verification ÷ apply, {rules:,} rules ({large})",
        full.told,
        f"≤ {MOST_FULL:g} with 100,000 rules",
        full.ratio <= MOST_FULL and rules >= 100_000,
        f"{max(full.tried):,} classes of packets are walked one after the other, in Python, and Open vSwitch takes "
        f"rules in C; measured with as many rules as are verified within about {LONGEST:g} s",
        {"verify_seconds": full.verifying, "apply_seconds": full.sending, "classes": full.tried, "rules": rules},
    )
    yield Line(
        f"verification of a change of one of {large.chains} chains ÷ its own apply, {rules:,} rules",
        change.told,
        f"≤ {MOST_CHANGE:g}",
        change.ratio <= MOST_CHANGE,
        f"{min(change.tried):,} to {max(change.tried):,} classes are tried again, in Python, while "
        "Open vSwitch takes a few hundred rules",
        {"verify_seconds": change.verifying, "apply_seconds": change.sending, "classes": change.tried},
    )
    above, below, count, rules = failing(small)
    spread: Spread = ratios(above, below)
    yield Line(
        f"verification under each of {count} single failures ÷ full verification, {rules:,} rules ({small})",
        f"{spread} ({median(above):.3g} ÷ {median(below):.3g} s)",
        f"≤ {MOST_FAILURES:g}",
        spread.median <= MOST_FAILURES,
        "each failure of a function is a change of every chain through it, and is verified as one",
        {"failures_seconds": above, "verify_seconds": below, "failures": count, "rules": rules},
    )
