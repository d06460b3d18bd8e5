"""A lab with two transparent instances of one function that can be killed, and streams of datagrams through them."""

from __future__ import annotations

import json
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from controller_app.model.topology import Topology
from mininet_scenarios.harness.controller import chainctl_json
from mininet_scenarios.harness.lab import Lab, running_lab
from mininet_scenarios.harness.processes import Process, wait_for
from mininet_scenarios.harness.traffic import PYTHON

PROGRAMS = Path(__file__).parent / "programs"
TOPOLOGY = """
version: 1
switches: {s1: {dpid: 0x1}, s2: {dpid: 0x2}, s3: {dpid: 0x3}}
links: [[s1:1, s2:1], [s2:2, s3:1], [s1:2, s3:2]]
hosts:
  c1: {attach: s1:11, ip: [CLIENTS], mac: 02:00:00:00:01:11}
  w1: {attach: s3:11, ip: 10.2.0.21, mac: 02:00:00:00:02:21}
  fw1: {attach: {in: s2:21, out: s2:22}}
  fw2: {attach: {in: s1:21, out: s3:22}}
"""
POLICY = """
version: 1
networks:
  clients: {subnet: 10.1.0.0/24, gateway: 10.1.0.254}
  servers: {subnet: 10.2.0.0/24, gateway: 10.2.0.254}
functions:
  fw:
    kind: firewall
    on_failure: ON_FAILURE
    health: {probe: frame, interval: INTERVAL, misses: MISSES}
    instances: {fw1: {host: fw1}, fw2: {host: fw2}}
chains:
  way: {through: [fw]}
classifiers:
  - {from: {network: clients}, to: {network: servers}, then: {chain: way}}
"""
SERVER, PORT = "10.2.0.21", 7000
STREAMS, PAUSE = 12, 0.01  # a datagram every PAUSE seconds on each
# Open vSwitch's symmetric hash knows nothing of UDP ports (lib/flow.c, flow_hash_symmetric_l4), so each stream has an
# address of its own.
CLIENTS = tuple(f"10.1.0.{10 + number}" for number in range(STREAMS))
QUIET = 0.3  # seconds after the last datagram until none comes any more


class Lost(NamedTuple):
    """What was lost: when each datagram was sent that did not arrive, by stream."""

    times: dict[str, list[float]]
    sent: int

    @property
    def streams(self) -> set[str]:
        return {stream for stream, times in self.times.items() if times}

    def last(self, since: float) -> float:
        """Seconds from `since` to when the last of them was sent; 0 where none was lost after it."""
        return max((at - since for times in self.times.values() for at in times), default=0.0)


class FunctionLab:
    """The running lab. Its instances are programs that pass frames on, one a host."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.programs: dict[str, Process] = {}
        for name in ("fw1", "fw2"):
            lab.network.on(name, "ip", "link", "del", "br0")
            self.start(name)
        words = [*PYTHON, str(PROGRAMS / "numbered.py"), "receive", str(PORT)]
        self._sink = lab.processes.start("sink", words, lab.network.pid("w1"))
        self._sink.wait_for_output("listening")
        self._runs = 0

    def start(self, name: str) -> None:
        """Let an instance work."""
        words = [*PYTHON, str(PROGRAMS / "forward.py"), "in", "out"]
        started = len(list(self.lab.processes.logs.glob(f"{name}-*.log")))
        self.programs[name] = self.lab.processes.start(f"{name}-{started}", words, self.lab.network.pid(name))
        self.programs[name].wait_for_output("forwarding")

    def kill(self, name: str) -> float:
        """End an instance as a crash would; its ports stay up. The time."""
        at = time.monotonic()
        self.programs[name].kill()
        return at

    def hang(self, name: str, hanging: bool = True) -> float:
        """Let it stand still, or go on."""
        at = time.monotonic()
        self.programs[name].popen.send_signal(signal.SIGSTOP if hanging else signal.SIGCONT)
        return at

    def states(self) -> dict[str, dict[str, Any]]:
        """Every instance as `chainctl get functions` has it."""
        return {each["name"]: each for each in chainctl_json("get", "functions", "fw")["instances"]}

    def events(self) -> list[str]:
        """What the controller said of instances."""
        assert self.lab.controller is not None
        lines = self.lab.controller.process.output().splitlines()
        return [line[line.index("instance ") :] for line in lines if "instance fw" in line]

    def await_event(self, since: int, words: str, seconds: float = 10.0) -> None:
        """Wait until it says so."""
        wait_for(words, lambda: any(words in text for text in self.events()[since:]), seconds, 0.02)

    @contextmanager
    def streams(self, seconds: float) -> Iterator[list[Lost]]:
        """Datagrams flow on new streams for so long; afterwards what was lost is in the list."""
        self._runs += 1
        own = 20000 + self._runs  # what was remembered of the streams before counts for nothing
        told: list[Lost] = []
        plan = ["send", SERVER, str(PORT), ",".join(CLIENTS), str(own), str(PAUSE), str(seconds)]
        words = [*PYTHON, str(PROGRAMS / "numbered.py"), *plan]
        sender = self.lab.processes.start(f"source-{self._runs}", words, self.lab.network.pid("c1"))
        yield told
        wait_for("the streams to end", lambda: not sender.alive, seconds + 20)
        time.sleep(QUIET)
        sent: dict[str, list[float]] = json.loads(sender.output())
        came: dict[str, set[int]] = defaultdict(set)
        for line in self._sink.output().splitlines()[1:]:
            stream, port, number = line.split()
            if int(port) == own:
                came[stream].add(int(number))
        lost = {name: [at for n, at in enumerate(times, 1) if n not in came[name]] for name, times in sent.items()}
        told.append(Lost(lost, sum(map(len, sent.values()))))


@contextmanager
def function_lab(
    out: Path, interval: str, misses: int, on_failure: str = "closed", console: Console | None = None
) -> Iterator[FunctionLab]:
    """Build it, wait until it works, and take it down afterwards. Needs root."""
    text = POLICY.replace("INTERVAL", interval).replace("MISSES", str(misses)).replace("ON_FAILURE", on_failure)
    out.mkdir(parents=True, exist_ok=True)
    network = TOPOLOGY.replace("CLIENTS", ", ".join(CLIENTS))
    files = {out / "health.topology.yaml": network, out / "health.policy.yaml": text}
    for path, content in files.items():
        path.write_text(content, encoding="utf-8")
    topology = Topology.load(str(out / "health.topology.yaml"))
    console = console or Console(stderr=True)
    with running_lab("function-health", topology, [out / "health.policy.yaml"], out / "lab", console) as lab:
        yield FunctionLab(lab)
