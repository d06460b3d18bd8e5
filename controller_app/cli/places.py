"""Where switches stand in a picture, and which of a large network's are in it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from math import cos, radians

import networkx as nx

from controller_app.model.topology import Topology

Place = tuple[float, float]

MANY = 60  # switches; of larger networks only what is near the paths is shown
_LAYOUT = 300  # switches; more are placed by a quicker method
_POLEWARD = 75.0  # degrees; nearer to a pole a map is not stretched any further


def on_globe(topology: Topology) -> bool:
    """Whether most switches say where they are."""
    known = sum(switch.longitude is not None and switch.latitude is not None for switch in topology.switches.values())
    return 2 * known >= len(topology.switches) > 0


def stretch(places: Collection[Place]) -> float:
    """How much longer a degree of latitude is than one of longitude, in the middle of these."""
    latitudes = [place[1] for place in places]
    middle = (max(latitudes) + min(latitudes)) / 2
    return 1 / cos(radians(max(-_POLEWARD, min(_POLEWARD, middle))))


def near(topology: Topology, used: Collection[str]) -> set[str]:
    """The switches of paths, and those that links join to them; without these where that would be many."""
    beside = {
        end.switch
        for link in topology.links
        if link.a.switch in used or link.b.switch in used
        for end in (link.a, link.b)
    }
    found = {*used, *beside}
    return found if len(found) <= MANY else set(used)


def layout(topology: Topology, shown: Collection[str] | None = None) -> dict[str, Place]:
    """Where each switch is drawn: on the globe where most of them say where they are, the others in the middle of their
    neighbours; otherwise by the links alone, the same way every time, and of a large network only those `shown`, in
    tiers where it has them."""
    graph = nx.Graph(topology.graph)
    if on_globe(topology):
        return _by_degrees(topology, graph)
    if shown is not None and len(graph) > MANY:
        ranks = _ranks(topology, graph)
        if ranks is not None:
            return _tiers(graph, ranks, shown)
        graph = nx.Graph(graph.subgraph([name for name in topology.switches if name in shown]))
    if not graph:
        return {}
    if len(graph) <= _LAYOUT and nx.is_connected(graph):
        planar, _ = nx.check_planarity(graph)  # then no links cross to begin with
        start = nx.planar_layout(graph) if planar and len(graph) > 2 else None
        found = nx.kamada_kawai_layout(graph, pos=start, weight=None)
    else:
        found = nx.spring_layout(graph, seed=1, weight=None)
    return {name: (float(place[0]), float(place[1])) for name, place in found.items()}


def _by_degrees(topology: Topology, graph: nx.Graph) -> dict[str, Place]:
    places = {
        name: (switch.longitude, switch.latitude)
        for name, switch in topology.switches.items()
        if switch.longitude is not None and switch.latitude is not None
    }
    middle = _middle(list(places.values()))
    for _ in range(len(graph)):  # from those that are known outwards
        for name in topology.switches:
            if name not in places:
                around = [places[other] for other in graph[name] if other in places]
                if around:
                    x, y = _middle([*around, middle] if len(around) == 1 else around)
                    places[name] = (x, y)
    return {name: places.get(name, middle) for name in topology.switches}


def _middle(places: Sequence[Place]) -> Place:
    return sum(x for x, _ in places) / len(places), sum(y for _, y in places) / len(places)


def _ranks(topology: Topology, graph: nx.Graph) -> dict[str, int] | None:
    """How many links each switch is from the next one with hosts, where every link leads one up or down: a tree, or a
    fabric of leaves and spines. None where that is not so."""
    edges = {end.switch for host in topology.hosts.values() for end in host.attach.values()} & set(graph)
    if not edges:
        return None
    found: dict[str, int] = dict(nx.multi_source_dijkstra_path_length(graph, edges, weight=None))
    tiered = len(found) == len(graph) and all(abs(found[a] - found[b]) == 1 for a, b in graph.edges)
    return found if tiered else None


def _tiers(graph: nx.Graph, ranks: Mapping[str, int], shown: Collection[str]) -> dict[str, Place]:
    """One row for each rank, edges below in the order of their names, the others above what they are joined to, so that
    what belongs together stands together. Only those shown."""
    rows: dict[int, list[str]] = {}
    for name in sorted(graph, key=_natural):
        rows.setdefault(ranks[name], []).append(name)
    place: dict[str, float] = {}
    found: dict[str, Place] = {}
    for rank in sorted(rows):
        below = {name: [place[other] for other in graph[name] if ranks[other] < rank] for name in rows[rank]}
        middle = {name: round(sum(places) / (len(places) or 1), 9) for name, places in below.items()}
        row = sorted(rows[rank], key=middle.__getitem__)  # among equals, by name
        place.update({name: (at + 0.5) / len(row) for at, name in enumerate(row)})
        seen = [name for name in row if name in shown]
        found.update({name: ((at + 0.5) / len(seen), float(rank)) for at, name in enumerate(seen)})
    return found


def _natural(name: str) -> list[tuple[int, int, str]]:
    """What sorts s9 before s10."""
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.split(r"(\d+)", name)]
