"""The conductor against real switches: what is sent, what is never sent, and what survives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bed
import dummy_ovs as dummy
import examples
import pytest
from plain_controller import PlainController

from controller_app.model.position import PolicyError
from controller_app.openflow import decode
from controller_app.store.interface import StoredPolicy
from controller_app.store.sqlite import SqliteStore

POLICY = examples.POLICY.replace("STICKINESS", "connection").replace("RETURN", "symmetric")
SMALLER = POLICY.replace(
    "  - {name: ssh, from: {host: h2}, to: {endpoint: web1}, traffic: [tcp/22], then: allow}\n", ""
)
NOBODY = 1  # a port where no controller listens
BUNDLES, GROUP_MODS, FLOW_MODS = decode.EXPERIMENTER, decode.GROUP_MOD, decode.FLOW_MOD
COMMIT = (2300).to_bytes(4, "big") + (4).to_bytes(2, "big")  # of a bundle: OFPBCT_COMMIT_REQUEST


@contextmanager
def running(
    ovs: dummy.DummyOvs,
    policy: str | None = POLICY,
    store: SqliteStore | None = None,
    count: int = 4,
    blocked: int = 0,
) -> Iterator[PlainController]:
    """A controller to which all bridges of the example network are connected."""
    with PlainController(examples.network(), policy, store) as controller:
        for number in range(count):
            ovs.set_controller(f"b{number}", "127.0.0.1", controller.port)
        controller.wait_switches(count, blocked=blocked)
        yield controller


def network(ovs: dummy.DummyOvs) -> bed.Bed:
    return bed.Bed(ovs, examples.network(), examples.policy())


def writes(controller: PlainController) -> int:
    """How many messages that change a switch were sent so far. What is in a bundle counts once that is committed."""
    return sum(
        message[1] in (GROUP_MODS, FLOW_MODS) or (message[1] == BUNDLES and message[12:16] + message[20:22] == COMMIT)
        for log in controller.sent.values()
        for message in log
    )


def apply(controller: PlainController, text: str, blocked: int = 0) -> None:
    def change() -> None:
        conductor = controller.conductor
        intent = conductor.intent.put({"test": text})
        computed, _ = conductor.check(intent)
        conductor.adopt(intent, computed, "test", 0.0)

    controller.do(change)
    controller.wait_switches(4, blocked=blocked)


def rules(ovs: dummy.DummyOvs, bridge: str) -> set[str]:
    """What a switch holds, without counters and times."""
    lines = ovs.ofctl("dump-flows", "--no-stats", bridge).splitlines()
    lines += ovs.ofctl("dump-groups", bridge).splitlines()
    return {line.strip() for line in lines if "reply" not in line}


def plain(lines: set[str]) -> set[str]:
    """The rules without their cookies."""
    return {re.sub(r"cookie=0x[0-9a-f]+, *", "", line) for line in lines}


def test_the_switches_hold_exactly_what_was_computed(dummy_ovs: dummy.DummyOvs) -> None:
    network(dummy_ovs)
    with running(dummy_ovs) as controller:
        for number, state in enumerate(controller.conductor.computed.state.values()):
            held = rules(dummy_ovs, f"b{number}")
            assert len(held) == len(state.flows) + len(state.groups)


def test_the_same_policy_again_sends_no_message_at_all(dummy_ovs: dummy.DummyOvs) -> None:
    network(dummy_ovs)
    with running(dummy_ovs) as controller:
        before = {dpid: len(log) for dpid, log in controller.sent.items()}
        for _ in range(3):
            apply(controller, POLICY)
        others = (decode.PACKET_IN + 3, 18)  # packet-outs of link discovery go on, and questions
        new = [m for dpid, log in controller.sent.items() for m in log[before[dpid] :] if m[1] not in others]
        assert new == []


def test_a_change_is_small_and_back_again_is_the_same(dummy_ovs: dummy.DummyOvs) -> None:
    network(dummy_ovs)
    with running(dummy_ovs) as controller:
        held = [rules(dummy_ovs, f"b{n}") for n in range(4)]
        flow_mods = sum(v.sent_changes for v in controller.conductor.conversations.values())
        apply(controller, SMALLER)
        changed = sum(v.sent_changes for v in controller.conductor.conversations.values()) - flow_mods
        assert 0 < changed < flow_mods / 10
        assert [rules(dummy_ovs, f"b{n}") for n in range(4)] != held
        apply(controller, POLICY)
        # What went and came again has a new number, as cookies show: an old one may still be in use somewhere.
        assert [plain(rules(dummy_ovs, f"b{n}")) for n in range(4)] == [plain(lines) for lines in held]


def test_what_is_foreign_is_never_touched(dummy_ovs: dummy.DummyOvs) -> None:
    network(dummy_ovs)
    theirs = "cookie=0x1234,table=0,priority=7,ip,actions=drop"
    in_our_place = "cookie=0x99,table=0,priority=1000,arp,actions=NORMAL"
    dummy_ovs.set_controller("b0", "127.0.0.1", NOBODY)  # a bridge's first controller empties its tables
    for flow in (theirs, in_our_place, "table=200,priority=1,tcp,actions=encap(nsh(md_type=1))"):
        dummy_ovs.ofctl("add-flow", "b0", flow)
    dummy_ovs.ofctl("add-group", "b0", "group_id=5,type=all,bucket=output:1")
    before = {line for line in rules(dummy_ovs, "b0") if "0xc5" not in line}
    with running(dummy_ovs, blocked=1) as controller:
        (conversation,) = [v for v in controller.conductor.conversations.values() if v.dpid == 1]
        assert conversation.foreign_flows == 3
        assert len(conversation.sync.blocked) == 1
        (unconfirmed,) = controller.do(controller.conductor.unconfirmed)
        assert "s1" in unconfirmed
        assert "another application" in unconfirmed
        apply(controller, SMALLER, blocked=1)
        apply(controller, POLICY, blocked=1)
        held = rules(dummy_ovs, "b0")
        assert {line for line in held if "cookie=0xc5" not in line and "group_id=33" not in line} == before


def test_rules_that_someone_deleted_or_forged_are_mended_on_reconnecting(dummy_ovs: dummy.DummyOvs) -> None:
    network(dummy_ovs)
    with running(dummy_ovs) as controller:
        right = rules(dummy_ovs, "b1")
        dummy_ovs.ofctl("del-flows", "b1", "table=160")
        dummy_ovs.ofctl("add-flow", "b1", "cookie=0xc501000000000001,table=160,priority=5,actions=encap(ethernet)")
        dummy_ovs.ofctl("add-group", "b1", f"group_id={0xC5000007},type=all,bucket=output:1")
        dummy_ovs.set_controller("b1", "127.0.0.1", NOBODY)
        controller.wait(lambda c: not c.conversations[2].connected)
        dummy_ovs.set_controller("b1", "127.0.0.1", controller.port)
        controller.wait_switches(4)
        assert rules(dummy_ovs, "b1") == right


def test_a_restart_changes_nothing(dummy_ovs: dummy.DummyOvs, tmp_path: Path) -> None:
    network(dummy_ovs)
    with running(dummy_ovs, store=SqliteStore(tmp_path)) as controller:
        held = [rules(dummy_ovs, f"b{n}") for n in range(4)]
        controller.do(controller.conductor.save)
        controller.do(controller.conductor.store.close)
    assert [rules(dummy_ovs, f"b{n}") for n in range(4)] == held  # the rules outlive the controller
    with running(dummy_ovs, store=SqliteStore(tmp_path)) as controller:
        assert writes(controller) == 0
        assert [rules(dummy_ovs, f"b{n}") for n in range(4)] == held


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version: [",
        POLICY.replace("host: fw1", "host: nobody"),
        POLICY.replace("tcp/23", "tcp/25-35"),  # overlaps, and nothing says which comes first
        POLICY.replace("gateway: [10.1.0.254", "gateway: [10.9.0.254"),
    ],
)
def test_a_policy_that_cannot_be_used_changes_nothing(dummy_ovs: dummy.DummyOvs, text: str) -> None:
    network(dummy_ovs)
    with running(dummy_ovs) as controller:
        before, wanted = writes(controller), controller.conductor.computed
        with pytest.raises(PolicyError):
            apply(controller, text)
        controller.wait_switches(4)
        assert writes(controller) == before
        assert controller.conductor.computed is wanted
        assert controller.conductor.intent.text("test") == POLICY


def test_a_link_that_breaks_is_gone_from_the_topology_and_comes_back(dummy_ovs: dummy.DummyOvs) -> None:
    network(dummy_ovs)
    with running(dummy_ovs) as controller:
        dummy_ovs.vsctl("del-port", "b0", "b0-1")
        controller.wait(lambda c: len(c.topology.links) == 4)
        controller.wait_switches(4)
        used = {str(link.a) for link in controller.conductor.computed.topology.links}
        assert "s1:1" not in used
        dummy_ovs.vsctl(
            "add-port",
            "b0",
            "b0-1",
            "--",
            "set",
            "interface",
            "b0-1",
            "type=patch",
            "options:peer=b1-1",
            "ofport_request=1",
        )
        controller.wait(lambda c: len(c.topology.links) == 5)
        controller.wait_switches(4)


def test_a_refused_change_is_reported_and_tried_again_after_an_audit(dummy_ovs: dummy.DummyOvs) -> None:
    network(dummy_ovs)
    dummy_ovs.vsctl(
        "--",
        "--id=@t",
        "create",
        "Flow_Table",
        "flow_limit=1",
        "overflow_policy=refuse",
        "--",
        "set",
        "bridge",
        "b3",
        "flow_tables:160=@t",
    )
    with PlainController(examples.network(), POLICY) as controller:
        for number in range(4):
            dummy_ovs.set_controller(f"b{number}", "127.0.0.1", controller.port)
        controller.wait(lambda c: 4 in c.conversations and c.conversations[4].sync.failures > 0)
        said = controller.do(controller.conductor.unconfirmed)
        assert any("s4" in line and "refused" in line for line in said)
        assert all("cookie=0xc5" not in line for line in rules(dummy_ovs, "b3"))  # all or nothing
        dummy_ovs.vsctl("clear", "bridge", "b3", "flow_tables")
        controller.wait_switches(4, seconds=20)


def test_stored_policies_are_those_applied_last(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.save({"a": StoredPolicy("a", "x"), "b": StoredPolicy("b", None, "b.yaml", "d")}, "test", 1.5)
    store.close()
    again = SqliteStore(tmp_path)
    assert list(again.policies().values()) == [StoredPolicy("a", "x"), StoredPolicy("b", None, "b.yaml", "d")]
    assert [(r.number, r.at, r.what) for r in again.revisions()] == [(1, 1.5, "test")]


def test_a_function_whose_port_goes_down_loses_its_slots_and_only_those(dummy_ovs: dummy.DummyOvs) -> None:
    played = network(dummy_ovs)
    with running(dummy_ovs) as controller:

        def firewalls() -> tuple[str, ...]:
            return controller.conductor.computed.allocation.slots["functions/default/fw"]

        before = firewalls()
        dummy_ovs.appctl("netdev-dummy/set-admin-state", played.ports["fw2", "out"], "down")
        controller.wait(lambda c: "fw2" not in firewalls())
        assert all(a == b for a, b in zip(before, firewalls(), strict=True) if a != "fw2")
        dummy_ovs.appctl("netdev-dummy/set-admin-state", played.ports["fw2", "out"], "up")
        controller.wait(lambda c: firewalls().count("fw2") == before.count("fw2"))
        controller.wait_switches(4)
