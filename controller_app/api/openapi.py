"""The OpenAPI document: what FastAPI makes of the paths, and what every path may answer beside that."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from controller_app.api.guard import CHANGE, KEY, REPLAYED
from controller_app.api.problems import MEDIA_TYPE
from controller_app.api.views import KINDS

Document = dict[str, Any]
ROOT = "/api/v1"

_PLACE = {
    "type": "object",
    "description": "What is wrong, and where, as `chainctl validate` prints it.",
    "required": ["file", "line", "column", "path", "what", "remedy", "severity"],
    "properties": {
        "file": {"type": ["string", "null"]},
        "line": {"type": "integer", "minimum": 1},
        "column": {"type": "integer", "minimum": 1},
        "path": {"type": "string"},
        "what": {"type": "string"},
        "remedy": {"type": "string"},
        "severity": {"enum": ["error", "warning"]},
    },
}
_PROBLEM = {
    "type": "object",
    "description": "A problem document (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "command": {"type": "string", "description": "The same, for who typed a command of chainctl."},
        "problems": {"type": "array", "items": {"$ref": "#/components/schemas/Place"}},
        "etag": {"type": "string", "description": "With 412: the entity tag of the policy as it is."},
    },
}
_COUNTS = {
    "type": "object",
    "required": ["add", "modify", "delete"],
    "additionalProperties": True,
    "properties": {word: {"type": "integer", "minimum": 0} for word in ("add", "modify", "delete")},
}
_NAMES = {"type": "array", "items": {"type": "string"}}
_PLAN = {
    "type": "object",
    "description": "What a change does, or would do; docs/rest.md says more of each key.",
    "required": ["changes", "affected"],
    "properties": {
        "changes": {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/Counts"}},
        "affected": {
            "type": "object",
            "required": ["chains", "services"],
            "properties": {"chains": _NAMES, "services": _NAMES},
        },
        "verification": {"type": ["object", "null"]},
        "warnings": {"type": "array", "items": {"$ref": "#/components/schemas/Place"}},
        "confirmed": {"type": "boolean"},
        "waiting": _NAMES,
        "connected": {"type": "integer", "minimum": 0},
        "etag": {"type": ["string", "null"]},
    },
}
_SCHEMAS = {"Problem": _PROBLEM, "Place": _PLACE, "Counts": _COUNTS, "Plan": _PLAN}

# What a path may answer beside success, by what it is.
_ALWAYS = {
    "400": "A parameter or header that the path does not read, or cannot.",
    "401": "No token, or the wrong one.",
    "403": "Not with this token; without tokens, not a name of this machine.",
    "429": "Too often; Retry-After says when again.",
    "500": "A fault of the controller, or of its disk.",
    "503": "The controller is busy: nothing was changed.",
}
_NAMED = {"404": "There is no such object, policy, switch, revision or tenant."}
_SENT = {
    "408": "The request did not arrive in time.",
    "413": "The request is too large.",
    "422": "What was sent cannot be used.",
}
_CHANGING = {
    "409": "It contradicts what there is, or others use it; or the first request with this key is being worked on.",
    "422": "It cannot be used; or the key belongs to another request.",
}
_CONDITIONAL = {"412": "The policy is not what the client took it for."}
_LISTS = frozenset((*KINDS, "flows", "revisions")) - {"export"}  # documents of one list, under its own name
_WAITS = frozenset(("429", "503"))
_KEY = {
    "name": KEY,
    "in": "header",
    "required": False,
    "description": "A string of the client's choice: a request that is sent again with its key is not done again.",
    "schema": {"type": "string"},
}


def install(app: FastAPI) -> None:
    """Let the app publish it; made once, when it is first asked for."""

    def published() -> Document:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, routes=app.routes)
            made.setdefault("components", {}).setdefault("schemas", {}).update(_SCHEMAS)
            made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            for path, methods in made["paths"].items():
                for method, operation in methods.items():
                    if path.startswith(ROOT):
                        _complete(path, method, operation)
                    else:
                        for status in ("500", "503"):
                            operation["responses"][status] = _problem(_ALWAYS[status], ())
            for unused in ("HTTPValidationError", "ValidationError"):
                made["components"]["schemas"].pop(unused, None)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = published  # type: ignore[method-assign]


def _complete(path: str, method: str, operation: Document) -> None:
    """Say what the guard and the handlers of errors may answer, and the shape of changes and lists."""
    parameters = operation.setdefault("parameters", [])
    names = {parameter["name"] for parameter in parameters}
    found = dict(_ALWAYS)
    if names & {"name", "number", "n", "tenant", "switch", "to"}:
        found |= _NAMED
    if method != "get":
        found |= _SENT | _CHANGING
        parameters.append(_KEY)
    elif any(parameter["schema"].get("type") not in (None, "string") for parameter in parameters):
        found |= {"422": "A parameter is not of its type."}
    if "If-Match" in names:
        found |= _CONDITIONAL
    responses = operation["responses"]
    responses.pop("422", None)  # FastAPI's own shape, which is never sent
    for status, what in found.items():
        responses[status] = _problem(what, ("Retry-After",) if status in _WAITS else ())
    answered = responses["200"]
    content = answered.get("content", {}).get("application/json")
    if content is not None and content["schema"].get("type") == "object":
        content["schema"] = _shape(path, method)
    if method != "get" and path != f"{ROOT}/trace":
        headers = {CHANGE: "The id of the change, as events name it.", REPLAYED: "`true`: answered before."}
        answered.setdefault("headers", {}).update(
            {name: {"description": what, "schema": {"type": "string"}} for name, what in headers.items()}
        )
    # No token at all is one of the ways: on a loopback address.
    operation["security"] = [{"token": []}, {}]


def _shape(path: str, method: str) -> Document:
    """Of a JSON document that succeeds."""
    if method != "get":
        return {"type": "object"} if path == f"{ROOT}/trace" else {"$ref": "#/components/schemas/Plan"}
    kind = path.removeprefix(f"{ROOT}/")
    if path == f"{ROOT}/plan":
        return {"$ref": "#/components/schemas/Plan"}
    if kind not in _LISTS:
        return {"type": "object"}
    items = {"type": "array", "items": {"type": "object"}}
    return {"type": "object", "required": [kind], "properties": {kind: items}}


def _problem(what: str, headers: Iterable[str]) -> Document:
    said: Document = {
        "description": what,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if headers:
        said["headers"] = {name: {"schema": {"type": "string"}} for name in headers}
    return said
