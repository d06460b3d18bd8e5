"""Any networkx graph as a topology: nodes become switches, edges become links.

Read from nodes: `label` (else the node itself), `Longitude`, `Latitude`. Read from edges: `latency` in
seconds (or text such as `2ms`), `bandwidth` in bits per second (or text such as `10Gbps`), `cost`, and as the
Topology Zoo writes them `LinkSpeedRaw` (bits per second) or `LinkSpeed` with `LinkSpeedUnits`. Whatever is
missing or makes no sense stays unknown: files from measurement have gaps.

Names are slugs of the labels, with the node's id appended where a label repeats, at most 15 characters.
The dpid is the node's index + 1. Ports count from 1 on each switch, in the order of `graph.edges`. An edge
from a node to itself is no link and takes no port; of a directed graph, an edge and its reverse are one link.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any

import networkx as nx
from pydantic_core import PydanticCustomError

from controller_app.model.position import PolicyError, Position
from controller_app.model.topology import End, Link, Switch, Topology
from controller_app.policy.diagnostics import Findings
from controller_app.policy.topology_merge import Draft, PlacedLink, merge
from controller_app.policy.values import parse_bandwidth, parse_latency

MAX_NAME = 15  # the longest name of a Linux interface (IFNAMSIZ - 1), which a bridge is
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}\Z")
_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}  # LinkSpeedUnits of the Topology Zoo


def topology_from_graph(graph: nx.Graph) -> Topology:
    """Build from any networkx graph, as described above. Raises PolicyError when it has too many ports."""
    findings = Findings()
    topology = merge([draft_from_graph(graph, "<graph>")], findings)
    if findings.errors:
        raise PolicyError(findings.errors)
    return topology


def draft_from_graph(graph: nx.Graph, name: str) -> Draft:
    """The graph's switches and links; `name` is the file they stand for in messages."""
    draft = Draft()
    where = Position(name)
    names = node_names({node: data.get("label") for node, data in graph.nodes(data=True)})
    for index, (node, data) in enumerate(graph.nodes(data=True)):
        longitude, latitude = _number(data.get("Longitude")), _number(data.get("Latitude"))
        draft.switches.append(
            Switch(names[node], index + 1, longitude=longitude, latitude=latitude, where=where)
        )
    ports: Counter[str] = Counter()
    unpaired: Counter[tuple[Hashable, Hashable]] = Counter()
    for a, b, data in graph.edges(data=True):
        if a == b:
            continue
        if graph.is_directed():
            if unpaired[b, a]:
                unpaired[b, a] -= 1
                continue
            unpaired[a, b] += 1
        ends = []
        for node in (a, b):
            ports[names[node]] += 1
            ends.append(End(names[node], ports[names[node]]))
        cost = _positive(data.get("cost"))
        link = Link(
            ends[0], ends[1], _latency(data), _bandwidth(data), 1 if cost is None else cost, where=where
        )
        draft.links.append(PlacedLink(link))
    return draft


def node_names(labels: Mapping[Any, object]) -> dict[Any, str]:
    """A name for every node, from node to label (None where it has none)."""
    slugs: dict[Any, str] = {}
    for node, label in labels.items():
        text = "" if label is None else str(label)
        if not slug(text):
            # without a label the node's own name counts; as it is, where it will do
            text = str(node)
            slugs[node] = text if _PLAIN.match(text) else slug(text) or "node"
        else:
            slugs[node] = slug(text)
    counts = Counter(value[:MAX_NAME].rstrip("-") for value in slugs.values())
    taken = {value for value, count in counts.items() if count == 1}
    names: dict[Any, str] = {}
    for index, (node, value) in enumerate(slugs.items()):
        short = value[:MAX_NAME].rstrip("-")
        if counts[short] > 1:
            short = _with_id(value, slug(str(node)) or str(index), taken)
            taken.add(short)
        names[node] = short
    return names


def slug(text: str) -> str:
    """Lower-case ASCII letters and digits, everything else as single dashes."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_text.lower()).strip("-")


def _with_id(value: str, node: str, taken: set[str]) -> str:
    suffix = f"-{node}"[: MAX_NAME - 1]
    name, count = f"{value[: MAX_NAME - len(suffix)].rstrip('-')}{suffix}", 2
    while name in taken:
        tail = f"{suffix[: MAX_NAME // 2]}-{count}"
        name, count = f"{value[: MAX_NAME - len(tail)].rstrip('-')}{tail}", count + 1
    return name


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _positive(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and number > 0 else None


def _latency(data: Mapping[str, Any]) -> float | None:
    value = data.get("latency", data.get("delay"))
    number = _number(value)
    if number is not None:
        return number if number >= 0 else None
    try:
        return parse_latency(value)
    except PydanticCustomError:
        return None


def _bandwidth(data: Mapping[str, Any]) -> float | None:
    for key in ("bandwidth", "LinkSpeedRaw"):
        number = _positive(data.get(key))
        if number is not None:
            return number
    try:
        return parse_bandwidth(data.get("bandwidth"))
    except PydanticCustomError:
        pass
    speed = _positive(data.get("LinkSpeed"))
    factor = _UNITS.get(str(data.get("LinkSpeedUnits", "?")).strip().upper())
    return speed * factor if speed is not None and factor is not None else None
