"""Walks through flows that put headers on and take them off, and through slots by multipath, written by hand."""

from __future__ import annotations

import time

import pytest
from dummy_ovs import DummyOvs, OvsError
from like_ovs import TOPOLOGY, one_switch, wire

from controller_app.model.flow import SubField
from controller_app.model.topology import End, Host, Link, Switch, Topology
from controller_app.pipeline.ofctl import parse_state
from controller_app.verification.faults import ABORTS, FORGETS, MANGLED, STARTS_OVER
from controller_app.verification.headers import decap_nsh, encap_nsh, parsed, pop_mpls, push_mpls, push_vlan, unparsed
from controller_app.verification.lookup import FlowIndex
from controller_app.verification.packet import Packet, describe
from controller_app.verification.walk import ALL_SLOTS, Network, Walk, walk_packet

TCP: Packet = {"eth_src": 1, "eth_dst": 2, "eth_type": 0x0800, "ip_proto": 6, "ipv4_src": 0x0A000001,
               "ipv4_dst": 0x0A000002, "tcp_src": 40000, "tcp_dst": 80, "ttl": 9, "length": 64, "tcp_flags": 2}
NSH = "encap(nsh(md_type=1)),encap(ethernet)"
OFF = "decap(),decap()"
CHECK = "check_pkt_larger(9)->NXM_NX_REG0[0]"
CHOOSE = "multipath(symmetric_l3l4+udp,0,modulo_n,256,0,NXM_NX_REG7[0..7])"


def walks(flows: str, groups: str = "", frame: Packet = TCP, slots: int = ALL_SLOTS) -> list[Walk]:
    return walk_packet(Network(TOPOLOGY, {"s1": parse_state(flows, groups)}), frame, ("s1", 1), slots=slots)


def ends(flows: str, frame: Packet = TCP) -> list[str | None]:
    """Where copies were delivered to, or why there were none."""
    (walk,) = walks(flows, frame=frame)
    return [fate.host or fate.reason for fate in walk.fates]


def test_each_header_hides_what_is_behind_it_and_gives_it_back() -> None:
    labelled = push_mpls(TCP)
    assert labelled is not None
    assert (labelled["eth_type"], labelled["mpls_bos"], labelled["mpls_ttl"], labelled["length"]) == (0x8847, 1, 9, 68)
    assert "ipv4_dst" not in labelled and labelled["/ipv4_dst"] == TCP["ipv4_dst"]
    twice = push_mpls(labelled)
    assert twice is not None and (twice["mpls_bos"], twice["/mpls_bos"]) == (0, 1)
    thrice = push_mpls(twice)
    assert thrice is not None and push_mpls(thrice) is None
    assert pop_mpls(pop_mpls(pop_mpls(thrice, 0x8847), 0x8847), 0x0800) == TCP
    wrong = pop_mpls(labelled, 0x86DD)
    assert wrong["eth_type"] == 0x86DD and "ipv4_dst" not in wrong
    wrapped = encap_nsh({**labelled, "reg3": 5})
    assert (wrapped["eth_type"], wrapped["nsh_ttl"], wrapped["nsh_si"], wrapped["eth_dst"]) == (0x894F, 63, 255, 0)
    assert (wrapped["reg3"], wrapped["length"], wrapped["//ipv4_dst"]) == (5, 106, TCP["ipv4_dst"])
    assert decap_nsh(wrapped) == {**labelled, "reg3": 5}
    assert decap_nsh(push_vlan(wrapped)) is None and decap_nsh(TCP) is None


def test_of_two_tags_a_switch_reads_one() -> None:
    frame = {**push_vlan({**push_vlan(TCP), "vlan_tci": 0x1005}), "vlan_tci": 0x1007}
    seen = parsed(frame)
    assert (seen["vlan_tci"], seen["eth_type"], seen.get("ipv4_dst")) == (0x1007, 0x8100, None)
    assert unparsed(seen) == frame
    assert ends("dl_vlan=7,ip,actions=2\ndl_vlan=7,dl_type=0x8100,priority=1,actions=3", frame) == ["h3"]
    (fate,) = walks("dl_vlan=7,actions=pop_vlan,2", frame=frame)[0].of("delivered")
    assert (fate.packet["vlan_tci"], fate.packet["ipv4_dst"], fate.packet["length"]) == (0x1005, TCP["ipv4_dst"], 68)


