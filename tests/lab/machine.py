"""What is on this machine: labs must leave it as they found it."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from mininet_scenarios.harness.state import FILE, HOME

LIMITS = (
    "net/core/rmem_max",
    "net/ipv4/neigh/default/gc_thresh3",
    "net/ipv4/ip_forward",
    "net/ipv6/conf/default/disable_ipv6",
)


@dataclass(frozen=True)
class Machine:
    """The machine's own interfaces and limits; and what is this process's: the processes it started, the
    network namespaces these are in, and records of labs. Somebody else's labs do not count."""

    interfaces: frozenset[str]
    limits: tuple[str, ...]
    processes: frozenset[str]
    namespaces: frozenset[str]
    records: frozenset[str]


def look() -> Machine:
    """Look around."""
    processes, namespaces = {}, set()
    for pid in _descendants(os.getpid()):
        try:
            processes[pid] = (
                Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
            namespaces.add(os.readlink(f"/proc/{pid}/ns/net"))
        except OSError:
            continue  # it ended while we looked
    return Machine(
        frozenset(os.listdir("/sys/class/net")),
        tuple(path.read_text() if (path := Path("/proc/sys", name)).exists() else "" for name in LIMITS),
        frozenset(f"{pid} {command}" for pid, command in processes.items()),
        frozenset(namespaces),
        frozenset(path.parent.name for path in HOME.glob(f"*/{FILE}") if _runner(path) == os.getpid()),
    )


def look_again(before: Machine, seconds: float = 5.0) -> Machine:
    """Look until it is as it was before, so many seconds at most: on a busy machine what was ended takes a while to be
    gone."""
    deadline = time.monotonic() + seconds
    while (now := look()) != before and time.monotonic() < deadline:
        time.sleep(0.1)
    return now


def _descendants(root: int) -> set[int]:
    """Every process below this one, those that detached themselves from its terminal included."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue  # it ended while we looked
            if state != "Z":  # it ended, and only its parent has not asked yet
                parents[int(entry.name)] = int(parent)
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root}


def _runner(record: Path) -> int:
    try:
        return int(json.loads(record.read_text(encoding="utf-8"))["runner"]["pid"])
    except OSError:
        return 0  # another lab's, removed while we looked
