"""Choosing where edges count: what packets can need at a switch, and which paths they may take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from controller_app.balancing.slots import service_slot
from controller_app.model.allocation import SLOTS
from controller_app.pipeline import labels
from controller_app.pipeline.build import Fields, Rules
from controller_app.pipeline.choose import Shares, affine, choose, slot_action, take_again
from controller_app.pipeline.labels import both
from controller_app.pipeline.tables import BACKWARD_REG, FROM, LIST, RESUMED, SERVICE
from controller_app.pipeline.views import ListView, ServiceView, World


class Asked(NamedTuple):
    """A choice that packets can need at a switch: of a list ("" none) and direction, of a service ("" none). Where
    edges count: for those that leave the network by a switch (`egress`); or that came out of a function's arm (its
    waypoint) without their label, and that nobody remembers."""

    key: str
    backward: bool
    service: str
    egress: str = ""
    out_of: int = 0

    @property
    def name(self) -> str:
        """The name under which a group's number is allocated."""
        more = f"|{self.egress}" if self.egress else f"|from {self.out_of}" if self.out_of else ""
        return f"{self.key}|{'back' if self.backward else ''}|{self.service}{more}"


def alone(view: ListView | None, asked: Asked, switch: str) -> Iterator[Asked]:
    """The choices of a path alone at a switch."""
    ways = view.ways.get((switch, asked.backward), ()) if view is not None and view.by_edges else ()
    # where packets of a list only come back from functions, nobody enters
    for egress in ways or ("",):
        yield asked._replace(service="", egress=egress)


def resumed(world: World, view: ListView, asked: Asked, switch: str) -> Iterator[Asked]:
    """The choices of what comes back at a switch without its label."""
    if not view.by_edges or view.key not in world.resumes.get(switch, ()):
        return
    for instance in world.served_at.get(switch, ()):
        if instance.tenant == view.tenant and instance.function in view.functions and instance.mode.on_path:
            arm = instance.exit(asked.backward)
            if arm.switch == switch and not instance.brings_label:
                yield asked._replace(out_of=arm.waypoint)


def towards(world: World, egress: str) -> tuple[Fields, ...]:
    """Packets that leave the network by a switch, by their label."""
    return tuple({"eth_dst": labels.exits(base, size)} for base, size in world.blocks.get(egress, ()))


def came(asked: Asked) -> Fields:
    """Packets that came out of a function's arm without their label."""
    return {"reg6": both(labels.bits(FROM, asked.out_of), labels.bits(RESUMED, 1))}


def offer(
    rules: Rules,
    asked: Asked,
    view: ListView | None,
    service: ServiceView | None,
    slots: tuple[str, ...],
    paths: tuple[int | None, ...],
    there: tuple[Fields, ...],
    number: int,
    portable: bool,
    *,
    shares: Shares | None = None,
) -> None:
    """The rules of one choice; see `choose`."""
    if service is not None and service.affine and slots:
        affine(rules, service, slots)
    else:
        plus = int(bool(asked.out_of))
        choose(rules, view, asked.backward, service, slots, paths, number, portable, there, plus, shares)


def paths_at(
    view: ListView | None, switch: str, asked: Asked, service: ServiceView | None, slots: tuple[str, ...]
) -> tuple[int | None, ...]:
    """The path of each slot, for packets that enter at a switch, or come back there; () where nobody can be chosen.
    slots: the providers."""
    if view is None or not view.by_edges:
        return () if view is None else view.slots
    if service is None or not slots:
        return view.slots_between(switch, asked.egress)
    providers = [service.providers[slots[service_slot(slot)]].switch for slot in range(SLOTS)]
    tables: dict[str, tuple[int | None, ...]] = {}
    for provider in dict.fromkeys(providers):
        path = going_on(view, asked, provider) if asked.out_of else None
        tables[provider] = (path,) * SLOTS if asked.out_of else view.slots_between(switch, provider)
    return tuple(tables[provider][slot] if tables[provider] else None for slot, provider in enumerate(providers))


def going_on(view: ListView, asked: Asked, egress: str) -> int | None:
    """A path on which a packet goes on that came out of an arm, wherever it entered: one of all edges that have that
    instance, for packets that leave by a switch. Where there is none and nothing is required, any with the instance."""
    through = {
        path
        for path, steps in view.paths.items()
        if any(step.mode.on_path and step.exit(asked.backward).waypoint == asked.out_of for step in steps)
    }
    tables = [through.intersection(table) for ends, table in view.between.items() if egress in ends]
    met = [table for table in tables if table]
    common = set.intersection(*met) if met else set[int]()
    if not common and view.chain is not None and view.chain.require is None:
        common = through
    return min(common, default=None)


def go_on(world: World, rules: Rules, view: ListView, asked: Asked) -> None:
    """What came out of an arm without its label, and is remembered by nobody, goes on from there."""
    listed = both(labels.bits(LIST, view.id), labels.bits(BACKWARD_REG, int(asked.backward)))
    fields: Fields = {"reg2": listed, "reg3": labels.bits(SERVICE, 0), **came(asked)}
    for egress in sorted({end for ends in view.between for end in ends}):
        path = going_on(view, asked, egress)
        what = () if path is None else (slot_action(view, path, asked.backward, None),)
        after = None if path is None else "commit" if view.sticky else "copies"
        for those in towards(world, egress):
            rules.add("choose", "exact", view.owner, what, after, 1, **fields, **those)


def recall_between(world: World, rules: Rules, view: ListView, switch: str) -> None:
    """At an edge: of what is remembered, only what is required now is taken again. What comes out of a function without
    its label was seen to where it entered."""
    if not view.sticky:
        return
    take_again(rules, view, tuple(view.paths), {"reg6": labels.bits(RESUMED, 1)})
    for ends, paths in view.between.items():
        if switch in ends:
            for those in towards(world, ends[0] if ends[1] == switch else ends[1]):
                take_again(rules, view, tuple(dict.fromkeys(paths)), those)


def names(choices: Iterable[Iterable[Asked]]) -> list[str]:
    """Under which the numbers of groups are allocated, by switch and choice."""
    return [asked.name for offered in choices for asked in offered if asked.key or asked.service]
