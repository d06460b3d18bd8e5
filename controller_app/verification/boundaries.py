"""Where flows tell ports apart that no classifier does: a range of ports is several flows, and each may be wrong.

Single ports are those of classifiers and services; what others' flows look for is another matter (`aimed`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from controller_app.model.flow import FieldMatch, Flow
from controller_app.model.topology import IPAddress

_PORTS = {"tcp_src": ("tcp", True), "tcp_dst": ("tcp", False), "udp_src": ("udp", True), "udp_dst": ("udp", False)}
_IPV6 = 0x86DD
_ANY = FieldMatch("", 0, 0)


class Run(NamedTuple):
    """Ports `low` to `high` that a flow looks for, between the addresses that it looks for. source: the sender's."""

    version: int
    sender: tuple[int, int]  # value and mask
    receiver: tuple[int, int]
    protocol: str
    source: bool
    low: int
    high: int


def runs_of(flows: Iterable[Flow]) -> frozenset[Run]:
    """What these flows look for."""
    found = set()
    for flow in flows:
        asked = [item for item in flow.match if item.field in _PORTS and item.mask != 0xFFFF]
        if not asked:
            continue
        fields = {item.field: item for item in flow.match}
        version = 6 if fields.get("eth_type", _ANY).value == _IPV6 else 4
        ends = [fields.get(f"ipv{version}_{side}", _ANY) for side in ("src", "dst")]
        for name, value, mask in asked:
            free = ~mask & 0xFFFF
            if free & (free + 1) == 0:  # any other mask is no range
                found.add(Run(version, ends[0][1:], ends[1][1:], *_PORTS[name], value, value | free))
    return frozenset(found)


class Boundaries:
    """Runs of ports by what they are between."""

    def __init__(self, runs: Iterable[Run], known: Mapping[str, set[int]]) -> None:
        """known: where each protocol's ports are told apart anyway, by the first port of each interval: runs that begin
        and end there say nothing new."""
        self._shapes: dict[tuple[int, str, int, int], dict[tuple[int, int], list[Run]]] = {}
        for run in runs:
            if {run.low, run.high + 1} <= known.get(run.protocol, set()):
                continue
            shape = self._shapes.setdefault((run.version, run.protocol, run.sender[1], run.receiver[1]), {})
            shape.setdefault((run.sender[0], run.receiver[0]), []).append(run)

    def between(self, sender: IPAddress, receiver: IPAddress, protocol: str) -> tuple[list[tuple[int, int]],
                                                                                     list[tuple[int, int]]]:
        """(of source ports, of destination ports): the runs for packets between two addresses."""
        found: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        for (version, name, first, second), shape in self._shapes.items():
            if version == sender.version and name == protocol:
                for run in shape.get((int(sender) & first, int(receiver) & second), ()):
                    found[0 if run.source else 1].append((run.low, run.high))
        return found
