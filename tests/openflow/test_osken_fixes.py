"""Each defect of os-ken that is worked around, shown with a switch made of a socket."""

from __future__ import annotations

import logging
import queue
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_switch import FakeSwitch, message, xid
from os_ken.base.app_manager import AppManager, OSKenApp
from os_ken.controller import ofp_event
from os_ken.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.lib import hub
from test_wire import flow_reply, group_reply

from controller_app.model.flow import CONTROLLER, Bucket, Clone, Flow, Group, Output, SetField, match
from controller_app.openflow import decode, encode, osken_fixes
from controller_app.openflow.connection import Limits
from controller_app.openflow.listener import Listener, ListenError
from controller_app.openflow.trial import TRIAL_MARK

ECHO = 0.25
HANDSHAKE = 0.6
BACKLOG = 8 << 20
EVERYTHING = [ofp_event.EventOFPFlowStatsReply, ofp_event.EventOFPGroupDescStatsReply,
              ofp_event.EventOFPBarrierReply, ofp_event.EventOFPErrorMsg, ofp_event.EventOFPPacketIn,
              ofp_event.EventONFBundleCtrlMsg, ofp_event.EventOFPFlowRemoved]


class Listening(OSKenApp):
    """Writes down what it is told; stumbles over switch 13."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.states: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.told: queue.Queue[Any] = queue.Queue()

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def changed(self, event: Any) -> None:
        if event.datapath.id == 13:
            raise ValueError("thirteen")
        if event.datapath.id is not None:  # it got through its handshake
            self.states.put((event.state, event.datapath))

    @set_ev_cls(EVERYTHING, MAIN_DISPATCHER)
    def said(self, event: Any) -> None:
        self.told.put(event.msg)

    def until(self, state: str, seconds: float = 5) -> Any:
        """The datapath that came into this state next."""
        found, datapath = self.states.get(timeout=seconds)
        assert found == state
        return datapath


class Ours(Listening):
    """Of our package, as osken_fixes tells apps apart."""

    __module__ = "controller_app.app"


class Theirs(Listening):
    """Anyone's."""


class Controller:
    def __init__(self, listener: Listener, ours: Listening, theirs: Listening) -> None:
        self.address = ("127.0.0.1", listener.port)
        self.ours, self.theirs = ours, theirs

    def switch(self, dpid: int = 1, **more: Any) -> FakeSwitch:
        return FakeSwitch(self.address, dpid, **more)


def serve(listener: Listener, echo: float = ECHO) -> Iterator[Controller]:
    osken_fixes.apply([listener], Limits(echo, 3, HANDSHAKE, BACKLOG))
    manager = AppManager()
    manager.load_apps(["os_ken.controller.ofp_handler"])
    ours, theirs = manager.instantiate(Ours), manager.instantiate(Theirs)
    manager.instantiate_apps()
    yield Controller(listener, ours, theirs)
    listener.close()
    osken_fixes.disconnect_all()
    until(lambda: osken_fixes.connected() == 0)
    manager.close()


@pytest.fixture
def controller() -> Iterator[Controller]:
    yield from serve(Listener("127.0.0.1", 0))


@pytest.fixture
def patient() -> Iterator[Controller]:
    """One that gives nobody up for being silent as long as a test lasts."""
    yield from serve(Listener("127.0.0.1", 0), echo=60.0)


