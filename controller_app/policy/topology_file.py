"""Topology files to one `Topology`: YAML, JSON, GraphML, GML, node-link JSON, Mininet scripts.

The kind is told from the name: `.graphml`, `.gml`, `FILE.py:TOPO`; everything else is YAML or JSON, where
JSON with `nodes` and `links` (or `edges`) is networkx' node-link format.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from controller_app.model.position import PolicyError, Position
from controller_app.model.topology import Host, Link, Switch, Topology
from controller_app.policy.diagnostics import Findings
from controller_app.policy.graph_formats import is_node_link, read_gml, read_graphml, read_node_link
from controller_app.policy.reading import ALL, check
from controller_app.policy.schema_topology import HostSpec, TopologyFile
from controller_app.policy.source_text import read_file
from controller_app.policy.topology_graph import draft_from_graph
from controller_app.policy.topology_merge import Draft, PlacedHost, PlacedLink, merge
from controller_app.policy.topology_mininet import read_mininet
from controller_app.policy.yaml_positions import Document, mapping_document

__all__ = ["load_topologies", "load_topology", "parse_topology"]

_SCRIPT = re.compile(r"(?P<file>.+\.py):(?P<topo>[A-Za-z_]\w*)\Z", re.DOTALL)


def load_topology(path: str) -> Topology:
    """Read one file, or `lab.py:MyTopo`. Raises PolicyError with every problem found."""
    return load_topologies([path])


def load_topologies(paths: Sequence[str]) -> Topology:
    """Read several files into one topology; a link or host in one may name a switch of another.

    Raises PolicyError with every problem found in any of them.
    """
    findings = Findings()
    drafts = []
    for path in dict.fromkeys(paths):
        script = _SCRIPT.match(path)
        try:
            if path.endswith(".py"):
                findings.error(
                    Position(path),
                    "document",
                    "a Python file is no topology by itself",
                    f"name the class: {path}:MyTopo",
                )
            elif script:
                drafts.append(read_mininet(script["file"], script["topo"]))
            else:
                drafts.append(_draft(read_file(path), path, findings))
        except PolicyError as error:
            findings.all.extend(error.diagnostics)
    return _finish(drafts, findings)


def parse_topology(text: str, name: str) -> Topology:
    """Like load_topology, from text; the ending of `name` tells the format."""
    findings = Findings()
    drafts = []
    try:
        drafts.append(_draft(text, name, findings))
    except PolicyError as error:
        findings.all.extend(error.diagnostics)
    return _finish(drafts, findings)


def _finish(drafts: list[Draft], findings: Findings) -> Topology:
    topology = merge(drafts, findings)
    if findings.errors:
        raise PolicyError(sorted(dict.fromkeys(findings.errors), key=lambda item: item.position))
    return topology


def _draft(text: str, name: str, findings: Findings) -> Draft:
    lowered = name.lower()
    if lowered.endswith((".graphml", ".graphml.xml")):
        return draft_from_graph(read_graphml(text, name), name)
    if lowered.endswith(".gml"):
        return draft_from_graph(read_gml(text, name), name)
    document = mapping_document(text, name)
    if is_node_link(document):
        return draft_from_graph(read_node_link(document), name)
    return _read(document, findings)


def _read(document: Document, findings: Findings) -> Draft:
    draft = Draft()
    checked = check(document, document.plain(), TopologyFile, findings)
    if checked is None:
        return draft
    spec = checked.value
    # a section that cannot be read at all leaves every reference into it open, which helps nobody
    unreadable = ALL in checked.faulty.get("switches", ())
    draft.faulty.update(checked.faulty.get("switches", ()))
    for name, item in spec.switches.items():
        draft.switches.append(
            Switch(
                name,
                item.dpid,
                item.rack,
                item.zone,
                item.region,
                item.longitude,
                item.latitude,
                dict(item.labels),
                document.locate(("switches", name), key=True),
            )
        )
    for position, wire in enumerate(spec.links):
        path = ("links", checked.index("links", position))
        text, where = document.walk(path)
        a, b = wire.ends
        link = Link(a, b, wire.latency, wire.bandwidth, wire.cost, wire.kind, wire.mtu, where)
        places = tuple(document.locate((*path, "ends", index)) for index in range(2))
        draft.links.append(PlacedLink(link, text, places))
        if unreadable:
            draft.faulty.update((a.switch, b.switch))
    for name, attached in spec.hosts.items():
        host = _host(name, attached, document, findings)
        arms = {arm: document.locate(("hosts", name, "attach", arm, "port")) for arm in host.attach}
        draft.hosts.append(PlacedHost(host, arms))
        if unreadable:
            draft.faulty.update(end.switch for end in host.attach.values())
    return draft


def _host(name: str, spec: HostSpec, document: Document, findings: Findings) -> Host:
    """An arm's own addresses may be written with it; those of the first arm are the host's."""
    first, *others = spec.attach
    mac, ips = spec.mac, tuple(spec.ip)
    for key, of_host, of_arm in (("mac", mac, spec.attach[first].mac), ("ip", ips, spec.attach[first].ip)):
        if of_host and of_arm:
            path, where = document.walk(("hosts", name, "attach", first, key))
            findings.error(
                where,
                path,
                f"host {name!r} has its {key} written at {document.locate(('hosts', name, key))} already",
                f"keep one: the {key} of the arm {first} is the host's",
            )
    out = spec.attach[others[0]] if others else None
    ips = ips or tuple(spec.attach[first].ip)
    out_ips = tuple(out.ip) if out else ()
    return Host(
        name,
        {arm: item.port for arm, item in spec.attach.items()},
        ips,
        mac or spec.attach[first].mac,
        tuple(spec.prefixes),
        out.mac if out else None,
        out_ips,
        spec.vlan,
        declared=bool(ips or out_ips or spec.prefixes),
        where=document.locate(("hosts", name), key=True),
    )
