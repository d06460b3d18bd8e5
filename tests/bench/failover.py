"""How long packets are lost when a link fails: by the rules we make, and by a fast-failover group written by hand.

No controller is in the lab at all, so what happens is the switches' own doing. Cables are veth pairs: the far end goes
down, which the near one sees as a lost carrier. A gap is the time between two datagrams that arrived one after the
other, by when they were sent; it is no shorter than the pace they are sent at.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from bench.report import Line, ratios
from bench.wires import fill, fill_plain, ofctl, wired
from controller_app.model.flow import FlowState
from controller_app.model.topology import End, Topology
from controller_app.pipeline.compile import compile
from controller_app.pipeline.transit import SwitchWays
from controller_app.routing.distances import Routes
from mininet_scenarios.harness.lab import Lab
from mininet_scenarios.harness.processes import Process, wait_for
from mininet_scenarios.harness.traffic import PYTHON

PROGRAMS = Path(__file__).parent / "programs"
SERVER, PORT = "10.0.0.21", 5002
INTERVAL, SECONDS, FAILS_AFTER = 0.0005, 0.6, 0.25
TIMES = 60  # gaps are spread evenly from 0.5 to 12 ms either way: medians of 20 differ by a fifth for no reason
MOST = 1.3


def by_hand(topology: Topology, ports: tuple[int, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """(flows, groups) as text, by switch: what somebody would write for this network alone, towards w1. ports: of s1,
    in the order they are to be tried."""
    buckets = ",".join(f"bucket=watch_port:{port},actions=output:{port}" for port in ports)
    back = next(iter(topology.hosts["c1"].attach.values())).port
    flows = {
        "s1": f"in_port={back},actions=group:1\npriority=1,actions=output:{back}\n",
        "s2": "in_port=1,actions=output:2\nin_port=2,actions=output:1\n",
        "s3": "in_port=1,actions=output:2\nin_port=2,actions=output:1\n",
        "s4": "in_port=11,actions=output:1\nactions=output:11\n",
    }
    return flows, {"s1": f"group_id=1,type=ff,{buckets}\n"}


def lines(out: Path) -> Iterator[Line]:
    """Both in turns on the lab `failover`."""
    with wired("failover", out) as (lab, topology, policy):
        ours = compile(policy, topology)[0]
        ports = SwitchWays(topology, Routes(topology), ["s4"]).by_switch["s1"]["s4"].ports
        flows, groups = by_hand(topology, ports)
        (cable,) = (link for link in topology.links if End("s1", ports[0]) in (link.a, link.b))
        gaps = Gaps(lab, cable.b)
        kinds: dict[str, Callable[[], None]] = {
            "ours": lambda: fill(ours),
            "hand": lambda: fill_plain(flows, groups),
        }
        found: dict[str, list[float]] = {kind: [] for kind in kinds}
        for turn in range(TIMES):
            lab.say(f"failover, turn {turn + 1} of {TIMES}")
            for kind in kinds if turn % 2 == 0 else reversed(kinds):
                kinds[kind]()
                found[kind].append(gaps.measure())
        yield _line(found["ours"], found["hand"], ours)


def _line(ours: list[float], hand: list[float], state: FlowState) -> Line:
    ratio = median(ours) / median(hand)
    each = ratios(ours, hand)
    groups = sum(group.kind == "ff" for held in state.values() for group in held.groups.values())
    return Line(
        f"packet gap on a link failure with an alternate, no controller ÷ fast-failover group by hand, UDP every "
        f"{INTERVAL * 1e3:g} ms, medians of {len(ours)}",
        f"{ratio:.2f} ({median(ours) * 1e3:.1f} ÷ {median(hand) * 1e3:.1f} ms)",
        f"≤ {MOST}",
        ratio <= MOST,
        f"turn by turn {each}; Open vSwitch hears of the link and looks over what it cached in both",
        {"ours_seconds": ours, "by_hand_seconds": hand, "groups": groups},
    )


class Gaps:
    """A sink on the server; each measurement is one run of datagrams in which a cable fails."""

    def __init__(self, lab: Lab, end: End) -> None:
        """end: of the cable, the one that goes down."""
        self._lab, self._end, self._runs = lab, end, 0
        self._sink: Process = lab.processes.start(
            "udp-sink", [*PYTHON, str(PROGRAMS / "udp_sink.py"), str(PORT)], lab.network.pid("w1")
        )
        self._sink.wait_for_output("listening")

    def measure(self) -> float:
        """Seconds for which nothing arrived. Raises RuntimeError where packets were lost otherwise."""
        lab = self._lab
        # until both know each other's address, and it works
        lab.network.on("c1", "sh", "-c", f"for n in 1 2 3 4 5; do ping -c 3 -i 0.1 -w 1 {SERVER} && exit; done; exit 1")
        source = lab.processes.start(f"udp-source-{self._runs}", [
            *PYTHON, str(PROGRAMS / "udp_source.py"), SERVER, str(PORT), str(INTERVAL), str(SECONDS)
        ], lab.network.pid("c1"))  # fmt: skip
        source.wait_for_output("sending")
        time.sleep(FAILS_AFTER)
        lab.network.set_link(self._end.switch, self._end.port, False)
        failed = time.monotonic()
        try:
            self._runs += 1
            wait_for("the sink to tell what it got", lambda: len(self._told()) == self._runs)
            told = json.loads(self._told()[-1])
        finally:
            lab.network.set_link(self._end.switch, self._end.port, True)
            wait_for("every cable to be in again", self._whole)
        if told["received"] < 0.5 * SECONDS / INTERVAL or (told["lost"] and abs(told["at"] - failed) > 0.1):
            raise RuntimeError(f"packets were lost otherwise than by the link failing at {failed}: {told}")
        return max(INTERVAL, float(told["gap"]))

    def _whole(self) -> bool:
        """Do all ports of all switches work?"""
        named = ("LIVE" in port for name in self._lab.topology.switches for port in _described(name))
        return all(named)

    def _told(self) -> list[str]:
        return [line for line in self._sink.output().splitlines() if line.startswith("{") and line.endswith("}")]


def _described(switch: str) -> list[str]:
    """What a switch says of each of its ports that is no internal one."""
    return ofctl("dump-ports-desc", switch).split("addr:")[1:-1]
