"""Values to ovs-ofctl text and back, on paper and through a real Open vSwitch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from dummy_ovs import DummyOvs, missing
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from strategies import METERS, flows, groups, meters

from controller_app.model.flow import (
    CT_INV,
    FIELD_BITS,
    Action,
    Clone,
    Ct,
    EncapNsh,
    Flow,
    Group,
    MeterConfig,
    Move,
    Nat,
    Output,
    PushVlan,
    SetField,
    SwitchState,
    full_mask,
    match,
)
from controller_app.pipeline.ofctl import (
    OfctlError,
    format_flow,
    format_group,
    format_meter,
    format_meters,
    parse_flow,
    parse_flows,
    parse_group,
    parse_groups,
    parse_meters,
)
from controller_app.pipeline.ofctl_names import FRAGMENTS


def sayable(flow: Flow) -> bool:
    """Whether ovs-ofctl has words for a flow, and Open vSwitch takes it."""
    for field, value, mask in flow.match:
        if field == "nsh_c1":
            return False  # matched, but left out of what is printed
        if field == "ip_frag" and (value, mask) not in FRAGMENTS.values():
            return False
        if FIELD_BITS[field] == 128 and field != "ct_label" and mask >> 112 not in (0xFFFF, 0) \
                and f"{mask >> 112:x}"[0].isdigit():
            return False  # ovs-ofctl takes such a mask for a prefix length
        if FIELD_BITS[field] == 128 and field != "ct_label" and mask >> 112 == 0 and mask >> 96:
            return False
        if field == "ct_state" and value & CT_INV:
            return False  # then it takes no commit
    return flow.cookie != (1 << 64) - 1 and loadable(flow.actions)


def loadable(actions: Iterable[Action]) -> bool:
    """Whether text says these actions as they are: 64 bits are written at once, or a whole field."""
    for action in actions:
        if isinstance(action, Move) and "ip_frag" in (action.source.field, action.target.field):
            return False  # of its eight bits two can be named
        if isinstance(action, SetField):
            if action.mask != full_mask(action.field) and action.mask.bit_count() > 64:
                return False
        elif isinstance(action, Clone | Ct):
            inner = action.actions if isinstance(action, Clone) else action.exec
            if not loadable(inner):
                return False
    return True


@given(flows().filter(sayable))
def test_a_flow_is_read_back_as_it_was_written(flow: Flow) -> None:
    assert parse_flow(format_flow(flow)) == flow


@given(groups())
def test_a_group_is_read_back_as_it_was_written(group: Group) -> None:
    assert parse_group(format_group(group)) == group


@given(st.lists(meters(), unique_by=lambda meter: meter.id))
def test_meters_are_read_back_as_they_were_written(wanted: list[MeterConfig]) -> None:
    state = SwitchState(meters={meter.id: meter for meter in wanted})
    assert {meter.id: meter for meter in parse_meters(format_meters(state))} == state.meters


@pytest.fixture(scope="module")
def ovs() -> Iterator[DummyOvs]:
    if missing():
        pytest.skip(missing() or "")
    with DummyOvs() as started:
        with started.transaction():
            started.add_bridge("s1", dpid=1)
            for port in range(1, 4):
                started.add_port("s1", f"p{port}", port)
        for meter in METERS:
            started.ofctl("add-meter", "s1", format_meter(meter))
        yield started


accepted = flows(accepted=True).filter(sayable)


@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate],
          suppress_health_check=list(HealthCheck))
@given(st.lists(accepted, max_size=40, unique_by=lambda flow: flow.key), st.data())
def test_a_switch_says_what_it_was_told(ovs: DummyOvs, wanted: list[Flow], data: st.DataObject) -> None:
    held = [data.draw(groups(accepted=True, number=number).filter(
        lambda group: all(loadable(bucket.actions) for bucket in group.buckets))) for number in (1, 2)]
    ovs.ofctl("del-flows", "s1")
    ovs.ofctl("del-groups", "s1")
    assert "WARN" not in ovs.ofctl("add-groups", "s1", "-", stdin=lines(map(format_group, held)))
    assert "WARN" not in ovs.ofctl("add-flows", "s1", "-", stdin=lines(map(format_flow, wanted)))
    assert sorted(parse_groups(ovs.ofctl("dump-groups", "s1")), key=lambda group: group.id) == held
    found = {flow.key: flow for flow in parse_flows(ovs.ofctl("dump-flows", "s1"))}
    assert found == {flow.key: flow for flow in wanted}


@pytest.mark.parametrize("version", ["OpenFlow13", "OpenFlow15"])
def test_every_new_word_is_said_back(ovs: DummyOvs, version: str) -> None:
    wanted = {flow.key: flow for flow in parse_flows(CARRIED)}
    ovs.ofctl("del-flows", "s1")
    ovs.ofctl("add-flows", "s1", "-", stdin=lines(map(format_flow, wanted.values())))
    assert {flow.key: flow for flow in parse_flows(ovs.ofctl("dump-flows", "s1", version=version))} == wanted
    assert sorted(parse_meters(ovs.ofctl("dump-meters", "s1", version=version)), key=lambda meter: meter.id) == list(
        METERS)


CARRIED = """
table=1,priority=1,actions=meter:1,push_vlan:0x8100,set_field:0x1123->vlan_vid,set_queue:3,output:1,pop_vlan,output:2
table=1,priority=2,dl_vlan=5,actions=pop_vlan,push_vlan:0x8100,load:0x3005->NXM_OF_VLAN_TCI[],goto_table:4
table=1,priority=3,actions=push_mpls:0x8847,set_field:77->mpls_label,push_mpls:0x8847,load:3->OXM_OF_MPLS_LABEL[0..3]
table=1,priority=4,mpls,mpls_label=1001,mpls_bos=0,actions=pop_mpls:0x8847,goto_table:2
table=1,priority=5,mpls,mpls_bos=1,actions=pop_mpls:0x0800,set_field:5->ip_dscp
table=1,priority=6,actions=encap(nsh(md_type=1)),encap(ethernet),set_field:0x1234->nsh_spi,set_field:254->nsh_si,set_field:5->nsh_c1,set_field:02:00:00:00:00:07->eth_dst,output:2
table=1,priority=7,dl_type=0x894f,nsh_spi=0x1234,nsh_si=255,actions=dec_nsh_ttl,load:1->NXOXM_NSH_SPI[0],move:NXOXM_NSH_SPI[0..15]->NXM_NX_REG1[0..15]
table=1,priority=8,dl_type=0x894f,nsh_si=4,actions=decap(),decap(),resubmit(,2)
table=1,priority=9,actions=multipath(symmetric_l3l4+udp,0,modulo_n,256,0,NXM_NX_REG7[8..15]),goto_table:2
table=1,priority=10,ip,actions=conjunction(7,1/2),conjunction(8,3/3)
table=1,priority=11,conj_id=7,ip,actions=output:1
table=1,priority=12,ip,ip_dscp=10,nw_ttl=5,actions=set_field:11->ip_dscp,set_field:9->nw_ttl,load:3->NXM_NX_IP_TTL[0..3],load:5->OXM_OF_IP_DSCP[1..3]
table=1,priority=14,tcp,tcp_flags=+rst-ack,actions=move:NXM_NX_TCP_FLAGS[0..3]->NXM_NX_REG1[0..3]
table=1,priority=15,tcp6,tcp_flags=syn|ack|[800],actions=output:1
table=1,priority=16,tcp,tcp_flags=+fin-[200],actions=output:1
table=1,priority=17,tcp,tcp_flags=0,actions=output:1
table=1,priority=13,ipv6,nw_frag=later,nw_tos=40,actions=clone(push_vlan:0x8100,output:1),output:2
""".strip().splitlines()


def test_set_fields_of_parts_of_the_tag_and_encapsulation_in_the_usual_order_are_read_too() -> None:
    (flow,) = parse_flows("actions=push_vlan:0x8100,set_field:4387->vlan_vid,set_field:3->vlan_pcp,"
                          "load:0x5->OXM_OF_VLAN_VID[]")
    assert flow.actions == (PushVlan(), SetField("vlan_tci", 0x1123, 0x1FFF), SetField("vlan_tci", 0x6000, 0xE000),
                            SetField("vlan_tci", 5, 0xFFF))
    (flow,) = parse_flows("actions=encap(nsh(md_type=1)),set_field:0x1234->nsh_spi,encap(ethernet),output:2")
    assert flow.actions == (EncapNsh(), SetField("nsh_spi", 0x1234, 0xFFFFFF), Output(2))


def test_meters_as_they_are_dumped() -> None:
    text = """OFPST_METER_CONFIG reply (OF1.3) (xid=0x2):
