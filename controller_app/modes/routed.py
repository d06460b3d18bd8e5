"""A router with one arm or two: packets are sent to its MAC address, and it sends them on from there.

It decrements TTL, asks for addresses and answers traceroute like any router, so it is a host of its network as
well: what it sends from its own addresses is its own. What it sends for others has lost its label and is
classified again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from controller_app.model.flow import Output
from controller_app.model.topology import Host
from controller_app.modes.mode import ONE_ARM, TWO_ARMS, Mode
from controller_app.modes.passing import hand_over, take_back_unlabelled
from controller_app.pipeline.build import Rules, write
from controller_app.verification.conntrack import Connections
from controller_app.verification.packet import Packet
from controller_app.verification.players import Played, Player, arms_of, for_itself, refusal, routed
from controller_app.verification.stations import Station

if TYPE_CHECKING:
    from controller_app.pipeline.views import ArmView, InstanceView, World


def serve_by_mac(world: World, rules: Rules, instance: InstanceView, arm: ArmView) -> None:
    """In to the arm's MAC address; what comes back is known by its addresses."""
    if arm.mac is not None:
        hand_over(world, rules, instance, arm, (write("eth_dst", arm.mac), Output(arm.port)))
    take_back_unlabelled(world, rules, instance, arm)


@dataclass(frozen=True, slots=True)
class Routed:
    """A router: takes IP frames addressed to its MAC, and sends them on with TTL one lower."""

    arms: Mapping[str, Station]
    known: tuple[Station, ...]
    swallows: bool = False

    def play(self, frame: Packet, arm: str, connections: Connections) -> Played:
        refused = refusal(self.arms[arm], frame)
        if refused is not None:
            return Played(connections, reason=refused)
        if for_itself(self.arms, frame):
            return Played(connections, own=True)
        if frame.get("ttl", 0) <= 1:
            return Played(connections, reason="its TTL is used up, as its sender is told")
        leaving = self.arms[next((name for name in self.arms if name != arm), arm)]
        return Played(connections, leaving.arm, routed(frame, leaving, self.known))


def _plays(host: Host, known: tuple[Station, ...]) -> Player:
    return Routed(arms_of(host, known), known)


MODE = Mode(
    word="routed",
    says="a router, addressed by its MAC, with one arm or two",
    arms=ONE_ARM | TWO_ARMS,
    plays=_plays,
    serve=serve_by_mac,
    brings_label=False,
    is_host=True,
    exempt=True,
    needs_mac=True,
)
