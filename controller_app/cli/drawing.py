"""The picture of `chainctl path`: the network, and on it the switches that the chosen paths cross."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from math import hypot
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller_app.cli.common import Failure
from controller_app.cli.places import MANY, Place, layout, near, on_globe, stretch
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

COLOURS = ("#1e88e5", "#e53935", "#43a047", "#8e24aa", "#fb8c00", "#00897b", "#6d4c41", "#3949ab")
MOST = len(COLOURS)  # paths that are drawn
_INK, _CABLE, _SWITCH, _FUNCTION = "#263238", "#c3ced4", "#546e7a", "#ef6c00"
_FAINT = "#e4e9ec"  # of a large network, what is not near the paths
_LANE = 4.5  # pixels between the ways that share a link
_SHAPE = 1.5  # how much wider than high a map is, so that it fills the paper
_HEAD = 24.0  # pixels; shorter hops have no arrow
_ASIDE = ((7, 6, "left", "bottom"), (7, -6, "left", "top"), (-7, 6, "right", "bottom"), (-7, -6, "right", "top"),
          (0, 10, "center", "bottom"), (0, -10, "center", "top"))  # where a name may stand, in points  # fmt: skip

_Way = tuple[str, Mapping[str, Any]]
_Box = tuple[float, float, float, float]  # left, bottom, right, top


def draw_paths(policy: Policy, topology: Topology, chains: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Draw the items of a `path` document (its "chains") as SVG or PNG, by the file's suffix. Switches that say where
    they are on the globe are drawn there. Of a large network what the paths are near is drawn, and where it is on a map
    the rest of that in faint. Failure where that cannot be done."""
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
    except ModuleNotFoundError:
        raise Failure("pictures need matplotlib: pip install 'chainsteer[lab]'") from None
    ways = _ways(chains)
    used = {switch for _, way in ways for switch in way["switches"]}
    large = len(topology.switches) > MANY and bool(used)
    shown = near(topology, used) if large else set(topology.switches)
    places = layout(topology, shown)
    figure = Figure(figsize=(12, 9), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.axis("off")
    _ground(axes, topology, places, shown, used)
    handles = [Line2D([], [], color=colour, linewidth=2.6, label=label)
               for colour, (label, _) in zip(COLOURS, ways, strict=False)]  # fmt: skip
    if len(ways) > MOST:
        handles.append(Line2D([], [], color="white", label=f"and {len(ways) - MOST} more paths, not drawn"))
    if len(places) < len(topology.switches):
        handles.append(Line2D([], [], color="white", label=f"{len(topology.switches) - len(places)} of "
                              f"{len(topology.switches)} switches are not drawn"))  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncol=1 if len(handles) < 5 else 2, frameon=False,
                  fontsize=10)  # fmt: skip
    figure.draw_without_rendering()  # from here on it is known where everything is on the paper
    figure.set_layout_engine("none")
    _lanes(axes, places, ways[:MOST])
    _names(axes, places, _labels(policy, topology, ways, used, () if large else shown), _ends(ways))
    try:
        # the same picture gives the same bytes, and its words can be searched
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "paths"}):
            figure.savefig(file, dpi=130, metadata={"Date": None} if file.suffix == ".svg" else None)
    except (OSError, ValueError) as error:
        raise Failure(f"{file}: {error}; give a name that ends in .svg or .png, in a directory that is there") from None


def _ground(
    axes: Axes, topology: Topology, places: Mapping[str, Place], shown: Collection[str], used: Collection[str]
) -> None:
    """Links and switches, and the part of them that fills the picture."""
    from matplotlib.collections import LineCollection

    for faint in (True, False):
        links = [(places[link.a.switch], places[link.b.switch]) for link in topology.links
                 if link.a.switch in places and link.b.switch in places
                 and faint == (not {link.a.switch, link.b.switch} <= set(shown))]  # fmt: skip
        axes.add_collection(LineCollection(links, colors=_FAINT if faint else _CABLE, linewidths=1.0 if faint else 1.6,
                                           zorder=0 if faint else 1))  # fmt: skip
        names = [name for name in places if faint == (name not in shown)]
        sizes = [6 if faint else 90 if name in used else 28 for name in names]
        axes.scatter([places[name][0] for name in names], [places[name][1] for name in names], s=sizes,
                     color=_FAINT if faint else _SWITCH, zorder=0 if faint else 4)  # fmt: skip
    there = [places[name] for name in shown if name in places] or [(0.0, 0.0)]
    spans = []
    for values in zip(*there, strict=True):
        margin = 0.08 * (max(values) - min(values)) or 0.5
        spans.append([min(values) - margin, max(values) + margin])
    if on_globe(topology):
        taller = stretch(there)
        axes.set_aspect(taller)
        wide, high = spans[0][1] - spans[0][0], (spans[1][1] - spans[1][0]) * taller
        _widen(spans[0], high * _SHAPE - wide)
        _widen(spans[1], (wide / _SHAPE - high) / taller)
    axes.set_xlim(*spans[0])
    axes.set_ylim(*spans[1])


def _widen(span: list[float], by: float) -> None:
    """On both sides, if it is to be wider at all."""
    span[0] -= max(0.0, by) / 2
    span[1] += max(0.0, by) / 2


