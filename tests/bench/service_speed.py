"""Many services at once: how long compiling takes after one provider changed against from nothing, what is sent then,
and whether an Open vSwitch takes all of it."""

from __future__ import annotations

import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from dummy_ovs import DummyOvs, missing

from bench.fat_tree import FatTree, fat_tree
from bench.report import Line, Spread
from bench.services import one_switch, services, with_endpoint
from bench.speed import clock, timed
from controller_app.model.flow import FlowState, SwitchState
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.compile import Compiled, compile_next
from controller_app.pipeline.ofctl import format_meters, format_state
from controller_app.reconcile.changes import PutGroup
from controller_app.reconcile.diff import diff

SERVICES, PROVIDERS, HOSTS = 10_000, 10, 200
CHANGES_PER_COMPILE = 250
TIMES = 2  # cold compiles, each with one change of every kind after it
AT_ONCE = 500  # groups in one call of ovs-ofctl
EDGES_OF = 4  # k of the fat-tree on which messages are counted edge by edge

Changed = tuple[str, Policy, Topology]  # how it is called, and what is compiled then
# whose connections go on stays, so only shares move
ONLY_SHARES = ("weight", "draining", "serving again", "label gone", "label set")


def changes(policy: Policy, topology: Topology, service: int) -> Iterator[Changed]:
    """What may happen to one provider of a service, one after the other, each from what the one before left."""
    one = policy.tenants["default"].endpoints[f"e{service}x3"]
    yield "weight", with_endpoint(policy, replace(one, weight=2 + service % 7)), topology
    yield "draining", with_endpoint(policy, replace(one, drain=True)), topology
    yield "serving again", policy, topology
    unready = frozenset({f"services/default/v{service}/{one.name}"})
    yield "unready", policy, replace(topology, unready=unready)
    yield "ready", policy, topology
    yield "label gone", with_endpoint(policy, replace(one, labels={})), topology
    yield "label set", policy, topology


def sent(before: FlowState, after: FlowState) -> Mapping[str, Counter[str]]:
    """How many messages of which kind every switch gets; switches that get none are left out."""
    found = {}
    for name, held in after.items():
        if held is before[name]:
            continue
        kinds = Counter[str](_kind(change) for change in diff(held, before[name]))
        if kinds:
            found[name] = kinds
    return found


def _kind(change: object) -> str:
    if isinstance(change, PutGroup):
        return "a group" if change.replaces is not None else "a new group"
    return re.sub(r"(?<!^)(?=[A-Z])", " ", type(change).__name__).lower()


def in_words(messages: Mapping[str, Counter[str]]) -> str:
    """The same for people: what most switches get, and how many of them."""
    told = Counter(
        ", ".join(f"{number}× {kind}" for kind, number in sorted(kinds.items())) for kinds in messages.values()
    )
    return "; ".join(f"{switches}: {what}" for what, switches in told.most_common()) or "none"


def _one_group(messages: Mapping[str, Counter[str]], edges: int) -> bool:
    return len(messages) == edges and all(kinds == Counter({"a group": 1}) for kinds in messages.values())


# -- messages ------------------------------------------------------------------------------------------------------


