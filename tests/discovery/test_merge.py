"""Declared and found: one topology, and the disagreements."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from controller_app.discovery.hosts import FoundHost
from controller_app.discovery.merge import Merged, Observed, merge, resolve
from controller_app.discovery.ports import Port, PortId
from controller_app.model.topology import End, Host, Link, Switch, Topology

P = PortId
IP = IPv4Address("10.0.0.9")


def ports(*numbers: int, down: tuple[int, ...] = ()) -> dict[int, Port]:
    return {n: Port(n, f"eth{n}", n, n not in down) for n in numbers}


def declared(*links: Link) -> Topology:
    return Topology(
        {"s1": Switch("s1", 1), "s2": Switch("s2", 2)},
        links or (Link(End("s1", 1), End("s2", 1), cost=7),),
        {"h1": Host("h1", {"": End("s1", 3)}), "fw": Host("fw", {"in": End("s1", 4), "out": End("s2", 4)})},
    )


def test_nothing_declared_everything_found() -> None:
    found = merge(
        Topology(),
        Observed(
            {1: ports(1, 3), 16: ports(1)},
            ((P(1, 1), P(16, 1)),),
            hosts=(FoundHost(0x02_00_00_00_00_09, P(1, 3), (IP,)),),
        ),
    )
    assert list(found.topology.switches) == ["s1", "s16"]
    assert found.topology.switches["s16"].dpid == 16
    assert [str(link.a) + "-" + str(link.b) for link in found.topology.links] == ["s1:1-s16:1"]
    (host,) = found.topology.hosts.values()
    assert (host.attach, host.ips, host.mac) == ({"": End("s1", 3)}, (IP,), "02:00:00:00:00:09")
    assert found.problems == ()


def test_a_declared_link_stays_usable_while_nothing_was_seen() -> None:
    for observed in (Observed(), Observed({1: ports(1, 3, 4)}), Observed({1: ports(1, 3), 2: ports(1, 4)})):
        assert merge(declared(), observed).topology.links == declared().links


def test_a_declared_link_goes_with_its_port_and_when_it_was_lost() -> None:
    down = merge(declared(), Observed({1: ports(1, 3, down=(1,))}))
    assert down.topology.links == ()
    assert down.problems == ()
    missing = merge(declared(), Observed({2: ports(4)}))
    assert missing.topology.links == ()
    assert "s2 has no port 1" in missing.problems[0]
    lost = merge(declared(), Observed({1: ports(1), 2: ports(1)}, lost=frozenset({(P(1, 1), P(2, 1))})))
    assert lost.topology.links == ()


def test_a_found_link_is_added_and_a_declared_one_keeps_its_cost() -> None:
    observed = Observed({1: ports(1, 2), 2: ports(1, 2)}, ((P(1, 1), P(2, 1)), (P(1, 2), P(2, 2))))
    links = merge(declared(), observed).topology.links
    assert [(link.a.port, link.cost) for link in links] == [(1, 7), (2, 1)]


def test_a_link_found_elsewhere_than_declared_is_reported_and_not_used() -> None:
    observed = Observed({1: ports(1, 2), 2: ports(1, 2)}, ((P(1, 1), P(2, 2)),))
    found = merge(declared(), observed)
    assert found.topology.links == declared().links
    assert found.problems == ("s1:1 is connected to s2:2, but s1:1 - s2:1 is declared",)


def states(merged: Merged) -> list[tuple[str, bool]]:
    return [(state.state, state.used) for state in merged.links]


def test_each_link_has_a_state_and_what_is_wrong_is_reported() -> None:
    a, b = (P(1, 1), P(2, 1)), (P(1, 2), P(2, 2))
    there = {1: ports(1, 2), 2: ports(1, 2)}
    for observed, state, used, problem in (
        (Observed(), "declared", True, ""),
        (Observed(there, (a,)), "up", True, ""),
        (Observed(there, unseen=frozenset({a})), "not-seen", True, "declared, but not seen"),
        (Observed(there, (a,), one_way=frozenset({a})), "one-way", True, "in one direction only"),
        (Observed(there, lost=frozenset({a})), "lost", False, "not seen any more"),
        (Observed({1: ports(1, down=(1,))}, lost=frozenset({a})), "down", False, ""),
        (Observed({1: ports(2)}), "down", False, "s1 has no port 1"),
        (Observed(there, ((P(1, 1), P(2, 2)),)), "mismatch", True, "s1:1 is connected to s2:2"),
    ):
        found = merge(declared(), observed)
        assert states(found) == [(state, used)]
        assert len(found.topology.links) == used
        assert len(found.problems) == bool(problem)
        assert problem in "".join(found.problems)
    found = merge(declared(), Observed(there, (a, b)))
    assert states(found) == [("up", True), ("up", True)]
    assert found.problems == ("s1:2 - s2:2 was found, but is not declared: it is used; declare it",)
    undeclared = Topology({"s1": Switch("s1", 1), "s2": Switch("s2", 2)})
    assert merge(undeclared, Observed(there, (a, b))).problems == ()  # where none is, finding them is what is wanted
    found = merge(undeclared, Observed(there, (a,), one_way=frozenset({a})))
    assert (states(found), len(found.problems)) == ([("one-way", True)], 1)


def test_a_declared_host_port_never_becomes_a_link() -> None:
    observed = Observed({1: ports(1, 4), 2: ports(1, 4)}, ((P(1, 4), P(2, 4)),))
    assert merge(declared(), observed).topology.links == declared().links


def test_what_a_declared_host_left_open_is_filled_in() -> None:
    seen = FoundHost(0x02_00_00_00_00_09, P(1, 3), (IP,), declared="h1")
    host = merge(declared(), Observed({1: ports(1, 3)}, hosts=(seen,))).topology.hosts["h1"]
    assert (host.ips, host.mac) == ((IP,), "02:00:00:00:00:09")


def test_what_is_learned_is_not_declared_and_what_is_declared_stays() -> None:
    end = End("s1", 1)
    tagged = Host("h1", {"": end}, vlan=7, out_mac="02:00:00:00:00:99")
    link = Link(End("s1", 2), End("s2", 2), mtu=1400, kind="tunnel")
    topology = Topology({"s1": Switch("s1", 1), "s2": Switch("s2", 2)}, (link,), {"h1": tagged})
    seen = FoundHost(0x020000000011, PortId(1, 1), (IP,), "h1")
    merged = merge(topology, Observed({}, (), frozenset(), (seen,))).topology
    assert merged.hosts["h1"] == replace(tagged, mac="02:00:00:00:00:11", ips=(IP,))
    assert (merged.hosts["h1"].declared, merged.links) == (False, (link,))


def test_who_was_found_with_anothers_mac_or_address_is_left_out_and_reported() -> None:
    mac = "02:00:00:00:00:0A"
    topology = Topology(
        {"s1": Switch("s1", 1)},
        (),
        {
            "h1": Host("h1", {"": End("s1", 3)}, (IP,), mac),
            "h2": Host("h2", {"": End("s1", 4)}),
            "wan": Host("wan", {"": End("s1", 5)}, (IPv4Address("10.0.0.8"),)),
        },
    )
    other = IPv4Address("10.0.0.77")
    for forged, claim in (
        (FoundHost(0x02_00_00_00_00_0A, P(1, 9), (other,)), mac.lower()),
        (FoundHost(0x02_00_00_00_00_0B, P(1, 9), (other, IP)), str(IP)),
        (FoundHost(0x02_00_00_00_00_0B, P(1, 9), (IPv4Address("10.0.0.8"),)), "10.0.0.8"),
        (FoundHost(0x02_00_00_00_00_0A, P(1, 4), (other,), declared="h2"), mac.lower()),
        (FoundHost(0x02_00_00_00_00_0B, P(1, 4), (IP,), declared="h2"), str(IP)),
    ):
        found = merge(topology, Observed({1: ports(3, 4, 5, 9)}, hosts=(forged,)))
        assert found.topology.hosts == topology.hosts
        (problem,) = found.problems
        assert claim in problem
        assert "left out" in problem
    twice = tuple(FoundHost(mac, P(1, 9), (other,)) for mac in (0x02_00_00_00_00_0B, 0x02_00_00_00_00_0C))
    found = merge(topology, Observed({1: ports(3, 4, 5, 9)}, hosts=twice))
    assert set(found.topology.hosts) == {*topology.hosts, "host-02000000000b"}
    assert len(found.problems) == 1


def test_of_several_machines_a_declared_host_is_the_one_with_its_address_else_the_last() -> None:
    old = FoundHost(0x02_00_00_00_00_08, P(1, 3), (), declared="h1", spoke=9)
    new = FoundHost(0x02_00_00_00_00_09, P(1, 3), (IP,), declared="h1", spoke=5)
    with_address = Topology({"s1": Switch("s1", 1)}, (), {"h1": Host("h1", {"": End("s1", 3)}, (IP,))})
    for topology, mac in ((with_address, "02:00:00:00:00:09"), (declared(), "02:00:00:00:00:08")):
        for hosts in ((old, new), (new, old)):
            assert merge(topology, Observed({1: ports(3)}, hosts=hosts)).topology.hosts["h1"].mac == mac


def test_a_switch_named_like_another_keeps_apart() -> None:
    found = merge(Topology({"s2": Switch("s2", 7)}), Observed({2: ports(1)}))
    assert {s.name: s.dpid for s in found.topology.switches.values()} == {"s2": 7, "s2-found": 2}
    assert found.problems


def test_port_names_become_numbers_once_the_switch_told_them() -> None:
    topology = declared(Link(End("s1", "eth5"), End("s2", "eth1")))
    before = resolve(topology, {2: ports(1)})
    (link,) = before.topology.links
    assert link.b == End("s2", 1)
    assert link.a in before.stand_ins
    assert before.problems == ()  # s1 may still come
    after = resolve(topology, {1: ports(5), 2: ports(1)})
    assert after.topology.links == (Link(End("s1", 5), End("s2", 1)),)
    wrong = merge(topology, Observed({1: ports(6), 2: ports(1)}))
    assert "s1 has no port named 'eth5'" in wrong.problems[0]
