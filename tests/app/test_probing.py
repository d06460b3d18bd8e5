"""What switches show of their hash, and what follows: questions without writing anything, and the right conclusion."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from controller_app.model.flow import Bucket, Group, Resubmit, SetField
from controller_app.openflow import decode
from controller_app.pipeline.cookies import OURS_COOKIE
from controller_app.pipeline.tables import NUMBER
from controller_app.runtime.probing import PATIENCE, QUESTIONS, Facts, Probe, question, why_portable

LABEL = 0x0E << 40
Hash = Callable[[bytes], int]


def group(values: int, number: int = 1) -> Group:
    """256 slots that choose `values` different paths by turns."""
    return Group(
        0xC500_0000 + number,
        "select",
        tuple(
            Bucket((SetField("eth_dst", LABEL | slot % values, (1 << 48) - 1), Resubmit(1)))
            for slot in range(256)
        ),
    )


class Switch:
    """Answers a probe's questions by a hash of the frame."""

    def __init__(self, hashes: Hash, groups: tuple[Group, ...] = (group(256),)) -> None:
        self.xid = 0
        self.probe = Probe(self._next)
        self.sent = [*_messages(self.probe.start()), *_messages(self.probe.try_hash(groups, 0.0))]
        self.hashes = hashes
        self.groups = {g.id: g for g in groups}

    def _next(self) -> int:
        self.xid += 1
        return self.xid

    def answer(self, lose: int = 0) -> Facts:
        outs = [message for message in self.sent if message[1] == 13]
        for message in outs[lose:]:
            (length,) = struct.unpack_from("!H", message, 16)
            frame = message[24 + length :]
            number = int.from_bytes(message[24 + length - 4 : 24 + length], "big")
            bucket = self.groups[number].buckets[self.hashes(frame) & 0xFF]
            written = bucket.actions[0]
            assert isinstance(written, SetField)
            data = written.value.to_bytes(6, "big") + frame[6:]
            packet = decode.PacketIn(1, NUMBER["copies"], OURS_COOKIE, {"in_port": 1}, data, len(data))
            assert self.probe.packet(packet)
        return self.probe.facts


def _messages(data: bytes) -> list[bytes]:
    found = []
    while data:
        length = int.from_bytes(data[2:4], "big")
        found.append(data[:length])
        data = data[length:]
    return found


def symmetric(frame: bytes) -> int:
    packet = Ether(frame)
    ip = packet[IP] if IP in packet else packet[IPv6]
    return sum(bytes(ip.src.encode())) + sum(bytes(ip.dst.encode())) + 7 * (packet[TCP].sport ^ packet[TCP].dport)


def directed(frame: bytes) -> int:
    packet = Ether(frame)
    return 3 * packet[TCP].sport + 4 * packet[TCP].dport


def test_the_questions_are_both_directions_of_connections() -> None:
    seen = set()
    for n in range(QUESTIONS):
        there, back = Ether(question(2 * n)), Ether(question(2 * n + 1))
        layer = IPv6 if IPv6 in there else IP
        assert (there[layer].src, there[TCP].sport) == (back[layer].dst, back[TCP].dport)
        assert (there[layer].dst, there[TCP].dport) == (back[layer].src, back[TCP].sport)
        assert there[layer].src.startswith(("192.0.2.", "2001:db8:"))
        seen.add((there[layer].src, there[TCP].sport, there[layer].dst, there[TCP].dport))
    assert len(seen) == QUESTIONS


def test_a_symmetric_hash_is_known_and_nothing_was_written() -> None:
    switch = Switch(symmetric)
    assert {message[1] for message in switch.sent} == {18, 13}  # multipart requests and packet-outs
    assert switch.answer().symmetric is True


def test_a_hash_that_is_not_symmetric_is_known() -> None:
    assert Switch(directed).answer().symmetric is False
    assert Switch(directed, (group(2),)).answer().symmetric is False  # two instances are enough to see it


def test_a_group_without_a_choice_shows_nothing() -> None:
    for groups in ((), (group(1),), (Group(0xC500_0009, "all", (Bucket(()),)),)):
        switch = Switch(directed, groups)
        assert not [message for message in switch.sent if message[1] == 13]
        assert switch.answer().symmetric is None
        assert not switch.probe.tried  # one with a choice may come yet


def test_the_group_with_the_most_choice_is_asked() -> None:
    switch = Switch(symmetric, (group(2, 1), group(200, 2), group(3, 3)))
    assert all((0xC500_0002).to_bytes(4, "big") in message for message in switch.sent if message[1] == 13)


def test_answers_that_do_not_come_leave_it_unknown() -> None:
    switch = Switch(symmetric)
    assert switch.answer(lose=1).symmetric is None
    switch.probe.tick(PATIENCE / 2)
    assert not switch.probe.tried
    switch.probe.tick(PATIENCE + 0.1)
    assert switch.probe.tried
    assert switch.probe.try_hash((group(256),), PATIENCE + 1) == b""


def test_other_frames_are_not_taken_for_answers() -> None:
    probe = Switch(symmetric).probe
    data = question(0)
    for cookie, table, frame in (
        (7, NUMBER["copies"], data),
        (OURS_COOKIE, NUMBER["admission"], data),
        (OURS_COOKIE, NUMBER["copies"], data[:-1]),
    ):
        assert not probe.packet(decode.PacketIn(1, table, cookie, {}, frame, len(frame)))


def test_switches_are_compared_with_each_other() -> None:
    def keyed(frame: bytes) -> int:
        return symmetric(frame) * 0x9E3779B1 >> 8

    alike = {name: Switch(symmetric).answer() for name in ("s1", "s2")}
    assert why_portable(alike) is None
    # other groups on another switch: what they leave open still overlaps
    assert why_portable({**alike, "s3": Switch(symmetric, (group(3),)).answer()}) is None
    other = Switch(keyed).answer()
    assert other.symmetric
    assert "s1 and s3" in str(why_portable({**alike, "s3": other}))
    assert "s3" in str(why_portable({**alike, "s3": Switch(directed).answer()}))
    assert why_portable({"s1": Facts(), "s2": Facts()}) is None
    assert "s2 and s3" in str(why_portable({"s1": Facts(), "s2": alike["s2"], "s3": other}))


def multipart(xid: int, kind: int, body: bytes) -> bytes:
    return struct.pack("!BBHIHH4x", 4, 19, 16 + len(body), xid, kind, 0) + body


def test_what_it_tells_of_itself_is_read() -> None:
    probe = Switch(symmetric).probe
    desc = b"Nicira, Inc.".ljust(256, b"\0") + b"Open vSwitch".ljust(256, b"\0") + b"3.1.0".ljust(256, b"\0")
    desc += b"None".ljust(32, b"\0") + b"None".ljust(256, b"\0")
    for message in (multipart(1, 0, desc), multipart(2, 11, struct.pack("!IIIBBH", 262144, 2, 15, 8, 0, 0))):
        assert probe.told(message, int.from_bytes(message[4:8], "big"))
    facts = probe.facts
    assert (facts.hardware, facts.version, facts.meters) == ("Open vSwitch", "3.1.0", 262144)
    assert probe.told(struct.pack("!BBHIHH", 4, 1, 12, 2, 1, 2), 2)  # a switch without meters
    assert not probe.told(multipart(99, 0, desc), 99)


@pytest.mark.parametrize("length", [0, 1, 100])
def test_a_description_cut_short_is_passed_over(length: int) -> None:
    probe = Switch(symmetric).probe
    assert probe.told(multipart(1, 0, bytes(length)), 1)
    assert probe.facts.version is None
