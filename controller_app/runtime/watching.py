"""What changed in the network since it was last looked at, as events: switches that hold what they should, links,
providers, others' rules. Connections of switches are told where they begin and end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import takewhile

from controller_app.discovery.merge import LinkState
from controller_app.discovery.ports import PortId
from controller_app.runtime.checking import Event as Turn
from controller_app.runtime.conversation import Conversation
from controller_app.runtime.events import Events
from controller_app.store.interface import Revision

PERIOD = 0.1  # seconds between two looks: they go through every switch

Pair = tuple[PortId, PortId]


class Watching:
    """Remembers what was told last."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._next = float("-inf")
        self._synced: set[int] = set()
        self._foreign: dict[int, int] = {}
        self._links: tuple[LinkState, ...] | None = None
        self._used: dict[Pair, LinkState] = {}
        self._turn: Turn | None = None

    def look(
        self,
        now: float,
        switches: Mapping[int, Conversation],
        name_of: Callable[[int], str],
        links: tuple[LinkState, ...],
        turns: Iterable[Turn],
    ) -> None:
        """Tell what is different. switches: by datapath id, all that ever connected; `turns`: of providers and
        instances, the newest last."""
        if now < self._next:
            return
        self._next = now + PERIOD
        for dpid, conversation in switches.items():
            self._switch(dpid, name_of, conversation)
        if links is not self._links:
            self._compare(links)
        newest = [*takewhile(lambda turn: turn is not self._turn, reversed([*turns]))]
        for turn in reversed(newest):
            words = ("instance.out", "instance.working") if turn.name.startswith("functions/") else (
                "provider.unready", "provider.serving")  # fmt: skip
            self._events.add(words[turn.ready], name=turn.name, text=turn.text)
            self._turn = turn

    def _switch(self, dpid: int, name_of: Callable[[int], str], conversation: Conversation) -> None:
        synced = conversation.connected and conversation.sync.in_sync
        if synced != (dpid in self._synced):
            self._synced ^= {dpid}
            if synced:
                self._events.add("switch.synced", switch=name_of(dpid))
        foreign = conversation.foreign_flows
        if foreign != self._foreign.get(dpid, 0):
            if foreign > self._foreign.get(dpid, 0):
                self._events.add("foreign.flow", switch=name_of(dpid), flows=foreign)
            self._foreign[dpid] = foreign

    def _compare(self, links: tuple[LinkState, ...]) -> None:
        first, self._links = self._links is None, links
        before, self._used = self._used, {state.ends: state for state in links if state.used}
        if first:
            return
        of_now = {state.ends: state for state in links}
        for ends, was in before.items():
            if ends not in self._used:
                state = of_now.get(ends)
                became = ("gone", "") if state is None else (state.state, state.why)
                self._tell("link.down", was, *became)
        for ends, state in self._used.items():
            earlier = before.get(ends)
            if earlier is None or (state.state == "up") > (earlier.state == "up"):
                self._tell("link.up", state, state.state, state.why)

    def _tell(self, kind: str, link: LinkState, state: str, why: str) -> None:
        self._events.add(kind, link=f"{link.link.a} - {link.link.b}", state=state, why=why)

    def became(self, revision: Revision) -> None:
        """Something became of a revision (see `Outcomes`)."""
        more = {"waiting": [*revision.waiting]} if revision.state in ("waiting", "failed") else {}
        self._events.add(f"change.{revision.state}", revision=revision.number, **more)
