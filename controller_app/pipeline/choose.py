"""Choosing once: the groups of an edge, and what it remembers of their choices."""

from __future__ import annotations

from controller_app.balancing.slots import service_slot
from controller_app.model.allocation import SLOTS
from controller_app.model.flow import (
    CONTROLLER,
    CT_TRK,
    Action,
    Bucket,
    Ct,
    Group,
    Move,
    Output,
    SetField,
    ToGroup,
)
from controller_app.pipeline import labels
from controller_app.pipeline.build import Fields, Rules, put, resubmit
from controller_app.pipeline.classify import Choices
from controller_app.pipeline.cookies import GROUP_MARK
from controller_app.pipeline.functions import first_waypoint, leading_taps, tap_copies
from controller_app.pipeline.labels import both
from controller_app.pipeline.tables import BACKWARD_REG, BASE, IP, IPV6, LIST, NUMBER, PROBE, SERVICE, ZONE
from controller_app.pipeline.world import ListView, ServiceView, World


def choose(world: World, rules: Rules, choices: Choices, groups: dict[str, int]) -> None:
    """Rules and groups for every choice that packets entering at this switch can need.

    groups: name of a choice (`choice_name`) -> allocated group number.
    """
    _base(rules)
    for key, backward, service_key in choices:
        view = world.lists[key] if key else None
        service = world.services[service_key] if service_key else None
        if view is None and service is None:
            continue
        _group(rules, view, backward, service, groups[choice_name(key, backward, service_key)])
    for key, backward in dict.fromkeys((key, backward) for key, backward, _ in choices if key):
        view = world.lists[key]
        owner = f"functions/{view.tenant}/{view.functions[0]}"
        direction = both(labels.bits(LIST, view.id), labels.bits(BACKWARD_REG, int(backward)))
        if view.sticky:
            for path in view.paths:
                _pin_path(rules, view, path, backward, direction, owner)
        else:
            rules.add("remember", "exact", owner, goto="choose", reg2=direction)
        for path in view.paths:
            taps = leading_taps(view, path, backward)
            if taps:
                rules.add(
                    "copies",
                    "exact",
                    owner,
                    tap_copies(taps),
                    "transit",
                    eth_dst=both(labels.bits(labels.PATH, path), labels.bits(labels.BACKWARD, int(backward))),
                )
    for service_key in dict.fromkeys(service for _, _, service in choices if service):
        _pin_providers(rules, world.services[service_key])


def choice_name(key: str, backward: bool, service: str) -> str:
    """The name under which a group's number is allocated."""
    return f"{key}|{'back' if backward else ''}|{service}"


def group_id(number: int) -> int:
    """The OpenFlow id of an allocated group."""
    return GROUP_MARK << 24 | number


def _base(rules: Rules) -> None:
    """What every edge does, whatever the policy."""
    rules.add(
        "remember", "exact", BASE, goto="copies", reg2=labels.bits(LIST, 0), reg3=labels.bits(SERVICE, 0)
    )
    for version in (IP, IPV6):
        # a provider's packets were looked up in `returning` already; asking twice would miss
        rules.add(
            "remember",
            "rest",
            BASE,
            (Ct(zone=ZONE, table=NUMBER["pinned-provider"]),),
            ct_state=(0, CT_TRK),
            eth_type=version,
        )
        rules.add(
            "commit",
            "rest",
            BASE,
            (
                Ct(
                    zone=ZONE,
                    commit=True,
                    exec=(Move(labels.CHOSEN_IN_LABEL, labels.CHOSEN), put(labels.CHOSEN_VALID, 1)),
                ),
            ),
            "copies",
            eth_type=version,
        )
    rules.add("remember", "rest", BASE, goto="pinned-provider", ct_state=(CT_TRK, CT_TRK))
    rules.add("pinned-provider", "rest", BASE, goto="choose")
    rules.add("pinned-provider", "exact", BASE, goto="pinned-path", reg3=labels.bits(SERVICE, 0))
    rules.add("pinned-path", "rest", BASE, goto="choose")
    rules.add(
        "pinned-path",
        "known",
        BASE,
        goto="copies",
        reg2=labels.bits(LIST, 0),
        ct_label=labels.bits(labels.CHOSEN_VALID, 1),
    )
    # a question of the controller's ends here: the label shows what was chosen
    for table in ("commit", "copies"):
        rules.add(table, "probe", BASE, (Output(CONTROLLER),), reg5=labels.bits(PROBE, 1))
    rules.add("copies", "rest", BASE, goto="transit")


def _choice(view: ListView | None, path: int, backward: bool, exit_waypoint: int | None) -> SetField:
    """The part of the label that one slot decides, as one run of bits."""
    parts = [labels.bits(labels.BACKWARD, int(backward)), labels.bits(labels.PATH, path)]
    first = first_waypoint(view, path, backward) if view is not None else None
    if exit_waypoint is not None:
        parts += [labels.bits(labels.EXIT, exit_waypoint)]
        first = exit_waypoint if first is None else first
    if first is not None:
        parts += [labels.bits(labels.WAYPOINT, first)]
    return SetField("eth_dst", *both(*parts))


def _group(
    rules: Rules, view: ListView | None, backward: bool, service: ServiceView | None, number: int
) -> None:
    owner = (
        f"functions/{view.tenant}/{view.functions[0]}"
        if view
        else f"services/{service.key}"
        if service
        else ""
    )
    fields: Fields = {
        "reg2": both(labels.bits(LIST, view.id if view else 0), labels.bits(BACKWARD_REG, int(backward))),
        "reg3": labels.bits(SERVICE, service.id if service else 0),
    }
    if (view is not None and not view.slots) or (service is not None and not service.slots):
        rules.add("choose", "exact", owner, **fields)  # nobody to choose: drop
        return
    after = resubmit("commit" if view is None or view.sticky else "copies")
    buckets = []
    for slot in range(SLOTS):
        path = view.slots[slot] if view else 0
        exit_waypoint = None
        if service is not None:
            exit_waypoint = service.providers[service.slots[service_slot(slot)]].waypoint
        buckets.append(Bucket((_choice(view, path, backward, exit_waypoint), after)))
    group = Group(group_id(number), "select", tuple(buckets))
    rules.group(group, "choose")
    rules.add("choose", "exact", owner, (ToGroup(group.id),), **fields)


def _pin_path(
    rules: Rules, view: ListView, path: int, backward: bool, direction: tuple[int, int], owner: str
) -> None:
    actions: tuple[Action, ...] = (_choice(view, path, backward, None),)
    chosen = both(labels.bits(labels.CHOSEN_VALID, 1), labels.bits(labels.CHOSEN_PATH, path))
    learned = both(
        labels.bits(labels.CHOSEN_VALID, 0),
        labels.bits(labels.LEARNED_VALID, 1),
        labels.bits(labels.LEARNED_PATH, path),
    )
    rules.add("pinned-path", "known", owner, actions, "copies", reg2=direction, ct_label=chosen)
    rules.add("pinned-path", "learned", owner, actions, "copies", reg2=direction, ct_label=learned)


def _pin_providers(rules: Rules, service: ServiceView) -> None:
    for waypoint in sorted({provider.waypoint for provider in service.providers.values()}):
        rules.add(
            "pinned-provider",
            "known",
            f"services/{service.key}",
            (put(labels.EXIT, waypoint), put(labels.WAYPOINT, waypoint)),
            "pinned-path",
            reg3=labels.bits(SERVICE, service.id),
            ct_label=both(labels.bits(labels.CHOSEN_VALID, 1), labels.bits(labels.CHOSEN_EXIT, waypoint)),
        )
