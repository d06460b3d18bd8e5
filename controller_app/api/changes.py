"""Changes that requests ask for: made by `runtime.changing`, answered as JSON when the switches confirmed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Query

from controller_app.api import views
from controller_app.api.refused import Refused
from controller_app.runtime import changing
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.control import Runtime
from controller_app.runtime.intent import Intent

CONFIRM_TIME = 20.0  # seconds to wait for switches to confirm a change
Failing = Annotated[
    bool,
    Query(
        description="With dry_run: verify under every single failure of a link, an instance and a function too, as "
        "`failures`. It takes several times as long."
    ),
]
Wait = Annotated[float, Query(ge=0, le=CONFIRM_TIME, description="Seconds to wait for switches to confirm.")]


def change(
    runtime: Runtime,
    edit: Callable[[Intent], Intent],
    what: str,
    dry_run: bool,
    who: str = "loopback",
    wait: float = CONFIRM_TIME,
    allow_foreign: bool = True,
    failures: bool = False,
) -> dict[str, Any]:
    """Check and verify a change and, unless it is a dry run, make it and wait for the connected switches, so many
    seconds. failures: verify a dry run under every single failure too."""
    wish = changing.Wish(edit, what, who, allow_foreign=allow_foreign)
    if dry_run:
        return _answer(changing.try_out(runtime, wish, failures))
    if failures:
        raise Refused(
            422,
            "Only for a dry run",
            "failures=true takes several times as long as verification, and other changes would wait for it: ask with "
            "dry_run=true first, then without failures",
        )
    try:
        made = changing.make(runtime, wish)
    except changing.Queued as error:
        raise Refused(503, "Busy", str(error), headers={"Retry-After": "1"}) from None
    waiting = runtime.wait_confirmed(wait)
    return {
        **_answer(made),
        "revision": None if made.revision is None else made.revision.number,
        "confirmed": not waiting,
        "waiting": waiting,
        "connected": runtime.call(_connected),
    }


def _answer(made: changing.Made) -> dict[str, Any]:
    """What the author of a change is told of it."""
    warnings = [views.problem(item) for item in made.change.warnings]
    answer = {**made.change.plan, "warnings": warnings, "verification": made.report.to_json()}
    return answer if made.failures is None else {**answer, "failures": made.failures.to_json()}


def _connected(conductor: Conductor) -> int:
    """How many switches are there to confirm anything."""
    return sum(conversation.connected for conversation in conductor.conversations.values())