def _lanes(axes: Axes, places: Mapping[str, Place], ways: Sequence[_Way]) -> None:
    """The ways, side by side where they share a link, with an arrow in each hop that is long enough."""
    onto, back = axes.transData, axes.transData.inverted()
    points = {name: (float(x), float(y)) for name, (x, y) in ((n, onto.transform(at)) for n, at in places.items())}
    sharing: dict[frozenset[str], dict[int, None]] = {}
    for number, (_, way) in enumerate(ways):
        for hop in pairwise(way["switches"]):
            sharing.setdefault(frozenset(hop), {})[number] = None
    for number, (_, way) in enumerate(ways):
        for a, b in pairwise(way["switches"]):
            lanes = list(sharing[frozenset((a, b))])
            dx, dy = _beside(points, a, b, (lanes.index(number) - (len(lanes) - 1) / 2) * _LANE)
            (ax, ay), (bx, by) = points[a], points[b]
            start, end = back.transform([(ax + dx, ay + dy), (bx + dx, by + dy)])
            axes.plot((start[0], end[0]), (start[1], end[1]), color=COLOURS[number], linewidth=2.2, zorder=3,
                      solid_capstyle="round")  # fmt: skip
            if hypot(bx - ax, by - ay) >= _HEAD:
                at = [(share * ax + (1 - share) * bx + dx, share * ay + (1 - share) * by + dy) for share in (0.45, 0.4)]
                tail, head = back.transform(at)
                arrow = axes.annotate("", head, tail, zorder=3, arrowprops={
                    "arrowstyle": "-|>,head_length=0.5,head_width=0.25", "color": COLOURS[number], "lw": 2.2,
                    "shrinkA": 0, "shrinkB": 0})  # fmt: skip
                arrow.set_in_layout(False)


def _beside(points: Mapping[str, Place], a: str, b: str, aside: float) -> Place:
    """How far a lane lies beside a link: to the same side, whichever way it is taken."""
    (ax, ay), (bx, by) = (points[name] for name in sorted((a, b)))
    length = hypot(bx - ax, by - ay) or 1.0
    return (by - ay) / length * aside, (ax - bx) / length * aside


def _names(
    axes: Axes, places: Mapping[str, Place], labels: Mapping[str, Sequence[str]], ends: Sequence[str]
) -> None:
    """What is written at switches, where it covers nothing written before. ends: of the paths; they come first, then
    the switches of instances, and both are written in any case."""
    needed = [*(name for name in ends if name in labels), *(name for name, texts in labels.items() if len(texts) > 1)]
    paper = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    points = [axes.transData.transform(place) for place in places.values()]
    left, bottom, right, top = axes.get_window_extent().extents
    taken: list[_Box] = [(x - 4, y - 4, x + 4, y + 4) for x, y in points if left <= x <= right and bottom <= y <= top]
    for name in dict.fromkeys((*needed, *labels)):
        tried: list[tuple[float, int, Annotation, _Box]] = []
        for x, y, across, up in _ASIDE:
            text = axes.annotate(
                "\n".join(labels[name]), places[name], (x, y), textcoords="offset points", fontsize=9, zorder=5,
                ha=across, va=up, color=_FUNCTION if len(labels[name]) > 1 else _INK, bbox=paper,
            )  # fmt: skip
            text.set_in_layout(False)
            left, bottom, right, top = text.get_window_extent().extents
            box = left, bottom, right, top
            covered = sum(_common(box, other) for other in taken)
            tried.append((covered, len(tried), text, box))
            if not covered:
                break
        best = min(tried, key=lambda one: one[:2])
        keep = not best[0] or name in needed
        for one in tried:
            if one is not best or not keep:
                one[2].remove()
        if keep:
            taken.append(best[3])


def _common(one: _Box, other: _Box) -> float:
    """The area that two boxes share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def _ways(chains: Sequence[Mapping[str, Any]]) -> list[_Way]:
    """Every different way, with what the legend says of it: replies that go back along the same one are the same."""
    found: dict[tuple[object, ...], _Way] = {}
    for item in chains:
        for way in item["paths"]:
            key = item["name"], tuple(way["instances"]), tuple(way["switches"])
            back = item["name"], tuple(way["instances"][::-1]), tuple(way["switches"][::-1])
            if key not in found and back not in found:
                through = ", ".join(way["instances"]) or "no function"
                text = f"{item['name']}: {item['ingress']} to {item['egress']} through {through} (cost {way['cost']})"
                found[key] = text, {**way, "tenant": item["tenant"]}
    return list(found.values())


def _ends(ways: Sequence[_Way]) -> list[str]:
    """The switches where the drawn paths begin and end."""
    return list(dict.fromkeys(way["switches"][at] for _, way in ways[:MOST] for at in (0, -1)))


def _labels(
    policy: Policy, topology: Topology, ways: Sequence[_Way], used: set[str], others: Collection[str]
) -> dict[str, list[str]]:
    """What is written at switches: their names, and the instances that paths meet there, those first. others: that no
    path crosses, and have names all the same."""
    met = {(way["tenant"], instance) for _, way in ways for instance in way["instances"]}
    found: dict[str, list[str]] = {}
    for switch, instance in _standing(policy, topology, met):
        found.setdefault(switch, [switch]).append(instance)
    for name in (*sorted(used), *(name for name in topology.switches if name in others)):
        found.setdefault(name, [name])
    return found


def _standing(policy: Policy, topology: Topology, met: Collection[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The switches of these instances (by tenant and name), each with the instance."""
    for tenant in policy.tenants.values():
        for function in tenant.functions.values():
            for instance in function.instances.values():
                host = topology.hosts.get(instance.host)
                if host is not None and (tenant.name, instance.name) in met:
                    for switch in dict.fromkeys(end.switch for end in host.attach.values()):
                        yield switch, instance.name
