"""What services are used for, counted by real switches."""

from __future__ import annotations

import time

import bed
import dummy_ovs as dummy
import examples
from plain_controller import PlainController
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from controller_app.balancing.usage import Provider, Used
from controller_app.runtime.conversation import Conversation
from controller_app.runtime.flow_questions import FlowQuestions

NETWORKS = """\
version: 1
networks:
  clients: {subnet: 10.1.0.0/24, gateway: 10.1.0.254}
  servers: {subnet: 10.2.0.0/24, gateway: 10.2.0.254}
  vips: {subnet: 100.1.1.0/24, kind: service}
endpoints:
  web1: {host: w1, network: servers, labels: {tier: web}}
  web3: {host: w3, network: servers, labels: {tier: none}}
services:
  app: {network: vips, ip: 100.1.1.3, selector: tier=web, ports: [8080:80/tcp]}
"""
WEB1 = Provider("default", "app", "web1")
GATEWAY = "0a:00:00:00:00:01"


def client(sport: int, flags: str, size: int = 0) -> bytes:
    head = Ether(src="02:00:00:00:01:11", dst=GATEWAY) / IP(src="10.1.0.11", dst="100.1.1.3")
    return bytes(head / TCP(sport=sport, dport=8080, flags=flags) / (b"x" * size))


def server(sport: int, flags: str, port: int = 80) -> bytes:
    head = Ether(src="02:00:00:00:02:21", dst=GATEWAY) / IP(src="10.2.0.21", dst="10.1.0.11")
    return bytes(head / TCP(sport=port, dport=sport, flags=flags))


def used(controller: PlainController, opened: int) -> Used:
    """The sums once there are so many connections and nothing is added any more: the datapath tells ovs-vswitchd of
    packets twice a second."""
    found = Used()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        before = found
        controller.do(controller.conductor.stats.read_now)
        time.sleep(0.7)
        controller.wait(lambda c: not c.stats.reading)
        found = controller.do(lambda: controller.conductor.stats.of(WEB1))
        if found.opened == opened and (found.packets_in, found.packets_out) == (before.packets_in, before.packets_out):
            return found
    raise AssertionError(found)


def test_connections_packets_and_bytes_of_a_provider(dummy_ovs: dummy.DummyOvs) -> None:
    network = bed.Bed(dummy_ovs, examples.network(), examples.policy())
    with PlainController(examples.network(), NETWORKS) as controller:
        for number in range(4):
            dummy_ovs.set_controller(f"b{number}", "127.0.0.1", controller.port)
        controller.wait_switches(4)
        for sport in (40001, 40002, 40003):
            assert network.send("h1", client(sport, "S")).hosts() == {"w1"}
            assert network.send("w1", server(sport, "SA")).hosts() == {"h1"}
            network.send("h1", client(sport, "A"), client(sport, "PA", 100))
        found = used(controller, 3)
        assert (found.opened, found.packets_in, found.packets_out) == (3, 9, 3)
        # frames without their checksum of 4 bytes; short ones may have been filled up to 60
        assert 3 * (54 + 54 + 154) <= found.bytes_in <= 3 * (60 + 60 + 154)
        assert 3 * 54 <= found.bytes_out <= 3 * 60
        assert found.active(controller.conductor.stats.now)

        change = NETWORKS.replace("8080:80/tcp", "8080:81/tcp")  # the flow is replaced
        controller.do(lambda: adopt(controller, change))
        controller.wait_switches(4)
        assert network.send("h1", client(40009, "S")).hosts() == {"w1"}
        again = used(controller, 4)
        assert (again.opened, again.packets_in, again.packets_out) == (4, 10, 3)

        controller.do(lambda: adopt(controller, change.replace("labels: {tier: web}", "labels: {tier: old}")))
        controller.wait_switches(4)
        assert used(controller, 4).packets_in == 10
        controller.do(lambda: adopt(controller, change))  # flows that come back count from nothing
        controller.wait_switches(4)
        assert network.send("h1", client(40010, "S")).hosts() == {"w1"}
        assert used(controller, 5).packets_in == 11


def adopt(controller: PlainController, text: str) -> None:
    conductor = controller.conductor
    intent = conductor.intent.put({"test": text})
    conductor.adopt(intent, conductor.check(intent)[0], "test", 0.0)


def test_a_switch_that_is_lost_answers_nothing_more() -> None:
    told: list[object] = []
    questions = FlowQuestions(iter(range(1, 99)).__next__)
    questions.ask(1, 0, 0, told.append)
    questions.forget()
    assert told == [None]
    assert not questions.told(b"\4\x13\0\x10\0\0\0\1\0\1\0\0\0\0\0\0", 1)


def test_parts_of_an_answer_are_put_together_and_errors_end_it() -> None:
    told: list[object] = []
    questions = FlowQuestions(iter(range(1, 99)).__next__)
    questions.ask(1, 0, 0, told.append)
    assert questions.told(b"\4\x13\0\x10\0\0\0\1\0\1\0\1\0\0\0\0", 1)
    assert told == []
    assert questions.told(b"\4\x13\0\x10\0\0\0\1\0\1\0\0\0\0\0\0", 1)
    assert told == [[]]
    questions.ask(1, 0, 0, told.append)
    assert questions.told(b"\4\1\0\x0c\0\0\0\2\0\1\0\0", 2)
    assert told == [[], None]
    assert Conversation(1, frozenset()).questions.told(b"\4\x13\0\x10\0\0\0\1\0\1\0\0\0\0\0\0", 1) is False
