"""The pure function at the centre: a policy and a topology go in, everything the switches are to hold comes
out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from controller_app.model.allocation import Allocation
from controller_app.model.flow import FlowState
from controller_app.model.policy import Policy
from controller_app.model.position import Diagnostic, PolicyError
from controller_app.model.topology import Topology
from controller_app.pipeline.assemble import Assembly
from controller_app.pipeline.choose_between import names
from controller_app.pipeline.classify import Classification
from controller_app.pipeline.ids import Numbers
from controller_app.pipeline.memory import Memory
from controller_app.pipeline.services import Book
from controller_app.pipeline.transit import FIRST_GROUP
from controller_app.pipeline.world import build_world


@dataclass(frozen=True)
class Compiled:
    """What the switches are to hold, the allocation it was made with, and what the next compile need not make
    again."""

    state: FlowState
    allocation: Allocation
    memory: Memory
    unmet: tuple[Diagnostic, ...] = ()  # what chains require and cannot have now: nothing passes there

    @property
    def services(self) -> Book:
        """The services, with who provides them."""
        found: Book = self.memory.kept("services")
        return found


def compile(
    policy: Policy, topology: Topology, allocation: Allocation | None = None, portable: bool = False
) -> tuple[FlowState, Allocation]:
    """Everything every switch is to hold, and the allocation it was made with.

    Pure: the same inputs give the same bytes, in any process. `allocation` is the memory that keeps ids, addresses
    and slot tables as they were; without it the canonical ones are made. `portable`: choose by a hash that every
    datapath computes alike, at the cost of an upcall for each connection.

    Raises PolicyError (with positions) when classifiers overlap with no order, or a number space is full.
    """
    compiled = compile_next(None, policy, topology, allocation, portable)
    return compiled.state, compiled.allocation


def compile_next(
    previous: Compiled | None,
    policy: Policy,
    topology: Topology,
    allocation: Allocation | None = None,
    portable: bool = False,
) -> Compiled:
    """`compile`, with what an earlier one made: the same result, sooner. A switch of which nothing changed has the
    very same state. `allocation` defaults to that of `previous`."""
    _check_ports(topology)
    before = allocation or (previous.allocation if previous is not None else Allocation())
    memory = Memory(None if previous is None else previous.memory)
    world, made = build_world(policy, topology, before, portable, memory)
    objects = made.ids["objects"]
    ranks = before.ids.get("ranks", {})
    classification = memory.latest(
        "classification",
        lambda kept: kept.fits(world, objects, ranks),
        lambda: Classification(world, objects, ranks),
    )
    assembly = Assembly(world, objects, memory)
    choices = assembly.classified(classification)
    numbers = Numbers(made)
    asked = [*names(choices.values()), *assembly.choices_of_services]
    groups = numbers.assign("groups", asked, before.ids.get("groups", {}), limit=FIRST_GROUP)
    for switch, offered in choices.items():
        assembly.choose(switch, offered, groups)
    assembly.serve(groups)
    ids = {**made.ids, "groups": groups, "ranks": classification.ranks}
    made = replace(made, ids=ids, next=numbers.next, retired=numbers.retired)
    state = {switch: assembly.state(switch) for switch in topology.switches}
    memory.seal()
    return Compiled(state, made, memory, world.unmet)


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
