"""From a link that goes down to the last rule confirmed: the controller, and `ovs-ofctl` pushing what it worked out.

20 switches (a fat-tree of 4 ports), real ones on the dummy datapath, and 1,000 chains. The controller hears of the
ports, finds ways without the link, makes the rules, sends them and has them confirmed. `ovs-ofctl` is given the
finished difference, one bundle for each switch that has one, and only has to send it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

from app.plain_controller import PlainController
from dummy_ovs import DummyOvs, missing

from bench.fat_tree import FatTree, fat_tree
from bench.report import Line, ratios
from bench.speed import clock, timed
from bench.workload import policy
from controller_app.model.allocation import Allocation
from controller_app.model.flow import Flow, FlowState, SwitchState
from controller_app.model.policy import Policy
from controller_app.model.topology import End, Link, Topology
from controller_app.pipeline.compile import compile
from controller_app.pipeline.ofctl import format_flow, format_group, format_match, format_meters
from controller_app.reconcile.changes import DropFlow, DropGroup, PutFlow, PutGroup
from controller_app.reconcile.diff import diff
from controller_app.runtime.conductor import Conductor

CHAINS, TIMES = 1000, 10
MOST = 2.0


def difference(desired: SwitchState, held: SwitchState) -> str:
    """One change of a switch as `ovs-ofctl bundle` reads it; empty where there is none."""
    lines = []
    for change in diff(desired, held):
        match change:
            case PutGroup(group=group, replaces=before):
                lines.append(f"group {'add' if before is None else 'modify'} {format_group(group)}")
            case DropGroup(group=group):
                lines.append(f"group delete group_id={group.id}")
            case PutFlow(flow=flow):
                lines.append(f"flow add {format_flow(flow)}")
            case DropFlow(flow=flow):
                lines.append(f"flow delete_strict {_key(flow)}")
            case _:  # meters are in no bundle
                raise ValueError(f"not for a bundle: {change}")
    return "".join(line + "\n" for line in lines)


def _key(flow: Flow) -> str:
    return ",".join([f"table={flow.table}", f"priority={flow.priority}", *format_match(flow.match)])


class Switches:
    """The network on the dummy datapath, with cables that can be down."""

    def __init__(self, ovs: DummyOvs, topology: Topology) -> None:
        self._ovs = ovs
        self.bridges = {name: f"b{number}" for number, name in enumerate(topology.switches)}
        with ovs.transaction():
            for name, switch in topology.switches.items():
                ovs.add_bridge(self.bridges[name], switch.dpid)
            for link in topology.links:
                ovs.cable(self.bridges[link.a.switch], _number(link.a), self.bridges[link.b.switch], _number(link.b))
            ends = {end for host in topology.hosts.values() for end in host.attach.values()}
            for end in sorted(ends):
                bridge = self.bridges[end.switch]
                ovs.add_port(bridge, f"{bridge}-{end.port}", _number(end))

    def connect(self, port: int) -> None:
        """Let all have a controller on this machine."""
        with self._ovs.transaction():
            for bridge in self.bridges.values():
                self._ovs.set_controller(bridge, "127.0.0.1", port)

    def set_link(self, link: Link, state: str) -> None:
        for end in (link.a, link.b):
            bridge = self.bridges[end.switch]
            self._ovs.ofctl("mod-port", bridge, f"{bridge}-{end.port}", state)

    def fill(self, state: FlowState) -> None:
        """Give empty switches what they are to hold."""
        for name, bridge in self.bridges.items():
            for meter in format_meters(state[name]).splitlines():
                self._ovs.ofctl("add-meter", bridge, meter)
        self.push(self.bundles(state, {name: SwitchState(meters=held.meters) for name, held in state.items()}))

    def bundles(self, desired: FlowState, held: FlowState) -> dict[str, Path]:
        """Files with the change from one state to another, by bridge; without those that need none."""
        folder, found = Path(tempfile.mkdtemp(dir=self._ovs.dir)), {}
        for name, bridge in self.bridges.items():
            if text := difference(desired[name], held[name]):
                found[bridge] = folder / bridge
                found[bridge].write_text(text)
        return found

    def push(self, bundles: dict[str, Path]) -> None:
        """Each by an ovs-ofctl of its own."""
        for bridge, file in bundles.items():
            self._ovs.ofctl("bundle", bridge, str(file), version="OpenFlow15")


def _number(end: End) -> int:
    assert isinstance(end.port, int)
    return end.port


def lines() -> Iterator[Line]:
    """Ten links one after the other, by the controller and by `ovs-ofctl` in turns."""
    if problem := missing():
        yield Line("link down to last rule confirmed", "", f"≤ {MOST}", None, problem)
        return
    tree = fat_tree(4)
    chains = both_protocols(policy(tree, CHAINS // 2, "none"))
    ours, pushed, rules = _measure(tree, chains)
    ratio = median(ours) / median(pushed)
    yield Line(
        f"link down to last rule confirmed, {len(tree.topology.switches)} switches, {CHAINS:,} chains ÷ the same "
        f"change pushed by ovs-ofctl, medians of {TIMES} links",
        f"{ratio:.2f} ({median(ours) * 1e3:.0f} ÷ {median(pushed) * 1e3:.0f} ms)",
        f"≤ {MOST:g}",
        ratio <= MOST,
        f"link by link {ratios(ours, pushed)}; {min(rules)} to {max(rules)} rules and groups change; changes are "
        "collected for 20 ms before the network is computed anew",
        {"ours_seconds": ours, "ofctl_seconds": pushed, "changes": rules},
    )


def both_protocols(found: Policy) -> Policy:
    """Each classifier for TCP, and another one with the same ports for UDP: 16 hosts have no 1,000 pairs."""
    (tenant,) = found.tenants.values()
    classifiers = dict(tenant.classifiers)
    for name, each in tenant.classifiers.items():
        traffic = tuple(replace(part, protocol="udp") for part in each.traffic)
        classifiers[f"{name}u"] = replace(each, name=f"{name}u", traffic=traffic)
    return Policy({"default": replace(tenant, classifiers=classifiers)})


def _measure(tree: FatTree, chains: Policy) -> tuple[list[float], list[float], list[int]]:
    ours: list[float] = []
    pushed: list[float] = []
    rules: list[int] = []
    topology = tree.topology
    with DummyOvs() as ovs, DummyOvs() as other, PlainController(topology, observe_links=False) as controller:
        controller.do(lambda: take(controller.conductor, chains))
        held, allocation = controller.do(lambda: _holds(controller.conductor))
        steered, alone = Switches(ovs, topology), Switches(other, topology)
        steered.connect(controller.port)
        alone.fill(held)
        controller.wait(lambda c: c.settled() and len(c.conversations) == len(topology.switches), 120)
        for number in range(TIMES):
            link = topology.links[number * len(topology.links) // TIMES]
            without = replace(topology, links=tuple(each for each in topology.links if each is not link))
            after = compile(chains, without, allocation)[0]
            rules.append(sum(len(list(diff(after[name], held[name]))) for name in held))
            there, back = alone.bundles(after, held), alone.bundles(held, after)
            for ours_now in (True, False) if number % 2 == 0 else (False, True):
                if ours_now:
                    ours.append(_repair(controller, steered, link))
                else:
                    pushed.append(timed(lambda files=there: alone.push(files)))  # type: ignore[misc]
                    alone.push(back)
    return ours, pushed, rules


def take(conductor: Conductor, chains: Policy) -> None:
    """Let a controller have a policy that was never written down."""
    conductor.adopt(replace(conductor.intent, policy=chains), conductor.compute(chains), "bench", time.time())


def _holds(conductor: Conductor) -> tuple[FlowState, Allocation]:
    compiled = conductor.computed.compiled
    return compiled.state, compiled.allocation


def _repair(controller: PlainController, switches: Switches, link: Link) -> float:
    """Seconds from the link going down to the controller being done, but for what it takes away a second later
    (`runtime.rollout.DRAIN`)."""

    def there(conductor: Conductor) -> bool:
        return any((known.a, known.b) == (link.a, link.b) for known in conductor.topology.links)

    start = clock()
    switches.set_link(link, "down")
    controller.wait(lambda c: not there(c) and c.in_force(), 30)
    seconds = time.perf_counter() - start
    switches.set_link(link, "up")
    controller.wait(lambda c: there(c) and c.settled(), 90)
    return seconds
