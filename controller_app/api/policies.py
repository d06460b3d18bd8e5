"""Policies under /api/v1: read, put, several as one change, delete."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Body, FastAPI, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict

from controller_app.api.bodies import POLICY_BODY, read_text
from controller_app.api.changes import CONFIRM_TIME, Failing, Wait, change
from controller_app.api.preconditions import IfMatch, IfNoneMatch, Unmet, conditions, etag, explained
from controller_app.api.refused import Refused
from controller_app.api.removal import check_policy_unused
from controller_app.runtime.control import Runtime
from controller_app.runtime.intent import Intent

Answer = dict[str, Any]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
MEDIA_TYPE = "application/yaml"  # RFC 9512


class PoliciesRequest(BaseModel):
    """Several policies at once, by name, each as YAML or JSON text."""

    model_config = ConfigDict(extra="forbid")

    policies: dict[str, str]


def install(app: FastAPI, runtime: Runtime) -> None:
    """Add the routes."""

    @app.get(
        "/api/v1/policies/{name}",
        response_class=PlainTextResponse,
        responses={
            200: {
                "description": "The policy's text; its entity tag is in ETag.",
                "content": {MEDIA_TYPE: {"schema": {"type": "object"}}},
                "headers": {"ETag": {"schema": {"type": "string"}}},
            },
            304: {"description": "It still has an entity tag of If-None-Match."},
        },
    )
    def get_policy(
        name: str, none_match: Annotated[str | None, Header(alias="If-None-Match")] = None
    ) -> Response:
        """A policy as it was applied. With If-None-Match: 304 where it is still the same."""
        wanted = conditions(none_match=none_match)
        intent = runtime.call(lambda conductor: conductor.intent)
        text = intent.text(name)
        if text is None:
            raise _no_policy(name)
        headers = {"ETag": etag(text), "Cache-Control": "no-cache"}
        try:
            wanted.check(intent, name)
        except Unmet:
            return Response(status_code=304, headers=headers)
        return PlainTextResponse(text, media_type=MEDIA_TYPE, headers=headers)

    @app.put("/api/v1/policies/{name}", openapi_extra=POLICY_BODY)
    async def put_policy(
        name: str,
        request: Request,
        response: Response,
        dry_run: bool = False,
        allow_foreign: bool = False,
        match: IfMatch = None,
        none_match: IfNoneMatch = None,
        wait: Wait = CONFIRM_TIME,
        failures: Failing = False,
    ) -> Answer:
        """Apply a policy (YAML or JSON). Answers when every connected switch confirmed, or says which has
        not."""
        _check_name(name)
        wanted = conditions(match, none_match)
        text = await read_text(request)

        def put(intent: Intent) -> Intent:
            wanted.check(intent, name)
            return intent.put({name: text})

        def made() -> Answer:
            with explained(runtime):
                return change(runtime, put, f"apply {name}", dry_run, request.state.who, wait, allow_foreign, failures)

        answer = await run_in_threadpool(made)
        if not dry_run:
            response.headers["ETag"] = etag(text)
        return {**answer, "etag": etag(text)}

    @app.post("/api/v1/policies")
    def put_policies(
        request: Request,
        wanted: Annotated[PoliciesRequest, Body()],
        dry_run: bool = False,
        allow_foreign: bool = False,
        wait: Wait = CONFIRM_TIME,
        failures: Failing = False,
    ) -> Answer:
        """Apply several policies as one change."""
        for name in wanted.policies:
            _check_name(name)
        what = "apply " + ", ".join(wanted.policies)
        edit, who = (lambda intent: intent.put(wanted.policies)), request.state.who
        return change(runtime, edit, what, dry_run, who, wait, allow_foreign, failures)

    @app.delete("/api/v1/policies/{name}")
    def delete_policy(
        name: str, request: Request, dry_run: bool = False, match: IfMatch = None, wait: Wait = CONFIRM_TIME
    ) -> Answer:
        """Take a policy away."""
        wanted = conditions(match)

        def without(intent: Intent) -> Intent:
            if name not in intent.names:
                raise _no_policy(name)
            wanted.check(intent, name)
            check_policy_unused(intent, name)
            return intent.delete(name)

        with explained(runtime):
            return change(runtime, without, f"delete {name}", dry_run, request.state.who, wait)


def _no_policy(name: str) -> Refused:
    what = f"no policy is named {name!r}"
    return Refused(404, "No such policy", f"{what}; see /api/v1/policies", f"{what}; see `chainctl get policies`")


def _check_name(name: str) -> None:
    if not NAME.match(name):
        raise Refused(
            422,
            "Not a name",
            f"{name!r}: a policy's name has letters, digits, '.', '_' and '-', at "
            "most 63, and starts with a letter or digit",
        )
