"""The chain paths as people read them: which instances, over which switches, at what cost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controller_app.model.allocation import Allocation
from controller_app.model.policy import Chain, Instance, Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.between import choices
from controller_app.pipeline.lacking import left_out_of
from controller_app.pipeline.regions import Prefix, Region, prefix_of, regions
from controller_app.pipeline.views import HostView, InstanceView, ListView, World, pair
from controller_app.pipeline.world import build_world
from controller_app.routing.constraints import Between


def paths(
    policy: Policy, topology: Topology, allocation: Allocation | None = None, chain: str | None = None
) -> dict[str, Any]:
    """The `path` document: for every classifier into a chain, each pair of edge switches and each direction,
    the paths with their switches, cost (sum of link costs) and slots out of 256.

    A path that cannot be walked stands under `rejected` with the reason. Taps are not listed as instances.
    """
    world, _ = build_world(policy, topology, allocation or Allocation())
    judged = choices(world)
    found = []
    for region in regions(world):
        if region.classifier.then.chain is None or (
            chain is not None and region.classifier.then.chain != chain
        ):
            continue
        if region.decision.action != "chain":
            continue
        view = world.lists[region.decision.list_key]
        ends = _edge_pairs(world, region)
        declared = policy.tenants[region.tenant].chains[region.classifier.then.chain]
        for ingress, egress in ends:
            one = judged.get((view.key, pair(ingress, egress)))
            if view.by_edges and one is None:
                continue  # nobody there has anything to send to anybody
            found.append(_between(world, region, declared, view, ingress, egress, one))
    return {"chains": found}


def _between(
    world: World,
    region: Region,
    chain: Chain,
    view: ListView,
    ingress: str,
    egress: str,
    one: Between | None,
) -> dict[str, Any]:
    """one: the choice between these edges, where they count."""
    backward = region.decision.backward
    listed = []
    rejected = []
    table = view.slots_between(ingress, egress)
    ways: dict[tuple[InstanceView, ...], int] = {}  # which taps get the copies makes no other way
    for path in table:
        if path:
            on_path = tuple(step for step in view.steps(path, backward) if step.mode.on_path)
            ways[on_path] = ways.get(on_path, 0) + 1
    without = table.count(0) if table else 256 if view.free else 0  # past functions that nobody performs
    if without:
        ways[()] = ways.get((), 0) + without
    for steps, slots in sorted(ways.items(), key=lambda item: (-item[1], [step.name for step in item[0]])):
        names = [step.name for step in steps]
        switches, cost, broken = walk(world, ingress, steps, egress, backward)
        if broken:
            rejected.append({"instances": names, "why": broken})
        else:
            listed.append({"instances": names, "switches": switches, "cost": cost, "slots": slots})
    if one is not None:
        used = {tuple(step.name for step in view.paths[path]) for path in table if path}
        rejected += [{"instances": list(names), "why": why} for names, why in left_out_of(one, used)]
    for name in view.functions:
        usable = {instance.name for instance in world.instances[view.tenant, name]}
        for instance in world.policy.tenants[view.tenant].functions[name].instances.values():
            if instance.name not in usable:
                rejected.append({"instances": [instance.name], "why": _missing(world, view.tenant, name, instance)})
    return {
        "name": chain.name,
        "classifier": region.classifier.name,
        "tenant": region.tenant,
        "ingress": ingress,
        "egress": egress,
        "direction": "backward" if backward else "forward",
        "paths": listed,
        "rejected": rejected,
    }


def _missing(world: World, tenant: str, function: str, instance: Instance) -> str:
    """Why an instance takes no slots."""
    host = instance.host
    found = world.topology.hosts.get(host)
    if found is None:
        return f"there is no host {host}"
    down = [str(end) for end in found.attach.values() if end in world.topology.down]
    if down:
        return f"port {down[0]} is down" if len(down) == 1 else f"ports {' and '.join(down)} are down"
    if f"functions/{tenant}/{function}/{instance.name}" in world.topology.unready:
        return "its health checks fail"
    if {"in", "out"} <= set(found.attach):
        return f"no way to {host} from any switch with hosts, and back"
    return f"{host} has not the arms that its function needs"


def walk(
    world: World, ingress: str, steps: Iterable[InstanceView], egress: str, backward: bool
) -> tuple[list[str], float, str | None]:
    """The switches from ingress through the steps to egress, their cost, and why it cannot be walked."""
    at = ingress
    switches = [ingress]
    cost = 0.0
    legs: list[tuple[str, str]] = []  # where to, and where it comes out again
    for step in steps:
        legs.append((step.entry(backward).switch, step.exit(backward).switch))
    legs.append((egress, egress))
    for target, out in legs:
        row = world.routes.row(target)
        way = row.walk(at)
        if way is None:
            return [], 0, f"no way from {at} to {target}"
        switches += way[1:]
        cost += row.cost[at]
        if out != switches[-1]:
            switches.append(out)  # the function itself carries the packet between its two switches
        at = out
    return switches, int(cost) if cost == int(cost) else cost, None


def _edge_pairs(world: World, region: Region) -> list[tuple[str, str]]:
    pairs: dict[tuple[str, str], None] = {}
    for box in region.boxes:
        for source in _edges(world, region, box.source):
            for target in _edges(world, region, box.destination):
                pairs[source, target] = None
    return sorted(pairs)


def _edges(world: World, region: Region, prefix: Prefix) -> list[str]:
    """Switches where packets of this prefix enter or leave: its hosts', or its service's providers'."""
    found: dict[str, None] = {}
    for host in world.hosts.values():
        if host.tenant == region.tenant and host.mac is not None and _holds(prefix, host):
            found[host.switch] = None
    for service in world.services.values():
        if service.tenant == region.tenant and any(prefix.holds(prefix_of(ip)) for ip in service.ips):
            for provider in service.providers.values():
                found[provider.switch] = None
    return list(found)


def _holds(prefix: Prefix, host: HostView) -> bool:
    return any(prefix.meets(prefix_of(value)) for value in (*host.ips, *host.prefixes))
