"""Walks through flows written by hand."""

from __future__ import annotations

from ipaddress import ip_address

from controller_app.model.flow import CT_EST, CT_NEW, CT_RPL, CT_TRK, FlowState, SwitchState
from controller_app.model.topology import End, Host, Link, Switch, Topology
from controller_app.modes.tap import Tap
from controller_app.modes.transparent import Transparent
from controller_app.pipeline.ofctl import parse_state
from controller_app.verification.conntrack import Connections
from controller_app.verification.packet import TCP, Packet, ip_packet, ports, reply_to
from controller_app.verification.players import Player
from controller_app.verification.walk import Network, Walk, walk_from, walk_packet


def lone(flows: str, groups: str = "", down: tuple[int, ...] = ()) -> Network:
    """One switch with hosts h1 to h5 on ports 1 to 5."""
    hosts = {f"h{port}": Host(f"h{port}", {"": End("s1", port)}) for port in range(1, 6)}
    return Network(Topology({"s1": Switch("s1", 1)}, (), hosts), {"s1": parse_state(flows, groups)},
                   down=frozenset(End("s1", port) for port in down))


def tcp(**fields: int) -> Packet:
    frame = ip_packet(ip_address("10.0.0.1"), ip_address("10.0.0.2"), TCP, 40000, 80, eth_src=1, eth_dst=2)
    return {**frame, **fields}


def deliveries(walk: Walk) -> list[tuple[str | None, int]]:
    return [(fate.host, fate.packet.get("eth_dst", 0)) for fate in walk.of("delivered")]


def only(walks: list[Walk]) -> Walk:
    assert len(walks) == 1
    return walks[0]


def sent(flows: str, groups: str = "", frame: Packet | None = None, down: tuple[int, ...] = ()) -> list[
        tuple[str | None, int]]:
    return deliveries(only(walk_packet(lone(flows, groups, down), frame or tcp(), ("s1", 1))))


def test_the_highest_priority_wins() -> None:
    flows = """priority=1,actions=2
               priority=30,tcp,tp_dst=81,actions=3
               priority=20,tcp,tp_dst=0x50/0xfff0,actions=4
               priority=20,udp,actions=5"""
    assert sent(flows) == [("h4", 2)]


def test_what_a_resubmit_changed_stays_changed() -> None:
    assert sent("actions=resubmit(,3),output:2\ntable=3,actions=set_field:00:00:00:00:00:09->eth_dst,3") == [
        ("h3", 9), ("h2", 9)]


def test_goto_follows_the_actions() -> None:
    assert sent("actions=set_field:7->reg0,goto_table:3\ntable=3,reg0=7,actions=4") == [("h4", 2)]


def test_a_clone_forgets() -> None:
    flows = "actions=clone(set_field:00:00:00:00:00:09->eth_dst,output:3),output:2"
    assert sent(flows) == [("h3", 9), ("h2", 2)]


def test_output_to_the_port_it_came_from_needs_in_port_overwritten() -> None:
    assert sent("actions=output:1") == []
    assert sent("actions=in_port") == [("h1", 2)]
    assert sent("actions=load:0xffff->NXM_OF_IN_PORT[],output:1") == [("h1", 2)]


def test_flood_leaves_out_the_port_it_came_from() -> None:
    assert [host for host, _ in sent("actions=FLOOD")] == ["h2", "h3", "h4", "h5"]


def test_a_bucket_is_an_action_set() -> None:
    groups = "group_id=1,type=all,bucket=actions=output:2,output:3,set_field:00:00:00:00:00:09->eth_dst"
    assert sent("actions=group:1,output:4", groups) == [("h3", 9), ("h4", 2)]
    groups = "group_id=1,type=all,bucket=actions=resubmit(,5),set_field:00:00:00:00:00:09->eth_dst,output:2"
    assert sent("actions=group:1\ntable=5,actions=3", groups) == [("h2", 9)]
    groups = "group_id=1,type=all,bucket=actions=clone(output:5)"
    assert sent("actions=group:1", groups) == []


def test_fast_failover_takes_the_first_bucket_that_is_up() -> None:
    groups = "group_id=1,type=ff,bucket=watch_port:2,actions=output:2,bucket=watch_port:3,actions=output:3"
    assert sent("actions=group:1", groups) == [("h2", 2)]
    assert sent("actions=group:1", groups, down=(2,)) == [("h3", 2)]
    assert sent("actions=group:1", groups, down=(2, 3)) == []


