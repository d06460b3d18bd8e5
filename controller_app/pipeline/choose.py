"""Choosing once: the groups of an edge, and what it remembers of their choices."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TypeVar

from controller_app.balancing.slots import service_slot
from controller_app.model.allocation import SLOTS
from controller_app.model.flow import (
    CONTROLLER,
    CT_INV,
    CT_NEW,
    CT_TRK,
    TCP_ACK,
    TCP_SYN,
    Action,
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
from controller_app.pipeline.regions import port_masks, protocol_number
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
    SERVING,
    SLOT,
    ZONE,
)
from controller_app.pipeline.views import ListView, ServiceView, World

T = TypeVar("T")


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


def recall(rules: Rules, view: ListView, affinity: bool) -> None:
    """A list at an edge: the paths that are taken again. Where nothing is remembered nothing is looked up either.
    affinity: there are services that choose by their clients' addresses, before the list does."""
    if not view.sticky:
        listed = labels.bits(LIST, view.id)
        rules.add("remember", "exact", view.owner, goto="pinned-provider" if affinity else "choose", reg2=listed)
        return
    # where every function is skipped, the way without any
    take_again(rules, view, tuple(view.paths) or ((0,) if view.free else ()), {})


def take_again(rules: Rules, view: ListView, paths: tuple[int, ...], those: Fields) -> None:
    """These paths of a list, of those packets."""
    # a list of taps alone leaves the packet on its way to where it was addressed
    kept = labels.WAY if view.on_path else labels.TURN
    again = Move(SubField(RECALLED.field, RECALLED.offset, kept.bits), kept)
    at, listed = RECALLED.offset + labels.BACKWARD.bits, labels.bits(LIST, view.id)
    for value, mask in aligned(paths):
        remembered = value << at, mask << at
        rules.add("recalled", "exact", view.owner, (again,), "copies", reg2=listed, reg11=remembered, **those)


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
    for version in (IP, IPV6):
        for unknown in (CT_NEW, CT_INV):  # a provider's packet that no client of its service is answered with
            rules.add(
                "remember",
                "rest",
                BASE,
                (put(SERVING, 0), Ct(zone=ZONE, table=NUMBER["pinned-provider"])),
                plus=1,
                ct_state=(CT_TRK | unknown, CT_TRK | unknown),
                reg1=labels.bits(SERVING, 1),
                eth_type=version,
            )
    rules.add("pinned-provider", "rest", BASE, goto="choose")
    # what is left of a connection that another provider knows nothing of
    tcp = protocol_number("tcp", 4)
    for version, flags in product((IP, IPV6), ((0, TCP_SYN), (TCP_SYN | TCP_ACK, TCP_SYN | TCP_ACK))):
        rules.add("left-behind", "known", BASE, goto="reject", eth_type=version, ip_proto=tcp, tcp_flags=flags)
    rules.add("left-behind", "rest", BASE, goto="choose")
    # who is no provider any more is left out in `forget_providers`
    rules.add(
        "pinned-provider",
        "known",
        BASE,
        # whatever becomes of its path, it stays with its provider
        (Move(labels.CHOSEN_EXIT, labels.EXIT), Move(labels.CHOSEN_EXIT, labels.WAYPOINT), put(SERVICE, 0)),
        "pinned-path",
        ct_label=labels.bits(labels.CHOSEN_VALID, 1),
    )
    rules.add(  # a path was remembered, and no provider
        "pinned-provider",
        "known",
        BASE,
        goto="choose",
        plus=1,
        ct_label=both(labels.bits(labels.CHOSEN_VALID, 1), labels.bits(labels.CHOSEN_EXIT, 0)),
    )
    rules.add("pinned-provider", "exact", BASE, goto="pinned-path", reg3=labels.bits(SERVICE, 0))
    nothing: Fields = {"reg2": labels.bits(LIST, 0), "reg3": labels.bits(SERVICE, 0)}
    rules.add("choose", "exact", BASE, goto="commit", **nothing)  # its provider is chosen, and it has no path
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


