"""What services were used for: counters of flows, added up by service and provider.

Three kinds of flow count (see docs/pipeline.md), each with the service's cookie: `translate`, what is sent to a
provider; `served`, new connections to it alone; `returned`, its replies. A flow may go and come back and then counts
from nothing, so what is kept are sums of differences. (Open vSwitch keeps the counters, but not the age, of a flow that
is replaced by one with the same match, so only a count that went down tells of a new flow.) When a flow is gone the
switch says what it had counted; that may come late, when another flow of the same match was read already.

How many TCP connections are left is an estimate, see `left`: more flows of `served` and `returned` count FIN and RST.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from controller_app.model.allocation import Allocation
from controller_app.model.flow import TCP_ACK, TCP_FIN, TCP_RST, FlowKey
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.cookies import object_name
from controller_app.pipeline.counting import TABLES
from controller_app.pipeline.tables import LEAVING, NUMBER, SERVED_PORT, ZONE, ZONES

FORGOTTEN = 24 * 3600.0  # seconds after which Open vSwitch forgets a connection without packets
RECENT = 10.0  # seconds after its last packet for which a provider counts as active
LATE = 300.0  # seconds after a flow was read last in which a switch may still say what it counted to its end
_NAMES = {NUMBER[name]: name for name in TABLES}

# What flows tell of TCP connections
OPENED = "opened"
PROVIDER_FIN, PROVIDER_RESET = "provider-fin", "provider-reset"
CLIENT_FIN, CLIENT_RESET, CLIENT_ANSWER = "client-fin", "client-reset", "client-answering-reset"
_SAID = {
    ("returned", TCP_FIN): PROVIDER_FIN,
    ("returned", TCP_RST | TCP_ACK): PROVIDER_RESET,
    ("served", TCP_FIN): CLIENT_FIN,
    ("served", TCP_RST | TCP_ACK): CLIENT_RESET,
    ("served", TCP_RST): CLIENT_ANSWER,
}  # by table and the flags that a flow matches


def left(said: Mapping[str, int]) -> int:
    """How many connections are open, of these counts; negative where more seem to have ended than began.

    One is over with the provider's FIN, or with a reset (RST with ACK set) of either side, whichever is first:

    - each side says FIN, in any order: the provider's counts.
    - one side resets: that counts. So does a provider's reset after the client's FIN.
    - the provider says FIN, and the client resets instead of saying FIN: as many as clients owe FINs are not counted
      twice.
    - the client says FIN, and then answers what the provider still sends with resets (without ACK, several), so that
      the provider never says FIN: as many as providers owe FINs count, if so many such resets came.

    Other resets without ACK do not count: they follow a FIN, or a reset with it.
    """
    provider_fins, client_fins = said.get(PROVIDER_FIN, 0), said.get(CLIENT_FIN, 0)
    provider_resets, client_resets = said.get(PROVIDER_RESET, 0), said.get(CLIENT_RESET, 0)
    twice = min(client_resets, max(0, provider_fins - client_fins))
    cut_off = min(said.get(CLIENT_ANSWER, 0), max(0, client_fins - provider_fins - provider_resets))
    return said.get(OPENED, 0) - (provider_fins + provider_resets + client_resets - twice + cut_off)


class Provider(NamedTuple):
    """An endpoint as a provider of a service."""

    tenant: str
    service: str
    endpoint: str


class Reading(NamedTuple):
    """A flow's counters as a switch told them. key: what it is on that switch; table: `translate`, `served` or
    `returned`; age: seconds since it was added; said: what its packets tell of TCP connections, nothing for most."""

    key: Hashable
    table: str
    provider: Provider
    packets: int
    octets: int
    age: float
    said: str = ""


class Ended(NamedTuple):
    """A flow that is gone from a switch, and what it had counted; key and age as in `Reading`."""

    key: Hashable
    packets: int
    octets: int
    age: float


@dataclass(frozen=True, slots=True)
class Used:
    """Sums for one provider of one service. rate: packets a second, both ways, between the last two readings;
    last: when the newest packets were seen, None for never; left: TCP connections that seem to be open, None for a
    provider without TCP, or that no switch told of yet."""

    opened: int = 0
    packets_in: int = 0
    bytes_in: int = 0
    packets_out: int = 0
    bytes_out: int = 0
    rate: float = 0.0
    last: float | None = None
    left: int | None = None

    def active(self, now: float) -> bool:
        """Whether packets came or went lately."""
        return self.last is not None and now - self.last <= RECENT


class _Last(NamedTuple):
    """A flow as it was read last, and when that was."""

    reading: Reading
    at: float

    @property
    def added(self) -> float:
        return self.at - self.reading.age


@dataclass
class _Sums:
    opened: int = 0
    packets: dict[str, int] = field(default_factory=dict)  # by table
    octets: dict[str, int] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)  # by switch
    said: dict[str, Counter[str]] = field(default_factory=dict)  # by switch, since nothing was left there
    last: float | None = None


@dataclass
class _Flows:
    """The flows of one switch. `gone`: of whose end nothing was said yet, though they are there no more; `telling`: how
    many tell of a provider's TCP connections; `since`: when they were read last."""

    there: dict[Hashable, _Last] = field(default_factory=dict)
    gone: dict[Hashable, list[_Last]] = field(default_factory=dict)
    telling: Counter[Provider] = field(default_factory=Counter)
    since: float = float("-inf")

    def lose(self, last: _Last) -> None:
        """A flow is there no more."""
        self.gone.setdefault(last.reading.key, []).append(last)

    def close(self, final: Ended, added: float) -> tuple[_Last | None, bool]:
        """What was read of a flow that ended, and whether it was there until now; None of one that was never read. Of
        several it is the one whose time of adding is nearest. (If it was another of the same match after all, that one
        counts from nothing when it ends, and all together is right again.)"""
        key, there = final.key, self.there.get(final.key)
        known = [*self.gone.get(key, ()), *(() if there is None else (there,))]
        fit = [last for last in known if last.reading.packets <= final.packets]
        found = min(fit, key=lambda last: abs(last.added - added), default=None)
        if found is not None and found is there:
            del self.there[key]
            return found, True
        if found is not None:
            self.gone[key].remove(found)
        return found, False

    def forget(self, now: float) -> None:
        """Nothing is said any more of what is gone for long."""
        kept = {key: [last for last in each if now - last.at <= LATE] for key, each in self.gone.items()}
        self.gone = {key: each for key, each in kept.items() if each}


