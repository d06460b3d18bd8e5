"""`chainctl events`: what happens, as it happens."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from controller_app.cli.client import Client
from controller_app.cli.common import Controller, Failure, Output, Token, emit, emit_document, output_format, say

PAUSE = 2.0  # seconds until a connection that broke is made anew
_HEAD = frozenset(("at", "kind"))


@dataclass(frozen=True, slots=True)
class Message:
    """A server-sent event: its id, if it has one, its kind, and its data."""

    id: str | None
    kind: str
    data: Mapping[str, Any]


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they come.")] = False,
    output: Output = None,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """What happened: changes on their way until every switch confirmed them, switches, links, providers. The last 1,000
    are kept. -o json: one document a line."""
    chosen = output_format(output)
    client = Client(controller, token)
    last: str | None = None
    met = False
    while True:
        try:
            headers = {"Accept": "text/event-stream"} | ({} if last is None else {"Last-Event-ID": last})
            for message in read(client.lines("/events", headers, follow=str(follow).lower())):
                met, last = True, message.id or last
                _show(message, chosen)
            if not follow:
                return
            say("the controller ended; waiting for it to come back")
        except ConnectionError as error:
            if not (follow and met):
                raise Failure(str(error)) from None
        time.sleep(PAUSE)


def read(lines: Iterable[str]) -> Iterator[Message]:
    """The messages in a stream (WHATWG HTML, 9.2.6): fields by line, an empty line ends each. Those without data are
    none. Failure for data that is not JSON."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and "data" in fields else value
            continue
        if "data" in fields:
            try:
                yield Message(fields.get("id"), fields.get("event", "message"), json.loads(fields["data"]))
            except ValueError:
                raise Failure("the events are not JSON: is this a Chainsteer controller?") from None
        fields = {}


def _show(message: Message, chosen: str) -> None:
    if message.kind == "lost":
        lost = message.data.get("lost")
        say(f"{'all earlier' if lost is None else lost} events are lost: {message.data.get('why')}")
        return
    if chosen == "json":
        emit(json.dumps(message.data))
    elif chosen == "yaml":
        emit("---")
        emit_document(dict(message.data), chosen)
    else:
        data = {key: value for key, value in message.data.items() if key not in _HEAD}
        emit(f"{message.data['at']}  {message.kind:17}  {'  '.join(f'{k}: {_word(v)}' for k, v in data.items())}")
    sys.stdout.flush()


def _word(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
