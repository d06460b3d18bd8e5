"""Which routers a connection passes: traceroutes from a host, each following one connection."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from mininet_scenarios.harness.net import LabNetwork
from mininet_scenarios.harness.traffic import PROGRAMS, PYTHON

Hops = list[str | None]  # who answered, hop by hop; None for a hop where nobody did


class Trace(NamedTuple):
    """One traceroute. `port` should be closed at the destination."""

    to: str
    protocol: str = "udp"  # or tcp
    source_port: int = 33001
    port: int = 33434


def trace(network: LabNetwork, host: str, to: str, protocol: str = "udp", source_port: int = 33001,
          port: int = 33434) -> Hops:  # fmt: skip
    """One traceroute from a host."""
    return traces(network, host, [Trace(to, protocol, source_port, port)])[0]


def traces(
    network: LabNetwork, host: str, wanted: Iterable[Trace], most: int = 6, timeout: float = 1.0
) -> list[Hops]:
    """Traceroutes from a host, one after the other. `timeout` is in seconds for each of at most `most` hops."""
    plan: list[dict[str, Any]] = [{**item._asdict(), "most": most, "timeout": timeout} for item in wanted]
    text = network.on(host, *PYTHON, str(PROGRAMS / "trace_hops.py"), json.dumps(plan), timeout=300.0)
    found: list[Hops] = json.loads(text)
    return found
