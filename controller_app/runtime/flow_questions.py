"""Questions to a switch for what its flows, groups or ports counted, and the answers, in any number of parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from controller_app.model.flow import Flow
from controller_app.openflow import counted, decode, encode
from controller_app.openflow.counted import GroupCounters, PortTraffic, Sum
from controller_app.openflow.decode import FlowEntry, PortCounters

Take = Callable[[list[FlowEntry] | None], None]
TakePorts = Callable[[list[PortCounters] | None], None]


@dataclass(slots=True)
class _Question:
    """How its answer is read, who gets it, and what has come of it."""

    read: Callable[[bytes], list[Any]]
    take: Callable[[list[Any] | None], None]
    found: list[Any] = field(default_factory=list)


class FlowQuestions:
    """The questions that one switch has not answered yet."""

    def __init__(self, next_xid: Callable[[], int]) -> None:
        self._next_xid = next_xid
        self._open: dict[int, _Question] = {}

    def ask(self, table: int, cookie: int, mask: int, take: Take) -> bytes:
        """The message that asks for a table's flows whose cookie agrees in the bits of the mask. `take` gets them all
        at once; or None, where the switch refuses or is lost."""
        xid = self._next_xid()
        self._open[xid] = _Question(decode.flow_stats, take)
        return encode.flow_stats_request(cookie, mask, xid, table)

    def ask_ports(self, take: TakePorts) -> bytes:
        """The message that asks for the counters of every port; `take` as with `ask`."""
        xid = self._next_xid()
        self._open[xid] = _Question(decode.port_stats, take)
        return encode.port_stats_request(xid)

    def ask_flow(self, flow: Flow, take: Take) -> bytes:
        """The message that asks for one flow; what else lies within its match and has its cookie is told too."""
        xid = self._open_one(decode.flow_stats, take)
        return counted.flow_request(flow, xid)

    def ask_sum(self, table: int, cookie: int, mask: int, take: Callable[[list[Sum] | None], None]) -> bytes:
        """The message that asks what a table's flows, whose cookie agrees in the bits of the mask, counted together."""
        return counted.sum_request(table, cookie, self._open_one(counted.read_sum, take), mask)

    def ask_group(self, group: int, take: Callable[[list[GroupCounters] | None], None]) -> bytes:
        """The message that asks what a group and its buckets counted."""
        return counted.group_request(group, self._open_one(counted.read_groups, take))

    def ask_traffic(self, take: Callable[[list[PortTraffic] | None], None]) -> bytes:
        """The message that asks what every port counted, packets too."""
        return encode.port_stats_request(self._open_one(counted.read_ports, take))

    def _open_one(self, read: Callable[[bytes], list[Any]], take: Callable[[list[Any] | None], None]) -> int:
        xid = self._next_xid()
        self._open[xid] = _Question(read, take)
        return xid

    def told(self, raw: bytes, xid: int) -> bool:
        """Read a message; answers whether it belonged to a question."""
        if xid not in self._open:
            return False
        question = self._open[xid]
        kind = decode.header(raw).kind
        if kind == decode.MULTIPART_REPLY:
            try:
                question.found += question.read(raw)
            except decode.WireError:
                del self._open[xid]
                question.take(None)
                raise
            if decode.more_follows(raw):
                return True
        del self._open[xid]
        question.take(question.found if kind == decode.MULTIPART_REPLY else None)
        return True

    def forget(self) -> None:
        """The switch is gone: nothing comes any more."""
        waiting, self._open = list(self._open.values()), {}
        for question in waiting:
            question.take(None)
