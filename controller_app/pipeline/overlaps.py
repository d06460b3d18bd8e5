"""Which boxes have packets in common, without comparing each with each.

Two prefixes have addresses in common when one holds the other. So the boxes that can meet a given one are those
whose source is one of the prefixes around its own, and whose destination is around its own, or inside it. Both are
looked up; only what really has addresses in common is compared further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from controller_app.pipeline.boxes import Box, Prefix

_LONG = 16  # boxes compared one by one
_Traffic = tuple[str, tuple[int, int], tuple[int, int], int | None]


class Placed(NamedTuple):
    """A box with what is asked about it: the number of its owner, the owner's class (only boxes of one class can
    conflict) and outcome (boxes of one outcome never do)."""

    owner: int
    box: Box
    kind: object
    outcome: object

    @property
    def hides(self) -> int:
        """How much of what it asks for some fragments do not show: 2 ports, 1 (IPv6, whose later fragments do not show
        their protocol) a protocol, 0 nothing."""
        return hides(self.box)


class _Shelf:
    """Boxes with the same two prefixes, by class; those with one port (they meet only their like) by traffic."""

    __slots__ = ("exact", "fixed", "wide")

    def __init__(self, positions: Iterable[int], placed: Sequence[Placed]) -> None:
        self.exact: dict[object, dict[_Traffic, list[int]]] = {}
        self.wide: dict[object, list[int]] = {}
        self.fixed: tuple[list[int], list[int], list[int]] = [], [], []  # by how much they hide
        for position in positions:
            self.put(position, placed[position])

    def put(self, position: int, placed: Placed) -> None:
        box = placed.box
        if _one_port(box):
            self.exact.setdefault(placed.kind, {}).setdefault(box[2:6], []).append(position)
        else:
            self.wide.setdefault(placed.kind, []).append(position)
        self.fixed[hides(box)].append(position)

    def candidates(self, placed: Placed) -> Iterator[int]:
        """Boxes of its class that may meet it, and all those of which one hides from fragments what the other
        shows."""
        box = placed.box
        exact = self.exact.get(placed.kind)
        if exact is not None:
            if _one_port(box):
                yield from exact.get(box[2:6], ())
            else:
                for positions in exact.values():
                    yield from positions
        yield from self.wide.get(placed.kind, ())
        for much, positions in enumerate(self.fixed):
            if much != hides(box):
                yield from positions


def _one_port(box: Box) -> bool:
    low, high = box.destination_ports
    if low != high:
        low, high = box.source_ports
    return low == high and box.dscp is None


def hides(box: Box) -> int:
    """See `Placed.hides`."""
    return 2 if box.ported else int(bool(box.protocol) and 6 in box.versions())


def meetings(placed: Sequence[Placed], found: Callable[[int, int], None]) -> None:
    """Call `found` with the positions of any two boxes of different owners and outcomes that meet and either are of
    one class, or of which one asks for more than fragments show. A pair may come twice."""
    sources = _Around([item.box.source for item in placed])
    targets = _Around([item.box.destination for item in placed])
    around: dict[tuple[int, int], list[int]] = {}  # by both prefixes
    inside: dict[tuple[int, int], list[int]] = {}  # by source and a prefix around the destination
    shelves: dict[int, _Shelf] = {}  # of long lists, by their identity
    ends = [(sources.number[item.box.source], targets.number[item.box.destination]) for item in placed]
    for position, end in enumerate(ends):
        around.setdefault(end, []).append(position)
        for wider in targets.up[end[1]]:
            if wider != end[1]:
                inside.setdefault((end[0], wider), []).append(position)
    for position, (item, (source, target)) in enumerate(zip(placed, ends, strict=True)):
        for wider in sources.up[source]:
            lists = [around.get((wider, other)) for other in targets.up[target]]
            if wider != source:
                lists.append(inside.get((wider, target)))
            for held in lists:
                if held is None or (len(held) == 1 and held[0] == position):
                    continue
                others: Iterable[int] = held
                if len(held) > _LONG:
                    shelf = shelves.get(id(held))
                    if shelf is None:
                        shelf = shelves[id(held)] = _Shelf(held, placed)
                    others = shelf.candidates(item)
                for other in others:
                    against = placed[other]
                    if (
                        against.outcome != item.outcome
                        and against.owner != item.owner
                        and (against.kind == item.kind or against.hides != item.hides)
                        and item.box.alike(against.box)
                    ):
                        found(position, other)


class _Around:
    """Prefixes by number, and which of them hold which."""

    def __init__(self, prefixes: Sequence[Prefix]) -> None:
        self.number = {prefix: number for number, prefix in enumerate(dict.fromkeys(prefixes))}
        lengths = sorted({(prefix.version, prefix.length) for prefix in self.number})
        self.up: list[list[int]] = []
        for prefix in self.number:
            wider = (prefix.shorten(version, length) for version, length in lengths)
            self.up.append([self.number[each] for each in wider if each is not None and each in self.number])
