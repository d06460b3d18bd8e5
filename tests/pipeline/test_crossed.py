"""Instances that health checks found out are treated as those whose port is down; what a check sends goes to nobody."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import examples
import pytest
from hypothesis import given
from hypothesis import strategies as st
from more_examples import FIREWALL, NAT, ORIGINAL, ROUTED, SPEAKER, STICKINESS, TAP, TWO_ARMED, both

from controller_app.model.allocation import Allocation
from controller_app.model.flow import FlowState
from controller_app.model.policy import Health, Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.checked import replies
from controller_app.pipeline.compile import compile, compile_next
from controller_app.pipeline.cookies import object_name
from controller_app.pipeline.paths import paths
from controller_app.pipeline.tables import CHECK_MACS, TABLE_NAMES
from controller_app.pipeline.world import build_world
from controller_app.verification.packet import ip_packet
from controller_app.verification.players import players
from controller_app.verification.verify import verify
from controller_app.verification.walk import Network, walk_packet

FRAME = Health("frame", interval=0.2, hold=1.0)
EVERY = [  # function as written, its name, instances
    (FIREWALL, "fw", ("fw1", "fw2")),
    (ORIGINAL, "fw", ("fw1", "fw2")),
    (SPEAKER, "nsh", ("n1", "n2")),
    (ROUTED, "router", ("r1", "r2")),
    (TWO_ARMED, "router", ("r3",)),
    (NAT, "nat", ("r1", "r2")),
]


def with_health(policy: Policy, health: Health | None, on_failure: str = "closed") -> Policy:
    tenant = policy.tenants["default"]
    functions = {
        name: replace(each, health=health, on_failure=on_failure) if each.mode != "tap" else each
        for name, each in tenant.functions.items()
    }
    return Policy({"default": replace(tenant, functions=functions)})


def probe_of(function: str) -> Health:
    """What can be asked of it: frames go through these, and others answer."""
    return FRAME if function in ("fw", "nsh") else Health("icmp", hold=1.0)


def out(topology: Topology, function: str, *instances: str) -> Topology:
    return replace(topology, unready=frozenset(f"functions/default/{function}/{name}" for name in instances))


def down(topology: Topology, *hosts: str) -> Topology:
    return replace(topology, down=frozenset(end for name in hosts for end in topology.hosts[name].attach.values()))


def flows(state: FlowState) -> dict[str, set[object]]:
    return {switch: {*held.flows.values(), *held.groups.values()} for switch, held in state.items()}


@pytest.mark.parametrize("on_failure", ["closed", "open", "reject"])
@pytest.mark.parametrize("stickiness", STICKINESS)
@pytest.mark.parametrize(("written", "function", "instances"), EVERY)
def test_out_is_the_same_as_down(
    written: str, function: str, instances: tuple[str, ...], stickiness: str, on_failure: str
) -> None:
    topology, policy = both(written, function, stickiness)
    policy = with_health(policy, None, on_failure)
    _, allocation = compile(policy, topology)
    for gone in (instances[:1], instances):
        as_down, slots = compile(policy, down(topology, *gone), allocation)
        as_out, same_slots = compile(policy, out(topology, function, *gone), allocation)
        assert flows(as_out) == flows(as_down) and same_slots == slots
        checked = with_health(policy, probe_of(function), on_failure)
        state, _ = compile(checked, out(topology, function, *gone), allocation)
        assert verify(checked, out(topology, function, *gone), state).ok


@pytest.mark.parametrize("on_failure", ["closed", "open", "reject"])
@pytest.mark.parametrize(("written", "function", "instances"), EVERY)
def test_the_policy_holds_whoever_is_out(
    written: str, function: str, instances: tuple[str, ...], on_failure: str
) -> None:
    topology, policy = both(f"{written}\n  {TAP}", f"{function}, ids", "connection")
    policy = with_health(policy, probe_of(function), on_failure)
    for gone in ((), instances[:1], instances):
        found = verify(policy, out(topology, function, *gone))
        assert found.ok, found.counterexample
        listed = paths(policy, out(topology, function, *gone))["chains"]
        met = {name for each in listed for way in each["paths"] for name in way["instances"]}
        assert met.isdisjoint(gone)
        for each in listed:
            why = {row["instances"][0]: row["why"] for row in each["rejected"]}
            assert set(why.values()) <= {"its health checks fail"}
            assert function == "nat" or set(why) == set(gone), "what follows a translating function is another way"


WEIGHTS = st.lists(st.integers(1, 5), min_size=2, max_size=6)


@given(WEIGHTS, st.data())
def test_the_slots_of_who_is_out_move_and_nothing_else_does(weights: list[int], data: st.DataObject) -> None:
    names = [f"i{number}" for number in range(len(weights))]
    topology, policy = both(FIREWALL, "fw", "connection")
    tenant = policy.tenants["default"]
    instances = {
        name: replace(tenant.functions["fw"].instances["fw1"], name=name, host=name, weight=weight)
        for name, weight in zip(names, weights, strict=True)
    }
    more = {
        name: replace(
            topology.hosts["fw1"],
            name=name,
            attach={
                arm: replace(end, port=100 + 2 * number + (arm == "out"))
                for arm, end in topology.hosts["fw1"].attach.items()
            },
        )
        for number, name in enumerate(names)
    }
    topology = replace(topology, hosts={**topology.hosts, **more})
    functions = {"fw": replace(tenant.functions["fw"], instances=instances, health=FRAME)}
    policy = Policy({"default": replace(tenant, functions=functions)})
    before = compile_next(None, policy, topology)
    gone = data.draw(st.sets(st.sampled_from(names), min_size=1, max_size=len(names) - 1))
    after = compile_next(before, policy, out(topology, "fw", *gone))
    key = "functions/default/fw"
    old, new = before.allocation.slots[key], after.allocation.slots[key]
    assert gone.isdisjoint(new)
    moved = [slot for slot in range(256) if old[slot] != new[slot]]
    assert moved == [slot for slot in range(256) if old[slot] in gone]
    back = compile_next(after, policy, topology).allocation.slots[key]
    returned = [slot for slot in range(256) if new[slot] != back[slot]]
    assert all(back[slot] in gone for slot in returned), "only who is back gets anything"
    cold = compile(policy, out(topology, "fw", *gone), before.allocation)
    assert flows(after.state) == flows(cold[0])


def test_instances_of_a_pool_are_meant_by_their_endpoints_names() -> None:
    text = examples.POLICY.replace(
        "fw: {kind: firewall, instances: {fw1: {host: fw1, weight: 2}, fw2: {host: fw2}}}",
        'fw: {kind: firewall, health: {probe: frame}, instances: {selector: "role=fw"}}',
    ).replace(
        "endpoints:\n",
        "endpoints:\n  one: {host: fw1, labels: {role: fw}}\n  two: {host: fw2, labels: {role: fw}}\n",
    )
    policy, topology = examples.policy(text=text), examples.network()
    _, allocation = compile(policy, topology)
    assert set(allocation.slots["functions/default/fw"]) == {"one", "two"}
    state, after = compile(policy, out(topology, "fw", "one"), allocation)
    assert set(after.slots["functions/default/fw"]) == {"two"}
    assert verify(policy, out(topology, "fw", "one"), state, after).ok


# -- what a check sends -----------------------------------------------------------------------------------------------


def sent(backward: bool = False, source: str = "198.18.0.1") -> object:
    macs = CHECK_MACS if backward else CHECK_MACS[::-1]
    return ip_packet(ip_address(source), ip_address("198.18.0.2"), 17, 40000, 9, eth_dst=macs[0], eth_src=macs[1])


def fates(policy: Policy, topology: Topology, state: FlowState, at: tuple[str, int], frame: object) -> list[str]:
    network = Network(topology, state, players(policy, topology))
    return [fate.kind for walk in walk_packet(network, frame, at) for fate in walk.fates]  # type: ignore[arg-type]


@pytest.mark.parametrize("written", [FIREWALL, ORIGINAL])
def test_a_frame_that_went_through_goes_to_the_controller_and_nowhere_else(written: str) -> None:
    topology, policy = both(written, "fw", "connection")
    policy = with_health(policy, FRAME)
    for gone in ((), ("fw1",), ("fw1", "fw2")):
        now = out(topology, "fw", *gone)
        state, allocation = compile(policy, now)
        for name in ("fw1", "fw2"):
            ends = topology.hosts[name].attach
            for end in ends.values():
                for backward in (False, True):  # also where it went in: the controller knows the way it has to take
                    assert isinstance(end.port, int)
                    assert fates(policy, now, state, (end.switch, end.port), sent(backward)) == ["controller"]
        rules = [flow for held in state.values() for flow in held.flows.values() if _of_checks(flow)]
        assert len(rules) == 4, "one for each arm"
        assert {object_name(flow.cookie, allocation) for flow in rules} == {"functions/default/fw"}


def _of_checks(flow: object) -> bool:
    fields = {condition.field: condition for condition in flow.match}  # type: ignore[attr-defined]
    return "eth_dst" in fields and fields["eth_dst"].value == CHECK_MACS[0]


@pytest.mark.parametrize("written", [FIREWALL, ORIGINAL, SPEAKER])
def test_hosts_cannot_send_such_a_frame(written: str) -> None:
    function = "nsh" if written == SPEAKER else "fw"
    topology, policy = both(written, function, "connection")
    state, _ = compile(with_health(policy, FRAME), topology)
    places = [("s1", 11), ("s1", 12), ("s3", 11), ("s1", 1), ("s1", 99)]
    for place in places:
        for backward in (False, True):
            for source in ("198.18.0.1", "10.1.0.11"):
                assert fates(policy, topology, state, place, sent(backward, source)) == ["dropped"]
    bare, _ = compile(policy, topology)
    assert all(not any(_of_checks(flow) for flow in held.flows.values()) for held in bare.values())


def test_what_an_instance_that_is_out_had_kept_goes_nowhere() -> None:
    """It comes with its sender's MAC, so nothing may be learned from it."""
    for written, function, instance in ((FIREWALL, "fw", "fw1"), (ORIGINAL, "fw", "fw1"), (ROUTED, "router", "r1")):
        topology, policy = both(written, function, "connection")
        probe = FRAME if function == "fw" else Health("icmp", hold=1.0)
        now = out(topology, function, instance)
        state, _ = compile(with_health(policy, probe), now)
        host = topology.hosts[instance]
        mac = 0x02_00_00_00_01_11 if host.mac is None else int(host.mac.replace(":", ""), 16)
        for end in host.attach.values():
            assert isinstance(end.port, int)
            frame = ip_packet(
                ip_address("10.1.0.11"), ip_address("10.2.0.21"), 6, 1, 80, eth_src=mac, eth_dst=0x0A_00_00_00_00_01
            )
            assert fates(policy, now, state, (end.switch, end.port), frame) == ["dropped"]


