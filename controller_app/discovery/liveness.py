"""Ports that a switch holds for dead while their cable looks well: what BFD or CFM found, on a tunnel for instance.

OFPPS_LIVE (OpenFlow 1.3.5, 7.2.1) says that a port may be taken by fast-failover groups. Open vSwitch sets it for every
port that works, and clears it with what it monitors; others may never set it. So its absence says something of a switch
that has set it for any port before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from controller_app.discovery.ports import Port

LIVE = 1 << 2  # OFPPS_LIVE


class Liveness:
    """What switches told of their ports' liveness."""

    def __init__(self) -> None:
        self._telling: set[int] = set()

    def described(self, dpid: int, ports: Iterable[Port]) -> list[Port]:
        """The ports of a switch, `up` only where they are live as well."""
        found = list(ports)
        if any(port.live for port in found):
            self._telling.add(dpid)
        if dpid not in self._telling:
            return found
        return [replace(port, up=port.up and port.live) for port in found]
