"""A bump in the wire with two arms: a frame goes in by one and comes out of the other, unchanged.

With `handover: label` it sees the label as destination MAC, which brings the way back with it. With `handover:
original` it sees the MAC the sender wrote, for functions that check it, and what comes out is classified again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from controller_app.model.flow import Output
from controller_app.model.topology import Host
from controller_app.modes.mode import TWO_ARMS, Mode
from controller_app.modes.passing import hand_over, take_back_labelled, take_back_unlabelled
from controller_app.pipeline.build import Rules, put
from controller_app.pipeline.tables import LEAVING
from controller_app.verification.conntrack import Connections
from controller_app.verification.packet import Packet
from controller_app.verification.players import Played, Player
from controller_app.verification.stations import Station

if TYPE_CHECKING:
    from controller_app.pipeline.views import ArmView, InstanceView, World


def _serve(world: World, rules: Rules, instance: InstanceView, arm: ArmView) -> None:
    if instance.brings_label:
        hand_over(world, rules, instance, arm, (Output(arm.port),))
        take_back_labelled(world, rules, instance, arm)
    else:
        # `restore` puts the original address back, as it does for taps
        hand_over(world, rules, instance, arm, (put(LEAVING, arm.waypoint),), goto="restore")
        rules.add("tap", "exact", instance.owner, (Output(arm.port),), reg4=(arm.waypoint, 0xFFFF))
        take_back_unlabelled(world, rules, instance, arm)


@dataclass(frozen=True, slots=True)
class Transparent:
    """Sends every frame on as it came: out of the other of its two arms."""

    arms: tuple[str, ...] = ("in", "out")
    swallows: bool = False

    def play(self, frame: Packet, arm: str, connections: Connections) -> Played:
        others = [name for name in self.arms if name != arm]
        if len(others) != 1:
            return Played(connections, reason="it has no other arm to send it on")
        return Played(connections, others[0], frame)


def _plays(host: Host, known: tuple[Station, ...]) -> Player:
    del known
    return Transparent(tuple(host.attach))


MODE = Mode(
    word="transparent",
    says="a bump in the wire with two arms",
    arms=TWO_ARMS,
    plays=_plays,
    serve=_serve,
)