def messages(number: int = 20, tree: FatTree | None = None) -> tuple[int, dict[str, Mapping[str, Counter[str]]]]:
    """On a fat-tree whose edges all have hosts that may reach all services: (edges, messages by kind of change)."""
    tree = tree or fat_tree(EDGES_OF)
    policy = services(number, 4, tree.hosts)
    made = compile_next(None, policy, tree.topology)
    found: dict[str, Mapping[str, Counter[str]]] = {}
    for what, changed, topology in changes(policy, tree.topology, number // 2):
        after = compile_next(made, changed, topology)
        found[what] = sent(made.state, after.state)
        made = after
    return len(tree.edge), found


def sending() -> Iterator[Line]:
    """What switches get when a provider changes: its share alone, or whether it is one."""
    edges, found = messages()
    others = [what for what in found if what not in ONLY_SHARES]
    for about, kinds in (("changes its share", ONLY_SHARES), ("stops or begins to serve", others)):
        wrong = [what for what in kinds if not _one_group(found[what], edges)]
        yield Line(
            f"messages sent when one provider {about} ({', '.join(kinds)}), {edges} edges with endpoints allowed to "
            f"reach the service; edges: messages",
            in_words(found[wrong[0] if wrong else kinds[0]]),
            f"{edges}: 1× a group; nothing else",
            not wrong,
            ". ".join(f"{what}: {in_words(found[what])}" for what in wrong[1:]),
            {what: {switch: dict(sent) for switch, sent in found[what].items()} for what in kinds},
        )


# -- time ----------------------------------------------------------------------------------------------------------


def after_a_change(number: int = SERVICES, times: int = TIMES) -> tuple[Line, FlowState]:
    """Compiling after one provider changed against from nothing, in turns, and the last state from nothing. The kind
    of change that takes longest counts."""
    topology = one_switch(HOSTS)
    policy = services(number, PROVIDERS, list(topology.hosts))
    cold: list[float] = []
    ratios: dict[str, list[float]] = {}
    first: FlowState = {}
    for turn in range(times):
        made = None  # what the turn before made is garbage now, not later
        start = clock()
        made = compile_next(None, policy, topology)
        cold.append(time.perf_counter() - start)
        first = first or made.state
        for what, changed, network in changes(policy, topology, number * (turn + 1) // (times + 1)):
            seconds, made = _timed(made, changed, network)
            ratios.setdefault(what, []).append(seconds / cold[-1])
    kinds = {what: Spread(tuple(values)) for what, values in ratios.items()}
    slowest = max(kinds, key=lambda what: kinds[what].median)
    flows, groups = _sizes(first["s1"])
    line = Line(
        f"compile after one provider changed ÷ cold compile, {number:,} services × {PROVIDERS} providers",
        f"1/{1 / kinds[slowest].median:.1f}: {kinds[slowest]}",
        f"≤ 1/{CHANGES_PER_COMPILE}",
        kinds[slowest].median * CHANGES_PER_COMPILE <= 1,
        f"slowest: {slowest}; " + ", ".join(f"{what} 1/{1 / spread.median:.0f}" for what, spread in kinds.items())
        + f"; cold {Spread(tuple(cold))} s for {flows:,} flows and {groups:,} groups",
        {"cold_seconds": cold, "ratios": ratios},
    )  # fmt: skip
    return line, first


def check(number: int = 50) -> None:
    """What is timed gives what compiling all of it gives; RuntimeError where not."""
    topology = one_switch(HOSTS)
    policy = services(number, PROVIDERS, list(topology.hosts))
    made = compile_next(None, policy, topology)
    for what, changed, network in changes(policy, topology, number // 2):
        whole = compile_next(None, changed, network, made.allocation)
        made = compile_next(made, changed, network)
        if made.state != whole.state:
            raise RuntimeError(f"{what}: compiling after a change gave something else than compiling all of it")


def _timed(made: Compiled, policy: Policy, topology: Topology) -> tuple[float, Compiled]:
    """Seconds that compiling takes, and what came out."""
    found: list[Compiled] = []
    return timed(lambda: found.append(compile_next(made, policy, topology))), found[0]


def _sizes(held: SwitchState) -> tuple[int, int]:
    return len(held.flows), len(held.groups)


# -- Open vSwitch --------------------------------------------------------------------------------------------------


def loading(held: SwitchState, number: int = SERVICES) -> Line:
    """All of it into one bridge of Open vSwitch."""
    what = f"{number:,} services × {PROVIDERS} providers loaded into one bridge"
    must = "all flows and groups"
    if problem := missing():
        return Line(what, "", must, None, problem)
    flows, groups = _sizes(held)
    with DummyOvs() as ovs:
        ovs.add_bridge("b0", 1)
        start = time.perf_counter()
        _load(ovs, held)
        seconds = time.perf_counter() - start
        there = int(ovs.ofctl("dump-aggregate", "b0").rpartition("flow_count=")[2])
        numbers = ovs.ofctl("dump-groups", "b0", version="OpenFlow15").count("group_id=")
        memory = _megabytes(ovs)
    return Line(
        what,
        f"{there:,} flows and {numbers:,} groups, in {seconds:.0f} s",
        f"{flows:,} and {groups:,}",
        (there, numbers) == (flows, groups),
        f"ovs-vswitchd takes {memory:,} MB then; by ovs-ofctl, texts of {AT_ONCE} groups made in between",
        {"flows": there, "groups": numbers, "seconds": seconds, "megabytes": memory},
    )


def _load(ovs: DummyOvs, held: SwitchState) -> None:
    for meter in format_meters(held).splitlines():
        ovs.ofctl("add-meter", "b0", meter)
    numbers = list(held.groups)
    for start in range(0, len(numbers), AT_ONCE):
        some = {number: held.groups[number] for number in numbers[start : start + AT_ONCE]}
        ovs.ofctl("add-groups", "b0", "-", stdin=format_state(SwitchState({}, some, {}))[1])
    ovs.ofctl("--bundle", "add-flows", "b0", "-", stdin=format_state(SwitchState(held.flows, {}, {}))[0])


def _megabytes(ovs: DummyOvs) -> int:
    """What ovs-vswitchd holds in memory (VmRSS, proc(5))."""
    with socket.socket(socket.AF_UNIX) as control:  # whoever listens there is the daemon (SO_PEERCRED, unix(7))
        control.connect(str(ovs.dir / "vswitchd.ctl"))
        pid, _, _ = struct.unpack("3i", control.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("VmRSS:")[2].split()[0]) // 1024


def lines(number: int = SERVICES) -> Iterator[Line]:
    """Time, messages, loading."""
    check()
    line, state = after_a_change(number)
    yield line
    yield from sending()
    yield loading(state["s1"], number)
