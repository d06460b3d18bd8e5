"""The audit log: one line of JSON for every request that changes something, and for every one that is refused.

    {"at": "2026-11-21T20:31:05.123Z", "who": "ci", "from": "10.0.0.7:51212", "method": "PUT",
     "path": "/api/v1/policies/web", "query": "tenant=blue", "status": 200, "change": "77af…", "revision": 7}

Never tokens, never bodies; of the query only parameters that the interface has. What is refused because one client asks
too often is counted, and written once a second: nobody can push the rest out of the log with it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

OWN = logging.getLogger(__name__)
LOG = logging.getLogger("chainsteer.audit")
FILE = "audit.log"
MAX_BYTES, OLDER = 10_000_000, 5  # of a file, some 40,000 requests; and how many older files are kept
LONGEST = 300  # characters of what a client may choose freely
REFUSED = frozenset((401, 403, 408, 412, 413, 422, 429))
_SAID = frozenset(("tenant", "new", "dry_run", "deadline"))  # parameters; another one may be a token in the wrong place


@dataclass(slots=True)
class Request:
    """What is written of a request. who: empty where nobody knows."""

    method: str
    path: str
    query: str
    source: str
    who: str = ""
    status: int = 0
    changes: bool = False  # it would change something, were it let
    change: str | None = None
    revision: int | None = None
    replayed: bool = False


class Audit:
    """Writes to the logger `chainsteer.audit` and, with a directory, to a file there that only its owner can read."""

    def __init__(self, directory: str | None, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._file = None if directory is None else _File(Path(directory) / FILE)
        self._too_often: dict[str, tuple[float, int]] = {}  # by client: when it was written, how many since

    def write(self, request: Request) -> None:
        """Write what is to be written of a request that was answered."""
        if not request.changes and request.status not in REFUSED:
            return
        times = self._times(request) if request.status == 429 else 1
        if times == 0:
            return
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(self._wall(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "who": request.who or None,
            "from": request.source,
            "method": request.method[:LONGEST],
            "path": request.path[:LONGEST],
            "query": _known(request.query),
            "status": request.status,
            "change": request.change,
            "revision": request.revision,
            "replayed": True if request.replayed else None,
            "times": times if times > 1 else None,
        }
        text = json.dumps({key: value for key, value in line.items() if value is not None})
        LOG.info("%s", text)
        if self._file is not None:
            self._file.handle(logging.LogRecord(LOG.name, logging.INFO, "", 0, "%s", (text,), None))

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _times(self, request: Request) -> int:
        """How many refusals of a client that asks too often are to be written now, together; 0: none yet."""
        client, now = request.source.rpartition(":")[0], self._wall()
        before, count = self._too_often.get(client, (0.0, 0))
        if 0 <= now - before < 1:
            self._too_often[client] = (before, count + 1)
            return 0
        if len(self._too_often) > 1000:
            self._too_often.clear()
        self._too_often[client] = (now, 0)
        return count + 1


def _known(query: str) -> str | None:
    said = [(name, value[:LONGEST]) for name, value in parse_qsl(query, keep_blank_values=True) if name in _SAID]
    return urlencode(said[:10]) or None


class _File(RotatingFileHandler):
    """A log that is its owner's alone, and whose trouble (a full disk) is said once and costs no request."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, maxBytes=MAX_BYTES, backupCount=OLDER, encoding="utf-8", delay=True)
        self._broken: BaseException | None = None
        self._failed: BaseException | None = None  # with the line that is being written

    def _open(self) -> TextIOWrapper:
        number = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.fchmod(number, 0o600)  # also one that was there already
        return os.fdopen(number, "a", encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        self._failed = None
        super().emit(record)
        if self._failed is not None and self._broken is None:
            OWN.error("%s cannot be written (%s): requests are told to the log only", self.baseFilename, self._failed)
        elif self._failed is None and self._broken is not None:
            OWN.warning("%s is written again", self.baseFilename)
        self._broken = self._failed

    def handleError(self, record: logging.LogRecord) -> None:
        """Called, while the error is handled, where a line could not be written."""
        self._failed = sys.exc_info()[1]
