"""One switch is talked to: a change takes effect as a whole or not at all."""

from __future__ import annotations

from dummy_ovs import DummyOvs
from wire_client import WireClient

from controller_app.model.flow import Flow, Output, SetField, SwitchState, full_mask, match
from controller_app.openflow import decode, encode
from controller_app.reconcile.reconciler import ANSWER_TIME, FIRST_RETRY
from controller_app.runtime.conversation import Conversation

COOKIE = 0xC5 << 56 | 1
CONTROLS = {0: "open", 4: "commit", 6: "discard"}
GOOD = Flow(0, 1, match(in_port=1), (Output(2),), cookie=COOKIE)
REFUSED = Flow(0, 2, (), (SetField("ct_mark", 1, full_mask("ct_mark")),), cookie=COOKIE)  # only within ct()


def wanted(*flows: Flow) -> SwitchState:
    return SwitchState({flow.key: flow for flow in flows})


class Line:
    """What a conversation sends, message by message, to a switch that holds nothing."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.talk = Conversation(1, frozenset())
        self.talk.want(wanted(GOOD), 0)
        self.talk.connect(self._send, 0)
        flows, groups = self.take()
        for request, kind in ((flows, 1), (groups, 7)):
            self.talk.message(b"\4\x13\0\x10" + request[4:8] + bytes((0, kind)) + bytes(6), 0)

    def _send(self, data: bytes) -> None:
        while data:
            length = int.from_bytes(data[2:4], "big")
            self.sent.append(data[:length])
            data = data[length:]

    def take(self) -> list[bytes]:
        taken, self.sent = self.sent, []
        return taken

    def kinds(self) -> list[str]:
        """The same in words; the last barrier's xid is kept."""
        words = []
        for message in self.take():
            if message[1] == 20:
                self.barrier = message[4:8]
                words.append("barrier")
            elif message[1] == decode.EXPERIMENTER and message[12:16] == (2300).to_bytes(4, "big"):
                self.bundle = message[4:8]
                words.append(CONTROLS[message[21]])
            elif message[1] == decode.EXPERIMENTER:
                words.append("add")
            else:
                words.append(str(message[1]))
        return words

    def answer_barrier(self, now: float = 1) -> None:
        self.talk.message(b"\4\x15\0\x08" + self.barrier, now)

    def refuse(self, xid: bytes) -> None:
        self.talk.message(b"\4\1\0\x0c" + xid + b"\0\2\0\0", 1)


def test_a_change_is_committed_only_when_none_of_it_was_refused() -> None:
    line = Line()
    assert line.kinds() == ["open", "add", "barrier"]
    line.answer_barrier()
    assert not line.talk.sync.in_sync
    assert line.kinds() == ["commit", "barrier"]
    line.answer_barrier()
    assert line.talk.sync.in_sync
    assert line.kinds() == []


def test_a_change_of_which_something_was_refused_is_discarded() -> None:
    line = Line()
    line.kinds()
    line.refuse(line.bundle)
    assert line.kinds() == ["discard"]
    line.answer_barrier()  # which was on its way
    assert line.kinds() == []
    assert line.talk.sync.failures == 1


def test_a_refused_commit_is_an_error_too() -> None:
    line = Line()
    line.kinds()
    line.answer_barrier()
    line.kinds()
    line.refuse(line.bundle)
    assert line.kinds() == []
    assert line.talk.sync.failures == 1


def test_a_change_given_up_never_takes_effect_later() -> None:
    line = Line()
    line.kinds()
    line.talk.tick(ANSWER_TIME)
    assert line.kinds() == ["discard"]
    line.answer_barrier(ANSWER_TIME + 0.1)
    assert line.kinds() == []


def test_of_a_change_that_a_switch_refuses_in_part_it_holds_nothing(dummy_ovs: DummyOvs) -> None:
    dummy_ovs.add_bridge("br", dpid=1)
    talk = Conversation(1, frozenset())
    with WireClient.to_bridge(dummy_ovs.management("br")) as client:
        client.ask(encode.flow_mod(encode.DELETE, Flow(encode.ALL_TABLES, 0, ())))
        talk.want(wanted(GOOD, REFUSED), 0)
        talk.connect(client.send, 0)
        while not talk.sync.failures:
            assert not talk.sync.in_sync
            talk.message(client.read(), 0)
        assert client.flows() == []
        talk.want(wanted(GOOD), 1)
        talk.tick(FIRST_RETRY)
        while not talk.sync.in_sync:
            assert talk.sync.failures == 1
            talk.message(client.read(), 2)
        assert [entry.flow for entry in client.flows()] == [GOOD]
