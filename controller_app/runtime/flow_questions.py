"""Questions to a switch for what some of its flows counted, and the answers, in any number of parts."""

from __future__ import annotations

from collections.abc import Callable

from controller_app.openflow import decode, encode
from controller_app.openflow.decode import FlowEntry

Take = Callable[[list[FlowEntry] | None], None]


class FlowQuestions:
    """The questions that one switch has not answered yet."""

    def __init__(self, next_xid: Callable[[], int]) -> None:
        self._next_xid = next_xid
        self._open: dict[int, tuple[list[FlowEntry], Take]] = {}

    def ask(self, table: int, cookie: int, mask: int, take: Take) -> bytes:
        """The message that asks for a table's flows whose cookie agrees in the bits of the mask. `take` gets them all
        at once; or None, where the switch refuses or is lost."""
        xid = self._next_xid()
        self._open[xid] = [], take
        return encode.flow_stats_request(cookie, mask, xid, table)

    def told(self, raw: bytes, xid: int) -> bool:
        """Read a message; answers whether it belonged to a question."""
        if xid not in self._open:
            return False
        found, take = self._open[xid]
        kind = decode.header(raw).kind
        if kind == decode.MULTIPART_REPLY:
            try:
                found += decode.flow_stats(raw)
            except decode.WireError:
                del self._open[xid]
                take(None)
                raise
            if decode.more_follows(raw):
                return True
        del self._open[xid]
        take(found if kind == decode.MULTIPART_REPLY else None)
        return True

    def forget(self) -> None:
        """The switch is gone: nothing comes any more."""
        waiting, self._open = list(self._open.values()), {}
        for _, take in waiting:
            take(None)
