"""What a request is refused with where no policy's text is at fault."""

from __future__ import annotations


class Refused(Exception):
    """A request that cannot be done: the status, a short title, and what to do. `command`: the same for somebody who
    typed a command of chainctl."""

    def __init__(self, status: int, title: str, detail: str, command: str | None = None) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail, self.command = status, title, detail, command
