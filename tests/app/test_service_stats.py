"""What services are used for, counted by real switches."""

from __future__ import annotations

import itertools
import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import bed
import dummy_ovs as dummy
import examples
import pytest
from plain_controller import PlainController
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from controller_app.api import service_metrics, service_views
from controller_app.balancing.usage import Provider, Used
from controller_app.cli.live import provider_cell
from controller_app.pipeline.counting import TABLES
from controller_app.pipeline.tables import NUMBER
from controller_app.runtime import leaving, service_stats
from controller_app.runtime.conductor import Conductor
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


def client(sport: int, flags: str, size: int = 0, seq: int = 0, ack: int = 0) -> bytes:
    head = Ether(src="02:00:00:00:01:11", dst=GATEWAY) / IP(src="10.1.0.11", dst="100.1.1.3")
    return bytes(head / TCP(sport=sport, dport=8080, flags=flags, seq=seq, ack=ack) / (b"x" * size))


def server(sport: int, flags: str, port: int = 80, size: int = 0, seq: int = 0, ack: int = 0) -> bytes:
    head = Ether(src="02:00:00:00:02:21", dst=GATEWAY) / IP(src="10.2.0.21", dst="10.1.0.11")
    return bytes(head / TCP(sport=port, dport=sport, flags=flags, seq=seq, ack=ack) / (b"x" * size))


def look(controller: PlainController) -> None:
    """Ask every switch once what its flows counted, and wait for what they tell."""

    def ask(conductor: Conductor) -> bool:
        if any(switch.waiting for switch in conductor.stats._switches.values()):
            return False  # what is asked while an answer is awaited is not asked again
        conductor.stats.read_now()
        return True

    def told(conductor: Conductor) -> bool:
        soon = conductor.stats.now + service_stats.SHORTEST
        return all(s.since > asked and not s.waiting and s.due > soon for s in conductor.stats._switches.values())

    asked = time.monotonic()
    controller.wait(ask)
    controller.wait(told)


def used(controller: PlainController, ovs: dummy.DummyOvs, opened: int) -> Used:
    """The sums of all that passed by now; there are so many connections."""
    ovs.count()
    look(controller)
    found = controller.do(lambda: controller.conductor.stats.of(WEB1))
    assert found.opened == opened, found
    return found


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
        found = used(controller, dummy_ovs, 3)
        assert (found.opened, found.packets_in, found.packets_out) == (3, 9, 3)
        # frames without their checksum of 4 bytes; short ones may have been filled up to 60
        assert 3 * (54 + 54 + 154) <= found.bytes_in <= 3 * (60 + 60 + 154)
        assert 3 * 54 <= found.bytes_out <= 3 * 60
        assert found.active(controller.conductor.stats.now)

        change = NETWORKS.replace("8080:80/tcp", "8080:81/tcp")  # the flow is replaced
        controller.do(lambda: adopt(controller, change))
        controller.wait_switches(4)
        assert network.send("h1", client(40009, "S")).hosts() == {"w1"}
        again = used(controller, dummy_ovs, 4)
        assert (again.opened, again.packets_in, again.packets_out) == (4, 10, 3)

        controller.do(lambda: adopt(controller, change.replace("labels: {tier: web}", "labels: {tier: old}")))
        controller.wait_switches(4)
        assert used(controller, dummy_ovs, 4).packets_in == 10
        controller.do(lambda: adopt(controller, change))  # flows that come back count from nothing
        controller.wait_switches(4)
        assert network.send("h1", client(40010, "S")).hosts() == {"w1"}
        assert used(controller, dummy_ovs, 5).packets_in == 11


def sums(controller: PlainController, opened: int, seconds: float = 10) -> Used:
    """The sums once there are so many connections, of what was told without being asked."""
    controller.wait(lambda c: c.stats.of(WEB1).opened >= opened, seconds)
    time.sleep(0.5)
    return controller.do(lambda: controller.conductor.stats.of(WEB1))


