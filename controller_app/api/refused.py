"""What a request is refused with where no policy's text is at fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Refused(Exception):
    """A request that cannot be done: the status, a short title, and what to do. `command`: the same for somebody who
    typed a command of chainctl. `headers` go with the answer, `more` into the problem document."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        command: str | None = None,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail, self.command = status, title, detail, command
        self.headers, self.more = dict(headers or {}), dict(more or {})
