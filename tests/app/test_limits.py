"""How much one client may ask."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from controller_app.api import limits
from controller_app.api.limits import Bodies, Rates
from controller_app.api.refused import Refused


def test_a_burst_then_the_rate() -> None:
    rates = Rates()
    assert [rates.wait("a", 10, 3, 0.0) for _ in range(3)] == [0, 0, 0]
    assert rates.wait("a", 10, 3, 0.0) == pytest.approx(0.1)
    assert rates.wait("a", 10, 3, 0.05) == pytest.approx(0.05)  # asking costs nothing
    assert rates.wait("b", 10, 3, 0.05) == 0
    assert rates.wait("a", 10, 3, 0.1) == 0
    assert rates.wait("a", 10, 3, 0.1) > 0
    assert [rates.wait("a", 10, 3, 100) > 0 for _ in range(4)] == [False, False, False, True]  # no more than a burst
    assert rates.wait("a", 10, 3, 99) > 0  # a clock that goes back gives nothing


def test_clients_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CLIENTS", 2)
    rates = Rates()
    for client in "abc":
        assert rates.wait(client, 1, 1, 0) == 0
    assert rates.wait("c", 1, 1, 0) > 0
    assert rates.wait("a", 1, 1, 0) == 0


def read(bodies: Bodies, pieces: Sequence[bytes | None], length: str | None = None) -> bytes | int | None:
    """A body that comes in pieces, None: the sender goes away; the status of a refusal."""
    waiting = [*pieces]

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.sleep(60)
        piece = waiting.pop(0)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": waiting != []}

    async def whole() -> bytes | None:
        with bodies.reading() as body:
            return bytes(body) if await bodies.read(receive, body, length) else None

    try:
        return asyncio.run(whole())
    except Refused as error:
        return error.status


def test_bodies_are_read_whole() -> None:
    bodies = Bodies()
    assert read(bodies, [b""]) == b""
    assert read(bodies, [b"a", b"b"], "2") == b"ab"
    assert read(bodies, [b"a", None]) is None


def test_what_is_too_large_is_refused_before_it_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = Bodies()
    assert read(bodies, [], "9" * 30) == 413
    assert read(bodies, [], str(limits.MAX_BYTES + 1)) == 413
    monkeypatch.setattr(limits, "MAX_BYTES", 4)
    assert read(bodies, [b"abc", b"de", b"f"]) == 413
    assert read(bodies, [b"abcd"]) == b"abcd"
    assert read(bodies, [b"abcd"], "nonsense") == b"abcd"


def test_all_bodies_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_HELD", 6)
    bodies = Bodies()
    with bodies.reading() as other:
        bodies._take(other, b"1234")
        assert read(bodies, [b"12"]) == b"12"
        assert read(bodies, [b"123"]) == 503
    assert read(bodies, [b"123456"]) == b"123456"  # what was held is let go, also by those that were refused


def test_a_slow_sender_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_TIME", 0.05)
    bodies = Bodies()
    with bodies.reading() as body:

        async def never() -> dict[str, Any]:
            await asyncio.sleep(60)
            return {}

        with pytest.raises(Refused) as error:
            asyncio.run(bodies.read(never, body, None))
    assert error.value.status == 408