def until(check: Callable[[], bool], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def test_a_closed_connection_is_reported_at_once(controller: Controller) -> None:
    with controller.switch():
        datapath = controller.ours.until(MAIN_DISPATCHER)
        assert sorted(datapath.ports) == [1, 2]
    started = time.monotonic()
    assert controller.ours.until(DEAD_DISPATCHER) is datapath
    assert time.monotonic() - started < 1
    assert not datapath.is_active and datapath.send(b"x" * 8) is False


def test_reconnecting_leaves_no_threads_and_no_files_behind(controller: Controller) -> None:
    def one() -> None:
        with controller.switch():
            controller.ours.until(MAIN_DISPATCHER)
        controller.ours.until(DEAD_DISPATCHER)

    one()
    until(lambda: osken_fixes.connected() == 0)
    files, threads = _open_files(), threading.active_count()
    for _ in range(50):
        one()
    until(lambda: threading.active_count() <= threads and _open_files() <= files)


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_silent_switch_is_gone_after_three_intervals(controller: Controller) -> None:
    with controller.switch() as switch:
        controller.ours.until(MAIN_DISPATCHER)
        asked = switch.answer_echoes(5 * ECHO)
        assert 4 <= asked <= 6 and controller.ours.states.empty()
        started = time.monotonic()
        controller.ours.until(DEAD_DISPATCHER)
        assert 2 * ECHO < time.monotonic() - started < 3 * ECHO + 0.5


def test_a_busy_switch_is_not_asked_whether_it_is_there(controller: Controller) -> None:
    with controller.switch() as switch:
        controller.ours.until(MAIN_DISPATCHER)
        for _ in range(20):
            switch.send(message(21, 5))
            time.sleep(ECHO / 5)
        switch.sock.settimeout(0.01)
        with pytest.raises(TimeoutError):
            switch.read()


def test_a_connection_that_never_shakes_hands_is_closed(controller: Controller) -> None:
    with controller.switch(handshake=False) as mute, controller.switch(handshake=False) as half:
        half.send(struct.pack("!BBHI", 4, 0, 8, 1))
        started = time.monotonic()
        for switch in (mute, half):
            with pytest.raises(ConnectionError):
                while True:
                    switch.read()
        assert time.monotonic() - started < HANDSHAKE + 1


def test_an_exception_in_a_handler_is_logged_and_the_app_goes_on(controller: Controller,
                                                                 caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        with controller.switch(dpid=13), controller.switch(dpid=14):
            assert controller.ours.until(MAIN_DISPATCHER).id == 14
        assert controller.ours.until(DEAD_DISPATCHER).id == 14
    assert "ValueError: thirteen" in caplog.text and "changed" in caplog.text


def test_waiting_for_an_event_has_an_end() -> None:
    osken_fixes.apply()
    event = hub.Event()
    started = time.monotonic()
    assert event.wait(timeout=0.05) is False
    assert 0.04 < time.monotonic() - started < 1
    hub.spawn_after(0.02, event.set)
    assert event.wait(5) is True and event.is_set()
    event.clear()
    assert not event.is_set()


def test_an_endless_loop_in_a_spawned_thread_does_not_keep_the_process() -> None:
    program = ("from controller_app.openflow import osken_fixes; osken_fixes.apply()\n"
               "from os_ken.lib import hub\nhub.spawn(lambda: hub.sleep(60))\nprint('end')")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.returncode) == ("end\n", 0), done.stderr


def test_it_listens_nowhere_but_where_told() -> None:
    """os-ken's controller, left to itself, takes 0.0.0.0:6653 and 0.0.0.0:6633."""
    program = (
        "import socket, sys\n"
        "from controller_app.openflow import osken_fixes\n"
        "from controller_app.openflow.listener import Listener\n"
        "taken = []\n"
        "sys.addaudithook(lambda name, args: taken.append(args[1]) if name == 'socket.bind' else None)\n"
        "listener = Listener('127.0.0.1', 0)\n"
        "osken_fixes.apply([listener])\n"
        "from os_ken.base.app_manager import AppManager\n"
        "manager = AppManager()\n"
        "manager.load_apps(['os_ken.controller.ofp_handler'])\n"
        "manager.instantiate_apps()\n"
        "socket.create_connection(('127.0.0.1', listener.port)).recv(8)\n"
        "assert [place for place in taken if place[1]] == [], taken\n"
        "assert [place[0] for place in taken] == ['127.0.0.1'], taken\n"
        "listener.close(); osken_fixes.disconnect_all(); manager.close(); print('end')\n")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.returncode) == ("end\n", 0), done.stderr


def test_a_port_that_is_taken_is_an_error() -> None:
    first = Listener("127.0.0.1", 0)
    with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{first.port}: Address already in use"):
        Listener("127.0.0.1", first.port)
    first.close()


