"""What becomes of a change, as it happens: followed until every switch has acknowledged it, or it is clear which has
not and why."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from controller_app.cli.client import Client
from controller_app.cli.common import say

Wait = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", min=0, help="How long to wait for switches to acknowledge.")
]
WAIT = 30.0  # seconds
_PAUSE = 0.2  # seconds between two questions
_GRACE = 1.0  # seconds in which a switch that is not connected may come back
_AWAY = "(not connected)"


def begun(answer: Mapping[str, Any], what: str) -> None:
    """Say what was done before the first switch answers. `answer`: the controller's, to a change."""
    number, verification = answer["revision"], answer["verification"]
    changes = answer["changes"]
    add, modify, drop = (sum(counts[kind] for counts in changes.values()) for kind in ("add", "modify", "delete"))
    say(f"accepted: {what}" + ("" if number is None else f", revision {number}"))
    say(f"verified: {verification['classes']} classes of packets")
    if changes:
        say(f"sent: {add} rules and groups added, {modify} modified, {drop} deleted, for {', '.join(changes)}")


def followed(
    client: Client, answer: Mapping[str, Any], done: str, wait: float = WAIT
) -> tuple[dict[str, Any], str | None]:
    """Wait until every switch has acknowledged a change, and say each that has; answers what the controller answered,
    as it is afterwards, and where not all have, which have not and why. That is so after so many seconds; at once where
    those that are left are not connected, and where another change came in between."""
    number = answer["revision"]
    if number is None:
        return dict(answer), None
    began, waited = time.monotonic(), [*answer["changes"]]
    while True:
        revision = client.get(f"/revisions/{number}")
        state, waiting = revision["state"], revision["waiting"]
        left = {name.partition(" ")[0] for name in waiting}
        passed = time.monotonic() - began
        if state == "confirmed" or (waiting and not left.issuperset(waited)):
            acknowledged = [name for name in waited if name not in left]
            if acknowledged:
                say(f"acknowledged: {', '.join(acknowledged)}")
            waited = [name for name in waited if name in left]
        if state == "confirmed":
            return {**answer, "confirmed": True, "waiting": []}, None
        unfinished = {**answer, "confirmed": False, "waiting": waiting}
        if state == "superseded":
            said = f"{done} as revision {number}, but another change came before every switch acknowledged it"
            return unfinished, f"{said}: see `chainctl history`"
        away = bool(waiting) and all(name.endswith(_AWAY) for name in waiting)
        if passed > wait or (away and passed > min(wait, _GRACE)):
            said = f"{done}, and revision {number} is in force, but not on every switch: {', '.join(waiting)}"
            later = f"they are given it as soon as they take it: `chainctl history {number}` says who is left"
            return unfinished, f"{said}; {later}"
        time.sleep(_PAUSE if passed > 1 else _PAUSE / 4)
