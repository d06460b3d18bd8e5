"""What to draw for a chain: its ways from one edge switch to another, with weights and slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import networkx as nx

from controller_app.balancing.selectors import matches
from controller_app.model.policy import Classifier, Party, Policy, Selector, Tenant
from controller_app.model.topology import Topology
from mininet_scenarios.harness.picture import Node, Point, Region, Way, draw

COLOURS = ("#1565c0", "#d84315", "#2e7d32", "#00838f", "#6d4c41")  # one for each way
TAP_COLOUR = "#8e24aa"


def draw_chain(
    topology: Topology,
    policy: Policy,
    chains: Sequence[Mapping[str, Any]],
    places: Mapping[str, Point],
    edges: tuple[str, str],
    file: Path,
) -> None:
    """Draw the forward ways of the first chain between two edge switches (`edges`) over the topology.

    `chains` is the list under "chains" of `chainctl path -o json`; `places` has coordinates for every node.
    """
    tenant = policy.tenants["default"]
    chosen = next(
        item
        for item in chains
        if item["direction"] == "forward" and (item["ingress"], item["egress"]) == edges
    )
    classifier = tenant.classifiers[chosen["classifier"]]
    slots = {path["instances"][0]: path["slots"] for path in chosen["paths"] if len(path["instances"]) == 1}
    nodes = _nodes(topology, tenant, places, slots)
    ways = _ways(topology, tenant, chosen, nodes, edges)
    chain = tenant.chains[chosen["name"]]
    title = (
        f"{classifier.name}:  {_party(classifier.source)} → {_party(classifier.destination)}  "
        f"through  {' → '.join(chain.through)}"
    )
    draw(topology, nodes, ways, _regions(topology, tenant, classifier), title, file)


def _party(party: Party) -> str:
    return party.value.text if isinstance(party.value, Selector) else str(party.value or "any")


def _at(topology: Topology, host: str) -> str:
    """The switch a host is attached to (its first arm's)."""
    return next(iter(topology.hosts[host].attach.values())).switch


def _providers(tenant: Tenant) -> dict[str, str]:
    """Provider hosts and the service each is one of."""
    return {
        endpoint.host: service.name
        for service in tenant.services.values()
        for endpoint in tenant.endpoints.values()
        if matches(service.selector, endpoint.labels)
    }


def _nodes(
    topology: Topology, tenant: Tenant, places: Mapping[str, Point], slots: Mapping[str, int]
) -> dict[str, Node]:
    nodes = {name: Node("switch", name, places[name]) for name in topology.switches}
    functions = {
        instance.host: (function, instance)
        for function in tenant.functions.values()
        for instance in function.instances.values()
    }
    providers = _providers(tenant)
    for name, host in topology.hosts.items():
        kind, lines = "provider" if name in providers else "host", [name, *map(str, host.ips)]
        if name in functions:
            function, instance = functions[name]
            kind = "tap" if function.mode == "tap" else "function"
            lines = [name, function.name]
            if kind == "tap":
                lines = [name, f"{function.name} (tap)"]
            else:
                share = f", {slots[instance.name]}/256 slots" if instance.name in slots else ""
                lines.append(f"weight {instance.weight}{share}")
        nodes[name] = Node(kind, "\n".join(lines), places[name])
    return nodes


def _ways(
    topology: Topology,
    tenant: Tenant,
    chosen: Mapping[str, Any],
    nodes: Mapping[str, Node],
    edges: tuple[str, str],
) -> list[Way]:
    through = [tenant.functions[name] for name in tenant.chains[chosen["name"]].through]
    hosts = {item.name: item.host for function in through for item in function.instances.values()}
    taps = [
        item.host for function in through if function.mode == "tap" for item in function.instances.values()
    ]
    client = next(
        name for name in topology.hosts if nodes[name].kind == "host" and _at(topology, name) == edges[0]
    )
    server = [
        name for name in topology.hosts if nodes[name].kind == "provider" and _at(topology, name) == edges[1]
    ]
    ways = []
    for number, path in enumerate(chosen["paths"]):
        visits = [hosts[name] for name in path["instances"]]
        way = (client, *_through(topology, path["switches"], visits), *server[:1])
        label = f"by {' and '.join(path['instances'])}: {path['slots']} of 256 slots"
        ways.append(Way(label, way, COLOURS[number % len(COLOURS)]))
        for tap in taps:
            last = _at(topology, visits[-1]) if visits else edges[0]
            route = nx.shortest_path(topology.graph, last, _at(topology, tap), weight="cost")
            ways.append(Way("copies for the tap", (*route, tap), TAP_COLOUR, True))
    return ways


def _through(topology: Topology, switches: Sequence[str], visits: Sequence[str]) -> list[str]:
    """The switches of a path with each function put in where the path is at its switch."""
    left, nodes = list(visits), list[str]()
    for switch in switches:
        nodes.append(switch)
        while left and _at(topology, left[0]) == switch:
            nodes += [left.pop(0), switch]
    return nodes


def _regions(topology: Topology, tenant: Tenant, classifier: Classifier) -> list[Region]:
    """A frame around the hosts of the source network, and one around the service's providers."""
    found = []
    if classifier.source.kind == "network":
        network = tenant.networks[str(classifier.source.value)]
        inside = tuple(
            name
            for name, host in topology.hosts.items()
            if any(ip in subnet for ip in host.ips for subnet in network.subnets)
        )
        found.append(Region(f"{network.name}\n{', '.join(map(str, network.subnets))}", inside))
    if classifier.destination.kind == "service":
        service = tenant.services[str(classifier.destination.value)]
        inside = tuple(host for host, name in _providers(tenant).items() if name == service.name)
        ports = ", ".join(f"{port.port} → {port.target}" for port in service.ports)
        found.append(
            Region(
                f"{service.name}  {', '.join(map(str, service.ips))}\n{service.selector.text};  {ports}",
                inside,
            )
        )
    return [region for region in found if region.nodes]
