"""Draws a network: boxes for nodes, lines for cables, coloured lines for the ways packets take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from pathlib import Path
from typing import Any

from controller_app.model.topology import Topology

Point = tuple[float, float]

INK, CABLE, PAPER = "#263238", "#c3ced4", "#ffffff"
STYLES = {  # kind of node: fill, edge, width, height
    "switch": ("#eceff1", "#546e7a", 0.62, 0.36),
    "host": ("#e3f2fd", "#1e88e5", 0.94, 0.46),
    "provider": ("#e8f5e9", "#43a047", 0.94, 0.46),
    "function": ("#fff3e0", "#ef6c00", 1.75, 0.66),
    "tap": ("#f3e5f5", "#8e24aa", 1.25, 0.56),
}
ARM = 0.3  # distance between the two cables of a two-armed function
LANE = 0.1  # distance between ways on the same cable


@dataclass(frozen=True, slots=True)
class Node:
    """A box: `kind` is a key of STYLES, `text` its lines."""

    kind: str
    text: str
    place: Point


@dataclass(frozen=True, slots=True)
class Way:
    """A coloured line through nodes, in the order they are visited."""

    label: str
    nodes: tuple[str, ...]
    colour: str
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Region:
    """A frame around nodes that belong together."""

    label: str
    nodes: tuple[str, ...]


def draw(
    topology: Topology,
    nodes: Mapping[str, Node],
    ways: Sequence[Way],
    regions: Sequence[Region],
    title: str,
    file: Path,
) -> None:
    """Write the picture as a PNG of about 2,000 pixels across."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    places = [node.place for node in nodes.values()]
    left, right = min(x for x, _ in places) - 0.9, max(x for x, _ in places) + 0.9
    low, high = min(y for _, y in places) - 0.75, max(y for _, y in places) + 0.6
    figure = Figure(figsize=(13, 13 * (high - low) / (right - left) + 1.1), facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.01, 0.07, 0.98, 0.86))
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    axes.axis("off")
    figure.suptitle(title, x=0.5, y=0.975, fontsize=15, fontweight="bold", color=INK)
    for region in regions:
        _frame(axes, region, nodes)
    _cables(axes, topology, nodes)
    lanes = _lanes(ways)
    for number, way in enumerate(ways):
        _way(axes, topology, way, lanes[number], nodes)
    _ports(axes, topology, nodes)
    for node in nodes.values():
        _box(axes, node)
    _legend(figure, ways)
    figure.savefig(file, dpi=150)


def _frame(axes: Any, region: Region, nodes: Mapping[str, Node]) -> None:
    from matplotlib.patches import FancyBboxPatch

    inside = [nodes[name] for name in region.nodes]
    halves = [(node.place, STYLES[node.kind][2] / 2, STYLES[node.kind][3] / 2) for node in inside]
    left, right = min(p[0] - w for p, w, _ in halves), max(p[0] + w for p, w, _ in halves)
    low, high = min(p[1] - h for p, _, h in halves), max(p[1] + h for p, _, h in halves)
    axes.add_patch(
        FancyBboxPatch(
            (left, low),
            right - left,
            high - low,
            boxstyle="round,pad=0.1,rounding_size=0.12",
            zorder=0,
            facecolor="#fafafa",
            edgecolor="#90a4ae",
            linestyle=(0, (4, 3)),
            linewidth=1.1,
        )
    )
    axes.text(
        (left + right) / 2,
        high + 0.14,
        region.label,
        ha="center",
        va="bottom",
        fontsize=10.5,
        color=INK,
        linespacing=1.3,
    )


def _box(axes: Any, node: Node) -> None:
    from matplotlib.patches import FancyBboxPatch

    fill, edge, width, height = STYLES[node.kind]
    x, y = node.place
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.09",
            zorder=5,
            facecolor=fill,
            edgecolor=edge,
            linewidth=1.7,
        )
    )
    first, _, rest = node.text.partition("\n")
    lift = 0.0 if not rest else 0.09 + 0.07 * rest.count("\n")
    axes.text(
        x, y + lift, first, ha="center", va="center", fontsize=12.5, fontweight="bold", color=INK, zorder=6
    )
    if rest:
        axes.text(
            x,
            y + lift - 0.11,
            rest,
            ha="center",
            va="top",
            fontsize=9.5,
            color=INK,
            zorder=6,
            linespacing=1.25,
        )


def _cables(axes: Any, topology: Topology, nodes: Mapping[str, Node]) -> None:
    for a, b, aside, _ in _all_cables(topology):
        (ax, ay), (bx, by) = _segment(nodes, a, b, aside)
        axes.plot((ax, bx), (ay, by), color=CABLE, linewidth=2.4, zorder=1, solid_capstyle="round")


def _all_cables(topology: Topology) -> list[tuple[str, str, float, tuple[str, str]]]:
    """Every cable: its ends, how far it lies beside their middles, and its port numbers at both ends."""
    found = [
        (link.a.switch, link.b.switch, 0.0, (str(link.a.port), str(link.b.port))) for link in topology.links
    ]
    for name, host in topology.hosts.items():
        found += [(end.switch, name, _arm(arm), (str(end.port), "")) for arm, end in host.attach.items()]
    return found


