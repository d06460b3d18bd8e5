"""The controller checks functions through real switches; who passes nothing on loses its slots, and gets them back.

The machines at the ports are played: hosts, and functions that pass frames on, or do not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import bed
import dummy_ovs as dummy
import pytest
from bed_players import Player
from checked_server import Server
from more_examples import FIREWALL, NETWORK, ORIGINAL, POLICY, ROUTED, SPEAKER, TWO_ARMED, A
from plain_controller import PlainController
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

from controller_app.api import steering_views, views
from controller_app.cli.live import _row
from controller_app.health.crossing import WORDS
from controller_app.health.instances import InstanceState, instance_states, wanted_instances
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.topology_file import parse_topology

GATEWAY = "0a:00:00:00:00:01"


class Machines(threading.Thread):
    """Everything at the ports of the switches. `dead` pass nothing on, and answer nothing."""

    def __init__(self, network: bed.Bed, policy: Policy) -> None:
        super().__init__(daemon=True)
        self.network = network
        self.dead: set[str] = set()
        self.deaf_arms: set[tuple[str, str]] = set()  # nothing comes out there
        self.handed: dict[tuple[str, str], list[bytes]] = {at: [] for at in network.ports}
        self.speaking = {
            instance.host
            for function in policy.tenants["default"].functions.values()
            if function.mode == "routed"
            for instance in function.instances.values()
        }
        self.servers: dict[tuple[str, int], Server] = {}
        self.ending = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.ending.is_set():
                for (host, arm), port in self.network.ports.items():
                    for frame in self.network.ovs.sent(port, 0):
                        self.handed[host, arm].append(frame)
                        self._play(host, arm, frame)
                time.sleep(0.003)
        except BaseException as error:
            self.failure = error
            raise

    def _play(self, host: str, arm: str, frame: bytes) -> None:
        if host in self.dead:
            return
        player: Player | None = self.network.players.get(host)
        answers = player(arm, frame) if player is not None else []
        if host in self.speaking:
            answers = [*answers, *((arm, answer) for answer in self._own(host, arm, frame))]
        for out, answer in answers:
            if (host, out) not in self.deaf_arms:
                self.network.ovs.receive(self.network.ports[host, out], answer)

    def _own(self, host: str, arm: str, frame: bytes) -> list[bytes]:
        packet, mac = Ether(frame), self.network.topology.hosts[host].arm_mac(arm)
        own = {str(ip) for ip in self.network.topology.hosts[host].arm_ips(arm)}
        asked = packet[ARP].pdst if ARP in packet else packet[IP].dst if IP in packet else ""
        if asked not in own or packet.src != GATEWAY:
            return []
        if ICMP in packet:
            reply = ICMP(type=0, id=packet[ICMP].id, seq=packet[ICMP].seq) / bytes(packet[ICMP].payload)
            return [bytes(Ether(src=mac, dst=GATEWAY) / IP(src=asked, dst=packet[IP].src) / reply)]
        assert mac is not None
        server = self.servers.setdefault((host, packet[TCP].sport if TCP in packet else 0), Server(mac=mac))
        return server.take(frame) if TCP in packet or ARP in packet else []


def written(function: str, name: str, health: str, through: str = "", on_failure: str = "closed") -> str:
    function = function.replace(": {", f": {{on_failure: {on_failure}, health: {health}, ", 1)
    text = POLICY.replace("FUNCTIONS", function).replace("THROUGH", through or name)
    return text.replace("STICKINESS", "connection").replace("TRANSPORT", "mac")


@contextmanager
def lab(ovs: dummy.DummyOvs, text: str) -> Iterator[tuple[Topology, PlainController, Machines]]:
    topology, policy = parse_topology(NETWORK, "network.yaml"), parse_policy({"policy.yaml": text}).policy
    network = bed.Bed(ovs, topology, policy)
    controller, machines = PlainController(topology, text, observe_links=False), Machines(network, policy)
    with controller:
        machines.start()
        try:
            for bridge in network.bridges.values():
                ovs.set_controller(bridge, "127.0.0.1", controller.port)
            controller.wait_switches(3)
            ovs.follow_flows()
            yield topology, controller, machines
        finally:
            machines.ending.set()
            machines.join(5)
            if machines.failure is not None:
                raise machines.failure


def states(controller: PlainController, of: str) -> dict[str, InstanceState]:
    found = controller.do(lambda: controller.conductor.checking.instance_states(controller.conductor.computed))
    return {instance: state for (_, function, instance), state in found.items() if function == of}


def slots(controller: PlainController, of: str) -> tuple[str, ...]:
    return controller.do(lambda: controller.conductor.computed.allocation.slots[f"functions/default/{of}"])


def events(controller: PlainController) -> list[str]:
    return controller.do(lambda: [event.text for event in controller.conductor.checking.events])


QUICK = "interval: 250ms, misses: 3"  # the played machines take their time where the real one is busy
CHECKED = [
    (FIREWALL, "fw", f"{{probe: frame, {QUICK}}}", "no frame comes through from arm in to arm out"),
    (ORIGINAL, "fw", f"{{probe: frame, {QUICK}}}", "no frame comes through from arm in to arm out"),
    (SPEAKER, "nsh", f"{{probe: frame, {QUICK}}}", "no frame comes through"),
    (ROUTED, "router", f"{{probe: icmp, {QUICK}}}", "10.1.0.102 does not answer ping"),
    (ROUTED, "router", f"{{probe: arp, {QUICK}}}", "10.1.0.102 does not answer ARP"),
    (ROUTED, "router", f"{{probe: tcp/22, {QUICK}}}", "no answer from 10.1.0.102:22"),
    (ROUTED, "router", f'{{probe: "http://:80/ready", {QUICK}}}', "no answer from 10.1.0.102:80"),
]


@pytest.mark.parametrize(("function", "name", "health", "reason"), CHECKED)
def test_who_passes_nothing_on_loses_his_slots_and_gets_them_back(
    dummy_ovs: dummy.DummyOvs, function: str, name: str, health: str, reason: str
) -> None:
    with lab(dummy_ovs, written(function, name, health)) as (topology, controller, machines):
        time.sleep(1.0)
        assert set(states(controller, name).values()) == {InstanceState("working")} and not events(controller)
        one, two = states(controller, name)
        before = slots(controller, name)
        assert set(before) == {one, two}
        machines.dead = {two}
        controller.wait(lambda c: set(c.computed.allocation.slots[f"functions/default/{name}"]) == {one})
        controller.wait_switches(3)
        assert states(controller, name)[two] == ("unready", states(controller, name)[two].reason)
        assert states(controller, name)[two].reason.startswith(reason)
        after = slots(controller, name)
        assert [slot for slot in range(256) if before[slot] != after[slot]] == [
            slot for slot in range(256) if before[slot] == two
        ]
        machines.dead = set()
        controller.wait(lambda c: set(c.computed.allocation.slots[f"functions/default/{name}"]) == {one, two})
        assert [text.split(":")[0] for text in events(controller)] == [
            f"instance {two} of function {name} is out",
            f"instance {two} of function {name} works again",
        ]
        assert controller.failure is None
        found = controller.do(lambda: list(controller.conductor.topology.hosts))
        assert found == list(topology.hosts), "nobody is learned from frames that come out of functions"
        for host in ("a", "a2", "b", "b2"):
            assert not [frame for frame in machines.handed[host, ""] if WORDS in frame]


def test_one_direction_alone_is_not_enough(dummy_ovs: dummy.DummyOvs) -> None:
    with lab(dummy_ovs, written(FIREWALL, "fw", f"{{probe: frame, {QUICK}}}")) as (_, controller, machines):
        time.sleep(0.6)
        machines.deaf_arms = {("fw1", "in")}
        controller.wait(lambda c: set(c.computed.allocation.slots["functions/default/fw"]) == {"fw2"})
        assert states(controller, "fw")["fw1"] == ("unready", "no frame comes through from arm out to arm in")


def test_each_arm_of_a_router_is_asked(dummy_ovs: dummy.DummyOvs) -> None:
    with lab(dummy_ovs, written(TWO_ARMED, "router", f"{{probe: icmp, {QUICK}}}")) as (_, controller, machines):
        time.sleep(0.8)
        assert states(controller, "router")["r3"].word == "working"
        machines.deaf_arms = {("r3", "out")}
        controller.wait(lambda c: bool(c.computed.topology.unready))
        assert states(controller, "router")["r3"] == ("unready", "10.2.0.103 does not answer ping")


def syn(port: int, flags: str = "S") -> bytes:
    ip = IP(src="10.1.0.11", dst="10.2.0.21")
    return bytes(Ether(src=A, dst=GATEWAY) / ip / TCP(sport=port, dport=80, flags=flags))


def received(machines: Machines, host: str = "b") -> list[int]:
    """The source ports of what a host got."""
    found = [Ether(frame) for frame in machines.handed[host, ""]]
    return [packet[TCP].sport for packet in found if TCP in packet]


@pytest.mark.parametrize("function", [FIREWALL, ORIGINAL])
def test_remembered_connections_of_who_is_out_move_and_no_others(dummy_ovs: dummy.DummyOvs, function: str) -> None:
    def met(host: str) -> set[int]:
        frames = [Ether(frame) for frame in machines.handed[host, "in"]]
        return {packet[TCP].sport for packet in frames if TCP in packet}

    def settle(count: int) -> None:
        deadline = time.monotonic() + 5
        while len(received(machines)) < count and time.monotonic() < deadline:
            time.sleep(0.02)

    with lab(dummy_ovs, written(function, "fw", f"{{probe: frame, {QUICK}}}")) as (_, controller, machines):
        connections = list(range(2000, 2040))
        out_of_a = machines.network.ports["a", ""]
        dummy_ovs.receive(out_of_a, *map(syn, connections))
        settle(40)
        first, second = met("fw1"), met("fw2")
        assert first | second == set(connections) and not first & second and first and second
        machines.dead = {"fw2"}
        controller.wait(lambda c: set(c.computed.allocation.slots["functions/default/fw"]) == {"fw1"})
        controller.wait_switches(3)
        for frames in machines.handed.values():
            frames.clear()
        dummy_ovs.follow_flows()
        dummy_ovs.receive(out_of_a, *(syn(port, "A") for port in connections))
        settle(40)
        assert sorted(received(machines)) == connections, "those of fw2 go through fw1 now"
        assert met("fw1") == set(connections) and not met("fw2")
        machines.dead = set()
        controller.wait(lambda c: set(c.computed.allocation.slots["functions/default/fw"]) == {"fw1", "fw2"})
        controller.wait_switches(3)
        for frames in machines.handed.values():
            frames.clear()
        dummy_ovs.follow_flows()
        dummy_ovs.receive(out_of_a, *(syn(port, "A") for port in connections))
        settle(40)
        assert sorted(received(machines)) == connections
        assert first <= met("fw1"), "who never moved does not move now either"


@pytest.mark.parametrize("on_failure", ["closed", "open", "reject"])
def test_when_nobody_is_left_on_failure_decides(dummy_ovs: dummy.DummyOvs, on_failure: str) -> None:
    text = written(FIREWALL, "fw", f"{{probe: frame, {QUICK}}}", on_failure=on_failure)
    with lab(dummy_ovs, text) as (_, controller, machines):
        machines.dead = {"fw1", "fw2"}
        controller.wait(lambda c: len(c.computed.topology.unready) == 2)
        controller.wait_switches(3)
        dummy_ovs.follow_flows()
        dummy_ovs.receive(machines.network.ports["a", ""], *(syn(port) for port in range(3000, 3010)))
        time.sleep(0.5)
        resets = [Ether(frame) for frame in machines.handed["a", ""]]
        assert len([packet for packet in resets if TCP in packet and packet[TCP].flags.R]) == (
            10 if on_failure == "reject" else 0
        )
        assert len(received(machines)) == (10 if on_failure == "open" else 0)
        machines.dead = set()
        controller.wait(lambda c: not c.computed.topology.unready)


def test_nobody_is_out_because_the_controller_lost_a_switch_or_was_started_anew(dummy_ovs: dummy.DummyOvs) -> None:
    """And it goes on where it was: what it knows of the functions it finds out again."""
    text = written(FIREWALL, "fw", "{probe: frame, interval: 250ms, misses: 2}")
    with lab(dummy_ovs, text) as (_, controller, machines):
        time.sleep(0.5)
        bridges = machines.network.bridges
        for switch in ("s2", "s3", "s2"):
            dummy_ovs.vsctl("del-controller", bridges[switch])
            controller.wait(lambda c: sum(v.connected for v in c.conversations.values()) == 2)
            time.sleep(0.5)
            dummy_ovs.set_controller(bridges[switch], "127.0.0.1", controller.port)
            controller.wait_switches(3)
            time.sleep(0.3)
        assert not events(controller)
        for bridge in bridges.values():
            dummy_ovs.vsctl("del-controller", bridge)
        controller.wait(lambda c: not any(v.connected for v in c.conversations.values()))
        again = PlainController(parse_topology(NETWORK, "network.yaml"), text, observe_links=False)
        with again:
            for bridge in bridges.values():
                dummy_ovs.set_controller(bridge, "127.0.0.1", again.port)
            again.wait_switches(3)
            time.sleep(1.0)
            assert not events(again) and set(states(again, "fw").values()) == {InstanceState("working")}
            machines.dead = {"fw1"}
            again.wait(lambda c: set(c.computed.allocation.slots["functions/default/fw"]) == {"fw2"})
            for bridge in bridges.values():
                dummy_ovs.vsctl("del-controller", bridge)


def test_a_port_that_comes_back_is_not_enough(dummy_ovs: dummy.DummyOvs) -> None:
    with lab(dummy_ovs, written(FIREWALL, "fw", f"{{probe: frame, {QUICK}}}")) as (_, controller, machines):
        time.sleep(0.5)
        bridge, port = machines.network.bridges["s2"], machines.network.ports["fw1", "out"]
        dummy_ovs.ofctl("mod-port", bridge, port, "down")
        controller.wait(lambda c: bool(c.computed.topology.down))
        word, why = states(controller, "fw")["fw1"]
        assert word == "down" and why.startswith("its port s2:32 is down")
        machines.dead = {"fw1"}
        controller.wait(lambda c: bool(c.computed.topology.unready))
        dummy_ovs.ofctl("mod-port", bridge, port, "up")
        controller.wait(lambda c: not c.computed.topology.down)
        time.sleep(0.5)
        assert set(slots(controller, "fw")) == {"fw2"}
        machines.dead = set()
        controller.wait(lambda c: set(c.computed.allocation.slots["functions/default/fw"]) == {"fw1", "fw2"})


def test_a_pool_is_checked_like_instances_by_name(dummy_ovs: dummy.DummyOvs) -> None:
    pool = 'fw: {kind: firewall, instances: {selector: "role=fw"}}'
    text = written(pool, "fw", f"{{probe: frame, {QUICK}}}").replace(
        "functions:\n",
        "endpoints:\n  one: {host: fw1, labels: {role: fw}}\n  two: {host: fw2, labels: {role: fw}}\nfunctions:\n",
    )
    with lab(dummy_ovs, text) as (_, controller, machines):
        time.sleep(0.5)
        machines.dead = {"fw1"}
        controller.wait(lambda c: set(c.computed.allocation.slots["functions/default/fw"]) == {"two"})
        assert states(controller, "fw")["one"].word == "unready"


def test_a_frame_of_nobodys_is_taken_by_nobody(dummy_ovs: dummy.DummyOvs) -> None:
    """What looks like a check's, with another seal, and what a function says for itself."""
    with lab(dummy_ovs, written(FIREWALL, "fw", "{probe: frame, interval: 60s}")) as (topology, controller, machines):
        forged = Ether(src="0a:00:00:00:00:02", dst="0a:00:00:00:00:03") / IP(src="198.18.0.1", dst="198.18.0.2")
        port = machines.network.ports["fw1", "out"]
        for data in (WORDS + bytes(24), WORDS, b"x" * 47):
            dummy_ovs.receive(port, bytes(forged / UDP(sport=40000, dport=9) / data))
            dummy_ovs.receive(port, bytes(Ether(src=A, dst=GATEWAY) / IP(src="10.1.0.11", dst="10.2.0.21") / data))
        time.sleep(0.5)
        assert controller.failure is None and not events(controller)
        for host in ("a", "a2", "b", "b2"):
            assert not machines.handed[host, ""]
        hosts = controller.do(lambda: controller.conductor.topology.hosts)
        assert hosts == topology.hosts
        assert replace(topology, hosts=hosts) == topology


