"""Flows of others beside ours: a finding exactly where a packet the policy decides about is treated otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import examples
import pytest

from controller_app.model.flow import (
    CONTROLLER,
    Bucket,
    Flow,
    FlowState,
    Group,
    Output,
    Resubmit,
    SetField,
    ToGroup,
    full_mask,
    match,
)
from controller_app.pipeline.compile import compile_next
from controller_app.pipeline.tables import NUMBER
from controller_app.verification.foreign import MOST, NOT_FOLLOWED, Crossing, Held, beside, crossings
from controller_app.verification.packet import describe
from controller_app.verification.verify import verify, verify_change

H1, H2, UDP, TCP, IP = 11, 12, 17, 6, 0x0800
INSIDE = "  - {name: inside, from: {host: h1}, to: {host: h2}, traffic: [tcp/80], then: {chain: inspect}}\n"
PLAIN = examples.POLICY.replace("STICKINESS", "none").replace("RETURN", "symmetric")
TEXT = PLAIN.replace("  - {name: ssh,", INSIDE + "  - {name: ssh,")
POLICY, TOPOLOGY = examples.policy(text=TEXT), examples.network()
COMPILED = compile_next(None, POLICY, TOPOLOGY)
TO_H2 = (SetField("eth_dst", 0x02_00_00_00_01_12, full_mask("eth_dst")), Output(H2))
WEB = {"in_port": H1, "eth_type": IP, "ip_proto": TCP, "tcp_dst": 80, "ipv4_dst": 0x0A01000C}


@pytest.fixture(scope="module")
def verified() -> object:
    report, found = verify_change(POLICY, TOPOLOGY, COMPILED.state, COMPILED.allocation)
    assert report.ok
    return found


def theirs(*actions: object, table: int = 0, priority: int = 60_500, **fields: int | tuple[int, int]) -> Flow:
    return Flow(table, priority, match(**fields), actions, cookie=0x77)  # type: ignore[arg-type]


def examined(
    verified: object, *flows: Flow, switch: str = "s1", groups: Mapping[int, Group] | None = None
) -> tuple[Crossing, ...]:
    """What is found, the same with and without what was verified before."""
    held = {switch: Held(flows, groups or {})}
    found = crossings(POLICY, TOPOLOGY, COMPILED.state, COMPILED.allocation, held, verified)  # type: ignore[arg-type]
    alone = crossings(POLICY, TOPOLOGY, COMPILED.state, COMPILED.allocation, held)
    assert {(one.flow, one.lost) for one in found} == {(one.flow, one.lost) for one in alone}
    return found


BUCKET = Group(5, "all", (Bucket(TO_H2),))


@pytest.mark.parametrize(
    ("flow", "lost"),
    [
        (theirs(*TO_H2, **WEB), False),
        (theirs(*TO_H2, in_port=H1), False),  # whatever comes in there
        (theirs(ToGroup(5), **WEB), False),
        (theirs(Resubmit(200), **WEB), True),  # nothing is in that table
        (theirs(**WEB), True),
        (theirs(NOT_FOLLOWED, **WEB), False),
        (theirs(Output(CONTROLLER), **WEB), False),
        (theirs(Output(99), **WEB), False),  # a port that nobody declared
        (theirs(table=NUMBER["classify"], priority=1, eth_type=IP, ip_proto=TCP, tcp_dst=80), None),  # below ours
        (theirs(Resubmit(NUMBER["copies"]), table=NUMBER["classify"], eth_type=IP, ip_proto=TCP, tcp_dst=80), False),
        (theirs(*TO_H2, **{**WEB, "tcp_dst": 81}), None),  # no classifier is about it
        (theirs(*TO_H2, priority=1, **WEB), None),  # ours is before it
        (theirs(NOT_FOLLOWED, priority=0), None),  # what is not ours anyhow
        (theirs(NOT_FOLLOWED, in_port=40), None),  # another port
        (theirs(NOT_FOLLOWED, table=7), None),  # a table of their own
    ],
)
def test_a_flow_is_found_where_it_changes_what_the_policy_decided(
    verified: object, flow: Flow, lost: bool | None
) -> None:
    found = examined(verified, flow, groups={5: BUCKET})
    if lost is None:
        assert found == ()
        return
    (crossing,) = found
    assert (crossing.switch, crossing.flow, crossing.lost) == ("s1", flow, lost)
    classifier = crossing.finding.expected.classifier
    assert classifier is not None
    assert TEXT.splitlines()[classifier.where.line - 1].strip().startswith(f"- {{name: {classifier.name},")


def test_what_is_denied_stays_denied(verified: object) -> None:
    telnet = theirs(Output(2), in_port=H1, eth_type=IP, ip_proto=TCP, tcp_dst=23)
    # On to s3, as a frame that no switch sends: it is dropped there, as it should be.
    assert examined(verified, telnet) == ()
    through = theirs(NOT_FOLLOWED, in_port=H1, eth_type=IP, ip_proto=TCP, tcp_dst=23)
    assert [each.lost for each in examined(verified, through)] == [False]


def test_a_flow_in_the_place_of_ours_counts_instead_of_it(verified: object) -> None:
    ours = next(
        flow for flow in COMPILED.state["s1"].flows.values()
        if flow.table == NUMBER["classify"] and any(item.field == "tcp_dst" and item.value == 23 for item in flow.match)
    )  # fmt: skip
    other = replace(ours, cookie=1, actions=(Resubmit(NUMBER["remember"]),), goto=None)
    merged = beside(COMPILED.state, {"s1": Held((other,))})
    assert merged["s1"].flows[ours.key] == other
    assert len(merged["s1"].flows) == len(COMPILED.state["s1"].flows)
    (crossing,) = examined(verified, other)
    assert crossing.finding.expected.classifier is not None
    assert crossing.finding.expected.classifier.name == "no-telnet"


def test_bypasses_come_first_and_are_not_too_many(verified: object) -> None:
    drop = theirs(**{**WEB, "tcp_dst": 25, "ipv4_dst": 0x0A020015})
    bypass = theirs(*TO_H2, **WEB)
    assert [each.lost for each in examined(verified, drop, bypass)] == [False, True]
    many = [
        theirs(NOT_FOLLOWED, priority=60_100 + n, in_port=H1, eth_type=IP, ip_proto=TCP, tcp_dst=n)
        for n in range(20, 30)
    ]
    many += [
        theirs(NOT_FOLLOWED, priority=60_200 + n, in_port=H2, eth_type=IP, ip_proto=TCP, tcp_dst=n)
        for n in range(20, 30)
    ]
    found = examined(verified, *many)
    assert 0 < len(found) <= MOST


@pytest.mark.parametrize(
    ("flow", "host", "packet"),
    [
        # one port of ten, one host of two, one that only its port, its MAC or its address tells
        (theirs(NOT_FOLLOWED, eth_type=IP, ip_proto=TCP, tcp_dst=25), None, "25"),
        (theirs(NOT_FOLLOWED, eth_type=IP, ip_proto=UDP, udp_dst=53, udp_src=4711), None, "4711"),
        (theirs(NOT_FOLLOWED, in_port=H2, eth_type=IP, ip_proto=TCP, tcp_dst=24), "h2", "24"),
        (theirs(NOT_FOLLOWED, eth_src=0x02_00_00_00_01_12, eth_type=IP, ip_proto=TCP, tcp_dst=24), "h2", "24"),
        (theirs(NOT_FOLLOWED, eth_type=IP, ip_proto=TCP, ipv4_src=0x0A01000C, ipv4_dst=0x0A020016), "h2", "10.2.0.22"),
    ],
)
def test_a_flow_about_one_host_or_one_port_of_many_is_found(
    verified: object, flow: Flow, host: str | None, packet: str
) -> None:
    (crossing,) = examined(verified, flow)
    assert host in (None, crossing.finding.source)
    assert packet in describe(crossing.finding.packet)


def test_what_is_found_is_what_verification_finds(verified: object) -> None:
    state: FlowState = beside(COMPILED.state, {"s1": Held((theirs(*TO_H2, **WEB),))})
    report = verify(POLICY, TOPOLOGY, state, COMPILED.allocation)
    (crossing,) = examined(verified, theirs(*TO_H2, **WEB))
    assert crossing.finding.what in {finding.what for finding in report.findings}
