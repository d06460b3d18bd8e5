"""Since when endpoints drain, and whose time is over.

A drain's deadline counts from when the controller first saw it, also over restarts: what is stored is wall-clock time.
Between restarts the steady clock counts, so that setting the wall clock ends nothing early.
"""

from __future__ import annotations

from collections.abc import Mapping

from controller_app.health.targets import provider_name
from controller_app.model.policy import Policy
from controller_app.policy.membership import matching

Place = tuple[str, str]  # tenant, endpoint


class Drains:
    """stored: endpoints with the time, in seconds since 1970, at which they were first seen draining. `now` is
    a monotonic clock in seconds, `wall` the time since 1970."""

    def __init__(self, stored: Mapping[str, float], now: float, wall: float) -> None:
        self.unsaved = False
        self._walls: dict[Place, float] = {}
        self._since: dict[Place, float] = {}
        self._deadlines: dict[Place, float] = {}  # of those that have one
        self._names: dict[Place, tuple[str, ...]] = {}
        for text, began in stored.items():
            tenant, _, endpoint = text.partition("/")
            self._walls[tenant, endpoint] = began
            self._since[tenant, endpoint] = now - max(0.0, wall - began)

    def follow(self, policy: Policy, now: float, wall: float) -> None:
        """This is the policy from now on."""
        walls, since = self._walls, self._since
        self._walls, self._since, self._deadlines, self._names = {}, {}, {}, {}
        for tenant in policy.tenants.values():
            for endpoint in tenant.endpoints.values():
                if not endpoint.drain:
                    continue
                place = tenant.name, endpoint.name
                self._walls[place] = walls.get(place, wall)
                self._since[place] = since.get(place, now)
                if endpoint.drain_after is not None:
                    self._deadlines[place] = self._since[place] + endpoint.drain_after
                    self._names[place] = tuple(
                        provider_name(tenant.name, service.name, endpoint.name)
                        for service in tenant.services.values()
                        if matching(service.selector, {endpoint.name: endpoint})
                    )
        self.unsaved = self.unsaved or self._walls != walls

    def over(self, now: float) -> frozenset[str]:
        """The providers whose time is over, as in `Topology.unready`."""
        ended = [place for place, deadline in self._deadlines.items() if deadline <= now]
        return frozenset(name for place in ended for name in self._names[place])

    def next(self, now: float) -> float:
        """When the next one's time is over; infinity when nobody's is to be."""
        return min((deadline for deadline in self._deadlines.values() if deadline > now), default=float("inf"))

    def left(self, now: float) -> Mapping[Place, float]:
        """The seconds that endpoints have left, of those with a deadline."""
        return {place: max(0.0, deadline - now) for place, deadline in self._deadlines.items()}

    def stored(self) -> dict[str, float]:
        """What is to be remembered."""
        return {f"{tenant}/{endpoint}": began for (tenant, endpoint), began in self._walls.items()}
