"""What chains cost in rules and slots: the counts of `make bench` that are cheap, on a smaller fat-tree."""

from __future__ import annotations

from fractions import Fraction

import pytest
from bench.datapath import parse, per_next_waypoint
from bench.fat_tree import fat_tree
from bench.rules import changed_transit, counted, per_direction, per_flow_per_hop
from bench.slots import bound, group_slots_moved, removals, unevenness
from bench.workload import KINDS, policy

from controller_app.balancing.slots import fill

TREE = fat_tree(4, instances=4)
FEW, MANY = 8, 480  # each of 120 pairs of hosts with 4 ports


def test_a_fat_tree_is_one() -> None:
    """Al-Fares, Loukissas, Vahdat 2008, section 3: 5k²/4 switches, k³/4 hosts, k ports a switch."""
    tree = fat_tree(16)
    assert len(tree.topology.switches) == 320
    assert len(tree.hosts) == 1024
    assert len(tree.topology.links) == 2 * 16**3 // 4
    for switch in tree.transit:
        assert sum(switch in (link.a.switch, link.b.switch) for link in tree.topology.links) == 16
    assert len({str(end) for host in tree.topology.hosts.values() for end in host.attach.values()}) == 1024 + 2 * 24


@pytest.mark.parametrize("stickiness", ["none", "connection"])
def test_a_classifier_costs_one_rule_a_direction(stickiness: str) -> None:
    """Beyond what lists of functions cost once at every edge."""
    some, many = counted(TREE, 240, stickiness), counted(TREE, MANY, stickiness)
    assert per_direction(some, many, MANY - 240) == 1
    assert many.tables["classify"] - some.tables["classify"] == 2 * (MANY - 240)
    assert many.groups == some.groups


def test_paths_that_are_remembered_cost_no_rule_each() -> None:
    """An edge takes up what it remembers with a rule or a few for a list, not one for each path and direction."""
    many = counted(TREE, MANY, "connection")
    lists, edges, always = len(KINDS), len(TREE.edge), 1
    assert many.tables["recalled"] <= edges * (2 * lists + always)
    assert many.tables["pinned-path"] == 5 * edges


@pytest.mark.parametrize("stickiness", ["none", "connection"])
def test_more_chains_change_nothing_in_transit(stickiness: str) -> None:
    few, many = counted(TREE, FEW, stickiness), counted(TREE, MANY, stickiness)
    assert changed_transit(TREE, few, many) == []
    groups = {name: few.switches[name][1] for name in TREE.transit}
    assert groups == {name: many.switches[name][1] for name in TREE.transit}
    assert 0 < max(groups.values()) <= 2 * 4  # for each port, and again for packets that took a detour


def test_the_baseline_counts_every_switch_of_the_way() -> None:
    """One classifier, one instance of one function: there and back, each switch of the shortest way once."""
    tree = fat_tree(4, instances=1)
    chains = policy(tree, 1, "none")
    (classifier,) = chains.tenants["default"].classifiers.values()
    source, destination = (
        next(iter(tree.topology.hosts[str(party.value)].attach.values())).switch
        for party in (classifier.source, classifier.destination)
    )
    function = next(iter(tree.topology.hosts["f0i0"].attach.values())).switch

    def hops(a: str, b: str) -> int:  # up to the layer where the ways to both meet, and down
        return 0 if a == b else 2 if a.partition("x")[0] == b.partition("x")[0] else 4

    assert per_flow_per_hop(tree, chains) == 2 * (hops(source, function) + hops(function, destination) + 1)


def test_no_slot_moves_but_those_of_the_instance_that_goes() -> None:
    for members in range(2, 65):
        table = fill({f"i{number}": 1 for number in range(members)})
        assert unevenness(table) == bound(members)
        for beyond, after in removals(members):
            assert beyond == 0
            assert after == bound(members - 1)
    assert bound(3) == Fraction(86 * 3, 256)


def test_in_groups_of_chains_no_slot_moves_but_those_of_the_instance_that_goes() -> None:
    tree = fat_tree(4, instances=3)
    beyond, own = group_slots_moved(tree, policy(tree, 64, "none"), "f1")
    assert beyond == 0
    assert own > 0


def test_megaflows_are_read_as_open_vswitch_prints_them() -> None:
    """Lines of a real dump (ovs-appctl dpctl/dump-flows -m, Open vSwitch 3.1): what is masked away does not count."""
    dump = (
        "flow-dump from the main thread:\n"
        "ufid:1, skb_priority(0/0),ct_state(0/0),recirc_id(0x2),dp_hash(0x5b88d801/0xff),in_port(s4-eth11),"
        "packet_type(ns=0,id=0),eth(src=02:00:00:00:00:21/00:00:00:00:00:00,"
        "dst=0e:00:10:00:00:04/ff:ff:ff:ff:c0:00),eth_type(0x0800),ipv4(src=10.0.0.21/0.0.0.0,proto=6/0,frag=no),"
        "tcp(src=80/0,dst=20046/0), packets:19, bytes:1681, used:0.665s, actions:set(eth(dst=0e:00:58:00:c0:00)),9\n"
        "ufid:2, recirc_id(0),in_port(t-eth1),packet_type(ns=0,id=0),eth(src=02:00:00:00:00:21/00:00:00:00:00:00,"
        "dst=0e:00:10:00:c0:04),eth_type(0x0800),ipv4(frag=no), packets:1, bytes:1, used:0.1s, actions:2\n"
    )
    hashed, carried = parse(dump)
    assert hashed.in_port == "s4-eth11"
    assert hashed.is_ipv4
    assert hashed.mask == {
        ("recirc_id", "exact"), ("dp_hash", "0xff"), ("in_port", "exact"), ("packet_type.ns", "exact"),
        ("packet_type.id", "exact"), ("eth.dst", "ff:ff:ff:ff:c0:00"), ("eth_type", "exact"), ("ipv4.frag", "exact"),
    }  # fmt: skip
    assert per_next_waypoint([hashed, carried, carried]) == {("s4-eth11", False, 2): 1, ("t-eth1", True, 2): 2}
