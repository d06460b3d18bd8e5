"""Rules of `branch`: what comes out of a function takes another way, where a classifier `after` it says so.

They stand at the switches of the function's arms and know a packet by the arm it came out of, whatever its chain and
direction. What none of them takes goes on along its chain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controller_app.model.flow import Action, Match, Move
from controller_app.pipeline import labels
from controller_app.pipeline.boxes import box_matches
from controller_app.pipeline.build import Fields, Rules, put
from controller_app.pipeline.decide import decide, meter_of
from controller_app.pipeline.fragments import veils
from controller_app.pipeline.functions import write_in_port_none
from controller_app.pipeline.products import PLAIN
from controller_app.pipeline.ranks import Place
from controller_app.pipeline.regions import Decision, Region
from controller_app.pipeline.survey import survey
from controller_app.pipeline.tables import FROM, RESUMED, ZONE
from controller_app.pipeline.views import ArmView, InstanceView, World

_GO_ON = Decision("chain")  # along the list it is on already
_BY_ITSELF: tuple[Action, ...] = (put(FROM, 0), put(RESUMED, 0), write_in_port_none())  # no longer of its old chain


class Branches:
    """The classifiers after one function. key: tenant and function.

    Raises PolicyError when they overlap with no order.
    """

    def __init__(self, key: tuple[str, str], regions: tuple[Region, ...]) -> None:
        self.key = key
        self.rules: list[tuple[Place, Match, Decision, str]] = []
        found = survey(regions)
        taken: set[tuple[Place, Match]] = set()
        for region in sorted(regions, key=lambda region: region.size):
            for box in region.boxes:
                for asked, bits in box_matches(box):
                    place = region.place(bits, PLAIN)
                    if (place, asked) not in taken:
                        taken.add((place, asked))
                        self.rules.append((place, asked, region.decision, region.name))
        for veil in veils(found, f"functions/{key[0]}/{key[1]}", _GO_ON):
            self.rules += [(veil.place, asked, veil.decision, veil.owner) for asked, _ in box_matches(veil.box)]

    def places(self) -> Iterator[Place]:
        """Where the rules stand in the order of all."""
        return (place for place, *_ in self.rules)

    def decisions(self) -> dict[Decision, None]:
        """What is decided, each once."""
        return dict.fromkeys(decision for _, _, decision, _ in self.rules)


def branch(
    world: World,
    branches: Mapping[tuple[str, str], Branches],
    priorities: Mapping[Place, int],
    rules: Mapping[str, Rules],
) -> dict[str, dict[tuple[str, bool, str], None]]:
    """Add the rules to the switches of the functions' arms. priorities: ranks by place; rules: by switch.

    Returns, by switch, the choices that packets can then need there, as `classify.Classified` has them.
    """
    choices: dict[str, dict[tuple[str, bool, str], None]] = {}
    for key, branching in branches.items():
        for instance in world.instances.get(key, ()):
            for arm in instance.arms:
                _at(world, branching, priorities, instance, arm, rules[arm.switch])
                offered = choices.setdefault(arm.switch, {})
                services = [name for name, view in world.services.items() if view.tenant == key[0]]
                for decision in branching.decisions():
                    if decision.list_key:
                        # a packet with its label has its provider already
                        for service in ("", *services) if not instance.brings_label else ("",):
                            offered[decision.list_key, decision.backward, service] = None
                    if decision.limit:
                        rules[arm.switch].meter(meter_of(world, decision.limit))
                    if decision.action == "allow" and not instance.brings_label:
                        offered.update({("", False, service): None for service in services})
    return choices


def _at(
    world: World,
    branching: Branches,
    priorities: Mapping[Place, int],
    instance: InstanceView,
    arm: ArmView,
    rules: Rules,
) -> None:
    came = labels.bits(FROM, arm.waypoint)
    for place, asked, decision, owner in branching.rules:
        actions, goto = _does(world, decision, instance)
        fields: Fields = {condition.field: condition[1:] for condition in asked}
        rules.add("branch", "classifier", owner, actions, goto, plus=priorities[place], reg6=came, **fields)


def _does(world: World, decision: Decision, instance: InstanceView) -> tuple[tuple[Action, ...], str | None]:
    if decision == _GO_ON:
        return (), "advance" if instance.brings_label else "classify"
    actions, goto = decide(world, decision)
    if goto != "remember":
        return actions, goto
    # its label says this function comes next; a list of taps alone says nothing of what does
    onward = (Move(labels.EXIT, labels.WAYPOINT),) if instance.brings_label else ()
    if decision.action == "chain":
        zone = world.zones.get((instance.into.waypoint, decision.list_key))
        remembered = () if zone is None else (put(ZONE, zone),)
        return (*actions, *remembered, *_BY_ITSELF, *onward), goto
    if instance.brings_label:  # the other edge must not take it for what came all the way
        onward = (put(labels.PATH, 0), put(labels.BACKWARD, 0), *onward)
    return (*actions, *_BY_ITSELF, *onward), "transit" if instance.brings_label else goto
