"""The pure function at the centre: a policy and a topology go in, everything the switches are to hold comes
out."""

from __future__ import annotations

from dataclasses import replace

from controller_app.model.allocation import Allocation
from controller_app.model.flow import FlowState
from controller_app.model.policy import Policy
from controller_app.model.position import Diagnostic, PolicyError
from controller_app.model.topology import Topology
from controller_app.pipeline.answers import respond
from controller_app.pipeline.build import Rules
from controller_app.pipeline.choose import choice_name, choose
from controller_app.pipeline.classify import Choices, classify, sources
from controller_app.pipeline.edge import address, admit, leave, untranslate
from controller_app.pipeline.functions import restore, serve_functions
from controller_app.pipeline.ids import Numbers
from controller_app.pipeline.regions import regions
from controller_app.pipeline.transit import transit
from controller_app.pipeline.world import build_world


def compile(
    policy: Policy, topology: Topology, allocation: Allocation | None = None
) -> tuple[FlowState, Allocation]:
    """Everything every switch is to hold, and the allocation it was made with.

    Pure: the same three inputs give the same bytes, in any process. `allocation` is the memory that keeps
    ids, addresses and slot tables as they were; without it the canonical ones are made.

    Raises PolicyError (with positions) when classifiers overlap with no order, or a number space is full.
    """
    _check_ports(topology)
    previous = allocation or Allocation()
    world, made = build_world(policy, topology, previous)
    found = regions(world)
    per_switch: dict[str, tuple[Rules, Choices | None]] = {}
    objects = made.ids["objects"]
    for switch in topology.switches:
        rules = Rules(switch, objects)
        here = sources(world, switch)
        choices = classify(world, found, rules, here)
        admit(world, rules, switch)
        if here:
            respond(world, rules, switch)
            untranslate(world, rules, switch)
            address(world, rules, switch)
            leave(world, rules, switch)
        restore(world, rules, switch)
        serve_functions(world, rules, switch)
        transit(world, rules, switch)
        per_switch[switch] = rules, choices if here else None
    names = [
        choice_name(*choice)
        for _, choices in per_switch.values()
        for choice in choices or ()
        if choice[0] or choice[2]
    ]
    numbers = Numbers(made)
    groups = numbers.assign("groups", names, previous.ids.get("groups", {}), limit=1 << 24)
    made = replace(made, ids={**made.ids, "groups": groups}, next=numbers.next)
    for rules, offered in per_switch.values():
        if offered is not None:
            choose(world, rules, offered, groups)
    return {switch: rules.state() for switch, (rules, _) in per_switch.items()}, made


def _check_ports(topology: Topology) -> None:
    named = [
        Diagnostic(
            where,
            what,
            f"{end} names a port, and only a connected switch knows its number",
            "write the OpenFlow port number, or let the controller compile it",
        )
        for what, where, ends in (
            *((f"links.{link.a}-{link.b}", link.where, (link.a, link.b)) for link in topology.links),
            *((f"hosts.{host.name}", host.where, host.attach.values()) for host in topology.hosts.values()),
        )
        for end in ends
        if not isinstance(end.port, int)
    ]
    if named:
        raise PolicyError(named)
