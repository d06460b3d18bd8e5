"""What services were used for: counters of flows, added up by service and provider.

Three kinds of flow count (see docs/pipeline.md), each with the service's cookie: `translate`, what is sent to a
provider; `served`, new connections to it alone; `returned`, its replies. A flow may go and come back and then counts
from nothing, so what is kept are sums of differences. (Open vSwitch keeps the counters, but not the age, of a flow that
is replaced by one with the same match, so only a count that went down tells of a new flow.)
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from controller_app.model.allocation import Allocation
from controller_app.model.flow import FlowKey
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.cookies import object_name
from controller_app.pipeline.tables import LEAVING, NUMBER, ZONE, ZONES

RECENT = 10.0  # seconds after its last packet for which a provider counts as active
TABLES = tuple(name for name in ("translate", "served", "returned") if name in NUMBER)
_NAMES = {NUMBER[name]: name for name in TABLES}


class Provider(NamedTuple):
    """An endpoint as a provider of a service."""

    tenant: str
    service: str
    endpoint: str


class Reading(NamedTuple):
    """A flow's counters as a switch told them. key: what it is on that switch; table: `translate`, `served` or
    `returned`; age: seconds since it was added."""

    key: Hashable
    table: str
    provider: Provider
    packets: int
    octets: int
    age: float


@dataclass(frozen=True, slots=True)
class Used:
    """Sums for one provider of one service. rate: packets a second, both ways, between the last two readings;
    last: when the newest packets were seen, None for never."""

    opened: int = 0
    packets_in: int = 0
    bytes_in: int = 0
    packets_out: int = 0
    bytes_out: int = 0
    rate: float = 0.0
    last: float | None = None

    def active(self, now: float) -> bool:
        """Whether packets came or went lately."""
        return self.last is not None and now - self.last <= RECENT


class _Last(NamedTuple):
    packets: int
    octets: int
    at: float  # when that was; of a new flow, when it was added


@dataclass
class _Sums:
    opened: int = 0
    packets: dict[str, int] = field(default_factory=dict)  # by table
    octets: dict[str, int] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)  # by switch
    last: float | None = None


class Usage:
    """The sums since the beginning. No clock: `now` is monotonic time in seconds."""

    def __init__(self) -> None:
        self._sums: dict[Provider, _Sums] = {}
        self._last: dict[str, dict[Hashable, _Last]] = {}  # by switch

    def read(self, switch: str, readings: Iterable[Reading], now: float) -> None:
        """Take in all that one switch counted. Flows that it had and has no more are forgotten, their sums are not."""
        before = self._last.get(switch, {})
        seen: dict[Hashable, _Last] = {}
        passed: dict[Provider, float] = {}
        for reading in readings:
            last = before.get(reading.key)
            if last is None or reading.packets < last.packets:  # another flow in this place: all it counted is new
                last = _Last(0, 0, now - reading.age)
            packets, octets = reading.packets - last.packets, max(0, reading.octets - last.octets)
            seen[reading.key] = _Last(reading.packets, reading.octets, now)
            sums = self._sums.setdefault(reading.provider, _Sums())
            sums.packets[reading.table] = sums.packets.get(reading.table, 0) + packets
            sums.octets[reading.table] = sums.octets.get(reading.table, 0) + octets
            if reading.table == "served":
                continue  # the same packets as in translate
            if packets and now - last.at <= RECENT:
                sums.last = now
            rate = packets / (now - last.at) if now > last.at else 0.0
            passed[reading.provider] = passed.get(reading.provider, 0.0) + rate
        self._last[switch] = seen
        for provider, sums in self._sums.items():
            sums.rates.pop(switch, None)
            if provider in passed:
                sums.rates[switch] = passed[provider]

    def keep(self, policy: Policy) -> None:
        """Forget providers that a policy does not have any more."""
        for provider in list(self._sums):
            tenant = policy.tenants.get(provider.tenant)
            if tenant is None or provider.service not in tenant.services or provider.endpoint not in tenant.endpoints:
                del self._sums[provider]

    def of(self, provider: Provider) -> Used:
        """The sums of one provider of a service."""
        sums = self._sums.get(provider)
        if sums is None:
            return Used()
        return Used(
            sums.packets.get("served", 0),
            sums.packets.get("translate", 0),
            sums.octets.get("translate", 0),
            sums.packets.get("returned", 0),
            sums.octets.get("returned", 0),
            sum(sums.rates.values()),
            sums.last,
        )

    def all(self) -> Mapping[Provider, Used]:
        """Everyone's sums."""
        return {provider: self.of(provider) for provider in sorted(self._sums)}


class Owners:
    """Whose a flow's counters are, by the numbers that one compile used."""

    def __init__(self, policy: Policy, topology: Topology, allocation: Allocation) -> None:
        self._allocation = allocation
        self._endpoints: dict[tuple[str, str], str] = {}  # (tenant, host) -> endpoint
        for tenant in policy.tenants.values():
            for endpoint in tenant.endpoints.values():
                self._endpoints.setdefault((tenant.name, endpoint.host), endpoint.name)
        self._waypoints = {
            number: name.removeprefix("host:")
            for name, number in allocation.waypoints.items()
            if name.startswith("host:")
        }
        self._ports: dict[int, list[str]] = {}  # zone -> hosts behind that port
        zones = allocation.ids.get("zones", {})
        for host in topology.hosts.values():
            for end in host.attach.values():
                if str(end) in zones:
                    self._ports.setdefault(zones[str(end)], []).append(host.name)

    def reading(self, flow: FlowKey, cookie: int, packets: int, octets: int, age: float) -> Reading | None:
        """What a flow counted, and for whom; None for flows that do not count for a provider."""
        table = _NAMES.get(flow.table)
        owner = object_name(cookie, self._allocation) if table is not None else None
        if table is None or owner is None or not owner.startswith("services/"):
            return None
        _, tenant, service = owner.split("/", 2)
        for host in self._hosts(flow):
            endpoint = self._endpoints.get((tenant, host))
            if endpoint is not None:
                return Reading(flow, table, Provider(tenant, service, endpoint), packets, octets, age)
        return None

    def _hosts(self, flow: FlowKey) -> list[str]:
        """The host a flow is for: by its waypoint, or by the conntrack zone of its port."""
        for field_name, value, mask in flow.match:
            if field_name == LEAVING.field:
                found = self._waypoints.get(value & mask & (1 << LEAVING.bits) - 1)
                return [] if found is None else [found]
            if field_name == ZONE.field:
                return self._ports.get(value & mask & ZONES - 1, [])
        return []
