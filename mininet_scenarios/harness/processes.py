"""The lab's processes: started in a node's namespace or the lab's own, on record, ended at the end."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mininet_scenarios.harness.state import LabError, LabState, ProcessId, end


def wait_for(what: str, condition: Callable[[], bool], seconds: float = 10.0, step: float = 0.05) -> None:
    """Wait until the condition holds. Raises LabError naming `what` when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"waited {seconds:g} s in vain for: {what}")
        time.sleep(step)


def inside(pid: int | None, command: Sequence[str]) -> list[str]:
    """The command as it has to be called to run in the namespaces of process `pid` (None: here)."""
    return list(command) if pid is None else ["mnexec", "-a", str(pid), *command]


def run(
    command: Sequence[str], pid: int | None = None, stdin: str | None = None, timeout: float = 60.0
) -> str:
    """Run a command to its end and return what it printed. Raises LabError with its complaint if it fails."""
    done = subprocess.run(
        inside(pid, command), input=stdin, capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode != 0:
        complaint = (done.stderr or done.stdout).strip()
        raise LabError(f"{' '.join(command)}: exit {done.returncode}: {complaint}")
    return done.stdout


class Process:
    """A long-running program of the lab. Its output goes to `log`."""

    def __init__(self, identity: ProcessId, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.identity, self.popen, self.log = identity, popen, log

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for_output(self, text: str, seconds: float = 10.0) -> None:
        def said_or_dead() -> bool:
            return text in self.output() or not self.alive

        wait_for(f"{self.identity.name} to say {text!r} (see {self.log})", said_or_dead, seconds)
        if text not in self.output():
            raise LabError(f"{self.identity.name} ended at once: {self.output().strip()[-2000:]}")

    def kill(self) -> None:
        """End it as a crash would: SIGKILL, no last words."""
        self.popen.kill()
        self.popen.wait()

    def stop(self) -> None:
        end([self.identity])
        self.popen.wait()


class Processes:
    """Starts programs and remembers them."""

    def __init__(self, state: LabState, logs: Path) -> None:
        self._state, self.logs, self._running = state, logs, list[Process]()

    def start(
        self,
        name: str,
        command: Sequence[str],
        pid: int | None = None,
        environment: Mapping[str, str] | None = None,
        keep_fds: Sequence[int] = (),
    ) -> Process:
        """Start a program, detached from the terminal so that Ctrl-C reaches the lab alone."""
        log = self.logs / f"{name}.log"
        with open(log, "ab") as output:
            popen = subprocess.Popen(
                inside(pid, command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
                pass_fds=tuple(keep_fds),
            )
        process = Process(self._state.remember(name, popen.pid), popen, log)
        self._running.append(process)
        return process

    def stop_all(self) -> None:
        """End every program that still runs, the newest first."""
        end([process.identity for process in reversed(self._running)])
        for process in self._running:
            process.popen.wait()
        self._running.clear()
