"""TCP throughput steered by labels against the same cables, ports and function with flows from port to port."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from bench.report import Line, Spread, ratios
from bench.wires import fill, fill_plain, ofctl, vsctl, wired
from controller_app.model.policy import Policy
from controller_app.model.topology import End, Topology
from controller_app.pipeline.compile import compile
from controller_app.pipeline.tables import NUMBER
from controller_app.transports import TRANSPORTS
from mininet_scenarios.harness.lab import Lab
from mininet_scenarios.harness.processes import Process, wait_for
from mininet_scenarios.harness.traffic import PYTHON

PROGRAMS = Path(__file__).parent / "programs"
SERVER, PORT = "10.0.0.21", 5001
WARM_UP, SECONDS, TIMES = 0.5, 2.0, 5
AT_LEAST = {"mac": 0.95}  # of the others 0.9
OTHERS_AT_LEAST = 0.9
MTU = 1600  # bytes: what switch ports take, so that a full packet with a transport's header passes
LEAST_PACKETS = 100
WAY = ("c1", "fw1", "w1")  # from the client through the function's arms to the server


def with_transport(policy: Policy, transport: str) -> Policy:
    """The policy with all its chains carried otherwise."""
    tenants = {
        name: replace(tenant, chains={key: replace(chain, transport=transport) for key, chain in tenant.chains.items()})
        for name, tenant in policy.tenants.items()
    }
    return Policy(tenants)


def plain(topology: Topology) -> dict[str, str]:
    """Flows that join the ports of the way to each other, both ways, and look at nothing: by switch, as text."""
    client, function, server = (topology.hosts[name].attach for name in WAY)
    pairs = [*_joined(topology, client[""], function["in"]), *_joined(topology, function["out"], server[""])]
    found: dict[str, str] = defaultdict(str)
    for a, b in pairs:
        found[a.switch] += f"in_port={a.port},actions=output:{b.port}\nin_port={b.port},actions=output:{a.port}\n"
    return dict(found)


def _joined(topology: Topology, start: End, stop: End) -> Iterator[tuple[End, End]]:
    """The pairs of ports, one pair a switch, that a packet takes from one port to another, over a line of switches."""
    at, came = start, None
    while at.switch != stop.switch:
        (link,) = (
            link
            for link in topology.links
            if at.switch in (link.a.switch, link.b.switch) and link is not came
            and _leads(topology, link.a if link.b.switch == at.switch else link.b, stop.switch, at.switch)
        )  # fmt: skip
        here, there = (link.a, link.b) if link.a.switch == at.switch else (link.b, link.a)
        yield at, here
        at, came = there, link
    yield at, stop


def _leads(topology: Topology, end: End, target: str, back: str) -> bool:
    """Does the way on from this end, away from where it came, reach a switch?"""
    if end.switch == target:
        return True
    ahead = [
        other
        for link in topology.links
        for here, other in ((link.a, link.b), (link.b, link.a))
        if here.switch == end.switch and other.switch != back
    ]
    return any(_leads(topology, other, target, end.switch) for other in ahead)


def lines(out: Path) -> Iterator[Line]:
    """Each transport in turns with the plain flows, on the lab `line`."""
    with wired("line", out) as (lab, topology, policy):
        for end in topology.link_ports:
            vsctl("set", "Interface", lab.network.cable(end.switch, end.port), f"mtu_request={MTU}")
        compiled = {name: compile(with_transport(policy, name), topology)[0] for name in TRANSPORTS}
        flows = plain(topology)
        run = Runner(lab)
        steered: dict[str, list[float]] = defaultdict(list)
        beside: dict[str, list[float]] = defaultdict(list)
        for turn in range(TIMES):
            lab.say(f"throughput, turn {turn + 1} of {TIMES}")
            for name, state in compiled.items():
                pair: list[tuple[list[float], Callable[[], object]]] = [
                    (beside[name], lambda: fill_plain(flows)),
                    (steered[name], lambda state=state: fill(state)),  # type: ignore[misc]
                ]
                for rates, prepare in pair if turn % 2 == 0 else pair[::-1]:
                    prepare()
                    rates.append(run.rate())
                    if rates is steered[name]:
                        _check_steered(name)
    for name in compiled:
        yield _line(name, steered[name], beside[name])


def _line(name: str, steered: list[float], beside: list[float]) -> Line:
    found, least = ratios(steered, beside), AT_LEAST.get(name, OTHERS_AT_LEAST)
    alone = ratios(beside, [Spread(tuple(beside)).median] * len(beside))
    return Line(
        f"TCP throughput steered ÷ the same path without labels, transport {name}",
        str(found),
        f"≥ {least}",
        found.median >= least,
        f"{os.cpu_count()} cores for all switches and hosts; the plain flows by their own median: {alone}",
        {"steered_bits_per_second": steered, "plain_bits_per_second": beside},
    )


def _check_steered(transport: str) -> None:
    """What was measured went by the policy, and in the transport's header: the rules for that counted it."""
    tables = {"s1": "classify"} if transport == "mac" else {"s1": "classify", "s2": "unwrap"}
    for switch, table in tables.items():
        dump = ofctl("dump-flows", switch, f"table={NUMBER[table]}")
        if sum(map(int, re.findall(r"n_packets=(\d+)", dump))) < LEAST_PACKETS:
            raise RuntimeError(f"transport {transport}: nothing went by {table} of {switch}:\n{dump}")


class Runner:
    """A sink on the server; each run is one connection to it."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._runs = 0
        program = [*PYTHON, str(PROGRAMS / "tcp_sink.py"), str(PORT), str(WARM_UP), str(SECONDS)]
        self._sink: Process = lab.processes.start("tcp-sink", program, lab.network.pid("w1"))
        self._sink.wait_for_output("listening")

    def rate(self) -> float:
        """Bits per second of one connection."""
        seconds = WARM_UP + SECONDS + 0.3
        self._lab.network.on("c1", *PYTHON, str(PROGRAMS / "tcp_source.py"), SERVER, str(PORT), str(seconds))
        self._runs += 1
        wait_for("the sink to tell what it got", lambda: len(self._told()) == self._runs)
        told = json.loads(self._told()[-1])
        return 8.0 * float(told["bytes"]) / float(told["seconds"])

    def _told(self) -> list[str]:
        return [line for line in self._sink.output().splitlines() if line.startswith("{") and line.endswith("}")]
