"""Switches, links, hosts: the network as declared or discovered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import networkx as nx

from controller_app.model.position import NOWHERE, Position

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Switch:
    """An OpenFlow datapath. `dpid` is 64 bits and never 0. `labels` are what selectors of `require` look at, together
    with rack, zone and region."""

    name: str
    dpid: int
    rack: str | None = None
    zone: str | None = None
    region: str | None = None
    longitude: float | None = None
    latitude: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    where: Position = field(default=NOWHERE, compare=False)

    @property
    def all_labels(self) -> Mapping[str, str]:
        """Its labels, with rack, zone and region under these names."""
        places = {"rack": self.rack, "zone": self.zone, "region": self.region}
        return {**{key: value for key, value in places.items() if value is not None}, **self.labels}


@dataclass(frozen=True, slots=True, order=True)
class End:
    """One port of one switch. `port` is an OpenFlow port number, or a port name until the switch told its
    number (see `discovery.merge.resolve`)."""

    switch: str
    port: int | str

    def __str__(self) -> str:
        return f"{self.switch}:{self.port}"


@dataclass(frozen=True, slots=True)
class Link:
    """An undirected cable (or tunnel) between two switch ports.

    latency in seconds, bandwidth in bits per second, both None where unknown; cost is what routing adds up.
    """

    a: End
    b: End
    latency: float | None = None
    bandwidth: float | None = None
    cost: float = 1
    kind: str = "wire"  # or "tunnel"
    mtu: int | None = None  # largest IP packet it takes, in bytes; None where not known
    where: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Host:
    """Something attached to the network: a machine, a service function instance, or an uplink.

    `attach` maps arm to switch port: `{"": end}` for a host with one port, `{"in": end, "out": end}` for a
    two-armed function. `mac` is lower case with colons, None where not known. A routed function's other arm
    (`out`) has a MAC and addresses of its own; `mac` and `ips` are those of its first arm. `vlan`: its frames
    carry this 802.1Q tag on its port, and only they are its. `declared`: its addresses were written down, so a
    packet from another is forged.
    """

    name: str
    attach: Mapping[str, End]
    ips: tuple[IPAddress, ...] = ()
    mac: str | None = None
    prefixes: tuple[IPNetwork, ...] = ()
    out_mac: str | None = None
    out_ips: tuple[IPAddress, ...] = ()
    vlan: int | None = None
    declared: bool = False
    where: Position = field(default=NOWHERE, compare=False)

    def arm_mac(self, arm: str) -> str | None:
        """The MAC of an arm: its own, or the host's."""
        return self.out_mac or self.mac if arm == "out" else self.mac

    def arm_ips(self, arm: str) -> tuple[IPAddress, ...]:
        """The addresses of an arm."""
        return self.out_ips if arm == "out" else self.ips


@dataclass(frozen=True)
class Topology:
    """The whole network. Names are unique among switches, and among hosts.

    A value: never changed, only replaced. Mappings keep the order of declaration. `down` are ports of hosts and
    functions that are known not to work now; links that do not work are simply not there. `unready` is whom checks
    found not to serve, as "services/TENANT/SERVICE/ENDPOINT" and "functions/TENANT/FUNCTION/INSTANCE".
    """

    switches: Mapping[str, Switch] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    hosts: Mapping[str, Host] = field(default_factory=dict)
    down: frozenset[End] = frozenset()
    unready: frozenset[str] = frozenset()

    @cached_property
    def graph(self) -> nx.MultiGraph:
        """Switches as nodes, links as parallel edges keyed by their index in `links`, with `cost`,
        `latency`, `bandwidth` and `link` on each edge. Do not modify it."""
        graph = nx.MultiGraph()
        for name, switch in self.switches.items():
            graph.add_node(name, switch=switch)
        for index, link in enumerate(self.links):
            graph.add_edge(
                link.a.switch,
                link.b.switch,
                key=index,
                link=link,
                cost=link.cost,
                latency=link.latency,
                bandwidth=link.bandwidth,
            )
        return graph

    @cached_property
    def by_dpid(self) -> Mapping[int, Switch]:
        return {switch.dpid: switch for switch in self.switches.values()}

    @cached_property
    def link_ports(self) -> frozenset[End]:
        """Every switch port that a link uses."""
        return frozenset(end for link in self.links for end in (link.a, link.b))

    @staticmethod
    def load(path: str) -> Topology:
        """Read a topology file: YAML, JSON, GraphML, GML, node-link JSON, or `lab.py:MyTopo`.

        Raises PolicyError with positions when it cannot be used.
        """
        from controller_app.policy.topology_file import load_topology

        return load_topology(path)

    @staticmethod
    def from_networkx(graph: nx.Graph) -> Topology:
        """Build from any networkx graph. Nodes become switches; see `policy.topology_graph` for the
        attributes that are read."""
        from controller_app.policy.topology_graph import topology_from_graph

        return topology_from_graph(graph)
