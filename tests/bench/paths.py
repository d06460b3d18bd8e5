"""How long the ways of chains take: against Dijkstra on a layered graph for each query, against rows by networkx, and
after a link failed; and what memory the largest network takes.

The network is a k-ary fat-tree with three functions of 16 instances each. Every chain goes through all three, between
two edge switches drawn evenly. An answer is its cost and its way switch by switch, as a list of names. All start from
nothing but the network: ours reads the topology itself, the others have their graphs built before the clock starts.
The clock is the processor's: every side is one thread, and what else the machine does counts for none of them.
"""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from bench.fat_tree import FatTree, fat_tree
from bench.report import Line, ratios
from controller_app.routing.distances import Routes
from controller_app.routing.layered import Chosen, Layer, Layered

QUERIES, INSTANCES, SEED = 10_000, 16, 5
QUERY_TIMES, SCIPY_TIMES, ROWS_TIMES, FAILED_TIMES = 10_000, 300, 15, 200
MOST_MEMORY = 300  # MB


@dataclass(frozen=True)
class Task:
    """Chains to find ways for: all by the same functions, each from and to an edge switch of its own."""

    tree: FatTree
    ingress: tuple[str, ...]
    egress: tuple[str, ...]

    @staticmethod
    def drawn(k: int, queries: int = QUERIES) -> Task:
        tree, drawn = fat_tree(k, INSTANCES), random.Random(SEED)
        ingress = tuple(drawn.choice(tree.edge) for _ in range(queries))
        return Task(tree, ingress, tuple(drawn.choice(tree.edge) for _ in range(queries)))

    @cached_property
    def chain(self) -> list[Layer]:
        hosts = self.tree.topology.hosts
        found = []
        for function in self.tree.functions.values():
            arms = [hosts[instance.host].attach for instance in function.instances.values()]
            found.append(Layer([arm["in"].switch for arm in arms], [arm["out"].switch for arm in arms]))
        return found

    @cached_property
    def attachments(self) -> tuple[str, ...]:
        """The switches that instances are at."""
        return tuple(sorted({switch for layer in self.chain for arm in layer for switch in arm}))

    def solve(self) -> tuple[Chosen, list[list[str]]]:
        """Ours, from the topology to lists of names."""
        answers = Layered(Routes(self.tree.topology), self.chain).least(self.ingress, self.egress)
        return answers, answers.ways().lists()


def timed(work: Callable[[], object]) -> float:
    """Seconds of the processor. What was there before is not collected on this account."""
    gc.collect()
    gc.freeze()
    start = time.process_time()
    made = work()  # kept until the clock has stopped: throwing it away is no part of the work
    taken = time.process_time() - start
    del made
    return taken


# -- the obvious way -------------------------------------------------------------------------------------------------


class LayeredGraph:
    """The network once for each step of a chain; an instance leads from its entry in one to its exit in the next. A
    node is step · switches + switch."""

    def __init__(self, task: Task) -> None:
        self.names = list(task.tree.topology.switches)
        self.number = {name: at for at, name in enumerate(self.names)}
        self._last = len(task.chain) * len(self.names)
        arcs: dict[tuple[int, int], float] = {}
        for step in range(len(task.chain) + 1):
            base = step * len(self.names)
            for link in task.tree.topology.links:
                a, b = base + self.number[link.a.switch], base + self.number[link.b.switch]
                arcs[a, b] = arcs[b, a] = link.cost
        for step, layer in enumerate(task.chain):
            for entry, leaving in zip(layer.entries, layer.exits, strict=True):
                there = (step + 1) * len(self.names) + self.number[leaving]
                arcs[step * len(self.names) + self.number[entry], there] = 0
        self.nodes = self._last + len(self.names)
        self.plain = nx.DiGraph()
        self.plain.add_nodes_from(range(self.nodes))
        self.plain.add_edges_from((a, b, {"cost": cost}) for (a, b), cost in arcs.items())
        tails, heads = np.array(list(arcs)).T
        self.matrix = csr_matrix((np.array(list(arcs.values()), float), (tails, heads)), shape=(self.nodes,) * 2)

    def by_networkx(self, ingress: str, egress: str) -> tuple[float, list[str]]:
        """One query."""
        start, end = self.number[ingress], self._last + self.number[egress]
        cost, way = nx.single_source_dijkstra(self.plain, start, end, weight="cost")
        return cost, self._named(way)

    def by_scipy(self, ingress: str, egress: str) -> tuple[float, list[str]]:
        """The same by compiled code."""
        start, end = self.number[ingress], self._last + self.number[egress]
        distances, before = dijkstra(self.matrix, indices=start, return_predecessors=True)
        way = [end]
        while way[-1] != start:
            way.append(int(before[way[-1]]))
        return float(distances[end]), self._named(way[::-1])

    def _named(self, way: Sequence[int]) -> list[str]:
        found = [self.names[node % len(self.names)] for node in way]
        return [name for at, name in enumerate(found) if at == 0 or name != found[at - 1]]