def slot_action(view: ListView | None, path: int, backward: bool, exit_waypoint: int | None) -> SetField:
    """The part of the label that one slot decides, as one run of bits."""
    parts = [labels.bits(labels.BACKWARD, int(backward)), labels.bits(labels.PATH, path)]
    first = first_waypoint(view, path, backward) if view is not None and path else None
    if exit_waypoint is not None:
        parts += [labels.bits(labels.EXIT, exit_waypoint)]
        first = exit_waypoint if first is None else first
    if first is not None:
        parts += [labels.bits(labels.WAYPOINT, first)]
    return SetField("eth_dst", *both(*parts))


class Shares:
    """The buckets of choices, for as long as the lists are the same: many edges share slots in the same way, and many
    slots are the same."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, bool, int], Bucket] = {}
        self._rows: dict[tuple[str, bool, tuple[int | None, ...]], tuple[Bucket, ...]] = {}

    def of(self, view: ListView, backward: bool, paths: tuple[int | None, ...]) -> tuple[Bucket, ...]:
        """What a list's group does in each slot. paths: of the slots."""
        key = view.key, backward, paths
        if key not in self._rows:
            made = {path: self._bucket(view, backward, path) for path in dict.fromkeys(paths)}
            self._rows[key] = tuple(made[path] for path in paths)
        return self._rows[key]

    def _bucket(self, view: ListView, backward: bool, path: int | None) -> Bucket:
        if path is None:
            return Bucket(())
        key = view.key, backward, path
        if key not in self._made:
            onward = resubmit("commit" if view.sticky else "copies")
            self._made[key] = Bucket((slot_action(view, path, backward, None), onward))
        return self._made[key]


def choose(
    rules: Rules,
    view: ListView | None,
    backward: bool,
    service: ServiceView | None,
    slots: tuple[str, ...],
    paths: tuple[int | None, ...],
    number: int,
    portable: bool,
    towards: tuple[Fields, ...] = ({},),
    plus: int = 0,
    shares: Shares | None = None,
) -> None:
    """One choice that packets can need: which path of a list, which provider of a service, or both.

    slots: of the service, for packets that enter here. paths: the path of each slot (None: nothing passes), () where
    nobody can be chosen. number: of its group. portable: by a hash that every datapath computes alike, without a group.
    towards: the packets it is for, of all that ask for this; plus: more where others of them have rules as well.
    shares: what other choices made already.
    """
    owner = view.owner if view else f"services/{service.key}" if service else BASE
    fields: Fields = {
        "reg2": both(labels.bits(LIST, view.id if view else 0), labels.bits(BACKWARD_REG, int(backward))),
        "reg3": labels.bits(SERVICE, service.id if service else 0),
    }
    refused: tuple[tuple[Action, ...], str | None] | None = None
    if view is not None and not paths and not view.free:
        refused = (), "reject" if view.on_failure == "reject" else None
    elif service is not None and not service.slots:
        refused = (), "reject"  # nobody to choose: the sender is told
    elif service is None and view is not None and view.free:
        refused = (), None if view.by_edges and not paths else "copies"
    if refused is not None:
        actions, goto = refused
        for those in towards:
            rules.add("choose", "exact", owner, actions, goto, plus, **fields, **those)
        return
    after = "commit" if view is None or view.sticky else "copies"
    if not portable and view is not None and service is None and paths:
        group = Group(group_id(number), "select", (shares or Shares()).of(view, backward, paths))
        rules.group(group, "choose")
        for those in towards:
            rules.add("choose", "exact", owner, (ToGroup(group.id),), None, plus, **fields, **those)
        return
    chosen = _chosen(view, backward, service, slots, paths)
    if portable:
        for those in towards:
            rules.add("choose", "exact", owner, (Multipath(SLOT),), "slot", plus, **fields, **those)
            for value, mask, what in _runs(chosen):
                found, then = ((), None) if what is None else ((what,), after)
                rules.add("slot", "exact", owner, found, then, plus, **fields, **those, reg7=(value, mask))
        return
    onward = resubmit(after)
    made = {what: Bucket(() if what is None else (what, onward)) for what in dict.fromkeys(chosen)}
    group = Group(group_id(number), "select", tuple(made[what] for what in chosen))
    rules.group(group, "choose")
    for those in towards:
        rules.add("choose", "exact", owner, (ToGroup(group.id),), None, plus, **fields, **those)


