"""The history of policies under /api/v1/revisions: what was changed, by whom, what became of it, and back to it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import PlainTextResponse

from controller_app.api.changes import CONFIRM_TIME, Wait, change
from controller_app.api.difference import difference
from controller_app.api.refused import Refused
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.control import Runtime
from controller_app.runtime.intent import Intent
from controller_app.store.interface import KEPT, Revision

Answer = dict[str, Any]
_LARGEST = 2**53 - 1  # what every reader of JSON keeps as it is
Number = Annotated[int, Path(ge=1, le=_LARGEST, description="A revision's number.")]
ROOT = "/api/v1/revisions"


class _Diff(PlainTextResponse):
    media_type = "text/x-diff"


def install(app: FastAPI, runtime: Runtime) -> None:
    """Add the routes."""

    @app.get(ROOT)
    def revisions(limit: Annotated[int, Query(ge=1, le=KEPT)] = KEPT) -> Answer:
        """What was changed, the newest first: who, when, what, the plan, the verification, and what became of it."""

        def view(conductor: Conductor) -> Answer:
            found = conductor.store.revisions(limit)
            return {"revisions": [conductor.outcomes.current(revision).to_json() for revision in found]}

        return runtime.call(view)

    @app.get(ROOT + "/{number}")
    def revision(number: Number) -> Answer:
        """A revision, with the texts of all policies as they were in force with it."""

        def view(conductor: Conductor) -> Answer:
            return {**_revision(conductor, number).to_json(), "texts": conductor.store.texts(number)}

        return runtime.call(view)

    @app.get(ROOT + "/{number}/diff", response_class=_Diff)
    def diff(
        number: Number, to: Annotated[int | None, Query(ge=1, le=_LARGEST)] = None
    ) -> PlainTextResponse:
        """What a revision changed, as a unified diff of the policies' texts; or, with `to`, what differs from it to
        that one."""
        first, second = (number - 1, number) if to is None else (number, to)
        after = _texts(runtime, second)  # first, so that what is said of is what was asked for
        before = _texts(runtime, first)
        return _Diff(difference(before, after, (str(first), str(second))))

    @app.post(ROOT + "/{number}/rollback")
    def rollback(
        number: Number,
        request: Request,
        dry_run: bool = False,
        allow_foreign: bool = False,
        wait: Wait = CONFIRM_TIME,
    ) -> Answer:
        """Make a new revision with the texts of this one: checked, verified and applied like any other change."""
        texts = _texts(runtime, number)

        def edit(intent: Intent) -> Intent:
            made = intent.with_only(texts)
            return intent if made.stored == intent.stored else made

        return change(runtime, edit, f"roll back to {number}", dry_run, request.state.who, wait, allow_foreign)


def _texts(runtime: Runtime, number: int) -> dict[str, str]:
    """The texts of a revision; before the first there was nothing."""
    if number == 0:
        return {}

    def view(conductor: Conductor) -> dict[str, str]:
        _revision(conductor, number)
        return conductor.store.texts(number)

    return runtime.call(view)


def _revision(conductor: Conductor, number: int) -> Revision:
    found = conductor.store.revision(number)
    if found is not None:
        return conductor.outcomes.current(found)
    newest = conductor.outcomes.newest
    kept = f"kept are {max(1, newest.number - KEPT + 1)} to {newest.number}" if newest else "nothing was changed so far"
    what = f"there is no revision {number}; {kept}"
    raise Refused(404, "No such revision", f"{what}: see {ROOT}", f"{what}: see `chainctl history`")
