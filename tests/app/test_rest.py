"""The REST interface of a running controller, over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import examples
import httpx
import pytest

from controller_app.api.server import ApiError
from controller_app.model.position import PolicyError
from controller_app.runtime import control as runtime_module
from controller_app.runtime.control import Busy, Runtime
from controller_app.settings import Settings
from controller_app.store.interface import StoreError

POLICY = examples.POLICY.replace("STICKINESS", "connection").replace("RETURN", "symmetric")


class Api:
    """A running controller and a client of it."""

    def __init__(self, runtime: Runtime, token: str | None = None) -> None:
        self.runtime = runtime
        host, port = runtime.api_address
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.client = httpx.Client(base_url=f"http://{host}:{port}", headers=headers, trust_env=False, timeout=20)

    def get(self, path: str) -> Any:
        answer = self.client.get(f"/api/v1{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()


def files(path: Path, policy: str | None = POLICY) -> Settings:
    (path / "network.yaml").write_text(examples.NETWORK)
    if policy is not None:
        (path / "campus.yaml").write_text(policy)
    return Settings(
        topology=(str(path / "network.yaml"),),
        api_listen="127.0.0.1:0",
        policy=(str(path / "campus.yaml"),) if policy is not None else (),
    )


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    runtime = Runtime(files(tmp_path))
    runtime.start()
    yield Api(runtime)
    runtime.close()


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document["title"]
    return dict(document)


def test_every_kind_is_listed(api: Api) -> None:
    assert [s["name"] for s in api.get("/switches")["switches"]] == ["s1", "s2", "s3", "s4"]
    assert len(api.get("/links")["links"]) == 5
    assert {h["name"]: h["network"] for h in api.get("/hosts")["hosts"]}["w1"] == "servers"
    (firewall, ids) = api.get("/functions")["functions"]
    assert [(i["name"], i["slots"]) for i in firewall["instances"]] == [("fw1", 171), ("fw2", 85)]
    assert ids["mode"] == "tap"
    assert api.get("/chains")["chains"][0]["classifiers"] == ["web", "direct"]
    web = api.get("/classifiers")["classifiers"][0]
    assert (web["from"], web["to"], web["traffic"], web["then"]) == (
        {"network": "clients"},
        {"service": "app-svc"},
        ["tcp/8080"],
        {"chain": "inspect"},
    )
    assert web["position"].endswith("campus.yaml:16:5")
    (service,) = api.get("/services")["services"]
    assert sorted(p["slots"] for p in service["providers"]) == [85, 85, 86]
    assert [p["name"] for p in api.get("/policies")["policies"]] == ["campus"]
    flows = api.get("/flows?switch=s2")["flows"]
    assert {f["switch"] for f in flows} == {"s2"}
    assert any(f["object"] == "functions/default/fw" for f in flows)
    assert api.get("/topology")["disagreements"] == []
    assert api.get("/plan")["changes"] == {}
    assert api.get("/revisions")["revisions"][0]["what"] == "start"
    assert "/api/v1/policies/{name}" in api.client.get("/openapi.json").json()["paths"]


def test_a_policy_is_planned_applied_read_and_deleted(api: Api) -> None:
    smaller = POLICY.replace("to: {endpoint: web1}, traffic: [tcp/22]", "to: {endpoint: web1}, traffic: [tcp/24]")
    dry = api.client.put("/api/v1/policies/campus?dry_run=true", content=smaller).json()
    assert "failures" not in dry
    assert set(dry["changes"]) <= {"s1", "s2", "s3", "s4"}
    assert dry["changes"]
    assert dry["verification"] == {"ok": True, "classes": dry["verification"]["classes"], "counterexample": None}
    assert api.client.get("/api/v1/policies/campus").text == POLICY
    done = api.client.put("/api/v1/policies/campus", content=smaller).json()
    assert done["confirmed"]
    assert (done["changes"], done["affected"]) == (dry["changes"], dry["affected"])
    assert api.client.get("/api/v1/policies/campus").text == smaller
    assert api.client.put("/api/v1/policies/campus", content=smaller).json()["changes"] == {}
    gone = api.client.delete("/api/v1/policies/campus").json()
    assert gone["affected"] == {"chains": ["inspect"], "services": ["app-svc"]}
    problem(api.client.get("/api/v1/policies/campus"), 404)
    problem(api.client.delete("/api/v1/policies/campus"), 404)


def test_several_policies_are_one_change(api: Api) -> None:
    extra = "version: 1\nclassifiers: [{name: late, from: {host: h1}, to: {host: h2}, then: deny}]\n"
    body = {"policies": {"campus": POLICY, "extra": extra}}
    assert api.client.post("/api/v1/policies?dry_run=true", json=body).json()["changes"]
    assert api.client.post("/api/v1/policies", json=body).json()["confirmed"]
    assert [p["name"] for p in api.get("/policies")["policies"]] == ["campus", "extra"]
    broken = {"policies": {"campus": "", "extra": extra}}
    problem(api.client.post("/api/v1/policies", json=broken), 422)
    assert api.client.get("/api/v1/policies/campus").text == POLICY


def test_errors_carry_positions(api: Api) -> None:
    broken = POLICY.replace("endpoint: web1", "endpoint: web9")
    document = problem(api.client.put("/api/v1/policies/campus", content=broken), 422)
    (found,) = document["problems"]
    assert (found["file"], found["severity"]) == ("campus", "error")
    line = broken.splitlines()[found["line"] - 1]
    assert "web9" in line[found["column"] - 1 :]
    assert found["remedy"]
    assert api.client.get("/api/v1/policies/campus").text == POLICY


@pytest.mark.parametrize("content", [b"", b"a: [", b"\xff\xfe", b"- 1", b"version: 1\nversion: 1\n"])
def test_what_is_no_policy_is_refused(api: Api, content: bytes) -> None:
    problem(api.client.put("/api/v1/policies/campus", content=content), 422)


def test_too_much_is_refused(api: Api) -> None:
    try:
        answer = api.client.put("/api/v1/policies/campus", content=b"#" * 50_000_000)
    except httpx.WriteError:
        return  # closed while we were still sending: refused, too
    problem(answer, 413)


def test_strange_requests_are_problems_too(api: Api) -> None:
    problem(api.client.get("/api/v1/nothing"), 404)
    problem(api.client.patch("/api/v1/policies/campus"), 405)
    problem(api.client.put("/api/v1/policies/%20x", content=POLICY), 422)
    problem(api.client.get("/api/v1/flows?switch=s9"), 404)
    problem(api.client.post("/api/v1/trace", json={"from": "h1"}), 422)
    problem(api.client.post("/api/v1/trace", json={"from": "h1", "to": "here"}), 422)
    problem(api.client.post("/api/v1/trace", json={"from": "nobody", "to": "10.2.0.21"}), 422)
    problem(api.client.post("/api/v1/trace", content="{"), 422)
    problem(api.client.get("/api/v1/hosts", headers={"Host": "evil.example"}), 403)


def test_a_trace_without_switches_gives_candidates(api: Api) -> None:
    body = {"from": "h1", "to": "100.1.1.3", "dport": 8080, "sport": 5}
    answer = api.client.post("/api/v1/trace", json=body).json()
    assert answer["verdict"] == "delivered"
    assert sum(way["slots"] for way in answer["candidates"]) == 256
    assert "s1" in answer["note"]


def test_health_and_readiness(api: Api) -> None:
    assert api.client.get("/healthz").status_code == 200
    assert api.client.get("/readyz").status_code == 200


def test_a_token_is_asked_for_where_one_is_set(tmp_path: Path) -> None:
    settings = files(tmp_path)
    runtime = Runtime(Settings(topology=settings.topology, api_listen="0.0.0.0:0", api_token="s3cret"))
    runtime.start()
    try:
        port = runtime.api_address[1]
        url = f"http://127.0.0.1:{port}"
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret"}):
            answer = httpx.get(f"{url}/api/v1/hosts", headers=headers, trust_env=False)
            problem(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
        right = {"Authorization": "Bearer s3cret", "Host": "controller.example"}
        assert httpx.get(f"{url}/api/v1/hosts", headers=right, trust_env=False).status_code == 200
        assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    finally:
        runtime.close()


def test_others_are_not_served_without_a_token(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="CHAINCTL_TOKEN"):
        Runtime(Settings(api_listen="0.0.0.0:0"))


def test_a_port_in_use_is_said(api: Api) -> None:
    host, port = api.runtime.api_address
    with pytest.raises(ApiError, match="in use"):
        Runtime(Settings(api_listen=f"{host}:{port}"))


# -- files and memory --------------------------------------------------------------------------------------


def started(settings: Settings, state: Path) -> Runtime:
    from dataclasses import replace

    runtime = Runtime(replace(settings, state=str(state)))
    runtime.start()
    return runtime


def text(runtime: Runtime, name: str = "campus") -> str | None:
    return runtime.call(lambda conductor: conductor.intent.text(name))


def test_the_last_applied_policy_counts_unless_the_file_changed(tmp_path: Path) -> None:
    settings, state = files(tmp_path), tmp_path / "state"
    edited = POLICY + "# edited\n"
    runtime = started(settings, state)
    Api(runtime).client.put("/api/v1/policies/campus", content=edited)
    Api(runtime).client.put("/api/v1/policies/more", content="version: 1\n")
    allocation = runtime.call(lambda conductor: conductor.computed.allocation)
    runtime.close()
    runtime = started(settings, state)
    assert text(runtime) == edited
    assert text(runtime, "more") == "version: 1\n"
    assert runtime.call(lambda conductor: conductor.computed.allocation) == allocation
    Api(runtime).client.delete("/api/v1/policies/campus")
    runtime.close()
    runtime = started(settings, state)
    assert text(runtime) is None
    runtime.close()
    (tmp_path / "campus.yaml").write_text(POLICY + "# newer\n")
    runtime = started(settings, state)
    assert text(runtime) == POLICY + "# newer\n"
    runtime.close()


def test_reload_reads_the_files_again_and_ignores_what_cannot_be_used(tmp_path: Path) -> None:
    settings = files(tmp_path)
    runtime = started(settings, tmp_path / "state")
    for content, expected in ((POLICY + "# 2\n", POLICY + "# 2\n"), ("version: [", POLICY + "# 2\n")):
        (tmp_path / "campus.yaml").write_text(content)
        runtime.reload()
        assert text(runtime) == expected
    (tmp_path / "campus.yaml").write_text(POLICY)
    (tmp_path / "network.yaml").write_text(examples.NETWORK.replace(", [s2:3, s3:3]", ""))
    runtime.reload()
    assert text(runtime) == POLICY
    assert runtime.call(lambda conductor: len(conductor.topology.links)) == 4
    (tmp_path / "network.yaml").write_text(examples.NETWORK.replace("  fw1:", "  other:"))
    runtime.reload()
    assert runtime.call(lambda conductor: len(conductor.topology.links)) == 4
    (tmp_path / "campus.yaml").write_text(POLICY.replace("host: fw1", "host: other"))  # now they fit again
    runtime.reload()
    assert "other" in runtime.call(lambda conductor: dict(conductor.topology.hosts))
    assert text(runtime) == POLICY.replace("host: fw1", "host: other")
    runtime.close()
    with pytest.raises(Busy):
        runtime.call(lambda _: None)


def test_what_cannot_start_says_why(tmp_path: Path) -> None:
    settings = files(tmp_path, POLICY.replace("host: fw1", "host: nobody"))
    with pytest.raises(PolicyError, match="nobody"):
        Runtime(settings)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="--state"):
        started(files(tmp_path), tmp_path / "file")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "chainsteer.sqlite").write_text("this is no database, and long enough to be read as one")
    with pytest.raises(StoreError, match="another --state"):
        started(files(tmp_path), tmp_path / "bad")


def test_one_memory_has_one_controller(tmp_path: Path) -> None:
    runtime = started(files(tmp_path), tmp_path / "state")
    with pytest.raises(StoreError, match="another chain-manager"):
        started(files(tmp_path), tmp_path / "state")
    runtime.close()
    started(files(tmp_path), tmp_path / "state").close()


def test_the_app_needs_a_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_module, "_ACTIVE", [])
    with pytest.raises(RuntimeError, match="chain-manager"):
        runtime_module.active()


def test_a_dry_run_may_be_verified_under_every_single_failure(api: Api) -> None:
    dry = api.client.put("/api/v1/policies/campus?dry_run=true&failures=true", content=POLICY).json()
    assert dry["failures"]["ok"] and dry["failures"]["counterexample"] is None
    assert dry["failures"]["failures"] == 9  # five links, three instances, and both firewalls together
    assert dry["failures"]["classes"] > 100
    assert "failures" not in api.client.put("/api/v1/policies/campus?dry_run=true", content=POLICY).json()
    refused = api.client.put("/api/v1/policies/campus?failures=true", content=POLICY)
    assert "dry_run=true" in problem(refused, 422)["detail"]
