"""The test bed itself: real switches, quickly, and nothing left behind."""

from __future__ import annotations

import os
import time

import pytest
from dummy_ovs import DummyOvs, OvsError

FRAME = bytes.fromhex("0200000000020200000000018888") + bytes(46)


def test_fifty_switches_in_a_row(dummy_ovs: DummyOvs) -> None:
    count = 25  # two patch ports a hop count towards Open vSwitch's depth of 64
    started = time.monotonic()
    with dummy_ovs.transaction():
        for number in range(50):
            dummy_ovs.add_bridge(f"s{number}", dpid=number + 1)
            dummy_ovs.add_port(f"s{number}", f"h{number}", 1, tx_pcap=True)
        for number in range(49):
            dummy_ovs.patch(f"s{number}", 3, f"s{number + 1}", 2)
    assert time.monotonic() - started < 5
    for number in range(count):
        out = 1 if number == count - 1 else 3
        dummy_ovs.ofctl("add-flows", f"s{number}", "-", stdin=f"in_port={2 if number else 1},actions={out}\n")
    frames = [FRAME + bytes([number]) for number in range(100)]
    dummy_ovs.receive("h0", *frames[:60])
    assert dummy_ovs.sent(f"h{count - 1}", 60) == frames[:60]
    dummy_ovs.receive("h0", *frames[60:])
    assert dummy_ovs.sent(f"h{count - 1}", 40) == frames[60:]
    assert dummy_ovs.sent("h1") == []
    assert "dpid:0000000000000032" in dummy_ovs.ofctl("show", "s49")


def test_what_is_settled_has_left(dummy_ovs: DummyOvs) -> None:
    """However much came at once, by whichever ports, and however soon it is asked for."""
    with dummy_ovs.transaction():
        for number in (0, 1):
            dummy_ovs.add_bridge(f"s{number}", dpid=number + 1)
            for port in (1, 2):
                dummy_ovs.add_port(f"s{number}", f"h{number}{port}", port, tx_pcap=True)
        dummy_ovs.patch("s0", 3, "s1", 3)
    for number in (0, 1):
        dummy_ovs.ofctl("add-flows", f"s{number}", "-", stdin="in_port=1,actions=3\nin_port=3,actions=2\n")
    dummy_ovs.settle()
    for again in range(20):
        for count in (1, 2, 37, 90):
            frames = [FRAME + bytes([again, number]) for number in range(count)]
            dummy_ovs.receive("h01", *frames)
            dummy_ovs.receive("h11", frames[0])
            dummy_ovs.settle()
            assert [dummy_ovs.sent(port, 0) for port in ("h12", "h02", "h01")] == [frames, frames[:1], []]


def test_errors_are_said_and_nothing_is_left_behind() -> None:
    with DummyOvs() as ovs:
        folder, processes = ovs.dir, [process.pid for process in ovs._processes]
        with pytest.raises(OvsError, match="no bridge named nowhere"):
            ovs.vsctl("list-ports", "nowhere")
        with pytest.raises(OvsError, match="not a valid command"):
            ovs.appctl("no-such-command")
        assert ovs.alive
    assert not folder.exists()
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
