"""How evenly the 256 slots are shared, and how few of them move when an instance goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import ceil

from bench.fat_tree import FatTree, fat_tree
from bench.report import Line
from bench.workload import policy
from controller_app.balancing.slots import fill
from controller_app.model.allocation import SLOTS, Allocation
from controller_app.model.flow import Bucket, FlowState, SetField
from controller_app.model.policy import Policy
from controller_app.pipeline import labels
from controller_app.pipeline.compile import compile

GROUPS_OF = (2, 3, 8, 16)  # instances of each function, where slots are counted in the groups that switches get
Choices = Mapping[tuple[str, int], Sequence[Mapping[str, str]]]  # (switch, group) -> function -> instance, by slot


def moved(before: Sequence[str], after: Sequence[str], gone: str) -> int:
    """Slots that changed hands though they were not the lost instance's."""
    return sum(old not in (new, gone) for old, new in zip(before, after, strict=True))


def unevenness(table: Sequence[str]) -> Fraction:
    """Largest ÷ mean number of slots per member."""
    held = Counter(table)
    return Fraction(max(held.values()) * len(held), SLOTS)


def bound(members: int) -> Fraction:
    """The least that `unevenness` can be for so many equal members."""
    return Fraction(ceil(SLOTS / members) * members, SLOTS)


def removals(members: int) -> Iterator[tuple[int, Fraction]]:
    """For each of so many equal instances, when it goes: slots moved beyond its own, and the unevenness after."""
    weights = {f"i{number}": 1 for number in range(members)}
    table = fill(weights)
    for gone in weights:
        left = fill({name: 1 for name in weights if name != gone}, table)
        yield moved(table, left, gone), unevenness(left)


def choices(state: FlowState, allocation: Allocation) -> Choices:
    """What each slot of each group stands for, read back from the groups as switches get them."""
    paths = {
        number: {
            function: name.partition("@")[0]
            for function, name in zip(key.split("/")[1].split("+"), text.split(","), strict=True)
        }
        for key, held in allocation.paths.items()
        for text, number in held.items()
    }
    return {
        (switch, group.id): [paths[_path(bucket)] for bucket in group.buckets]
        for switch, held in state.items()
        for group in held.groups.values()
        if group.kind == "select"  # others are ways around dead links
    }


def _path(bucket: Bucket) -> int:
    """The path number that a bucket writes into the label."""
    (written,) = (action for action in bucket.actions if isinstance(action, SetField))
    return written.value >> labels.PATH.offset & (1 << labels.PATH.bits) - 1


def group_slots_moved(tree: FatTree, policy: Policy, function: str) -> tuple[int, int]:
    """(slots moved beyond its own, its own), over all groups of all switches, when a function's first instance
    goes."""
    state, allocation = compile(policy, tree.topology)
    tenant = policy.tenants["default"]
    declared = tenant.functions[function]
    gone, *left = declared.instances
    remaining = {name: declared.instances[name] for name in left}
    functions = {**tenant.functions, function: replace(declared, instances=remaining)}
    without = Policy({"default": replace(tenant, functions=functions)})
    before, after = choices(state, allocation), choices(*compile(without, tree.topology, allocation))
    pairs = [pair for key, slots in before.items() for pair in zip(slots, after[key], strict=True)]
    own = [old.get(function) == gone for old, _ in pairs]
    beyond = sum(old != new and not mine for (old, new), mine in zip(pairs, own, strict=True))
    return beyond, sum(own)


def lines(most: int = 64) -> Iterator[Line]:
    """Slots moved and unevenness for 2 to `most` instances, and what that means in the groups of a fat-tree."""
    tables = {members: list(removals(members)) for members in range(2, most + 1)}
    worst = max(beyond for found in tables.values() for beyond, _ in found)
    groups = {}
    for members in GROUPS_OF:
        tree = fat_tree(4, members)
        groups[members] = group_slots_moved(tree, policy(tree, 64, "none"), "f0")
    in_groups = max(beyond for beyond, _ in groups.values())
    yield Line(
        f"slots moved when one of N instances goes, beyond its own; each of N, N = 2 to {most}",
        f"{worst} (in the groups of chains of up to 3 functions, N = {', '.join(map(str, GROUPS_OF))}: {in_groups})",
        "0",
        worst == in_groups == 0,
        "",
        {"groups": {str(members): found for members, found in groups.items()}},
    )
    first = {members: unevenness(fill({f"i{n}": 1 for n in range(members)})) for members in range(2, most + 1)}
    after = {members: max(spread for _, spread in tables[members]) for members in tables}
    over = [members for members, found in first.items() if found > bound(members)]
    over += [members for members, found in after.items() if found > bound(members - 1)]
    largest = max(found / bound(members) for members, found in first.items())
    yield Line(
        f"(largest ÷ mean slots per equal instance) ÷ (ceil(256/N)·N/256), most of N = 2 to {most}, and of N−1 after "
        "one went",
        f"{float(largest):.3f}; above the bound for {len(over)} of N",
        "≤ 1",
        not over,
        ", ".join(map(str, over)),
        {"largest_to_mean": {str(members): float(found) for members, found in first.items()}},
    )
