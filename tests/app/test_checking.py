"""The controller checks providers through real switches; who does not answer loses his slots, and gets them back."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import bed
import dummy_ovs as dummy
import examples
import pytest
from checked_server import Server
from plain_controller import PlainController
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether

from controller_app.model.allocation import Allocation
from controller_app.model.policy import Health, Policy
from controller_app.pipeline.checked import replies
from controller_app.pipeline.compile import compile
from controller_app.pipeline.cookies import object_name
from controller_app.pipeline.tables import NUMBER
from controller_app.pipeline.world import build_world
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.intent import Intent, build
from controller_app.store.interface import StoredPolicy
from controller_app.store.memory import MemoryStore
from controller_app.store.sqlite import SqliteStore

TEXT = examples.POLICY.replace("STICKINESS", "connection").replace("RETURN", "symmetric")
KEY = "services/default/app-svc"
VIA_6 = ", ip: [100.1.1.3, \"fd64::3\"]"


def intent(health: Health | None, drain: tuple[str, float] | None = None, both: bool = False) -> Intent:
    """The example policy with a health check, with somebody draining."""
    text = TEXT
    if both:
        text = text.replace(", ip: 100.1.1.3", VIA_6)
        text = text.replace("subnet: 100.1.1.0/24", 'subnet: [100.1.1.0/24, "fd64::/64"]')
    made = build({"test": StoredPolicy("test", text)})
    tenant = made.policy.tenants["default"]
    services = {name: replace(each, health=health) for name, each in tenant.services.items()}
    endpoints = dict(tenant.endpoints)
    if drain is not None:
        endpoints[drain[0]] = replace(endpoints[drain[0]], drain=True, drain_after=drain[1])
    policy = Policy({"default": replace(tenant, services=services, endpoints=endpoints)})
    return replace(made, policy=policy)


# -- rules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("both", [False, True])
def test_answers_come_up_at_the_switches_of_providers_and_nowhere_else(both: bool) -> None:
    made = intent(Health("tcp", 80), both=both)
    world, _ = build_world(made.policy, examples.network(), Allocation())
    assert {switch: len({r.zone for r in here}) for switch, here in replies(world).items()} == {"s4": 2, "s3": 1}
    with_checks, allocation = compile(made.policy, examples.network())
    without, _ = compile(intent(None, both=both).policy, examples.network())
    for switch, state in with_checks.items():
        more = state.flows.keys() - without[switch].flows.keys()
        assert len(more) == len(replies(world).get(switch, ())), "one a port and version"
        for key in more:
            flow = state.flows[key]
            assert flow.table == NUMBER["respond"]
            assert object_name(flow.cookie, allocation) == KEY
    # and it stays while nobody serves: that is how they come back
    gone = replace(examples.network(), unready=frozenset(f"{KEY}/web{n}" for n in (1, 2, 3)))
    assert replies(build_world(made.policy, gone, Allocation())[0]) == replies(world)
    for probe in (None, Health("arp")):
        assert not replies(build_world(intent(probe).policy, examples.network(), Allocation())[0])


# -- real switches -----------------------------------------------------------------------------------------------


class Servers(threading.Thread):
    """The three servers of the example at their ports: they answer checks as `modes` says."""

    def __init__(self, network: bed.Bed) -> None:
        super().__init__(daemon=True)
        self.network = network
        self.modes = {f"w{number}": "listening" for number in (1, 2, 3)}
        self.connections: dict[tuple[str, int, int], Server] = {}
        self.ending = threading.Event()
        self.failure: BaseException | None = None
        self.requests = 0
        self.asked: Counter[tuple[str, int]] = Counter()  # checks, by host and version

    def run(self) -> None:
        try:
            while not self.ending.is_set():
                for name in self.modes:
                    port = self.network.ports[name, ""]
                    for frame in self.network.ovs.sent(port, 0):
                        self.network.ovs.receive(port, *self._answer(name, frame))
                time.sleep(0.005)
        except BaseException as error:
            self.failure = error
            raise

    def _answer(self, name: str, frame: bytes) -> list[bytes]:
        packet = Ether(frame)
        vlan = self.network.topology.hosts[name].vlan
        if packet.src != "0a:00:00:00:00:01" or (TCP not in packet and ARP not in packet and ICMPv6ND_NS not in packet):
            return []
        key = name, 6 if IPv6 in packet else 4, packet[TCP].sport if TCP in packet else 0
        made = Server(mac=f"02:00:00:00:02:2{name[1:]}", vlan=vlan)
        if TCP not in packet or packet[TCP].flags == "S":
            self.asked[key[:2]] += 1
        server = self.connections.setdefault(key, made)
        server.mode = self.modes[name]
        answers = server.take(frame)
        self.requests += len(server.requests)
        server.requests.clear()
        tag = b"" if vlan is None else b"\x81\0" + vlan.to_bytes(2, "big")
        return [answer[:12] + tag + answer[12:] for answer in answers]


@contextmanager
def lab(
    ovs: dummy.DummyOvs, health: Health, both: bool = False
) -> Iterator[tuple[bed.Bed, PlainController, Servers]]:
    made = intent(health, both=both)
    topology = examples.network()
    hosts = {**topology.hosts, "w3": replace(topology.hosts["w3"], vlan=7)}
    topology = replace(topology, hosts=hosts)
    network = bed.Bed(ovs, topology, made.policy)
    controller = PlainController(topology, TEXT, observe_links=False)
    controller.conductor = Conductor(topology, made, MemoryStore(), time.monotonic, b"k" * 16, False)
    servers = Servers(network)
    with controller:
        for bridge in network.bridges.values():
            ovs.set_controller(bridge, "127.0.0.1", controller.port)
        controller.wait_switches(4)
        ovs.follow_flows()
        servers.start()
        try:
            yield network, controller, servers
        finally:
            servers.ending.set()
            servers.join(5)
            if servers.failure is not None:
                raise servers.failure


def chosen(conductor: Conductor) -> set[str]:
    return set(conductor.computed.allocation.slots[KEY])


def states(controller: PlainController) -> dict[str, tuple[str, str]]:
    found = controller.do(
        lambda: controller.conductor.checking.states(controller.conductor.computed, time.monotonic())
    )
    return {endpoint: tuple(state) for (_, _, endpoint), state in found.items()}


@pytest.mark.parametrize("probe", ["tcp", "http", "arp"])
@pytest.mark.parametrize("both", [False, True])
def test_who_does_not_answer_loses_his_slots_and_gets_them_back(
    dummy_ovs: dummy.DummyOvs, probe: str, both: bool
) -> None:
    # a page takes the played servers many segments, and three pages in a row that are late would be misses
    health = Health(probe, 0 if probe == "arp" else 80, "/", 0.5 if probe == "http" else 0.25, 3)
    with lab(dummy_ovs, health, both) as (_, controller, servers):
        places = {(f"w{number}", version) for number in (1, 2, 3) for version in (4, 6)[: 1 + both]}
        controller.wait(lambda _: all(servers.asked[place] > 3 for place in places), 30)
        assert controller.do(lambda: chosen(controller.conductor)) == {"web1", "web2", "web3"}
        assert set(states(controller).values()) == {("serving", "")}
        assert bool(servers.requests) == (probe == "http")
        assert set(servers.asked) == places
        servers.modes["w2"] = "silent" if probe == "arp" else "refusing"
        controller.wait(lambda c: chosen(c) == {"web1", "web3"}, 30)
        word, found = states(controller)["web2"]
        assert word == "unready"
        silent = "10.2.0.22 does not answer ARP", "fd02::22 does not answer neighbour discovery"
        refusing = "connection refused by 10.2.0.22:80", "connection refused by [fd02::22]:80"
        assert found in (silent if probe == "arp" else refusing)[: 1 + both]
        controller.wait_switches(4)
        servers.modes["w2"] = "listening"
        controller.wait(lambda c: chosen(c) == {"web1", "web2", "web3"}, 30)
        said = controller.do(lambda: [event.text for event in controller.conductor.checking.events])
        assert [text.split(":")[0] for text in said] == [
            "provider web2 of service app-svc is unready",
            "provider web2 of service app-svc serves again",
        ]


def test_a_segment_of_no_check_is_answered_as_a_closed_port_would(dummy_ovs: dummy.DummyOvs) -> None:
    with lab(dummy_ovs, Health("http", 80, "/", 60.0, 3)) as (network, controller, servers):
        servers.ending.set()
        servers.join(5)
        port = network.ports["w1", ""]
        dummy_ovs.sent(port, 0)
        stray = Ether(src="02:00:00:00:02:21", dst="0a:00:00:00:00:01") / IP(src="10.2.0.21", dst="10.2.0.254")
        dummy_ovs.receive(port, bytes(stray / TCP(sport=80, dport=41234, seq=7, ack=99, flags="A")))
        answers: list[tuple[str, int]] = []
        deadline = time.monotonic() + 10
        while not answers and time.monotonic() < deadline:  # its first check may come as well
            frames = [f for f in map(Ether, dummy_ovs.sent(port, 1, 0.5)) if TCP in f]
            answers += [(str(f[TCP].flags), f[TCP].seq) for f in frames if (f[TCP].sport, f[TCP].dport) == (41234, 80)]
        assert answers == [("R", 99)]
        assert controller.failure is None


# -- the conductor by itself -------------------------------------------------------------------------------------


class Bench:
    """A conductor without switches, and its clocks."""

    def __init__(self, made: Intent, store: MemoryStore | SqliteStore, now: float = 0.0, wall: float = 1e9) -> None:
        self.now, self.wall = now, wall
        self.conductor = Conductor(
            examples.network(), made, store, lambda: self.now, b"k" * 16, wall=lambda: self.wall
        )

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.1)):
            self.now += 0.1
            self.wall += 0.1
            self.conductor.tick()


def test_a_drain_ends_in_time_across_a_restart(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    bench = Bench(intent(None, ("web1", 20.0)), store)
    bench.run(15)
    assert chosen(bench.conductor) == {"web2", "web3"}, "it drains"
    assert not bench.conductor.topology.unready
    assert bench.conductor.checking.states(bench.conductor.computed, bench.now)["default", "app-svc", "web1"] == (
        "draining",
        "its connections are ended in 5 s",
    )
    store.close()
    store = SqliteStore(tmp_path)
    bench = Bench(intent(None, ("web1", 20.0)), store, now=3.0, wall=bench.wall)
    assert not bench.conductor.computed.topology.unready
    bench.run(4.5)
    assert not bench.conductor.computed.topology.unready
    bench.run(1)
    assert bench.conductor.computed.topology.unready == {f"{KEY}/web1"}
    assert [event.text for event in bench.conductor.checking.events] == [
        "provider web1 of service app-svc is unready: the time it had to drain is over"
    ]
    store.close()
    store = SqliteStore(tmp_path)
    late = Bench(intent(None, ("web1", 20.0)), store, wall=bench.wall)
    assert late.conductor.computed.topology.unready == {f"{KEY}/web1"}, "from the first state on"
    back = intent(None)
    late.conductor.adopt(back, late.conductor.compute(back.policy), "test", late.wall)
    late.run(1)
    assert not late.conductor.computed.topology.unready
    assert store.drains() == {}
    store.close()


def test_many_changes_at_once_make_one_computation() -> None:
    bench = Bench(intent(Health("tcp", 80)), MemoryStore())
    bench.conductor._want(bench.conductor.computed)
    bench.run(1)
    computed = bench.conductor.computed
    seen = []
    for number in (1, 2):
        bench.conductor.checking._checks.failing[f"{KEY}/web{number}"] = "silent"
        bench.now += 0.01
        bench.conductor.tick()
    for _ in range(100):
        bench.now += 0.01
        bench.conductor.tick()
        if bench.conductor.computed is not computed:
            computed = bench.conductor.computed
            seen.append(computed.topology.unready)
    assert len(seen) == 1
    assert bench.conductor.computed.topology.unready == {f"{KEY}/web1", f"{KEY}/web2"}
    assert chosen(bench.conductor) == {"web3"}