# -- the same rows, written with networkx ------------------------------------------------------------------------------


def rows_by_networkx(graph: nx.Graph, task: Task, attachments: Sequence[str]) -> tuple[list[float], list[list[str]]]:
    """One Dijkstra for each switch that instances are at, and the layered minimum in Python, shared among queries as
    ours is. Links cost the same both ways here, so the row of an exit serves the last leg, read backwards."""
    rows = {at: nx.dijkstra_predecessor_and_distance(graph, at, weight="cost") for at in attachments}
    chain = task.chain
    rest: dict[str, list[list[tuple[float, int]]]] = {}
    for egress in set(task.egress):
        tables = [[(rows[at][1][egress], 0) for at in chain[-1].exits]]
        for layer, after in zip(chain[-2::-1], chain[:0:-1], strict=True):
            behind = [cost for cost, _ in tables[-1]]
            tables.append(
                [
                    min((rows[entry][1][at] + behind[n], n) for n, entry in enumerate(after.entries))
                    for at in layer.exits
                ]
            )
        rest[egress] = tables[::-1]

    def leg(at: str, target: str) -> list[str]:
        before = rows[target][0]
        way = [at]
        while way[-1] != target:
            way.append(before[way[-1]][0])
        return way

    costs, ways = [], []
    for ingress, egress in zip(task.ingress, task.egress, strict=True):
        tables = rest[egress]
        cost, number = min((rows[entry][1][ingress] + tables[0][n][0], n) for n, entry in enumerate(chain[0].entries))
        way, at = [ingress], ingress
        for step, layer in enumerate(chain):
            way += leg(at, layer.entries[number])[1:]
            at = layer.exits[number]
            if at != way[-1]:
                way.append(at)
            number = tables[step][number][1]
        way += leg(egress, at)[::-1][1:]
        costs.append(cost)
        ways.append(way)
    return costs, ways


# -- are they right ----------------------------------------------------------------------------------------------------


def check(task: Task, costs: Sequence[float], ways: Sequence[Sequence[str]]) -> None:
    """RuntimeError unless every way goes over links, through an instance of every function in turn, and costs what was
    said. (All links of a fat-tree cost 1, and its instances have both arms at one switch.)"""
    joined = {(link.a.switch, link.b.switch) for link in task.tree.topology.links}
    joined |= {(b, a) for a, b in joined}
    for ingress, egress, cost, way in zip(task.ingress, task.egress, costs, ways, strict=True):
        at = 0
        for layer in task.chain:  # the next instance may be at the same switch
            while at < len(way) and way[at] not in layer.entries:
                at += 1
        if way[0] != ingress or way[-1] != egress or len(way) - 1 != cost or at == len(way):
            raise RuntimeError(f"{'-'.join(way)} is no way for {cost:g} from {ingress} to {egress} by all functions")
        if not joined.issuperset(pairwise(way)):
            raise RuntimeError(f"{'-'.join(way)} does not go over links")


def agree(what: str, one: Sequence[float], other: Sequence[float]) -> None:
    """RuntimeError unless the costs are the same."""
    if list(one) != list(other):
        raise RuntimeError(f"{what} finds other costs than ours")


# -- lines -------------------------------------------------------------------------------------------------------------


def cold(
    k: int = 32, queries: int = QUERIES, times: int = 5, sample: int = 4, sample_scipy: int = 20
) -> Iterator[Line]:
    """All queries by ours; a sample by Dijkstra on the layered graph, other ones each time; all by rows of networkx."""
    task = Task.drawn(k, queries)
    obvious, graph = LayeredGraph(task), nx.Graph(task.tree.topology.graph)
    answers, ways = task.solve()
    costs = answers.cost.tolist()
    check(task, costs, ways)
    drawn = random.Random(SEED)
    ours: list[float] = []
    others: dict[str, list[float]] = {"networkx": [], "scipy": [], "rows": []}
    for _ in range(times):
        ours.append(timed(task.solve))
        for name, solve, number in (
            ("networkx", obvious.by_networkx, sample),
            ("scipy", obvious.by_scipy, sample_scipy),
        ):
            asked = [drawn.randrange(queries) for _ in range(number)]
            found: list[tuple[float, list[str]]] = []
            taken = timed(
                lambda asked=asked, solve=solve, found=found: found.extend(  # type: ignore[misc]
                    solve(task.ingress[at], task.egress[at]) for at in asked
                )
            )
            others[name].append(taken * queries / number)
            agree(name, [cost for cost, _ in found], [costs[at] for at in asked])
        rows: list[tuple[list[float], list[list[str]]]] = []
        others["rows"].append(timed(lambda: rows.append(rows_by_networkx(graph, task, task.attachments))))  # noqa: B023
        agree("the row algorithm of networkx", rows[0][0], costs)
        check(task, *rows[0])
    numbers = {"ours": ours, **others}
    here = f"{queries:,} chains of 3 functions × {INSTANCES} instances, k={k}, cold, explicit hops: "
    for name, text, least in (
        ("networkx", f"networkx Dijkstra on a layered graph per query (of {sample} drawn a time) ÷ ours", QUERY_TIMES),
        ("scipy", f"scipy on the layered graph per query (of {sample_scipy} drawn a time) ÷ ours", SCIPY_TIMES),
        ("rows", "one row per attachment and a layered minimum by networkx and Python ÷ ours", ROWS_TIMES),
    ):
        yield _line(here + text, others[name], ours, least, numbers)


