"""What the user asked for: functions, chains, classifiers, services, of every tenant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller_app.model.position import NOWHERE, Position
from controller_app.model.topology import IPAddress, IPNetwork


@dataclass(frozen=True, slots=True)
class Network:
    """An IP network of a tenant. `kind` "service" marks a pool of service addresses."""

    name: str
    subnets: tuple[IPNetwork, ...] = ()
    gateways: tuple[IPAddress, ...] = ()
    kind: str = "hosts"
    insert: tuple[str, ...] = ()  # functions that all that leaves the network goes through
    where: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a network, by prefix or by the labels of its endpoints (one of the two). What leaves it goes
    through `insert`, which counts instead of the network's own."""

    name: str
    network: str
    cidr: IPNetwork | None = None
    selector: Selector | None = None
    insert: tuple[str, ...] = ()
    where: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Health:
    """How to find out whether somebody serves.

    probe: tcp (connect to `port`), http (GET `path` at `port`, 2xx and 3xx are well), arp (ARP, in IPv6 neighbour
    discovery); of functions also icmp (echo), and frame (one that goes in by one arm comes out of the other). Every
    `interval` seconds; `misses` in a row and it is out. hold: of functions, the seconds it must be well to come back
    (at least `misses` checks); None of services.
    """

    probe: str
    port: int = 0
    path: str = "/"
    interval: float = 1.0
    misses: int = 3
    hold: float | None = None
    where: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host's place in a network, with the labels that selectors look at.

    drain: it gets no new connections of services; those it has may end. drain_after: seconds until they are ended; None
    is never.
    """

    name: str
    host: str
    network: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    weight: int = 1
    drain: bool = False
    drain_after: float | None = None
    where: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Instance:
    """One running copy of a service function, on a host of the topology."""

    name: str
    host: str
    weight: int = 1
    where: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Function:
    """A service function (RFC 7665): its kind is for people, its mode decides how packets reach it.

    mode: transparent (two arms, a bump in the wire), routed (addressed by its MAC, one arm or two), tap (gets
    copies), nsh (speaks RFC 8300 itself), translating (changes addresses: NAT, terminating proxies).
    handover: which destination MAC a transparent function sees: the label, or the original.
    on_failure: when no instance is left, closed drops, open skips the function, reject tells the sender.
    selector: where the instances are the endpoints it matches (then `instances` holds these, by their names).
    health: how instances are checked; None: they work while their ports are up.
    """

    name: str
    kind: str
    instances: Mapping[str, Instance]
    mode: str = "transparent"
    handover: str = "label"
    on_failure: str = "closed"
    selector: Selector | None = None
    health: Health | None = None
    where: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Require:
    """What must hold of the way that a chain's packets really take, from edge to edge.

    latency: seconds, of one direction. bandwidth: bits per second, kept for each pair of edges on every link between
    them, each way, as often as it is crossed. within: switch, rack, zone or region that its edges and instances share.
    avoid: labels that no switch of the way, and no instance, may have; prefer: labels of instances that are taken while
    there are any. apart: instances on different switches. backup: another way through instances of the same functions
    shares no link with it.
    """

    latency: float | None = None
    bandwidth: float | None = None
    within: str | None = None
    avoid: Selector | None = None
    prefer: Selector | None = None
    apart: bool = False
    backup: bool = False
    where: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Chain:
    """An ordered list of functions and how packets travel along it. `returns`: symmetric, direct, or the
    functions that replies meet, in the order they meet them. `spread`: weight (by the instances' weights alone) or
    cost (what is nearest to the two edges, then by weight)."""

    name: str
    through: tuple[str, ...]
    returns: str | tuple[str, ...] = "symmetric"
    transport: str = "mac"  # or vlan, mpls, nsh: what carries the next waypoint between switches
    stickiness: str = "connection"  # or "none"
    spread: str = "weight"
    require: Require | None = None
    where: Position = field(default=NOWHERE, compare=False)

    @property
    def by_edges(self) -> bool:
        """Whether its instances depend on the edges between which a packet travels."""
        return self.spread == "cost" or self.require is not None


@dataclass(frozen=True, slots=True)
class Requirement:
    """One clause of a label selector. `operator`: in, notin, exists, not-exists (equality is `in` with one
    value, inequality `notin`; an absent key satisfies notin, as in Kubernetes)."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold. `text` is the way it was written, for messages, and `where` the place, where that is
    not its owner's."""

    requirements: tuple[Requirement, ...]
    text: str = field(default="", compare=False)
    where: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Party:
    """One side of a classifier. `kind`: host, network, segment, endpoint, selector, cidr, service or any;
    `value` is a name, a Selector, a prefix, or None for any."""

    kind: str
    value: str | Selector | IPNetwork | None = None
    where: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Protocol (IANA number; `icmp` stands for 1 in IPv4 and 58 in IPv6) and destination ports, inclusive."""

    protocol: str  # tcp | udp | icmp
    low: int = 0
    high: int = 65535


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a classifier does: action "chain" (with its name), "allow", "deny" or "reject" (RST or ICMP to the
    sender). What passes can be limited (bits per second, what is above is dropped), marked with a DSCP (RFC
    2474) and put into a queue of every port it leaves by (ovs-vswitchd.conf.db(5), QoS)."""

    action: str
    chain: str | None = None
    limit: float | None = None
    dscp: int | None = None
    queue: int | None = None


@dataclass(frozen=True, slots=True)
class Classifier:
    """Which traffic, and what is done with it. No traffic listed means all of it, no dscp any.

    after: the classifier is for what comes out of this function, on whatever chain, and has no mirror.
    """

    name: str
    source: Party
    destination: Party
    then: Verdict
    traffic: tuple[Traffic, ...] = ()
    dscp: tuple[int, ...] = ()
    after: str | None = None
    priority: int = 0
    where: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class ServicePort:
    """`port` is what clients use, `target` what providers listen on; protocol tcp or udp."""

    port: int
    target: int
    protocol: str = "tcp"

    def __str__(self) -> str:
        return f"{self.port}:{self.target}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class Service:
    """An address and ports in front of every endpoint whose labels the selector matches.

    session_affinity: seconds for which all connections of a client address have one provider; None: each its own.
    prefer: switch, rack, zone or cost: providers near the client's edge get all connections while there are any.
    health: how providers are checked; None: they serve while their ports are up.
    expose: everyone; internal (whom a classifier names, other than by `any`); or the parties that may reach it.
    """

    name: str
    network: str
    selector: Selector
    ports: tuple[ServicePort, ...]
    ips: tuple[IPAddress, ...] = ()
    session_affinity: float | None = None
    prefer: str | None = None
    health: Health | None = None
    expose: str | tuple[Party, ...] = "everyone"
    where: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Tenant:
    """Everything one tenant declared. Names are unique per kind."""

    name: str = "default"
    default_allow: bool = True
    default_where: Position = field(default=NOWHERE, compare=False, kw_only=True)
    flood: tuple[str, ...] = ()  # "dhcp", "multicast": along a loop-free tree within the network
    networks: Mapping[str, Network] = field(default_factory=dict)
    segments: Mapping[str, Segment] = field(default_factory=dict)
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    functions: Mapping[str, Function] = field(default_factory=dict)
    chains: Mapping[str, Chain] = field(default_factory=dict)
    classifiers: Mapping[str, Classifier] = field(default_factory=dict)
    services: Mapping[str, Service] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    """The whole intent, all files and tenants together. The empty one allows everything."""

    tenants: Mapping[str, Tenant] = field(default_factory=lambda: {"default": Tenant()})

    @staticmethod
    def load(*paths: str) -> Policy:
        """Read policy files (a directory means every YAML or JSON file in it) into one policy.

        Raises PolicyError with every problem found.
        """
        from controller_app.policy.policy_file import load_policy

        return load_policy(paths).policy
