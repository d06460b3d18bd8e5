"""What a running lab has on this machine, written down so that `chainctl lab clean` finds it, and only it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

HOME = Path("/run/chainsteer/labs")
FILE = "state.json"


class LabError(RuntimeError):
    """A lab could not be built or run; the text says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process, told apart from later ones of the same number by its start (clock ticks since boot)."""

    name: str
    pid: int
    started: int

    @staticmethod
    def of(name: str, pid: int) -> ProcessId:
        return ProcessId(name, pid, _start_time(pid))

    @property
    def alive(self) -> bool:
        return self.started != 0 and _start_time(self.pid) == self.started


def _start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat (proc(5)); 0 when there is no such process, or only its zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] == "Z" else int(fields[19])


@dataclass
class LabState:
    """The record of one lab. Saved on every change, before anything else can go wrong."""

    directory: Path
    runner: ProcessId
    processes: list[ProcessId] = field(default_factory=list)
    namespaces: list[str] = field(default_factory=list)  # names in /run/netns, made by --keep

    @staticmethod
    def create(name: str) -> LabState:
        """A new directory /run/chainsteer/labs/NAME-…, readable by root alone, with the record in it."""
        HOME.mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=HOME))
        state = LabState(directory, ProcessId.of("lab", os.getpid()))
        state.save()
        return state

    @staticmethod
    def load(directory: Path) -> LabState:
        data = json.loads((directory / FILE).read_text(encoding="utf-8"))
        return LabState(
            directory,
            ProcessId(**data["runner"]),
            [ProcessId(**item) for item in data["processes"]],
            list(data["namespaces"]),
        )

    def save(self) -> None:
        data = {
            "runner": asdict(self.runner),
            "processes": [asdict(item) for item in self.processes],
            "namespaces": self.namespaces,
        }
        new = self.directory / (FILE + ".new")
        new.write_text(json.dumps(data), encoding="utf-8")
        new.replace(self.directory / FILE)

    def remember(self, name: str, pid: int) -> ProcessId:
        process = ProcessId.of(name, pid)
        self.processes.append(process)
        self.save()
        return process

    def remove(self) -> list[str]:
        """End what is left of this lab, newest first, and delete its directory. Returns what was found."""
        found = end(list(reversed(self.processes)))
        for name in self.namespaces:
            if Path("/run/netns", name).exists():
                subprocess.run(["ip", "netns", "delete", name], check=False)
                found.append(f"namespace {name}")
        shutil.rmtree(self.directory, ignore_errors=True)
        return found


def end(processes: list[ProcessId], patience: float = 3.0) -> list[str]:
    """Ask these processes to end, and make them end when `patience` seconds were not enough."""
    living = [process for process in processes if process.alive]
    names = [f"process {process.name} ({process.pid})" for process in living]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in living:
            if process.alive:
                os.kill(process.pid, number)
        deadline = time.monotonic() + patience
        while any(process.alive for process in living) and time.monotonic() < deadline:
            time.sleep(0.02)
        living = [process for process in living if process.alive]
    return names


def clean() -> list[str]:
    """Remove what labs left whose runner is gone or was told to keep them. Running labs are left alone.

    Returns one line for each thing done or left.
    """
    report = []
    for directory in sorted(HOME.glob("*/")) if HOME.exists() else []:
        try:
            state = LabState.load(directory)
        except (OSError, ValueError, KeyError, TypeError):
            # Its runner died between making the directory and writing the record: nothing runs in it yet.
            shutil.rmtree(directory, ignore_errors=True)
            report.append(f"{directory.name}: removed an empty record")
            continue
        if state.runner.alive:
            report.append(f"{directory.name}: is running (process {state.runner.pid}), left alone")
            continue
        found = state.remove()
        report.append(f"{directory.name}: removed {', '.join(found) if found else 'its record'}")
    return report
