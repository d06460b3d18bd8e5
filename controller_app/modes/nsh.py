"""A function that speaks NSH itself (RFC 8300): it gets the frame with its service header and gives it back with the
service index one less.

Where the chain's transport is NSH too, the header it came with goes in and comes out again, TTL and metadata with
it; otherwise it gets one here and loses it after. What it gives back for a path it is not on, or without having
decremented, is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from controller_app.model.flow import CONTROLLER, Action, DecapNsh, DecNshTtl, Move, Output
from controller_app.model.topology import Host
from controller_app.modes.mode import ONE_ARM, TWO_ARMS, Mode
from controller_app.modes.passing import at, go_on
from controller_app.pipeline import labels
from controller_app.pipeline.build import Fields, Rules, put, resubmit, write
from controller_app.pipeline.functions import (
    answers_start,
    following,
    service_index,
    to_waypoint,
    write_in_port_none,
)
from controller_app.pipeline.labels import IS_WRAPPED, both, set_prefix
from controller_app.pipeline.tables import ARP, FROM, GATEWAY_MAC
from controller_app.transports.nsh import CONTEXT, LOW, NSH, WRAP
from controller_app.verification.conntrack import Connections
from controller_app.verification.packet import Packet, mac_int
from controller_app.verification.players import Played, Player
from controller_app.verification.stations import Station

if TYPE_CHECKING:
    from controller_app.pipeline.views import ArmView, InstanceView, ListView, World

BROADCAST = 0xFF_FF_FF_FF_FF_FF


def _serve(world: World, rules: Rules, instance: InstanceView, arm: ArmView) -> None:
    owner = instance.owner
    addressed = write("eth_src", GATEWAY_MAC), write("eth_dst", BROADCAST if arm.mac is None else arm.mac)
    go_on(rules, instance, arm)
    rules.add("admission", "refuse", owner, in_port=arm.port)
    if arm.mac is None:  # what it answers when it is asked for it; till then frames go to everybody's
        rules.add("admission", "refuse", owner, (Output(CONTROLLER),), plus=1, in_port=arm.port, eth_type=ARP)
    rules.add("admission", "trusted", owner, (put(FROM, arm.waypoint),), "nsh", in_port=arm.port, eth_type=NSH)
    came_wrapped = both(IS_WRAPPED, labels.bits(labels.WAYPOINT, arm.waypoint))
    into: tuple[Action, ...] = (*addressed, Output(arm.port))
    rules.add("unwrap", "exact", owner, (DecNshTtl(), *into), plus=1, eth_type=NSH, eth_dst=came_wrapped)
    for view in world.lists_through.get((instance.tenant, instance.function), ()):
        for path, steps in view.paths.items():
            if instance not in steps:
                continue
            for backward in (False, True):
                ordered = view.steps(path, backward)
                index = service_index(ordered, ordered.index(instance))
                if instance.entry(backward) == arm:
                    chosen = labels.bits(labels.PATH, path), labels.bits(labels.BACKWARD, int(backward))
                    rules.add("deliver", "exact", owner, (*WRAP, _index(index), *into), eth_dst=both(at(arm), *chosen))
                if instance.exit(backward) == arm:
                    _take_back(world, rules, instance, arm, view, path, backward, index - 1)


def _index(index: int) -> Action:
    return write("nsh_si", index)


def _take_back(
    world: World,
    rules: Rules,
    instance: InstanceView,
    arm: ArmView,
    view: ListView,
    path: int,
    backward: bool,
    index: int,
) -> None:
    taps, after = following(view.steps(path, backward), instance)
    matched: Fields = {
        "reg6": labels.bits(FROM, arm.waypoint),
        "eth_type": NSH,
        "nsh_spi": path << 1 | backward,
        "nsh_si": index,
    }
    if view.transport == "nsh" and not taps and not world.branches(instance):
        # the label from the context header, with its next waypoint
        back = Move(CONTEXT, LOW), set_prefix(IS_WRAPPED), to_waypoint(after, backward), write_in_port_none()
        starts = answers_start(view, after, arm, backward)
        rules.add("nsh", "exact", instance.owner, (*back, *starts), "unwrap", **matched)
        return
    rules.add("nsh", "exact", instance.owner, (DecapNsh(), resubmit("branch")), **matched)


@dataclass(frozen=True, slots=True)
class Nsh:
    """Speaks NSH (RFC 8300): sends a frame back to who sent it with the service index one lower, by its other
    arm if it has one."""

    arms: Mapping[str, int | None]  # arm -> MAC
    swallows: bool = False

    def play(self, frame: Packet, arm: str, connections: Connections) -> Played:
        if frame.get("eth_type") != NSH:
            return Played(connections, reason="it takes nothing but NSH")
        if frame.get("nsh_si", 0) <= 1:
            return Played(connections, reason="its service index is used up")
        leaving = next((name for name in self.arms if name != arm), arm)
        mac = self.arms[leaving]
        sent = {**frame, "nsh_si": frame["nsh_si"] - 1, "eth_dst": frame["eth_src"],
                "eth_src": frame["eth_dst"] if mac is None else mac}
        return Played(connections, leaving, sent)


def _plays(host: Host, known: tuple[Station, ...]) -> Player:
    del known
    return Nsh({arm: None if (mac := host.arm_mac(arm)) is None else mac_int(mac) for arm in host.attach})


MODE = Mode(
    word="nsh",
    says="speaks NSH (RFC 8300) itself, with one arm or two",
    arms=ONE_ARM | TWO_ARMS,
    plays=_plays,
    serve=_serve,
)