def test_labels_and_nsh_cross_cables_and_come_off_at_the_other_end() -> None:
    topology = Topology({name: Switch(name, number) for number, name in enumerate(("s1", "s2"), 1)},
                        (Link(End("s1", 2), End("s2", 2)),),
                        {"h1": Host("h1", {"": End("s1", 1)}), "h2": Host("h2", {"": End("s2", 1)})})
    for on, off in (("push_mpls:0x8847,set_field:17->mpls_label,push_mpls:0x8847,set_field:18->mpls_label",
                     "mpls,mpls_label=18,mpls_bos=0,actions=pop_mpls:0x8847,goto_table:1\n"
                     "table=1,mpls,mpls_label=17,mpls_bos=1,actions=pop_mpls:0x0800,goto_table:2"),
                    (f"{NSH},set_field:0x12->nsh_spi,set_field:254->nsh_si",
                     f"dl_type=0x894f,nsh_spi=0x12,nsh_si=254,actions=dec_nsh_ttl,{OFF},goto_table:2"),
                    ("push_vlan:0x8100,set_field:0x1123->vlan_vid", "dl_vlan=0x123,actions=pop_vlan,goto_table:2")):
        state = {"s1": parse_state(f"actions=set_field:5->reg1,{on},output:2", ""),
                 "s2": parse_state(f"{off}\ntable=2,tcp,reg1=0,tp_dst=80,actions=dec_ttl,1", "")}
        (walk,) = walk_packet(Network(topology, state), TCP, ("s1", 1))
        assert [fate.host for fate in walk.fates] == ["h2"]
        assert walk.fates[0].packet == {**TCP, "ttl": 8}


def test_ttl_and_dscp_are_matched_and_written() -> None:
    assert ends("ip,nw_ttl=9,ip_dscp=0,actions=set_field:3->nw_ttl,set_field:11->ip_dscp,resubmit(,1)\n"
                "table=1,ip,nw_ttl=3,nw_tos=44,actions=2") == ["h2"]
    assert ends("dl_type=0x894f,actions=dec_nsh_ttl,2", {**encap_nsh(TCP), "nsh_ttl": 1}) == ["NSH TTL exceeded"]


def test_slots_are_told_apart_only_where_rules_do() -> None:
    by_slot = "\n".join(f"table=1,reg7={slot}/0xff,actions=set_field:{slot % 3}->reg0,goto_table:2"
                        for slot in range(256))
    flows = f"actions={CHOOSE},goto_table:1\n{by_slot}\ntable=2,reg0=2,actions=2\ntable=2,priority=1,actions=3"
    found = walks(flows)
    assert [(walk.slots, [fate.host for fate in walk.fates]) for walk in found] == [
        (sum(1 << slot for slot in range(256) if slot % 3 == rest), [host])
        for rest, host in ((0, "h3"), (1, "h3"), (2, "h2"))]
    assert sum(walk.slots for walk in found) == ALL_SLOTS
    assert [walk.slots for walk in walks(flows, slots=1 << 200 | 1 << 203)] == [1 << 200 | 1 << 203]
    assert [walk.slots for walk in walks(f"actions={CHOOSE},goto_table:1\ntable=1,actions=2")] == [ALL_SLOTS]


def test_slots_by_multipath_are_those_of_groups() -> None:
    halves = ",".join(f"bucket=actions=output:{2 if slot < 128 else 3}" for slot in range(256))
    flows = (f"actions={CHOOSE},resubmit(,1),group:1\ntable=1,reg7=0/0xc0,actions=4\n"
             "table=1,priority=1,actions=drop")
    found = walks(flows, f"group_id=1,type=select,{halves}")
    assert [(walk.slots.bit_count(), [fate.host for fate in walk.of("delivered")]) for walk in found] == [
        (64, ["h4", "h2"]), (64, ["h2"]), (128, ["h3"])]


def test_a_slot_that_is_read_is_one_of_256_and_one_overwritten_none() -> None:
    moved = f"actions={CHOOSE},move:NXM_NX_REG7[0..7]->NXM_OF_ETH_DST[8..15],2"
    found = walks(moved)
    assert [walk.fates[0].packet["eth_dst"] >> 8 for walk in found] == [walk.slots.bit_length() - 1 for walk in found]
    assert len(found) == 256
    assert len(walks(f"actions={CHOOSE},load:0->NXM_NX_REG7[],goto_table:1\ntable=1,reg7=0,actions=2")) == 1
    assert len(walks(f"actions={CHOOSE},load:0->NXM_NX_REG7[8..15],goto_table:1\ntable=1,actions=2")) == 1


def test_looking_up_all_slots_is_looking_up_each() -> None:
    lines = [f"reg7={slot}/0xff,reg0=1,actions=2" for slot in range(0, 256, 2)]
    lines += ["priority=99,reg7=0x10/0xf0,actions=3", "priority=9,ip,actions=4", "priority=8,actions=1"]
    index = FlowIndex(parse_state("\n".join(lines), "").flows.values())
    part = SubField("reg7", 0, 8)
    assert index.looks_at(0, part) and not index.looks_at(0, SubField("reg7", 8, 8)) and not index.looks_at(1, part)
    for packet in ({"reg0": 1, "eth_type": 0x0800}, {"eth_type": 0x0800}, {"reg0": 1, "reg7": 0x77}):
        assert index.find_slots(0, packet, part) == [index.find(0, {**packet, "reg7": slot}) for slot in range(256)]


