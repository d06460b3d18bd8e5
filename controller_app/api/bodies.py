"""What is sent with a request, as text; whatever `Content-Type` says, YAML and JSON are read alike."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from controller_app.api.refused import Refused


def _body(what: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A body for the OpenAPI document."""
    content = {media: {"schema": schema} for media in ("application/yaml", "application/json")}
    return {"requestBody": {"required": True, "description": what, "content": content}}


_OBJECT = {"type": "object"}
POLICY_BODY = _body("A policy, as in a file.", _OBJECT)
OBJECT_BODY = _body("The object's definition, as under its name in a policy.", _OBJECT)
LABELS_BODY = _body(
    "Labels by key, null to remove one; or a list of `key=value` and `key-`.",
    {"oneOf": [
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}},
        {"type": "array", "items": {"type": "string"}},
    ]},
)  # fmt: skip


async def read_text(request: Request) -> str:
    """A request's body as text. Refused (422) when it is none; that it is not too much was seen to before."""
    data = await request.body()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(
            422, "Not text", f"what was sent is not UTF-8: {error.reason} at byte {error.start}"
        ) from None
