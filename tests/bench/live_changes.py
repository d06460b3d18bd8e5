"""What changes do to packets that are under way: live reroutes, functions put into a chain and taken out, under
numbered streams; the same in the order that is not safe; and what the safe order costs in time, barriers and rules.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from app.plain_controller import PlainController
from bed import Bed
from dummy_ovs import DummyOvs, missing

from bench.fat_tree import FatTree, fat_tree
from bench.live_streams import CLIENTS, RING, SERVERS, AtOnce, Told, network, policy, ring
from bench.report import Line, Spread, ratios
from bench.workload import policy as workload
from controller_app.model.flow import FlowState
from controller_app.model.policy import Chain, Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.compile import compile, compile_next
from controller_app.pipeline.tables import DECIDING
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.topology_file import parse_topology
from controller_app.reconcile.diff import apply, diff
from controller_app.reconcile.reconciler import Confirmed, Connected, Event, Found, Send, SwitchSync, Want, step
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.rollout import DRAIN, Rollout

SEED = 20
RATE = 100.0  # packets a second of all clients together; answers come on top
PAUSES = 0.0, 0.2  # seconds between two changes: from at once to some
FUNCTION, BOTH = ("fw",), ("dpi", "fw")
BARRIER = 20  # OFPT_BARRIER_REQUEST
LARGE = 10_000  # rules
MOST_TIME, MOST_BARRIERS, MOST_EXTRA = 1.5, 3, 0.1
CHAINS = 100


def rerouted(times: int, safe: bool = True, rate: float = RATE) -> Told:
    """The one dear link of the ring is another, so many times; packets meet the firewall."""
    drawn = random.Random(SEED)
    with ring(policy(*FUNCTION), safe) as lab:
        streams, dear = lab.streams(rate), 0
        streams.start()
        time.sleep(1)
        for _ in range(times):
            dear = drawn.choice([link for link in range(RING) if link != dear])
            lab.change(topology=network(dear))
            time.sleep(drawn.uniform(*PAUSES))
        told = streams.stop(FUNCTION)
        lab.wait()
        return told


def inserted(times: int, safe: bool = True, rate: float = RATE) -> Told:
    """A second function comes into the chain, in front of the firewall, or goes again, so many times."""
    drawn = random.Random(SEED)
    with ring(policy(*FUNCTION), safe) as lab:
        streams = lab.streams(rate)
        streams.start()
        time.sleep(1)
        for turn in range(times):
            lab.change(policy(*(FUNCTION if turn % 2 else BOTH)))
            time.sleep(drawn.uniform(*PAUSES))
        told = streams.stop(FUNCTION, BOTH)
        lab.wait()
        return told


def barriers() -> tuple[int, int, int]:
    """Of a small change, a function put into a chain: barriers of the switch with most of them, of all switches, and
    how many switches it concerned. Read from what was sent."""
    with ring(policy(*FUNCTION)) as lab:
        before = {dpid: len(log) for dpid, log in lab.controller.sent.items()}
        lab.change(policy(*BOTH))
        lab.wait()
        found = [
            sum(message[1] == BARRIER for message in log[before[dpid] :]) for dpid, log in lab.controller.sent.items()
        ]
        return max(found), sum(found), sum(map(bool, found))


def said_again() -> int:
    """Messages that switches get when the same policy is wanted once more."""
    with ring(policy(*FUNCTION)) as lab:
        talks = lab.controller.conductor.conversations

        def sent() -> int:
            return sum(talk.sent_changes for talk in talks.values())

        before = lab.controller.do(sent)
        lab.change(policy(*FUNCTION))
        lab.wait()
        return lab.controller.do(sent) - before


def many_chains(turned: bool) -> tuple[Topology, Policy]:
    """So many chains of two functions of their own; one of them has its functions the other way round."""
    boxes = "".join(
        f"  b{n}: {{attach: {{in: s{n % RING + 1}:{100 + 2 * n}, out: s{n % RING + 1}:{101 + 2 * n}}}}}\n"
        for n in range(2 * CHAINS)
    )
    bare = network(0)
    hosts = "".join(
        f"  {name}: {{attach: {end}, ip: {bare.hosts[name].ips[0]}, mac: {bare.hosts[name].mac}}}\n"
        for name in (*CLIENTS, *SERVERS)
        for end in bare.hosts[name].attach.values()
    )
    links = ", ".join(f"[{link.a}, {link.b}]" for link in bare.links)
    switches = ", ".join(f"{name}: {{dpid: {switch.dpid}}}" for name, switch in bare.switches.items())
    topology = parse_topology(f"version: 1\nswitches: {{{switches}}}\nlinks: [{links}]\nhosts:\n{hosts}{boxes}", "t")
    functions = "".join(f"  f{n}: {{kind: other, instances: {{b{n}: {{host: b{n}}}}}}}\n" for n in range(2 * CHAINS))
    chains = "".join(
        f"  k{n}: {{through: [{', '.join(f'f{2 * n + i}' for i in ((1, 0) if turned and not n else (0, 1)))}]}}\n"
        for n in range(CHAINS)
    )
    classifiers = "".join(
        f"  - {{from: {{host: c1}}, to: {{host: w1}}, traffic: [tcp/{1000 + n}], then: {{chain: k{n}}}}}\n"
        for n in range(CHAINS)
    )
    text = f"version: 1\nfunctions:\n{functions}chains:\n{chains}classifiers:\n{classifiers}"
    return topology, parse_policy({"p": text}).policy


def followed(before: FlowState, wanted: FlowState, topology: Topology) -> tuple[list[int], dict[str, int]]:
    """Play a change on switches that answer at once: rules that all of them hold after each answer, and how many
    changes each was sent (with a barrier each)."""
    rollout, now = Rollout(before), 0.0
    held, sent = dict(before), dict.fromkeys(before, 0)
    syncs = {name: SwitchSync(edge_tables=DECIDING) for name in before}
    waiting: dict[str, Send] = {}
    counts = []

    def tell(name: str, event: Event) -> None:
        syncs[name], effects = step(syncs[name], event, now)
        waiting.update((name, effect) for effect in effects if isinstance(effect, Send))

    for name in before:
        for event in (Want(before[name]), Connected(), Found(1, before[name])):
            tell(name, event)
    rollout = rollout.begin(wanted, syncs, topology, now)
    while not rollout.over:
        for name in syncs:
            tell(name, rollout.want(name))
        for name, effect in tuple(waiting.items()):
            del waiting[name]
            held[name] = apply(effect.changes, held[name])
            sent[name] += 1
            counts.append(sum(len(state.flows) for state in held.values()))
            tell(name, Confirmed(effect.number))
        if not waiting:
            rollout, now = rollout.on(syncs, topology, now), now + DRAIN / 4
    for name in syncs:
        tell(name, rollout.want(name))
    for name, effect in waiting.items():
        held[name] = apply(effect.changes, held[name])
        sent[name] += 1
    if held != wanted:
        raise RuntimeError("the switches do not hold what was wanted")
    return counts, sent


def held_extra() -> tuple[float, int, int]:
    """While one of many chains changes: the most rules held ÷ the more of before and after, less 1; and both."""
    topology, chains = many_chains(False)
    first = compile_next(None, chains, topology)
    wanted, _ = compile(many_chains(True)[1], topology, first.allocation)
    counts, _ = followed(first.state, wanted, topology)
    ordinary = max(sum(len(held.flows) for held in state.values()) for state in (first.state, wanted))
    return max(counts) / ordinary - 1, max(counts), ordinary


def _turned(chains: Policy) -> Policy:
    """Each chain has its functions in the other order, or others if it has one only."""
    tenant = chains.tenants["default"]
    names = tuple(tenant.functions)
    found = {
        name: replace(chain, through=chain.through[::-1] if len(chain.through) > 1 else _next(names, chain))
        for name, chain in tenant.chains.items()
    }
    return Policy({"default": replace(tenant, chains=found)})


def _next(names: tuple[str, ...], chain: Chain) -> tuple[str, ...]:
    return (names[(names.index(chain.through[0]) + 1) % len(names)],)


class Large:
    """A large change back and forth, stage by stage or all at once."""

    def __init__(self, controller: PlainController, tree: FatTree, chains: Policy) -> None:
        self._controller, self._conductor = controller, controller.conductor
        self._wishes = chains, _turned(chains)
        self._turn = 0
        self.rules = 0

    def measure(self, safe: bool) -> float:
        """Seconds from when it is wanted until all switches hold it and nothing else, without those in which nothing is
        done but to wait for what is under way."""
        self._turn += 1
        computed = self._controller.do(lambda: self._conductor.compute(self._wishes[self._turn % 2]))
        before = self._conductor.computed.state
        self.rules = sum(
            len(list(diff(state, before[name], DECIDING))) for name, state in computed.state.items()
        )
        rollout = (Rollout if safe else AtOnce)(before)

        def want() -> float:
            self._conductor._rollout = rollout
            start = time.monotonic()
            self._conductor._want(computed)
            return start

        start = self._controller.do(want)
        if not safe:
            return self._until(_in_sync) - start
        took = self._until(_in_force) - start
        drained = self._controller.do(
            lambda: max((past.over or 0.0 for past in self._conductor._rollout.pasts), default=0.0)
        )
        rest = max(drained, time.monotonic())
        return took + max(0.0, self._until(_in_sync) - rest)

    def _until(self, reached: Callable[[Conductor], bool]) -> float:
        """When something comes to be true of the conductor."""
        while True:
            at = self._controller.do(lambda: time.monotonic() if reached(self._conductor) else None)
            if at is not None:
                return float(at)
            time.sleep(0.003)


def _in_sync(conductor: Conductor) -> bool:
    return all(talk.sync.in_sync for talk in conductor.conversations.values())


def _in_force(conductor: Conductor) -> bool:
    syncs = [talk.sync for talk in conductor.conversations.values()]
    return all(sync.in_sync or sync.phase == "draining" for sync in syncs)


def timed(times: int, k: int = 6, classifiers: int = 4_200) -> tuple[Spread, int]:
    """(safe ÷ unsafe, rules that change), measured in turns."""
    tree = fat_tree(k)
    chains = workload(tree, classifiers, "none")
    safe, unsafe = [], []
    with DummyOvs() as ovs, PlainController(tree.topology, None, observe_links=False) as controller:
        bed = Bed(ovs, tree.topology, chains)
        with ovs.transaction():
            for bridge in bed.bridges.values():
                ovs.set_controller(bridge, "127.0.0.1", controller.port)
        controller.wait(lambda c: len(c.conversations) == len(tree.topology.switches) and _in_sync(c), 60)
        large = Large(controller, tree, chains)
        large.measure(False)  # the rules come
        for turn in range(times):
            for kind in (True, False) if turn % 2 else (False, True):
                (safe if kind else unsafe).append(large.measure(kind))
        return ratios(safe, unsafe), large.rules


def _streams_line(what: str, times: int, told: Told, safe: bool) -> Line:
    broken = told.lost + told.wrong
    return Line(
        f"{times:,} live {what} under numbered TCP and UDP, {RATE:g} packets/s and as many answers"
        + ("" if safe else ", in the order that is not safe: all at once"),
        f"{told.wrong} skipped or misordered, {told.lost} lost",
        "0 and 0" if safe else "violations",
        broken == 0 if safe else broken > 0,
        f"{told.sent:,} packets; six switches in a ring, real Open vSwitch, functions and hosts played" + (
            f"; {told.example}" if told.example else ""
        ),
        {"sent": told.sent, "lost": told.lost, "wrong": told.wrong},
    )


def lines(reroutes: int = 1_000, insertions: int = 200, turns: int = 5) -> Iterator[Line]:
    """All of it; a few minutes."""
    if problem := missing():
        yield Line("live changes", "", "", None, problem)
        return
    kinds = (("reroutes", rerouted, reroutes), ("insertions and removals of a function", inserted, insertions))
    for what, change, times in kinds:
        yield _streams_line(what, times, change(times), True)
    for what, change, times in kinds:
        yield _streams_line(what, times // 5, change(times // 5, False), False)
    found, rules = timed(turns)
    yield Line(
        f"time of a safe change of {rules:,} rules ÷ the unsafe one, drain apart",
        str(found),
        f"≤ {MOST_TIME:g}",
        found.median <= MOST_TIME and rules >= LARGE,
        "every switch is asked three times instead of once",
        {"ratios": found.values, "rules": rules},
    )
    most, every, switches = barriers()
    yield Line(
        "barriers of a small change (a function comes into a chain), of one switch",
        f"{most} ({every} in all, of {switches} switches)",
        f"≤ {MOST_BARRIERS}",
        most <= MOST_BARRIERS,
        "",
        {"most": most, "all": every},
    )
    extra, held, ordinary = held_extra()
    yield Line(
        f"rules held extra while one of {CHAINS} chains changes",
        f"{extra:.1%} ({held:,} instead of {ordinary:,})",
        f"≤ {MOST_EXTRA:.0%}",
        extra <= MOST_EXTRA,
    )
    messages = said_again()
    yield Line("messages to switches when the same policy is applied again", str(messages), "0", messages == 0)
