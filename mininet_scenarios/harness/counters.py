"""How many packets each switch port received and sent, and what changed between two readings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mininet_scenarios.harness.ovs import OPENFLOW
from mininet_scenarios.harness.processes import run


class Count(NamedTuple):
    """Packets through one port, as the switch sees it: `received` came from outside, `sent` went out."""

    received: int
    sent: int


Counters = Mapping[tuple[str, int], Count]  # by switch and port number

_PORT = re.compile(r"port\s+\"?(?P<port>\d+)\"?:\s+rx pkts=(?P<rx>\d+).*?tx pkts=(?P<tx>\d+)", re.DOTALL)


def read(switches: Iterable[str]) -> Counters:
    """Read every port's counters from Open vSwitch."""
    found = {}
    for switch in switches:
        text = run(["ovs-ofctl", "-O", OPENFLOW, "dump-ports", switch])
        for item in _PORT.finditer(text):
            found[switch, int(item["port"])] = Count(int(item["rx"]), int(item["tx"]))
    return found


def difference(before: Counters, after: Counters) -> Counters:
    """What each port counted in between. A port that appeared counts from zero."""
    zero = Count(0, 0)
    return {
        port: Count(now.received - before.get(port, zero).received, now.sent - before.get(port, zero).sent)
        for port, now in after.items()
    }