def _arm(arm: str) -> float:
    """How far the cable of an arm lies beside the straight line from its switch."""
    return {"in": -ARM / 2, "out": ARM / 2}.get(arm, 0.0)


def _ports(axes: Any, topology: Topology, nodes: Mapping[str, Node]) -> None:
    for a, b, aside, numbers in _all_cables(topology):
        start, end = _segment(nodes, a, b, aside)
        for name, number, (x, y), (to_x, to_y) in ((a, numbers[0], start, end), (b, numbers[1], end, start)):
            if number:
                length = hypot(to_x - x, to_y - y)
                ux, uy = (to_x - x) / length, (to_y - y) / length
                out = _clear(nodes[name], ux, uy) + 0.13
                axes.text(
                    x + ux * out,
                    y + uy * out,
                    number,
                    fontsize=7,
                    color="#455a64",
                    ha="center",
                    va="center",
                    zorder=4.5,
                    bbox={
                        "boxstyle": "round,pad=0.16",
                        "facecolor": PAPER,
                        "edgecolor": CABLE,
                        "linewidth": 0.6,
                    },
                )


def _clear(node: Node, ux: float, uy: float) -> float:
    """How far from a box's middle its border is in the direction (ux, uy)."""
    _, _, width, height = STYLES[node.kind]
    return min(width / 2 / abs(ux) if ux else 9.0, height / 2 / abs(uy) if uy else 9.0)


def _segment(nodes: Mapping[str, Node], a: str, b: str, aside: float) -> tuple[Point, Point]:
    """From the middle of a to the middle of b, moved aside: to the right of, or below, the line from left to
    right, whichever of a and b comes first."""
    (ax, ay), (bx, by) = nodes[a].place, nodes[b].place
    length = hypot(bx - ax, by - ay) or 1.0
    nx, ny = (by - ay) / length, -(bx - ax) / length
    if (bx, by) < (ax, ay):
        nx, ny = -nx, -ny
    if abs(nx) > 0.99:  # an upright line: aside means to the right
        nx = 1.0
    return (ax + nx * aside, ay + ny * aside), (bx + nx * aside, by + ny * aside)


def _lanes(ways: Sequence[Way]) -> list[dict[int, float]]:
    """For each way, which of its steps to draw, and how far beside the cable: ways that share a cable lie
    side by side, steps of ways with one label are drawn once."""
    users = defaultdict[frozenset[str], list[str]](list)
    for way in ways:
        for step in map(frozenset, zip(way.nodes, way.nodes[1:], strict=False)):
            if way.label not in users[step]:
                users[step].append(way.label)
    lanes, drawn = list[dict[int, float]](), set[tuple[str, str, str]]()
    for way in ways:
        mine = {}
        new = set()
        for position, (a, b) in enumerate(zip(way.nodes, way.nodes[1:], strict=False)):
            here = users[frozenset((a, b))]
            new.add((way.label, a, b))
            if (way.label, a, b) not in drawn:
                mine[position] = (here.index(way.label) - (len(here) - 1) / 2) * LANE
        drawn |= new
        lanes.append(mine)
    return lanes


def _way(
    axes: Any, topology: Topology, way: Way, lanes: Mapping[int, float], nodes: Mapping[str, Node]
) -> None:
    style = (0, (3.2, 1.6)) if way.dashed else "solid"
    met = defaultdict[str, int](int)
    for position, (a, b) in enumerate(zip(way.nodes, way.nodes[1:], strict=False)):
        if position not in lanes:
            continue
        aside = lanes[position]
        function = next(
            (name for name in (a, b) if name in topology.hosts and len(topology.hosts[name].attach) == 2),
            None,
        )
        if function is not None:  # to the function by one arm, back by the other
            aside = _arm("in" if met[function] == 0 else "out")
            met[function] += 1
        (ax, ay), (bx, by) = _segment(nodes, a, b, aside)
        axes.plot(
            (ax, bx),
            (ay, by),
            color=way.colour,
            linewidth=3.0 if not way.dashed else 2.4,
            linestyle=style,
            zorder=3,
            solid_capstyle="butt",
        )
        length = hypot(bx - ax, by - ay)
        ux, uy = (bx - ax) / length, (by - ay) / length
        mx, my = ax + (bx - ax) * 0.55, ay + (by - ay) * 0.55
        axes.annotate(
            "",
            (mx + ux * 0.1, my + uy * 0.1),
            (mx - ux * 0.05, my - uy * 0.05),
            zorder=4,
            arrowprops={
                "arrowstyle": "-|>,head_width=0.42,head_length=0.7",
                "color": way.colour,
                "lw": 0,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )


def _legend(figure: Any, ways: Sequence[Way]) -> None:
    from matplotlib.lines import Line2D

    lines = []
    for label in dict.fromkeys(way.label for way in sorted(ways, key=lambda way: way.dashed)):
        way = next(way for way in ways if way.label == label)
        lines.append(
            Line2D(
                [], [], color=way.colour, linewidth=2.8, linestyle="--" if way.dashed else "-", label=label
            )
        )
    lines.append(Line2D([], [], color=CABLE, linewidth=2.4, label="cable with port numbers"))
    figure.legend(
        handles=lines,
        loc="lower center",
        ncol=len(lines),
        frameon=False,
        fontsize=11,
        bbox_to_anchor=(0.5, 0.012),
        handlelength=2.6,
        columnspacing=2.4,
    )
