"""Whether hosts were touched: their addresses and routes before and after."""

from __future__ import annotations

from collections.abc import Mapping

from mininet_scenarios.harness.lab import Lab


def routes(lab: Lab) -> dict[str, str]:
    """Addresses, routes and routing rules of every host, but for what the kernel makes itself (link-local ones, which
    come a while after a cable). What a host learned about its neighbours is not configuration."""
    return {
        name: "\n".join(
            line
            for words in (("-o", "addr", "show", "scope", "global"), ("route", "show", "table", "all"), ("-6", "route"),
                          ("rule",), ("-6", "rule"))
            for line in lab.network.on(name, "ip", *words).splitlines()
            if not line.startswith(("fe80:", "multicast"))
        )
        for name in lab.topology.hosts
    }  # fmt: skip


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Names of the hosts that differ, or `none`."""
    return ", ".join(name for name in before if before[name] != after[name]) or "none"