# -- what answers a check ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        (Health("icmp", hold=1.0), {"s2": {("10.1.0.254", 0), ("10.2.0.254", 0)}}),
        (Health("tcp", 22, hold=1.0), {"s2": {("10.1.0.254", 22)}}),
        (Health("http", 80, hold=1.0), {"s2": {("10.1.0.254", 80)}}),
        (Health("arp", hold=1.0), {}),
    ],
)
def test_answers_come_up_where_they_are_awaited(health: Health, expected: dict[str, set[tuple[str, int]]]) -> None:
    topology, policy = both(TWO_ARMED, "router", "connection")
    policy = with_health(policy, health)
    for now in (topology, out(topology, "router", "r3"), down(topology, "r3")):
        found = replies(build_world(policy, now, Allocation())[0])
        assert {s: {(str(r.gateway), r.port) for r in here} for s, here in found.items()} == expected
        state, _ = compile(policy, now)
        network = Network(now, state, players(policy, now))
        if not expected:
            continue
        arm = topology.hosts["r3"].attach["in"]
        assert isinstance(arm.port, int)
        own, gateway = ip_address("10.1.0.103"), ip_address("10.1.0.254")
        protocol, source, kind = (1, 7, 1) if health.probe == "icmp" else (6, health.port, 40000)
        answer = ip_packet(
            own, gateway, protocol, source, kind, eth_src=0x02_00_00_00_03_13, eth_dst=0x0A_00_00_00_00_01
        )
        (walk,) = walk_packet(network, answer, (arm.switch, arm.port))
        (fate,) = walk.fates
        assert fate.kind == "controller"
        assert TABLE_NAMES[fate.hops[-1].rules[-1].table] == "respond"
