"""Rules at a function: in by one arm, out by the other, on to the next waypoint; copies for taps."""

from __future__ import annotations

from controller_app.model.flow import Action, Clone, Move, Output, SetField
from controller_app.pipeline import labels
from controller_app.pipeline.build import Rules, put, resubmit, write
from controller_app.pipeline.labels import IS_LABEL, both
from controller_app.pipeline.tables import BASE, GATEWAY_MAC, IN_PORT_NONE, LEAVING
from controller_app.pipeline.world import ArmView, InstanceView, ListView, World


def entry(step: InstanceView, backward: bool) -> ArmView:
    """The arm by which a packet enters: `in` forward, `out` backward."""
    return step.out if backward and step.out is not None else step.into


def first_waypoint(view: ListView, path: int, backward: bool) -> int | None:
    """The first waypoint of a path that is not a tap; None when there is none, so that the packet goes
    straight to its exit."""
    for step in view.steps(path, backward):
        if not step.tap:
            return entry(step, backward).waypoint
    return None


def leading_taps(view: ListView, path: int, backward: bool) -> tuple[InstanceView, ...]:
    """The taps that come before any other function, seen in this direction."""
    return _taps_before_next(view.steps(path, backward))


def _taps_before_next(steps: tuple[InstanceView, ...]) -> tuple[InstanceView, ...]:
    for position, step in enumerate(steps):
        if not step.tap:
            return steps[:position]
    return steps


def tap_copies(taps: tuple[InstanceView, ...]) -> tuple[Action, ...]:
    """One copy on its way to each tap."""
    return tuple(Clone((put(labels.WAYPOINT, tap.into.waypoint), resubmit("transit"))) for tap in taps)


def serve_functions(world: World, rules: Rules, switch: str) -> None:
    """Everything a switch does for the function instances attached to it."""
    for (tenant, function), instances in world.instances.items():
        owner = f"functions/{tenant}/{function}"
        for instance in instances:
            for arm in (instance.into, instance.out):
                if arm is None or arm.switch != switch:
                    continue
                rules.add("admission", "refuse", owner, in_port=arm.port)  # only what was steered to it
                if instance.tap:
                    _serve_tap(rules, owner, arm)
                    continue
                rules.add("admission", "trusted", owner, goto="advance", in_port=arm.port, eth_dst=IS_LABEL)
                rules.add(
                    "deliver",
                    "exact",
                    owner,
                    (Output(arm.port),),
                    eth_dst=both(IS_LABEL, labels.bits(labels.WAYPOINT, arm.waypoint)),
                )
    for view in world.lists.values():
        for path in view.paths:
            for backward in (False, True):
                _advance(rules, view, path, backward, switch)


def _serve_tap(rules: Rules, owner: str, arm: ArmView) -> None:
    rules.add(
        "deliver",
        "exact",
        owner,
        (put(LEAVING, arm.waypoint),),
        "restore",
        eth_dst=both(IS_LABEL, labels.bits(labels.WAYPOINT, arm.waypoint)),
    )
    rules.add("tap", "exact", owner, (Output(arm.port),), reg4=labels.bits(LEAVING, arm.waypoint))


def restore(world: World, rules: Rules, switch: str) -> None:
    """At a tap's switch a copy gets back the address its sender wrote: the gateway's, or the host's."""
    if not any(
        instance.tap and instance.into.switch == switch
        for instances in world.instances.values()
        for instance in instances
    ):
        return
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
                f"hosts/{host.name}",
                (write("eth_dst", host.mac),),
                "tap",
                eth_dst=both(
                    IS_LABEL, labels.bits(labels.EXIT, host.waypoint), labels.bits(labels.ROUTED, 0)
                ),
            )


def _advance(rules: Rules, view: ListView, path: int, backward: bool, switch: str) -> None:
    steps = view.steps(path, backward)
    for position, step in enumerate(steps):
        if step.tap:
            continue
        exit_arm = entry(step, not backward)  # it comes out where the other direction goes in
        if exit_arm.switch != switch:
            continue
        rest = steps[position + 1 :]
        taps = _taps_before_next(rest)
        following = rest[len(taps) :]
        onward: Action = (
            put(labels.WAYPOINT, entry(following[0], backward).waypoint)
            if following
            else Move(labels.EXIT, labels.WAYPOINT)
        )
        rules.add(
            "advance",
            "exact",
            f"functions/{view.tenant}/{step.function}",
            (write_in_port_none(), *tap_copies(taps), onward),
            "transit",
            in_port=exit_arm.port,
            eth_dst=both(
                IS_LABEL, labels.bits(labels.PATH, path), labels.bits(labels.BACKWARD, int(backward))
            ),
        )


def write_in_port_none() -> Action:
    """Let the packet leave by any port, also the one it came from (Open vSwitch drops that otherwise)."""
    return SetField("in_port", IN_PORT_NONE, 0xFFFF)
