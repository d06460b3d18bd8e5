"""What `chainctl top` makes of two readings of the counters."""

from __future__ import annotations

from typing import Any

from controller_app.cli.top import _contents, _number, _plain, rates


def reading(at: float, packets: int | None, opened: int = 0, sent: int | None = 0) -> dict[str, Any]:
    both = {"packets_in": packets, "bytes_in": packets, "packets_out": 0, "bytes_out": 0}
    return {
        "at": at,
        "chains": [{"name": "inspect", "tenant": "red", "packets": packets, "bytes": packets}],
        "functions": [{"name": "fw", "tenant": "default", "instance": "fw1", "state": "working", **both}],
        "services": [{"name": "app", "tenant": "default", "provider": "web1", "state": "serving", "slots": 256,
                      "opened": opened, "left": 4, "active": True, **both}],
        "links": [{"name": "s1:1-s2:1", "state": "up", "capacity": 1e6, "packets": [packets, sent],
                   "bytes": [packets, sent]}],
        "silent": {},
    }  # fmt: skip


def test_rates_are_what_came_in_between() -> None:
    found = rates(reading(10.0, 100, 5), reading(14.0, 500, 7, 50_000))
    assert (found["seconds"], found["at"]) == (4.0, 14.0)
    assert found["chains"] == [
        {"name": "inspect", "tenant": "red", "packets_per_second": 100.0, "bytes_per_second": 100.0}
    ]
    assert found["functions"][0]["packets_in_per_second"] == 100.0
    assert (found["services"][0]["opened"], found["services"][0]["opened_per_second"]) == (7, 0.5)
    assert found["links"][0]["bytes_per_second"] == [100.0, 12500.0]
    (*_, links) = _contents(found)
    assert links[2][0][-1] == "10%"  # 12,500 bytes a second are 100 kbit/s of 1 Mbit/s


def test_what_is_not_known_has_no_rate() -> None:
    for before, after in ((None, 5), (5, None), (9, 5)):  # the last was started anew
        found = rates(reading(1.0, before), reading(2.0, after))
        assert found["chains"][0]["packets_per_second"] is None
        assert found["links"][0]["packets_per_second"][0] is None
    new = rates({**reading(1.0, 1), "chains": [], "links": []}, reading(2.0, 5))
    assert new["chains"][0]["packets_per_second"] is None
    assert new["links"][0]["packets_per_second"] == [None, None]
    assert "-" in _plain(found)


def test_for_people() -> None:
    text = _plain(rates(reading(10.0, 0), reading(11.0, 1234567)))
    for words in ("chains", "red/inspect", "1.23M", "fw/fw1", "app/web1", "256", "s1:1-s2:1"):
        assert words in text
    assert [_number(value) for value in (None, 0.0, 12.3, 1500.0, 2e9)] == [None, "0", "12.3", "1.5k", "2G"]
    empty = {"at": 1.0, "chains": [], "functions": [], "services": [], "links": [], "silent": {}}
    assert "there are no chains" in _plain(rates(empty, {**empty, "at": 2.0}))
