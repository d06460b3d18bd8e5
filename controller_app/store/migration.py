"""A store of an earlier version becomes one of this version, whole or not at all."""

from __future__ import annotations

import json
import sqlite3

from controller_app.store import history, texts
from controller_app.store.interface import Revision, changed
from controller_app.store.texts import Damaged, pack

FORMAT = 2
EARLIER_WHO = "unknown"


def create(db: sqlite3.Connection) -> None:
    """Make an empty store. Inside a transaction."""
    for statement in (*history.SCHEMA, f"PRAGMA user_version = {FORMAT}"):
        db.execute(statement)


def migrate(db: sqlite3.Connection, found: int) -> None:
    """Bring a store of format `found` to this one. Inside a transaction. Format 1 kept each revision's texts whole, and
    neither who made it nor what became of it: all but the newest count as superseded. Damaged where what it kept cannot
    be read."""
    if found != 1:
        raise ValueError(f"no way from format {found}")
    for table in ("policies", "revisions", "memory"):
        db.execute(f"ALTER TABLE {table} RENAME TO former_{table}")
    create(db)
    try:
        in_force = db.execute("SELECT * FROM former_policies ORDER BY rowid").fetchall()
        history.put(db, [(n, None if t is None else texts.write(db, t), f, d) for n, t, f, d in in_force])
        before: dict[str, str] = {}
        (newest,) = db.execute("SELECT max(number) FROM former_revisions").fetchone()
        for number, at, what, policies in db.execute("SELECT * FROM former_revisions ORDER BY number").fetchall():
            after: dict[str, str] = json.loads(policies)
            made = Revision(number, at, what, EARLIER_WHO, state="waiting" if number == newest else "superseded")
            history.add(db, number, made, changed(before, after), {n: texts.write(db, t) for n, t in after.items()})
            before = after
        for name, value in db.execute("SELECT name, value FROM former_memory").fetchall():
            db.execute("INSERT INTO memory VALUES (?, ?)", (name, pack(json.loads(value))))
    except (ValueError, AttributeError) as error:
        raise Damaged(f"what an earlier version kept in it cannot be read ({error})") from None
    for table in ("policies", "revisions", "memory"):
        db.execute(f"DROP TABLE former_{table}")
