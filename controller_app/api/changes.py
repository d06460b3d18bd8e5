"""Changing what is wanted, the same way for every request: plan, verify, apply, wait for the switches."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
from controller_app.verification.verify import Report

CONFIRM_TIME = 20.0  # seconds to wait for switches to confirm a change
ATTEMPTS = 3  # at a network that changes while a policy is verified
LONGEST_QUEUE = 60.0  # seconds that a change waits for others


@dataclass(frozen=True)
class _Change:
    """A change that fits: what would be wanted, and what it would do to what was wanted then."""

    before: tuple[Intent, Computed]
    intent: Intent
    computed: Computed
    warnings: tuple[Diagnostic, ...]
    plan: dict[str, Any]
    verified: Verified | None  # what was verified before

    def answer(self, report: Report) -> dict[str, Any]:
        """What its author is told of it."""
        warnings = [views.problem(item) for item in self.warnings]
        return {**self.plan, "warnings": warnings, "verification": report.to_json()}


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
    """Check and verify a change and, unless it is a dry run, make it and wait for the switches. Changes are made one
    after the other."""
    if dry_run:
        found = None
        while found is None:
            found = _prepared(runtime, edit)
        return found.answer(found.computed.try_out(found.verified))
    if not runtime.changing.acquire(timeout=LONGEST_QUEUE):
        raise Refused(503, "Busy", f"other changes have been under way for {LONGEST_QUEUE:g} s: try again")
    try:
        answer = _make(runtime, edit, what)
    finally:
        runtime.changing.release()
    waiting = runtime.wait_confirmed(CONFIRM_TIME)
    return {**answer, "confirmed": not waiting, "waiting": waiting, "connected": runtime.call(_connected)}


def _make(runtime: Runtime, edit: Callable[[Intent], Intent], what: str) -> dict[str, Any]:
    """Reading and verification take their time in the thread of the request, while the control thread goes on. When
    the network changed meanwhile it starts again, with what was verified already. A network that changes time and again
    does not keep a change waiting for ever: then the control thread does all of it in one piece."""
    known: Verified | None = None
    for _ in range(ATTEMPTS):
        found = _prepared(runtime, edit)
        if found is None:
            continue
        report, known = found.computed.verify(known or found.verified)
        if runtime.call(partial(_adopt, found, known, what)):
            return found.answer(report)

    def at_once(conductor: Conductor) -> dict[str, Any]:
        intent = edit(conductor.intent)
        found = _prepare(conductor.intent, intent, conductor)
        assert found is not None  # nobody else gets in between
        report, verified = found.computed.verify(known or found.verified)
        _adopt(found, verified, what, conductor)
        return found.answer(report)

    return runtime.call(at_once)


def _prepared(runtime: Runtime, edit: Callable[[Intent], Intent]) -> _Change | None:
    before = runtime.call(lambda conductor: conductor.intent)
    return runtime.call(partial(_prepare, before, edit(before)))


def _prepare(before: Intent, intent: Intent, conductor: Conductor) -> _Change | None:
    """None where something else is wanted by now."""
    if conductor.intent is not before:
        return None
    computed, warnings = conductor.check(intent)
    plan = conductor.plan(computed).to_json()
    return _Change((before, conductor.computed), intent, computed, warnings, plan, conductor.verified)


def _adopt(found: _Change, verified: Verified, what: str, conductor: Conductor) -> bool:
    """False where something else is wanted by now, or of another network."""
    if found.before[0] is not conductor.intent or found.before[1] is not conductor.computed:
        return False
    conductor.adopt(found.intent, found.computed, what, time.time())
    conductor.verified = verified
    return True


def _connected(conductor: Conductor) -> int:
    """How many switches are there to confirm anything."""
    return sum(conversation.connected for conversation in conductor.conversations.values())
