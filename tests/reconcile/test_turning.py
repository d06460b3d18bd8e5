"""Ways between switches while they turn: whatever switches have got so far, packets come to where they are sent."""

from __future__ import annotations

from collections.abc import Mapping

from effort import effort
from hypothesis import given
from hypothesis import strategies as st

from controller_app.model.flow import Flow, FlowState, Output, SetField, SwitchState, ToGroup
from controller_app.model.policy import Policy, Tenant
from controller_app.model.topology import End, Host, Link, Switch, Topology
from controller_app.pipeline.compile import compile
from controller_app.pipeline.labels import Label
from controller_app.pipeline.tables import NUMBER
from controller_app.reconcile.changes import Former, Stage
from controller_app.reconcile.diff import apply, diff
from controller_app.reconcile.turning import turning

TRANSIT = NUMBER["transit"]


def network(edges: list[tuple[int, int]], costs: list[int]) -> Topology:
    """Switches with a host each; port 100 + n leads to switch n."""
    names = sorted({n for edge in edges for n in edge})
    hosts = {f"h{n}": Host(f"h{n}", {"": End(f"s{n}", 1)}, (), f"02:00:00:00:00:{n + 1:02x}") for n in names}
    links = [
        Link(End(f"s{a}", 100 + b), End(f"s{b}", 100 + a), cost=cost)
        for (a, b), cost in zip(edges, costs, strict=True)
    ]
    return Topology({f"s{n}": Switch(f"s{n}", n + 1) for n in names}, tuple(links), hosts)


POLICY = Policy({"default": Tenant()})


_LOOKED_AT: dict[int, tuple[SwitchState, list[Flow]]] = {}  # of states, the rules between switches


def rule(state: SwitchState, label: int) -> Flow | None:
    if id(state) not in _LOOKED_AT:
        _LOOKED_AT[id(state)] = state, [flow for key, flow in state.flows.items() if key.table == TRANSIT]
    found = [
        flow
        for flow in _LOOKED_AT[id(state)][1]
        if all(item.field == "eth_dst" and label & item.mask == item.value for item in flow.match)
    ]
    return max(found, key=lambda flow: flow.priority, default=None)


def fate(held: Mapping[str, SwitchState], cached: Mapping[str, SwitchState], switch: str, label: int) -> str:
    """Where a labelled packet arrives, or why it does not. cached: what datapaths act on where they know the label,
    rather than on what switches hold."""
    came = None
    for _ in range(4 * len(held)):
        state = cached[switch] if rule(cached[switch], label) is not None else held[switch]
        flow = rule(state, label)
        if flow is None:
            return f"no rule at {switch}"
        port = None
        for action in flow.actions:
            match action:
                case SetField("eth_dst", value, mask):
                    label = label & ~mask | value
                case SetField("in_port"):
                    came = None
                case Output(out):
                    port = out
                case ToGroup(number):
                    first = state.groups[number].buckets[0]
                    port = next(each.port for each in first.actions if isinstance(each, Output))
        if port is None:
            return f"{switch} {label >> 27 & 0x1FFF}"
        if came == port:
            return f"back where it came from at {switch}"
        came, switch = 100 + int(switch[1:]), f"s{port - 100}"
    return "a circle"


def named(state: FlowState) -> set[tuple[int, int]]:
    """The blocks of waypoints that rules between switches know."""
    bits = (1 << 40) - (1 << 27)
    keys = (key for held in state.values() for key in held.flows if key.table == TRANSIT)
    return {(item.value & bits, item.mask & bits) for key in keys for item in key.match if item.field == "eth_dst"}


def all_arrive(
    held: Mapping[str, SwitchState], cached: Mapping[str, SwitchState], waypoints: Mapping[str, int]
) -> None:
    for switch in held:
        for name, waypoint in waypoints.items():
            assert fate(held, cached, switch, Label(waypoint).mac()) == f"s{name[6:]} {waypoint}"


