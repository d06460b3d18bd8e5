"""Hosts for topologies that have none: one on every switch, so that a bare graph carries traffic."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from controller_app.model.topology import End, Host, Topology
from mininet_scenarios.harness.state import LabError

FIRST = IPv4Address("10.0.0.1")


def with_hosts(topology: Topology) -> Topology:
    """The topology itself if it has hosts; otherwise with h1 on the first switch, h2 on the second, …

    Addresses count up from 10.0.0.1; each host is on the first port after its switch's last one.
    """
    if topology.hosts:
        return topology
    hosts = {}
    for number, switch in enumerate(topology.switches):
        name = f"h{number + 1}"
        while name in topology.switches:
            name += "h"
        used = [end.port for end in topology.link_ports if end.switch == switch]
        named = sum(isinstance(port, str) for port in used)
        port = max((port for port in used if isinstance(port, int)), default=0) + named + 1
        hosts[name] = Host(
            name,
            {"": End(switch, port)},
            (FIRST + number,),
            f"02:00:00:00:{number + 1 >> 8:02x}:{number + 1 & 255:02x}",
        )
    return replace(topology, hosts=hosts)


def check_names(topology: Topology) -> None:
    """Mininet keeps switches and hosts in one dictionary. Raises LabError for a name that both use."""
    both = sorted(set(topology.switches) & set(topology.hosts))
    if both:
        raise LabError(
            f"{', '.join(both)}: both a switch and a host are called so; Mininet needs two names: "
            f"rename one in the topology file"
        )
