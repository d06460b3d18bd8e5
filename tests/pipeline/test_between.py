"""Slots by pair of edges: the least cost, the fewest moves, only where packets travel, nothing where nothing fits."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise, product

import pytest
from edge_examples import NETWORK, network, policy

from controller_app.model.allocation import Allocation
from controller_app.model.flow import FlowState
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.between import choices
from controller_app.pipeline.compile import Compiled, compile, compile_next
from controller_app.pipeline.paths import paths
from controller_app.pipeline.tables import NUMBER
from controller_app.pipeline.world import build_world
from controller_app.routing.distances import Routes
from controller_app.verification.packet import TCP, ip_packet, reply_to
from controller_app.verification.players import players
from controller_app.verification.verify import verify
from controller_app.verification.walk import Network, walk_from

TOPOLOGY = network()
AT = {name: next(iter(host.attach.values())).switch for name, host in TOPOLOGY.hosts.items()}
FIREWALLS, INSPECTORS = ("fw1", "fw2", "fw3", "fw5"), ("dpi2", "dpi5", "dpi4")
WEIGHT = {"fw2": 2}


def tables(allocation: Allocation) -> dict[tuple[str, str], tuple[str, ...]]:
    """By pair of edges, the instances of each slot."""
    found = {}
    for name, table in allocation.slots.items():
        if name.startswith("lists/"):
            one, other = name.rpartition("@")[2].split("~")
            found[one, other] = table
    return found


def groups(state: FlowState, switch: str) -> int:
    return len([group for group in state[switch].groups.values() if group.kind == "select"])


def without(topology: Topology, *links: tuple[str, str]) -> Topology:
    gone = [set(ends) for ends in links]
    left = tuple(link for link in topology.links if {link.a.switch, link.b.switch} not in gone)
    assert len(left) == len(topology.links) - len(links)
    return replace(topology, links=left)


def cost(start: str, chosen: tuple[str, ...], end: str, routes: Routes) -> float:
    stops = [start, *(AT[name] for name in chosen), end]
    return sum(routes.row(there).cost[here] for here, there in pairwise(stops))


@pytest.mark.parametrize("source", ["{host: a1}", "any"])
def test_all_slots_go_to_the_least_cost_between_every_two_edges(source: str) -> None:
    routes, found = Routes(TOPOLOGY), tables(compile(policy("spread: cost", source=source), TOPOLOGY)[1])
    edges = ("s1", "s3", "s4", "s5")
    pairs = [(one, other) for one in edges for other in edges if one <= other]
    if source == "any":
        pairs = [each for each in pairs if each[0] != each[1] or each == ("s1", "s1")]  # two hosts are at s1 alone
        pairs += [(edge, edge) for edge in edges[1:]]  # and services' providers, which are their own clients
    else:
        pairs = [each for each in pairs if each[0] == "s1"]
    assert found.keys() == set(pairs)
    for (one, other), table in found.items():
        costs = {}
        for chosen in product(FIREWALLS, INSPECTORS):
            costs[chosen] = cost(one, chosen, other, routes)
            if source == "any":
                costs[chosen] += cost(other, chosen, one, routes)
        least = min(costs.values())
        best = {chosen for chosen, each in costs.items() if each == least}
        assert {tuple(text.split(",")) for text in table} == best
        weight = {chosen: WEIGHT.get(chosen[0], 1) for chosen in best}
        for position in (0, 1):
            shares = Counter(text.split(",")[position] for text in table)
            for name, share in shares.items():
                mine = sum(each for chosen, each in weight.items() if chosen[position] == name)
                assert abs(share - 256 * mine / sum(weight.values())) < 2, (one, other, name)


def test_costs_that_are_no_decimals_choose_the_same() -> None:
    """They are compared pair by pair, to within what floats differ by of themselves."""
    thirds = replace(TOPOLOGY, links=tuple(replace(link, cost=link.cost / 3) for link in TOPOLOGY.links))
    for more in ({"source": "any"}, {"through": "[tap, fw, dpi]", "target": "{host: c1}"}):
        wanted = policy("spread: cost", **more)
        assert tables(compile(wanted, thirds)[1]) == tables(compile(wanted, TOPOLOGY)[1])


def test_rules_are_for_pairs_that_packets_travel_between() -> None:
    state, allocation = compile(policy("spread: cost", target="{host: c1}", stickiness="none"), TOPOLOGY)
    assert set(tables(allocation)) == {("s1", "s3")}
    assert {switch: groups(state, switch) for switch in state} == {
        "s1": 2, "s2": 0, "s3": 2, "s4": 1, "s5": 1, "s6": 0}  # a service's group is everywhere
    choosing = [flow for flow in state["s1"].flows.values() if flow.table == NUMBER["choose"]]
    towards = [flow for flow in choosing if any(each.field == "eth_dst" for each in flow.match)]
    assert len(towards) == 1


def test_an_instance_that_goes_moves_its_slots_alone_and_gets_them_back() -> None:
    wanted = policy("spread: cost", source="any")
    first = compile_next(None, wanted, TOPOLOGY)
    before = tables(first.allocation)
    down = replace(TOPOLOGY, down=frozenset(TOPOLOGY.hosts["fw1"].attach.values()))
    second = compile_next(first, wanted, down)
    during = tables(second.allocation)
    for ends, table in before.items():
        others = {text for text in table if not text.startswith("fw1,")}
        for old, new in zip(table, during[ends], strict=True):
            assert not new.startswith("fw1,")
            assert old.startswith("fw1,") or not others or old == new
    assert any(before[ends] != during[ends] for ends in before)
    after = tables(compile_next(second, wanted, TOPOLOGY).allocation)
    assert {ends: Counter(table) for ends, table in after.items()} == {
        ends: Counter(table) for ends, table in before.items()}
    kept = [ends for ends, table in before.items() if not any(text.startswith("fw1,") for text in table)]
    assert kept
    assert all(before[ends] == during[ends] == after[ends] for ends in kept)


def steps() -> list[tuple[Policy, Topology]]:
    """A life: links that come and go, an instance, another policy."""
    cost_any = policy("spread: cost, require: {latency: 9ms}", source="any")
    return [
        (cost_any, TOPOLOGY),
        (cost_any, without(TOPOLOGY, ("s2", "s3"))),
        (cost_any, without(TOPOLOGY, ("s2", "s3"), ("s1", "s5"))),
        (cost_any, replace(TOPOLOGY, down=frozenset(TOPOLOGY.hosts["dpi2"].attach.values()))),
        (policy("spread: cost", source="any"), TOPOLOGY),
        (policy("spread: cost", source="any"), without(TOPOLOGY, ("s2", "s3"))),
        (policy("require: {bandwidth: 100Mbps}", source="any"), TOPOLOGY),
        (cost_any, TOPOLOGY),
    ]


@pytest.mark.parametrize("portable", [False, True])
def test_step_by_step_is_the_same_as_all_at_once(portable: bool) -> None:
    made: Compiled | None = None
    for wanted, topology in steps():
        before = made.allocation if made is not None else Allocation()
        before = Allocation.from_json(json.loads(json.dumps(before.to_json())))
        made = compile_next(made, wanted, topology, portable=portable)
        state, allocation = compile(wanted, topology, before, portable)
        assert (made.state, made.allocation) == (state, allocation)
        report = verify(wanted, topology, state, allocation)
        assert report.ok, report.counterexample


def test_where_nothing_fits_any_more_nothing_passes_and_it_is_said() -> None:
    wanted = policy("require: {latency: 3ms}", target="{host: c1}")
    first = compile_next(None, wanted, TOPOLOGY)
    assert first.unmet == ()
    second = compile_next(first, wanted, without(TOPOLOGY, ("s1", "s2")))
    (said,) = second.unmet
    assert said.path == "chains.c.require"
    assert said.position == wanted.tenants["default"].chains["c"].require.where  # type: ignore[union-attr]
    assert said.what.startswith("between s1 and s3 no instances fit: fw1 is out: ")
    assert tables(second.allocation) == tables(first.allocation)  # kept for when something fits again
    choosing = [flow for flow in second.state["s1"].flows.values()
                if flow.table == NUMBER["choose"] and any(each.field == "eth_dst" for each in flow.match)]
    assert [(flow.actions, flow.goto) for flow in choosing] == [((), None)]
    third = compile_next(second, wanted, TOPOLOGY)
    assert third.unmet == ()
    assert tables(third.allocation) == tables(first.allocation)
    assert third.allocation.paths == first.allocation.paths


def test_bandwidth_is_kept_chain_by_chain_and_pair_by_pair() -> None:
    one = policy("require: {bandwidth: 60Mbps, avoid: age=young}", through="[fw]", target="{host: d1}")
    tenant = one.tenants["default"]
    only3 = replace(tenant.functions["fw"], instances={"fw3": tenant.functions["fw"].instances["fw3"]})
    web = tenant.classifiers["web"]
    second = replace(web, name="second", traffic=(replace(web.traffic[0], low=81, high=81),),
                     then=replace(web.then, chain="d"))
    both = Policy({"default": replace(
        tenant, functions={**tenant.functions, "fw": only3},
        chains={**tenant.chains, "d": replace(tenant.chains["c"], name="d")},
        classifiers={"web": web, "second": second})})
    made = compile_next(None, both, TOPOLOGY)
    (said,) = made.unmet
    assert said.path == "chains.d.require"
    assert said.what == "between s1 and s4 no instances fit: fw3 is out: 40 of 60 Mbps left on s3-s4"
    more = replace(TOPOLOGY, links=tuple(
        replace(link, bandwidth=1.2e8) if link.bandwidth == 1e8 else link for link in TOPOLOGY.links))
    assert compile_next(made, both, more).unmet == ()


@pytest.mark.parametrize(("more", "remedy"), [
    ("require: {latency: 1s}", "require what leaves fewer of them (`within`, `avoid`, less `latency`)"),
    ("require: {backup: true}", "make a chain for each part of the network, of the instances there"),
])
def test_more_combinations_than_can_be_looked_through_are_counted(
    more: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller_app.routing.combinations.MOST", 3)
    wanted = policy(more, "[fw, dpi, tap]", target="{host: c1}")
    (said,) = compile_next(None, wanted, TOPOLOGY).unmet
    assert said.path == "chains.c.require"
    assert said.what == ("between s1 and s3 more than 3 combinations of instances would do, and no more can be looked "
                         "through: 4 of fw x 3 of dpi x 1 of tap")
    assert remedy in said.remedy


@pytest.mark.parametrize("through", ["[fw, dpi]", "[fw, tap]", "[tap, dpi, fw]"])
def test_bandwidth_is_kept_for_every_frame_that_crosses_a_link(through: str) -> None:
    """Frames of requests and answers, and their copies, are counted where they leave switches: slot by slot, and the
    most of any slot is what is kept."""
    wanted = policy("require: {bandwidth: 1Mbps}", through, "none", target="{host: c1}")
    state, allocation = compile(wanted, TOPOLOGY)
    net = Network(TOPOLOGY, state, players(wanted, TOPOLOGY))
    a1, c1 = TOPOLOGY.hosts["a1"], TOPOLOGY.hosts["c1"]
    request = ip_packet(a1.ips[0], c1.ips[0], TCP, 1000, 80, eth_src=number(a1.mac), eth_dst=number(c1.mac))
    links = {(end.switch, end.port) for link in TOPOLOGY.links for end in (link.a, link.b)}
    most: Counter[tuple[str, int | str]] = Counter()
    slots = 0
    for there in walk_from(net, request, "a1"):
        (arrived,) = there.of("delivered")
        answer = reply_to(arrived.packet, eth_src=number(c1.mac), eth_dst=arrived.packet["eth_src"])
        for back in walk_from(net, answer, "c1", slots=there.slots_of(answer)):
            assert [fate.host for fate in back.of("delivered")] == ["a1"]
            hops = {id(hop): hop for walk in (there, back) for fate in walk.fates for hop in fate.hops}
            sent = Counter((hop.switch, hop.out_port) for hop in hops.values() if hop.out_port is not None)
            most |= Counter({port: times for port, times in sent.items() if port in links})
            slots += 1
    assert slots > 1
    world, _ = build_world(wanted, TOPOLOGY, allocation)
    ((key, one),) = choices(world).items()
    names = [{site.name: index for index, site in enumerate(sites)} for sites in one.sites]
    kept: Counter[tuple[str, int]] = Counter()
    for text in tables(allocation)[key[1]]:
        kept |= one.crossings(tuple(names[n][name] for n, name in enumerate(text.split(","))))
    assert most == kept
    assert max(kept.values()) >= 2


def number(mac: str | None) -> int:
    assert mac is not None
    return int(mac.replace(":", ""), 16)


@pytest.mark.parametrize(("fails", "passes"), [("closed", False), ("reject", False), ("open", True)])
@pytest.mark.parametrize("more", ["spread: cost", "require: {latency: 2ms}", "require: {latency: 1ms}"])
def test_without_instances_the_function_says_what_becomes_of_packets(fails: str, passes: bool, more: str) -> None:
    wanted = policy(more, through="[fw]", target="{host: c1}")
    tenant = wanted.tenants["default"]
    failing = Policy({"default": replace(
        tenant, functions={**tenant.functions, "fw": replace(tenant.functions["fw"], on_failure=fails)})})
    down = frozenset(end for name in FIREWALLS for end in TOPOLOGY.hosts[name].attach.values())
    made = compile_next(None, failing, replace(TOPOLOGY, down=down))
    report = verify(failing, replace(TOPOLOGY, down=down), made.state, made.allocation)
    assert report.ok, report.counterexample
    # where it is left out, the way without it has to be quick enough as well
    assert len(made.unmet) == (passes and "1ms" in more)


def test_a_function_that_is_skipped_and_comes_back() -> None:
    wanted = policy("spread: cost, require: {apart: true}", through="[fw, dpi, tap]", source="any")
    tenant = wanted.tenants["default"]
    opened = Policy({"default": replace(
        tenant, functions={**tenant.functions, "dpi": replace(tenant.functions["dpi"], on_failure="open")})})
    down = replace(TOPOLOGY, down=frozenset(
        end for name in INSPECTORS for end in TOPOLOGY.hosts[name].attach.values()))
    made = compile_next(None, opened, TOPOLOGY)
    for topology, functions in ((down, 2), (TOPOLOGY, 3)):
        made = compile_next(made, opened, topology)
        assert {len(text.split(",")) for table in tables(made.allocation).values() for text in table} == {functions}
        report = verify(opened, topology, made.state, made.allocation)
        assert report.ok, report.counterexample


def test_providers_that_are_near_are_the_only_ones_needed() -> None:
    text = NETWORK.replace("s4: {dpid: 4, rack: r2, zone: z2", "s4: {dpid: 4, rack: r2, zone: z1")
    wanted = policy("require: {within: zone}", through="[fw]", target="{service: all}")
    far = compile_next(None, wanted, network(text)).unmet
    assert [each.what.partition(" no ")[0] for each in far] == ["between s1 and s5"]
    tenant = wanted.tenants["default"]
    near = Policy({"default": replace(
        tenant, services={"all": replace(tenant.services["all"], prefer="zone")})})
    made = compile_next(None, near, network(text))
    assert made.unmet == ()
    assert verify(near, network(text), made.state, made.allocation).ok


def test_the_document_says_why() -> None:
    (there, back) = paths(policy("require: {latency: 4ms}", target="{host: c1}"), TOPOLOGY)["chains"]
    assert (there["ingress"], there["egress"], there["direction"]) == ("s1", "s3", "forward")
    assert sum(each["slots"] for each in there["paths"]) == sum(each["slots"] for each in back["paths"]) == 256
    assert {"instances": ["fw5"], "why": "9 ms > 4 ms via s5, s4"} in there["rejected"]
    assert {"instances": ["fw1", "dpi4"], "why": "9 ms > 4 ms via s5, s4"} in there["rejected"]
    (there, _) = paths(policy("spread: cost", target="{host: c1}"), TOPOLOGY)["chains"]
    assert {each["cost"] for each in there["paths"]} == {2}
    assert {"instances": ["fw3"], "why": "cost 4 through it, and 2 is the least"} in there["rejected"]
    (there, _) = paths(policy("require: {prefer: rack=r3}", target="{host: c1}"), TOPOLOGY)["chains"]
    assert [each["instances"] for each in there["paths"]] == [["fw5", "dpi5"]]
    assert {"instances": ["fw1"], "why": "others match 'rack=r3'"} in there["rejected"]
    (there, _) = paths(policy("require: {latency: 1ms}", target="{host: c1}"), TOPOLOGY)["chains"]
    assert there["paths"] == []
    assert {"instances": ["fw1"], "why": "2 ms > 1 ms via s2"} in there["rejected"]