def _line(
    what: str,
    theirs: Sequence[float],
    ours: Sequence[float],
    least: float,
    numbers: Mapping[str, object],
    limits: str = "",
) -> Line:
    found = ratios(theirs, ours)
    return Line(what, str(found), f"≥ {least:,} times", found.median >= least, limits, numbers)


def failed_link(k: int = 32, times: int = 7, sample: int = 16) -> Iterator[Line]:
    """A link fails, another one each time: the rows of all attachments of functions, by ours and by networkx; and of
    the edge switches as well, of which networkx computes a sample."""
    task = Task.drawn(k, 1)
    topology, drawn = task.tree.topology, random.Random(SEED)
    found: dict[str, tuple[list[float], list[float]]] = {"functions": ([], []), "edges": ([], [])}
    rows = {"functions": task.attachments, "edges": tuple(dict.fromkeys((*task.attachments, *task.tree.edge)))}
    for _ in range(times):
        gone = drawn.randrange(len(topology.links))
        without = replace(topology, links=(*topology.links[:gone], *topology.links[gone + 1 :]))
        graph = nx.Graph(without.graph)
        for name, targets in rows.items():
            before = Routes(topology)
            before.prepare(targets)
            made: list[Routes] = []
            ours = timed(lambda before=before, made=made: made.append(before.following(without)))  # type: ignore[misc] # noqa: B023
            asked = targets if name == "functions" else drawn.sample(targets, sample)
            computed: dict[str, Mapping[str, float]] = {}
            theirs = timed(
                lambda asked=asked, computed=computed, graph=graph: computed.update(  # type: ignore[misc]
                    (at, nx.single_source_dijkstra_path_length(graph, at, weight="cost")) for at in asked
                )
            )
            for at, expected in computed.items():
                if dict(made[0].row(at).cost) != expected:
                    raise RuntimeError(f"the row of {at} is not what networkx computes")
            found[name][0].append(theirs * len(targets) / len(asked))
            found[name][1].append(ours)
    also = ratios(*found["edges"])
    yield _line(
        f"one link fails, k={k}: networkx recomputing the rows of {len(rows['functions'])} attachments ÷ ours",
        *found["functions"],
        FAILED_TIMES,
        {name: {"networkx": theirs, "ours": ours} for name, (theirs, ours) in found.items()},
        f"with the {len(rows['edges'])} rows of all edge switches, of which networkx computed {sample} a time: {also}",
    )


def memory(k: int = 48, queries: int = QUERIES) -> Iterator[Line]:
    """The most that a process of its own ever held, everything imported included."""
    words = [sys.executable, "-m", "bench.paths", str(k), str(queries)]
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
    ended = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found = json.loads(ended.stdout)
    yield Line(
        f"peak memory, k={k} ({found['switches']:,} switches), {queries:,} chains with explicit hops",
        f"{found['peak']:.0f} MB",
        f"≤ {MOST_MEMORY} MB",
        found["peak"] <= MOST_MEMORY,
        f"{found['network']:.0f} MB of it are there with the network, before the first row",
        found,
    )


def lines() -> Iterator[Line]:
    """Cold, after a failure, and memory."""
    yield from cold()
    yield from failed_link()
    yield from memory()


def _peak() -> float:
    """MB. Linux keeps it by process image; getrusage(2) would tell the parent's, where that was larger."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def _memory_here(k: int, queries: int) -> None:
    task = Task.drawn(k, queries)
    network = _peak()
    answers, ways = task.solve()
    print(json.dumps({"switches": len(task.tree.topology.switches), "network": network, "peak": _peak(),
                      "mean_cost": float(answers.cost.mean()), "ways": len(ways)}))  # fmt: skip


if __name__ == "__main__":
    _memory_here(int(sys.argv[1]), int(sys.argv[2]))
