"""Graphs of other people as topologies: GraphML, GML, node-link JSON, networkx itself."""

from __future__ import annotations

import json
from pathlib import Path

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller_app.model.position import PolicyError
from controller_app.model.topology import End, Link, Switch, Topology
from controller_app.policy.topology_file import load_topology, parse_topology
from controller_app.policy.topology_graph import node_names, topology_from_graph

ZOO = Path(__file__).parents[2].parent / "shared" / "data" / "topology_zoo"
needs_zoo = pytest.mark.skipif(not ZOO.is_dir(), reason=f"the Topology Zoo is not at {ZOO}")


@needs_zoo
def test_every_topology_zoo_file_loads_as_it_is() -> None:
    files = sorted(ZOO.glob("*.graphml"))
    assert len(files) > 100
    for file in files:
        topology = load_topology(str(file))
        raw = nx.read_graphml(file, force_multigraph=True)
        assert len(topology.switches) == len(raw)
        assert len(topology.links) == sum(a != b for a, b in raw.edges())
        assert all(0 < len(name) <= 15 for name in topology.switches)
        assert [switch.dpid for switch in topology.switches.values()] == list(range(1, len(raw) + 1))
        ends = [end for link in topology.links for end in (link.a, link.b)]
        assert len(set(ends)) == len(ends)
        for name in topology.switches:
            ports = [end.port for end in ends if end.switch == name]
            assert ports == list(range(1, len(ports) + 1)), "ports follow edge order"
        parts = nx.number_connected_components(nx.Graph(raw))
        assert nx.number_connected_components(nx.Graph(topology.graph)) == parts


@needs_zoo
def test_a_topology_zoo_file_in_detail() -> None:
    topology = load_topology(str(ZOO / "Abilene.graphml"))
    assert list(topology.switches.values())[:2] == [
        Switch("new-york", 1, longitude=-74.00597, latitude=40.71427),
        Switch("chicago", 2, longitude=-87.65005, latitude=41.85003),
    ]
    assert topology.links[0] == Link(End("new-york", 1), End("chicago", 1))


GML = """\
Creator "graph [ of somebody"
graph [
  directed 0
  Network "Foo"
  node [ id 0 label "New York" Longitude -74.0 Latitude 40.7 ]
  node [ id 1 label "S&#227;o Paulo" ]
  node [ id 2 label "New York" ]
  node [ id 7 ]
  edge [ source 0 target 1 LinkSpeedRaw 10000000000.0 ]
  edge [ source 0 target 1 LinkSpeed "2.5" LinkSpeedUnits "G" ]
  edge [ source 1 target 1 ]
  edge [ source 2 target 1 LinkLabel "unknown" ]
]
"""


def test_gml_with_parallel_edges_repeated_labels_and_gaps() -> None:
    topology = parse_topology(GML, "x.gml")
    assert list(topology.switches) == ["new-york-0", "sao-paulo", "new-york-2", "7"]
    assert topology.switches["new-york-0"].longitude == -74.0
    assert topology.links == (
        Link(End("new-york-0", 1), End("sao-paulo", 1), bandwidth=1e10),
        Link(End("new-york-0", 2), End("sao-paulo", 2), bandwidth=2.5e9),
        Link(End("sao-paulo", 3), End("new-york-2", 1)),
    )


def graph() -> nx.MultiGraph:
    made = nx.MultiGraph()
    made.add_edge("s1", "s2", bandwidth="10Gbps", latency="2ms", cost=3)
    made.add_edge("s1", "s2", bandwidth=1e6, latency=0.5)
    made.add_edge("s2", "S3", bandwidth="fast", latency=-1, cost=0)
    return made


LINKS = (
    Link(End("s1", 1), End("s2", 1), 0.002, 1e10, 3),
    Link(End("s1", 2), End("s2", 2), 0.5, 1e6),
    Link(End("s2", 3), End("S3", 1)),
)


@pytest.mark.parametrize("edges", ["links", "edges"])
def test_node_link_json(edges: str) -> None:
    text = json.dumps(nx.node_link_data(graph(), edges=edges))
    topology = parse_topology(text, "x.json")
    assert (list(topology.switches), topology.links) == (["s1", "s2", "S3"], LINKS)


def test_node_link_json_as_d3_writes_it() -> None:
    text = json.dumps(
        {"nodes": [{"id": "a"}, {"id": "b"}], "links": [{"source": 0, "target": 1, "value": 5}]}
    )
    assert parse_topology(text, "x.json").links == (Link(End("a", 1), End("b", 1)),)


def test_networkx_graphs() -> None:
    topology = Topology.from_networkx(graph())
    assert (list(topology.switches), topology.links) == (["s1", "s2", "S3"], LINKS)
    assert list(Topology.from_networkx(nx.path_graph(3)).switches) == ["0", "1", "2"]
    assert Topology.from_networkx(nx.Graph()) == Topology()


def test_an_edge_and_its_reverse_are_one_link() -> None:
    directed = nx.MultiDiGraph([("a", "b"), ("b", "a"), ("a", "b"), ("b", "c")])
    assert [(str(link.a), str(link.b)) for link in topology_from_graph(directed).links] == [
        ("a:1", "b:1"),
        ("a:2", "b:2"),
        ("b:3", "c:1"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "line", "what"),
    [
        ("x.graphml", "<graphml>\n<graph", 2, "not GraphML"),
        ("x.graphml", "", 0, "the file is empty"),
        ("x.graphml", "version: 1\n", 1, "not GraphML"),
        ("x.graphml", "<a/>", 0, "not GraphML that can be read"),
        ("x.graphml", '<!DOCTYPE a [<!ENTITY b "c">]><graphml/>', 0, "entity declarations"),
        ("x.gml", "graph [ node [ id 0 ", 0, "not GML that can be read"),
        ("x.gml", "graph [ node [ id 0 ] edge [ source 0 target 5 ] ]", 0, "not GML that can be read"),
        (
            "x.json",
            '{"nodes": [{"id": "a"}],\n "links": [{"source": "a", "target": "b"}]}',
            2,
            "no node with the id 'b'",
        ),
        ("x.json", '{"nodes": [{"id": "a"},\n{"id": "a"}], "edges": []}', 2, "node 'a' is there already"),
        ("x.json", '{"nodes": {"a": 1}, "edges": []}', 1, "expected a list"),
        ("x.json", '{"nodes": [1], "edges": []}', 1, "expected a node with an id"),
        ("x.json", '{"nodes": [}', 1, "not YAML"),
    ],
)
def test_what_is_no_such_file(name: str, text: str, line: int, what: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_topology(text, name)
    (problem,) = caught.value.diagnostics
    assert (problem.position.file, problem.position.line) == (name, line), problem
    assert what in problem.what


labels = st.one_of(
    st.none(), st.text(max_size=20), st.sampled_from(["New York", "new-york", "NEW YORK!", "x" * 40])
)
nodes = st.one_of(st.integers(0, 10**18), st.text(max_size=20))


@given(st.dictionaries(nodes, labels, max_size=12))
def test_names_are_unique_short_and_plain(labels: dict[object, object]) -> None:
    names = list(node_names(labels).values())
    assert len(set(names)) == len(labels)
    for name in names:
        assert 0 < len(name) <= 15
        assert name.isascii() and all(c.isalnum() or c in "-._" for c in name) and name[0].isalnum()
    assert node_names(labels) == node_names(labels)
