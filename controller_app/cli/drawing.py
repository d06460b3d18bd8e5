"""The picture of `chainctl path`: the network, and on it the switches that the chosen paths cross."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import hypot
from pathlib import Path
from typing import Any

import networkx as nx

from controller_app.cli.common import Failure
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology

Place = tuple[float, float]

COLOURS = ("#1e88e5", "#e53935", "#43a047", "#8e24aa", "#fb8c00", "#00897b", "#6d4c41", "#3949ab")
MOST = len(COLOURS)  # paths that are drawn
_INK, _CABLE, _SWITCH, _FUNCTION = "#263238", "#c3ced4", "#546e7a", "#ef6c00"
_MANY = 60  # switches; with more only those on paths have names
_LAYOUT = 300  # switches; more are placed by a quicker method


def draw_paths(policy: Policy, topology: Topology, chains: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Draw the items of a `path` document (its "chains") as SVG or PNG, by the file's suffix. Switches that say where
    they are on the globe are drawn there. Failure where that cannot be done."""
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
    except ModuleNotFoundError:
        raise Failure("pictures need matplotlib: pip install 'chainsteer[lab]'") from None
    places = layout(topology)
    ways = _ways(chains)
    figure = Figure(figsize=(12, 9), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.axis("off")
    axes.margins(0.08)
    if _on_globe(topology):
        axes.set_aspect(1.4)  # a degree of longitude is shorter than one of latitude, in the middle latitudes
    for link in topology.links:
        (ax, ay), (bx, by) = places[link.a.switch], places[link.b.switch]
        axes.plot((ax, bx), (ay, by), color=_CABLE, linewidth=1.6, zorder=1)
    used = {switch for _, way in ways for switch in way["switches"]}
    points = [places[name] for name in topology.switches]
    axes.scatter([x for x, _ in points], [y for _, y in points], s=[90 if name in used else 28 for name in
                 topology.switches], color=_SWITCH, zorder=4)  # fmt: skip
    spread = _size(points) * 0.006
    handles = []
    for number, (label, way) in enumerate(ways[:MOST]):
        colour = COLOURS[number]
        aside = (number - (min(len(ways), MOST) - 1) / 2) * spread
        for a, b in zip(way["switches"], way["switches"][1:], strict=False):
            (ax, ay), (bx, by) = places[a], places[b]
            dx, dy = _beside(places, a, b, aside)
            axes.annotate("", (bx + dx, by + dy), (ax + dx, ay + dy), zorder=3, arrowprops={
                "arrowstyle": "-|>", "color": colour, "lw": 2.2, "shrinkA": 5, "shrinkB": 5})  # fmt: skip
        handles.append(Line2D([], [], color=colour, linewidth=2.6, label=label))
    paper = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
    for name, texts in _labels(policy, topology, ways, used).items():
        axes.annotate("\n".join(texts), places[name], (6, 6), textcoords="offset points", fontsize=9, zorder=5,
                      color=_FUNCTION if len(texts) > 1 else _INK, bbox=paper)  # fmt: skip
    if len(ways) > MOST:
        handles.append(Line2D([], [], color="white", label=f"and {len(ways) - MOST} more paths, not drawn"))
    figure.legend(handles=handles, loc="outside lower center", ncol=1 if len(handles) < 5 else 2, frameon=False,
                  fontsize=10)  # fmt: skip
    try:
        # the same picture gives the same bytes, and its words can be searched
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "paths"}):
            figure.savefig(file, dpi=130, metadata={"Date": None} if file.suffix == ".svg" else None)
    except (OSError, ValueError) as error:
        raise Failure(f"{file}: {error}; give a name that ends in .svg or .png, in a directory that is there") from None


def layout(topology: Topology) -> dict[str, Place]:
    """Where each switch is drawn: on the globe where most of them say where they are, the others in the middle of their
    neighbours; otherwise by the links alone, the same way every time."""
    graph = nx.Graph(topology.graph)
    if not _on_globe(topology):
        if len(graph) <= _LAYOUT and nx.is_connected(graph):
            planar, _ = nx.check_planarity(graph)  # then no links cross to begin with
            start = nx.planar_layout(graph) if planar and len(graph) > 2 else None
            found = nx.kamada_kawai_layout(graph, pos=start, weight=None)
        else:
            found = nx.spring_layout(graph, seed=1, weight=None)
        return {name: (float(place[0]), float(place[1])) for name, place in found.items()}
    places = {
        name: (switch.longitude, switch.latitude)
        for name, switch in topology.switches.items()
        if switch.longitude is not None and switch.latitude is not None
    }
    middle = _middle(list(places.values()))
    for _ in range(len(graph)):  # from those that are known outwards
        for name in topology.switches:
            if name not in places:
                near = [places[other] for other in graph[name] if other in places]
                if near:
                    x, y = _middle([*near, middle] if len(near) == 1 else near)
                    places[name] = (x, y)
    return {name: places.get(name, middle) for name in topology.switches}


def _beside(places: Mapping[str, Place], a: str, b: str, aside: float) -> Place:
    """How far a lane lies beside a link: to the same side, whichever way it is taken."""
    (ax, ay), (bx, by) = (places[name] for name in sorted((a, b)))
    length = hypot(bx - ax, by - ay) or 1.0
    return (by - ay) / length * aside, (ax - bx) / length * aside


def _on_globe(topology: Topology) -> bool:
    known = sum(switch.longitude is not None and switch.latitude is not None for switch in topology.switches.values())
    return 2 * known >= len(topology.switches) > 0


def _middle(places: Sequence[Place]) -> Place:
    return sum(x for x, _ in places) / len(places), sum(y for _, y in places) / len(places)


def _size(places: Sequence[Place]) -> float:
    xs, ys = [x for x, _ in places], [y for _, y in places]
    return max(max(xs) - min(xs), max(ys) - min(ys), 1e-9)


def _ways(chains: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Every different way, with what the legend says of it: replies that go back along the same one are the same."""
    found: dict[tuple[object, ...], tuple[str, Mapping[str, Any]]] = {}
    for item in chains:
        for way in item["paths"]:
            key = item["name"], tuple(way["instances"]), tuple(way["switches"])
            back = item["name"], tuple(way["instances"][::-1]), tuple(way["switches"][::-1])
            if key not in found and back not in found:
                through = ", ".join(way["instances"]) or "no function"
                text = f"{item['name']}: {item['ingress']} to {item['egress']} through {through} (cost {way['cost']})"
                found[key] = text, {**way, "tenant": item["tenant"]}
    return list(found.values())


def _labels(
    policy: Policy, topology: Topology, ways: Sequence[tuple[str, Mapping[str, Any]]], used: set[str]
) -> dict[str, list[str]]:
    """What is written at switches: their names, and the instances that paths meet there."""
    others = [] if len(topology.switches) > _MANY else [name for name in topology.switches if name not in used]
    found = {name: [name] for name in (*others, *sorted(used))}  # what counts lies above the rest
    met = {(way["tenant"], instance) for _, way in ways for instance in way["instances"]}
    for tenant in policy.tenants.values():
        for function in tenant.functions.values():
            for instance in function.instances.values():
                host = topology.hosts.get(instance.host)
                if host is not None and (tenant.name, instance.name) in met:
                    for switch in dict.fromkeys(end.switch for end in host.attach.values()):
                        found.setdefault(switch, [switch]).append(instance.name)
    return found
