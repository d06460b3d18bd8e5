"""Counters of flows become sums that survive the flows."""

from __future__ import annotations

import examples
import pytest
import service_examples

from controller_app.balancing.usage import (
    CLIENT_ANSWER,
    CLIENT_FIN,
    CLIENT_RESET,
    FORGOTTEN,
    OPENED,
    PROVIDER_FIN,
    PROVIDER_RESET,
    Owners,
    Provider,
    Reading,
    Usage,
    Used,
)
from controller_app.model.allocation import Allocation
from controller_app.model.flow import FlowKey, Match, match
from controller_app.pipeline.compile import compile
from controller_app.pipeline.cookies import cookie
from controller_app.pipeline.tables import NUMBER, ZONES
from controller_app.policy.policy_file import parse_policy

SAID = {"opened": OPENED, "provider_fin": PROVIDER_FIN, "provider_reset": PROVIDER_RESET, "client_fin": CLIENT_FIN,
        "client_reset": CLIENT_RESET, "client_answer": CLIENT_ANSWER}  # fmt: skip
WEB = Provider("default", "app-svc", "web1")
OTHER = Provider("default", "app-svc", "web2")


def reading(table: str, packets: int, age: float, provider: Provider = WEB, key: str = "", said: str = "") -> Reading:
    return Reading(key or f"{table} {said}", table, provider, packets, packets * 100, age, said)


def ends(age: float = 50, **packets: int) -> list[Reading]:
    """What flows for TCP count: connections opened, FIN and RST of provider and client."""
    tables = {name: "returned" if name.startswith("provider") else "served" for name in packets}
    return [reading(tables[name], count, age, said=SAID[name]) for name, count in packets.items()]


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


@pytest.mark.parametrize(("counted", "left"), [
    ({}, 10),
    ({"provider_fin": 4, "client_fin": 4}, 6),  # closed by both, in any order
    ({"provider_fin": 4}, 6),  # the clients have not closed yet
    ({"client_fin": 4}, 10),  # the providers have not
    ({"client_reset": 4}, 6),
    ({"client_reset": 4, "client_answer": 30}, 6),
    ({"provider_reset": 4}, 6),
    ({"provider_reset": 4, "client_fin": 4}, 6),
    ({"provider_fin": 4, "client_reset": 4}, 6),
    ({"client_fin": 4, "client_answer": 30}, 6),
    ({"provider_fin": 5, "client_fin": 3, "client_reset": 2}, 5),
    ({"provider_fin": 3, "client_fin": 3, "client_reset": 2, "provider_reset": 1}, 4),
    ({"provider_fin": 3, "client_fin": 4, "client_reset": 2, "client_answer": 9}, 4),
    ({"provider_fin": 11, "client_fin": 11}, 0),
])  # fmt: skip
def test_connections_that_are_left(counted: dict[str, int], left: int) -> None:
    usage = Usage()
    usage.read("1", [reading("translate", 90, 50), *ends(opened=10, **counted)], 100)
    used = usage.of(WEB)
    assert (used.opened, used.left) == (10, left)
    of_provider = sum(count for name, count in counted.items() if name.startswith("provider"))
    assert (used.packets_in, used.packets_out) == (90, of_provider), "those in `served` were counted in `translate`"


def test_without_tcp_it_is_not_said_how_many_are_left() -> None:
    usage = Usage()
    usage.read("1", [reading("translate", 90, 50), reading("served", 10, 50)], 100)
    assert (usage.of(WEB).opened, usage.of(WEB).left) == (10, None)
    assert Usage().of(WEB).left is None


def test_nothing_is_left_of_a_provider_whose_flows_are_gone() -> None:
    usage = Usage()
    usage.read("1", [reading("translate", 90, 50), *ends(opened=10, provider_fin=4)], 100)
    usage.read("2", [reading("translate", 9, 50), *ends(opened=1)], 100)
    assert usage.of(WEB).left == 7
    usage.read("1", [reading("translate", 90, 55, OTHER)], 105)
    assert (usage.of(WEB).opened, usage.of(WEB).left) == (11, 1)
    usage.read("1", [reading("translate", 3, 2), *ends(2, opened=2, provider_fin=1)], 110)
    assert usage.of(WEB).left == 2


def test_errors_do_not_last() -> None:
    """More seem to have ended than began: so it stays while packets pass, since flows are not asked all at once."""
    usage = Usage()
    usage.read("1", [reading("translate", 90, 9), *ends(9, opened=10, provider_fin=12)], 100)
    assert usage.of(WEB).left == 0
    usage.read("1", [reading("translate", 95, 14), *ends(14, opened=12, provider_fin=12)], 105)
    assert usage.of(WEB).left == 0
    usage.read("1", [reading("translate", 99, 19), *ends(19, opened=12, provider_fin=14)], 110)
    usage.read("1", [reading("translate", 99, 39), *ends(39, opened=12, provider_fin=14)], 130)
    usage.read("1", [reading("translate", 101, 44), *ends(44, opened=13, provider_fin=14)], 135)
    assert usage.of(WEB).left == 1
    usage.read("1", [reading("translate", 101, FORGOTTEN), *ends(FORGOTTEN, opened=13, provider_fin=14)],
               135 + FORGOTTEN)  # fmt: skip
    assert usage.of(WEB).left == 1
    usage.read("1", [reading("translate", 101, FORGOTTEN), *ends(FORGOTTEN, opened=13, provider_fin=14)],
               136 + FORGOTTEN)  # fmt: skip
    assert usage.of(WEB).left == 0, "conntrack does not know it any more"


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


def test_flows_tell_of_tcp_connections_in_both_ip_versions() -> None:
    policy, topology = service_examples.policy(), service_examples.network()
    state, allocation = compile(policy, topology, Allocation())
    owners = Owners(policy, topology, allocation)
    found: dict[tuple[str, str], set[tuple[str, str]]] = {}
    opened: dict[str, set[Match]] = {}
    for rules in state.values():
        for flow in rules.flows.values():
            told = owners.reading(flow.key, flow.cookie, 1, 100, 1.0)
            if told is not None and told.table == "served" and told.said in ("", OPENED):
                opened.setdefault(told.said, set()).add(flow.match)
            elif told is not None and told.said:
                version = next(f"{value:#06x}" for name, value, _ in flow.key.match if name == "eth_type")
                assert flow.goto == NUMBER["addressing" if told.table == "returned" else "leave"]
                found.setdefault(told.provider[1:], set()).add((told.said, version))
    assert len(opened[OPENED]) == len(opened[""]) == len(found), "one port is TCP, one UDP"
    kinds = set(SAID.values()) - {OPENED}
    assert len(found) > 1
    assert set(map(frozenset, found.values())) == {frozenset((said, v) for said in kinds for v in ("0x0800", "0x86dd"))}


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
