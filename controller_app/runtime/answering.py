"""Who is to be told that a packet ended in the network, what, and out of which port.

A switch that refuses a packet, finds its TTL used up or finds it too big sends it up; the table says why. The
answer goes straight out of the sender's own port, wherever that is: the packet may have come far by then, and
its in_port is overwritten on the way (Open vSwitch tells the overwritten one). So the sender is looked up by its
source address and tenant. Pure: time comes in as `now`, a monotonic clock in seconds.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field

from controller_app.discovery.hosts import mac_number
from controller_app.discovery.ports import FIRST_RESERVED_PORT, PortId, SendFrame
from controller_app.discovery.refusals import Closed, Expired, Refused, TooBig, Why, addresses, answer
from controller_app.model.allocation import Allocation
from controller_app.model.flow import SubField
from controller_app.model.policy import Policy, Tenant
from controller_app.model.topology import IPAddress, IPNetwork, Topology
from controller_app.openflow.decode import PacketIn
from controller_app.pipeline.cookies import is_ours
from controller_app.pipeline.fits import largest_packet
from controller_app.pipeline.labels import Label
from controller_app.pipeline.tables import GATEWAY_MAC, TABLE_NAMES, TENANT, TOO_BIG, TRANSPORT, ZONE
from controller_app.policy.membership import memberships
from controller_app.runtime.computed import Computed
from controller_app.transports import TRANSPORTS

# Which table sends a packet up for what
REFUSING = frozenset(("classify", "choose", "reject"))
EXPIRING = frozenset(("translate",))
FITTING = frozenset(("fits", "too-big"))
INVALID_TTL = 2  # OFPR_INVALID_TTL: the switch itself says why

BURST, RATE = 100.0, 100.0  # answers to one sender: at once, and a second (RFC 4443 2.4 (f))
BURST_OF_ALL, RATE_OF_ALL = 1000.0, 1000.0
MAX_SENDERS = 4096  # whose rates are remembered


@dataclass(frozen=True, slots=True)
class _Place:
    """A machine's port: where its answers go. `network` is the name of its network, where known."""

    switch: str
    port: int
    mac: int | None
    vlan: int | None
    tenant: str | None
    network: str | None


@dataclass
class _Bucket:
    tokens: float
    filled: float


class Rates:
    """Token buckets, one for each sender and one for all together."""

    def __init__(self) -> None:
        self._all = _Bucket(BURST_OF_ALL, 0.0)
        self._each: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def allows(self, sender: Hashable, now: float) -> bool:
        """May this sender be told something now? If so it counts as told."""
        bucket = self._each.pop(sender, None) or _Bucket(BURST, now)
        self._each[sender] = bucket  # the one asked for last is forgotten last
        if len(self._each) > MAX_SENDERS:
            self._each.popitem(last=False)
        _fill(bucket, BURST, RATE, now)
        _fill(self._all, BURST_OF_ALL, RATE_OF_ALL, now)
        if bucket.tokens < 1 or self._all.tokens < 1:
            return False
        bucket.tokens -= 1
        self._all.tokens -= 1
        return True


def _fill(bucket: _Bucket, burst: float, rate: float, now: float) -> None:
    bucket.tokens = min(burst, bucket.tokens + (now - bucket.filled) * rate)
    bucket.filled = now


