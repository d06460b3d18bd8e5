"""Is the file of a store whole, and still the one that was opened?"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from controller_app.store.texts import Damaged

LARGEST_CHECKED = 64 << 20  # bytes; looking through more keeps the controller from its work
_MAGIC = b"SQLite format 3\0"  # https://sqlite.org/fileformat.html, 1.3.1


def check_new(path: Path) -> None:
    """Before anything is read: an empty file would be taken for a new store, and what was in it forgotten without a
    word. Damaged."""
    with open(path, "rb") as file:
        start = file.read(len(_MAGIC))
    if start != _MAGIC:
        raise Damaged("it is empty" if not start else "it is no SQLite file")


def check_whole(db: sqlite3.Connection, thorough: bool = False) -> None:
    """Look through the whole file as it is on the disk now. Damaged where pages contradict each other; thorough: where
    tables and their indexes do. What is in texts and values is checked when they are read."""
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (size,) = db.execute("PRAGMA page_size").fetchone()
    if pages * size > LARGEST_CHECKED:
        return
    db.execute("PRAGMA shrink_memory")  # what is remembered of pages says nothing of the disk
    (found,) = db.execute(f"PRAGMA {'integrity' if thorough else 'quick'}_check(1)").fetchone()
    if found != "ok":
        raise Damaged(" ".join(str(found).split()))


class FileWatch:
    """The file under its name, between two looks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        status = path.stat()
        self._identity, self._size = (status.st_dev, status.st_ino), status.st_size

    def check(self) -> None:
        """Damaged where the file is gone, another, or shorter than it was: SQLite would go on writing into what nobody
        finds again."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            raise Damaged("it was removed while it was in use") from None
        if (status.st_dev, status.st_ino) != self._identity:
            raise Damaged("it was replaced by another while it was in use")
        if status.st_size < self._size:
            raise Damaged(f"it was cut from {self._size} to {status.st_size} bytes while it was in use")
        check_new(self._path)

    def grown(self) -> None:
        """Remember how long the file is now."""
        self._size = max(self._size, self._path.stat().st_size)
