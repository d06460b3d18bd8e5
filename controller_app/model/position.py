"""Where in which file something was written, and what is to be said about it."""

from __future__ import annotations

from dataclasses import dataclass


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
    """One problem: where, in which object (`path`, e.g. `classifiers[0].then`), what, and what to do."""

    position: Position
    path: str
    what: str
    remedy: str
    severity: str = "error"  # or "warning"

    def __str__(self) -> str:
        prefix = "warning: " if self.severity == "warning" else ""
        return printable(f"{self.position}: {self.path}: {prefix}{self.what}; {self.remedy}")


def printable(text: str) -> str:
    """On one line and without control characters, whatever was in the file."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class PolicyError(ValueError):
    """Raised when input cannot be used. Carries every problem found, each with its position."""

    def __init__(self, diagnostics: list[Diagnostic] | tuple[Diagnostic, ...]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(str(d) for d in self.diagnostics))