def test_packets_larger_than_a_size_set_a_bit() -> None:
    flows = """actions=check_pkt_larger(81)->NXM_NX_REG6[0],resubmit(,1)
               table=1,reg6=1/1,actions=2
               table=1,priority=1,actions=3"""
    assert sent(flows, frame=tcp(length=82)) == [("h2", 2)]
    assert sent(flows, frame=tcp(length=81)) == [("h3", 2)]


def test_ttl_runs_out() -> None:
    network = lone("actions=dec_ttl,output:2")
    assert [fate.kind for fate in only(walk_packet(network, tcp(ttl=1), ("s1", 1))).fates] == ["controller"]
    assert only(walk_packet(network, tcp(ttl=2), ("s1", 1))).fates[0].packet["ttl"] == 1


def test_a_drop_names_its_flow() -> None:
    walk = only(walk_packet(lone("cookie=0x7,actions=drop"), tcp(), ("s1", 1)))
    assert [(fate.kind, fate.hops[0].rules[-1].cookie) for fate in walk.fates] == [("dropped", 7)]
    walk = only(walk_packet(lone("actions=goto_table:4"), tcp(), ("s1", 1)))
    assert walk.main is not None and "table 4" in walk.main.reason


def test_resubmits_without_end_are_a_loop() -> None:
    walk = only(walk_packet(lone("actions=resubmit(,0)"), tcp(), ("s1", 1)))
    assert walk.main is not None and walk.main.kind == "looped"


def test_every_bucket_that_makes_a_difference_is_walked() -> None:
    buckets = ",".join(f"bucket=actions=output:{2 if slot < 171 else 3}" for slot in range(256))
    network = lone("actions=group:1", f"group_id=1,type=select,{buckets}")
    walks = walk_packet(network, tcp(), ("s1", 1))
    assert [(deliveries(walk), walk.slots.bit_count()) for walk in walks] == [
        ([("h2", 2)], 171), ([("h3", 2)], 85)]
    asked = only(walk_packet(network, tcp(), ("s1", 1), slots=1 << 200))
    assert deliveries(asked) == [("h3", 2)]


def test_the_second_group_takes_the_same_slot() -> None:
    halves = ",".join(f"bucket=actions=set_field:{slot // 128}->reg0,resubmit(,1)" for slot in range(256))
    odd = ",".join(f"bucket=actions=output:{2 if slot < 64 or slot >= 128 else 3}" for slot in range(256))
    groups = f"group_id=1,type=select,{halves}\ngroup_id=2,type=select,{odd}"
    walks = walk_packet(lone("actions=group:1\ntable=1,actions=group:2", groups), tcp(), ("s1", 1))
    assert [walk.slots.bit_count() for walk in walks] == [64, 64, 128]


CT = """
priority=10,ip,in_port=1,ct_state=-trk,actions=ct(zone=7,nat,table=1)
priority=10,ip,in_port=2,ct_state=-trk,actions=ct(zone=7,nat,table=1)
table=1,priority=20,ct_state=+new,in_port=1,tcp,actions=ct(commit,zone=7,nat(dst=10.0.0.9:8000),exec(set_field:5->ct_mark,move:NXM_OF_ETH_DST[0..7]->NXM_NX_CT_LABEL[8..15])),output:2
table=1,priority=10,ct_mark=5,ct_label=0x200/0xff00,in_port=1,tcp,actions=output:2
table=1,priority=10,ct_mark=5,ct_state=+est+rpl,in_port=2,tcp,actions=output:1
"""


def test_connections_are_translated_and_remembered() -> None:
    network = lone(CT)
    first = only(walk_from(network, tcp(), "h1"))
    arrived = first.of("delivered")[0].packet
    assert (arrived["ipv4_dst"], ports(arrived)) == (int(ip_address("10.0.0.9")), (40000, 8000))
    answer = reply_to(arrived, eth_src=2, eth_dst=1)
    assert not only(walk_from(network, answer, "h2")).of("delivered")  # nobody asked
    back = only(walk_from(network, answer, "h2", connections=first.connections))
    returned = back.of("delivered")[0].packet
    assert (returned["ipv4_src"], ports(returned)) == (int(ip_address("10.0.0.2")), (80, 40000))
    later = only(walk_from(network, tcp(), "h1", connections=back.connections))
    assert later.of("delivered")[0].packet["ipv4_dst"] == int(ip_address("10.0.0.9"))


