"""Asking a switch what it would do with a packet, without sending it anywhere.

The controller sends the packet out into the pipeline with one register bit set. After the switch has hashed
it and chosen, the packet comes back with the label it was given, and nothing else happens: no copy, no
commit, no delivery.
"""

from __future__ import annotations

from controller_app.model.allocation import Allocation
from controller_app.model.flow import Action
from controller_app.model.topology import Topology
from controller_app.pipeline.build import put, resubmit
from controller_app.pipeline.labels import Label
from controller_app.pipeline.tables import NUMBER, PROBE

REPLY_TABLES = frozenset((NUMBER["commit"], NUMBER["copies"]))


def probe_packet_out(topology: Topology, host: str) -> tuple[str, int, tuple[Action, ...]]:
    """Where to send a question about a packet of this host: (switch, in_port, actions of the packet-out)."""
    end = next(iter(topology.hosts[host].attach.values()))
    assert isinstance(end.port, int)
    return end.switch, end.port, (put(PROBE, 1), resubmit("admission"))


def read_probe(frame: bytes) -> Label | None:
    """The answer: the label in the returned frame's destination MAC."""
    return Label.read(int.from_bytes(frame[:6], "big"))


def instances_of(path: int, allocation: Allocation) -> tuple[str, tuple[str, ...]] | None:
    """The list of functions (its key) and the instance names that a path id stands for."""
    for key, numbers in allocation.paths.items():
        for names, number in numbers.items():
            if number == path:
                return key, tuple(name.partition("@")[0] for name in names.split(","))
    return None


def host_at(waypoint: int, allocation: Allocation) -> str | None:
    """The host (or `host:arm`) that a waypoint stands for."""
    for name, number in allocation.waypoints.items():
        if number == waypoint:
            return name.partition(":")[2]
    return None
