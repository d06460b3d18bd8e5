"""Errors as RFC 9457 problem documents, with the positions that `chainctl validate` prints."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from controller_app.api import index
from controller_app.api.refused import Refused
from controller_app.api.views import problem
from controller_app.model.position import PolicyError
from controller_app.runtime.changing import NotKept
from controller_app.runtime.control import Busy
from controller_app.runtime.events import upload
from controller_app.store.interface import StoreError
from controller_app.verification.trace import TraceError

__all__ = ["MEDIA_TYPE", "Refused", "document", "install", "response"]

MEDIA_TYPE = "application/problem+json"


def document(status: int, title: str, detail: str, **more: Any) -> JSONResponse:
    """A problem document as a response."""
    if (request := upload()) is not None:
        request.why = f"{title}: {detail}"
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return JSONResponse(body, status, media_type=MEDIA_TYPE)


def response(error: Refused) -> JSONResponse:
    """What a request is refused with."""
    more = {} if error.command is None else {"command": error.command}
    made = document(error.status, error.title, error.detail, **more, **error.more)
    if error.status == 401:
        made.headers["WWW-Authenticate"] = "Bearer"
    made.headers.update(error.headers)
    return made


def install(app: FastAPI) -> None:
    """Let every error of the app become a problem document."""

    @app.exception_handler(PolicyError)
    async def policy(_: Request, error: PolicyError) -> JSONResponse:
        return document(
            422,
            "The policy cannot be used",
            str(error),
            problems=[problem(item) for item in error.diagnostics],
        )

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return response(error)

    @app.exception_handler(TraceError)
    async def untraceable(_: Request, error: TraceError) -> JSONResponse:
        return document(422, "The packet cannot be traced", str(error))

    @app.exception_handler(StoreError)
    async def store(_: Request, error: StoreError) -> JSONResponse:
        title = "The change cannot be kept" if isinstance(error, NotKept) else "The store cannot be used"
        return document(507 if error.full else 500, title, str(error))

    @app.exception_handler(Busy)
    async def busy(_: Request, error: Busy) -> JSONResponse:
        made = document(503, "The controller is busy", str(error))
        made.headers["Retry-After"] = "1"
        return made

    @app.exception_handler(Exception)
    async def fault(_: Request, error: Exception) -> JSONResponse:
        # What it was is in the log; it is nobody's business who only asks.
        said = "an error that should not be; the controller's log shows it. What runs goes on running"
        return document(500, "A fault of the controller", said)

    @app.exception_handler(RequestValidationError)
    async def request(_: Request, error: RequestValidationError) -> JSONResponse:
        said = "; ".join(f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors())
        return document(422, "The request cannot be used", said)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            return document(404, "Not found", index.not_found(request))
        if error.status_code == 405:
            detail, methods = index.not_allowed(request)
            response = document(405, "Not with this method", detail)
            response.headers["Allow"] = ", ".join(methods)
            return response
        return document(error.status_code, str(error.detail), str(error.detail))