meter=65536 kbps stats bands=
type=drop rate=1000

meter=5 pktps burst bands=
type=drop rate=10 burst_size=200
"""
    assert parse_meters(text) == [MeterConfig(65536, 1000, 0), MeterConfig(5, 10, 200, packets=True)]


@pytest.mark.parametrize("text", [
    "meter=5 kbps bands=\ntype=dscp_remark rate=5 prec_level=1", "meter=5 kbps bands=",
    "meter=5 kbps bands=\ntype=drop rate=5\ntype=drop rate=6", "kbps bands= type=drop rate=5",
    "meter=x kbps bands= type=drop rate=5"])
def test_meters_that_are_not_known(text: str) -> None:
    with pytest.raises(OfctlError):
        parse_meters(text)


def lines(texts: Iterable[str]) -> str:
    return "".join(text + "\n" for text in texts)


DUMPED = """
OFPST_FLOW reply (OF1.3) (xid=0x2):
 cookie=0x5, duration=0.1s, table=3, n_packets=7, n_bytes=9, idle_age=4, send_flow_rem priority=10,tcp,in_port="p2",dl_src=02:00:00:00:00:01,nw_src=10.0.0.0/8,tp_dst=0x1f90/0xfff0 actions=set_field:00:00:00:00:11:00/00:00:00:ff:ff:00->eth_dst,output:"p1",LOCAL
 cookie=0x0, duration=0.1s, table=0, n_packets=0, n_bytes=0, ip,nw_frag=later,dl_vlan=5,dl_vlan_pcp=3 actions=set_field:ANY->in_port,drop