def test_states_and_reasons_are_shown(dummy_ovs: dummy.DummyOvs) -> None:
    with lab(dummy_ovs, written(FIREWALL, "fw", f"{{probe: frame, {QUICK}}}")) as (_, controller, machines):
        machines.dead = {"fw2"}
        controller.wait(lambda c: set(c.computed.allocation.slots["functions/default/fw"]) == {"fw1"})
        ((function,), metrics) = controller.do(
            lambda: (views.functions(controller.conductor)["functions"], steering_views.metrics(controller.conductor))
        )
        assert function["health"] == {"probe": "frame", "interval": "0.25s", "misses": 3, "hold": "1s"}
        one, two = function["instances"]
        assert (one["state"], one["reason"], one["slots"]) == ("working", "", 256)
        assert (two["state"], two["slots"]) == ("unready", 0)
        assert two["reason"].startswith("no frame comes through from arm in to arm out")
        row = _row(function, ("name", "instances"))
        assert row == ["fw", ["fw1 (256/256)", f"fw2 (unready: {two['reason']})"]]
        for state, count in (("working", 1), ("unready", 1), ("down", 0), ("unusable", 0)):
            labels = f'tenant="default",function="fw",state="{state}"'
            assert f"chainsteer_function_instances{{{labels}}} {count}" in metrics.splitlines()


