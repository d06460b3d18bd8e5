"""What a lab claims and what it measured: named checks, printed as a table and kept as CSV."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Check:
    """One claim. `measured` is what was seen, `wanted` what it had to be."""

    topic: str
    claim: str
    measured: str
    wanted: str
    passed: bool


class Checks:
    """The checks of one run, in order."""

    def __init__(self) -> None:
        self.all: list[Check] = []

    def that(
        self, topic: str, claim: str, measured: object, wanted: object, passed: bool | None = None
    ) -> bool:
        """Record a check; without `passed` it holds when measured equals wanted."""
        holds = measured == wanted if passed is None else passed
        self.all.append(Check(topic, claim, str(measured), str(wanted), bool(holds)))
        return bool(holds)

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.all if not check.passed]

    def table(self, title: str) -> Table:
        table = Table(title=title, title_justify="left", header_style="bold", show_lines=False)
        table.add_column("", no_wrap=True)
        table.add_column("checked", ratio=5)
        table.add_column("measured", ratio=4)
        table.add_column("wanted", ratio=2)
        topic = None
        for check in self.all:
            if check.topic != topic:
                if topic is not None:
                    table.add_section()
                topic = check.topic
                table.add_row("", Text(topic, style="bold cyan"), "", "")
            mark = Text("ok", style="green") if check.passed else Text("FAILED", style="bold red")
            table.add_row(mark, Text(check.claim), Text(check.measured), Text(check.wanted))
        return table

    def print(self, title: str, console: Console) -> None:
        console.print(self.table(title))

    def save(self, path: Path) -> None:
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["topic", "claim", "measured", "wanted", "passed"])
            for check in self.all:
                writer.writerow(
                    [check.topic, check.claim, check.measured, check.wanted, "yes" if check.passed else "no"]
                )
