"""Rules of `transit`: towards any waypoint, knowing switches and not chains.

Where a switch has more than one way towards another, its rule points at a fast-failover group: the first port that
works is taken, and no controller is asked. All destinations with the same ports in the same order share one group.

A packet is never sent back to where it came from: Open vSwitch drops what is output to its own in_port, and these
rules let it. A switch is somebody's next hop only on ways that do not lead through that one (`routing.alternates`), so
what would go back there came because of a second failure, and would come again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller_app.model.flow import Action, Bucket, Group, Output, SetField, ToGroup
from controller_app.model.topology import Topology
from controller_app.pipeline import labels
from controller_app.pipeline.build import Rules, put
from controller_app.pipeline.cookies import GROUP_MARK
from controller_app.pipeline.labels import ANY_LABEL, IS_LABEL, LABEL_DETOURED, both
from controller_app.pipeline.tables import IP, IPV6, TRANSPORT
from controller_app.pipeline.views import World
from controller_app.routing.alternates import Alternates, Way
from controller_app.routing.distances import Routes
from controller_app.transports import TRANSPORTS
from controller_app.transports.transport import Onward, Target, Transport

FIRST_GROUP = 1 << 23  # of the 24 bits of a group's number that are ours: those below are for what edges choose
_DETOURS: SetField = put(labels.DETOURED, 1)
_ARRIVES: SetField = put(labels.DETOURED, 0)


class SwitchWays:
    """The ways between the switches of a network: `by_switch`, then by destination; `names` of those that are a
    choice."""

    def __init__(self, topology: Topology, routes: Routes, targets: Iterable[str]) -> None:
        self._start(topology, routes, targets, None)

    def following(self, topology: Topology, routes: Routes, targets: Iterable[str]) -> SwitchWays:
        """What `SwitchWays` gives for what the network is now, sooner: towards where nothing turned, only switches
        that have other links are looked at again. This object where nothing changed."""
        if routes is self._routes and tuple(targets) == tuple(self._towards):
            return self
        after = SwitchWays.__new__(SwitchWays)
        after._start(topology, routes, targets, self)
        return after

    def _start(
        self, topology: Topology, routes: Routes, targets: Iterable[str], before: SwitchWays | None
    ) -> None:
        self._routes, self._alternates = routes, Alternates(topology, routes)
        altered = None if before is None else self._alternates.altered(before._alternates)
        self._towards: dict[str, dict[str, Way]] = {}
        found: dict[str, dict[str, Way]] = {}
        for target in targets:
            known = None if before is None or altered is None else before._towards.get(target)
            if before is None or known is None or not self._alternates.has_tree_of(before._alternates, target):
                self._towards[target] = self._alternates.towards(target)
            else:  # no switch came by a way or lost the last one
                self._towards[target] = {**known, **self._alternates.towards(target, altered)}
            for switch, way in self._towards[target].items():
                found.setdefault(switch, {})[target] = way
        self.by_switch: Mapping[str, Mapping[str, Way]] = found
        different = {way for ways in found.values() for way in ways.values()}
        several = {part for way in different for part in (way, Way(way.nearer)) if len(part.ports) > 1}
        self.names = sorted(way.name for way in several)


def transit(world: World, rules: Rules, switch: str) -> None:
    """For each block of waypoints: deliver here, or out towards its switch, by what transport it may be."""
    used = [TRANSPORTS[word] for word in dict.fromkeys(view.transport for view in world.lists.values())]
    wrapping = [transport for transport in used if transport.number]
    ways, onward = world.ways.get(switch, {}), _Onward(world, rules)
    for name, blocks in world.blocks.items():
        out: Onward | None = None
        if name != switch:
            way = ways.get(name)
            if way is None:
                continue  # no way there; the packet is dropped by having no rule
            out = onward.by(way)
        target = Target(name, world.switch_numbers.get(name, 0), blocks)
        _labelled(rules, target, out)
        for transport in wrapping:
            if out is not None and switch in world.starts:
                _put_on(rules, transport, target, out)
            assert transport.carry is not None
            transport.carry(rules, target, out)


def groups_of(world: World, switch: str) -> dict[str, int]:
    """The groups of a switch's ways, by their names."""
    different = set(world.ways.get(switch, {}).values())
    names = {part.name for way in different for part in (way, Way(way.nearer)) if len(part.ports) > 1}
    return {name: world.way_groups[name] for name in names}


def _labelled(rules: Rules, target: Target, out: Onward | None) -> None:
    owner = f"switches/{target.switch}"
    for base, size in target.blocks:
        block = labels.block(base, size)
        if out is None:
            rules.add("transit", "exact", owner, (_ARRIVES,), "deliver", eth_dst=both(ANY_LABEL, block))
        elif out.again is None:
            rules.add("transit", "exact", owner, (out.first,), eth_dst=both(ANY_LABEL, block))
        else:
            rules.add("transit", "exact", owner, (out.first,), eth_dst=both(IS_LABEL, block))
            rules.add("transit", "exact", owner, (out.again,), eth_dst=both(LABEL_DETOURED, block))


def _put_on(rules: Rules, transport: Transport, target: Target, out: Onward) -> None:
    """At the start of a way, where no packet took a detour yet."""
    assert transport.put_on is not None
    for base, size in target.blocks:
        for eth_type in (IP, IPV6):
            rules.add(
                "transit",
                "exact",
                f"switches/{target.switch}",
                (*transport.put_on(target, eth_type), out.first),
                plus=1,
                reg5=labels.bits(TRANSPORT, transport.number),
                eth_dst=both(IS_LABEL, labels.block(base, size)),
                eth_type=eth_type,
            )


class _Onward:
    """How packets leave one switch, each different way once, with the groups they need."""

    def __init__(self, world: World, rules: Rules) -> None:
        self._world, self._rules = world, rules
        self._found: dict[Way, Onward] = {}

    def by(self, way: Way) -> Onward:
        found = self._found.get(way)
        if found is None:
            again = None if way.detour is None else self._action(Way(way.nearer))
            found = self._found[way] = Onward(self._action(way), again)
        return found

    def _action(self, way: Way) -> Action:
        if len(way.ports) == 1:
            return Output(way.ports[0])
        number = GROUP_MARK << 24 | self._world.way_groups[way.name]
        self._rules.group(failover(number, way), "transit")
        return ToGroup(number)


def failover(number: int, way: Way) -> Group:
    """The group that sends packets out of the first port of a way that works."""
    buckets = (
        Bucket((_DETOURS, Output(port)) if port == way.detour else (Output(port),), watch_port=port)
        for port in way.ports
    )
    return Group(number, "ff", tuple(buckets))