class Usage:
    """The sums since the beginning. No clock: `now` is monotonic time in seconds."""

    def __init__(self) -> None:
        self._sums: dict[Provider, _Sums] = {}
        self._flows: dict[str, _Flows] = {}  # by switch

    def read(
        self, switch: str, readings: Sequence[Reading], now: float, unsure: Iterable[Hashable] = frozenset()
    ) -> None:
        """Take in all that one switch counted. Flows that it had and has no more are forgotten, their sums are not.
        unsure: flows that perhaps ended since they were asked; what is read of them does not count now."""
        flows = self._flows.setdefault(switch, _Flows())
        before = flows.there
        flows.there = {key: before[key] for key in unsure if key in before}
        certain = [reading for reading in readings if reading.key not in unsure]
        # of whom every flow is new, or none is there, all connections are over
        old = {each.provider for each in certain if each.said and each.age >= now - flows.since}
        old.update(last.reading.provider for last in flows.there.values() if last.reading.said)
        for provider, sums in self._sums.items():
            sums.rates.pop(switch, None)
            if switch in sums.said and provider not in old:
                sums.said[switch].clear()
        passed: dict[Provider, float] = {}
        for reading in certain:
            last = before.get(reading.key)
            if last is not None and reading.packets < last.reading.packets:  # another flow in this place
                flows.lose(last)
                last = None
            flows.there[reading.key] = _Last(reading, now)
            passed[reading.provider] = passed.get(reading.provider, 0.0) + self._count(switch, reading, last, now)
        for key in before.keys() - flows.there.keys():
            flows.lose(before[key])
        flows.telling = Counter(last.reading.provider for last in flows.there.values() if last.reading.said)
        flows.since = now
        flows.forget(now)
        for provider, rate in passed.items():
            self._sums[provider].rates[switch] = rate
            self._settle(switch, self._sums[provider], now)

    def ended(self, switch: str, final: Ended, whose: Reading | None, now: float) -> None:
        """A switch says that a flow is gone. whose: the same as it is understood now, None where nobody's flow is like
        that any more; a flow that was read counts for whom it did then."""
        flows = self._flows.setdefault(switch, _Flows())
        last, was_there = flows.close(final, now - final.age)
        if last is not None:
            whose = last.reading._replace(**final._asdict())
            if whose.provider not in self._sums:
                return  # the policy has it no more
        if whose is None:
            return
        # what is left is counted by the flows that are there, as far as was known
        self._count(switch, whose, last, now, says=was_there)
        if was_there and whose.said:
            flows.telling[whose.provider] -= 1
            if flows.telling[whose.provider] <= 0:
                self._sums[whose.provider].said[switch].clear()

    def _count(self, switch: str, reading: Reading, last: _Last | None, now: float, says: bool = True) -> float:
        """Add what was counted since the last reading of a flow, None for a new one. Returns the rate that this makes,
        in packets a second. says: what it tells of TCP connections counts too."""
        begun = now - reading.age if last is None else last.at
        packets = reading.packets - (0 if last is None else last.reading.packets)
        octets = max(0, reading.octets - (0 if last is None else last.reading.octets))
        sums = self._sums.setdefault(reading.provider, _Sums())
        if reading.said and says:
            sums.said.setdefault(switch, Counter())[reading.said] += packets
        if reading.table == "served" and reading.said not in ("", OPENED):
            return 0.0  # no new connections, but packets of old ones
        sums.packets[reading.table] = sums.packets.get(reading.table, 0) + packets
        sums.octets[reading.table] = sums.octets.get(reading.table, 0) + octets
        if reading.table == "served":
            return 0.0  # the same packets as in translate
        if packets and now - begun <= RECENT:
            sums.last = now
        return packets / (now - begun) if now > begun else 0.0

    def _settle(self, switch: str, sums: _Sums, now: float) -> None:
        """Nothing is left where that is certain, so that what was counted wrongly does not count for ever: connections
        are forgotten; or nobody sends, and more connections seem to have ended than began (while somebody does, it may
        be that flows were asked one after the other)."""
        said = sums.said.get(switch)
        if said is None:
            return
        quiet = float("inf") if sums.last is None else now - sums.last
        if (sums.last is not None and quiet > FORGOTTEN) or (quiet > RECENT and left(said) < 0):
            said.clear()

    def keep(self, policy: Policy, places: Mapping[str, Container[str]]) -> None:
        """Forget providers that a policy does not have any more, and what is left of them at switches where they are no
        more. places: host -> the switches it is at, none for those that are nowhere."""
        for provider, sums in list(self._sums.items()):
            tenant = policy.tenants.get(provider.tenant)
            if tenant is None or provider.service not in tenant.services or provider.endpoint not in tenant.endpoints:
                del self._sums[provider]
                continue
            here = places.get(tenant.endpoints[provider.endpoint].host, ())
            for switch, said in sums.said.items():
                if switch not in here:
                    said.clear()

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
            sum(max(0, left(said)) for said in sums.said.values()) if sums.said else None,
        )

    def all(self) -> Mapping[Provider, Used]:
        """Everyone's sums."""
        return {provider: self.of(provider) for provider in sorted(self._sums)}


