"""GraphML, GML and node-link JSON to networkx graphs, with errors that name the file.

The readers of networkx are lenient in some places and raise nearly anything in others; whatever they raise
becomes one clear error here.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import ParseError

import networkx as nx

from controller_app.model.position import Diagnostic, PolicyError, Position
from controller_app.policy.source_text import MAX_BYTES
from controller_app.policy.yaml_positions import Document

_GRAPH = re.compile(r"^(\s*)graph(\s*)\[", re.MULTILINE)


def read_graphml(text: str, name: str) -> nx.Graph:
    """A GraphML document (Topology Zoo files as they are). Raises PolicyError."""
    if "<!ENTITY" in text:
        raise PolicyError(
            [
                _problem(
                    Position(name),
                    "GraphML with entity declarations is not read",
                    "write the text out and remove the <!DOCTYPE> part",
                )
            ]
        )
    return _guarded(
        lambda: nx.parse_graphml(text, node_type=str, force_multigraph=True), text, name, "GraphML"
    )


def read_gml(text: str, name: str) -> nx.Graph:
    """A GML document. Raises PolicyError.

    Files of the Topology Zoo have parallel edges without saying `multigraph 1`, and labels that repeat; so
    that is said for them, and nodes go by their id.
    """
    if not re.search(r"^\s*multigraph\s+1\b", text, re.MULTILINE):
        text = _GRAPH.sub(r"\1graph\2[ multigraph 1", text, count=1)
    return _guarded(lambda: nx.parse_gml(text, label="id"), text, name, "GML")


def is_node_link(document: Document) -> bool:
    """Is this networkx' node-link format rather than ours?"""
    top = document.root.value
    return isinstance(top, dict) and "nodes" in top and ("links" in top or "edges" in top)


def read_node_link(document: Document) -> nx.Graph:
    """Node-link JSON, its edges under `links` or `edges`. Raises PolicyError with places.

    Ends that are whole numbers count nodes from 0 where no node has such an id, as d3 writes them.
    """
    data: dict[str, Any] = document.plain()
    key = "links" if "links" in data else "edges"
    graph = nx.MultiDiGraph() if data.get("directed") is True else nx.MultiGraph()
    problems: list[Diagnostic] = []
    nodes, links = data["nodes"], data[key]
    for section, items in (("nodes", nodes), (key, links)):
        if not isinstance(items, list):
            raise PolicyError([_at(document, (section,), "expected a list", "write [{...}, {...}]")])
    for index, node in enumerate(nodes):
        identity = node.get("id", index) if isinstance(node, dict) else None
        if not isinstance(identity, str | int | float):
            problems.append(
                _at(document, ("nodes", index), "expected a node with an id", 'write {"id": "s1"}')
            )
        elif identity in graph:
            problems.append(
                _at(
                    document,
                    ("nodes", index, "id"),
                    f"node {identity!r} is there already",
                    "give each node an id of its own",
                )
            )
        else:
            graph.add_node(identity, **{str(k): v for k, v in node.items() if k != "id"})
    order = list(graph.nodes)
    for index, link in enumerate(links):
        ends = []
        for side in ("source", "target"):
            end = link.get(side) if isinstance(link, dict) else None
            if isinstance(end, int) and end not in graph and 0 <= end < len(order):
                end = order[end]
            if not isinstance(end, str | int | float) or end not in graph:
                problems.append(
                    _at(
                        document,
                        (key, index, side),
                        f"no node with the id {end!r}",
                        'write {"source": ID, "target": ID}',
                    )
                )
            else:
                ends.append(end)
        if len(ends) == 2:
            graph.add_edge(*ends)
            attributes = {str(k): v for k, v in link.items() if k not in ("source", "target", "key")}
            keys = graph[ends[0]][ends[1]]
            keys[max(keys)].update(attributes)
    if problems:
        raise PolicyError(problems)
    return graph


def _guarded(read: Callable[[], nx.Graph], text: str, name: str, kind: str) -> nx.Graph:
    if len(text) > MAX_BYTES:
        raise PolicyError([_problem(Position(name), "the file is too large", "use a smaller one")])
    if not text.strip():
        raise PolicyError([_problem(Position(name), "the file is empty", f"write {kind}")])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about keys without a type, which the Topology Zoo has too
            return read()
    except ParseError as error:
        line, column = error.position
        raise PolicyError(
            [
                _problem(
                    Position(name, line, column + 1),
                    f"not {kind}: {error.msg}",
                    "correct the syntax here or just before",
                )
            ]
        ) from None
    except Exception as error:
        # networkx' readers raise KeyError, TypeError, RecursionError, ... for files they did not expect
        words = str(error).splitlines() or [type(error).__name__]
        raise PolicyError(
            [
                _problem(
                    Position(name),
                    f"not {kind} that can be read: {words[0]}",
                    f"check that it is {kind} with a graph in it",
                )
            ]
        ) from None


def _at(document: Document, path: tuple[str | int, ...], what: str, remedy: str) -> Diagnostic:
    text, position = document.walk(path)
    return Diagnostic(position, text, what, remedy)


def _problem(position: Position, what: str, remedy: str) -> Diagnostic:
    return Diagnostic(position, "document", what, remedy)
