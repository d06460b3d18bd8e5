"""Which flow of a table does a packet hit? Tuple space search, as in Open vSwitch.

Flows whose matches look at the same bits share a hash table; tables are tried from the one with the highest
priority down. So a look-up costs one hash per shape of match, however many flows there are.
(Srinivasan, Suri, Varghese: Packet classification using tuple space search, SIGCOMM 1999.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from controller_app.model.flow import Flow
from controller_app.verification.packet import Packet


@dataclass(slots=True)
class _Shape:
    """All flows of a table that look at the same bits of the same fields."""

    bits: tuple[tuple[str, int], ...]
    top: int = -1  # highest priority in it
    flows: dict[tuple[int, ...], Flow] = field(default_factory=dict)


class FlowIndex:
    """The flows of one switch, ready for look-ups. Of flows with the same match and priority the last
    counts, as it would on a switch."""

    def __init__(self, flows: Iterable[Flow]) -> None:
        tables: dict[int, dict[tuple[tuple[str, int], ...], _Shape]] = {}
        for flow in flows:
            bits = tuple((item.field, item.mask) for item in flow.match)
            shape = tables.setdefault(flow.table, {}).setdefault(bits, _Shape(bits))
            values = tuple(item.value for item in flow.match)
            known = shape.flows.get(values)
            if known is None or known.priority <= flow.priority:
                shape.flows[values] = flow
            shape.top = max(shape.top, flow.priority)
        self._tables = {number: sorted(shapes.values(), key=lambda shape: -shape.top)
                        for number, shapes in tables.items()}

    def find(self, table: int, packet: Packet) -> Flow | None:
        """The flow with the highest priority that matches, or None: a table miss. Where flows of equal
        priority overlap a switch may take any; here it is always the same one."""
        best: Flow | None = None
        for shape in self._tables.get(table, ()):
            if best is not None and best.priority >= shape.top:
                break
            found = shape.flows.get(tuple([packet.get(name, 0) & mask for name, mask in shape.bits]))
            if found is not None and (best is None or found.priority > best.priority):
                best = found
        return best
