"""What services are used for: asks the switches now and then what their flows counted, and keeps the sums.

Sums live as long as the controller: what a flow had counted before the controller began is taken in at the first
look. What it counted between the last look and its removal is told by the switch when it is removed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from controller_app.balancing.usage import Ended, Owners, Provider, Reading, Usage, Used
from controller_app.model.flow import FlowKey
from controller_app.model.topology import Topology
from controller_app.openflow.decode import FlowEntry, FlowRemoved
from controller_app.pipeline.counting import SERVICES, SERVICES_MASK, TABLES
from controller_app.pipeline.tables import NUMBER
from controller_app.runtime.computed import Computed
from controller_app.runtime.conversation import Conversation

if TYPE_CHECKING:
    from controller_app.runtime.control import Runtime

INTERVAL = 5.0  # seconds between two looks at a switch
PACE = 1000.0  # flows a second, for switches with very many
SHORTEST = 0.2  # seconds between two looks, whoever asks
ANSWER_TIME = 15.0  # seconds after which a switch is asked again
READ_TIME = 1.0  # seconds that someone who wants to know waits for the switches


@dataclass
class _Switch:
    """Looks at one switch. `waiting`: tables it has not answered for; `since`: when it was asked last; `removed`: flows
    that were gone since."""

    since: float = float("-inf")
    due: float = float("-inf")
    waiting: set[str] = field(default_factory=set)
    failed: bool = False
    found: list[FlowEntry] = field(default_factory=list)
    removed: set[FlowKey] = field(default_factory=set)


class ServiceStats:
    """The sums of all services."""

    def __init__(self) -> None:
        self.now = 0.0
        self._usage = Usage()
        self._switches: dict[int, _Switch] = {}
        self._computed: Computed | None = None
        self._owners: Owners | None = None

    @property
    def reading(self) -> bool:
        """Is a switch being asked, or about to be?"""
        return any(switch.waiting or switch.due <= self.now for switch in self._switches.values())

    def read_now(self) -> None:
        """Ask every switch at once, or nearly."""
        for switch in self._switches.values():
            switch.due = switch.since + SHORTEST

    def of(self, provider: Provider) -> Used:
        """The sums of one provider of a service."""
        return self._usage.of(provider)

    def all(self) -> Mapping[Provider, Used]:
        """Everyone's sums."""
        return self._usage.all()

    def open_connections(self) -> dict[tuple[str, str, str], int | None]:
        """How many connections every provider was left with when its flows were read last; None where that is not
        known."""
        return {(each.tenant, each.service, each.endpoint): used.left for each, used in self._usage.all().items()}

    def tick(self, now: float, conversations: Mapping[int, Conversation], computed: Computed) -> None:
        """Time went by: ask whom it is time to ask."""
        self.now = now
        if computed is not self._computed:
            self._computed, self._owners = computed, None
            self._usage.keep(computed.policy, _places(computed.topology))
        serving = any(tenant.services for tenant in computed.policy.tenants.values())
        for dpid, conversation in conversations.items():
            if not conversation.connected or not serving:
                self._switches.pop(dpid, None)
                continue
            switch = self._switches.setdefault(dpid, _Switch())
            if (switch.waiting and now - switch.since > ANSWER_TIME) or (not switch.waiting and now >= switch.due):
                self._ask(dpid, conversation, now)

    def _ask(self, dpid: int, conversation: Conversation, now: float) -> None:
        switch = self._switches[dpid] = _Switch(now, float("inf"), set(TABLES))
        conversation.transmit(
            b"".join(
                conversation.questions.ask(NUMBER[name], SERVICES, SERVICES_MASK, self._taker(dpid, switch, name))
                for name in TABLES
            )
        )

    def _taker(self, dpid: int, switch: _Switch, table: str) -> Callable[[list[FlowEntry] | None], None]:
        def take(entries: list[FlowEntry] | None) -> None:
            switch.waiting.discard(table)
            switch.failed = switch.failed or entries is None
            switch.found += entries or ()
            if not switch.waiting:
                self._answered(dpid, switch)

        return take

    def _answered(self, dpid: int, switch: _Switch) -> None:
        """A switch told everything; what it told is counted at the time it was asked."""
        switch.due = switch.since + max(INTERVAL, len(switch.found) / PACE)
        found, switch.found = switch.found, []
        owners = self._whose()
        if switch.failed or owners is None or self._switches.get(dpid) is not switch:
            return
        readings: list[Reading] = []
        for entry in found:
            key, cookie = entry.flow.key, entry.flow.cookie
            reading = None if key is None else owners.reading(key, cookie, entry.packets, entry.octets, entry.age)
            if reading is not None:
                readings.append(reading)
        # One that is gone since it was asked may have been read before, or be another in its place already.
        self._usage.read(str(dpid), readings, switch.since, switch.removed)

    def removed(self, dpid: int, told: FlowRemoved, now: float) -> None:
        """A switch told of a flow that is gone."""
        owners = self._whose()
        if owners is None or told.key is None or told.cookie & SERVICES_MASK != SERVICES:
            return
        if dpid in self._switches:
            self._switches[dpid].removed.add(told.key)
        final = Ended(told.key, told.packets, told.octets, told.age)
        whose = owners.reading(told.key, told.cookie, told.packets, told.octets, told.age)
        self._usage.ended(str(dpid), final, whose, now)

    def _whose(self) -> Owners | None:
        if self._owners is None and self._computed is not None:
            computed = self._computed
            self._owners = Owners(computed.policy, computed.topology, computed.allocation)
        return self._owners


def _places(topology: Topology) -> dict[str, set[str]]:
    """Host -> the switches it is at, as they are called in the sums."""
    found = {}
    for host in topology.hosts.values():
        switches = (topology.switches.get(end.switch) for end in host.attach.values())
        found[host.name] = {str(switch.dpid) for switch in switches if switch is not None}
    return found


def read_fresh(runtime: Runtime) -> None:
    """Let the sums be those of now, as far as the switches tell soon enough."""
    runtime.call(lambda conductor: conductor.stats.read_now())
    deadline = time.monotonic() + READ_TIME
    while runtime.call(lambda conductor: conductor.stats.reading) and time.monotonic() < deadline:
        time.sleep(0.01)
