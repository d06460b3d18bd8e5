"""Chains whose instances depend on the edges between which packets travel (`spread: cost`, `require`): can the edges be
known wherever a packet of theirs is to be steered, and can what is required be had?"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from controller_app.balancing.selectors import matches
from controller_app.model.allocation import Allocation
from controller_app.model.policy import Chain, Function, Policy, Requirement, Selector, Tenant
from controller_app.model.position import Diagnostic, PolicyError
from controller_app.model.topology import Topology
from controller_app.modes import MODES
from controller_app.policy.diagnostics import Findings, meant
from controller_app.policy.entries import Entry

_SEE = "see the labels in the topology file"


def check_by_edges(entry: Entry, functions: Mapping[str, Function], findings: Findings) -> None:
    """What needs no topology. entry: of a chain; functions: of its tenant."""
    chain: Chain = entry.value
    if not chain.by_edges:
        return
    word = "require" if chain.require is not None else "spread"
    why = f"and with `{word}` instances depend on the edges between which a packet travels"
    if chain.require is not None:
        cutting = next((name for name in chain.through if _cuts(functions, name)), None)
        if cutting is not None:
            path, position = entry.walk("require", key=True)
            findings.error(
                position,
                path,
                f"function {cutting!r} changes addresses: nobody can tell which way its packets came to it",
                f"take {cutting!r} out of the chain, or remove `require`",
            )
    losing = next((name for name in chain.through if _loses(functions, name)), None)
    if chain.stickiness == "none" and losing is not None:
        path, position = entry.walk("stickiness")
        findings.error(
            position,
            path,
            f"function {losing!r} gives packets back without their label, nothing is remembered of them, {why}",
            "write `stickiness: connection`, or use a function that keeps the label",
        )
    for index, name in enumerate(chain.returns if isinstance(chain.returns, tuple) else ()):
        if _loses(functions, name):
            path, position = entry.walk("return", index)
            findings.error(
                position,
                path,
                f"function {name!r} gives replies back without their label, of connections that it did not see begin, "
                f"{why}",
                "write `return: symmetric`, or use a function that keeps the label",
            )


def _cuts(functions: Mapping[str, Function], name: str) -> bool:
    return name in functions and MODES[functions[name].mode].cuts


def _loses(functions: Mapping[str, Function], name: str) -> bool:
    if name not in functions:
        return False
    mode = MODES[functions[name].mode]
    return mode.on_path and not (mode.brings_label and functions[name].handover == "label")


def check_required(
    policy: Policy, topology: Topology, findings: Findings, standing: Collection[Diagnostic] = ()
) -> None:
    """Whether instances can be found that meet what chains require, between all edges that their packets can travel
    between. standing: what could not be met before; that is only mentioned."""
    from controller_app.pipeline.world import build_world  # which knows what policies say, and so this room

    if not any(chain.by_edges for tenant in policy.tenants.values() for chain in tenant.chains.values()):
        return
    if any(isinstance(end.port, str) for end in topology.link_ports) or findings.errors:
        return
    try:
        world, _ = build_world(policy, topology, Allocation())
    except PolicyError:
        return  # which is said by who compiles it
    before = {(item.path, item.what) for item in standing}
    for item in world.unmet:
        say = findings.warning if (item.path, item.what) in before else findings.error
        say(item.position, item.path, item.what, item.remedy)


def check_labels(policy: Policy, topology: Topology, findings: Findings) -> None:
    """Warn of labels to avoid, or to prefer, that nothing has: no switch, and no endpoint of the tenant."""
    for tenant in policy.tenants.values():
        for chain in tenant.chains.values():
            require = chain.require
            for word, selector in (("avoid", require.avoid), ("prefer", require.prefer)) if require is not None else ():
                found = list(_labelled(tenant, topology, word == "prefer"))
                if selector is None or any(matches(selector, labels) for labels in found):
                    continue
                effect = "nothing is avoided" if word == "avoid" else "no instance is preferred"
                findings.warning(
                    selector.where,
                    f"chains.{chain.name}.require.{word}",
                    f"{selector.text!r} matches no switch and no endpoint: {effect}",
                    _nearly(selector, found),
                )


def _labelled(tenant: Tenant, topology: Topology, together: bool) -> Iterator[Mapping[str, str]]:
    """The labels of every switch and endpoint. together: an endpoint's with those of its switches, as one."""
    for switch in topology.switches.values():
        yield switch.all_labels
    for endpoint in tenant.endpoints.values():
        yield endpoint.labels
        host = topology.hosts.get(endpoint.host)
        for end in host.attach.values() if host is not None and together else ():
            if end.switch in topology.switches:
                yield {**topology.switches[end.switch].all_labels, **endpoint.labels}


def _nearly(selector: Selector, found: Collection[Mapping[str, str]]) -> str:
    """What may have been meant by labels that nothing has."""
    keys = sorted({key for labels in found for key in labels})
    for clause in selector.requirements:
        if any(matches(Selector((clause,)), labels) for labels in found):
            continue
        if not keys:
            return "give switches labels in the topology file, or endpoints in the policy"
        if clause.key not in keys:
            return f"no label is called {clause.key!r}: {meant(clause.key, keys, _SEE)}"
        return _values(clause, sorted({labels[clause.key] for labels in found if clause.key in labels}))
    return "each of its parts is true of something, and nothing meets them all: ask for fewer of them"


def _values(clause: Requirement, known: Collection[str]) -> str:
    if not clause.values or clause.operator != "in":
        return f"everything has {clause.key!r} as {', '.join(known)}: ask for something else"
    said = meant(clause.values[0], known, _SEE)
    return f"no {clause.key!r} is {' or '.join(clause.values)}: {said}"