"""  # noqa: E501


def test_a_dump_of_foreign_flows_with_port_names() -> None:
    first, second = parse_flows(DUMPED, {"p1": 1, "p2": 2})
    assert first == Flow(3, 10, match(in_port=2, eth_src=0x020000000001, eth_type=0x800, ip_proto=6,
                                      ipv4_src=(0x0A000000, 0xFF000000), tcp_dst=(0x1F90, 0xFFF0)),
                         (SetField("eth_dst", 0x1100, 0xFFFF00), Output(1), Output(0xFFFFFFFE)), None, 5)
    assert second == Flow(0, 32768, match(eth_type=0x800, vlan_tci=(0x7005, 0xFFFF), ip_frag=3),
                          (SetField("in_port", 0xFFFF, 0xFFFF),))


@pytest.mark.parametrize(("line", "named"), [
    ("nw_ecn=1,actions=drop", "nw_ecn"),
    ("ip,nw_tos=5,actions=drop", "nw_tos=5"),
    ("actions=push_vlan:0x88a8", "push_vlan:0x88a8"),
    ("actions=encap(mpls)", "encap(mpls)"),
    ("actions=decap(),output:1", "decap()"),
    ("actions=multipath(eth_src,50,modulo_n,1,0,NXM_NX_REG0[])", "eth_src"),
    ("actions=multipath(symmetric_l3l4+udp,0,modulo_n,256,0,NXM_NX_REG0[])", "8 bits"),
    ("actions=conjunction(1)", "conjunction"),
    ("actions=enqueue:1:4", "enqueue"),
    ("ip,actions=learn(table=1)", "learn"),
    ("actions=set_field:5->tun_id", "tun_id"),
    ("actions=load:5->NXM_NX_TUN_ID[]", "NXM_NX_TUN_ID"),
    ("actions=load:5->NXM_NX_REG0[30..32]", "bits"),
    ("actions=ct(commit,nat(src=10.0.0.1-10.0.0.9))", "nat(src=10.0.0.1-10.0.0.9)"),
    ("actions=ct(alg=ftp)", "alg=ftp"),
    ("actions=clone(output:1", "brackets"),
    ('in_port="eth9",actions=drop', "eth9"),
    ("ip,nw_src=10.0.0,actions=drop", "10.0.0"),
    ("ip,nw_src=10.0.0.0/40,actions=drop", "prefix"),
    ("ip", "actions="),
    ("actions=resubmit(7,2)", "in_port"),
    ("actions=output:99999999999", "99999999999"),
])
def test_what_is_not_known_is_named(line: str, named: str) -> None:
    with pytest.raises(OfctlError, match="line 2") as error:
        parse_flows(["", line])
    assert named in str(error.value)


@pytest.mark.parametrize("line", ["group_id=1,type=odd", "type=all", "group_id=1,type=all,colour=red",
                                  "group_id=1,type=ff,bucket=watch_group:3,actions=drop"])
def test_groups_that_are_not_known(line: str) -> None:
    with pytest.raises(OfctlError):
        parse_groups(line)


def test_nat_to_an_ipv6_address_keeps_its_port() -> None:
    line = "ipv6,actions=ct(commit,zone=1,nat(dst=[2001:db8::1]:80))"
    assert parse_flow(line).actions[0].nat == Nat(0x20010DB8 << 96 | 1, 80, 6)  # type: ignore[union-attr]


def test_tables_are_named_for_people() -> None:
    flow = parse_flow("table=1,actions=resubmit(,2),goto_table:3")
    assert format_flow(flow, {1: "one", 2: "two", 3: "three"}).endswith(
        "table=one,priority=32768,actions=resubmit(,two),goto_table:three")


def test_a_field_written_in_two_places_is_refused() -> None:
    with pytest.raises(OfctlError, match="one run"):
        format_flow(Flow(0, 0, (), (SetField("reg0", 5, 5),)))
