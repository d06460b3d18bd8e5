"""How busy the links are: asks the switches now and then what their ports counted, and keeps the costs that follow.

The deciding is done in `discovery.utilisation`; here is who is asked when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from controller_app.discovery.merge import LinkState
from controller_app.discovery.ports import Port
from controller_app.discovery.utilisation import Costs, Rates, Use, keep, settle, use
from controller_app.model.topology import Link
from controller_app.openflow.decode import PortCounters
from controller_app.runtime.conversation import Conversation

INTERVAL = 5.0  # seconds between two looks at a switch
ANSWER_TIME = 15.0  # seconds after which a switch is asked again
_SPREAD = 0.618034  # switches are asked one after the other, not all at once


@dataclass(slots=True)
class _Asked:
    """When a switch is to be asked next, and when an unanswered question was put to it."""

    due: float
    asked: float | None = None


class LinkLoad:
    """What goes over each link. `weight`: a full link's cost is multiplied by 1 + weight; 0 leaves costs alone.
    `revision` grows when costs change."""

    def __init__(self, weight: float = 0.0) -> None:
        self.weight = weight
        self.revision = 0
        self._rates = Rates()
        self._costs = Costs()
        self._asked: dict[int, _Asked] = {}
        self._settle_at = 0.0

    def tick(
        self,
        now: float,
        conversations: Mapping[int, Conversation],
        links: Iterable[LinkState],
        ports: Mapping[int, Mapping[int, Port]],
    ) -> None:
        """Time went by: ask whom it is time to ask, and see what follows from the answers."""
        for dpid, conversation in conversations.items():
            if not conversation.connected:
                if self._asked.pop(dpid, None) is not None:
                    self._rates.forget(dpid)
                continue
            known = self._asked.get(dpid)
            if known is None:
                known = self._asked[dpid] = _Asked(now + dpid * _SPREAD % 1.0 * INTERVAL)
            waited = known.asked is not None and now - known.asked < ANSWER_TIME
            if now >= known.due and not waited:
                known.due, known.asked = now + INTERVAL, now
                conversation.transmit(conversation.questions.ask_ports(self._taker(dpid, known, now)))
        if self.weight and now >= self._settle_at:
            self._settle_at = now + INTERVAL
            self._settle(now, [state for state in links if state.used], ports)

    def use_of(self, state: LinkState, ports: Mapping[int, Mapping[int, Port]]) -> Use:
        """What goes over a link, in the direction in which it is written and back."""
        return use(state.link, state.places, self._rates, ports)

    def step_of(self, state: LinkState) -> int:
        """How many steps a link's cost is raised by."""
        return self._costs.steps.get(state.ends, 0)

    def costed(self, links: Iterable[LinkState]) -> tuple[Link, ...]:
        """The links that are used, with the costs that count."""
        return tuple(
            replace(state.link, cost=self.cost_of(state)) if self.step_of(state) else state.link
            for state in links
            if state.used
        )

    def cost_of(self, state: LinkState) -> float:
        """What a link costs, with what its load adds."""
        return state.link.cost * self._costs.factor(state.ends, self.weight) if self.step_of(state) else state.link.cost

    def _taker(self, dpid: int, asked: _Asked, at: float) -> Callable[[list[PortCounters] | None], None]:
        def take(found: list[PortCounters] | None) -> None:
            if self._asked.get(dpid) is not asked:
                return
            asked.asked = None
            if found is not None:
                self._rates.read(dpid, found, at)

        return take

    def _settle(self, now: float, links: list[LinkState], ports: Mapping[int, Mapping[int, Port]]) -> None:
        loads = {state.ends: load for state in links if (load := self.use_of(state, ports).load) is not None}
        before = self._costs.steps
        self._costs = settle(keep(self._costs, (state.ends for state in links)), loads, now)
        if self._costs.steps != before:
            self.revision += 1