@dataclass(frozen=True)
class Answers:
    """What one computed network lets us answer with."""

    policy: Policy
    topology: Topology
    allocation: Allocation
    _at: Mapping[IPAddress, tuple[_Place, ...]] = field(init=False)
    _behind: tuple[tuple[IPNetwork, _Place], ...] = field(init=False)  # uplinks, the longest prefix first
    _exits: Mapping[int, _Place] = field(init=False)  # by waypoint
    _tenants: Mapping[int, str] = field(init=False)
    _zones: Mapping[int, str] = field(init=False)  # conntrack zone -> SWITCH:PORT

    def __post_init__(self) -> None:
        at: dict[IPAddress, list[_Place]] = {}
        behind: list[tuple[IPNetwork, _Place]] = []
        exits: dict[int, _Place] = {}
        for name, ips, prefixes, place in _places(self.policy, self.topology):
            numbers = self.allocation.waypoints
            if (waypoint := numbers.get(f"own:{name}", numbers.get(f"host:{name}"))) is not None:
                exits[waypoint] = place
            for ip in ips:
                at.setdefault(ip, []).append(place)
            behind += [(prefix, place) for prefix in prefixes]
        behind.sort(key=lambda item: -item[0].prefixlen)
        object.__setattr__(self, "_at", {ip: tuple(places) for ip, places in at.items()})
        object.__setattr__(self, "_behind", tuple(behind))
        object.__setattr__(self, "_exits", exits)
        for name, space in (("_tenants", "tenants"), ("_zones", "zones")):
            numbers = self.allocation.ids.get(space, {})
            object.__setattr__(self, name, {number: owner for owner, number in numbers.items()})

    def to(self, switch: str, packet: PacketIn) -> SendFrame | None:
        """What the sender of a packet that came up from `switch` is told; None for what is no business of ours,
        and for who cannot or must not be told."""
        kind = kind_of(packet)
        ends = addresses(packet.data) if kind is not None else None
        if kind is None or ends is None:
            return None
        label = Label.read(int.from_bytes(packet.data[:6], "big"))
        # behind the last function of a remembered path, `exit` is that function
        leaving = None if label is None else self._exits.get(label.exit) or self._exits.get(label.waypoint)
        tenant = self._tenants.get(_part(packet, TENANT)) or (None if leaving is None else leaving.tenant)
        place = self._sender(ends[0], tenant, switch, packet)
        if place is None or place.mac is None or place.switch not in self.topology.switches:
            return None
        gateway = self._gateway(ends[0], place)
        why: Why | None = None
        if kind == "refused":
            why = Closed() if self._of_services(ends[1], place.tenant) else Refused(gateway)
        elif kind == "expired":
            why = None if gateway is None else Expired(gateway)
        elif (mtu := self._mtu(packet)) is not None:
            why = TooBig(mtu, gateway)
        if why is None:
            return None
        teller = None if label is None or label.routed or leaving is None else leaving.mac
        frame = answer(packet.data, why, place.mac, GATEWAY_MAC if teller is None else teller, place.vlan)
        if frame is None:
            return None
        return SendFrame(self.topology.switches[place.switch].dpid, (place.port,), frame)

    def _sender(self, ip: IPAddress, tenant: str | None, switch: str, packet: PacketIn) -> _Place | None:
        """Who sent it: whose address it is or, where it is nobody's, who is at the port it came in by."""
        port = self._port(switch, packet)
        mac = int.from_bytes(packet.data[6:12], "big")
        known = [place for place in self._at.get(ip, ()) if tenant in (None, place.tenant)]
        if not known:
            known = [place for prefix, place in self._behind if ip in prefix and tenant in (None, place.tenant)][:1]
        if known:
            if tenant is None and len({place.tenant for place in known}) > 1:
                known = [place for place in known if (place.switch, place.port) == (switch, port)]
            best = max(known, key=lambda at: ((at.switch, at.port) == (switch, port), at.mac == mac), default=None)
            if best is not None and best.mac is None and (best.switch, best.port) == (switch, port):
                return _Place(switch, best.port, mac, best.vlan, best.tenant, best.network)
            return best
        return None if port is None else _Place(switch, port, mac, self._vlan(switch, port), tenant, None)

    def _port(self, switch: str, packet: PacketIn) -> int | None:
        """The host port it came in by: as told or, where that was overwritten, the one its zone belongs to."""
        if TABLE_NAMES.get(packet.table) in EXPIRING:
            return None  # it came from a link, and the zone is the receiver's by now
        told = packet.fields.get("in_port")
        if told is not None and 0 < told < FIRST_RESERVED_PORT:
            return told
        at, _, port = self._zones.get(_part(packet, ZONE), "").rpartition(":")
        return int(port) if at == switch and port.isdecimal() else None

    def _vlan(self, switch: str, port: int) -> int | None:
        for host in self.topology.hosts.values():
            if any((end.switch, end.port) == (switch, port) for end in host.attach.values()):
                return host.vlan
        return None

    def _gateway(self, ip: IPAddress, place: _Place) -> IPAddress | None:
        """The gateway that the sender knows: of the network its address lies in, or that it belongs to."""
        tenant = self.policy.tenants.get(place.tenant or "")
        if tenant is None:
            return None
        own = [n for n in tenant.networks.values() if any(ip in subnet for subnet in n.subnets)]
        own += [n for n in tenant.networks.values() if n.name == place.network]
        return next((gateway for n in own for gateway in n.gateways if gateway.version == ip.version), None)

    def _of_services(self, ip: IPAddress, tenant: str | None) -> bool:
        """Is it an address for services? Whoever may not reach one hears no more than where there is none."""
        networks = self.policy.tenants.get(tenant or "", Tenant()).networks.values()
        return any(ip in subnet for network in networks if network.kind == "service" for subnet in network.subnets)

    def _mtu(self, packet: PacketIn) -> int | None:
        """The largest IP packet that every link takes with what the packet's transport adds."""
        number = _part(packet, TRANSPORT)
        transport = next((word for word, known in TRANSPORTS.items() if known.number == number), None)
        return None if transport is None else largest_packet(self.topology, transport)


