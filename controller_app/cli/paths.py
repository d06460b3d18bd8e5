"""Commands about paths, without a controller: which are chosen and why, their picture, and what becomes of them when
something fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controller_app.cli.common import (
    Failure,
    Output,
    Policies,
    SymmetricHash,
    Topologies,
    emit,
    emit_document,
    emit_table,
    output_format,
    say,
    stop,
)
from controller_app.cli.offline import load

if TYPE_CHECKING:
    from controller_app.model.policy import Policy
    from controller_app.model.topology import Topology

_OneChain = Annotated[str | None, typer.Argument(metavar="[CHAIN]", help="Only this chain.")]


def path(
    chain: _OneChain = None,
    topology: Topologies = None,
    policy: Policies = None,
    why: Annotated[bool, typer.Option("--why", help="Explain each choice.")] = False,
    svg: Annotated[str | None, typer.Option("--svg", metavar="FILE", help="Draw the paths into an SVG file.")] = None,
    png: Annotated[str | None, typer.Option("--png", metavar="FILE", help="Draw the paths into a PNG file.")] = None,
    output: Output = None,
    symmetric_hash: SymmetricHash = True,
) -> None:
    """The chosen instance paths with their switches and cost, and why a candidate was rejected. They are the same
    whichever hash chooses among them."""
    del symmetric_hash
    from controller_app.pipeline.paths import paths

    chosen = output_format(output)
    loaded, network = load(topology, policy)
    document = paths(loaded, network, chain=_known(loaded, chain))
    for name in filter(None, (_named(svg, ".svg"), _named(png, ".png"))):
        from controller_app.cli.drawing import draw_paths

        draw_paths(loaded, network, document["chains"], Path(name))
        say(f"drawn: {name}")
    if chosen != "table":
        return emit_document(document, chosen)
    if why:
        return _explain(loaded, network, document["chains"])
    rows = []
    for item in document["chains"]:
        head = _head(item)
        rows += [
            [*head, ", ".join(way["instances"]) or "-", " > ".join(way["switches"]), way["cost"], f"{way['slots']}/256"]
            for way in item["paths"]
        ]
        rows += [
            [*head, ", ".join(way["instances"]) or "-", f"rejected: {way['why']}", "-", "-"] for way in item["rejected"]
        ]
    emit_table(("chain", "classifier", "direction", "edge", "instances", "switches", "cost", "slots"), rows)


def what_if(
    chain: _OneChain = None,
    down: Annotated[
        list[str] | None,
        typer.Option(
            "--down", metavar="PART", help="A link (s1-s2, or a port of it: s1:1), a switch, or a host. Repeatable."
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Also the chains that nothing happens to.")] = False,
    topology: Topologies = None,
    policy: Policies = None,
    output: Output = None,
    symmetric_hash: SymmetricHash = True,
) -> None:
    """Which chains move, and which fail, when parts of the network are down. Exit 2 where one fails."""
    del symmetric_hash
    from controller_app.pipeline import what_if as module

    chosen = output_format(output)
    if not down:
        raise Failure("say what is down: --down s1-s2 (a link), --down s2 (a switch), --down fw1 (a host)")
    loaded, network = load(topology, policy)
    _known(loaded, chain)
    try:
        document = module.what_if(loaded, network, down)
    except module.UnknownPart as error:
        raise Failure(str(error)) from None
    document["chains"] = [item for item in document["chains"] if chain in (None, item["name"])]
    failing = any(item["effect"] == module.FAILS for item in document["chains"])
    if chosen != "table":
        emit_document(document, chosen)
    else:
        shown = [item for item in document["chains"] if every or item["effect"] != module.KEEPS]
        if shown:
            emit_table(("chain", "classifier", "direction", "edge", "effect", "slots moved", "then"),
                       [[*_head(item), item["effect"], f"{item['moved']}/256", _then(item)] for item in shown])
        kept = sum(item["effect"] == module.KEEPS for item in document["chains"])
        say(f"{kept} of {len(document['chains'])} ways of chains stay as they are")
    stop(2 if failing else 0)


def _known(policy: Policy, chain: str | None) -> str | None:
    known = [name for tenant in policy.tenants.values() for name in tenant.chains]
    if chain is not None and not known:
        raise Failure(f"there is no chain {chain!r}, nor any other: give the policy with -p FILE")
    if chain is not None and chain not in known:
        raise Failure(f"there is no chain {chain!r}; there are {', '.join(known)}")
    return chain


def _named(name: str | None, suffix: str) -> str | None:
    if name is not None and Path(name).suffix.lower() != suffix:
        raise Failure(f"--{suffix[1:]} writes a file that ends in {suffix}, and {name!r} does not")
    return name


def _head(item: Mapping[str, Any]) -> list[str]:
    return [item["name"], item["classifier"], item["direction"], f"{item['ingress']} > {item['egress']}"]


def _explain(policy: Policy, topology: Topology, chains: Sequence[Mapping[str, Any]]) -> None:
    """Each choice in words: what gave the slots, what each path costs beside the way without functions, and who is out
    for what."""
    from controller_app.routing.distances import Routes

    routes = Routes(topology)
    for item in chains:
        chain = policy.tenants[item["tenant"]].chains[item["name"]]
        spread = "cost, then weight" if chain.spread == "cost" else "weight"
        spread += ", of those that meet what is required" if chain.require is not None else ""
        name, classifier, direction, edge = _head(item)
        emit(f"{name} ({classifier}, {direction}) {edge}: slots by {spread}")
        direct = routes.row(item["egress"]).cost.get(item["ingress"])
        for way in item["paths"]:
            through = ", ".join(way["instances"]) or "no function"
            emit(f"  {way['slots']:3}/256 {through}: {' > '.join(way['switches'])}, cost {way['cost']}"
                 f"{_beside(way['cost'], direct)}")
        for way in item["rejected"]:
            emit(f"  out: {', '.join(way['instances']) or 'every path'}: {way['why']}")
        asked = chain.require
        if asked is not None and (asked.latency is not None or asked.bandwidth is not None or asked.avoid is not None):
            emit("  when a link fails: until the controller has repaired it, detours may not meet what is required")
        if not item["paths"] and not item["rejected"]:
            emit("  nothing can be chosen: a function has no instance")


def _then(item: Mapping[str, Any]) -> str:
    if item["why"]:
        return str(item["why"])
    return "; ".join(f"{way['slots']}/256 {', '.join(way['instances']) or '-'}: {' > '.join(way['switches'])}"
                     for way in item["after"])


def _beside(cost: float, direct: float | None) -> str:
    """A cost held against that of the way without functions."""
    if direct is None or cost == direct:
        return "" if direct is None else ", as without functions"
    return f", {abs(cost - direct):g} {'more' if cost > direct else 'less'} than without functions"
