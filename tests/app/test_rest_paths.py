"""What there is under /api/v1, and what is said of what there is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from test_rest import POLICY, Api, files, problem

from controller_app.api import document
from controller_app.runtime.control import Runtime

BLUE = "version: 1\ntenant: blue\nnetworks: {pool: {subnet: 100.9.0.0/24, kind: service}}\n"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    runtime = Runtime(files(tmp_path_factory.mktemp("rest")))
    runtime.start()
    client = Api(runtime).client
    assert client.put("/api/v1/policies/blue", content=BLUE).status_code == 200
    yield client
    runtime.close()


def test_the_page_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "rest.md"
    text = page.read_text(encoding="utf-8")
    assert document.with_table(text) == text, "run: python -m controller_app.api.document"


def test_the_index_lists_what_openapi_publishes(client: httpx.Client) -> None:
    index = client.get("/api/v1").json()
    published = client.get(index["openapi"]).json()["paths"]
    assert {path["path"]: sorted(method.lower() for method in path["methods"]) for path in index["paths"]} == {
        path: sorted(methods) for path, methods in published.items()
    }
    services = next(path for path in index["paths"] if path["path"] == "/api/v1/services")
    assert services["methods"]["GET"]["parameters"] == ["tenant"]
    for path in index["paths"]:
        for method, said in path["methods"].items():
            assert said["does"], (method, path["path"])


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api/v1/servces", "did you mean /api/v1/services? "),
        ("/api/v1/flow", "did you mean /api/v1/flows? "),
        ("/api/v1/xyzzy-qq", ""),
        ("/", ""),
        ("/docs", ""),
    ],
)
def test_what_is_not_there(client: httpx.Client, path: str, said: str) -> None:
    found = problem(client.get(path), 404)
    assert found["detail"] == f"there is nothing at {path}; {said}GET /api/v1 lists what there is"


@pytest.mark.parametrize(
    ("method", "path", "allowed", "said"),
    [
        ("POST", "/services", "GET", "; there is DELETE /api/v1/services/{name} and PUT /api/v1/services/{name}"),
        ("PATCH", "/policies/campus", "DELETE, GET, PUT", ""),
        ("DELETE", "/policies", "GET, POST", "DELETE /api/v1/policies/{name}"),
        ("GET", "/endpoints/web1/drain", "DELETE, PUT", ""),
        ("PUT", "/switches", "GET", ""),
    ],
)
def test_what_cannot_be_done_there(client: httpx.Client, method: str, path: str, allowed: str, said: str) -> None:
    answer = client.request(method, f"/api/v1{path}")
    assert said in problem(answer, 405)["detail"]
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/services?foo=bar", "GET /api/v1/services has no parameter 'foo'; it takes tenant"),
        ("GET", "/switches?tenant=blue", "GET /api/v1/switches has no parameter 'tenant'; it takes none"),
        ("PUT", "/policies/campus?dryrun=1&x=", "has no parameter 'dryrun' or 'x'; it takes dry_run"),
        ("DELETE", "/networks/vips?force=1", "it takes tenant and dry_run"),
        ("GET", "/services?tenant=blue&tenant=red", "takes 'tenant' once"),
    ],
)
def test_no_parameter_is_passed_over(client: httpx.Client, method: str, path: str, said: str) -> None:
    answer = client.request(method, f"/api/v1{path}", content="version: 1\n" if method == "PUT" else None)
    assert said in problem(answer, 400)["detail"]
    assert client.get("/api/v1/policies/campus").text == POLICY


def test_others_than_the_interfaces_own_paths_take_what_they_are_sent(client: httpx.Client) -> None:
    assert client.get("/healthz?probe=1").status_code == 200


@pytest.mark.parametrize(
    "kind",
    ["hosts", "functions", "chains", "classifiers", "networks", "endpoints", "services", "service-routers"],
)
def test_lists_of_one_tenant(client: httpx.Client, kind: str) -> None:
    every = client.get(f"/api/v1/{kind}").json()[kind]
    for tenant in ("default", "blue"):
        found = client.get(f"/api/v1/{kind}?tenant={tenant}").json()[kind]
        assert found == [item for item in every if item["tenant"] == tenant]
    said = problem(client.get(f"/api/v1/{kind}?tenant=nope"), 404)["detail"]
    assert said == "no policy is for a tenant 'nope'; there is blue and default"


def test_objects_of_one_tenant(client: httpx.Client) -> None:
    assert client.get("/api/v1/networks/pool?tenant=blue").status_code == 200
    said = problem(client.get("/api/v1/networks/pool"), 404)
    assert said["detail"] == "no network is named 'pool'; tenant blue has one: ?tenant=blue"
    assert said["command"].endswith("tenant blue has one: --tenant blue")
    assert "'nope'" in problem(client.delete("/api/v1/networks/pool?tenant=nope"), 404)["detail"]
    said = problem(client.get("/api/v1/services/x"), 404)
    assert said["detail"] == "no service is named 'x'; GET /api/v1/services lists them"
