"""What modes share: handing a packet over at its waypoint, and knowing it again when it comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller_app.model.flow import Action, Ct, Move
from controller_app.pipeline import labels
from controller_app.pipeline.build import Fields, Rules, put
from controller_app.pipeline.labels import IS_LABEL, both
from controller_app.pipeline.tables import FROM, IP, IPV6, RESUMED, TENANT

if TYPE_CHECKING:
    from controller_app.pipeline.views import ArmView, InstanceView, World

# The path, for both directions, whichever came first. The exit only of what is sent to a service: it is the provider
# that was chosen. Everybody else is named by his address, also the client to whom answers go.
_BACK = Move(labels.PATH, labels.LEARNED_PATH), put(labels.LEARNED_VALID, 1), put(labels.CHOSEN_VALID, 1)
_REMEMBER = {
    False: (Move(labels.WAY, labels.CHOSEN_WAY), *_BACK),
    True: (Move(labels.PATH, labels.CHOSEN_PATH), *_BACK),
}
_REMEMBER_PROVIDER = (Move(labels.CHOSEN_IN_LABEL, labels.CHOSEN), *_BACK)


def at(arm: ArmView) -> tuple[int, int]:
    """Match: the label says this arm comes next."""
    return both(IS_LABEL, labels.bits(labels.WAYPOINT, arm.waypoint))


def hand_over(
    world: World,
    rules: Rules,
    instance: InstanceView,
    arm: ArmView,
    actions: tuple[Action, ...],
    goto: str | None = None,
) -> None:
    """At the arm's waypoint, run `actions`. Where a packet comes back without its label and the edges remember
    its path, its path is remembered here too."""
    rules.add("deliver", "exact", instance.owner, actions, goto, eth_dst=at(arm))
    if instance.brings_label:
        return
    for view in world.lists_through.get((instance.tenant, instance.function), ()):
        zone = world.zones.get((instance.into.waypoint, view.key))
        if zone is None:
            continue
        for path, steps in view.paths.items():
            if instance not in steps:
                continue
            for backward in (False, True):
                if instance.entry(backward) != arm:
                    continue
                chosen = labels.bits(labels.PATH, path), labels.bits(labels.BACKWARD, int(backward))
                for eth_type in (IP, IPV6):
                    rules.add(
                        "deliver",
                        "exact",
                        instance.owner,
                        (Ct(zone=zone, commit=True, exec=_REMEMBER[backward]), *actions),
                        goto,
                        plus=1,
                        eth_dst=both(at(arm), *chosen),
                        eth_type=eth_type,
                    )
                for ip in world.called_ips(view.key):
                    rules.add(
                        "deliver",
                        "exact",
                        instance.owner,
                        (Ct(zone=zone, commit=True, exec=_REMEMBER_PROVIDER), *actions),
                        goto,
                        plus=2,
                        eth_dst=both(at(arm), *chosen),
                        eth_type=IP if ip.version == 4 else IPV6,
                        **{f"ipv{ip.version}_dst": int(ip)},
                    )


def take_back_labelled(world: World, rules: Rules, instance: InstanceView, arm: ArmView) -> None:
    """What comes out with its label goes on; nothing else comes out."""
    del world
    go_on(rules, instance, arm)
    rules.add("admission", "refuse", instance.owner, in_port=arm.port)
    rules.add(
        "admission",
        "trusted",
        instance.owner,
        (put(FROM, arm.waypoint),),
        "branch",
        in_port=arm.port,
        eth_dst=IS_LABEL,
    )


def go_on(rules: Rules, instance: InstanceView, arm: ArmView) -> None:
    """What no classifier for what comes out of the function takes goes on along its path."""
    rules.add("branch", "learn", instance.owner, goto="advance", reg6=labels.bits(FROM, arm.waypoint))


def take_back_unlabelled(world: World, rules: Rules, instance: InstanceView, arm: ArmView) -> None:
    """What comes out is addressed and classified again. Nothing but IP comes out, and what the function says
    for itself (`edge.admit`)."""
    if not instance.mode.is_host:
        rules.add("admission", "refuse", instance.owner, in_port=arm.port)
    source: Fields = {"eth_src": arm.mac} if instance.mode.is_host and arm.mac is not None else {}
    known = put(TENANT, world.tenants[instance.tenant]), put(FROM, arm.waypoint), put(RESUMED, 1)
    for eth_type in (IP, IPV6):
        rules.add(
            "admission",
            "known" if instance.mode.is_host else "trusted",
            instance.owner,
            known,
            "addressing",
            in_port=arm.port,
            eth_type=eth_type,
            **source,
        )
