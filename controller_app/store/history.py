"""Policies and their revisions in a SQLite file. Everything here happens inside a transaction of the caller's."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from controller_app.store import texts
from controller_app.store.interface import KEPT, Outcome, Revision, StoredPolicy, changed, digest, texts_of
from controller_app.store.texts import pack, unpack

SCHEMA = (
    # the policies in force; text: its digest, NULL once it was deleted
    "CREATE TABLE policies (name TEXT PRIMARY KEY, text TEXT, file TEXT NOT NULL, file_digest TEXT NOT NULL)",
    "CREATE TABLE revisions (number INTEGER PRIMARY KEY, at REAL NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, "
    "policies BLOB NOT NULL, plan BLOB NOT NULL, verification BLOB NOT NULL, state TEXT NOT NULL, "
    "waiting BLOB NOT NULL)",
    "CREATE TABLE revision_texts (revision INTEGER NOT NULL, name TEXT NOT NULL, text TEXT NOT NULL, "
    "place INTEGER NOT NULL, PRIMARY KEY (revision, name)) WITHOUT ROWID",
    "CREATE TABLE memory (name TEXT PRIMARY KEY, value BLOB NOT NULL)",
    "CREATE INDEX revisions_of_text ON revision_texts (text)",
    *texts.SCHEMA,
)
_COLUMNS = "number, at, what, who, policies, state, waiting, plan, verification"
_IN_FORCE = "SELECT name, text, file, file_digest FROM policies ORDER BY rowid"
_SEAL = "policies"  # in memory: the digest of what _IN_FORCE finds
_Row = tuple[int, float, str, str, bytes, Outcome, bytes, bytes, bytes]


def policies(db: sqlite3.Connection) -> dict[str, StoredPolicy]:
    """The policies applied last, by name. Damaged where they are not what was written."""
    rows = db.execute(_IN_FORCE).fetchall()
    seal = db.execute("SELECT value FROM memory WHERE name = ?", (_SEAL,)).fetchone()
    if rows and (seal is None or unpack(seal[0]) != digest(repr(rows))):
        raise texts.Damaged("which policies are in force is not what was written")
    return {
        name: StoredPolicy(name, None if text is None else texts.read(db, text), file, file_digest)
        for name, text, file, file_digest in rows
    }


def save(db: sqlite3.Connection, wanted: Mapping[str, StoredPolicy], made: Revision) -> int:
    """Keep policies, as a new revision where a text changed; answers the number of the newest. What `made` says of its
    number and of which policies changed is found here."""
    before: dict[str, str] = dict(db.execute("SELECT name, text FROM policies WHERE text IS NOT NULL").fetchall())
    newest = db.execute("SELECT max(number) FROM revisions").fetchone()[0] or 0
    kept = {name: texts.write(db, text) for name, text in texts_of(wanted).items()}
    names = changed(before, kept)
    put(db, [(each.name, kept.get(name), each.file, each.file_digest) for name, each in wanted.items()])
    if newest and not names:
        return int(newest)
    db.execute("UPDATE revisions SET state = 'superseded' WHERE number = ? AND state != 'confirmed'", (newest,))
    number = int(newest) + 1
    add(db, number, made, names, kept)
    if db.execute("DELETE FROM revisions WHERE number <= ?", (number - KEPT,)).rowcount:
        db.execute("DELETE FROM revision_texts WHERE revision <= ?", (number - KEPT,))
        texts.forget_unused(db)
    return number


def put(db: sqlite3.Connection, rows: Sequence[tuple[str, str | None, str, str]]) -> None:
    """Make policies those in force: name, digest of the text, file, digest of the file."""
    db.execute("DELETE FROM policies")
    db.executemany("INSERT INTO policies VALUES (?, ?, ?, ?)", rows)
    sealed = (_SEAL, pack(digest(repr(db.execute(_IN_FORCE).fetchall()))))
    db.execute("INSERT OR REPLACE INTO memory VALUES (?, ?)", sealed)


def add(
    db: sqlite3.Connection, number: int, made: Revision, names: Sequence[str], kept: Mapping[str, str]
) -> None:
    """Add a revision. kept: the digests of the texts in force, by policy."""
    row = (
        number, made.at, made.what, made.who, pack(list(names)), made.state, pack(list(made.waiting)),
        pack(made.plan), pack(made.verification),
    )  # fmt: skip
    db.execute(f"INSERT INTO revisions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    db.executemany(
        "INSERT INTO revision_texts VALUES (?, ?, ?, ?)",
        [(number, name, text, place) for place, (name, text) in enumerate(kept.items())],
    )


def outcome(db: sqlite3.Connection, number: int, state: Outcome, waiting: Sequence[str]) -> None:
    """Keep what became of a revision."""
    db.execute("UPDATE revisions SET state = ?, waiting = ? WHERE number = ?", (state, pack(list(waiting)), number))


def revisions(db: sqlite3.Connection, most: int) -> list[Revision]:
    """The newest revisions, the newest first."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM revisions ORDER BY number DESC LIMIT ?", (most,)).fetchall()
    return [_revision(row) for row in rows]


def revision(db: sqlite3.Connection, number: int) -> Revision | None:
    """One revision."""
    row = db.execute(f"SELECT {_COLUMNS} FROM revisions WHERE number = ?", (number,)).fetchone()
    return None if row is None else _revision(row)


def texts_with(db: sqlite3.Connection, number: int) -> dict[str, str]:
    """The texts in force with a revision, by policy."""
    found = "SELECT name, text FROM revision_texts WHERE revision = ? ORDER BY place"
    return {name: texts.read(db, text) for name, text in db.execute(found, (number,)).fetchall()}


def _revision(row: _Row) -> Revision:
    number, at, what, who, names, state, waiting, plan, verification = row
    return Revision(
        number, at, what, who, tuple(unpack(names)), state, tuple(unpack(waiting)), unpack(plan), unpack(verification)
    )