def _chosen(
    view: ListView | None,
    backward: bool,
    service: ServiceView | None,
    slots: tuple[str, ...],
    paths: tuple[int | None, ...],
) -> list[SetField | None]:
    """What each slot writes into the label; None where nothing passes."""
    made: dict[tuple[int | None, str], SetField | None] = {}
    chosen = []
    for slot in range(SLOTS):
        path = paths[slot] if paths else 0
        provider = slots[service_slot(slot)] if service is not None else ""
        if (path, provider) not in made:
            exit_waypoint = service.providers[provider].waypoint if service is not None else None
            made[path, provider] = None if path is None else slot_action(view, path, backward, exit_waypoint)
        chosen.append(made[path, provider])
    return chosen


def _runs(chosen: list[T]) -> Iterator[tuple[int, int, T]]:
    """Slots as (value, mask, what is chosen), aligned runs with the same choice together."""
    start = 0
    for slot in range(1, SLOTS + 1):
        if slot == SLOTS or chosen[slot] != chosen[start]:
            for value, mask in port_masks(start, slot - 1):
                yield value, mask & 0xFF, chosen[start]
            start = slot


def affine(rules: Rules, service: ServiceView, slots: tuple[str, ...]) -> None:
    """At an edge: one provider for all connections of a client. slots: for packets that enter here."""
    if not slots:
        return
    owner, asked = f"services/{service.key}", labels.bits(SERVICE, service.id)
    for table in ("pinned-provider", "left-behind"):
        rules.add(table, "prefix", owner, (Multipath(SLOT, by_source=True),), "affine", reg3=asked)
    chosen = [service.providers[name].waypoint for name in slots]
    for value, mask, waypoint in _runs(chosen):
        leave = put(labels.EXIT, waypoint), put(labels.WAYPOINT, waypoint), put(SERVICE, 0)
        rules.add("affine", "exact", owner, leave, "choose", reg3=asked, reg7=(value, mask))


def forget_providers(rules: Rules, service: ServiceView) -> None:
    """At an edge, for connections that remember him: who is no provider of a service any more is not taken again, and
    who is elsewhere by now is taken there. Who is leaving keeps TCP connections; all else goes to others at once."""
    owner, asked = f"services/{service.key}", labels.bits(SERVICE, service.id)
    for waypoint in (*service.left, *service.moved):
        remembered = both(labels.bits(labels.CHOSEN_VALID, 1), labels.bits(labels.CHOSEN_EXIT, waypoint))
        there: tuple[Action, ...] = ()
        if waypoint in service.moved:
            now = service.moved[waypoint]
            there = put(labels.EXIT, now), put(labels.WAYPOINT, now), put(SERVICE, 0)
        then = "pinned-path" if there else "left-behind"
        rules.add("pinned-provider", "exact", owner, there, then, reg3=asked, ct_label=remembered)
    udp = any(port.protocol == "udp" for port in service.service.ports)
    for waypoint, version in product(service.leaving, {ip.version for ip in service.ips} if udp else ()):
        remembered = both(labels.bits(labels.CHOSEN_VALID, 1), labels.bits(labels.CHOSEN_EXIT, waypoint))
        kind: Fields = {"eth_type": IP if version == 4 else IPV6, "ip_proto": protocol_number("udp", version)}
        rules.add("pinned-provider", "exact", owner, (), "left-behind", reg3=asked, ct_label=remembered, **kind)
