"""Instances that depend on the edges, on real switches: the nearest are met, by both directions of a connection; and
what a chain requires holds of the way that packets really go."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from bed import Bed, Seen
from dummy_ovs import DummyOvs
from edge_examples import frame, network, policy
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.compile import compile_next
from controller_app.verification.verify import verify

TOPOLOGY = network()
BOXES = [name for name in TOPOLOGY.hosts if name.startswith(("fw", "dpi"))]


def bed(ovs: DummyOvs, wanted: Policy, topology: Topology = TOPOLOGY, portable: bool = False) -> Bed:
    made = compile_next(None, wanted, topology, portable=portable)
    report = verify(wanted, topology, made.state, made.allocation)
    assert report.ok, report.counterexample
    found = Bed(ovs, topology, wanted)
    found.load(made.state)
    return found


def met(seen: Seen) -> set[str]:
    """The instances that were handed anything."""
    return {host for host in seen.hosts() if host in BOXES}


def talk(made: Bed, source: str, target: str, sport: int, dport: int = 80) -> tuple[str, set[str], set[str]]:
    """A connection's first packet and the answer: who answered, and the instances that each of them met."""
    seen = made.send(source, frame(TOPOLOGY, source, target, sport, dport))
    (receiver,) = [host for host in seen.hosts() if host not in BOXES and host != "tap4"]
    (got,) = seen.at(receiver)
    packet = Ether(got)
    back = Ether(src=packet.dst, dst=packet.src) / IP(src=packet[IP].dst, dst=packet[IP].src) / TCP(
        sport=packet[TCP].dport, dport=packet[TCP].sport, flags="SA")
    answered = made.send(receiver, bytes(back))
    assert [len(answered.at(source))] == [1], answered.hosts()
    return receiver, met(seen), met(answered)


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("stickiness", ["connection", "none"])
def test_the_nearest_are_met_in_both_directions(dummy_ovs: DummyOvs, stickiness: str, portable: bool) -> None:
    made = bed(dummy_ovs, policy("spread: cost", stickiness=stickiness), portable=portable)
    shares: Counter[str] = Counter()
    for sport in range(40_000, 40_024):
        for target, nearest in (("c1", {"fw1", "fw2", "dpi2"}), ("e1", {"fw1", "fw5", "dpi5"})):
            receiver, there, back = talk(made, "a1", target, sport)
            assert receiver == target
            assert there == back
            assert there <= nearest
            assert len(there) == 2
            shares.update(there if target == "c1" else ())
        # from the same switch nothing is on the way: one of each as near as any
        receiver, there, back = talk(made, "a1", "a2", sport)
        assert (receiver, there) == ("a2", back)
        assert there in ({"fw1", "dpi2"}, {"fw2", "dpi2"}, {"fw1", "dpi5"}, {"fw5", "dpi5"})
    assert shares["fw2"] > shares["fw1"] > 0  # of equal cost, by their weights
    assert shares["dpi2"] == 24


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("stickiness", ["connection", "none"])
def test_with_a_service_the_instances_are_near_its_provider(
    dummy_ovs: DummyOvs, stickiness: str, portable: bool
) -> None:
    wanted = policy("spread: cost", stickiness=stickiness, target="{service: all}")
    made = bed(dummy_ovs, wanted, portable=portable)
    near = {"c1": {"fw1", "fw2", "dpi2"}, "d1": {"fw1", "fw5", "dpi4", "dpi5"}, "e1": {"fw1", "fw5", "dpi5"}}
    receivers = set()
    for sport in range(40_000, 40_024):
        receiver, there, back = talk(made, "a1", "10.9.0.9", sport)
        assert there == back
        assert there <= near[receiver]
        receivers.add(receiver)
    assert receivers == {"c1", "d1", "e1"}


@pytest.mark.parametrize("stickiness", ["connection", "none"])
def test_both_edges_send_along_the_chain_and_meet_the_same(dummy_ovs: DummyOvs, stickiness: str) -> None:
    made = bed(dummy_ovs, policy("spread: cost", stickiness=stickiness, source="any"))
    for sport in range(40_000, 40_012):
        for source, target in (("a1", "c1"), ("c1", "a1"), ("e1", "c1")):
            _, there, back = talk(made, source, target, sport)
            assert len(there) == 2
            assert there == back


