"""`chainctl top`: what goes through chains, functions, services and links now."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controller_app.cli.client import Client
from controller_app.cli.common import Controller, Failure, Output, Token, emit, emit_document, output_format, say

if TYPE_CHECKING:
    from rich.table import Table

SHORTEST = 0.5  # seconds between two readings
# kind of line -> what tells its lines apart
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "chains": ("tenant", "name"),
    "functions": ("tenant", "name", "instance"),
    "services": ("tenant", "name", "provider"),
    "links": ("name",),
}
_WAYS = ("packets_in", "bytes_in", "packets_out", "bytes_out")


def top(
    once: Annotated[bool, typer.Option("--once", help="One round, then end; so it is where nobody watches.")] = False,
    rounds: Annotated[
        int | None, typer.Option("-n", "--rounds", metavar="N", min=1, help="So many rounds, then end.")
    ] = None,
    interval: Annotated[float, typer.Option("--interval", metavar="SECONDS", help="Between two rounds.")] = 2.0,
    output: Output = None,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """Packets and bytes a second of chains, functions, services and links, and open connections; until you stop it with
    ^C. -o json: one document a line for each round."""
    chosen = output_format(output)
    if not interval >= SHORTEST:
        raise Failure(f"--interval {interval:g}: give at least {SHORTEST:g} seconds")
    client = Client(controller, token)
    watched = chosen == "table" and sys.stdout.isatty()
    count = 1 if once else rounds if rounds is not None else None if watched or chosen != "table" else 1
    found = _rounds(lambda: dict(client.get("/counters")), interval, count)
    if watched and count != 1:
        return _watch(found, interval)
    for document in found:
        if chosen == "json":
            emit(json.dumps(document))
        elif chosen == "yaml":
            emit("---")
            emit_document(document, chosen)
        else:
            emit(_plain(document))
            for switch, why in document["silent"].items():
                say(f"what {switch} counted is not known: it {why}")
        sys.stdout.flush()


def _rounds(ask: Callable[[], dict[str, Any]], interval: float, count: int | None) -> Iterator[dict[str, Any]]:
    """The rates between each reading and the next."""
    before = ask()
    done = 0
    while count is None or done < count:
        time.sleep(interval)
        after = ask()
        yield rates(before, after)
        before, done = after, done + 1


def rates(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What came in between two readings, a second: the second one's document with `…_per_second` in place of counters;
    null where one of them does not know, or the counting began anew. `seconds`: how long that was."""
    seconds = max(after["at"] - before["at"], 1e-3)
    found: dict[str, Any] = {"at": after["at"], "seconds": round(seconds, 3)}
    for section, keys in SECTIONS.items():
        earlier = {tuple(item[key] for key in keys): item for item in before[section]}
        found[section] = [
            _line(item, earlier.get(tuple(item[key] for key in keys), {}), seconds) for item in after[section]
        ]
    return {**found, "silent": after["silent"]}


def _line(item: Mapping[str, Any], earlier: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in item.items():
        if key in ("packets", "bytes", *_WAYS):
            was = earlier.get(key)
            found[f"{key}_per_second"] = (
                [_rate(now, then, seconds) for now, then in zip(value, was or [None] * len(value), strict=True)]
                if isinstance(value, list)
                else _rate(value, was, seconds)
            )
        elif key == "opened":
            found["opened"] = value
            found["opened_per_second"] = _rate(value, earlier.get(key), seconds)
        else:
            found[key] = value
    return found


def _rate(now: int | None, then: int | None, seconds: float) -> float | None:
    if now is None or then is None or now < then:
        return None
    return round((now - then) / seconds, 1)


# -- for people --------------------------------------------------------------------------------------------


def _tables(document: Mapping[str, Any]) -> Iterator[Table]:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    for title, columns, rows in _contents(document):
        if not rows:
            continue
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for number, column in enumerate(columns):
            table.add_column(column, justify="left" if number < 2 else "right", overflow="fold")
        for row in rows:
            table.add_row(*(Text("-" if cell is None else str(cell)) for cell in row))
        yield table


Contents = Iterator[tuple[str, tuple[str, ...], list[list[Any]]]]


def _contents(document: Mapping[str, Any]) -> Contents:
    """Titles, columns and rows."""
    yield "chains", ("chain", "", "packets/s", "bytes/s"), [
        [_name(item), "", _number(item["packets_per_second"]), _number(item["bytes_per_second"])]
        for item in document["chains"]
    ]  # fmt: skip
    ways = ("packets/s in", "bytes/s in", "packets/s out", "bytes/s out")
    yield "functions", ("instance", "state", *ways), [
        [f"{_name(item)}/{item['instance']}", item["state"], *_in_and_out(item)] for item in document["functions"]
    ]
    yield "services", ("provider", "state", "slots", "opened/s", "open", *ways), [
        [f"{_name(item)}/{item['provider']}", item["state"], item["slots"], _number(item["opened_per_second"]),
         item["left"], *_in_and_out(item)]
        for item in document["services"]
    ]  # fmt: skip
    yield "links", ("link", "state", "packets/s", "back", "bytes/s", "back", "use"), [
        [item["name"], item["state"], *map(_number, item["packets_per_second"]),
         *map(_number, item["bytes_per_second"]), _use(item)]
        for item in document["links"]
    ]  # fmt: skip


def _name(item: Mapping[str, Any]) -> str:
    return item["name"] if item["tenant"] == "default" else f"{item['tenant']}/{item['name']}"


def _in_and_out(item: Mapping[str, Any]) -> list[str | None]:
    return [_number(item[f"{key}_per_second"]) for key in _WAYS]


def _number(value: float | None) -> str | None:
    """Three digits and a unit."""
    if value is None:
        return None
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g}{unit}"
    return f"{value:.3g}"


def _use(link: Mapping[str, Any]) -> str | None:
    """How full the fuller direction is."""
    known = [octets * 8 for octets in link["bytes_per_second"] if octets is not None]
    return f"{max(known) / link['capacity']:.0%}" if known and link["capacity"] else None


def _plain(document: Mapping[str, Any]) -> str:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    with console.capture() as captured:
        for table in _tables(document):
            console.print(table)
    text = "\n".join(line.rstrip() for line in captured.get().splitlines())
    return text or "there are no chains, functions, services or links"


def _watch(found: Iterator[dict[str, Any]], interval: float) -> None:
    """The newest round in place of the one before, until somebody stops it."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    waiting = Text(f"counting for {interval:g} s ...")
    with contextlib.suppress(KeyboardInterrupt), Live(waiting, auto_refresh=False, screen=True) as live:
        for document in found:
            silent = [Text(f"what {switch} counted is not known: it {why}")
                      for switch, why in document["silent"].items()]  # fmt: skip
            live.update(Group(*_tables(document), *silent, Text("^C ends")), refresh=True)
