"""A store that an earlier version left is taken over with all that is in it, or not touched."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from controller_app.model.allocation import Allocation
from controller_app.store.interface import StoredPolicy, StoreError
from controller_app.store.sqlite import FILE, SqliteStore

# Format 1, as version 0.1.0 made it
FORMER = """
CREATE TABLE policies (name TEXT PRIMARY KEY, text TEXT, file TEXT NOT NULL, file_digest TEXT NOT NULL);
CREATE TABLE revisions (number INTEGER PRIMARY KEY, at REAL NOT NULL, what TEXT NOT NULL, policies TEXT NOT NULL);
CREATE TABLE memory (name TEXT PRIMARY KEY, value TEXT NOT NULL);
PRAGMA user_version=1;
"""
POLICIES = {"b": StoredPolicy("b", "# b 2\n", "b.yaml", "digest"), "a": StoredPolicy("a", None, "a.yaml", "other")}


def former(path: Path, format: int = 1) -> None:
    db = sqlite3.connect(path / FILE, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.executescript(FORMER)
    db.executemany("INSERT INTO policies VALUES (?, ?, ?, ?)",
                   [(p.name, p.text, p.file, p.file_digest) for p in POLICIES.values()])  # fmt: skip
    db.executemany("INSERT INTO revisions (at, what, policies) VALUES (?, ?, ?)",
                   [(1.0, "start", json.dumps({"a": "# a\n", "b": "# b\n"})),
                    (2.0, "apply b", json.dumps({"a": "# a\n", "b": "# b 2\n"})),
                    (3.0, "delete a", json.dumps({"b": "# b 2\n"}))])  # fmt: skip
    remembered = {"allocation": Allocation(waypoints={"own:h1": 5}).to_json(),
                  "hosts": [{"mac": "02:00:00:00:01:11"}], "drains": {"default/web1": 4.5}}  # fmt: skip
    db.executemany("INSERT INTO memory VALUES (?, ?)", [(n, json.dumps(v)) for n, v in remembered.items()])
    db.execute(f"PRAGMA user_version={format}")
    db.close()


def test_all_that_was_kept_is_there(tmp_path: Path) -> None:
    former(tmp_path)
    for _ in range(2):  # taken over, and opened again
        store = SqliteStore(tmp_path)
        assert [*store.policies().values()] == [*POLICIES.values()]
        newest, second, first = store.revisions()
        assert (first.what, first.at, first.who, first.policies) == ("start", 1.0, "unknown", ("a", "b"))
        assert (second.policies, newest.policies) == (("b",), ("a",))
        assert (first.state, second.state, newest.state) == ("superseded", "superseded", "waiting")
        assert (first.plan, first.verification) == (None, None)
        assert store.texts(1) == {"a": "# a\n", "b": "# b\n"}
        assert store.texts(3) == {"b": "# b 2\n"}
        assert store.allocation().waypoints == {"own:h1": 5}
        assert store.hosts() == [{"mac": "02:00:00:00:01:11"}]
        assert store.drains() == {"default/web1": 4.5}
        store.close()
    store = SqliteStore(tmp_path)
    assert store.save({"c": StoredPolicy("c", "# c\n")}, "apply c", 4.0) == 4
    store.close()


def test_a_store_of_another_version_is_left_alone(tmp_path: Path) -> None:
    former(tmp_path, 99)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(StoreError, match=r"another version \(format 99, this one has 2\); use that version"):
        SqliteStore(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


def test_what_cannot_be_taken_over_is_left_alone(tmp_path: Path) -> None:
    former(tmp_path)
    db = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    db.execute("UPDATE revisions SET policies = '{' WHERE number = 2")
    db.close()
    for _ in range(2):
        with pytest.raises(StoreError, match="damaged: what an earlier version kept in it cannot be read"):
            SqliteStore(tmp_path)
    db = sqlite3.connect(tmp_path / FILE)
    assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert db.execute("SELECT count(*) FROM revisions").fetchone() == (3,)
    db.close()
