"""Discovery frames that are not believed: forged, replayed, repeated, misplaced, looped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller_app.discovery import lldp
from controller_app.discovery.guard import BURST, RATE, SAY_AGAIN, Guard
from controller_app.discovery.links import INTERVAL, MISSES, Links
from controller_app.discovery.ports import Port, PortId

KEY = b"secret"
WINDOW = 15.0
A1, A2, B1, B2, C1 = PortId(1, 1), PortId(1, 2), PortId(2, 1), PortId(2, 2), PortId(3, 1)
NOBODY: frozenset[PortId] = frozenset()


def sealed(sender: PortId, serial: int, key: bytes = KEY) -> bytes:
    return lldp.frame(sender, 0x02_00_00_00_00_01, 20, serial, key)


def ports(*numbers: int) -> list[Port]:
    return [Port(number, f"p{number}", number, True) for number in numbers]


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
def test_a_frame_survives_the_wire(dpid: int, port: int, serial: int) -> None:
    frame = sealed(PortId(dpid, port), serial)
    assert lldp.read(frame, KEY) == lldp.Said(PortId(dpid, port), serial, True)
    assert lldp.read(frame, b"another") == lldp.Said(PortId(dpid, port), serial, False)
    assert len(frame) >= 60


@given(st.binary(max_size=100))
def test_strange_frames_are_nobodys(data: bytes) -> None:
    assert lldp.read(data, KEY) is None
    assert lldp.read(bytes(12) + b"\x88\xcc" + data, KEY) is None


@given(st.integers(0, 40 * 8 - 1))
def test_no_bit_that_is_sealed_can_be_changed(bit: int) -> None:
    guard = Guard(KEY, WINDOW)
    frame = bytearray(sealed(B1, guard.begin(0)))
    frame[frame.index(b"\x0a\xc5\x01\x02") + bit // 8] ^= 1 << bit % 8
    assert guard.judge(A1, bytes(frame), NOBODY, 0) is None


def test_a_forged_frame_is_dropped_counted_and_reported_once() -> None:
    guard = Guard(KEY, WINDOW)
    serial = guard.begin(0)
    for now in (0, 1, 2):
        assert guard.judge(A1, sealed(B1, serial, b"another controller's"), NOBODY, now) is None
    assert guard.dropped == {(A1, "forged"): 3}
    (said,) = guard.notices()
    assert "0x1:1" in said
    assert guard.judge(A1, sealed(B1, serial, b"another"), NOBODY, SAY_AGAIN) is None
    assert len(guard.notices()) == 1


def test_what_others_say_is_no_business_of_ours() -> None:
    guard = Guard(KEY, WINDOW)
    guard.begin(0)
    others = bytes(12) + b"\x88\xcc" + b"\x02\x07\x04abcdef" + b"\x00\x00"
    assert guard.judge(A1, others, NOBODY, 0) is None
    assert guard.dropped == {}


def test_reports_are_not_more_than_a_person_reads() -> None:
    guard = Guard(KEY, WINDOW)
    for second in range(100):
        for port in range(10):
            guard.judge(PortId(second, port), sealed(B1, 1, b"no"), NOBODY, second)
    assert len(guard.notices()) <= BURST + RATE * 100
    assert sum(guard.dropped.values()) == 1000


def test_a_recorded_frame_is_worth_nothing_later() -> None:
    guard = Guard(KEY, WINDOW)
    old = sealed(B1, guard.begin(0))  # nobody answers there: a host records it
    guard.begin(WINDOW)
    assert guard.judge(A1, old, NOBODY, WINDOW + 0.1) is None
    assert guard.dropped == {(A1, "replayed"): 1}


def test_of_the_same_port_only_newer_frames_count() -> None:
    guard = Guard(KEY, WINDOW)
    old, new = (sealed(B1, guard.begin(0)) for _ in range(2))
    assert guard.judge(A1, new, NOBODY, 1) == B1
    assert guard.judge(A1, old, NOBODY, 1) is None
    assert guard.judge(A1, new, NOBODY, 1) is None
    assert guard.dropped == {(A1, "replayed"): 1, (A1, "repeated"): 1}
    guard.release(B1)  # its cable may go elsewhere now, but what was heard was heard
    assert guard.judge(A2, new, NOBODY, 1) is None
    assert guard.judge(A2, sealed(B1, guard.begin(2)), NOBODY, 2) == B1


def test_a_frame_is_heard_once_and_the_neighbour_that_is_known_counts() -> None:
    guard = Guard(KEY, WINDOW)
    for now in range(3):
        assert guard.judge(A1, sealed(B1, guard.begin(now)), NOBODY, now) == B1
    for now in range(3, 9):  # a third party is quicker than the cable
        frame = sealed(B1, guard.begin(now))
        assert guard.judge(C1, frame, NOBODY, now) is None
        assert guard.judge(A1, frame, NOBODY, now) == B1
        assert guard.judge(C1, frame, NOBODY, now) is None
    assert guard.dropped == {(C1, "repeated"): 12}


def test_a_cable_moved_without_a_word_is_believed_when_the_old_neighbour_missed_a_round() -> None:
    guard = Guard(KEY, WINDOW)
    assert guard.judge(A1, sealed(B1, guard.begin(0)), NOBODY, 0) == B1
    assert guard.judge(C1, sealed(B1, guard.begin(5)), NOBODY, 5) is None
    assert guard.judge(C1, sealed(B1, guard.begin(10)), NOBODY, 10) == B1
    assert guard.dropped == {}


def test_a_loop_is_reported() -> None:
    guard = Guard(KEY, WINDOW)
    assert guard.judge(B1, sealed(B1, guard.begin(0)), NOBODY, 0) is None
    assert guard.dropped == {(B1, "looped"): 1}
    assert "loop" in guard.notices()[0]


def test_hosts_cannot_make_up_a_link_of_what_they_hear() -> None:
    """Two hosts nobody declared get our frames; what they send on later, or twice, makes no link."""
    links = Links(KEY)
    for dpid in (1, 2):
        links.connected(dpid, ports(1, 2), 0)
        links.ready(dpid, 0)
    got = {(frame.dpid, *frame.ports): frame.frame for frame in links.tick(0)}
    later = INTERVAL * (MISSES + 1)
    links.tick(later)
    links.frame(A1, got[2, 1], later + 0.1)
    links.frame(B1, got[1, 1], later + 0.1)
    assert links.links == ()
    assert links.guard.dropped == {(A1, "replayed"): 1, (B1, "replayed"): 1}


def test_a_copy_does_not_take_a_links_place() -> None:
    links = Links(KEY)
    for dpid in (1, 2, 3):
        links.connected(dpid, ports(1, 2), 0)
        links.ready(dpid, 0)
    for now in (0.0, INTERVAL, 2 * INTERVAL):
        got = {PortId(frame.dpid, *frame.ports): frame.frame for frame in links.tick(now)}
        links.frame(C1, got[B1], now)
        links.frame(A1, got[B1], now)
        links.frame(B1, got[A1], now)
        if now:  # at first nobody is known to be joined to anybody
            assert links.links == ((A1, B1),)
    assert links.guard.dropped[C1, "repeated"] >= 1
