"""Handing out the numbers of an Allocation: what had one keeps it, what is new gets one nobody had lately.

A switch may be behind: one that is not connected still acts on numbers of many compiles ago. So numbers go round:
one that was given up is taken again only after all the others of its space were, and while packets under way may carry
it (`Allocation.retired`) only where there is no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import eq

from controller_app.model.allocation import Allocation
from controller_app.model.position import NOWHERE, Diagnostic, PolicyError
from controller_app.pipeline import labels
from controller_app.pipeline.boxes import port_masks

Blocks = tuple[tuple[int, int], ...]


class Numbers:
    """One compile's numbering: starts from a previous allocation, collects what the next one has to know."""

    def __init__(self, previous: Allocation) -> None:
        self._previous = previous
        self.next: dict[str, int] = dict(previous.next)
        self.retired: dict[str, tuple[int, ...]] = dict(previous.retired)

    def retire(self, space: str, numbers: Iterable[int]) -> None:
        """These are given up in this step."""
        already = self.retired.get(space, ())
        fresh = tuple(sorted(set(numbers).difference(already)))
        if fresh:
            self.retired[space] = (*already, *fresh)

    def assign(
        self,
        space: str,
        names: Iterable[str],
        previous: Mapping[str, int],
        first: int = 1,
        limit: int = 1 << 40,
        reserved: Iterable[int] = (),
        together: bool = False,
    ) -> Mapping[str, int]:
        """Numbers from `first` to below `limit` for `names`: the previous one where there is one, otherwise the
        next that is neither `reserved` nor held by anybody of `previous`. together: many new ones start where few
        (value, mask) pairs match them all. Where nothing changes it is `previous` itself.

        Raises PolicyError when there are not enough of them.
        """
        wanted = dict.fromkeys(names)
        if len(wanted) == len(previous) and all(map(eq, wanted, previous)):
            return previous
        retired = set(self.retired.get(space, ())).difference(previous.values(), reserved := set(reserved))
        taken = {*previous.values(), *reserved, *retired}
        result: dict[str, int] = {}
        start = candidate = max(first, min(self.next.get(space, first), limit))
        fresh = sum(name not in previous for name in wanted)
        if together and fresh:
            size = 1 << fresh.bit_length() - 1
            candidate = -(-candidate // size) * size
        for name in wanted:
            if name in previous:
                result[name] = previous[name]
                continue
            turned = False
            while candidate >= limit or candidate in taken:
                candidate += 1
                if candidate >= limit:
                    if turned and not retired:
                        raise too_many(space.partition("/")[0], limit - first)
                    if turned:  # rather one that a late packet may carry than none
                        taken -= retired
                        retired = set()
                    candidate, turned = first, True
            taken.add(candidate)
            result[name] = candidate
            candidate += 1
        if candidate != start:
            self.next[space] = candidate
        self.retire(space, (number for name, number in previous.items() if name not in wanted))
        return result

    def waypoints(self, attached: Mapping[str, list[str]]) -> tuple[dict[str, int], dict[str, Blocks]]:
        """Waypoint ids for attachments, so that those of one switch share a few prefixes.

        attached: switch -> names of its attachments (`host:NAME` or `host:NAME:ARM`), in a stable order.
        Returns (name -> id, switch -> blocks as (base, size), size a power of two and base a multiple of it),
        the blocks also of switches that have nothing attached any more. Id 0 is never given out.
        """
        blocks = {switch: list(found) for switch, found in self._previous.blocks.items()}
        used = {block for found in blocks.values() for block in found}
        ids: dict[str, int] = {}
        had = {*self._previous.waypoints.values(), *self._previous.retired.get("waypoints", ())}
        # the largest demand first, so that big aligned blocks are still to be had
        for switch, names in sorted(attached.items(), key=lambda item: (-len(item[1]), item[0])):
            mine = blocks.setdefault(switch, [])
            kept = {n: self._previous.waypoints[n] for n in names if _inside(mine, self._previous.waypoints.get(n))}
            lacking = len(names) - len(kept)
            room = sum(size for _, size in mine)
            # what somebody had until now is not given to another in the same step, nor as long as packets carry it
            lately = [n for n in range_of(mine) if n in had]
            free = room - len({*lately, *kept.values()})
            if lacking > free:
                # twice the size each time, so that a switch that grows slowly has few blocks all the same
                size = max(1 << (lacking - free).bit_length(), room)
                base = _free_block(used, size)
                mine.append((base, size))
                used.add((base, size))
            ids.update(kept)
            if lacking:
                ids.update(self._from_blocks(switch, [n for n in names if n not in kept], mine, lately))
        self.retire("waypoints", set(self._previous.waypoints.values()).difference(ids.values()))
        return ids, {switch: tuple(found) for switch, found in blocks.items() if found}

    def _from_blocks(
        self, switch: str, names: list[str], blocks: list[tuple[int, int]], lately: list[int]
    ) -> dict[str, int]:
        every = range_of(blocks)
        places = {number: place for place, number in enumerate(every)}
        found = self.assign(
            f"waypoints/{switch}", names, {}, first=0, limit=len(every),
            reserved=[places[n] for n in lately],
        )
        return {name: every[place] for name, place in found.items()}


def aligned(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Path ids as (value, mask) pairs that match them and no others, runs of them together."""
    found: list[tuple[int, int]] = []
    low = last = -1
    for number in (*sorted(numbers), -1):
        if number == last + 1 and low >= 0:
            last = number
            continue
        if low >= 0:
            found += [(value, mask & (1 << labels.PATH.bits) - 1) for value, mask in port_masks(low, last)]
        low = last = number
    return found


def range_of(blocks: list[tuple[int, int]]) -> list[int]:
    """Every number of some blocks."""
    return [number for base, size in blocks for number in range(base, base + size)]


def too_many(what: str, limit: int) -> PolicyError:
    """The error for a full number space."""
    return PolicyError(
        [Diagnostic(NOWHERE, what, f"more than {limit} {what}", "use fewer, or several controllers")]
    )


def _inside(blocks: list[tuple[int, int]], number: int | None) -> bool:
    return number is not None and any(base <= number < base + size for base, size in blocks)


def _free_block(used: set[tuple[int, int]], size: int) -> int:
    start = size  # leaves id 0 out
    for base, length in sorted(used):
        if start + size <= base:
            break
        if start < base + length:
            start = -(-(base + length) // size) * size
    if start + size > labels.WAYPOINTS:
        raise too_many("waypoints", labels.WAYPOINTS - 1)
    return start
