"""Counters of flows become sums that survive the flows."""

from __future__ import annotations

import examples
import pytest

from controller_app.balancing.usage import Owners, Provider, Reading, Usage, Used
from controller_app.model.allocation import Allocation
from controller_app.model.flow import FlowKey, match
from controller_app.pipeline.compile import compile
from controller_app.pipeline.cookies import cookie
from controller_app.pipeline.tables import NUMBER, ZONES
from controller_app.policy.policy_file import parse_policy

WEB = Provider("default", "app-svc", "web1")
OTHER = Provider("default", "app-svc", "web2")


def reading(table: str, packets: int, age: float, provider: Provider = WEB, key: str = "") -> Reading:
    return Reading(key or table, table, provider, packets, packets * 100, age)


def test_sums_of_differences() -> None:
    usage = Usage()
    usage.read("1", [reading("translate", 10, 50), reading("served", 2, 50), reading("returned", 8, 50)], 100)
    assert usage.of(WEB) == Used(2, 10, 1000, 8, 800, pytest.approx(18 / 50)), "who knows when that was"
    usage.read("1", [reading("translate", 30, 60), reading("served", 3, 60), reading("returned", 8, 60)], 110)
    assert usage.of(WEB) == Used(3, 30, 3000, 8, 800, pytest.approx(2.0), 110)
    assert usage.of(OTHER) == Used()


def test_a_flow_that_counts_from_nothing_again() -> None:
    usage = Usage()
    usage.read("1", [reading("translate", 10, 60)], 100)
    usage.read("1", [reading("translate", 5, 70)], 110)
    assert usage.of(WEB).packets_in == 15
    usage.read("1", [reading("translate", 5, 80)], 120)
    assert (usage.of(WEB).packets_in, usage.of(WEB).rate) == (15, 0)


def test_a_replaced_flow_keeps_its_counters_though_not_its_age() -> None:
    usage = Usage()
    usage.read("1", [reading("translate", 10, 60)], 100)
    usage.read("1", [reading("translate", 11, 2)], 110)
    assert usage.of(WEB).packets_in == 11


def test_what_a_flow_counted_stays_when_it_goes_and_comes_back() -> None:
    usage = Usage()
    usage.read("1", [reading("translate", 10, 60)], 100)
    usage.read("1", [], 110)
    usage.read("1", [reading("translate", 12, 3)], 120)
    assert usage.of(WEB).packets_in == 22


def test_a_flow_that_becomes_another_providers() -> None:
    usage = Usage()
    usage.read("1", [reading("translate", 10, 60)], 100)
    usage.read("1", [reading("translate", 12, 70, OTHER)], 110)
    assert (usage.of(WEB).packets_in, usage.of(OTHER).packets_in) == (10, 2)


def test_switches_count_for_themselves_and_activity_ends() -> None:
    usage = Usage()
    for switch in ("1", "2"):
        usage.read(switch, [reading("translate", 10, 10)], 100)
    assert (usage.of(WEB).packets_in, usage.of(WEB).rate) == (20, 2.0)
    assert usage.of(WEB).active(109)
    assert not usage.of(WEB).active(111)
    usage.read("2", [], 105)
    assert usage.of(WEB).rate == 1.0
    usage.read("1", [reading("served", 5, 10)], 150)
    assert not usage.of(WEB).active(150), "the packets of `served` are those of `translate`"


def test_what_the_policy_has_no_more_is_forgotten() -> None:
    usage = Usage()
    usage.read("1", [reading("translate", 1, 1), reading("translate", 2, 1, OTHER, "x")], 10)
    without = examples.policy(text=examples.POLICY.replace("web1", "web7"))
    usage.keep(without)
    assert list(usage.all()) == [OTHER]


def test_flows_of_the_pipeline_are_told_by_what_they_match() -> None:
    """Of a compiled policy: every provider has flows of all three kinds, on its own switch alone."""
    policy, topology = examples.policy(), examples.network()
    state, allocation = compile(policy, topology, Allocation())
    owners = Owners(policy, topology, allocation)
    found: dict[tuple[str, str], set[str]] = {}
    for switch, rules in state.items():
        for flow in rules.flows.values():
            told = owners.reading(flow.key, flow.cookie, 1, 100, 1.0)
            if told is not None:
                assert (told.provider.tenant, told.provider.service) == ("default", "app-svc")
                found.setdefault((switch, told.provider.endpoint), set()).add(told.table)
    assert found == {
        (switch, endpoint): {"translate", "served", "returned"}
        for switch, endpoint in (("s4", "web1"), ("s4", "web2"), ("s3", "web3"))
    }


def test_flows_of_others_do_not_count() -> None:
    policy, topology = examples.policy(), examples.network()
    allocation = compile(policy, topology, Allocation())[1]
    owners = Owners(policy, topology, allocation)
    mine = cookie("services/default/app-svc", allocation.ids["objects"]["services/default/app-svc"])
    waypoint, zone = allocation.waypoints["host:w1"], allocation.ids["zones"]["s4:11"]
    key = FlowKey(NUMBER["translate"], 1, match(reg4=waypoint))
    assert owners.reading(key, mine, 1, 1, 1) == Reading(key, "translate", WEB, 1, 1, 1)
    assert owners.reading(key, cookie("networks/x", 1), 1, 1, 1) is None
    assert owners.reading(key, 7, 1, 1, 1) is None
    assert owners.reading(key._replace(table=NUMBER["transit"]), mine, 1, 1, 1) is None
    assert owners.reading(key._replace(match=match(reg4=allocation.waypoints["host:h1"])), mine, 1, 1, 1) is None
    back = owners.reading(FlowKey(NUMBER["returned"], 1, match(reg1=zone | ZONES << 1)), mine, 1, 1, 1)
    assert back is not None
    assert back.provider == WEB


def test_two_tenants_with_the_same_names_are_apart() -> None:
    text = "version: 1\ntenant: {0}\nnetworks: {{vips: {{subnet: 100.1.1.0/24, kind: service}}}}\n" \
           "endpoints: {{web: {{host: {1}, labels: {{a: b}}}}}}\n" \
           "services: {{app: {{network: vips, selector: a=b, ports: [80:80/tcp]}}}}\n"  # fmt: skip
    policy = parse_policy({name: text.format(name, host) for name, host in (("red", "w1"), ("blue", "w2"))}).policy
    topology = examples.network()
    state, allocation = compile(policy, topology, Allocation())
    owners = Owners(policy, topology, allocation)
    told = {
        reading.provider
        for rules in state.values()
        for flow in rules.flows.values()
        if (reading := owners.reading(flow.key, flow.cookie, 1, 1, 1)) is not None
    }
    assert told == {Provider("red", "app", "web"), Provider("blue", "app", "web")}
