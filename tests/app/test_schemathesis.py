"""What the OpenAPI document says is true: requests made up from it get no 5xx, and only answers that it declares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from test_rest import files

from controller_app.api import limits
from controller_app.api.server import create_app
from controller_app.runtime.control import Runtime

EXAMPLES = 20  # of each path and method: all of them take some 20 s
NAMES = ("campus", "web1", "app-svc", "vips", "servers", "nobody", "a b", "ü", "x" * 300)
BODIES = (
    "version: 1\n",
    "version: 1\nversion: 1\n",
    "{}",
    "[]",
    "[tier=web, old-]",
    "{tier: web, old: null}",
    '{"host": "w1", "network": "servers", "labels": {"tier": "web"}}',
    '{"network": "vips", "selector": "tier=web", "ports": "8081:80/tcp"}',
    '{"subnet": "10.77.0.0/24"}',
    "&a [*a]",
    "\ufeffversion: 1",
    "\0",
)
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    runtime = Runtime(files(tmp_path_factory.mktemp("rest")))
    runtime.start()
    yield schemathesis.openapi.from_asgi("/openapi.json", create_app(runtime))
    runtime.close()


def tried(operation: Any) -> set[int]:
    """Try requests for one path and method; answers which statuses they got."""
    statuses: set[int] = set()
    cases = operation.as_strategy()
    if operation.body or operation.query or operation.path_parameters or operation.headers:
        cases = cases | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
        database=None,
    )
    @given(case=cases, data=st.data())
    def one(case: Any, data: st.DataObject) -> None:
        if "name" in (case.path_parameters or {}) and data.draw(st.booleans()):
            case.path_parameters["name"] = data.draw(st.sampled_from(NAMES))
        if operation.body and data.draw(st.booleans()):
            case.body = data.draw(st.sampled_from(BODIES)).encode()
        if operation.path == "/api/v1/events":
            case.query = {**(case.query or {}), "follow": "false"}  # otherwise it never ends
        response = case.call(headers={"Host": "127.0.0.1"})
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    one()
    return statuses


def test_nothing_is_answered_that_is_not_published(schema: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for word in ("CHANGES_BURST", "LOOKS_BURST", "STRANGERS_BURST"):
        monkeypatch.setattr(limits, word, 1e9)  # what comes too often has a test of its own
    statuses, wrong = {}, []
    for found in schema.get_all_operations():
        operation = found.ok()
        try:
            statuses[operation.label] = tried(operation)
        except (Exception, FailureGroup) as error:
            wrong.append(f"{operation.label}: {error}")
    assert not wrong, "\n\n".join(wrong)
    assert len(statuses) > 40
    for label, got in statuses.items():
        assert got & {200, 304, 404, 409, 422}, (label, got)  # it was looked at, and not only turned away
