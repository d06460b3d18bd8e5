"""Choosing once: the groups of an edge, and what it remembers of their choices."""

from __future__ import annotations

from collections.abc import Iterator

from controller_app.balancing.slots import service_slot
from controller_app.model.allocation import SLOTS
from controller_app.model.flow import (
    CONTROLLER,
    CT_TRK,
    Bucket,
    Ct,
    Group,
    Meter,
    MeterConfig,
    Move,
    Multipath,
    Output,
    SetField,
    SubField,
    ToGroup,
)
from controller_app.pipeline import labels
from controller_app.pipeline.build import Fields, Rules, put, resubmit
from controller_app.pipeline.cookies import GROUP_MARK
from controller_app.pipeline.functions import first_waypoint, leading_taps, tap_copies
from controller_app.pipeline.ids import aligned
from controller_app.pipeline.labels import both
from controller_app.pipeline.regions import port_masks
from controller_app.pipeline.tables import (
    ANSWERS_METER,
    ANSWERS_RATE,
    BACKWARD_REG,
    BASE,
    FROM,
    IP,
    IPV6,
    LIST,
    NUMBER,
    PROBE,
    RECALLED,
    RESUMED,
    SERVICE,
    SLOT,
    ZONE,
)
from controller_app.pipeline.views import ListView, ServiceView, World


def resume(world: World, rules: Rules, switch: str) -> None:
    """What came out of a function without its label has one now, and goes on from that function."""
    here = [(instance, arm) for instance in world.served for arm in instance.arms if arm.switch == switch]
    for instance, arm in here:
        for view in world.lists_through.get((instance.tenant, instance.function), ()):
            zone = world.zones.get((instance.into.waypoint, view.key))
            for eth_type in (IP, IPV6) if zone is not None else ():
                assert zone is not None
                rules.add(
                    "remember",
                    "known",
                    instance.owner,
                    (put(ZONE, zone), Ct(zone=zone, table=NUMBER["pinned-provider"])),
                    reg2=labels.bits(LIST, view.id),
                    reg6=labels.bits(FROM, arm.waypoint),
                    eth_type=eth_type,
                )
    if any(not instance.brings_label for instance, _ in here):
        resumed = labels.bits(RESUMED, 1)
        rules.add("copies", "trusted", BASE, goto="advance", reg6=resumed)
        # no chain of the policy in force: to where it was addressed
        rules.add("copies", "trusted", BASE, goto="transit", plus=1, reg6=resumed, eth_dst=labels.bits(labels.PATH, 0))


def lead(rules: Rules, view: ListView, path: int, backward: bool) -> None:
    """One path of a list at an edge: copies for the taps at its head."""
    taps = leading_taps(view, path, backward)
    if taps:
        rules.add(
            "copies",
            "exact",
            view.owner,
            tap_copies(taps),
            "transit",
            eth_dst=both(labels.bits(labels.PATH, path), labels.bits(labels.BACKWARD, int(backward))),
        )


def recall(rules: Rules, view: ListView) -> None:
    """A list at an edge: the paths that are taken again. Where nothing is remembered nothing is looked up either."""
    listed = labels.bits(LIST, view.id)
    if not view.sticky:
        rules.add("remember", "exact", view.owner, goto="choose", reg2=listed)
        return
    # a list of taps alone leaves the packet on its way to where it was addressed
    kept = labels.WAY if view.on_path else labels.TURN
    again = Move(SubField(RECALLED.field, RECALLED.offset, kept.bits), kept)
    at = RECALLED.offset + labels.BACKWARD.bits
    for value, mask in aligned(view.paths):
        rules.add("recalled", "exact", view.owner, (again,), "copies", reg2=listed, reg11=(value << at, mask << at))


def choice_name(key: str, backward: bool, service: str) -> str:
    """The name under which a group's number is allocated."""
    return f"{key}|{'back' if backward else ''}|{service}"


def group_id(number: int) -> int:
    """The OpenFlow id of an allocated group."""
    return GROUP_MARK << 24 | number


