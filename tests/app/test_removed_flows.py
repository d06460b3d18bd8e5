"""What a flow counted to its end, told while a switch is being asked: without one, so that the order is certain."""

from __future__ import annotations

import struct
from typing import Any

import examples

from controller_app.balancing.usage import Owners, Provider
from controller_app.model.flow import Flow
from controller_app.openflow import decode, encode
from controller_app.pipeline.compile import compile_next
from controller_app.pipeline.counting import TABLES, counts
from controller_app.pipeline.ofctl import format_flow, parse_flow
from controller_app.pipeline.tables import NUMBER
from controller_app.runtime.computed import Computed
from controller_app.runtime.conversation import Conversation
from controller_app.runtime.service_stats import INTERVAL, ServiceStats

WEB1 = Provider("default", "app-svc", "web1")


class Switch:
    """One that holds what it is to hold, and answers when it is told to."""

    def __init__(self) -> None:
        policy, topology = examples.policy(), examples.network()
        self.computed = Computed(policy, topology, compile_next(None, policy, topology))
        self.stats = ServiceStats()
        self.questions: list[bytes] = []
        self.talk = Conversation(4, frozenset())
        self.talk.connect(lambda _: None, 0.0)
        self.talk.transmit = self._asked  # type: ignore[method-assign]

    def flow(self, table: str) -> Flow:
        """The flow of web1 that has the lowest priority of those that count there."""
        owners = Owners(self.computed.policy, self.computed.topology, self.computed.allocation)
        told: Any = ((flow, owners.reading(flow.key, flow.cookie, 0, 0, 0)) for flow in self._flows())
        found = [flow for flow, each in told if each is not None and (each.provider, each.table) == (WEB1, table)]
        return min(found, key=lambda flow: flow.priority)

    def _flows(self) -> list[Flow]:
        return list(self.computed.state["s4"].flows.values())

    def _asked(self, data: bytes) -> None:
        while data:
            length = int.from_bytes(data[2:4], "big")
            self.questions.append(data[:length])
            data = data[length:]

    def tick(self, now: float) -> None:
        self.stats.tick(now, {4: self.talk}, self.computed)

    def answer(self, now: float, **packets: int) -> None:
        """Answer what it was asked: these tables have one flow each, which was added at 0."""
        questions, self.questions = self.questions, []
        for question in questions:
            table = next(name for name in TABLES if NUMBER[name] == question[16])
            body = b""
            if table in packets:
                flow, count = self.flow(table), packets[table]
                rest = encode.flow_mod(encode.ADD, flow)[48:]
                body = struct.pack("!HBxIIHHHH4xQQQ", 48 + len(rest), flow.table, int(now), 0, flow.priority, 0, 0, 1,
                                   flow.cookie, count, 60 * count) + rest  # fmt: skip
            reply = struct.pack("!BBH4sHH4x", 4, 19, 16 + len(body), question[4:8], 1, 0) + body
            self.talk.message(reply, now)

    def removed(self, table: str, packets: int, now: float, since: float = 0.0) -> None:
        flow = self.flow(table)
        told = decode.FlowRemoved(flow.key, flow.cookie, 2, packets, 60 * packets, now - since)
        self.stats.removed(4, told, now)

    @property
    def packets(self) -> int:
        return self.stats.of(WEB1).packets_in


def test_an_answer_that_was_on_its_way_does_not_count_what_has_ended() -> None:
    switch = Switch()
    switch.tick(10)
    switch.answer(10, translate=5, served=1)
    assert (switch.packets, switch.stats.of(WEB1).opened) == (5, 1)
    switch.tick(10 + INTERVAL)
    switch.removed("translate", 8, 15.1)
    assert switch.packets == 8
    switch.answer(15.2, translate=7, served=2)
    assert (switch.packets, switch.stats.of(WEB1).opened) == (8, 2)
    switch.tick(15.2 + INTERVAL)
    switch.answer(21, translate=2, served=2)
    assert switch.packets == 10, "another one is there now"
    switch.tick(30)
    switch.answer(30)
    switch.removed("translate", 4, 30.5, 15.1)
    switch.removed("translate", 6, 31, 30.2)
    assert switch.packets == 8 + 4 + 6


def test_ends_of_flows_of_others_say_nothing() -> None:
    switch = Switch()
    flow = switch.flow("translate")
    told = decode.FlowRemoved(flow.key, flow.cookie, 2, 9, 900, 1.0)
    switch.stats.removed(4, told, 1.0)
    assert switch.packets == 0, "nothing is computed yet"
    switch.tick(10)
    switch.answer(10)
    for other in (told._replace(key=None), told._replace(cookie=7), told._replace(cookie=flow.cookie ^ 1 << 40)):
        switch.stats.removed(4, other, 11.0)
    assert switch.packets == 0
    switch.stats.removed(4, told, 11.0)
    assert switch.packets == 9


def test_a_switch_is_to_tell_of_flows_that_count_and_of_no_others() -> None:
    switch = Switch()
    counting = [flow for flow in switch._flows() if counts(flow)]
    assert {flow.table for flow in counting} == {NUMBER[name] for name in TABLES}
    for flow in switch._flows():
        line = format_flow(flow)
        assert ("send_flow_rem" in line) == (flow in counting)
        assert parse_flow(line) == flow
        assert "send_flow_rem" not in format_flow(flow, {}), "it is nothing to tell people"
