"""Which links are used, and what there is to say about each: declared and found, put together.

A declared link stays until one of its ports is down or missing on a switch that connected, or until it was seen and
then no longer. A found link never replaces a declared one: where they contradict each other the declaration counts.
A link that is held down because it comes and goes (`damping`) is not used, unless without it a part of the network
could not be reached: a link that works now and then carries something, none carries nothing, and what its failures
disturb was cut off anyway. It has to last for a moment each time before it is used so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from controller_app.discovery.damping import Key
from controller_app.discovery.hosts import FoundHost
from controller_app.discovery.links import Pair, pair
from controller_app.discovery.ports import Port, PortId
from controller_app.model.topology import End, Link, Topology

STATES = ("up", "declared", "not-seen", "one-way", "mismatch", "only-way", "damped", "lost", "down")


@dataclass(frozen=True)
class Observed:
    """What was found. `ports` by datapath id and number, of every switch that ever connected. `damped`: links and
    switches held down because they come and go, first what may come back first, each with whether it lasted long
    enough to be used where nothing else is left. `unseen`: declared links that should have been seen by now.
    `observing`: links are looked for at all."""

    ports: Mapping[int, Mapping[int, Port]] = field(default_factory=dict)
    links: tuple[Pair, ...] = ()
    lost: frozenset[Pair] = frozenset()
    hosts: tuple[FoundHost, ...] = ()
    damped: Mapping[Key, bool] = field(default_factory=dict)
    unseen: frozenset[Pair] = frozenset()
    one_way: frozenset[Pair] = frozenset()
    observing: bool = True


@dataclass(frozen=True)
class LinkState:
    """A link, declared or found, and what is known of it.

    state: up (seen), declared (not seen yet, or not looked for), not-seen (though it should have been), one-way (heard
    in one direction only), mismatch (found to go elsewhere), only-way (held down, and used all the same), damped (held
    down), lost (seen and then no longer), down (a port is). Of these the last three are not `used`. `why` says more.
    `held`: it comes and goes, and is held down for that, whatever its state.
    """

    link: Link
    places: Pair  # its ends, as datapath ids and numbers
    declared: bool
    state: str
    why: str = ""
    held: bool = False

    @property
    def ends(self) -> Pair:
        """The same, the smaller first."""
        return pair(*self.places)

    @property
    def used(self) -> bool:
        """Does the topology that counts have it?"""
        return self.state not in ("damped", "lost", "down")


def merge_links(
    topology: Topology,
    stand_ins: frozenset[End],
    observed: Observed,
    names: Mapping[int, str],
    host_ports: frozenset[PortId],
    problems: list[str],
) -> tuple[LinkState, ...]:
    """Every link of `topology`, whose ends are numbers, and every one found; `names` has all switches by dpid."""
    found = _declared(topology, stand_ins, observed, problems)
    used = {place: state.link for state in found for place in state.places}
    seen = frozenset(observed.links)
    wrong: set[Pair] = set()
    for a, b in observed.links:
        if a in host_ports or b in host_ports or (a in used and used[a] is used.get(b)):
            continue
        declared = [used[place] for place in (a, b) if place in used]
        ends = End(names[a.dpid], a.port), End(names[b.dpid], b.port)
        if not declared:
            way = "one-way" if (a, b) in observed.one_way else "up"
            found.append(LinkState(Link(*ends), (a, b), False, way))
            if topology.links:
                problems.append(f"{ends[0]} - {ends[1]} was found, but is not declared: it is used; declare it")
        elif any({link.a, link.b} != set(ends) for link in declared):
            other = declared[0]
            wrong |= {pair(*_places(topology, link)) for link in declared}
            problems.append(f"{ends[0]} is connected to {ends[1]}, but {other.a} - {other.b} is declared")
    found = [_seen(state, observed, seen, wrong, problems) for state in found]
    return tuple(_damp(found, observed.damped))


def _places(topology: Topology, link: Link) -> Pair:
    """A declared link's ends as datapath ids and numbers."""
    assert isinstance(link.a.port, int)
    assert isinstance(link.b.port, int)
    return (
        PortId(topology.switches[link.a.switch].dpid, link.a.port),
        PortId(topology.switches[link.b.switch].dpid, link.b.port),
    )