@pytest.mark.parametrize("stickiness", ["connection", "none"])
@pytest.mark.parametrize(
    ("more", "right"),
    [
        ("require: {latency: 4ms}", [{"fw1", "dpi2"}, {"fw2", "dpi2"}, {"fw3", "dpi2"}, {"fw2", "dpi4"},
                                    {"fw3", "dpi4"}]),
        ("require: {latency: 2ms}", [{"fw1", "dpi2"}, {"fw2", "dpi2"}]),
        ("require: {latency: 3ms, apart: true}", [{"fw1", "dpi2"}]),
        ("require: {within: zone, apart: true}", [{"fw1", "dpi2"}, {"fw3", "dpi2"}]),
        ("require: {avoid: 'rack in (r1)'}, spread: weight", []),
        # fw3 is out: from s2 to s3 packets would go twice, and answers once
        ("require: {bandwidth: 500Mbps, avoid: zone=z2}", [{"fw1", "dpi2"}, {"fw2", "dpi2"}]),
        ("require: {prefer: rack=r3}", [{"fw5", "dpi5"}]),
        ("require: {prefer: rack=r3}, spread: cost", [{"fw5", "dpi5"}]),
        ("require: {backup: true, within: zone}", [{"fw1", "dpi2"}, {"fw2", "dpi2"}, {"fw3", "dpi2"}]),
    ],
)
def test_what_is_required_holds(dummy_ovs: DummyOvs, more: str, right: list[set[str]], stickiness: str) -> None:
    wanted = policy(more, stickiness=stickiness, target="{host: c1}")
    made = bed(dummy_ovs, wanted)
    seen: list[set[str]] = []
    for sport in range(40_000, 40_032):
        if not right:
            found = made.send("a1", frame(TOPOLOGY, "a1", "c1", sport))
            assert found.hosts() <= set()
            continue
        _, there, back = talk(made, "a1", "c1", sport)
        assert there == back
        assert there in right
        seen.append(there)
    assert all(each in seen for each in right)
    other = made.send("a1", frame(TOPOLOGY, "a1", "c1", 50_000, 81))
    assert other.hosts() == {"c1"}


def test_a_connection_is_not_taken_where_nothing_fits_any_more(dummy_ovs: DummyOvs) -> None:
    """It is remembered, and the way it is on is too slow now: it goes on by another; where none is left, it stops."""
    wanted = policy("require: {latency: 4ms}", target="{host: c1}")
    made = compile_next(None, wanted, TOPOLOGY)
    there = Bed(dummy_ovs, TOPOLOGY, wanted)
    there.load(made.state)
    ports = range(40_000, 40_012)
    before = {sport: talk(there, "a1", "c1", sport)[1] for sport in ports}
    quick = {"fw1", "dpi2"}, {"fw2", "dpi2"}
    assert len([there for there in before.values() if there in quick]) in range(1, 12)

    def again(sport: int) -> Seen:
        return there.send("a1", frame(TOPOLOGY, "a1", "c1", sport, flags="A"))

    slower = policy("require: {latency: 2ms}", target="{host: c1}")
    after = compile_next(made, slower, TOPOLOGY)
    there.load(after.state)
    for sport in ports:
        seen = again(sport)
        assert met(seen) in quick
        assert before[sport] not in quick or met(seen) == before[sport]
        assert len(seen.at("c1")) == 1
    there.load(compile_next(after, policy("require: {latency: 1ms}", target="{host: c1}"), TOPOLOGY).state)
    for sport in ports:
        assert again(sport).hosts() == set()


def test_a_tap_and_a_function_that_loses_labels_on_the_way(dummy_ovs: DummyOvs) -> None:
    wanted = policy("spread: cost, require: {apart: true, latency: 20ms}", through="[fw, dpi, tap]")
    tenant = wanted.tenants["default"]
    functions = {**tenant.functions, "dpi": replace(tenant.functions["dpi"], handover="original")}
    made = bed(dummy_ovs, Policy({"default": replace(tenant, functions=functions)}))
    for sport in range(40_000, 40_006):
        _, there, back = talk(made, "a1", "e1", sport)
        assert there == back == {"fw1", "dpi5"}
