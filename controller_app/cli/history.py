"""Commands about revisions: history, diff, rollback."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from controller_app.cli.client import Client
from controller_app.cli.common import (
    Controller,
    Failure,
    Output,
    Token,
    emit,
    emit_document,
    emit_table,
    output_format,
    say,
    stop,
)
from controller_app.cli.live import AllowForeign, emit_plan, report
from controller_app.cli.planned import emit_changes
from controller_app.cli.progress import WAIT, Wait, begun, followed

SHOWN = 20
_COLUMNS = ("number", "at", "who", "what", "policies", "state", "waiting")

Number = Annotated[int | None, typer.Argument(metavar="[N]", min=1, help="A revision's number.")]


def history(
    number: Number = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1000, help="How many, the newest.")] = SHOWN,
    output: Output = None,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """What was changed, by whom, and what became of it; with a number, that change whole."""
    chosen = output_format(output)
    client = Client(controller, token)
    if number is not None:
        found = client.get(f"/revisions/{number}")
        return _emit_one(found) if chosen == "table" else emit_document(found, chosen)
    document = client.get("/revisions", limit=limit)
    if chosen != "table":
        return emit_document(document, chosen)
    emit_table(_COLUMNS, [[revision[column] for column in _COLUMNS] for revision in document["revisions"]])
    if len(document["revisions"]) == limit:
        say(f"the newest {limit}; -n NUMBER shows more")


def _emit_one(revision: dict[str, Any]) -> None:
    emit(f"revision {revision['number']}: {revision['what']}")
    emit(f"by {revision['who'] or 'unknown'} at {revision['at']}")
    emit(f"policies changed: {', '.join(revision['policies']) or 'none'}")
    waiting = f": {', '.join(revision['waiting'])}" if revision["waiting"] else ""
    emit(f"state: {revision['state']}{waiting}")
    if revision["verification"] is not None:
        emit(f"verified: {revision['verification']['classes']} classes of packets")
    if revision["plan"] is not None:
        emit_changes(revision["plan"])
    say(f"`chainctl diff {revision['number']}` shows the texts that changed, -o json all of them")


def diff(
    number: Number = None,
    to: Annotated[int | None, typer.Argument(metavar="[M]", min=1, help="Another's.")] = None,
    output: Output = None,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """What a revision (the newest) changed in the policies' texts; with two, what differs from the first to the
    second."""
    chosen = output_format(output)
    client = Client(controller, token)
    number = number or _newest(client, 1)[0]["number"]
    text = client.get_text(f"/revisions/{number}/diff", to=to)
    if chosen != "table":
        first, second = (number - 1, number) if to is None else (number, to)
        return emit_document({"from": first, "to": second, "diff": text}, chosen)
    if text:
        return emit(text)
    say("no text differs")


def rollback(
    number: Number = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would change; exit 2 if anything.")] = False,
    allow_foreign: AllowForeign = False,
    wait: Wait = WAIT,
    output: Output = None,
    controller: Controller = None,
    token: Token = None,
) -> None:
    """Apply the policies of a revision again, by default of the one before the newest: a new revision."""
    chosen = output_format(output)
    client = Client(controller, token)
    if number is None:
        newest = _newest(client, 2)
        if len(newest) < 2:
            raise Failure("there is one revision only, none to go back to; `chainctl delete NAME` takes a policy away")
        number = newest[1]["number"]
        say(f"revision {number}: {newest[1]['what']}, by {newest[1]['who'] or 'unknown'} at {newest[1]['at']}")
    path = f"/revisions/{number}/rollback"
    if dry_run:
        answer = client.post(path, {}, dry_run="true")
        emit_plan(client, answer, chosen)
        stop(2 if answer["changes"] else 0)
    done = f"rolled back to {number}"
    answer = client.post(path, {}, wait=0, allow_foreign="true" if allow_foreign else None)
    begun(answer, done)
    answer, unfinished = followed(client, answer, done, wait)
    report(client, answer, done, output, unfinished)


def _newest(client: Client, count: int) -> list[dict[str, Any]]:
    """The newest revisions. Failure when there is none."""
    found: list[dict[str, Any]] = client.get("/revisions", limit=count)["revisions"]
    if not found:
        raise Failure("nothing was changed so far: there is no revision")
    return found
