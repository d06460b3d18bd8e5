"""The audit log's file."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from controller_app.api import audit
from controller_app.api.audit import Audit, Request


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / audit.FILE).read_text().splitlines()]


def put(status: int = 200, query: str = "", **more: Any) -> Request:
    return Request("PUT", "/api/v1/policies/web", query, "10.0.0.7:51212", "ci", status, **{"changes": True, **more})


def test_what_is_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = Audit(str(tmp_path / "state"), Clock())
    with caplog.at_level(logging.INFO, "chainsteer.audit"):
        log.write(put(query="dry_run=false&token=s3cret&tenant=blue", change="77af", revision=7))
    log.write(put(412))
    log.write(put(500))
    log.write(put(401, changes=False))
    log.write(put(200, changes=False))
    log.write(put(404, changes=False))
    log.close()
    first, *others = lines(tmp_path / "state")
    assert first == {
        "at": "2027-01-15T08:00:00.000Z",
        "who": "ci",
        "from": "10.0.0.7:51212",
        "method": "PUT",
        "path": "/api/v1/policies/web",
        "query": "dry_run=false&tenant=blue",
        "status": 200,
        "change": "77af",
        "revision": 7,
    }
    assert [line["status"] for line in others] == [412, 500, 401]
    assert [json.loads(record.message) for record in caplog.records] == [first]
    assert "s3cret" not in (tmp_path / "state" / audit.FILE).read_text()


def test_a_line_is_one_line_and_not_too_long(tmp_path: Path) -> None:
    log = Audit(str(tmp_path), Clock())
    log.write(Request("PUT", "/api/v1/\n\x1b[2J" + "x" * 10_000, "tenant=" + "y" * 10_000, "::1:1", changes=True))
    log.close()
    (line,) = (tmp_path / audit.FILE).read_text().splitlines()
    assert len(line) < 1000
    assert "\x1b" not in line
    assert json.loads(line)["path"].startswith("/api/v1/\n")


def test_the_file_is_its_owners_and_rotates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MAX_BYTES", 1000)
    (tmp_path / audit.FILE).write_text("")
    (tmp_path / audit.FILE).chmod(0o644)
    log = Audit(str(tmp_path), Clock())
    for _ in range(100):
        log.write(put())
    log.close()
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == [audit.FILE, *(f"{audit.FILE}.{n}" for n in range(1, audit.OLDER + 1))]
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_size <= 1000


def test_nobody_pushes_the_rest_out(tmp_path: Path) -> None:
    clock = Clock()
    log = Audit(str(tmp_path), clock)
    for _ in range(1000):
        log.write(put(429))
        clock.now += 0.002
    log.write(put())
    log.close()
    assert [(line["status"], line.get("times", 1)) for line in lines(tmp_path)] == [(429, 1), (429, 500), (200, 1)]


def test_a_full_disk_costs_no_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Audit(str(tmp_path), Clock())
    (tmp_path / audit.FILE).mkdir()  # cannot be opened to write
    for _ in range(3):
        log.write(put())
    assert [record.levelname for record in caplog.records if record.name == "controller_app.api.audit"] == ["ERROR"]
    (tmp_path / audit.FILE).rmdir()
    log.write(put())
    log.close()
    assert len(lines(tmp_path)) == 1
    assert caplog.records[-1].message.endswith("is written again")
    assert capsys.readouterr().err == ""
