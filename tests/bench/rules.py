"""How many rules chains cost: in all, at each switch that only carries, and against one rule per flow and hop."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx

from bench.fat_tree import FatTree, fat_tree
from bench.report import Line
from bench.workload import SEED, policy
from controller_app.model.flow import FlowState
from controller_app.model.policy import Policy
from controller_app.pipeline.compile import compile
from controller_app.pipeline.tables import TABLE_NAMES

MOST_PER_DIRECTION = 1.05
FEWER_THAN_PER_HOP = 8.0


@dataclass(frozen=True, slots=True)
class Counted:
    """Rules (flow entries) of a compiled policy, by table and by switch; groups are counted for themselves."""

    rules: int
    groups: int
    tables: Mapping[str, int]
    switches: Mapping[str, tuple[int, int, int]]  # flows, groups, meters

    def largest_tables(self, number: int = 3) -> str:
        found = sorted(self.tables.items(), key=lambda item: -item[1])[:number]
        return ", ".join(f"{name} {rules:,}" for name, rules in found)


def count(state: FlowState) -> Counted:
    """Count what switches are to hold."""
    tables = Counter(TABLE_NAMES[key.table] for held in state.values() for key in held.flows)
    switches = {name: (len(held.flows), len(held.groups), len(held.meters)) for name, held in state.items()}
    groups = sum(number for _, number, _ in switches.values())
    return Counted(sum(tables.values()), groups, dict(tables), switches)


def counted(tree: FatTree, classifiers: int, stickiness: str) -> Counted:
    """Compile that many classifiers on the tree and count."""
    return count(compile(policy(tree, classifiers, stickiness), tree.topology)[0])


def per_direction(few: Counted, many: Counted, added: int) -> float:
    """Rules that each direction of an added chain costs."""
    return (many.rules - few.rules) / (2 * added)


def per_flow_per_hop(tree: FatTree, chains: Policy) -> int:
    """The baseline: what a controller holds that knows only single flows. Each classifier is two flows, there and
    back; each has one rule at every switch it passes on shortest ways through one instance, drawn evenly, of each of
    its functions. A switch that hands a packet to a function and takes it back counts once.
    """
    drawn = random.Random(SEED)
    distance = dict(nx.all_pairs_shortest_path_length(nx.Graph(tree.topology.graph)))
    at = {name: next(iter(host.attach.values())).switch for name, host in tree.topology.hosts.items()}
    total = 0
    for tenant in chains.tenants.values():
        hosts = {name: list(function.instances.values()) for name, function in tenant.functions.items()}
        for classifier in tenant.classifiers.values():
            assert classifier.then.chain is not None
            through = tenant.chains[classifier.then.chain].through
            stops = [at[drawn.choice(hosts[name]).host] for name in through]
            way = [at[str(classifier.source.value)], *stops, at[str(classifier.destination.value)]]
            total += 2 * (1 + sum(distance[a][b] for a, b in pairwise(way)))
    return total


def changed_transit(tree: FatTree, few: Counted, many: Counted) -> list[str]:
    """Switches that only carry, and hold another number of flows, groups or meters with more chains."""
    return [name for name in tree.transit if few.switches[name] != many.switches[name]]


def lines(stickinesses: Sequence[str] = ("none", "connection"), k: int = 16, many: int = 100_000) -> Iterator[Line]:
    """Rules per chain direction and in all, and rules in transit, with up to `many` chains on a k-ary fat-tree."""
    tree = fat_tree(k)
    hops = per_flow_per_hop(tree, policy(tree, many, stickinesses[0]))
    for stickiness in stickinesses:
        eight, ten, all_of_them = (counted(tree, number, stickiness) for number in (8, 10, many))
        each = per_direction(eight, all_of_them, many - 8)
        added = Counter(all_of_them.tables)
        added.subtract(eight.tables)
        grown = Counted(0, 0, {name: number for name, number in added.items() if number > 0}, {})
        yield Line(
            f"(rules with {many:,} chains − rules with 8) ÷ chain directions, stickiness {stickiness}",
            f"{each:.3f}",
            f"≤ {MOST_PER_DIRECTION}",
            each <= MOST_PER_DIRECTION,
            f"added: {grown.largest_tables()}; and {all_of_them.groups - eight.groups:,} groups",
            {"rules_8": eight.rules, "rules": all_of_them.rules, "groups_8": eight.groups,
             "groups": all_of_them.groups, "tables_8": eight.tables, "tables": all_of_them.tables},
        )  # fmt: skip
        fewer = hops / all_of_them.rules
        yield Line(
            f"one rule per flow per hop ÷ rules in all, {many:,} chains, stickiness {stickiness}",
            f"{fewer:.2f} ({hops:,} ÷ {all_of_them.rules:,})",
            f"≥ {FEWER_THAN_PER_HOP:g}",
            fewer >= FEWER_THAN_PER_HOP,
            f"largest tables: {all_of_them.largest_tables()}",
            {"per_flow_per_hop": hops, "rules": all_of_them.rules},
        )
        yield _transit(tree, ten, all_of_them, many, stickiness)


def _transit(tree: FatTree, ten: Counted, all_of_them: Counted, many: int, stickiness: str) -> Line:
    changed = changed_transit(tree, ten, all_of_them)
    before, after = (
        "/".join(str(max(found.switches[name][kind] for name in tree.transit)) for kind in range(3))
        for found in (ten, all_of_them)
    )
    return Line(
        f"most flows/groups/meters on one of {len(tree.transit)} transit switches, 10 → {many:,} chains, "
        f"stickiness {stickiness}",
        f"{before} → {after}; {len(changed)} switches changed",
        "unchanged",
        not changed,
        ", ".join(changed[:5]),
        {"changed": changed},
    )