def kind_of(packet: PacketIn) -> str | None:
    """What became of a packet that a switch sends up: refused, expired or too-big; None for all others."""
    if not is_ours(packet.cookie):
        return None
    table = TABLE_NAMES.get(packet.table)
    if packet.reason == INVALID_TTL or table in EXPIRING:
        return "expired"
    if table in FITTING or (table in REFUSING and _part(packet, TOO_BIG)):
        return "too-big"
    return "refused" if table in REFUSING else None


class Teller:
    """Answers to what switches send up, as many as are good for anyone."""

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()  # senders told, by what; "held-back": too many at once
        self._rates = Rates()
        self._answers: tuple[Computed, Answers] | None = None

    def tell(self, computed: Computed, switch: str, packet: PacketIn, now: float) -> tuple[SendFrame, ...]:
        """What is to be sent because of a packet that came up from `switch`."""
        if self._answers is None or self._answers[0] is not computed:
            self._answers = computed, Answers(computed.policy, computed.topology, computed.allocation)
        found = self._answers[1].to(switch, packet)
        if found is None:
            return ()
        allowed = self._rates.allows(PortId(found.dpid, found.ports[0]), now)
        self.told[kind_of(packet) or "" if allowed else "held-back"] += 1
        return (found,) if allowed else ()


def _part(packet: PacketIn, part: SubField) -> int:
    return packet.fields.get(part.field, 0) >> part.offset & ((1 << part.bits) - 1)


def _places(
    policy: Policy, topology: Topology
) -> Iterator[tuple[str, tuple[IPAddress, ...], tuple[IPNetwork, ...], _Place]]:
    """Every arm of every host, under the name of its waypoint, with its addresses."""
    members = memberships(policy, topology)
    tenants = {
        instance.host: tenant.name
        for tenant in policy.tenants.values()
        for function in tenant.functions.values()
        for instance in function.instances.values()
    }
    for host in topology.hosts.values():
        member = members.get(host.name)
        tenant = tenants.get(host.name) if member is None else member.tenant
        for arm, end in host.attach.items():
            if not isinstance(end.port, int):
                continue
            mac = host.arm_mac(arm)
            number = None if mac is None else mac_number(mac)
            network = None if member is None else member.network
            place = _Place(end.switch, end.port, number, host.vlan, tenant, network)
            name = f"{host.name}:{arm}" if arm else host.name
            yield name, host.arm_ips(arm), host.prefixes if arm != "out" else (), place
