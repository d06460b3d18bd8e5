"""Handing out the numbers of an Allocation: what had one keeps it, what is new gets a free one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller_app.model.allocation import Allocation
from controller_app.model.position import NOWHERE, Diagnostic, PolicyError
from controller_app.pipeline import labels


def assign(
    names: Iterable[str],
    previous: Mapping[str, int],
    first: int = 1,
    limit: int = 1 << 40,
    what: str = "objects",
    reserved: Iterable[int] = (),
) -> dict[str, int]:
    """Numbers for `names`: the previous one where there is one, otherwise the lowest that is neither
    `reserved` nor held by anybody of `previous` (so a number just given up is not taken in the same step)."""
    wanted = dict.fromkeys(names)
    result: dict[str, int] = {}
    taken = {*previous.values(), *reserved}
    candidate = first
    for name in wanted:
        if name in previous:
            result[name] = previous[name]
            continue
        while candidate in taken:
            candidate += 1
        if candidate >= limit:
            raise too_many(what, limit - first)
        taken.add(candidate)
        result[name] = candidate
    return result


def too_many(what: str, limit: int) -> PolicyError:
    """The error for a full number space."""
    return PolicyError(
        [Diagnostic(NOWHERE, what, f"more than {limit} {what}", "use fewer, or several controllers")]
    )


def assign_waypoints(
    attached: Mapping[str, list[str]], previous: Allocation
) -> tuple[dict[str, int], dict[str, tuple[tuple[int, int], ...]]]:
    """Waypoint ids for attachments, so that those of one switch share a few prefixes.

    attached: switch -> names of its attachments (`host:NAME` or `host:NAME:ARM`), in a stable order.
    Returns (name -> id, switch -> blocks as (base, size), size a power of two and base a multiple of it).
    Id 0 is never given out.
    """
    # a block stays with its switch as long as something of the switch is attached
    blocks: dict[str, list[tuple[int, int]]] = {
        switch: [(base, size) for base, size in previous.blocks.get(switch, ())] for switch in attached
    }
    used = {(base, size) for found in blocks.values() for base, size in found}
    ids: dict[str, int] = {}
    # the largest demand first, so that big aligned blocks are still to be had
    for switch, names in sorted(attached.items(), key=lambda item: (-len(item[1]), item[0])):
        mine = blocks[switch]

        def inside(number: int, mine: list[tuple[int, int]] = mine) -> bool:
            return any(base <= number < base + size for base, size in mine)

        kept = {n: previous.waypoints[n] for n in names if inside(previous.waypoints.get(n, -1))}
        taken = set(kept.values())
        free = [n for base, size in mine for n in range(base, base + size) if n not in taken]
        missing = [name for name in names if name not in kept]
        if len(missing) > len(free):
            lacking = len(missing) - len(free)
            size = 1 << lacking.bit_length()  # a power of two with at least one to spare
            base = _free_block(used, size)
            mine.append((base, size))
            used.add((base, size))
            free += range(base, base + size)
        ids.update(kept)
        ids.update(zip(missing, free, strict=False))
    return ids, {switch: tuple(found) for switch, found in blocks.items() if found}


def _free_block(used: set[tuple[int, int]], size: int) -> int:
    start = size  # leaves id 0 out
    for base, length in sorted(used):
        if start + size <= base:
            break
        if start < base + length:
            start = -(-(base + length) // size) * size
    if start + size > labels.WAYPOINTS:
        raise too_many("attachments", labels.WAYPOINTS - 1)
    return start