def test_what_a_flow_counted_to_its_end(dummy_ovs: dummy.DummyOvs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks any more: what counts is told when the provider leaves, comes back and leaves, and when others delete
    flows, which are there again soon."""
    network = bed.Bed(dummy_ovs, examples.network(), examples.policy())
    with PlainController(examples.network(), NETWORKS) as controller:
        for number in range(4):
            dummy_ovs.set_controller(f"b{number}", "127.0.0.1", controller.port)
        controller.wait_switches(4)
        talks = [Talk(network, 40001 + number) for number in range(9)]
        talks[0].play(BEGIN)
        assert used(controller, dummy_ovs, 1).left == 1
        sent, received = BEGIN.count(">"), BEGIN.count("<")
        monkeypatch.setattr(service_stats, "INTERVAL", 1e6)
        look(controller)
        for talk in talks[1:3]:
            talk.play(BEGIN)
        flagged = [line for line in dummy_ovs.ofctl("dump-flows", "b3").splitlines() if "send_flow_rem" in line]
        assert {int(line.partition("table=")[2].partition(",")[0]) for line in flagged} == {
            NUMBER[name] for name in TABLES}
        assert all("cookie=0xc50108" in line for line in flagged)
        dummy_ovs.count()
        end(controller)
        found = sums(controller, 3)
        assert (found.opened, found.packets_in, found.packets_out, found.left) == (3, 3 * sent, 3 * received, 0)
        for count, talk in enumerate(talks[3:5], 4):  # there and gone between two looks, none of which saw it
            begin(controller)
            talk.play(BEGIN)
            dummy_ovs.count()
            end(controller)
            found = sums(controller, count)
            assert (found.opened, found.packets_in, found.left) == (count, count * sent, 0)
        begin(controller)
        talks[5].play(BEGIN)
        dummy_ovs.count()
        look(controller)
        assert controller.do(lambda: controller.conductor.stats.of(WEB1).opened) == 6
        talks[6].play(BEGIN)
        dummy_ovs.count()
        (bridge,) = (network.bridges[end.switch] for end in network.topology.hosts["w1"].attach.values())
        dummy_ovs.ofctl("del-flows", bridge, f"table={NUMBER['served']}")
        found = sums(controller, 7)
        assert (found.opened, found.packets_in) == (7, 6 * sent), "the others go on"
        assert found.left == 2, "they still are its connections"
        monkeypatch.undo()
        controller.wait(lambda c: len(dummy_ovs.ofctl("dump-flows", bridge, "table=178").splitlines()) > 3, 60)
        talks[7].play(BEGIN)
        assert used(controller, dummy_ovs, 8).left == 3
        switch = controller.conductor.conversations[4]
        changes, audits = switch.sent_changes, switch.sync.number
        controller.wait(lambda c: switch.sync.number > audits and switch.sync.in_sync, 30)
        assert switch.sent_changes == changes, "an audit finds what was sent"


@dataclass
class Talk:
    """A TCP connection, with sequence numbers as hosts count them."""

    network: bed.Bed
    sport: int
    said: int = 1000  # by the client, up to here
    answered: int = 70000  # by the server

    def ask(self, flags: str, size: int = 0) -> None:
        """A segment of the client's."""
        ack = self.answered if "A" in flags else 0
        seen = self.network.send("h1", client(self.sport, flags, size, self.said, ack))
        assert seen.hosts() == {"w1"}
        self.said += size + ("S" in flags) + ("F" in flags)

    def answer(self, flags: str, size: int = 0) -> None:
        """A segment of the server's."""
        ack = self.said if "A" in flags else 0
        seen = self.network.send("w1", server(self.sport, flags, 80, size, self.answered, ack))
        assert seen.hosts() == {"h1"}
        self.answered += size + ("S" in flags) + ("F" in flags)

    def play(self, script: str) -> None:
        """Segments such as `>PA100 <A`: who sends, flags, bytes."""
        for segment in script.split():
            flags = segment[1:].rstrip("0123456789")
            side = self.ask if segment[0] == ">" else self.answer
            side(flags, int(segment[1 + len(flags) :] or 0))


BEGIN = ">S <SA >A >PA100 <A <PA200 >A"
ENDS = {
    "the client closes first": ">FA <A <FA >A",
    "the client closes first, the server at once": ">FA <FA >A",
    "the server closes first": "<FA >A >FA <A",
    "the client aborts": ">RA",
    "the client aborts while data come": ">RA <PA300 <PA300 >R >R",
    "the server aborts": "<RA",
    "the server aborts while data come": "<RA >PA300 >PA300 <R <R",
    "the server closes, the client aborts": "<FA >A >RA",
    "the client closes, and gets more": ">FA <A <PA100 <PA100 >R >R",
    "the client closes, the server aborts": ">FA <RA",
}


def end(controller: PlainController, networks: str = NETWORKS) -> None:
    """web1 serves no more: the time it had to drain is over."""
    controller.do(lambda: adopt(controller, networks.replace("{host: w1, ", "{host: w1, drain: 1s, ")))
    controller.wait(lambda c: "services/default/app/web1" in c.computed.topology.unready)
    controller.wait_switches(4)


def begin(controller: PlainController) -> None:
    """web1 serves."""
    controller.do(lambda: adopt(controller, NETWORKS))
    controller.wait(lambda c: not c.computed.topology.unready)
    controller.wait_switches(4)


def test_connections_that_are_left(dummy_ovs: dummy.DummyOvs) -> None:
    """Five are opened and two of them end, in every way there is; in the end the provider serves no more."""
    network = bed.Bed(dummy_ovs, examples.network(), examples.policy())
    sports = itertools.count(40001)
    with PlainController(examples.network(), NETWORKS) as controller:
        for number in range(4):
            dummy_ovs.set_controller(f"b{number}", "127.0.0.1", controller.port)
        controller.wait_switches(4)
        assert used(controller, dummy_ovs, 0).left == 0
        sent = received = 0
        for count, (way, script) in enumerate(ENDS.items(), 1):
            talks = [Talk(network, next(sports)) for _ in range(5)]
            for talk in talks:
                talk.play(BEGIN)
            for talk in talks[:2]:
                talk.play(script)
            sent += 5 * BEGIN.count(">") + 2 * script.count(">")
            received += 5 * BEGIN.count("<") + 2 * script.count("<")
            found = used(controller, dummy_ovs, 5 * count)
            assert found.left == 3 * count, way
            assert (found.packets_in, found.packets_out) == (sent, received), "flows that count FIN and RST add up"
        Talk(network, next(sports)).play(">S <RA")
        assert used(controller, dummy_ovs, 5 * len(ENDS) + 1).left == 3 * len(ENDS), "who is refused is not left"

        end(controller)
        found = used(controller, dummy_ovs, 5 * len(ENDS) + 1)
        assert found.left == 0, "the connections of who does not serve are ended"
        begin(controller)
        talks = [Talk(network, next(sports)) for _ in range(2)]
        for talk in talks:
            talk.play(BEGIN)
        assert used(controller, dummy_ovs, 5 * len(ENDS) + 3).left == 2
        talks[0].play("<FA >PA100 >PA100 <R <R")
        assert used(controller, dummy_ovs, 5 * len(ENDS) + 3).left == 1, "the server closes, and gets more"

        draining = NETWORKS.replace("labels: {tier: web}", "drain: 10m, labels: {tier: web}")
        controller.do(lambda: adopt(controller, draining))
        controller.wait_switches(4)
        (web1,), metrics, total = controller.do(lambda: shown(controller))
        assert (web1["state"], web1["left"], total["left"]) == ("draining", 1, 1)
        assert web1["reason"].startswith("1 left; its connections are ended in ")
        assert re.fullmatch(r"web1 \(\d+/256, draining, 1 left, \d+ opened\)", provider_cell(web1))
        assert 'chainsteer_service_connections_open{tenant="default",service="app",provider="web1"} 1\n' in metrics
        talks[1].play(ENDS["the server closes first"])
        assert used(controller, dummy_ovs, 5 * len(ENDS) + 3).left == 0
        assert controller.do(lambda: shown(controller))[0][0]["reason"].startswith("0 left; ")


def test_what_is_left_of_an_ended_provider_is_reset_and_counted_nowhere(dummy_ovs: dummy.DummyOvs) -> None:
    both = NETWORKS.replace("labels: {tier: none}", "labels: {tier: web}")
    web3 = WEB1._replace(endpoint="web3")
    network = bed.Bed(dummy_ovs, examples.network(), examples.policy())
    with PlainController(examples.network(), both) as controller:
        for number in range(4):
            dummy_ovs.set_controller(f"b{number}", "127.0.0.1", controller.port)
        controller.wait_switches(4)
        at = {sport: next(iter(network.send("h1", client(sport, "S")).hosts())) for sport in range(40101, 40117)}
        mine = [sport for sport, host in at.items() if host == "w1"]
        others = len(at) - len(mine)
        assert mine
        assert others
        used(controller, dummy_ovs, len(mine))
        end(controller, both)
        for port in network.ports.values():
            dummy_ovs.sent(port, 0)
        dummy_ovs.follow_flows()
        for sport in mine:
            dummy_ovs.receive(network.ports["h1", ""], client(sport, "PA", 100, seq=7, ack=4321))
        resets = {}
        deadline = time.monotonic() + 3
        while len(resets) < len(mine) and time.monotonic() < deadline:
            for frame in map(Ether, dummy_ovs.sent(network.ports["h1", ""], 1, 0.5)):
                if TCP in frame:
                    resets[frame[TCP].dport] = frame
        assert sorted(resets) == mine
        for frame in resets.values():
            assert (frame[IP].src, frame[TCP].sport, frame[TCP].flags, frame[TCP].seq) == ("100.1.1.3", 8080, "R", 4321)
        for host in ("w1", "w3"):
            assert not [frame for frame in dummy_ovs.sent(network.ports[host, ""], 0) if TCP in Ether(frame)]
        dummy_ovs.count()
        look(controller)
        told = controller.do(lambda: controller.conductor.stats.all())
        assert (told[WEB1].opened, told[WEB1].left) == (len(mine), 0)
        assert (told[web3].opened, told[web3].left) == (others, others)
        assert told[web3].packets_in == others


def test_who_is_not_selected_any_more_keeps_its_connections(
    dummy_ovs: dummy.DummyOvs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And gets no new ones; when they are over it is no provider any more, and its rules are gone."""
    monkeypatch.setattr(leaving, "SHORTEST", 0.1)
    both = NETWORKS.replace("labels: {tier: none}", "labels: {tier: web}")
    network = bed.Bed(dummy_ovs, examples.network(), examples.policy())
    with PlainController(examples.network(), both) as controller:
        for number in range(4):
            dummy_ovs.set_controller(f"b{number}", "127.0.0.1", controller.port)
        controller.wait_switches(4)
        at = {sport: next(iter(network.send("h1", client(sport, "S")).hosts())) for sport in range(40101, 40117)}
        mine = [Talk(network, sport, said=1001) for sport, host in at.items() if host == "w1"]
        assert mine
        for talk in mine:
            talk.play(BEGIN.removeprefix(">S "))
        used(controller, dummy_ovs, len(mine))
        controller.do(lambda: adopt(controller, both.replace("servers, labels: {tier: web}}", "servers}", 1)))
        controller.wait_switches(4)
        for talk in mine:
            talk.play(">PA100 <A <PA200 >A")
        for sport in range(40201, 40217):
            assert set(network.send("h1", client(sport, "S")).hosts()) == {"w3"}
        document = controller.do(lambda: service_views.service(controller.conductor, "default", "app"))
        assert document is not None
        assert [(p["endpoint"], p["slots"]) for p in document["providers"]] == [("web3", 256)]
        (web1,) = document["leaving"]
        assert (web1["endpoint"], web1["state"], web1["slots"], web1["left"]) == ("web1", "leaving", 0, len(mine))
        for talk in mine[1:]:
            talk.play(ENDS["the client closes first"])
        dummy_ovs.count()
        look(controller)
        assert controller.do(lambda: controller.conductor.stats.of(WEB1).left) == 1
        assert controller.do(lambda: "web1" in controller.conductor.computed.allocation.providers["default/app"])
        mine[0].play(ENDS["the client closes first"])
        dummy_ovs.count()
        controller.do(controller.conductor.stats.read_now)
        controller.wait(lambda c: "web1" not in c.computed.allocation.providers["default/app"])
        controller.wait(lambda c: not c.computed.topology.unready)
        controller.wait_switches(4)
        bridge = network.bridges[next(iter(network.topology.hosts["w1"].attach.values())).switch]
        assert f"table={NUMBER['translate']}, " not in "".join(
            line for line in dummy_ovs.ofctl("dump-flows", bridge).splitlines() if "100.1.1.3" in line)


def shown(controller: PlainController) -> tuple[list[dict[str, Any]], str, dict[str, Any]]:
    """What REST and Prometheus get: providers, metrics, sums of all providers."""
    found = service_views.service(controller.conductor, "default", "app")
    assert found is not None
    return found["providers"], service_metrics.metrics(controller.conductor), found["total"]


def test_only_fin_and_rst_get_megaflows_of_their_own(dummy_ovs: dummy.DummyOvs) -> None:
    """Whatever other flags packets have, and however many connections there are: one megaflow each way looks at flags,
    and one more each way once there was a FIN."""
    network = bed.Bed(dummy_ovs, examples.network(), examples.policy())
    with PlainController(examples.network(), NETWORKS) as controller:
        for number in range(4):
            dummy_ovs.set_controller(f"b{number}", "127.0.0.1", controller.port)
        controller.wait_switches(4)

        def looking() -> Counter[str]:
            return Counter(re.findall(r"tcp_flags\(([^)]*)\)", dummy_ovs.appctl("dpctl/dump-flows")))

        talks = [Talk(network, 40001 + number) for number in range(5)]
        for talk in talks:
            talk.play(f"{BEGIN} >PAU10 <PA10 >AE <AC")
        assert looking() == {"-fin-rst+ack": 2}
        for talk in talks[:3]:
            talk.play(ENDS["the client closes first"])
        assert looking() == {"-fin-rst+ack": 2, "+fin-rst+ack": 2}


def test_a_repeated_fin_is_counted_again(dummy_ovs: dummy.DummyOvs) -> None:
    """What docs/services.md says of the estimate's errors."""
    network = bed.Bed(dummy_ovs, examples.network(), examples.policy())
    with PlainController(examples.network(), NETWORKS) as controller:
        for number in range(4):
            dummy_ovs.set_controller(f"b{number}", "127.0.0.1", controller.port)
        controller.wait_switches(4)
        talks = [Talk(network, 40001 + number) for number in range(3)]
        for talk in talks:
            talk.play(BEGIN)
        talks[0].play("<FA")
        talks[0].answered -= 1
        talks[0].play("<FA >FA <A")
        assert used(controller, dummy_ovs, 3).left == 1


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
