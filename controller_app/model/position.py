"""Where in which file something was written, and what is to be said about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST_WORD, LONGEST_TEXT = 300, 2000  # characters of what is said: a file may hold a name of a million
_LONG_WORD = re.compile(rf"\S{{{LONGEST_WORD + 1},}}")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a source file. `line` and `column` count from 1; 0 means the whole file."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{max(1, self.line)}:{max(1, self.column)}"


NOWHERE = Position("<none>")


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem: where, in which object (`path`, e.g. `classifiers[0].then`), what, and what to do. Words and texts
    that nobody would read are cut."""

    position: Position
    path: str
    what: str
    remedy: str
    severity: str = "error"  # or "warning"

    def __post_init__(self) -> None:
        for name in ("path", "what", "remedy"):
            text = getattr(self, name)
            if len(text) > LONGEST_WORD:
                object.__setattr__(self, name, _cut(text))

    def __str__(self) -> str:
        prefix = "warning: " if self.severity == "warning" else ""
        return printable(f"{self.position}: {self.path}: {prefix}{self.what}; {self.remedy}")


def _cut(text: str) -> str:
    text = _LONG_WORD.sub(lambda found: f"{found[0][:60]}...{found[0][-20:]}", text)
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 103]}...{text[-100:]}"


def printable(text: str) -> str:
    """On one line and without control characters, whatever was in the file."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class PolicyError(ValueError):
    """Raised when input cannot be used. Carries every problem found, each with its position."""

    def __init__(self, diagnostics: list[Diagnostic] | tuple[Diagnostic, ...]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(str(d) for d in self.diagnostics))
