"""Who asks switches for counters gets them together, and never waits longer than it may."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any

import pytest

from controller_app.model.flow import Flow, match
from controller_app.openflow.counted import Sum
from controller_app.runtime.flow_questions import FlowQuestions
from controller_app.runtime.live_counters import Wanted, read


class Talk:
    """A conversation with a switch that answers as `answer` says, at once."""

    def __init__(self, answer: Callable[[Talk, bytes], None], connected: bool = True) -> None:
        self.connected, self._answer = connected, answer
        self.questions = FlowQuestions(iter(range(1, 1000)).__next__)
        self.sent: list[bytes] = []

    def transmit(self, messages: bytes) -> None:
        self.sent.append(messages)
        while messages:
            length = int.from_bytes(messages[2:4], "big")
            self._answer(self, messages[:length])
            messages = messages[length:]


class FakeRuntime:
    """Calls what it is given with itself as the conductor."""

    def __init__(self, **talks: Talk) -> None:
        self._talks = talks

    def call(self, action: Callable[[Any], Any]) -> Any:
        return action(self)

    def talks(self) -> dict[str, Talk]:
        return self._talks

    def now(self) -> float:
        return 12.0


def counts(talk: Talk, question: bytes) -> None:
    """Every sum is 3 packets, 300 bytes."""
    xid = int.from_bytes(question[4:8], "big")
    body = struct.pack("!QQI4x", 3, 300, 1)
    assert talk.questions.told(struct.pack("!BBHIHH4x", 4, 19, 16 + len(body), xid, 2, 0) + body, xid)


def refuses(talk: Talk, question: bytes) -> None:
    xid = int.from_bytes(question[4:8], "big")
    assert talk.questions.told(struct.pack("!BBHIHH", 4, 1, 12, xid, 1, 4), xid)


def silent(_: Talk, __: bytes) -> None:
    return


def asked(seconds: float = 0.05, **talks: Talk) -> Any:
    wanted = {name: Wanted(sums=[(120, 5, 7), (121, 5, 7)]) for name in (*talks, "gone")}
    return read(FakeRuntime(**talks), wanted, seconds)  # type: ignore[arg-type]


def test_every_switch_is_asked_once_for_all() -> None:
    talks = {"s1": Talk(counts), "s2": Talk(counts)}
    found = asked(**talks)
    assert found.counted["s1"].sums == {(120, 5, 7): Sum(3, 300, 1), (121, 5, 7): Sum(3, 300, 1)}
    assert found.counted["s2"].at == 12.0
    assert [len(talk.sent) for talk in talks.values()] == [1, 1]
    assert found.silent == {"gone": "is not connected"}


def test_one_that_does_not_answer_costs_no_more_than_the_time_there_is() -> None:
    begun = time.monotonic()
    found = asked(0.2, s1=Talk(counts), s2=Talk(silent), s3=Talk(refuses), s4=Talk(counts, connected=False))
    assert 0.15 < time.monotonic() - begun < 2
    assert list(found.counted) == ["s1"]
    assert found.silent == {
        "s2": "did not answer within 0.2 s",
        "s3": "refused to say what it counted",
        "s4": "is not connected",
        "gone": "is not connected",
    }


def test_one_that_is_lost_meanwhile_has_not_answered() -> None:
    def lost(talk: Talk, _: bytes) -> None:
        talk.questions.forget()

    assert asked(s1=Talk(lost)).silent["s1"] == "refused to say what it counted"


def test_nothing_is_asked_where_nothing_is_wanted() -> None:
    talk = Talk(silent)
    found = read(FakeRuntime(s1=talk), {"s1": Wanted()}, 5)  # type: ignore[arg-type]
    assert (talk.sent, dict(found.counted), dict(found.silent)) == ([], {}, {})


def test_only_the_flow_itself_is_taken_of_those_within_its_match() -> None:
    flow = Flow(120, 5, match(eth_type=0x0800), cookie=9)

    def tells(talk: Talk, question: bytes) -> None:
        xid = int.from_bytes(question[4:8], "big")
        entries = b""
        for priority, packets in ((5, 1), (6, 2)):
            # OpenFlow 1.3.5, 7.3.5.2: a flow with the match eth_type=0x0800 and no instructions
            oxm = struct.pack("!HHIH6x", 1, 10, 0x80000A02, 0x0800)
            entries += struct.pack("!HBxIIHHHH4xQQQ", 48 + len(oxm), 120, 1, 0, priority, 0, 0, 0, 9, packets, 0) + oxm
        assert talk.questions.told(struct.pack("!BBHIHH4x", 4, 19, 16 + len(entries), xid, 1, 0) + entries, xid)

    found = read(FakeRuntime(s1=Talk(tells)), {"s1": Wanted(flows=[flow])}, 1)  # type: ignore[arg-type]
    assert [entry.packets for entry in found.counted["s1"].flows.values()] == [1]


@pytest.mark.parametrize("bad", [b"\4\x13\0\x14\0\0\0\1\0\2\0\0\0\0\0\0\0\0\0\0"])
def test_an_answer_that_cannot_be_read_is_none(bad: bytes) -> None:
    from controller_app.openflow.decode import WireError

    def damaged(talk: Talk, question: bytes) -> None:
        xid = int.from_bytes(question[4:8], "big")
        with pytest.raises(WireError):
            talk.questions.told(bad[:4] + question[4:8] + bad[8:], xid)

    assert asked(s1=Talk(damaged)).silent["s1"] == "refused to say what it counted"
