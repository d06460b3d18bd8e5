"""What services become: who has rules for them, who is chosen where, and what a change of a provider changes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import ip_address

import pytest
from service_examples import PLACES, network, policy, with_endpoint

from controller_app.model.allocation import Allocation
from controller_app.model.flow import TCP_ACK, TCP_RST, TCP_SYN, Flow, FlowState
from controller_app.model.policy import Party, Policy
from controller_app.pipeline import labels
from controller_app.pipeline.compile import compile
from controller_app.pipeline.cookies import object_name
from controller_app.pipeline.tables import GATEWAY_MAC, NUMBER, TABLE_NAMES
from controller_app.policy.selectors_grammar import parse_selector
from controller_app.policy.topology_file import parse_topology
from controller_app.verification.packet import TCP, UDP, changed, ip_packet
from controller_app.verification.verify import verify
from controller_app.verification.walk import Network, walk_from


def shares(made: Allocation, table: str = "services/default/app") -> Counter[str]:
    return Counter(made.slots[table])


def of_service(state: FlowState, made: Allocation, switch: str) -> list[str]:
    """The tables of a switch in which the service has flows."""
    return [TABLE_NAMES[flow.table] for flow in state[switch].flows.values()
            if object_name(flow.cookie, made) == "services/default/app"]


def test_nobody_gets_slots_who_does_not_serve() -> None:
    gone = replace(network(), unready=frozenset({"services/default/app/p2"}))
    drained = with_endpoint(policy(), "p3", drain=True)
    _, made = compile(drained, gone)
    assert set(shares(made)) == {"p1", "p4"}
    # who is to go serves again where nobody else is left
    alone = frozenset(f"services/default/app/{name}" for name in ("p1", "p2", "p4"))
    _, made = compile(drained, replace(network(), unready=alone), made)
    assert set(shares(made)) == {"p3"}


@pytest.mark.parametrize(("prefer", "tables"), [
    ("switch", {"switch:s1": {"p1"}, "switch:s2": {"p2"}, "switch:s3": {"p3"}, "switch:s4": {"p4"}}),
    ("rack", {"rack:r1": {"p1", "p2"}, "rack:r2": {"p3"}, "rack:r3": {"p4"}}),
    ("zone", {"zone:z1": {"p1", "p2", "p3"}, "zone:z2": {"p4"}}),
    ("cost", {"switch:s1": {"p1"}, "switch:s2": {"p2"}, "switch:s3": {"p3"}, "switch:s4": {"p4"}}),
])
def test_who_is_near_comes_first(prefer: str, tables: dict[str, set[str]]) -> None:
    wanted = policy(prefer=prefer)
    state, made = compile(wanted, network())
    near = {name.partition("@")[2]: set(table) for name, table in made.slots.items() if "@" in name}
    assert near == tables
    report = verify(wanted, network(), state, made)
    assert report.ok, report.counterexample


def test_where_nobody_is_near_the_next_wider_place_serves() -> None:
    wanted = policy(prefer="switch")
    without = replace(network(), unready=frozenset({"services/default/app/p1"}))
    state, made = compile(wanted, without)
    assert set(made.slots["services/default/app@rack:r1"]) == {"p2"}
    report = verify(wanted, without, state, made)
    assert report.ok, report.counterexample


@pytest.mark.parametrize("changes", [
    {}, {"session_affinity": 600.0}, {"expose": "internal"}, {"prefer": "rack", "session_affinity": 600.0},
    {"expose": (Party("host", "c1"), Party("endpoint", "p2"))},
])
@pytest.mark.parametrize("stickiness", ["none", "connection"])
@pytest.mark.parametrize("portable", [False, True])
def test_every_kind_of_service_is_what_the_policy_says(changes: dict[str, object], stickiness: str,
                                                       portable: bool) -> None:
    wanted = policy(**changes)
    tenant = wanted.tenants["default"]
    chains = {"walled": replace(tenant.chains["walled"], stickiness=stickiness)}
    wanted = Policy({"default": replace(tenant, chains=chains)})
    state, made = compile(wanted, network(), portable=portable)
    report = verify(wanted, network(), state, made)
    assert report.ok, report.counterexample


def test_no_rule_is_where_nobody_may_ask_and_nobody_serves() -> None:
    wanted = policy(expose=(Party("host", "c1"),), selector=parse_selector("tier=none"))
    tenant = wanted.tenants["default"]
    some = with_endpoint(Policy({"default": replace(tenant, classifiers={})}), "p2", labels={"tier": "none"})
    state, made = compile(some, network())
    assert {switch for switch in state if of_service(state, made, switch)} == {"s1", "s2"}
    groups = {switch for switch, held in state.items() if held.groups}
    assert groups == {"s1"}


def test_what_a_change_of_a_weight_sends() -> None:
    """A group an edge for each list of functions in front of the service, and nothing else."""
    wanted = policy()
    before, made = compile(wanted, network())
    after, _ = compile(with_endpoint(wanted, "p2", weight=3), network(), made)
    for switch, held in before.items():
        assert held.flows == after[switch].flows
        assert held.groups.keys() == after[switch].groups.keys()
    changed = {switch: sum(after[switch].groups[n] != group for n, group in held.groups.items())
               for switch, held in before.items()}
    assert changed == {"s1": 1, "s2": 1, "s3": 1, "s4": 2}


def test_who_left_is_not_taken_again() -> None:
    wanted = policy()
    _, made = compile(wanted, network())
    gone = replace(network(), unready=frozenset({"services/default/app/p2"}))
    without, later = compile(wanted, gone, made)
    left = [flow for flow in without["s1"].flows.values()
            if TABLE_NAMES[flow.table] == "pinned-provider" and flow.priority >= 40_000
            and any(condition.field == "ct_label" for condition in flow.match)]
    assert len(left) == 1
    assert left[0].goto == NUMBER["left-behind"]
    again, _ = compile(wanted, network(), later)
    first, _ = compile(wanted, network())
    assert again["s1"].flows.keys() == first["s1"].flows.keys()


def test_what_is_remembered_of_who_left_goes_by_what_it_is() -> None:
    """Walked: TCP that opens nothing comes to the controller, which resets it; all else gets another provider."""
    wanted = policy()
    before, made = compile(wanted, network())
    ended = compile(wanted, replace(network(), unready=frozenset({"services/default/app/p2"})), made)[0]
    asked = ip_packet(ip_address("10.0.1.1"), ip_address(made.addresses["default/app"][0]), TCP, 40_000, 8080,
                      eth_src=0x02_00_00_00_00_01, eth_dst=GATEWAY_MAC)  # fmt: skip
    datagram = ip_packet(ip_address("10.0.1.1"), ip_address(made.addresses["default/app"][0]), UDP, 40_000, 53,
                         eth_src=0x02_00_00_00_00_01, eth_dst=GATEWAY_MAC)  # fmt: skip
    then, now = (Network(network(), state) for state in (before, ended))
    for first, later, arrives in (
        (asked, changed(asked, tcp_flags=TCP_ACK), False),
        (asked, changed(asked, tcp_flags=TCP_SYN | TCP_ACK), False),
        (asked, changed(asked, tcp_flags=TCP_RST), False),
        (asked, asked, True),
        (datagram, datagram, True),
    ):
        (chosen,) = (walk for walk in walk_from(then, first, "c1") if walk.of("delivered")[0].host == "p2")
        for walk in walk_from(now, later, "c1", connections=chosen.connections):
            if arrives:
                assert walk.of("delivered")[0].host in ("p1", "p3", "p4")
                continue
            assert [fate.kind for fate in walk.fates] == ["controller"]
            assert walk.fates[0].hops[-1].rules[-1].table == NUMBER["reject"]
            assert walk.connections == chosen.connections


def test_who_is_not_selected_any_more_keeps_tcp_and_nothing_else() -> None:
    """Walked: whatever is left of a TCP connection comes to it, also when shares move; datagrams go to others."""
    wanted = policy()
    before, made = compile(wanted, network())
    unlabelled = with_endpoint(wanted, "p2", labels={})
    leaving, later = compile(unlabelled, network(), made)
    assert later.providers["default/app"]["p2"] == "p2"
    assert "p2" not in later.slots["services/default/app"]
    moved, later = compile(with_endpoint(unlabelled, "p3", weight=9), network(), later)
    address = ip_address(made.addresses["default/app"][0])
    asked, datagram = (
        ip_packet(ip_address("10.0.1.1"), address, protocol, 40_000, port, eth_src=0x02_00_00_00_00_01,
                  eth_dst=GATEWAY_MAC)
        for protocol, port in ((TCP, 8080), (UDP, 53))
    )  # fmt: skip
    for state in (leaving, moved):
        for first, next_one, stays in ((asked, changed(asked, tcp_flags=TCP_ACK), True), (datagram, datagram, False)):
            (chosen,) = (walk for walk in walk_from(Network(network(), before), first, "c1")
                         if walk.of("delivered")[0].host == "p2")  # fmt: skip
            for walk in walk_from(Network(network(), state), next_one, "c1", connections=chosen.connections):
                assert (walk.of("delivered")[0].host == "p2") == stays
        for walk in walk_from(Network(network(), state), changed(asked, sport=40_001), "c1"):
            assert walk.of("delivered")[0].host != "p2", "it gets no new ones"
    over = replace(network(), unready=frozenset({"services/default/app/p2"}))
    gone, last = compile(unlabelled, over, later)
    assert "p2" not in last.providers["default/app"]
    (forgotten,) = [flow for flow in gone["s1"].flows.values() if made.waypoints["host:p2"] == _remembered(flow)]
    assert forgotten.goto == NUMBER["left-behind"], "of all protocols, by now"
    assert not any(field.field == "ip_proto" for field in forgotten.match)


def test_who_is_elsewhere_is_remembered_there() -> None:
    """Also over further changes, and until it leaves."""
    wanted, moved = policy(), parse_topology(PLACES.replace("p2: {attach: s2:12", "p2: {attach: s3:13"), "places.yaml")
    _, made = compile(wanted, network())
    old = made.waypoints["host:p2"]
    for _ in range(2):
        state, made = compile(wanted, moved, Allocation.from_json(made.to_json()))
        assert dict(zip(made.served["default/app"], made.served_by["default/app"], strict=True))[old] == "p2"
        (kept,) = [flow for flow in state["s1"].flows.values() if old == _remembered(flow)]
        assert kept.goto == NUMBER["pinned-path"]
    state, made = compile(wanted, replace(moved, unready=frozenset({"services/default/app/p2"})), made)
    (left,) = [flow for flow in state["s1"].flows.values() if old == _remembered(flow)]
    assert left.goto == NUMBER["left-behind"]


def _remembered(flow: Flow) -> int | None:
    """The waypoint of the provider whose connections a flow is an exception for."""
    exit_ = labels.CHOSEN_EXIT
    found = [value for name, value, mask in flow.match if name == "ct_label" and mask >> exit_.offset & 1]
    return found[0] >> exit_.offset & (1 << exit_.bits) - 1 if found and flow.priority >= 40_000 else None


