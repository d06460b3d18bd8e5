"""A store in one SQLite file, safe against a crash at any time: one transaction a change."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from controller_app.model.allocation import Allocation
from controller_app.store.interface import Revision, StoredPolicy, StoreError

FILE = "chainsteer.sqlite"
FORMAT = 1

_SCHEMA = """
CREATE TABLE policies (name TEXT PRIMARY KEY, text TEXT, file TEXT NOT NULL, file_digest TEXT NOT NULL);
CREATE TABLE revisions (number INTEGER PRIMARY KEY, at REAL NOT NULL, what TEXT NOT NULL,
                        policies TEXT NOT NULL);
CREATE TABLE memory (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class SqliteStore:
    """The store in a directory, which is made if absent. One process at a time may have it open."""

    def __init__(self, directory: str | Path) -> None:
        self._path = Path(directory) / FILE
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Used by the control thread alone, but opened by the one that starts it.
            self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=2)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"{self._path}: cannot be opened: {error}; give a directory that can be written to as --state"
            ) from None
        with self._using():
            # Nobody else may write meanwhile: two controllers with one memory would undo each other's work.
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            (found,) = self._db.execute("PRAGMA user_version").fetchone()
            if found == 0:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={FORMAT}; COMMIT;")
            elif found != FORMAT:
                raise StoreError(
                    f"{self._path}: written by another version (format {found}, this one has "
                    f"{FORMAT}); use that version, or another --state"
                )
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("COMMIT")

    @contextmanager
    def _using(self, writing: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            if writing:
                self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            if writing:
                self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            remedy = (
                "another chain-manager uses it: end that one, or give another --state"
                if "locked" in str(error)
                else "look at the disk, or give another --state"
            )
            raise StoreError(f"{self._path}: {error}; {remedy}") from None

    def policies(self) -> dict[str, StoredPolicy]:
        with self._using() as db:
            rows = db.execute("SELECT name, text, file, file_digest FROM policies ORDER BY rowid").fetchall()
        return {row[0]: StoredPolicy(*row) for row in rows}

    def save(self, policies: Mapping[str, StoredPolicy], what: str, at: float) -> int:
        texts = {p.name: p.text for p in policies.values() if p.text is not None}
        with self._using(writing=True) as db:
            db.execute("DELETE FROM policies")
            db.executemany(
                "INSERT INTO policies VALUES (?, ?, ?, ?)",
                [(p.name, p.text, p.file, p.file_digest) for p in policies.values()],
            )
            cursor = db.execute(
                "INSERT INTO revisions (at, what, policies) VALUES (?, ?, ?)", (at, what, json.dumps(texts))
            )
        return int(cursor.lastrowid or 0)

    def revisions(self) -> list[Revision]:
        with self._using() as db:
            rows = db.execute("SELECT number, at, what FROM revisions ORDER BY number DESC").fetchall()
        return [Revision(*row) for row in rows]

    def allocation(self) -> Allocation:
        found = self._read("allocation")
        try:
            return Allocation() if found is None else Allocation.from_json(found)
        except (TypeError, ValueError, AttributeError) as error:
            raise StoreError(
                f"{self._path}: the allocation in it cannot be read: {error}; give another --state"
            ) from None

    def save_allocation(self, allocation: Allocation) -> None:
        self._write("allocation", allocation.to_json())

    def hosts(self) -> list[dict[str, Any]]:
        return list(self._read("hosts") or [])

    def save_hosts(self, hosts: Sequence[Mapping[str, Any]]) -> None:
        self._write("hosts", list(hosts))

    def drains(self) -> dict[str, float]:
        found = self._read("drains") or {}
        return {str(place): float(since) for place, since in found.items()}

    def save_drains(self, drains: Mapping[str, float]) -> None:
        self._write("drains", dict(drains))

    def close(self) -> None:
        self._db.close()

    def _read(self, name: str) -> Any:
        with self._using() as db:
            row = db.execute("SELECT value FROM memory WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def _write(self, name: str, value: Any) -> None:
        with self._using(writing=True) as db:
            db.execute("INSERT OR REPLACE INTO memory VALUES (?, ?)", (name, json.dumps(value)))
