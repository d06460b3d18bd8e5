"""The conductor by itself: no switch, no socket, and a clock that the test moves."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import examples
import pytest

from controller_app.discovery import frames
from controller_app.discovery.ports import Port, PortId
from controller_app.model.allocation import Allocation
from controller_app.model.policy import Policy
from controller_app.model.position import PolicyError
from controller_app.model.topology import End, Host, Topology
from controller_app.pipeline.compile import Compiled, compile_next
from controller_app.runtime import conductor as module
from controller_app.runtime.computed import Computed
from controller_app.runtime.conductor import RETRY, Conductor
from controller_app.runtime.intent import build
from controller_app.store.interface import StoredPolicy, StoreError
from controller_app.store.memory import MemoryStore

POLICY = examples.POLICY.replace("STICKINESS", "none").replace("RETURN", "symmetric")
PORTS = {1: (1, 2, 11, 12, 40), 2: (1, 2, 3, 21, 22), 3: (1, 2, 3, 11, 21, 22), 4: (1, 2, 11, 12, 31, 40)}
H1_MAC, STRANGER = 0x02_00_00_00_01_11, 0x02_AA_00_00_00_01


class Bench:
    """A conductor of the example network whose switches are all there; port 40 of s1 and s4 is nobody's."""

    def __init__(
        self, topology: Topology | None = None, store: MemoryStore | None = None, symmetric_hash: bool = True
    ) -> None:
        self.now = 0.0
        self.conductor = Conductor(
            topology or examples.network(),
            build({"test": StoredPolicy("test", POLICY)}),
            store or MemoryStore(),
            lambda: self.now,
            b"k" * 16,
            symmetric_hash=symmetric_hash,
        )
        self.computations = 0
        self.compute = self.conductor.compute
        self.failure: Exception | None = None
        self.conductor.compute = self._counted  # type: ignore[method-assign]
        for dpid in PORTS:
            self.connect(dpid)
        self.run(1)

    def connect(self, dpid: int, send: Callable[[bytes], None] = lambda data: None) -> None:
        self.conductor.connected(dpid, [Port(n, f"p{n}", n, True) for n in PORTS[dpid]], send)
        self.conductor._discovery.ready(dpid, self.now)

    def _counted(self, policy: Policy, allocation: Allocation | None = None) -> Computed:
        self.computations += 1
        if self.failure is not None:
            raise self.failure
        return self.compute(policy, allocation)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            self.now += 0.02
            self.conductor.tick()

    def asks(self, place: PortId, mac: int, ip: str) -> None:
        question = frames.question(ip_address("10.1.0.12"), ip_address(ip), mac)
        self.conductor._do(self.conductor._discovery.frame(place, question, self.now))

    def link_fails(self) -> None:
        self.conductor._discovery.port(1, Port(1, "p1", 1, False), self.now)


@pytest.mark.parametrize("at", [PortId(1, 40), PortId(4, 40)])
@pytest.mark.parametrize(
    ("mac", "ip"), [(H1_MAC, "10.1.0.77"), (STRANGER, "10.1.0.11"), (STRANGER, "10.1.0.9"), (0x0B09, "10.1.0.77")]
)
def test_a_forged_frame_does_not_end_following_the_network(at: PortId, mac: int, ip: str) -> None:
    uplink = Host(
        "wan", {"": End("s2", 40)}, (ip_address("10.1.0.9"),), "00:00:00:00:0b:09", (ip_network("0.0.0.0/0"),)
    )
    network = examples.network()
    bench = Bench(replace(network, hosts={**network.hosts, "wan": uplink}))
    hosts = bench.conductor.topology.hosts
    bench.asks(at, mac, ip)
    bench.run(1)
    assert bench.conductor.problem is None
    assert bench.conductor.topology.hosts == hosts
    bench.link_fails()
    bench.run(1)
    assert len(bench.conductor.computed.topology.links) == len(network.links) - 1


def test_a_stranger_is_served_all_the_same() -> None:
    bench = Bench()
    bench.asks(PortId(1, 40), STRANGER, "10.1.0.77")
    bench.run(1)
    assert "host-02aa00000001" in bench.conductor.computed.topology.hosts


def test_forged_hosts_of_an_earlier_run_do_not_prevent_a_start() -> None:
    store = MemoryStore()
    store.save_hosts(
        [
            {"mac": mac, "dpid": dpid, "port": 40, "ips": ips}
            for mac, dpid, ips in (
                ("02:00:00:00:01:11", 1, ["10.1.0.77"]),
                ("02:aa:00:00:00:01", 4, ["10.1.0.11"]),
                ("02:aa:00:00:00:02", 4, ["10.1.0.254", "224.0.0.1"]),
                ("ff:ff:ff:ff:ff:ff", 4, ["10.1.0.78"]),
                ("02:aa:00:00:00:03", 4, ["10.1.0.79"]),
                ("02:aa:00:00:00:04", 4, ["10.1.0.79"]),
                ("no address", 4, []),
            )
        ]
    )
    bench = Bench(store=store)
    assert "h1" in bench.conductor.computed.topology.hosts
    assert bench.conductor.computed.verify()[0].ok


