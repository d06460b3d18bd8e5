"""Rules along a path: into its first function, from one to the next, copies for taps on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from controller_app.model.flow import Action, Clone, Move, SetField
from controller_app.pipeline import labels
from controller_app.pipeline.build import Rules, put, resubmit, write
from controller_app.pipeline.labels import IS_LABEL, both
from controller_app.pipeline.tables import (
    BASE,
    FROM,
    GATEWAY_MAC,
    IN_PORT_NONE,
    SERVICE_INDEX,
    TRANSPORT,
)
from controller_app.transports import TRANSPORTS

if TYPE_CHECKING:
    from controller_app.pipeline.views import ArmView, InstanceView, ListView, World

FIRST_INDEX = 255  # RFC 8300 2.3: what a service index starts with


def first_waypoint(view: ListView, path: int, backward: bool) -> int | None:
    """The first waypoint of a path that is not a tap; None when there is none, so that the packet goes
    straight to its exit."""
    for step in view.steps(path, backward):
        if step.mode.on_path:
            return step.entry(backward).waypoint
    return None


def leading_taps(view: ListView, path: int, backward: bool) -> tuple[InstanceView, ...]:
    """The taps that come before any other function, seen in this direction."""
    return _taps_before_next(view.steps(path, backward))


def _taps_before_next(steps: tuple[InstanceView, ...]) -> tuple[InstanceView, ...]:
    for position, step in enumerate(steps):
        if step.mode.on_path:
            return steps[:position]
    return steps


def following(
    steps: tuple[InstanceView, ...], instance: InstanceView
) -> tuple[tuple[InstanceView, ...], InstanceView | None]:
    """What comes after an instance: the taps before the next function, and that function (None: the exit)."""
    rest = steps[steps.index(instance) + 1 :]
    taps = _taps_before_next(rest)
    return taps, rest[len(taps)] if len(rest) > len(taps) else None


def tap_copies(taps: tuple[InstanceView, ...]) -> tuple[Action, ...]:
    """One copy on its way to each tap, by its label alone: Open vSwitch drops copy and packet where a service header
    is put on within a clone."""
    alone = put(TRANSPORT, 0)
    return tuple(Clone((alone, put(labels.WAYPOINT, tap.into.waypoint), resubmit("transit"))) for tap in taps)


def service_index(steps: tuple[InstanceView, ...], position: int) -> int:
    """The service index (RFC 8300 2.3) with which a packet goes to the function at a position: one less for
    each it met."""
    return FIRST_INDEX - sum(step.mode.on_path for step in steps[:position])


def serve(world: World, rules: Rules, instance: InstanceView, arm: ArmView) -> None:
    """What an arm's switch does for it."""
    if not instance.mode.on_path:
        rules.add("admission", "refuse", instance.owner, in_port=arm.port)
    instance.mode.serve(world, rules, instance, arm)


def restore(world: World, rules: Rules) -> None:
    """A frame gets back the address its sender wrote: the gateway's, or the host's."""
    rules.add(
        "restore",
        "exact",
        BASE,
        (write("eth_dst", GATEWAY_MAC),),
        "tap",
        eth_dst=both(IS_LABEL, labels.bits(labels.ROUTED, 1)),
    )
    for host in world.hosts.values():
        if host.mac is not None:
            rules.add(
                "restore",
                "exact",
                f"hosts/{host.host}",
                (write("eth_dst", host.mac),),
                "tap",
                eth_dst=both(IS_LABEL, labels.bits(labels.EXIT, host.waypoint), labels.bits(labels.ROUTED, 0)),
            )


def advance(
    objects: Mapping[str, int], view: ListView, path: int, backward: bool
) -> tuple[tuple[str, Rules], ...]:
    """From one function of a path to the next: rules, each with its switch. objects: as for `Rules`."""
    found: list[tuple[str, Rules]] = []
    steps = view.steps(path, backward)
    transport = TRANSPORTS[view.transport]
    for position, step in enumerate(steps):
        if not step.mode.on_path:
            continue
        taps, after = following(steps, step)
        onward = to_waypoint(after, backward)
        carried: tuple[Action, ...] = ()
        if transport.number:
            index = service_index(steps, position + 1)
            carried = put(TRANSPORT, transport.number), put(SERVICE_INDEX, index)
        arm = step.exit(backward)
        rules = Rules(arm.switch, objects)
        found.append((arm.switch, rules))
        rules.add(
            "advance",
            "exact",
            step.owner,
            (write_in_port_none(), *tap_copies(taps), *carried, onward, *answers_start(view, after, arm, backward)),
            "transit",
            reg6=labels.bits(FROM, arm.waypoint),
            eth_dst=both(
                IS_LABEL, labels.bits(labels.PATH, path), labels.bits(labels.BACKWARD, int(backward))
            ),
        )
    return tuple(found)


def answers_start(
    view: ListView, after: InstanceView | None, arm: ArmView, backward: bool
) -> tuple[Action, ...]:
    """Out of an arm behind which nothing follows: answers start from here, and the other edge remembers it."""
    return (put(labels.EXIT, arm.waypoint),) if after is None and view.sticky and not backward else ()


def to_waypoint(step: InstanceView | None, backward: bool) -> Action:
    """The label's next waypoint: a function's arm, or the exit."""
    if step is None:
        return Move(labels.EXIT, labels.WAYPOINT)
    return put(labels.WAYPOINT, step.entry(backward).waypoint)


def write_in_port_none() -> Action:
    """Let the packet leave by any port, also the one it came from (Open vSwitch drops that otherwise)."""
    return SetField("in_port", IN_PORT_NONE, 0xFFFF)
