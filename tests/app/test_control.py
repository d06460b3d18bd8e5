"""What stands between os-ken's threads and the control thread."""

from __future__ import annotations

import time
from typing import Any

import pytest

from controller_app import app
from controller_app.discovery.ports import Port
from controller_app.openflow import decode
from controller_app.runtime.control import MAX_WAITING, Runtime
from controller_app.settings import Settings


def test_a_flood_of_frames_is_bounded_and_hides_no_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = Runtime(Settings(api_listen="127.0.0.1:0"))
    seen: list[int] = []
    monkeypatch.setattr(runtime._conductor, "message", lambda dpid, raw: seen.append(raw[1]))
    many = 3 * MAX_WAITING
    for _ in range(many):
        runtime.message(1, bytes((4, decode.PACKET_IN, 0, 8)) + bytes(4))
    kinds = (decode.PORT_STATUS, decode.MULTIPART_REPLY, decode.BARRIER_REPLY, decode.ERROR)
    for kind in kinds:
        runtime.message(1, bytes((4, kind, 0, 8)) + bytes(4))
    runtime.connected(1, [Port(1, "p1", 1, True)], lambda data: None)
    runtime.start()
    try:
        deadline = time.monotonic() + 10
        while "dropped" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert runtime.call(lambda conductor: list(conductor.conversations)) == [1]
    finally:
        runtime.close()
    assert seen == [decode.PACKET_IN] * MAX_WAITING + list(kinds)
    assert f"{many - MAX_WAITING} frames" in caplog.text


def test_ports_that_change_while_they_are_read_are_read_again() -> None:
    class Changing(dict[int, Any]):
        """Another thread adds a port while the first reader is at it."""

        readers = 0

        def values(self) -> Any:
            self.readers += 1
            for value in super().values():
                if self.readers == 1:
                    self[2] = "new"
                yield value

    assert app._values(Changing({1: "old"})) == ["old", "new"]