def _declared(
    topology: Topology, stand_ins: frozenset[End], observed: Observed, problems: list[str]
) -> list[LinkState]:
    """The declared links, as far as their ports speak for or against them."""
    found = []
    for link in topology.links:
        places = _places(topology, link)
        down = ""
        for end, place in zip((link.a, link.b), places, strict=True):
            if place.dpid in observed.ports and end not in stand_ins:
                port = observed.ports[place.dpid].get(place.port)
                if port is None:
                    problems.append(f"link {link.a} - {link.b}: switch {end.switch} has no port {end.port}")
                if port is None or not port.up:
                    down = down or (f"there is no port {end}" if port is None else f"{end} is down")
        found.append(LinkState(link, places, True, "down" if down else "declared", down))
    return found


def _seen(
    state: LinkState, observed: Observed, seen: frozenset[Pair], wrong: set[Pair], problems: list[str]
) -> LinkState:
    """What discovery frames say of a link whose ports work."""
    link, places, ends = state.link, state.places, state.ends
    name = f"link {link.a} - {link.b}"
    if state.state == "down":
        return state
    if ends in observed.one_way:
        problems.append(f"{name} is heard in one direction only: check the cable")
        return LinkState(link, places, state.declared, "one-way", "heard in one direction only")
    if not state.declared:
        return state
    if ends in observed.lost:
        problems.append(
            f"{name} is declared, and was seen, but is not seen any more though both its ports are up: it is not used"
        )
        return LinkState(link, places, True, "lost", "seen, and then no longer")
    if ends in wrong:
        return LinkState(link, places, True, "mismatch", "found to go elsewhere")
    if ends in seen:
        return LinkState(link, places, True, "up")
    if ends in observed.unseen:
        problems.append(
            f"{name} is declared, but not seen: no discovery frame crosses it; check the cable, or the topology file"
        )
        return LinkState(link, places, True, "not-seen", "no discovery frame crosses it")
    return LinkState(link, places, True, "declared", "not seen yet" if observed.observing else "")


def _damp(found: Iterable[LinkState], damped: Mapping[Key, bool]) -> Iterable[LinkState]:
    """Hold down what comes and goes, except what joins parts that nothing else joins."""
    states = list(found)
    if not damped:
        return states
    order = {key: number for number, key in enumerate(damped)}
    parts: dict[str, str] = {}

    def part(switch: str) -> str:
        while (above := parts.get(switch, switch)) != switch:
            parts[switch] = parts.get(above, above)
            switch = above
        return switch

    held: list[tuple[int, int, bool]] = []  # when it may come back, by order; which; has it lasted
    for index, state in enumerate(states):
        things: tuple[Key, ...] = (state.ends, state.ends[0].dpid, state.ends[1].dpid)
        keys = [key for key in things if key in damped]
        if keys:
            states[index] = replace(state, held=True)
        if keys and state.used:
            held.append((max(order[key] for key in keys), index, all(damped[key] for key in keys)))
        elif state.used:
            parts[part(state.link.a.switch)] = part(state.link.b.switch)
    for _, index, lasted in sorted(held):
        state = states[index]
        a, b = part(state.link.a.switch), part(state.link.b.switch)
        word, why = "damped", "it comes and goes"
        if a != b and lasted:
            parts[a] = b
            word, why = "only-way", "it comes and goes, but nothing else joins these parts"
        states[index] = replace(state, state=word, why=why)
    return states


def said_of(before: Iterable[LinkState], after: Iterable[LinkState]) -> list[str]:
    """What a person should know of links that are held down from now on."""
    known = {state.ends for state in before if state.held}
    return [
        f"link {state.link.a} - {state.link.b} comes and goes: until it has been quiet it is used only where nothing "
        "else joins two parts of the network"
        for state in after
        if state.held and state.ends not in known
    ]