class Owners:
    """Whose a flow's counters are, by the numbers that one compile used."""

    def __init__(self, policy: Policy, topology: Topology, allocation: Allocation) -> None:
        self._policy = policy
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
                provider = Provider(tenant, service, endpoint)
                return Reading(flow, table, provider, packets, octets, age, self._said(flow, table, provider))
        return None

    def _said(self, flow: FlowKey, table: str, provider: Provider) -> str:
        """What a flow's packets tell of TCP connections."""
        for field_name, value, _ in flow.match:
            if field_name == "tcp_flags":
                return _SAID.get((table, value), "")
            if table == "served" and field_name == SERVED_PORT.field:
                owner = self._policy.tenants.get(provider.tenant)
                service = None if owner is None else owner.services.get(provider.service)
                number = value >> SERVED_PORT.offset & (1 << SERVED_PORT.bits) - 1
                if service is not None and number < len(service.ports):
                    return OPENED if service.ports[number].protocol == "tcp" else ""
        return ""

    def _hosts(self, flow: FlowKey) -> list[str]:
        """The host a flow is for: by its waypoint, or by the conntrack zone of its port."""
        for field_name, value, mask in flow.match:
            if field_name == LEAVING.field:
                found = self._waypoints.get(value & mask & (1 << LEAVING.bits) - 1)
                return [] if found is None else [found]
            if field_name == ZONE.field:
                return self._ports.get(value & mask & ZONES - 1, [])
        return []
