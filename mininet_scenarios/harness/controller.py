"""chain-manager as a lab runs it, and chainctl as a user would type it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mininet_scenarios.harness.processes import Process, Processes, run, wait_for
from mininet_scenarios.harness.state import LabError

OPENFLOW_PORT = 6653  # both free for sure: the lab's network namespace is its own
API_PORT = 8080


class ControllerProcess:
    """A chain-manager in the lab's namespace."""

    url = f"http://127.0.0.1:{API_PORT}"

    def __init__(
        self,
        processes: Processes,
        topology: Path,
        policies: Sequence[Path],
        state: Path,
        options: Sequence[str] = (),
    ) -> None:
        """Start it. `options` are further ones for its command line."""
        command = [
            sys.executable,
            "-m",
            "controller_app.cli.manager",
            "--topology",
            str(topology),
            "--state",
            str(state),
            "--api-listen",
            f"127.0.0.1:{API_PORT}",
            "--ofp-tcp-listen-port",
            str(OPENFLOW_PORT),
            *options,
        ]
        for policy in policies:
            command += ["--policy", str(policy)]
        self._processes, self._command = processes, command
        self.process: Process = processes.start("chain-manager", command)

    def start_again(self) -> None:
        """Start it as it was started, after it ended, and wait until it answers."""
        self.process = self._processes.start("chain-manager", self._command)
        self.wait_listening()

    def wait_listening(self, seconds: float = 30.0) -> None:
        """Wait until it answers; only then may switches start (they back off after a refused connection)."""
        self._wait("/healthz", "the controller to listen", seconds)

    def wait_ready(self, seconds: float = 30.0) -> None:
        """Wait until every switch holds what the policy wants of it."""
        self._wait("/readyz", "the controller to bring every switch up to date", seconds)

    def apply(self, name: str, policy: Mapping[str, Any]) -> None:
        """Replace a policy, as `chainctl apply` does, and wait until the switches hold it. LabError if refused."""
        self._ask("PUT", name, json.dumps(policy).encode())
        self._wait_effective()

    def delete(self, name: str) -> None:
        """Take a policy away, as `chainctl delete` does, and wait until the switches hold nothing of it."""
        self._ask("DELETE", name, None)
        self._wait_effective()

    def _wait_effective(self) -> None:
        """Switches confirm a rule when their tables hold it; what they cached of older ones they would look over
        within half a second."""
        self.wait_ready()
        run(["ovs-appctl", "--timeout=30", "revalidator/purge"])

    def _ask(self, method: str, name: str, body: bytes | None) -> None:
        request = urllib.request.Request(f"{self.url}/api/v1/policies/{name}", body, method=method)
        try:
            urllib.request.urlopen(request, timeout=60).close()
        except urllib.error.HTTPError as problem:
            answer = problem.read().decode(errors="replace")
            raise LabError(f"{method} policy {name}: {problem.code}: {answer}") from problem

    def _wait(self, path: str, what: str, seconds: float) -> None:
        def answers() -> bool:
            if not self.process.alive:
                raise LabError(f"the controller ended by itself:\n{self.process.output().strip()[-3000:]}")
            try:
                with urllib.request.urlopen(self.url + path, timeout=2) as reply:
                    return bool(reply.status == 200)
            except OSError:
                return False

        try:
            wait_for(what, answers, seconds, 0.1)
        except LabError as problem:
            raise LabError(f"{problem} (its log: {self.process.log})") from problem


def chainctl(*words: str, check: bool = True) -> str:
    """Run chainctl against the lab's controller and return what it wrote to stdout.

    Raises LabError with what it wrote to stderr when it fails and `check` is set.
    """
    environment: Mapping[str, str] = {**os.environ, "CHAINCTL_URL": ControllerProcess.url}
    done = subprocess.run(
        [sys.executable, "-m", "controller_app.cli.chainctl", *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    if check and done.returncode != 0:
        raise LabError(
            f"chainctl {' '.join(words)}: exit {done.returncode}: {(done.stderr or done.stdout).strip()}"
        )
    return done.stdout


def chainctl_json(*words: str) -> Any:
    """The same with `-o json`, parsed."""
    return json.loads(chainctl(*words, "-o", "json"))
