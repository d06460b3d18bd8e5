"""The pipeline's declaration: what breaks it is refused, and its documentation is current."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import examples
import pytest
import service_examples
from hypothesis import given
from hypothesis import strategies as st
from more_examples import FIREWALL, NAT, ORIGINAL, ROUTED, SPEAKER, TAP, both, hosts, marked

from controller_app import Policy, Topology
from controller_app.model.allocation import Allocation
from controller_app.model.flow import (
    FIELD_BITS,
    Action,
    CheckPacketLarger,
    Clone,
    Ct,
    Group,
    Move,
    Multipath,
    Output,
    Resubmit,
    SetField,
    ToGroup,
)
from controller_app.model.policy import Health
from controller_app.pipeline.build import PipelineError, Rules, resubmit, write
from controller_app.pipeline.compile import compile
from controller_app.pipeline.cookies import cookie, is_ours, object_name
from controller_app.pipeline.document import document
from controller_app.pipeline.labels import Label
from controller_app.pipeline.tables import BANDS, BY_NAME, TABLE_NAMES, TABLES


def test_the_page_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "pipeline.md"
    assert page.read_text(encoding="utf-8") == document(), "run: python -m controller_app.pipeline.document"


def test_every_table_goes_forward() -> None:
    assert len({table.number for table in TABLES}) == len(TABLES)
    for table in TABLES:
        for name in table.next:
            assert BY_NAME[name].number > table.number, "a table may only go to later ones: no loops in a switch"
        assert table.matches | table.writes <= set(FIELD_BITS)


def test_bands_stay_below_the_reserved_priorities() -> None:
    assert max(BANDS.values()) < 60_000


@pytest.mark.parametrize(
    ("table", "actions", "goto", "fields"),
    [
        ("transit", (), None, {"tcp_dst": 80}),
        ("transit", (write("eth_src", 1),), None, {}),
        ("transit", (), "classify", {}),
        ("choose", (resubmit("admission"),), None, {}),
    ],
)
def test_a_flow_that_breaks_the_declaration(
    table: str, actions: tuple[SetField, ...], goto: str | None, fields: dict[str, int]
) -> None:
    with pytest.raises(PipelineError, match=f"table {table} may not"):
        Rules("s1", {}).add(table, "exact", "pipeline/base", actions, goto, **fields)


def test_two_rules_with_one_match_clash() -> None:
    rules = Rules("s1", {})
    rules.add("emit", "exact", "pipeline/base", (Output(1),), reg4=1)
    with pytest.raises(PipelineError, match="clash in emit"):
        rules.add("emit", "exact", "pipeline/base", (Output(2),), reg4=1)


@given(st.integers(0, 8191), st.integers(0, 4095), st.booleans(), st.integers(0, 8191), st.booleans())
def test_labels_can_be_read(waypoint: int, path: int, backward: bool, leaving: int, routed: bool) -> None:
    label = Label(waypoint, path, backward, leaving, routed)
    assert Label.read(label.mac()) == label
    assert label.mac() >> 40 == 0x0E


def test_no_label_no_reading() -> None:
    assert Label.read(0x020000000001) is None
    with pytest.raises(ValueError, match="does not fit"):
        Label(8192).mac()


def test_cookies_name_objects() -> None:
    allocation = Allocation(ids={"objects": {"classifiers/blue/web": 7}})
    value = cookie("classifiers/blue/web", 7)
    assert is_ours(value)
    assert object_name(value, allocation) == "classifiers/blue/web"
    assert object_name(7, allocation) is None


def test_nothing_is_declared_that_no_rule_does() -> None:
    """Otherwise a rule that should not be could be built without anybody noticing."""
    matched: dict[str, set[str]] = defaultdict(set)
    written: dict[str, set[str]] = defaultdict(set)
    gone: dict[str, set[str]] = defaultdict(set)

    def note(table: str, actions: tuple[Action, ...], groups: Mapping[int, Group]) -> None:
        for action in actions:
            match action:
                case SetField():
                    written[table].add(action.field)
                case Move() | CheckPacketLarger() | Multipath():
                    written[table].add(action.target.field)
                case Resubmit():
                    gone[table].add(TABLE_NAMES[action.table])
                case Clone():
                    note(table, action.actions, groups)
                case Ct():
                    note(table, action.exec, groups)
                    if action.table is not None:
                        gone[table].add(TABLE_NAMES[action.table])
                case ToGroup():
                    for bucket in groups[action.group].buckets:
                        note(table, bucket.actions, groups)

    udp = examples.POLICY.replace("100.1.1.0/24", '[100.1.1.0/24, "fd03::/64"]').replace(
        "ip: 100.1.1.3", 'ip: [100.1.1.3, "fd03::3"]').replace("8080:80/tcp", "8080:80/tcp, 53:53/udp")
    states = [compile(examples.policy(kind, text=udp), examples.network())[0] for kind in ("none", "connection")]
    for file in sorted((examples.ROOT / "policies").glob("*.yaml")):
        topology = Topology.load(str(examples.ROOT / "topologies" / file.name))
        states.append(compile(Policy.load(str(file)), topology)[0])
    edges = examples.ROOT / "policies" / "edges.yaml", examples.ROOT / "topologies" / "edges.yaml"
    states.append(compile(Policy.load(str(edges[0])), Topology.load(str(edges[1])), portable=True)[0])
    functions = f"{FIREWALL}\n  {ROUTED}\n  {SPEAKER}\n  {TAP}"
    for transport in ("vlan", "mpls", "nsh"):
        for order in ("fw, router, ids", "nsh, fw", "nsh, ids"):
            topology, policy = both(functions, order, "connection", transport)
            states.append(compile(policy, topology, portable=transport == "vlan")[0])
    topology, policy = both(FIREWALL, "fw")
    states.append(compile(policy, topology, portable=True)[0])
    topology, policy = marked()
    fallen = frozenset(topology.hosts["fw1"].attach.values())
    states.append(compile(policy, replace(topology, down=fallen))[0])
    text = examples.POLICY.replace("kind: firewall,", "kind: firewall, handover: original,").replace(
        "100.1.1.0/24", '[100.1.1.0/24, "fd03::/64"]').replace("ip: 100.1.1.3", 'ip: [100.1.1.3, "fd03::3"]')
    states.append(compile(examples.policy("connection", text=text), examples.network())[0])
    for topology, policy in (both(ORIGINAL, "fw"), both(NAT, "nat"), hosts("mpls", ", mtu: 1500"), marked()):
        states.append(compile(policy, topology)[0])
    for changes in ({"session_affinity": 60.0}, {"expose": "internal"}, {"health": Health("tcp", 80)}):
        states.append(compile(service_examples.policy(**changes), service_examples.network())[0])
    wanted, network = service_examples.policy(), service_examples.network()
    without = replace(network, unready=frozenset({"services/default/app/p2"}))
    states.append(compile(wanted, without, compile(wanted, network)[1])[0])
    unlabelled = service_examples.with_endpoint(wanted, "p2", labels={})
    states.append(compile(unlabelled, network, compile(wanted, network)[1])[0])
    for held in (held for state in states for held in state.values()):
        for flow in held.flows.values():
            name = TABLE_NAMES[flow.table]
            matched[name] |= {condition.field for condition in flow.match}
            if flow.goto is not None:
                gone[name].add(TABLE_NAMES[flow.goto])
            note(name, flow.actions, held.groups)
    for table in TABLES:
        assert table.matches == matched[table.name], table.name
        assert table.writes == written[table.name], table.name
        assert table.next == gone[table.name], table.name