def test_why_an_instance_is_not_checked_or_not_usable() -> None:
    text = written(ROUTED, "router", "{probe: icmp}")
    policy, topology = parse_policy({"policy.yaml": text}).policy, parse_topology(NETWORK, "network.yaml")
    hosts = dict(topology.hosts)
    bare = replace(topology, hosts={**hosts, "r1": replace(hosts["r1"], ips=()), "r2": replace(hosts["r2"], mac=None)})
    found = wanted_instances(policy, bare)
    assert found.targets == ()
    name = "functions/default/router/r1"
    assert found.unchecked == {name: "it is not checked: no address of its host is known"}
    states = instance_states(policy, bare, {}, found.unchecked)
    assert states["default", "router", "r1"] == ("working", found.unchecked[name])
    assert states["default", "router", "r2"] == ("down", "the MAC of host r2 is not known yet")
    states = instance_states(policy, replace(topology, hosts={"r2": hosts["r2"]}), {}, {})
    assert states["default", "router", "r1"] == ("down", "host r1 is not known")
    tenant = policy.tenants["default"]
    networks = {name: replace(each, gateways=()) for name, each in tenant.networks.items()}
    nobody = Policy({"default": replace(tenant, networks=networks)})
    assert set(wanted_instances(nobody, topology).unchecked.values()) == {
        "it is not checked: the network of 10.1.0.101 has no IPv4 gateway to ask as; give it one",
        "it is not checked: the network of 10.1.0.102 has no IPv4 gateway to ask as; give it one",
    }
