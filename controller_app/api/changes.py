"""Changing what is wanted, the same way for every request: plan, verify, apply, wait for the switches."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from controller_app.api import views
from controller_app.api.problems import Refused
from controller_app.model.position import Diagnostic
from controller_app.policy.source_text import MAX_BYTES
from controller_app.runtime.computed import Computed
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.control import Runtime
from controller_app.runtime.intent import Intent
from controller_app.verification.verified import Verified

CONFIRM_TIME = 20.0  # seconds to wait for switches to confirm a change
ATTEMPTS = 10  # at a network that changes while a policy is verified


@dataclass(frozen=True)
class _Change:
    """A change that was checked: what would be wanted, and what it would do to what was wanted then."""

    before: tuple[Intent, Computed]
    intent: Intent
    computed: Computed
    warnings: tuple[Diagnostic, ...]
    plan: dict[str, Any]
    verified: Verified | None  # what was verified before


async def read_body(request: Request) -> str:
    """A request's body as text. Refused when it is none, or too much."""
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MAX_BYTES:
            raise Refused(413, "Too large", f"a policy has at most {MAX_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(
            422, "Not text", f"the policy is not UTF-8: {error.reason} at byte {error.start}"
        ) from None


def change(runtime: Runtime, edit: Callable[[Intent], Intent], what: str, dry_run: bool) -> dict[str, Any]:
    """Check and verify a change and, unless it is a dry run, make it and wait for the switches.

    Reading and verification take their time in the thread of the request, while the control thread goes on; when the
    network or the policies changed meanwhile, it starts again.
    """

    def prepare(conductor: Conductor) -> _Change | None:
        if conductor.intent is not before:
            return None
        computed, warnings = conductor.check(intent)
        return _Change((before, conductor.computed), intent, computed, warnings, conductor.plan(computed).to_json(),
                       conductor.verified)

    def adopt(conductor: Conductor) -> bool:
        assert found is not None
        if found.before[0] is not conductor.intent or found.before[1] is not conductor.computed:
            return False
        conductor.adopt(found.intent, found.computed, what, time.time())
        conductor.verified = verified
        return True

    for _ in range(ATTEMPTS):
        before = runtime.call(lambda conductor: conductor.intent)
        intent = edit(before)
        found = runtime.call(prepare)
        if found is None:
            continue
        now = found.computed
        answer = {**found.plan, "warnings": [views.problem(item) for item in found.warnings]}
        if dry_run:
            return {**answer, "verification": now.try_out(found.verified).to_json()}
        report, verified = now.verify(found.verified)
        answer["verification"] = report.to_json()
        if runtime.call(adopt):
            waiting = runtime.wait_confirmed(CONFIRM_TIME)
            return {**answer, "confirmed": not waiting, "waiting": waiting}
    raise Refused(
        503,
        "The network does not hold still",
        "switches, links or hosts changed each time the policy was being verified; nothing was changed: try again",
    )