def test_whatever_is_wrong_with_remembered_hosts_they_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    def picky(before: Compiled | None, policy: Policy, topology: Topology, *others: Any) -> Compiled:
        if "host-02aa00000001" in topology.hosts:
            raise RuntimeError("a fault of ours")
        return compile_next(before, policy, topology, *others)

    monkeypatch.setattr(module, "compile_next", picky)
    store = MemoryStore()
    store.save_hosts([{"mac": "02:aa:00:00:00:01", "dpid": 1, "port": 40, "ips": ["10.1.0.77"]}])
    assert "host-02aa00000001" not in Bench(store=store).conductor.topology.hosts


def test_a_network_that_cannot_be_computed_is_tried_again() -> None:
    bench = Bench()
    bench.failure = RuntimeError("a fault of ours")
    before = bench.computations
    bench.link_fails()
    bench.run(RETRY * 3)
    assert "a fault of ours" in str(bench.conductor.problem)
    assert 3 <= bench.computations - before <= 4  # again and again, but in no haste
    bench.failure = None
    bench.run(RETRY + 0.1)
    assert bench.conductor.problem is None
    assert len(bench.conductor.computed.topology.links) == len(examples.network().links) - 1
    done = bench.computations
    bench.run(RETRY * 2)
    assert bench.computations == done


def test_a_switch_that_comes_while_there_is_a_problem_gets_the_rules_there_are() -> None:
    bench = Bench()
    del bench.conductor._conversations[4]
    bench.failure = PolicyError([])
    bench.link_fails()
    bench.connect(4)
    bench.run(0.2)
    assert bench.conductor.problem is not None
    assert bench.conductor.conversations[4].sync.wanted == bench.conductor.computed.state["s4"]


def test_what_is_applied_without_a_problem_ends_the_problem_there_was() -> None:
    bench = Bench()
    bench.failure = PolicyError([])
    bench.asks(PortId(1, 40), STRANGER, "10.1.0.77")
    bench.run(1)
    assert bench.conductor.problem is not None
    bench.failure = None
    computed, _ = bench.conductor.check(bench.conductor.intent)
    bench.conductor.adopt(bench.conductor.intent, computed, "test", 0.0)
    assert bench.conductor.problem is None
    assert bench.conductor._hosts_revision == bench.conductor._discovery.hosts_revision  # who waits is answered


def test_one_switch_that_cannot_be_told_does_not_keep_the_others_waiting(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    talks = bench.conductor.conversations

    def broken(*_: object) -> None:
        raise OSError("gone just now")

    talks[1].want = broken  # type: ignore[method-assign, assignment]
    bench.link_fails()
    with caplog.at_level(logging.ERROR):
        bench.run(1)
    assert "s1" in caplog.text
    for dpid in (2, 3, 4):
        assert talks[dpid].sync.wanted == bench.conductor.computed.state[f"s{dpid}"]


class FullDisk(MemoryStore):
    """Keeps nothing while it is full."""

    full = True

    def _write(self) -> None:
        if self.full:
            raise StoreError("disk full")

    def save_allocation(self, allocation: Allocation) -> None:
        self._write()
        super().save_allocation(allocation)

    def save_hosts(self, hosts: Any) -> None:
        self._write()
        super().save_hosts(hosts)


def test_what_could_not_be_kept_is_kept_as_soon_as_it_can_be(caplog: pytest.LogCaptureFixture) -> None:
    store = FullDisk()
    with caplog.at_level(logging.ERROR):
        bench = Bench(store=store)
        bench.asks(PortId(1, 40), STRANGER, "10.1.0.77")
        bench.run(5)
    assert caplog.text.count("disk full") == 1
    assert not store.hosts()
    with pytest.raises(StoreError):
        bench.conductor.save()
    store.full = False
    bench.run(2)
    assert store.allocation() == bench.conductor.computed.allocation
    assert [host["ips"] for host in store.hosts()] == [["10.1.0.77"]]


def groups(bench: Bench) -> int:
    """Those that choose by a hash."""
    states = bench.conductor.computed.state.values()
    return sum(group.kind == "select" for state in states for group in state.groups.values())


def test_a_switch_whose_hash_is_not_symmetric_makes_all_use_the_portable_one() -> None:
    bench = Bench()
    assert groups(bench)
    assert bench.conductor.hashing.why is None
    before = bench.computations
    probe = bench.conductor.conversations[2]._probe
    probe.facts = replace(probe.facts, slots=((1, 2),))
    bench.run(0.2)
    assert bench.computations == before + 1
    assert groups(bench) == 0
    assert "s2" in str(bench.conductor.hashing.why)
    probe.facts = replace(probe.facts, slots=((1, 1),))  # connected anew, on another datapath
    bench.run(0.2)
    assert groups(bench)
    bench.run(1)
    assert bench.computations == before + 2


def test_the_switches_own_hash_is_not_used_where_that_is_forbidden() -> None:
    bench = Bench(symmetric_hash=False)
    assert groups(bench) == 0
    probe = bench.conductor.conversations[2]._probe
    probe.facts = replace(probe.facts, slots=((1, 1),))
    bench.run(1)
    assert groups(bench) == 0
    assert bench.conductor.hashing.why == "--no-symmetric-hash"
