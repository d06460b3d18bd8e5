"""Until when providers are kept that no selector matches any more: until the switches say that their TCP connections
are over. (Nothing else is kept for them.)"""

from __future__ import annotations

from controller_app.balancing.usage import Provider
from controller_app.health.targets import provider_name
from controller_app.runtime.computed import Computed
from controller_app.runtime.service_stats import ServiceStats

SHORTEST = 15.0  # seconds that they are kept in any case: switches tell every few seconds what they counted


class Leaving:
    """Who is kept, and since when. `over` are those whose connections are over, as in `Topology.unready`; the same
    object while nothing changes."""

    def __init__(self) -> None:
        self.over: frozenset[str] = frozenset()
        self._since: dict[Provider, float] = {}

    def tick(self, now: float, computed: Computed, stats: ServiceStats) -> bool:
        """Time went by. Answers whether `over` is another one. It is cheap while nobody leaves."""
        leaving = computed.leaving
        if not leaving and not self._since and not self.over:
            return False
        since: dict[Provider, float] = {}
        over = set()
        for key, endpoints in leaving.items():
            tenant, _, service = key.partition("/")
            for endpoint in endpoints:
                provider = Provider(tenant, service, endpoint)
                since[provider] = began = self._since.get(provider, now)
                if now - began >= SHORTEST and stats.of(provider).left == 0:  # None: no switch told yet
                    over.add(provider_name(*provider))
        self._since = since
        if over == self.over:
            return False
        self.over = frozenset(over)
        return True
