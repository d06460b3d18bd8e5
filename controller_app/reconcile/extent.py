"""How much a change is: rules, groups, meters and slots of each switch, the space they take, and whose connections it
moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller_app.model.allocation import SLOTS, Allocation
from controller_app.model.flow import Flow, Group, SwitchState
from controller_app.model.policy import Policy, Tenant
from controller_app.pipeline.tables import NUMBER, SLOT, TABLE_NAMES
from controller_app.reconcile.changes import Change, DropFlow, DropGroup, DropMeter, PutFlow, PutGroup, PutMeter

WORDS = ("add", "modify", "delete")
_KINDS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("rules", (PutFlow, DropFlow)),
    ("groups", (PutGroup, DropGroup)),
    ("meters", (PutMeter, DropMeter)),
)
OpenConnections = Mapping[tuple[str, str, str], int | None]  # by tenant, service and endpoint; None: not known


@dataclass(frozen=True, slots=True)
class Held:
    """What a switch holds of others, by table, and how much it says it takes (None, or no entry: it does not say)."""

    foreign: Mapping[int, int] = field(default_factory=dict)
    tables: Mapping[int, int] = field(default_factory=dict)
    groups: int | None = None
    meters: int | None = None


def counted(changes: Iterable[Change]) -> dict[str, dict[str, int]]:
    """By kind (rules, groups, meters, slots), how many are added, modified and deleted."""
    found = {kind: dict.fromkeys(WORDS, 0) for kind in ("rules", "groups", "meters", "slots")}
    for change in changes:
        kind = next(name for name, classes in _KINDS if isinstance(change, classes))
        found[kind][_word(change)] += 1
        for word, count in _slots(change):
            found["slots"][word] += count
    return found


def _word(change: Change) -> str:
    if isinstance(change, DropFlow | DropGroup | DropMeter):
        return "delete"
    return "add" if change.replaces is None else "modify"


def _slots(change: Change) -> Iterator[tuple[str, int]]:
    """Slots that a change adds, takes away, or gives to somebody else."""
    match change:
        case PutGroup(group=group, replaces=before) if _slotted(group):
            if before is None or not _slotted(before):
                yield "add", SLOTS
            else:
                pairs = zip(group.buckets, before.buckets, strict=True)
                yield "modify", sum(one is not other and one.actions != other.actions for one, other in pairs)
        case DropGroup(group=group) if _slotted(group):
            yield "delete", SLOTS
        case PutFlow(flow=flow) | DropFlow(flow=flow) if flow.table == NUMBER["slot"]:
            yield _word(change), _looked_up(flow)


def _slotted(group: Group) -> bool:
    return group.kind == "select" and len(group.buckets) == SLOTS


def _looked_up(flow: Flow) -> int:
    """For how many slots a rule is, where rules look slots up."""
    mask = next((item.mask for item in flow.match if item.field == SLOT.field), 0)
    return SLOTS >> (mask >> SLOT.offset & SLOTS - 1).bit_count()


def space(before: SwitchState, after: SwitchState, held: Held) -> dict[str, Any]:
    """The space that a switch's tables, groups and meters take, and have."""
    was, now = Counter(key.table for key in before.flows), Counter(key.table for key in after.flows)
    numbers = sorted({*was, *now, *held.foreign})
    tables = [
        {
            "table": TABLE_NAMES.get(number, str(number)),
            "number": number,
            "before": was[number],
            "after": now[number],
            "foreign": held.foreign.get(number, 0),
            "most": held.tables.get(number),
        }
        for number in numbers
    ]
    return {
        "tables": tables,
        "groups": {"before": len(before.groups), "after": len(after.groups), "most": held.groups},
        "meters": {"before": len(before.meters), "after": len(after.meters), "most": held.meters},
    }


def moves(
    after: tuple[Policy, Allocation], before: tuple[Policy, Allocation], known: OpenConnections
) -> list[dict[str, Any]]:
    """The slot tables of functions and services of which slots change hands.

    slots: how many of 256. keeps: whether connections that are there stay where they are. open: how many are there,
    connections: how many of them would move or end, an estimate; None where that is not known.
    """
    found = []
    for name, table in sorted(before[1].slots.items()):
        kind, tenant, item = name.split("/", 2)
        changed = after[1].slots.get(name, ())
        moved = sum(one != other for one, other in zip(table, changed, strict=False)) if changed else len(table)
        if moved == 0:
            continue
        item, _, place = item.partition("@")
        old, new = before[0].tenants.get(tenant, Tenant()), after[0].tenants.get(tenant, Tenant())
        count = _of_service if kind == "services" else _of_function
        keeps, there, going = count(old, new, item, moved, set(table) - set(changed), known)
        found.append(
            {
                "kind": kind.removesuffix("s"),
                "name": item,
                "tenant": tenant,
                "near": place or None,
                "slots": moved,
                "keeps": keeps,
                "open": there,
                "connections": going,
            }
        )
    return found


_Count = tuple[bool, int | None, int | None]  # whether connections stay; how many there are; how many move


def _of_service(
    old: Tenant, new: Tenant, name: str, moved: int, gone: set[str], known: OpenConnections
) -> _Count:
    """What a provider was given stays his, unless he goes without draining."""
    del moved
    ours = {end: count for (tenant, service, end), count in known.items() if (tenant, service) == (old.name, name)}
    there = _sum(ours.values()) if ours else None
    draining = {end for end in new.endpoints if new.endpoints[end].drain and name in new.services}
    leaving = sorted(gone - draining)
    return not leaving, there, _sum(ours.get(end) for end in leaving)


def _of_function(
    old: Tenant, new: Tenant, name: str, moved: int, gone: set[str], known: OpenConnections
) -> _Count:
    """Chains that remember keep their connections where they are, as long as the instance is there; of the others as
    many move as slots do. How many there are is known where all traffic of the chains is that of services."""
    chains = [chain for chain in old.chains.values() if name in chain.through]
    forgetful = {chain.name for chain in chains if chain.stickiness == "none"}
    leaving = gone - set(new.functions[name].instances) if name in new.functions else gone
    keeps = not forgetful and not leaving
    counts: list[int | None] = []
    for classifier in old.classifiers.values():
        if classifier.then.chain not in (forgetful if not leaving else {chain.name for chain in chains}):
            continue
        service = classifier.destination.value if classifier.destination.kind == "service" else None
        ours = [count for (tenant, item, _), count in known.items() if (tenant, item) == (old.name, service)]
        counts.append(_sum(ours) if ours else None)
    there = _sum(counts) if counts else None
    if keeps:
        return True, there, 0
    return False, there, None if there is None else round(there * moved / SLOTS)


def _sum(counts: Iterable[int | None]) -> int | None:
    """The sum, where all of them are known."""
    found = list(counts)
    known = [count for count in found if count is not None]
    return sum(known) if len(known) == len(found) else None

