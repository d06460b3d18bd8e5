"""What every chainctl command shares: flags, output, and errors in one line.

Data goes to stdout, everything else to stderr. Heavy modules are imported where they are used, so that the
command line answers at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn

import typer

DEFAULT_URL = "http://127.0.0.1:8080"
FORMATS = ("table", "json", "yaml")


class Failure(Exception):
    """Something went wrong; the text is one clear line, or a few."""


class NobodyReads(Exception):
    """Whoever read our output has seen enough."""


@dataclass
class Before:
    """The common flags that stood before the verb."""

    controller: str | None = None
    token: str | None = None
    output: str | None = None


BEFORE = Before()

Controller = Annotated[
    str | None,
    typer.Option("--controller", metavar="URL", help=f"The controller ({DEFAULT_URL}), or CHAINCTL_URL."),
]
Token = Annotated[str | None, typer.Option("--token", help="Its token, or CHAINCTL_TOKEN.")]
Output = Annotated[str | None, typer.Option("-o", "--output", metavar="table|json|yaml", help="The format.")]
Topologies = Annotated[list[str] | None, typer.Option("-t", "--topology", metavar="FILE", help="Repeatable.")]
Policies = Annotated[list[str] | None, typer.Option("-p", "--policy", metavar="FILE", help="Repeatable.")]
Failing = Annotated[
    bool,
    typer.Option(
        "--failures",
        help="Also under every single failure of a link, an instance and a function. It takes several times as long.",
    ),
]
SymmetricHash = Annotated[
    bool,
    typer.Option(
        "--symmetric-hash/--no-symmetric-hash",
        help="Whether switches' own hash chooses slots (default), or one that all compute alike.",
    ),
]


def controller_url(given: str | None) -> str:
    """The controller's address, from the flag, the environment, or the default."""
    return (given or BEFORE.controller or os.environ.get("CHAINCTL_URL") or DEFAULT_URL).rstrip("/")


def token_of(given: str | None) -> str | None:
    """The token, from the flag or the environment."""
    return given or BEFORE.token or os.environ.get("CHAINCTL_TOKEN") or None


def output_format(given: str | None) -> str:
    """The output format; Failure when it is none."""
    chosen = given or BEFORE.output or "table"
    if chosen not in FORMATS:
        raise Failure(f"-o {chosen}: choose table, json or yaml")
    return chosen


def say(text: str) -> None:
    """Something that is not data."""
    print(text, file=sys.stderr)


def emit(text: str) -> None:
    """Data as text."""
    try:
        sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
    except BrokenPipeError:
        # Not raised on as such: click would take it for an error.
        raise NobodyReads from None


def emit_document(document: Any, chosen: str) -> None:
    """Data as JSON or YAML."""
    if chosen == "json":
        emit(json.dumps(document, indent=2))
    else:
        import yaml

        emit(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def emit_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Data as a table for people: as wide as the terminal, or as it needs when it goes into a pipe."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")  # a MAC that is cut off is of no use
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    console = Console(width=None if sys.stdout.isatty() else 1000, highlight=False)
    with console.capture() as captured:
        console.print(table)
    emit("\n".join(line.rstrip() for line in captured.get().splitlines()).strip("\n"))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_cell(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value) or "-"
    return str(value)


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def stop(code: int) -> NoReturn:
    """End with an exit code."""
    raise typer.Exit(code)
