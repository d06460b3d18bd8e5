"""What the machines that are service functions do with a frame handed to them, by the mode of the function.

Not a model of any program: of each mode what every program of that mode has in common. Each mode brings its own
(`Mode.plays`); this is what they share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from controller_app.model.policy import Policy
from controller_app.model.topology import Host, Topology
from controller_app.verification.conntrack import Connections
from controller_app.verification.packet import IPV4, IPV6, Packet, addresses, changed
from controller_app.verification.stations import Station, next_hop, stations


@dataclass(frozen=True, slots=True)
class Played:
    """What became of a frame: sent out of `arm` as `packet`; kept because it was for the machine itself (`own`);
    or nothing, for `reason`. `connections` is what is remembered afterwards; `translated` says that the packet
    now has other addresses."""

    connections: Connections
    arm: str | None = None
    packet: Packet | None = None
    reason: str = ""
    own: bool = False
    translated: bool = False


class Player(Protocol):
    """One machine."""

    @property
    def swallows(self) -> bool:
        """Whether it takes every frame and sends none on."""

    def play(self, frame: Packet, arm: str, connections: Connections) -> Played:
        """What it does with a frame that came in by an arm."""


def players(policy: Policy, topology: Topology) -> dict[str, Player]:
    """Host -> what it does, for every host that is an instance of a function."""
    from controller_app.modes import MODES

    known = stations(policy, topology)
    return {
        host.name: MODES[function.mode].plays(host, known)
        for tenant in policy.tenants.values() for function in tenant.functions.values()
        for instance in function.instances.values()
        if (host := topology.hosts.get(instance.host)) is not None
    }


def arms_of(host: Host, known: tuple[Station, ...]) -> dict[str, Station]:
    """The stations of a function's arms, by arm."""
    return {station.arm: station for station in known if station.host == host.name}


def refusal(arm: Station, frame: Packet) -> str | None:
    """Why a router does not take a frame."""
    if frame.get("eth_type") not in (IPV4, IPV6):
        return "it takes nothing but IP"
    if frame.get("eth_dst") != arm.mac:
        return f"it is not addressed to the MAC of {arm.host}"
    return None


def for_itself(arms: Mapping[str, Station], frame: Packet) -> bool:
    """Whether a frame is for one of its own addresses."""
    ends = addresses(frame)
    return ends is not None and any(station.reach(ends[1]) is not None for station in arms.values())


def routed(frame: Packet, station: Station, known: tuple[Station, ...]) -> Packet:
    """The frame as a router sends it out of an arm."""
    ends = addresses(frame)
    assert ends is not None and station.mac is not None
    return changed(frame, eth_src=station.mac, eth_dst=next_hop(known, station, ends[1]), ttl=frame["ttl"] - 1)
