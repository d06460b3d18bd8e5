"""Counters of flows become sums that survive the flows."""

from __future__ import annotations

import examples
import pytest
import service_examples
from hypothesis import given
from hypothesis import strategies as st

from controller_app.balancing.usage import (
    CLIENT_ANSWER,
    CLIENT_FIN,
    CLIENT_RESET,
    FORGOTTEN,
    OPENED,
    PROVIDER_FIN,
    PROVIDER_RESET,
    Ended,
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


def final(reading: Reading) -> Ended:
    return Ended(reading.key, reading.packets, reading.octets, reading.age)


def test_what_a_flow_counted_to_its_end() -> None:
    usage = Usage()
    usage.read("1", [reading("translate", 10, 60), reading("served", 4, 60, said=OPENED)], 100)
    for each in (reading("translate", 17, 64), reading("served", 6, 64, said=OPENED)):
        usage.ended("1", final(each), each, 104)
    assert (usage.of(WEB).packets_in, usage.of(WEB).bytes_in, usage.of(WEB).opened) == (17, 1700, 6)
    assert (usage.of(WEB).last, usage.of(WEB).left) == (104, 0)
    unread = reading("translate", 3, 1)
    usage.ended("1", final(unread), unread, 104.5)
    assert usage.of(WEB).packets_in == 20
    usage.read("1", [reading("translate", 2, 0.2)], 105)
    assert usage.of(WEB).packets_in == 22
    nobodys = reading("translate", 9, 1, key="unknown")
    usage.ended("1", final(nobodys), None, 106)
    assert usage.of(WEB).packets_in == 22


def test_an_end_counts_for_whom_the_flow_was_read() -> None:
    """The numbers that it was made with may be another's by now, or nobody's."""
    usage = Usage()
    usage.read("1", [reading("translate", 10, 60), reading("translate", 5, 60, key="b")], 100)
    usage.ended("1", final(reading("translate", 12, 62)), reading("translate", 12, 62, OTHER), 102)
    usage.ended("1", final(reading("translate", 6, 62, key="b")), None, 102)
    assert (usage.of(WEB).packets_in, usage.of(OTHER).packets_in) == (18, 0)


def test_an_end_that_is_told_late() -> None:
    """Others of the same match were read meanwhile: with less on them, and with more, which is only known by then."""
    usage = Usage()
    usage.read("1", [reading("translate", 10, 60)], 100)
    usage.read("1", [reading("translate", 4, 2)], 105)
    usage.ended("1", final(reading("translate", 12, 67)), reading("translate", 12, 67), 107)
    assert usage.of(WEB).packets_in == 16
    usage.read("1", [], 110)
    usage.read("1", [reading("translate", 30, 2)], 115)
    usage.ended("1", final(reading("translate", 5, 13)), reading("translate", 5, 13), 116)
    assert usage.of(WEB).packets_in == 12 + 5 + 30


def test_what_is_left_is_that_of_the_flows_that_are_there() -> None:
    usage = Usage()
    usage.read("1", [reading("translate", 9, 50), *ends(opened=5, provider_fin=1)], 100)
    usage.read("2", ends(opened=2), 100)
    assert usage.of(WEB).left == 6
    opened, fins = ends(52, opened=8, provider_fin=2)
    usage.ended("1", final(opened), opened, 102)
    assert usage.of(WEB).left == 9, "another one still tells of them: one flow of many was deleted"
    usage.ended("1", final(fins), fins, 102)
    assert (usage.of(WEB).opened, usage.of(WEB).left) == (10, 2)
    usage.ended("1", final(reading("translate", 9, 52)), None, 102)
    # it was away in between, and nobody has said so yet: what is left is left of those of now
    usage.read("1", [reading("translate", 9, 5), *ends(5, opened=9, provider_fin=2)], 110)
    assert usage.of(WEB).left == 9
    usage.read("1", [reading("translate", 9, 1), *ends(1, opened=1, provider_fin=0)], 115)
    assert usage.of(WEB).left == 3
    for late in ends(9, opened=9, provider_fin=2):
        usage.ended("1", final(late), late, 116)
    assert usage.of(WEB).left == 3


def test_nothing_is_left_where_the_host_is_no_more() -> None:
    usage = Usage()
    usage.read("1", ends(opened=5), 100)
    usage.read("2", ends(opened=2), 100)
    usage.keep(examples.policy(), {"w1": {"2", "3"}})
    assert (usage.of(WEB).opened, usage.of(WEB).left) == (7, 2)
    usage.keep(examples.policy(), {})
    assert usage.of(WEB).left == 0


STEPS = st.sampled_from(["count", "add", "replace", "delete", "ask", "answer", "tell"])


@given(st.lists(st.tuples(STEPS, st.integers(1, 20)), max_size=40))
def test_nothing_is_lost_or_counted_twice(steps: list[tuple[str, int]]) -> None:
    """A flow comes, counts and goes as it likes; answers and ends are on their way while it does."""
    usage, now = Usage(), 1000.0
    total = count = 0
    added: float | None = None
    told: list[tuple[float, int]] = []  # when it was added, how much it had counted: of ends that are on their way
    asked: tuple[float, list[Reading], set[str]] | None = None
    steps = [*steps, *([("delete", 1), ("answer", 1)] if len(steps) % 2 else [("answer", 1)]),
             *[("tell", 1)] * 40, ("ask", 1), ("answer", 1)]  # fmt: skip
    for step, number in steps:
        now += 0.01 + number / 10
        match step:
            case "count" if added is not None:
                count, total = count + number, total + number
            case "add" if added is None:
                added, count = now, 0
            case "replace" if added is not None:
                added = now
            case "delete" if added is not None:
                told.append((added, count))
                added = None
            case "ask" if asked is None:
                held = [] if added is None else [reading("translate", count, now - added, key="it")]
                asked = now, held, set()
            case "answer" if asked is not None:
                since, held, removed = asked
                usage.read("1", held, since, removed)
                asked = None
            case "tell" if told:
                when, counted = told.pop(0)
                end = reading("translate", counted, now - when, key="it")
                usage.ended("1", final(end), end, now)
                if asked is not None:
                    asked[2].add("it")
    assert usage.of(WEB).packets_in == total


def test_what_the_policy_has_no_more_is_forgotten() -> None:
    usage = Usage()
    usage.read("1", [reading("translate", 1, 1), reading("translate", 2, 1, OTHER, "x")], 10)
    without = examples.policy(text=examples.POLICY.replace("web1", "web7"))
    usage.keep(without, {"w2": {"1"}})
    assert list(usage.all()) == [OTHER]
    usage.ended("1", final(reading("translate", 5, 2)), None, 11)
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
