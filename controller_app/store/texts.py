"""Texts in a SQLite file, cut into pieces of some dozens of lines, so that texts that differ by a line share the rest.

Where a piece ends is decided by its last line alone: what is inserted or taken out changes one piece or two, wherever
it is in the text (content-defined chunking, as in rsync and restic). A text is named by its digest, and read back only
if it still has that digest.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Any

from controller_app.store.interface import digest

_ONE_IN = 32  # lines of a piece, on average
_LONGEST = 1 << 14  # characters: what has no lines is cut too

SCHEMA = (
    # uses: of how many texts it is a part, counted as often as it occurs
    "CREATE TABLE pieces (id INTEGER PRIMARY KEY, digest BLOB UNIQUE NOT NULL, uses INTEGER NOT NULL, "
    "content BLOB NOT NULL)",
    "CREATE TABLE texts (digest TEXT PRIMARY KEY, pieces BLOB NOT NULL) WITHOUT ROWID",
)


class Damaged(ValueError):
    """What was read is not what was written."""


def pack(value: Any) -> bytes:
    """JSON, compressed; a byte that changes is noticed when it is read (RFC 1950, the checksum at the end)."""
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 1)


def unpack(data: bytes) -> Any:
    """What was packed. Damaged where it is not that any more."""
    try:
        return json.loads(zlib.decompress(data))
    except (zlib.error, ValueError, TypeError) as error:
        raise Damaged(f"a value in it is not what was written ({error})") from None


def cut(text: str) -> Iterator[str]:
    """The pieces of a text, which together are the text."""
    start = end = 0
    for line in text.splitlines(keepends=True):
        end += len(line)
        if zlib.crc32(line.encode()) % _ONE_IN == 0 or end - start > _LONGEST:
            yield from _short(text[start:end])
            start = end
    yield from _short(text[start:])


def _short(piece: str) -> Iterator[str]:
    for at in range(0, len(piece), _LONGEST):
        yield piece[at : at + _LONGEST]


def write(db: sqlite3.Connection, text: str) -> str:
    """Keep a text, unless it is kept already; answers its digest. Inside a transaction."""
    name = digest(text)
    if db.execute("SELECT 1 FROM texts WHERE digest = ?", (name,)).fetchone() is None:
        pieces = [_write_piece(db, piece.encode()) for piece in cut(text)]
        # Most follow one another: their differences are mostly ones, and take no space.
        db.execute("INSERT INTO texts VALUES (?, ?)", (name, pack([b - a for a, b in pairwise([0, *pieces])])))
    return name


def _write_piece(db: sqlite3.Connection, content: bytes) -> int:
    name = hashlib.sha256(content).digest()
    found = db.execute("UPDATE pieces SET uses = uses + 1 WHERE digest = ? RETURNING id", (name,)).fetchone()
    if found is not None:
        return int(found[0])
    row = (name, zlib.compress(content, 1))
    return int(db.execute("INSERT INTO pieces (digest, uses, content) VALUES (?, 1, ?)", row).lastrowid or 0)


def read(db: sqlite3.Connection, name: str) -> str:
    """The text of a digest. Damaged where it is not there, or another by now."""
    try:
        contents = []
        for number in _pieces(db, name):
            (content,) = db.execute("SELECT content FROM pieces WHERE id = ?", (number,)).fetchone()
            contents.append(zlib.decompress(content))
        text = b"".join(contents).decode()
    except (zlib.error, UnicodeDecodeError, TypeError):
        text = None
    if text is None or digest(text) != name:
        raise Damaged("a policy's text in it is not what was written")
    return text


def forget_unused(db: sqlite3.Connection) -> None:
    """Let go of the texts that no policy and no revision names, and of the pieces that no text needs. Inside a
    transaction."""
    unused = db.execute(
        "SELECT digest FROM texts WHERE digest NOT IN (SELECT text FROM revision_texts) "
        "AND digest NOT IN (SELECT text FROM policies WHERE text IS NOT NULL)"
    ).fetchall()
    for (name,) in unused:
        pieces = [(piece,) for piece in _pieces(db, name)]
        db.executemany("UPDATE pieces SET uses = uses - 1 WHERE id = ?", pieces)
        db.executemany("DELETE FROM pieces WHERE id = ? AND uses <= 0", pieces)
        db.execute("DELETE FROM texts WHERE digest = ?", (name,))


def _pieces(db: sqlite3.Connection, name: str) -> list[int]:
    row = db.execute("SELECT pieces FROM texts WHERE digest = ?", (name,)).fetchone()
    if row is None:
        raise Damaged("a policy's text is missing in it")
    return list(accumulate(unpack(row[0])))