def always(rules: Rules) -> None:
    """What is the same wherever packets start, whatever the policy."""
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
    rules.add("recalled", "rest", BASE, goto="choose")
    for backward in (0, 1):
        rules.add(
            "pinned-path",
            "known",
            BASE,
            (Move(labels.CHOSEN_WAY, RECALLED),),
            "recalled",
            reg2=labels.bits(BACKWARD_REG, backward),
            ct_label=both(labels.bits(labels.CHOSEN_VALID, 1), labels.bits(labels.CHOSEN_BACKWARD, backward)),
        )
    path = SubField(RECALLED.field, RECALLED.offset + labels.BACKWARD.bits, labels.PATH.bits)
    waypoint = SubField(RECALLED.field, path.offset + path.bits, labels.WAYPOINT.bits)
    rules.add(
        "pinned-path",
        "learned",
        BASE,
        (put(RECALLED, 1), Move(labels.LEARNED_PATH, path), Move(labels.LEARNED_WAYPOINT, waypoint)),
        "recalled",
        reg2=labels.bits(BACKWARD_REG, 1),
        ct_label=labels.bits(labels.LEARNED_VALID, 1),
    )
    rules.add(
        "pinned-path",
        "known",
        BASE,
        goto="copies",
        plus=1,
        reg2=labels.bits(LIST, 0),
        ct_label=labels.bits(labels.CHOSEN_VALID, 1),
    )
    # a question of the controller's ends here: the label shows what was chosen
    for table in ("commit", "copies"):
        rules.add(table, "probe", BASE, (Output(CONTROLLER),), reg5=labels.bits(PROBE, 1))
    for version in (IP, IPV6):
        rules.add("reject", "rest", BASE, (Meter(ANSWERS_METER), Output(CONTROLLER)), eth_type=version)
    rules.meter(MeterConfig(ANSWERS_METER, ANSWERS_RATE, ANSWERS_RATE, packets=True))


def _choice(view: ListView | None, path: int, backward: bool, exit_waypoint: int | None) -> SetField:
    """The part of the label that one slot decides, as one run of bits."""
    parts = [labels.bits(labels.BACKWARD, int(backward)), labels.bits(labels.PATH, path)]
    first = first_waypoint(view, path, backward) if view is not None and path else None
    if exit_waypoint is not None:
        parts += [labels.bits(labels.EXIT, exit_waypoint)]
        first = exit_waypoint if first is None else first
    if first is not None:
        parts += [labels.bits(labels.WAYPOINT, first)]
    return SetField("eth_dst", *both(*parts))


def choose(
    rules: Rules, view: ListView | None, backward: bool, service: ServiceView | None, number: int, portable: bool
) -> None:
    """One choice that packets can need: which path of a list, which provider of a service, or both.

    number: of its group. portable: by a hash that every datapath computes alike, without a group.
    """
    owner = view.owner if view else f"services/{service.key}" if service else BASE
    fields: Fields = {
        "reg2": both(labels.bits(LIST, view.id if view else 0), labels.bits(BACKWARD_REG, int(backward))),
        "reg3": labels.bits(SERVICE, service.id if service else 0),
    }
    if view is not None and not view.slots and not view.free:
        rules.add("choose", "exact", owner, (), "reject" if view.on_failure == "reject" else None, **fields)
        return
    if service is not None and not service.slots:
        rules.add("choose", "exact", owner, **fields)  # nobody to choose: drop
        return
    after = "commit" if view is None or view.sticky else "copies"
    if service is None and view is not None and view.free:
        rules.add("choose", "exact", owner, (), "copies", **fields)
        return
    chosen = [_slot(view, backward, service, slot) for slot in range(SLOTS)]
    if portable:
        rules.add("choose", "exact", owner, (Multipath(SLOT),), "slot", **fields)
        for value, mask, what in _runs(chosen):
            rules.add("slot", "exact", owner, (what,), after, **fields, reg7=(value, mask))
        return
    onward = resubmit(after)
    group = Group(group_id(number), "select", tuple(Bucket((what, onward)) for what in chosen))
    rules.group(group, "choose")
    rules.add("choose", "exact", owner, (ToGroup(group.id),), **fields)


def _slot(view: ListView | None, backward: bool, service: ServiceView | None, slot: int) -> SetField:
    exit_waypoint = None
    if service is not None:
        exit_waypoint = service.providers[service.slots[service_slot(slot)]].waypoint
    return _choice(view, view.slots[slot] if view and view.slots else 0, backward, exit_waypoint)


def _runs(chosen: list[SetField]) -> Iterator[tuple[int, int, SetField]]:
    """Slots as (value, mask, what is chosen), aligned runs with the same choice together."""
    start = 0
    for slot in range(1, SLOTS + 1):
        if slot == SLOTS or chosen[slot] != chosen[start]:
            for value, mask in port_masks(start, slot - 1):
                yield value, mask & 0xFF, chosen[start]
            start = slot


def pin_providers(rules: Rules, service: ServiceView) -> None:
    """The providers of a service at an edge: taken again by those who took them."""
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
