"""How long compiling takes: against Open vSwitch taking the result in, and after one change against from nothing."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dummy_ovs import DummyOvs, missing

from bench.fat_tree import FatTree, fat_tree
from bench.report import Line, Spread, ratios
from bench.workload import policy
from controller_app.model.flow import FlowState
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.compile import Compiled, compile, compile_next
from controller_app.pipeline.ofctl import format_meters, format_state

CLASSIFIERS = 10_000
MOST_OF_LOADING = 3.0
CHANGES_PER_COMPILE = 40


def clock() -> float:
    """Seconds, after the garbage of what ran before was collected: it is not on the account of what comes."""
    gc.collect()
    return time.perf_counter()


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    start = clock()
    work()
    return time.perf_counter() - start


class Loader:
    """Bridges on the dummy datapath, one a switch, and files of what they are to hold."""

    def __init__(self, ovs: DummyOvs, topology: Topology, folder: Path) -> None:
        self._ovs, self._folder = ovs, folder
        self._bridges = {name: f"b{number}" for number, name in enumerate(topology.switches)}
        with ovs.transaction():
            for name, switch in topology.switches.items():
                ovs.add_bridge(self._bridges[name], switch.dpid)

    def prepare(self, state: FlowState) -> None:
        """What is not timed: give the bridges the groups and meters, and write the files of flows."""
        for name, bridge in self._bridges.items():
            flows, groups = format_state(state[name])
            for meter in format_meters(state[name]).splitlines():
                self._ovs.ofctl("add-meter", bridge, meter)
            if groups:
                self._ovs.ofctl("add-groups", bridge, "-", stdin=groups)
            (self._folder / f"{bridge}.flows").write_text(flows)

    def empty(self) -> None:
        """Take the flows out again."""
        for bridge in self._bridges.values():
            self._ovs.ofctl("del-flows", bridge)

    def load(self) -> None:
        """`ovs-ofctl --bundle add-flows`, one call a switch, one after the other."""
        for bridge in self._bridges.values():
            self._ovs.ofctl("--bundle", "add-flows", bridge, str(self._folder / f"{bridge}.flows"))

    def held(self) -> int:
        """Flows that the bridges hold now."""
        summaries = (self._ovs.ofctl("dump-aggregate", bridge) for bridge in self._bridges.values())
        return sum(int(text.rpartition("flow_count=")[2]) for text in summaries)


def against_loading(stickiness: str, k: int = 16, classifiers: int = CLASSIFIERS, times: int = 3) -> Line:
    """A cold compile against Open vSwitch taking in its result, in turns."""
    what = f"cold compile ÷ loading by ovs-ofctl, {classifiers:,} chains, stickiness {stickiness}"
    must = f"≤ {MOST_OF_LOADING:g}"
    if problem := missing():
        return Line(what, "", must, None, problem)
    tree = fat_tree(k)
    chains = policy(tree, classifiers, stickiness)
    state, _ = compile(chains, tree.topology)
    flows = sum(len(held.flows) for held in state.values())
    compiling, loading = [], []
    with DummyOvs() as ovs, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        loader = Loader(ovs, tree.topology, Path(folder))
        loader.prepare(state)
        for turn in range(times):
            compiling.append(timed(lambda: compile(chains, tree.topology)))
            loading.append(timed(loader.load))
            if turn == 0 and (held := loader.held()) != flows:
                raise RuntimeError(f"the bridges hold {held:,} flows, not the {flows:,} that were compiled")
            if turn < times - 1:
                loader.empty()
    found = ratios(compiling, loading)
    return Line(
        what,
        str(found),
        must,
        found.median <= MOST_OF_LOADING,
        f"{flows:,} flows on {len(tree.topology.switches)} switches",
        {"compile": compiling, "load": loading, "flows": flows},
    )


def changes(tree: FatTree, chains: Policy, turn: int) -> Iterator[tuple[str, Policy, Topology]]:
    """One instance changes, another one each turn: its port goes down, comes back, its weight doubles, it is removed,
    it is back."""
    tenant = chains.tenants["default"]
    name, function = list(tenant.functions.items())[turn % len(tenant.functions)]
    instance = list(function.instances.values())[turn % len(function.instances)]
    down = frozenset({tree.topology.hosts[instance.host].attach["in"]})
    yield "port down", chains, replace(tree.topology, down=down)
    yield "port up", chains, tree.topology
    heavier = {**function.instances, instance.name: replace(instance, weight=2 * instance.weight)}
    fewer = {key: other for key, other in function.instances.items() if key != instance.name}
    for what, instances in (("weight", heavier), ("removed", fewer), ("added", function.instances)):
        functions = {**tenant.functions, name: replace(function, instances=instances)}
        yield what, Policy({"default": replace(tenant, functions=functions)}), tree.topology


def again(previous: Compiled | None, chains: Policy, topology: Topology) -> Compiled:
    """Compile, with what the last compile made."""
    return compile_next(previous, chains, topology)


def after_a_change(stickiness: str, k: int = 16, classifiers: int = CLASSIFIERS, times: int = 5) -> Line:
    """Compiling after one instance changed against from nothing, in turns. The kind of change that takes longest
    counts. What the last change gives is held against compiling all of it."""
    tree = fat_tree(k)
    chains = policy(tree, classifiers, stickiness)
    cold: list[float] = []
    found: dict[str, list[float]] = {}
    for turn in range(times):
        cold.append(timed(lambda: compile(chains, tree.topology)))
        made = again(None, chains, tree.topology)
        for what, changed, topology in changes(tree, chains, turn):
            before = made
            start = clock()
            made = again(before, changed, topology)
            found.setdefault(what, []).append((time.perf_counter() - start) / cold[-1])
            if turn == times - 1 and compile(changed, topology, before.allocation)[0] != made.state:
                raise RuntimeError(f"{what}: compiling after a change gave something else than compiling all of it")
        del made, before
    kinds = {what: Spread(tuple(values)) for what, values in found.items()}
    slowest = max(kinds, key=lambda what: kinds[what].median)
    return Line(
        f"compile after one instance changed ÷ cold compile, {classifiers:,} chains, stickiness {stickiness}",
        f"1/{1 / kinds[slowest].median:.1f}: {kinds[slowest]}",
        f"≤ 1/{CHANGES_PER_COMPILE}",
        kinds[slowest].median * CHANGES_PER_COMPILE <= 1,
        "slowest: " + slowest + "; " + ", ".join(f"{what} 1/{1 / spread.median:.0f}" for what, spread in kinds.items()),
        {"cold_seconds": cold, "ratios": found},
    )


def lines(stickinesses: Sequence[str] = ("none", "connection")) -> Iterator[Line]:
    """Loading for the policy with the fewest rules, which is the hardest; changes for each stickiness."""
    yield against_loading("none")
    for stickiness in stickinesses:
        yield after_a_change(stickiness)