def test_a_stuck_switch_does_not_hold_anyone_up(patient: Controller) -> None:
    """It says nothing either: to read all that waits takes it longer on a busy machine than a switch may be silent."""
    with patient.switch(1) as stuck, patient.switch(2) as other:
        datapaths = {datapath.id: datapath for datapath in (patient.ours.until(MAIN_DISPATCHER),
                                                            patient.ours.until(MAIN_DISPATCHER))}
        flow = encode.flow_mod(encode.ADD, Flow(0, 1, match(in_port=1), (Output(2),)))
        big = flow * (BACKLOG * 2 // len(flow))  # one joined buffer, larger than any limit
        assert datapaths[1].send(big)  # who waited here would wait for ever: nobody reads yet
        assert datapaths[2].send(encode.barrier_request(77))
        assert xid(other.expect(20)) == 77
        # It takes up reading again: all of it arrives, in order and whole.
        received = 0
        while received < len(big) // len(flow):
            found = stuck.read()
            if found[1] == 14:
                assert found == flow
                received += 1
        assert patient.ours.states.empty()


def test_a_switch_that_never_reads_is_given_up(controller: Controller) -> None:
    with controller.switch(1):
        datapath = controller.ours.until(MAIN_DISPATCHER)
        piece = encode.barrier_request(5) * 100_000
        while datapath.send(piece):
            assert datapath.connection.unsent < 2 * BACKLOG
        controller.ours.until(DEAD_DISPATCHER)


def test_apps_may_close_a_connection(controller: Controller) -> None:
    with controller.switch(1) as switch:
        datapath = controller.ours.until(MAIN_DISPATCHER)
        datapath.close()
        controller.ours.until(DEAD_DISPATCHER)
        with pytest.raises(ConnectionError):
            switch.read()


def test_noise_costs_a_switch_its_connection_and_nothing_more(controller: Controller) -> None:
    for noise in (b"GET / HTTP/1.1\r\n\r\n" * 9, b"\4\0\0\1" * 4, bytes(64),
                  message(6, 1) + message(19, 2, bytes(8))):
        with controller.switch(handshake=False) as switch:
            switch.send(noise)
            with pytest.raises((ConnectionError, AssertionError)):
                while True:
                    switch.read()
    with controller.switch(5):
        assert controller.ours.until(MAIN_DISPATCHER).id == 5


OURS = osken_fixes.OWN_XIDS.start + 5
CLONED = Flow(3, 4, match(eth_type=0x0800, nd_reserved=5), (Clone((Output(1),)), SetField("reg3", 5, 0xFF)),
              cookie=0xC5 << 56)
GROUP = Group(0xC5000001, "select", (Bucket((Clone((Output(1),)),)),))


def with_xid(reply: bytes, number: int) -> bytes:
    return reply[:4] + number.to_bytes(4, "big") + reply[8:]


def test_answers_to_us_come_as_bytes_and_to_us_alone(controller: Controller) -> None:
    answers = [with_xid(flow_reply(CLONED), OURS), with_xid(group_reply(GROUP), OURS), message(21, OURS),
               message(1, OURS, struct.pack("!HH", 2, 9) + bytes(64)),
               message(4, OURS, struct.pack("!IIIHH", encode.ONF, 2300, 1, 1, 3))]
    with controller.switch(1) as switch:
        controller.ours.until(MAIN_DISPATCHER)
        switch.send(*answers, message(21, 9))
        told = [controller.ours.told.get(timeout=5) for _ in answers]
        assert [bytes(msg.buf) for msg in told] == answers
        assert [type(msg).__name__ for msg in told] == [
            "OFPFlowStatsReply", "OFPGroupDescStatsReply", "OFPBarrierReply", "OFPErrorMsg", "ONFBundleCtrlMsg"]
        assert decode.flow_stats(bytes(told[0].buf))[0].flow == CLONED
        # The first thing another app hears is the answer to somebody else, which we hear as well.
        assert controller.theirs.told.get(timeout=5).xid == 9
        assert controller.ours.told.get(timeout=5).xid == 9


def test_answers_to_others_are_parsed_for_all(controller: Controller) -> None:
    flow = Flow(3, 4, match(in_port=7), (Output(1),), cookie=9)
    with controller.switch(1) as switch:
        controller.ours.until(MAIN_DISPATCHER)
        switch.send(flow_reply(flow, flow))
        for app in (controller.ours, controller.theirs):
            stats = app.told.get(timeout=5).body
            assert [(entry.cookie, entry.priority, entry.match["in_port"]) for entry in stats] == [(9, 4, 7)] * 2


def test_packets_of_our_flows_come_to_us_alone(controller: Controller) -> None:
    def packet_in(cookie: int) -> bytes:
        return message(10, 0, struct.pack("!IHBBQ", encode.ANY, 60, 1, 0, cookie)
                       + encode.encode_match(match(in_port=7, reg3=5)) + bytes(2) + bytes(60))

    with controller.switch(1) as switch:
        controller.ours.until(MAIN_DISPATCHER)
        switch.send(packet_in(0xC5 << 56 | 3), packet_in(0x17))
        packet = decode.packet_in(bytes(controller.ours.told.get(timeout=5).buf))
        assert (packet.cookie, packet.fields) == (0xC5 << 56 | 3, {"in_port": 7, "reg3": 5})
        for app in (controller.ours, controller.theirs):
            heard = app.told.get(timeout=5)
            assert heard.cookie == 0x17 and heard.match["in_port"] == 7


def test_frames_that_try_what_a_switch_can_come_back_to_us_alone(controller: Controller) -> None:
    """Another app would learn an address that nobody has, and let the switch send the frame everywhere."""
    def packet_in(port: int, data: bytes) -> bytes:
        return message(10, 0, struct.pack("!IHBBQ", encode.ANY, len(data), 1, 0, 2**64 - 1)
                       + encode.encode_match(match(in_port=port)) + bytes(2) + data)

    ours, a_hosts = packet_in(CONTROLLER, bytes(60) + TRIAL_MARK), packet_in(7, bytes(60) + TRIAL_MARK)
    with controller.switch(1) as switch:
        controller.ours.until(MAIN_DISPATCHER)
        switch.send(ours, a_hosts)
        assert bytes(controller.ours.told.get(timeout=5).buf) == ours
        for app in (controller.ours, controller.theirs):
            assert app.told.get(timeout=5).match["in_port"] == 7


def test_the_end_of_our_flows_is_told_to_us_alone(controller: Controller) -> None:
    def removed(cookie: int) -> bytes:
        return message(11, 0, struct.pack("!QHBBIIHHQQ", cookie, 5, 2, 178, 9, 0, 0, 0, 7, 700)
                       + encode.encode_match(match(reg4=3, ct_state=(0x21, 0x21))))

    with controller.switch(1) as switch:
        controller.ours.until(MAIN_DISPATCHER)
        switch.send(removed(0xC5 << 56 | 3), removed(0x17))
        told = decode.flow_removed(bytes(controller.ours.told.get(timeout=5).buf))
        assert (told.cookie, told.packets, told.key) == (
            0xC5 << 56 | 3, 7, (178, 5, match(reg4=3, ct_state=(0x21, 0x21))))
        for app in (controller.ours, controller.theirs):
            assert app.told.get(timeout=5).cookie == 0x17


def test_no_app_is_given_an_xid_of_ours(controller: Controller) -> None:
    with controller.switch(1):
        datapath = controller.ours.until(MAIN_DISPATCHER)
        datapath.xid = osken_fixes.OWN_XIDS.start - 2
        given = [datapath.set_xid(datapath.ofproto_parser.OFPBarrierRequest(datapath)) for _ in range(3)]
        before, behind = osken_fixes.OWN_XIDS.start - 1, osken_fixes.OWN_XIDS.stop
        assert given == [before, behind, behind + 1]


def test_the_eventlet_hub_is_refused() -> None:
    program = "from controller_app.openflow import osken_fixes; osken_fixes.apply()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20,
                          env={"OSKEN_HUB_TYPE": "eventlet", "PATH": "/usr/bin"})
    assert done.returncode == 1 and "only the native hub works" in done.stderr


def test_the_ipv6_loopback_works_too() -> None:
    try:
        listener = Listener("::1", 0)
    except ListenError:
        pytest.skip("no IPv6 here")
    assert str(listener) == f"[::1]:{listener.port}"
    socket.create_connection(("::1", listener.port)).close()
    listener.close()
