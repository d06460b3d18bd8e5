"""Tunnels that do not take a full packet: its sender is told how large it may be, whatever the transport adds.

For every transport: connections work all the same, because both ends hear of it; and exactly the size that was told
passes, over IPv4 and IPv6.
"""

from __future__ import annotations

import re

from mininet_scenarios.harness.lab import Lab
from mininet_scenarios.transports import GENEVE, SERVERS, Check, every_transport, ping

TOPOLOGY = "narrow_tunnels.yaml"
POLICY = "narrow_tunnels.yaml"
__all__ = ["GENEVE", "POLICY", "TOPOLOGY", "run"]

NARROWEST = 1450  # bytes, by the topology


def run(lab: Lab) -> None:
    """The same checks for every transport."""
    every_transport(lab, told_sizes)


def told_sizes(lab: Lab, check: Check) -> None:
    for addresses in SERVERS.values():
        for address in addresses:
            full = ping(lab, address, 1500)
            told = re.fullmatch(r"too big, (\d+)", full)
            check(f"{address}: a packet of 1,500 bytes", full, f"too big, at most {NARROWEST}",
                  told is not None and int(told[1]) <= NARROWEST)  # fmt: skip
            if told is not None:
                size = int(told[1])
                check(f"{address}: that size, and one byte more",
                      f"{ping(lab, address, size)}; {ping(lab, address, size + 1)}", f"passed; {full}")  # fmt: skip
