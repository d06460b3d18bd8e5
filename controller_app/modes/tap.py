"""A tap gets a copy of the original frame at its place in the chain. It is never on the path: what it sends is
dropped, and its death is harmless."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from controller_app.model.flow import Output
from controller_app.model.topology import Host
from controller_app.modes.mode import ONE_ARM, Mode
from controller_app.modes.passing import at
from controller_app.pipeline import labels
from controller_app.pipeline.build import Rules, put
from controller_app.pipeline.tables import LEAVING
from controller_app.verification.conntrack import Connections
from controller_app.verification.packet import Packet
from controller_app.verification.players import Played, Player
from controller_app.verification.stations import Station

if TYPE_CHECKING:
    from controller_app.pipeline.views import ArmView, InstanceView, World


def _serve(world: World, rules: Rules, instance: InstanceView, arm: ArmView) -> None:
    owner = instance.owner
    rules.add("deliver", "exact", owner, (put(LEAVING, arm.waypoint),), "restore", eth_dst=at(arm))
    rules.add("tap", "exact", owner, (Output(arm.port),), reg4=labels.bits(LEAVING, arm.waypoint))


@dataclass(frozen=True, slots=True)
class Tap:
    """Takes frames and sends none."""

    swallows: bool = True

    def play(self, frame: Packet, arm: str, connections: Connections) -> Played:
        return Played(connections, reason="a tap keeps its copies")


def _plays(host: Host, known: tuple[Station, ...]) -> Player:
    del host, known
    return Tap()


MODE = Mode(
    word="tap",
    says="gets copies of the frames, never on the path",
    arms=ONE_ARM,
    plays=_plays,
    serve=_serve,
    on_path=False,
    brings_label=False,
)
