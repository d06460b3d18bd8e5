"""Frames that go through functions: what they are, who can make one, and what follows from those that do not come."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from checked_server import parsed
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib.nsh import NSH
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from controller_app.discovery.hosts import mac_number
from controller_app.discovery.ports import PortId, SendFrame
from controller_app.health.checks import Checks
from controller_app.health.crossing import Crossed, crossed, datagram, seal, wrapped
from controller_app.health.standing import recoveries
from controller_app.health.targets import Address, Spot, Target, Through
from controller_app.model.policy import Health

TICK = 0.02
IN, OUT = Spot("s2", PortId(2, 21), 0xFFFF_FFFF_FFFF), Spot("s3", PortId(3, 22), 0xFFFF_FFFF_FFFF)
NAME = "functions/default/fw/fw1"
SECRET = b"s" * 16


FAST = Health("frame", interval=0.2, hold=1.0)


def target(health: Health = FAST, through: Through | None = None) -> Target:
    return Target("fw1", health, 0, (), *IN, (NAME,), through or Through(OUT))


# -- frames --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**64 - 1), st.integers(1, 65535), st.booleans(), st.binary(min_size=16, max_size=16))
def test_frames_are_right_and_are_read_again(number: int, port: int, backward: bool, sealed: bytes) -> None:
    said = Crossed(number, sealed, backward)
    frame = datagram(said, port)
    packet = parsed(frame)
    assert bytes(UDP(bytes(packet[UDP])))[6:8] == _right_checksum(packet)
    assert crossed(frame) == said
    ends = (packet.src, packet[IP].src, packet[UDP].sport), (packet.dst, packet[IP].dst, packet[UDP].dport)
    ours = ("0a:00:00:00:00:02", "198.18.0.1", port), ("0a:00:00:00:00:03", "198.18.0.2", 9)
    assert ends == (ours[::-1] if backward else ours)
    assert (packet[IP].tos, packet[IP].ttl, packet[IP].flags) == (0, 64, "DF") and len(frame) >= 60

    nsh = Ether(wrapped(frame, 0x02_00_00_00_00_07))
    assert (nsh.dst, nsh.src, nsh.type) == ("02:00:00:00:00:07", "0a:00:00:00:00:01", 0x894F)
    header = NSH(bytes(nsh.payload))
    assert (header.ver, header.ttl, header.length, header.mdtype, header.nextproto) == (0, 63, 6, 1, 3)
    assert (header.spi, header.si) == (0xFFFFFF, 255)
    assert crossed(bytes(nsh)) == said


def _right_checksum(packet: Ether) -> bytes:
    again = packet.copy()
    del again[UDP].chksum
    return bytes(Ether(bytes(again))[UDP])[6:8]


@given(st.binary(max_size=200))
def test_nothing_else_is_taken_for_one(data: bytes) -> None:
    assert crossed(data) is None
    assert crossed(bytes(Ether(dst="0a:00:00:00:00:03") / Raw(data))) is None
    assert crossed(bytes(Ether(dst="0a:00:00:00:00:03") / IP() / UDP() / Raw(data))) is None
    assert crossed(bytes(Ether(type=0x894F) / Raw(data))) is None


def test_a_seal_is_of_one_secret_number_way_and_direction() -> None:
    made = {
        seal(secret, number, into, out, backward)
        for secret in (SECRET, b"t" * 16)
        for number in (1, 2)
        for into, out in ((IN.place, OUT.place), (OUT.place, IN.place))
        for backward in (False, True)
    }
    assert len({each.seal for each in made}) == 16


# -- checks --------------------------------------------------------------------------------------------------------


class Wire:
    """Checks with one function, which does with frames as `passes` says: by direction (backward or not)."""

    def __init__(self, aimed: Target) -> None:
        self.now, self.aimed = 0.0, aimed
        self.checks = Checks(SECRET, mac_number("0a:00:00:00:00:01"))
        self.passes = {False: True, True: True}
        self.ready = {"s2", "s3"}
        self.sent: list[tuple[float, SendFrame]] = []
        self.turns: list[tuple[float, bool, str]] = []
        self.carry(self.checks.aim([aimed], 0.0))

    def other(self, sent: SendFrame) -> PortId:
        place = PortId(sent.dpid, sent.ports[0])
        assert self.aimed.through is not None
        out = self.aimed.through.out.place
        return self.aimed.place if place == out else out

    def carry(self, frames: list[SendFrame]) -> None:
        while frames:
            sent, *frames = frames
            self.sent.append((self.now, sent))
            said = crossed(sent.frame)
            assert said is not None
            if self.passes[said.backward]:
                frames += self.checks.hear(self.other(sent), sent.frame) or []
        for turn in self.checks.turns:
            assert turn.name == NAME
            self.turns.append((self.now, turn.ready, turn.reason))
        self.checks.turns.clear()

    def run(self, seconds: float, settled: set[str] | None = None) -> None:
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            self.carry(self.checks.tick(self.now, self.ready, settled))


def test_both_directions_and_once_an_interval() -> None:
    wire = Wire(target())
    wire.run(10)
    assert not wire.turns
    ways = [(sent.dpid, sent.ports, crossed(sent.frame).backward) for _, sent in wire.sent]  # type: ignore[union-attr]
    assert ways == [(2, (21,), False), (3, (22,), True)] * (len(ways) // 2)
    assert 45 <= len(ways) / 2 <= 50
    numbers = [crossed(sent.frame).number for _, sent in wire.sent]  # type: ignore[union-attr]
    assert len(set(numbers)) == len(numbers) / 2, "another one each time"
    sent = [parsed(sent.frame)[UDP] for _, sent in wire.sent]
    assert len({udp.sport for udp in sent[::2]}) == len(sent) / 2, "a firewall has something new to open"
    assert [udp.dport for udp in sent[1::2]] == [udp.sport for udp in sent[::2]], "and sees the answer to it"


@pytest.mark.parametrize("misses", [1, 2, 3, 5])
@pytest.mark.parametrize("backward", [False, True])
def test_out_after_so_many_misses_and_back_after_as_many_successes_a_second_at_least(
    misses: int, backward: bool
) -> None:
    wire = Wire(target(Health("frame", interval=0.2, misses=misses, hold=1.0)))
    wire.run(2)
    wire.passes[backward], since = False, wire.now
    wire.run(5)
    ((at, ready, reason),) = wire.turns
    assert not ready and 0.2 * (misses - 0.25) - 2 * TICK < at - since <= 0.2 * (misses + 0.75) + 3 * TICK
    way = "from arm out to arm in" if backward else "from arm in to arm out"
    assert reason == f"no frame comes through {way}", "it did once, so nobody forbids it"
    assert wire.checks.failing == {NAME: reason}
    wire.passes[backward], since = True, wire.now
    wire.run(5)
    (_, (at, ready, _)) = wire.turns
    needed = max(misses, 5)  # five make up a second
    assert ready and 0.2 * (needed - 1) - 2 * TICK < at - since <= 0.2 * needed + 3 * TICK
    assert not wire.checks.failing


@pytest.mark.parametrize(
    ("health", "needed"),
    [
        (Health("tcp", 80), 2),
        (Health("frame", hold=1.0), 3),
        (Health("frame", interval=0.1, misses=2, hold=1.0), 10),
        (Health("frame", interval=0.3, misses=2, hold=1.0), 4),
        (Health("frame", interval=0.2, misses=1, hold=0.0), 1),
        (Health("icmp", interval=5.0, misses=2, hold=60.0), 12),
    ],
)
def test_how_many_successes_bring_somebody_back(health: Health, needed: int) -> None:
    assert recoveries(health) == needed


def test_a_firewall_that_never_let_one_through_is_told_what_to_let_through() -> None:
    wire = Wire(target())
    wire.passes[False] = False
    wire.run(3)
    ((_, _, reason),) = wire.turns
    assert "a firewall has to let UDP from 198.18.0.1 to 198.18.0.2, port 9, and what answers it through" in reason


def test_flapping_does_not_bring_it_back() -> None:
    wire = Wire(target())
    wire.passes[False] = False
    wire.run(3)
    for _ in range(10):
        wire.passes[False] = True
        wire.run(0.6)
        wire.passes[False] = False
        wire.run(0.4)
    assert len(wire.turns) == 1


def test_one_frame_that_is_lost_is_sent_again_within_the_interval() -> None:
    wire = Wire(target(Health("frame", interval=0.4, misses=1, hold=1.0)))
    lost: dict[bool, set[int]] = {False: set(), True: set()}
    carry = wire.checks.hear
    backward = False

    def hear(place: PortId, frame: bytes) -> list[SendFrame] | None:
        said = crossed(frame)
        assert said is not None
        if said.backward == backward and said.number not in lost[backward]:
            lost[backward].add(said.number)
            return None
        return carry(place, frame)

    wire.checks.hear = hear  # type: ignore[method-assign]
    wire.run(10)
    backward = True
    wire.run(10)
    assert len(lost[False]) > 20 and len(lost[True]) > 20 and not wire.turns


def test_one_direction_is_enough_where_no_packet_goes_the_other() -> None:
    wire = Wire(target(through=Through(OUT, both=False)))
    wire.passes[True] = False
    wire.run(5)
    assert not wire.turns and all(not crossed(sent.frame).backward for _, sent in wire.sent)  # type: ignore[union-attr]
    assert wire.checks.demand == 5


def test_a_function_with_one_arm_gives_it_back_there() -> None:
    wire = Wire(target(through=Through(IN, nsh=True)))
    wire.run(5)
    assert not wire.turns and {(sent.dpid, sent.ports) for _, sent in wire.sent} == {(2, (21,))}
    wire.passes[False] = False
    wire.run(3)
    ((_, _, reason),) = wire.turns
    assert reason == "no frame comes through and back by its one arm"


@pytest.mark.parametrize("how", ["another seal", "another number", "where it went in", "of the round before", "turned"])
def test_who_cannot_seal_cannot_answer(how: str) -> None:
    """And a frame counts once, at the port where it has to come out."""
    wire = Wire(target(through=Through(OUT, both=False)))
    wire.run(1)
    newest = before = wire.sent[-1][1]
    wire.passes[False] = False
    forged = 0
    for _ in range(200):
        wire.now += TICK
        for sent in wire.checks.tick(wire.now, wire.ready):
            if sent.frame != newest.frame:  # not what is sent again
                before, newest = newest, sent
            said, port = crossed(sent.frame), wire.other(sent)
            assert said is not None
            frame = {
                "another seal": datagram(said._replace(seal=bytes(16)), 40000),
                "another number": datagram(said._replace(number=said.number + 1), 40000),
                "where it went in": sent.frame,
                "of the round before": before.frame,
                "turned": datagram(said._replace(backward=True), 40000),
            }[how]
            forged += 1
            assert not wire.checks.hear(IN.place if how == "where it went in" else port, frame)
        wire.carry([])
    assert forged > 20 and [ready for _, ready, _ in wire.turns] == [False]


def test_nobody_is_blamed_while_one_of_its_switches_is_away() -> None:
    wire = Wire(target(Health("frame", interval=0.2, misses=1, hold=1.0)))
    for switch in ("s2", "s3"):
        for _ in range(5):
            wire.run(0.5)
            wire.ready.discard(switch)
            wire.checks.away({switch})
            wire.passes = {False: False, True: False}
            count = len(wire.sent)
            wire.run(3)
            assert len(wire.sent) == count
            wire.ready.add(switch)
            wire.passes = {False: True, True: True}
    assert not wire.turns


def test_the_first_check_waits_for_the_rules_that_bring_its_answer_up() -> None:
    wire = Wire(target(Health("frame", interval=0.2, misses=1, hold=1.0)))
    wire.run(3, settled={"s2"})
    assert not wire.sent
    wire.run(1, settled={"s2", "s3"})
    assert wire.sent
    count = len(wire.sent)
    wire.run(3, settled=set())
    assert len(wire.sent) > count, "while switches are told other things it goes on"
    moved = replace(target(wire.aimed.health), place=PortId(2, 25))
    wire.aimed = moved
    wire.carry(wire.checks.aim([moved], wire.now))
    count = len(wire.sent)
    wire.run(3, settled=set())
    assert len(wire.sent) == count, "it is somewhere else, where no rule may be"
    wire.run(1)
    assert len(wire.sent) > count and not wire.turns


# -- echoes --------------------------------------------------------------------------------------------------------


class Machine:
    """A routed function with two arms that answers echo requests, `deaf` at some addresses."""

    def __init__(self) -> None:
        self.deaf: set[str] = set()
        self.spoils = ""

    def answer(self, frame: bytes) -> bytes | None:
        packet = parsed(frame)
        body = packet[IP] if IP in packet else packet[IPv6]
        assert packet.src == "0a:00:00:00:00:01"
        if body.dst in self.deaf:
            return None
        ether = Ether(src=packet.dst, dst=packet.src)
        if IP in packet:
            assert packet[ICMP].type == 8
            reply = ICMP(type=0, id=packet[ICMP].id, seq=packet[ICMP].seq) / Raw(bytes(packet[ICMP].payload)[:32])
            made = ether / IP(src=body.dst, dst=body.src) / reply
        else:
            asked = packet[ICMPv6EchoRequest]
            answer = ICMPv6EchoReply(id=asked.id, seq=asked.seq, data=asked.data)
            made = ether / IPv6(src=body.dst, dst=body.src) / answer
        if self.spoils == "data":
            data = bytearray(bytes(made))
            data[-1] ^= 1
            return bytes(data)
        if self.spoils == "request":
            return frame
        return bytes(made)


def test_echoes_at_every_arm() -> None:
    spots = Spot("s2", PortId(2, 21), mac_number("02:00:00:00:00:0a"), 7), Spot(
        "s3", PortId(3, 22), mac_number("02:00:00:00:00:0b")
    )
    asked = [("10.1.0.1", "10.1.0.254", 0), ("fd01::1", "fd01::fe", 0), ("10.2.0.1", "10.2.0.254", 1)]
    addresses = tuple(Address(ip_address(ip), ip_address(gateway), spots[arm]) for ip, gateway, arm in asked)
    health = Health("icmp", interval=0.2, misses=2, hold=1.0)
    checks, machine, now = Checks(SECRET, mac_number("0a:00:00:00:00:01")), Machine(), 0.0
    checks.aim([Target("r1", health, 0, addresses, *spots[0], (NAME,))], now)
    assert checks.demand == 15
    places: dict[PortId, set[str]] = {}
    turns = []

    def run(seconds: float) -> None:
        nonlocal now
        for _ in range(round(seconds / TICK)):
            now += TICK
            for sent in checks.tick(now, {"s2", "s3"}):
                place, frame = PortId(sent.dpid, sent.ports[0]), sent.frame
                packet = Ether(frame)
                assert (Dot1Q in packet) == (place == spots[0].place)
                frame = frame[:12] + frame[16:] if Dot1Q in packet else frame
                places.setdefault(place, set()).add(packet.dst)
                if (answer := machine.answer(frame)) is not None:
                    checks.hear(place, answer)
            turns.extend((turn.ready, turn.reason) for turn in checks.turns)
            checks.turns.clear()

    run(3)
    assert not turns
    assert places == {spots[0].place: {"02:00:00:00:00:0a"}, spots[1].place: {"02:00:00:00:00:0b"}}
    for deaf in ("10.1.0.1", "fd01::1", "10.2.0.1"):
        machine.deaf = {deaf}
        run(2)
        assert turns.pop() == (False, f"{deaf} does not answer ping") and not turns
        machine.deaf = set()
        run(2)
        assert turns.pop()[0] and not turns
    for spoils in ("data", "request"):
        machine.spoils = spoils
        run(2)
        assert turns.pop() == (False, "10.1.0.1 does not answer ping") and not turns
        machine.spoils = ""
        run(2)
        assert turns.pop()[0] and not turns