CONJUNCTION = """priority=10,ip,nw_src=10.0.0.1,actions=conjunction(7,1/2)
priority=10,tcp,tp_dst=80,actions=conjunction(7,2/2)
priority=10,tcp,tp_dst=81,actions=conjunction(7,2/2)
priority=10,conj_id=7,actions=2
priority=5,actions=3
"""


def test_a_conjunction_holds_where_each_dimension_has_a_member() -> None:
    assert ends(CONJUNCTION) == ["h2"]
    assert ends(CONJUNCTION, {**TCP, "tcp_dst": 82}) == ["h3"]
    assert ends(CONJUNCTION, {**TCP, "ipv4_src": 5}) == ["h3"]
    assert ends(CONJUNCTION + "priority=10,in_port=1,actions=4") == ["h4"]


def test_meters_and_queues_let_packets_pass() -> None:
    assert ends("actions=meter:1,set_queue:3,2") == ["h2"]


@pytest.mark.parametrize(("flows", "reasons"), [
    (f"actions=clone({NSH},resubmit(,1)),2", {ABORTS}),
    (f"actions=clone({NSH},check_pkt_larger(9)->NXM_NX_REG0[0],resubmit(,1)),2", set()),
    (f"actions=clone({NSH},resubmit(,1))", set()),
    (f"actions=check_pkt_larger(9)->NXM_NX_REG0[0],{NSH},resubmit(,1)", {ABORTS}),
    (f"actions=clone(resubmit(,2)),2\ntable=2,actions={NSH},3", {MANGLED}),
    (f"actions=clone({CHECK},resubmit(,2)),2\ntable=2,actions={NSH},3", set()),
    (f"actions=clone({CHECK},resubmit(,2)),2\ntable=2,actions={NSH},resubmit(,1)", {ABORTS}),
    (f"actions=clone({CHECK},resubmit(,2)),2\ntable=2,actions={NSH},{CHECK},resubmit(,1)", set()),
    (f"actions=clone({NSH},3),2", set()),
    (f"actions={NSH},clone({OFF},3),2", {FORGETS}),
    (f"actions={NSH},clone(3),{OFF},2", set()),
    (f"actions={NSH},{OFF}", {STARTS_OVER}),
    ("actions=push_mpls:0x8847,clone(resubmit(,3)),2\ntable=3,mpls,actions=pop_mpls:0x0800,dec_ttl,3", {FORGETS}),
    ("actions=push_mpls:0x8847,clone(resubmit(,3)),2\ntable=3,mpls,actions=pop_mpls:0x0800,3", set()),
])
def test_what_a_switch_does_wrong_is_said(flows: str, reasons: set[str]) -> None:
    known = {ABORTS, MANGLED, FORGETS, STARTS_OVER}
    assert {fate.reason for walk in walks(flows + "\ntable=1,actions=drop") for fate in walk.fates} & known == reasons


@pytest.mark.parametrize(("flows", "left"), [
    (f"actions=clone({NSH},resubmit(,1)),2\ntable=1,actions=drop", None),
    (f"actions=clone({NSH},check_pkt_larger(9)->NXM_NX_REG0[0],resubmit(,1)),2\ntable=1,actions=drop", 64),
    (f"actions=clone(resubmit(,2)),2\ntable=2,actions={NSH},3", 102),
    (f"actions=clone({CHECK},resubmit(,2)),2\ntable=2,actions={NSH},3", 64),
    (f"actions=clone({CHECK},resubmit(,2)),2\ntable=2,actions={NSH},resubmit(,1)\ntable=1,actions=drop", None),
    (f"actions=clone({CHECK},resubmit(,2)),2\ntable=2,actions={NSH},{CHECK},resubmit(,1)\ntable=1,actions=drop", 64),
    (f"actions={NSH},clone({OFF},3),2", 0),
])
def test_a_switch_really_does_that_wrong(flows: str, left: int | None) -> None:
    """The length of what leaves by port 2, 64 where it is as it came; None where the switch dies."""
    with one_switch() as ovs:
        ovs.ofctl("add-flows", "s1", "-", stdin=flows + "\n")
        assert _length_sent(ovs) == left


def _length_sent(ovs: DummyOvs) -> int | None:
    """A frame is answered for before it is handled: what is sent, or that the switch died, is waited for."""
    deadline = time.monotonic() + 5
    try:
        ovs.receive("p1", wire(TCP))
        while time.monotonic() < deadline:
            if not ovs.alive:
                return None
            if frames := ovs.sent("p2", 1, 0.1):
                return len(frames[0])
        return 0
    except OvsError:
        return None


def test_packets_behind_headers_are_described() -> None:
    labelled = push_mpls(TCP)
    assert labelled is not None
    assert describe(encap_nsh({**labelled, "mpls_label": 17})) == (
        "NSH path 0x0 index 255, 00:00:00:00:00:00 > 00:00:00:00:00:00, with: MPLS label 0x11, 00:00:00:00:00:01 > "
        "00:00:00:00:00:02, with: tcp 10.0.0.1:40000 > 10.0.0.2:80, 00:00:00:00:00:01 > 00:00:00:00:00:02")