def test_connection_fields_are_gone_after_ct_and_translation_shows_only_after_recirculation() -> None:
    flows = """ip,actions=ct(commit,zone=1,nat(dst=10.0.0.9),exec(set_field:3->ct_mark)),resubmit(,1)
               table=1,priority=9,ct_mark=3,actions=5
               table=1,priority=8,ip,nw_dst=10.0.0.9,actions=4
               table=1,priority=7,ip,nw_dst=10.0.0.2,actions=3"""
    walk = only(walk_packet(lone(flows), tcp(), ("s1", 1)))
    fate = walk.of("delivered")[0]
    assert (fate.host, fate.packet["ipv4_dst"]) == ("h3", int(ip_address("10.0.0.9")))


def test_a_taken_tuple_moves_the_clients_port() -> None:
    flows = """priority=2,tcp,nw_dst=10.0.0.9,actions=ct(commit,zone=1,nat,table=1)
               priority=1,tcp,actions=ct(commit,zone=1,nat(dst=10.0.0.9:80),table=1)
               table=1,actions=2"""
    network = lone(flows)
    direct = only(walk_from(network, tcp(ipv4_dst=int(ip_address("10.0.0.9"))), "h1"))
    second = only(walk_from(network, tcp(), "h1", connections=direct.connections))
    assert ports(second.of("delivered")[0].packet) == (40001, 80)


def test_ct_state_of_a_conversation() -> None:
    states = []
    connections = Connections()
    for state in (CT_TRK | CT_NEW, CT_TRK | CT_NEW, CT_TRK | CT_EST | CT_RPL, CT_TRK | CT_EST):
        network = lone(f"ip,actions=ct(commit,zone=1,table=1)\ntable=1,ct_state={state}/0x3f,actions=2")
        frame = reply_to(tcp(), eth_src=2, eth_dst=1) if state & CT_RPL else tcp()
        walk = only(walk_packet(network, frame, ("s1", 1), connections=connections))
        connections = walk.connections
        states.append(len(walk.of("delivered")))
    assert states == [1, 1, 1, 1]


def line(functions: dict[str, Player], flows: dict[str, str]) -> Network:
    """h1 - s1 - s2 - h2, with a two-armed box f (ports 11 and 12) on s1 and a tap on s2 (port 13)."""
    topology = Topology({name: Switch(name, number) for number, name in enumerate(("s1", "s2"), 1)},
                        (Link(End("s1", 2), End("s2", 2)),),
                        {"h1": Host("h1", {"": End("s1", 1)}), "h2": Host("h2", {"": End("s2", 1)}),
                         "f": Host("f", {"in": End("s1", 11), "out": End("s1", 12)}),
                         "tap": Host("tap", {"": End("s2", 13)})})
    state: FlowState = {name: parse_state(text, "") for name, text in flows.items()}
    return Network(topology, state, functions)


PLAYED: dict[str, Player] = {"f": Transparent(), "tap": Tap()}


def test_functions_are_played_and_links_forget_registers() -> None:
    network = line(PLAYED, {"s1": "in_port=1,actions=set_field:1->reg0,11\nin_port=12,actions=2",
                            "s2": "reg0=0,in_port=2,actions=13,1"})
    walk = only(walk_from(network, tcp(), "h1"))
    assert [(fate.kind, fate.host) for fate in walk.fates] == [("tapped", "tap"), ("delivered", "h2")]
    delivered = walk.of("delivered")[0]
    assert [(visit.host, visit.arm) for visit in delivered.visits] == [("f", "in")]
    assert [(hop.switch, hop.in_port, hop.out_port) for hop in delivered.hops] == [
        ("s1", 1, 11), ("s1", 12, 2), ("s2", 2, 1)]


def test_a_loop_over_a_cable_is_found() -> None:
    network = line({}, {"s1": "in_port=1,actions=2\nin_port=2,actions=in_port", "s2": "actions=in_port"})
    assert [fate.kind for fate in only(walk_from(network, tcp(), "h1")).fates] == ["looped"]


def test_a_port_with_nothing_behind_it_loses_packets() -> None:
    network = line({}, {"s1": "actions=77"})
    walk = only(walk_from(network, tcp(), "h1"))
    assert walk.main is not None and (walk.main.kind, "s1:77" in walk.main.reason) == ("lost", True)


def test_a_switch_without_flows_drops() -> None:
    assert only(walk_packet(Network(Topology(), {"s1": SwitchState()}), tcp(), ("s1", 1))).of("dropped")
