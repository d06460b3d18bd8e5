"""Web servers, and clients that open connections from fixed source ports."""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mininet_scenarios.harness.net import LabNetwork
from mininet_scenarios.harness.processes import Process, Processes

PROGRAMS = Path(__file__).parents[1] / "programs"
PYTHON = (
    sys.executable,
    "-I",
    "-S",
    "-B",
)  # the programs need nothing but Python: start fast, leave no files


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one connection went. `answered_by` is None when it failed, `error` says why then."""

    client: str
    source_port: int
    answered_by: str | None
    error: str | None
    seconds: float


class WebServer:
    """A server on a host that answers with the host's name."""

    def __init__(
        self, network: LabNetwork, processes: Processes, host: str, ports: Sequence[int], log: Path
    ) -> None:
        self.host, self._log = host, log
        self._process: Process = processes.start(
            f"web-{host}",
            [*PYTHON, str(PROGRAMS / "web_server.py"), host, str(log), *map(str, ports)],
            network.pid(host),
        )

    def ready(self) -> None:
        self._process.wait_for_output("listening")

    def hang(self, hanging: bool = True) -> None:
        """Its kernel goes on taking connections, and nobody answers them; or it is itself again."""
        self._process.popen.send_signal(signal.SIGSTOP if hanging else signal.SIGCONT)

    def visits(self) -> list[tuple[str, int, int]]:
        """Every connection that reached it: peer address, peer port, the port it came in at."""
        if not self._log.exists():
            return []
        rows = (json.loads(line) for line in self._log.read_text(encoding="utf-8").splitlines())
        return [(row["peer"], row["peer_port"], row["port"]) for row in rows]


def connect(
    network: LabNetwork,
    client: str,
    to: str,
    port: int,
    source_ports: Iterable[int],
    *,
    source: str = "",
    path: str = "/",
    requests: int = 1,
    pause: float = 0.0,
    timeout: float = 5.0,
    parallel: int = 16,
) -> list[Outcome]:
    """Open one TCP connection from each source port of a client, ask for `path` `requests` times on each.

    `timeout` is in seconds for each connection, `pause` in seconds between its requests; `parallel`
    connections are under way at a time. `source` is for a client with several addresses.
    """
    plan = {
        "to": to,
        "port": port,
        "source": source,
        "source_ports": list(source_ports),
        "path": path,
        "requests": requests,
        "pause": pause,
        "timeout": timeout,
        "parallel": parallel,
    }
    text = network.on(client, *PYTHON, str(PROGRAMS / "probe.py"), json.dumps(plan), timeout=300.0)
    return [
        Outcome(client, row["source_port"], row["answered_by"], row["error"], row["seconds"])
        for row in json.loads(text)
    ]


def tally(outcomes: Iterable[Outcome]) -> Counter[str]:
    """How many connections ended how: by who answered, or by the error."""
    return Counter(outcome.answered_by or outcome.error or "?" for outcome in outcomes)