@st.composite
def networks(draw: st.DrawFn) -> tuple[Topology, ...]:
    """One network with links of other costs each time."""
    count = draw(st.integers(3, 7))
    edges = {(n, n + 1) for n in range(count - 1)} | {(0, count - 1)}
    more = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda pair: pair[0] < pair[1])
    links = sorted(edges | draw(st.sets(more, max_size=3)))
    drawn = st.lists(st.sampled_from([1, 2, 10]), min_size=len(links), max_size=len(links))
    return tuple(network(links, draw(drawn)) for _ in range(draw(st.integers(2, 4))))


@effort(25, 300)
@given(networks(), st.data())
def test_packets_arrive_whatever_switches_have_turned(found: tuple[Topology, ...], data: st.DataObject) -> None:
    _LOOKED_AT.clear()
    state, allocation = compile(POLICY, found[0])
    held: dict[str, SwitchState] = dict(state)
    waypoints = {name: number for name, number in allocation.waypoints.items() if name.startswith("host:h")}
    last: Mapping[tuple[str, int], int] = {}
    pasts: list[FlowState] = []
    behind = data.draw(st.randoms(use_true_random=False), label="behind")
    cached = {switch: [state] for switch, state in held.items()}  # what its datapath may still act on
    for topology in found[1:]:
        wanted, allocation = compile(POLICY, topology, allocation)
        pasts.append(dict(held))
        turned = turning(wanted, held, pasts, topology, last)
        last = turned.last
        finished = data.draw(st.booleans(), label="finished")
        steps: list[tuple[Mapping[str, SwitchState], Stage, list[FlowState]]] = [
            ({**wanted, **turned.before}, Stage.PATHS, pasts),
            ({**wanted, **turned.after}, Stage.CHOICES, pasts),
        ]
        if finished:
            steps += [(wanted, Stage.ALL, [*pasts, {**wanted, **turned.after}]), (wanted, Stage.ALL, [])]
        for told, stage, formers in steps:
            if stage is Stage.ALL:  # drained
                cached = {switch: [state] for switch, state in held.items()}
            for switch in data.draw(st.permutations(sorted(held)), label="order"):
                kept: tuple[Former, ...] = tuple(past[switch] for past in formers)
                held[switch] = apply(diff(told[switch], held[switch]).until(stage, kept or None), held[switch])
                cached[switch].append(held[switch])
                all_arrive(held, held, waypoints)
                for _ in range(3):
                    acting = {each: behind.choice(states) for each, states in sorted(cached.items())}
                    all_arrive(held, acting, waypoints)
        if finished:
            pasts.clear()
            assert held == wanted


def test_ways_that_lead_in_a_circle_with_the_old_ones_get_another_name() -> None:
    ring = [(0, 1), (1, 2), (2, 3), (0, 3)]
    before, after = network(ring, [1, 1, 1, 10]), network(ring, [1, 10, 1, 1])
    state, allocation = compile(POLICY, before)
    wanted, _ = compile(POLICY, after, allocation)
    turned = turning(wanted, state, [], after)
    assert turned
    known = named(state) | named(wanted)
    for told in (turned.before, turned.after):
        assert len(named(told) - known) == len(known)  # all four switches are reached another way round
    again = turning(wanted, state, [], after, turned.last)
    assert not (named(again.after) - known) & named(turned.after)  # what was cached of a name may be there still
    assert not turning(wanted, wanted, [], after) and not turning(wanted, {}, [], after)


def test_ways_that_are_broken_are_changed_at_once() -> None:
    before = network([(0, 1), (1, 2), (2, 3), (0, 3)], [1, 1, 1, 10])
    after = network([(0, 1), (2, 3), (0, 3)], [1, 1, 10])
    state, allocation = compile(POLICY, before)
    wanted, _ = compile(POLICY, after, allocation)
    assert not turning(wanted, state, [], after)
