"""What was measured, and how it is told: a table for people, JSON for programs, Markdown for documents."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

HEADINGS = ("what", "measured", "must reach", "reached", "what limits it")


@dataclass(frozen=True, slots=True)
class Line:
    """One measured number. `reached` is None where it was not measured, and `limits` says why then; `numbers` are the
    raw ones behind it."""

    what: str
    measured: str
    must_reach: str
    reached: bool | None
    limits: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def cells(self) -> tuple[str, ...]:
        reached = "not measured" if self.reached is None else "yes" if self.reached else "NO"
        return self.what, self.measured, self.must_reach, reached, self.limits


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    def __str__(self) -> str:
        low, high = min(self.values), max(self.values)
        return f"{self.median:.3g} ({low:.3g} to {high:.3g}, {len(self.values)} times)"


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Each measurement of one thing by the measurement of the other that was made right before or after it."""
    return Spread(tuple(a / b for a, b in zip(above, below, strict=True)))


def markdown(lines: Iterable[Line]) -> str:
    """The table in Markdown."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *(line.cells() for line in lines)]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def save(lines: Sequence[Line], out: Path) -> None:
    """Write `bench.json` and `bench.md` into a directory, made if absent."""
    out.mkdir(parents=True, exist_ok=True)
    document = {"lines": [asdict(line) for line in lines]}
    (out / "bench.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (out / "bench.md").write_text("# Numbers\n\n" + markdown(lines), encoding="utf-8")


def load(text: str) -> list[Line]:
    """The lines of a `bench.json`."""
    return [Line(**line) for line in json.loads(text)["lines"]]
