"""Every network of the Topology Zoo that is at hand loads, and chains take the ways that trying everything finds."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

import networkx as nx
import pytest

from controller_app.model.topology import Link, Topology
from controller_app.routing.distances import Routes
from controller_app.routing.layered import Layer, Layered

ZOO = Path(__file__).parents[3] / "shared/data/topology_zoo"
FILES = sorted(ZOO.glob("*.graphml"))
QUERIES = 6
SIZES = (3, 4, 2)  # instances of the functions

if not FILES:
    pytest.skip(f"no topologies in {ZOO}", allow_module_level=True)


def cheapest_by_brute_force(
    chain: list[Layer], ingress: str, egress: str, distances: dict[str, dict[str, float]]
) -> float | None:
    """The least cost over every combination, each leg by networkx; None where there is no way."""
    found = []
    for instances in product(*(zip(layer.entries, layer.exits, strict=True) for layer in chain)):
        stops = [ingress, *(switch for arms in instances for switch in arms), egress]
        legs = list(zip(stops[::2], stops[1::2], strict=True))
        if all(end in distances[start] for start, end in legs):
            found.append(sum(distances[start][end] for start, end in legs))
    return min(found) if found else None


def priced(network: Topology, drawn: random.Random) -> Topology:
    """The same with costs from 1 to 9."""
    links = tuple(Link(link.a, link.b, cost=drawn.randint(1, 9)) for link in network.links)
    return Topology(network.switches, links)


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_ways_cost_what_brute_force_finds(path: Path) -> None:
    drawn = random.Random(path.stem)
    declared = Topology.load(str(path))
    assert declared.switches
    for network in (declared, priced(declared, drawn)):
        names = list(network.switches)
        chain = [
            Layer([drawn.choice(names) for _ in range(size)], [drawn.choice(names) for _ in range(size)])
            for size in SIZES
        ]
        pairs = [(drawn.choice(names), drawn.choice(names)) for _ in range(QUERIES)]
        graph = nx.Graph()  # of parallel links the cheapest
        graph.add_nodes_from(names)
        for link in network.links:
            known = graph.get_edge_data(link.a.switch, link.b.switch, {"cost": link.cost})["cost"]
            graph.add_edge(link.a.switch, link.b.switch, cost=min(known, link.cost))
        starts = {*(switch for layer in chain for switch in layer.exits), *(pair[0] for pair in pairs)}
        distances = {start: nx.single_source_dijkstra_path_length(graph, start, weight="cost") for start in starts}
        answers = Layered(Routes(network), chain).least([a for a, _ in pairs], [b for _, b in pairs])
        for pair, cost, instances, way in zip(pairs, answers.cost, answers.instances, answers.ways(), strict=True):
            least = cheapest_by_brute_force(chain, *pair, distances)
            if least is None:
                assert cost == float("inf") and way == ()
                continue
            assert cost == least  # the ratio is exactly 1
            assert walked_cost(graph, chain, instances.tolist(), way) == cost


def walked_cost(graph: nx.Graph, chain: list[Layer], instances: list[int], way: tuple[str, ...]) -> float:
    """What the links of a way cost, checked to lead through the instances it claims; a function carries packets from
    its entry to its exit at no cost."""
    total, at = 0.0, 0
    for number, layer in zip(instances, chain, strict=True):
        entry, leaving = layer.entries[number], layer.exits[number]
        leg = way.index(entry, at)  # a shortest way ends where it first meets its end
        total += sum(graph.edges[a, b]["cost"] for a, b in zip(way[at:leg], way[at + 1 : leg + 1], strict=True))
        at = leg + (entry != leaving)
        assert way[at] == leaving
    return total + sum(graph.edges[a, b]["cost"] for a, b in zip(way[at:], way[at + 1 :], strict=False))
