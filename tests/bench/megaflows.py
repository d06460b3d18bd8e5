"""How many megaflows and masks the switches make of many connections over one chain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.datapath import Megaflow, parse, per_next_waypoint
from bench.report import Line
from bench.wires import appctl, fill, vsctl, wired
from controller_app.model.topology import Topology
from controller_app.pipeline.compile import compile
from mininet_scenarios.harness.ovs import connections_tracked
from mininet_scenarios.harness.traffic import connect, tally

CONNECTIONS = 10_000
FIRST_PORT = 20_000
SERVER = "10.0.0.21", 80
EDGE_AT_MOST = 264
MASKS_AT_MOST = 8
KEEP = 600_000  # ms: nothing times out before it is counted


def lines(out: Path) -> Iterator[Line]:
    """Many connections through the lab `star`, and what the datapath holds then."""
    with wired("star", out) as (lab, topology, policy):
        vsctl("set", "Open_vSwitch", ".", f"other_config:max-idle={KEEP}")
        fill(compile(policy, topology)[0])
        lab.web_server("w1", SERVER[1]).ready()
        ports = range(FIRST_PORT, FIRST_PORT + CONNECTIONS)
        lab.say(f"{CONNECTIONS:,} connections")
        answered = tally(connect(lab.network, "c1", *SERVER, ports, timeout=20, parallel=64))
        if answered != {"w1": CONNECTIONS}:
            raise RuntimeError(f"connections of the megaflow lab ended so: {dict(answered)}")
        found = [megaflow for megaflow in parse(appctl("dpctl/dump-flows", "-m")) if megaflow.is_ipv4]
        switches = {
            lab.network.cable(end.switch, end.port): end.switch
            for end in (*topology.link_ports, *(e for host in topology.hosts.values() for e in host.attach.values()))
        }
        tracked = len(connections_tracked())
    yield from judge(found, topology, switches, tracked)


def judge(found: list[Megaflow], topology: Topology, switches: Mapping[str, str], tracked: int) -> Iterator[Line]:
    """The lines from what was dumped. `switches`: interface -> switch; `tracked`: connections that conntrack holds."""
    attached = {end.switch for host in topology.hosts.values() for end in host.attach.values()}
    edges = {end.switch for host in topology.hosts.values() if host.ips for end in host.attach.values()}
    what = f"megaflows for {CONNECTIONS:,} TCP connections over one chain, stickiness none"
    by_port = Counter(megaflow.in_port for megaflow in found)
    at_edges = {port: number for port, number in by_port.items() if switches[port] in edges}
    most = max(at_edges.values())
    yield Line(
        f"{what}: most per direction at an edge",
        str(most),
        f"≤ {EDGE_AT_MOST}",
        most <= EDGE_AT_MOST,
        f"256 slots, and one that hashes; connections tracked: {tracked}",
        {"by_port": dict(by_port), "connections_tracked": tracked},
    )
    masks = Counter(megaflow.mask for megaflow in found)
    yield Line(
        f"{what}: masks, all {len(topology.switches)} switches together",
        str(len(masks)),
        f"≤ {MASKS_AT_MOST}",
        len(masks) <= MASKS_AT_MOST,
        "",
        {"masks": [sorted(f"{field}/{bits}" for field, bits in mask) for mask in masks]},
    )
    transit = [megaflow for megaflow in found if switches[megaflow.in_port] not in attached]
    per_waypoint = per_next_waypoint(transit)
    worst = max(per_waypoint.values())
    exact = sum(("eth.dst", "exact") in megaflow.mask for megaflow in transit)
    yield Line(
        f"{what}: most per transit hop, direction and next waypoint",
        f"{worst} ({len(transit)} in all, for {len(per_waypoint)})",
        "1",
        worst == 1,
        f"{exact} of them match the whole label" if exact else "",
        {"transit": {str(key): number for key, number in per_waypoint.items()}},
    )
