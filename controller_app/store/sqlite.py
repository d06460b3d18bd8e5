"""A store in one SQLite file, safe against a crash at any time: one transaction a change.

In WAL mode with synchronous=FULL a revision is on the disk when it was saved, and nothing is sent to a switch before.
What was learned (allocation, hosts, drains) may lose its last second. A file that was damaged while it was in use takes
no more changes: what runs goes on from memory.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Unpack

from controller_app.model.allocation import Allocation
from controller_app.store import history
from controller_app.store.damage import FileWatch, check_new, check_whole
from controller_app.store.interface import KEPT, Kept, Outcome, Revision, StoredPolicy, StoreError
from controller_app.store.migration import FORMAT, create, migrate
from controller_app.store.texts import Damaged, pack, unpack

FILE = "chainsteer.sqlite"
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_TOOBIG)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class SqliteStore:
    """The store in a directory, which is made if absent. One process at a time may have it open."""

    def __init__(self, directory: str | Path) -> None:
        self._path = Path(directory) / FILE
        self._broken: str | None = None  # what is wrong with the file, once something is
        self._watch: FileWatch | None = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if not self._path.exists():
                self._make()
            # Used by the control thread alone, but opened by the one that starts it.
            self._db = _connect(self._path)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"{self._path}: cannot be opened: {error}; give a directory that can be written to as --state"
            ) from None
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        with self._using():
            check_new(self._path)
            # Nobody else may write meanwhile: two controllers with one memory would undo each other's work.
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            (found,) = self._db.execute("PRAGMA user_version").fetchone()
            if found > FORMAT or found < 1:
                raise StoreError(
                    f"{self._path}: written by another version (format {found}, this one has "
                    f"{FORMAT}); use that version, or another --state"
                )
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("COMMIT")
            check_whole(self._db, thorough=True)
        if found < FORMAT:
            with self._writing(durable=True):
                migrate(self._db, found)
        self._watch = FileWatch(self._path)
        self.policies()  # that a text is damaged is said now, and not when it is needed

    def _make(self) -> None:
        """Make the file under another name, so that one that is there was whole at some time."""
        new = self._path.with_name(f"{FILE}.new")
        for left in (new, new.with_name(f"{new.name}-wal"), new.with_name(f"{new.name}-shm")):
            left.unlink(missing_ok=True)
        db = _connect(new)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("BEGIN IMMEDIATE")
            create(db)
            db.execute("COMMIT")
        finally:
            db.close()
        try:
            os.link(new, self._path)  # not over one that somebody else made meanwhile
            new.unlink()
        except FileExistsError:
            new.unlink()
        except OSError:  # a file system without links
            os.rename(new, self._path)

    # -- policies and revisions ----------------------------------------------------------------------------

    def policies(self) -> dict[str, StoredPolicy]:
        with self._using() as db:
            return history.policies(db)

    def save(self, policies: Mapping[str, StoredPolicy], what: str, at: float, **kept: Unpack[Kept]) -> int:
        made = Revision(0, at, what, **kept)
        with self._using() as db:
            check_whole(db)  # a change that cannot be read any more after a restart is none
        with self._writing(durable=True) as db:
            number = history.save(db, policies, made)
        # What only the log holds is lost without a word where the log is damaged; in the file damage is noticed. Where
        # that fails, for want of space, the revision is kept all the same.
        with suppress(sqlite3.Error, OSError):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if self._watch is not None:
                self._watch.grown()
        return number

    def outcome(self, number: int, state: Outcome, waiting: Sequence[str] = ()) -> None:
        with self._writing() as db:
            history.outcome(db, number, state, waiting)

    def revisions(self, most: int = KEPT) -> list[Revision]:
        with self._using() as db:
            return history.revisions(db, most)

    def revision(self, number: int) -> Revision | None:
        with self._using() as db:
            return history.revision(db, number)

    def texts(self, number: int) -> dict[str, str]:
        with self._using() as db:
            return history.texts_with(db, number)

    # -- what was learned ----------------------------------------------------------------------------------

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

    # -- inside --------------------------------------------------------------------------------------------

    def _read(self, name: str) -> Any:
        with self._using() as db:
            row = db.execute("SELECT value FROM memory WHERE name = ?", (name,)).fetchone()
            return None if row is None else unpack(row[0])

    def _write(self, name: str, value: Any) -> None:
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO memory VALUES (?, ?)", (name, pack(value)))

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        """What goes wrong becomes a StoreError, with nothing changed."""
        if self._broken is not None:
            raise StoreError(self._broken)
        try:
            yield self._db
        except (sqlite3.Error, Damaged, OSError, UnicodeDecodeError) as error:  # SQLite quotes what it cannot read
            self._undo()
            raise self._said(error) from None
        except BaseException:
            self._undo()
            raise

    @contextmanager
    def _writing(self, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction. durable: on the disk when it ends."""
        with self._using() as db:
            if self._watch is not None:
                self._watch.check()
            db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")

    def _undo(self) -> None:
        with suppress(sqlite3.Error):  # then SQLite took it back by itself, or does at the next start
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _said(self, error: Exception) -> StoreError:
        """In words for people, with what to do."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the extended part
        if code in _FULL:
            return StoreError(f"{self._path}: {error}; free space on its disk", full=True)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            remedy = "another chain-manager uses it: end that one, or give another --state"
        elif code in _DAMAGED or isinstance(error, Damaged | UnicodeDecodeError):
            # Nobody knows what else of it is wrong: from now on it is not written to.
            self._broken = (
                f"{self._path}: damaged: {error}; move it away and start again with the policies as files (--policy; "
                f"while the controller runs, `chainctl get policies NAME` shows them), or give another --state; "
                f"`sqlite3 {self._path} .recover` shows what is left of it"
            )
            return StoreError(self._broken)
        else:
            remedy = "look at the disk, or give another --state"
        return StoreError(f"{self._path}: {error}; {remedy}")


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=2)
