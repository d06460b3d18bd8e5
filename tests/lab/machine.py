"""What is on this machine: labs must leave it as they found it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mininet_scenarios.harness.state import HOME


@dataclass(frozen=True)
class Machine:
    """The machine's own interfaces and limits, named network namespaces, and what labs have: processes,
    the namespaces these are in, and records."""

    interfaces: frozenset[str]
    namespaces: frozenset[str]
    processes: frozenset[str]
    records: frozenset[str]
    limits: tuple[str, ...]


def look() -> Machine:
    """Look around. Of processes only those that a lab starts count: others come and go."""
    named = Path("/run/netns")
    namespaces = set(os.listdir(named)) if named.exists() else set()
    processes = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            namespace = os.readlink(entry / "ns/net")
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue  # it ended while we looked
        if any(
            word in command
            for word in (
                "mininet:",
                "chainsteer",
                "mininet_scenarios",
                "controller_app.cli.manager",
                "tcpdump",
                "ngrep",
            )
        ):
            processes.add(f"{entry.name} {command}")
            namespaces.add(namespace)
    limits = (
        "net/core/rmem_max",
        "net/ipv4/neigh/default/gc_thresh3",
        "net/ipv4/ip_forward",
        "net/ipv6/conf/default/disable_ipv6",
    )
    return Machine(
        frozenset(os.listdir("/sys/class/net")),
        frozenset(namespaces),
        frozenset(processes),
        frozenset(path.name for path in HOME.glob("*")) if HOME.exists() else frozenset(),
        tuple(path.read_text() if (path := Path("/proc/sys", name)).exists() else "" for name in limits),
    )
