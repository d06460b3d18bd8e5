"""One switch is talked to: a change takes effect as a whole or not at all."""

from __future__ import annotations

from dummy_ovs import DummyOvs
from wire_client import WireClient

from controller_app.model.flow import Flow, Meter, MeterConfig, Output, SetField, SwitchState, full_mask, match
from controller_app.openflow import decode, encode
from controller_app.reconcile.reconciler import ANSWER_TIME, FIRST_RETRY
from controller_app.runtime.conversation import Conversation

COOKIE = 0xC5 << 56 | 1
CONTROLS = {0: "open", 2: "close", 4: "commit", 6: "discard"}
GOOD = Flow(0, 1, match(in_port=1), (Output(2),), cookie=COOKIE)
REFUSED = Flow(0, 2, (), (SetField("ct_mark", 1, full_mask("ct_mark")),), cookie=COOKIE)  # only within ct()


OURS, OTHERS = 0xC5000001, 5  # ids of meters
METERED = Flow(0, 1, match(in_port=1), (Meter(OURS), Output(2)), cookie=COOKIE)


def wanted(*flows: Flow, meters: tuple[MeterConfig, ...] = ()) -> SwitchState:
    return SwitchState({flow.key: flow for flow in flows}, meters={meter.id: meter for meter in meters})


class Line:
    """What a conversation sends, message by message, to a switch that holds nothing, or has no meters at all."""

    def __init__(self, state: SwitchState | None = None, has_meters: bool = True) -> None:
        self.sent: list[bytes] = []
        self.talk = Conversation(1, frozenset())
        self.talk.want(wanted(GOOD) if state is None else state, 0)
        self.talk.connect(self._send, 0)
        asked = {message[9]: message[4:8] for message in self.take() if message[1] == 18}
        for kind in (1, 10, 7):
            if kind == 10 and not has_meters:
                self.talk.message(b"\4\1\0\x0c" + asked[kind] + b"\0\1\0\2", 0)  # BAD_MULTIPART
            else:
                self.talk.message(b"\4\x13\0\x10" + asked[kind] + bytes((0, kind)) + bytes(6), 0)

    def _send(self, data: bytes) -> None:
        while data:
            length = int.from_bytes(data[2:4], "big")
            self.sent.append(data[:length])
            data = data[length:]

    def take(self) -> list[bytes]:
        taken, self.sent = self.sent, []
        return taken

    def kinds(self) -> list[str]:
        """The same in words, but for the questions of its own; the last barrier's xid is kept."""
        words = []
        for message in self.take():
            if message[1] in (decode.GROUP_MOD, 13):  # 13: frames that try what the switch can do
                continue
            if message[1] == 20:
                self.barrier = message[4:8]
                words.append("barrier")
            elif message[1] == decode.EXPERIMENTER and message[12:16] == (2300).to_bytes(4, "big"):
                words.append(CONTROLS[message[21]])
                if words[-1] == "close":
                    self.close = message
                else:
                    self.bundle = message[4:8]
            elif message[1] == decode.EXPERIMENTER:
                words.append("add")
            elif message[1] == decode.METER_MOD:
                words.append(("meter", "change meter", "drop meter")[message[9]])
            else:
                words.append(str(message[1]))
        return words

    def answer_close(self, now: float = 1) -> None:
        self.talk.message(self.close[:21] + b"\3" + self.close[22:], now)

    def answer_barrier(self, now: float = 1) -> None:
        self.talk.message(b"\4\x15\0\x08" + self.barrier, now)

    def refuse(self, xid: bytes) -> None:
        self.talk.message(b"\4\1\0\x0c" + xid + b"\0\2\0\0", 1)


def test_a_change_is_committed_only_when_none_of_it_was_refused() -> None:
    line = Line()
    assert line.kinds() == ["open", "add", "close"]
    line.answer_close()
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
    line.answer_close()  # which was on its way
    assert line.kinds() == []
    assert line.talk.sync.failures == 1


def test_a_refused_commit_is_an_error_too() -> None:
    line = Line()
    line.kinds()
    line.answer_close()
    line.kinds()
    line.refuse(line.bundle)
    assert line.kinds() == []
    assert line.talk.sync.failures == 1


def test_a_change_given_up_never_takes_effect_later() -> None:
    line = Line()
    line.kinds()
    line.talk.tick(ANSWER_TIME)
    assert line.kinds() == ["discard"]
    line.answer_close(ANSWER_TIME + 0.1)
    assert line.kinds() == []


def test_meters_go_before_the_bundle_and_are_given_up_after_it() -> None:
    line = Line(wanted(METERED, meters=(MeterConfig(OURS, 1000, 0),)))
    assert line.kinds() == ["meter", "open", "add", "close"]
    line.answer_close()
    assert line.kinds() == ["commit", "barrier"]
    line.answer_barrier()
    line.talk.want(wanted(METERED, meters=(MeterConfig(OURS, 2000, 0),)), 2)
    assert line.kinds() == ["change meter", "open", "close"]
    line.answer_close()
    line.kinds()
    line.answer_barrier()
    line.talk.want(wanted(GOOD), 3)
    assert line.kinds() == ["open", "add", "close"]
    line.answer_close()
    assert line.kinds() == ["commit", "drop meter", "barrier"]
    line.answer_barrier()
    assert line.talk.sync.in_sync


def test_a_refused_meter_discards_the_change() -> None:
    line = Line(wanted(METERED, meters=(MeterConfig(OURS, 1000, 0),)))
    line.kinds()
    line.refuse(line.bundle)
    assert line.kinds() == ["discard"]


def test_a_switch_without_meters_is_served_what_needs_none() -> None:
    line = Line(has_meters=False)
    assert line.kinds() == ["open", "add", "close"]


def test_meters_of_a_switch_are_found_and_others_left_alone(dummy_ovs: DummyOvs) -> None:
    dummy_ovs.add_bridge("br", dpid=1)
    others = MeterConfig(OTHERS, 7, 0)
    states = [
        wanted(METERED, meters=(MeterConfig(OURS, 1000, 0), MeterConfig(OURS + 1, 5, 9, packets=True))),
        wanted(METERED, meters=(MeterConfig(OURS, 2000, 100),)), wanted(GOOD), wanted(METERED, meters=(
            MeterConfig(OURS, 3000, 0),))]
    with WireClient.to_bridge(dummy_ovs.management("br")) as client:
        assert client.add_meters([others, MeterConfig(OURS + 2, 1, 0)]) == []
        for state in states:
            for talk in (Conversation(1, frozenset()),) * 2:  # the second time it finds all as it should be
                sent = talk.sent_changes
                talk.want(state, 0)
                talk.connect(client.send, 0)
                while not talk.sync.in_sync:
                    talk.message(client.read(), 0)
            assert talk.sent_changes == sent
            assert set(client.meters()) == {others, *state.meters.values()}
            assert {entry.flow for entry in client.flows()} == set(state.flows.values())


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
        with WireClient.to_bridge(dummy_ovs.management("br")) as other:
            assert other.flows() == []
        talk.want(wanted(GOOD), 1)
        talk.tick(FIRST_RETRY)
        while not talk.sync.in_sync:
            assert talk.sync.failures == 1
            talk.message(client.read(), 2)
        assert [entry.flow for entry in client.flows()] == [GOOD]
