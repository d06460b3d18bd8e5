"""The history of policies over REST: who changed what, what became of it, and the way back."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import examples
import pytest
from test_rest import POLICY, Api, files, problem

from controller_app.runtime import changing
from controller_app.runtime.control import REREAD, Runtime
from controller_app.store.sqlite import FILE, SqliteStore

MORE = "version: 1\nendpoints:\n  spare: {host: h2}\n"


@pytest.fixture(params=[True, False], ids=["kept", "in memory"])
def api(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Api]:
    runtime = started(tmp_path, request.param)
    yield Api(runtime)
    runtime.close()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Api]:
    runtime = started(tmp_path)
    yield Api(runtime)
    runtime.close()


def started(path: Path, state: bool = True) -> Runtime:
    """A controller; one that starts again finds the policy's file as it was left."""
    file = path / "campus.yaml"
    settings = files(path, file.read_text() if file.exists() else POLICY)
    runtime = Runtime(replace(settings, state=str(path / "state") if state else None))
    runtime.start()
    return runtime


def put(api: Api, text: str, name: str = "campus") -> dict[str, Any]:
    answer = api.client.put(f"/api/v1/policies/{name}", content=text)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def edited(number: int) -> str:
    """The policy with a word that says which of its versions it is, and another weight."""
    return POLICY.replace("weight: 2", f"weight: {number}") + f"# version {number}\n"


def policy_texts(api: Api) -> dict[str, str]:
    return {each["name"]: api.client.get(f"/api/v1/policies/{each['name']}").text
            for each in api.get("/policies")["policies"]}  # fmt: skip


def test_each_change_is_a_revision_with_all_that_was_agreed(api: Api) -> None:
    (start,) = api.get("/revisions")["revisions"]
    assert (start["number"], start["who"], start["what"], start["policies"]) == (1, "file", "start", ["campus"])
    assert start["verification"]["ok"] and start["verification"]["classes"] > 10
    answer = put(api, edited(3))
    assert answer["revision"] == 2
    newest, _ = api.get("/revisions")["revisions"]
    assert (newest["who"], newest["what"], newest["policies"]) == ("loopback", "apply campus", ["campus"])
    assert newest["plan"]["changes"] == answer["changes"] != {}
    assert newest["plan"]["affected"] == answer["affected"]
    assert "rules" not in newest["plan"] and newest["verification"] == answer["verification"]
    assert newest["at"].startswith("20") and newest["at"].endswith("Z")
    found = api.get("/revisions/2")
    assert found["texts"] == {"campus": edited(3)}
    assert api.get("/revisions/1")["texts"] == {"campus": POLICY}
    assert [r["number"] for r in api.get("/revisions?limit=1")["revisions"]] == [2]
    # one object is a change like any other
    assert api.client.put("/api/v1/networks/more?tenant=blue", content="{subnet: 10.9.0.0/24}").status_code == 200
    assert api.client.delete("/api/v1/policies/cli-blue").status_code == 200
    three, four = (api.get(f"/revisions/{number}") for number in (3, 4))
    assert (three["what"], three["policies"]) == ("put network more", ["cli-blue"])
    assert (four["what"], four["policies"], [*four["texts"]]) == ("delete cli-blue", ["cli-blue"], ["campus"])
    assert api.get("/revisions/3")["state"] == "superseded"


def test_what_changes_nothing_is_no_revision(api: Api) -> None:
    assert put(api, POLICY)["revision"] == 1
    assert api.client.put("/api/v1/policies/campus?dry_run=true", content=edited(3)).json()["changes"]
    assert api.client.put("/api/v1/policies/campus", content="version: [").status_code == 422
    assert [r["number"] for r in api.get("/revisions")["revisions"]] == [1]


def test_differences_are_diffs_that_patch_takes(api: Api, tmp_path: Path) -> None:
    put(api, edited(3))
    put(api, MORE, "more")
    put(api, edited(4))
    changed = api.client.get("/api/v1/revisions/2/diff")
    assert changed.headers["content-type"].startswith("text/x-diff")
    assert changed.text.startswith("--- campus@1\n+++ campus@2\n@@ ")
    assert "\n-" in changed.text and "+# version 3\n" in changed.text
    assert api.client.get("/api/v1/revisions/1/diff").text.startswith("--- /dev/null\n+++ campus@1\n@@ -0,0 +1,")
    new = api.client.get("/api/v1/revisions/2/diff?to=3").text
    assert new == "--- /dev/null\n+++ more@3\n@@ -0,0 +1,3 @@\n" + "".join(f"+{line}\n" for line in MORE.splitlines())
    assert api.client.get("/api/v1/revisions/3/diff?to=3").text == ""
    assert api.client.get("/api/v1/revisions/4/diff?to=1").text.endswith("+++ /dev/null\n@@ -1,3 +0,0 @@\n" + "".join(
        f"-{line}\n" for line in MORE.splitlines()))  # fmt: skip
    (tmp_path / "patched").write_text(POLICY)
    subprocess.run(["patch", str(tmp_path / "patched")], input=changed.text, text=True, check=True)
    assert (tmp_path / "patched").read_text() == edited(3)


def test_back_to_a_revision_is_a_new_one(api: Api) -> None:
    put(api, edited(3))
    put(api, MORE, "more")
    tried = api.client.post("/api/v1/revisions/1/rollback?dry_run=true").json()
    assert tried["verification"]["ok"] and tried["changes"] and len(policy_texts(api)) == 2
    done = api.client.post("/api/v1/revisions/1/rollback").json()
    assert (done["revision"], done["changes"]) == (4, tried["changes"])
    assert policy_texts(api) == {"campus": POLICY}
    newest = api.get("/revisions/4")
    assert (newest["what"], newest["who"]) == ("roll back to 1", "loopback")
    assert sorted(newest["policies"]) == ["campus", "more"]
    assert api.client.post("/api/v1/revisions/3/rollback").json()["revision"] == 5
    assert policy_texts(api) == {"campus": edited(3), "more": MORE}
    assert api.client.post("/api/v1/revisions/5/rollback").json()["revision"] == 5  # it is that already


def test_what_was_rolled_back_stays_so_after_a_restart(tmp_path: Path) -> None:
    runtime = started(tmp_path)
    put(Api(runtime), edited(3))
    Api(runtime).client.post("/api/v1/revisions/1/rollback")
    runtime.close()
    runtime = started(tmp_path)
    assert policy_texts(Api(runtime)) == {"campus": POLICY}
    assert [r["number"] for r in Api(runtime).get("/revisions")["revisions"]] == [3, 2, 1]
    runtime.close()
    (tmp_path / "campus.yaml").write_text(edited(7))
    runtime = started(tmp_path)
    newest = Api(runtime).get("/revisions/4")
    assert (newest["who"], newest["what"], newest["policies"]) == ("file", "start", ["campus"])
    assert newest["plan"]["changes"] and newest["texts"] == {"campus": edited(7)}
    runtime.close()


def test_what_does_not_fit_the_network_any_more_is_not_gone_back_to(api: Api, tmp_path: Path) -> None:
    put(api, edited(3))
    (tmp_path / "network.yaml").write_text(examples.NETWORK.replace("  fw1:", "  other:"))
    (tmp_path / "campus.yaml").write_text(edited(4).replace("host: fw1", "host: other"))
    api.runtime.reload()
    assert api.get("/revisions/3")["what"] == REREAD
    said = problem(api.client.post("/api/v1/revisions/2/rollback"), 422)
    assert any("fw1" in each["what"] and each["line"] > 1 for each in said["problems"])
    assert policy_texts(api)["campus"] == edited(4).replace("host: fw1", "host: other")
    assert len(api.get("/revisions")["revisions"]) == 3


@pytest.mark.parametrize("path", ["/revisions/9", "/revisions/9/diff", "/revisions/1/diff?to=9"])
def test_a_revision_that_is_not_there_is_said(api: Api, path: str) -> None:
    said = problem(api.client.get(f"/api/v1{path}"), 404)
    assert said["detail"] == "there is no revision 9; kept are 1 to 1: see /api/v1/revisions"
    assert said["command"].endswith("see `chainctl history`")


def test_no_number_is_too_strange(api: Api) -> None:
    for number in ("0", "-1", "x", "9" * 30, "1.5", "%00"):
        for answer in (
            api.client.get(f"/api/v1/revisions/{number}"),
            api.client.get(f"/api/v1/revisions/1/diff?to={number}"),
            api.client.post(f"/api/v1/revisions/{number}/rollback"),
        ):
            problem(answer, 422)
    problem(api.client.post("/api/v1/revisions/9/rollback"), 404)


# -- files, read again --------------------------------------------------------------------------------------


def test_files_go_the_same_way(api: Api, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "campus.yaml").write_text(edited(5))
    api.runtime.reload()
    newest = api.get("/revisions/2")
    assert (newest["who"], newest["what"], newest["policies"]) == ("signal", REREAD, ["campus"])
    assert newest["plan"]["changes"] and newest["verification"]["ok"]
    api.runtime.reload()
    (tmp_path / "network.yaml").write_text(examples.NETWORK.replace(", [s2:3, s3:3]", ""))
    api.runtime.reload()
    assert len(api.get("/links")["links"]) == 4
    assert len(api.get("/revisions")["revisions"]) == 2  # no text changed
    (tmp_path / "campus.yaml").write_text(edited(6).replace("through:", "trough:"))
    with caplog.at_level(logging.ERROR):
        api.runtime.reload()
    line = 1 + edited(6).replace("through:", "trough:").split("trough:")[0].count("\n")
    assert "the files cannot be used, everything stays as it is" in caplog.text
    assert f"{tmp_path / 'campus.yaml'}:{line}:" in caplog.text
    assert policy_texts(api) == {"campus": edited(5)}


def test_files_wait_for_the_change_that_is_being_made(
    api: Api, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changing, "LONGEST_QUEUE", 0.05)
    (tmp_path / "campus.yaml").write_text(edited(5))
    with api.runtime.changing, caplog.at_level(logging.ERROR):
        api.runtime.reload()
    assert "the files were not read again: other changes have been under way" in caplog.text
    assert policy_texts(api) == {"campus": POLICY}
    api.runtime.reload()
    assert policy_texts(api) == {"campus": edited(5)}


# -- a store that cannot be written --------------------------------------------------------------------------


def limited(api: Api, pages: int) -> None:
    """Let the file of the store have so many pages more, as if its disk were full then."""

    def limit(store: Any) -> None:
        (now,) = store._db.execute("PRAGMA page_count").fetchone()
        store._db.execute(f"PRAGMA max_page_count={now + pages}")

    api.runtime.call(lambda conductor: limit(conductor.store))


def test_a_full_disk_refuses_a_change_whole(kept: Api, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    put(kept, edited(3))
    large = edited(4) + "".join(f"# {hash((n, 'x')):x}{hash((n, 'y')):x}\n" for n in range(4000))
    limited(kept, 3)
    computed = kept.runtime.call(lambda conductor: conductor.computed)
    with caplog.at_level(logging.ERROR):
        said = problem(kept.client.put("/api/v1/policies/campus", content=large), 507)
        (tmp_path / "campus.yaml").write_text(large)
        kept.runtime.reload()
    assert said["title"] == "The change cannot be kept"
    for words in ("nothing was changed and nothing was sent", "revision 2 goes on running", FILE, "free space"):
        assert words in said["detail"]
    assert "nothing can be kept, so nothing can be changed; what runs goes on" in caplog.text
    assert "the files were not read again: nothing was changed" in caplog.text
    assert kept.runtime.call(lambda conductor: conductor.computed) is computed
    assert policy_texts(kept) == {"campus": edited(3)}
    assert [r["number"] for r in kept.get("/revisions")["revisions"]] == [2, 1]
    limited(kept, 10_000)
    assert put(kept, large)["revision"] == 3
    deadline = time.monotonic() + 20
    while kept.client.get("/readyz").status_code != 200:  # it is tried again by itself
        assert time.monotonic() < deadline, kept.client.get("/readyz").text
        time.sleep(0.05)


def test_a_damaged_file_is_not_written_to_and_what_runs_goes_on(
    kept: Api, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    put(kept, edited(3))
    path = tmp_path / "state" / FILE
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with caplog.at_level(logging.ERROR):
        said = problem(kept.client.put("/api/v1/policies/campus", content=edited(4)), 500)
    for words in ("nothing was sent", "revision 2 goes on running", f"{path}: damaged: ", "move it away"):
        assert words in said["detail"]
    assert "damaged" in caplog.text and "what runs goes on" in caplog.text
    assert policy_texts(kept) == {"campus": edited(3)}
    ready = problem(kept.client.get("/readyz"), 503)
    assert f"{path}: damaged" in ready["detail"]
    assert kept.client.get("/healthz").status_code == 200
    problem(kept.client.get("/api/v1/revisions"), 500)
    assert kept.client.put("/api/v1/policies/campus?dry_run=true", content=edited(4)).status_code == 200


@pytest.mark.parametrize("how", ["cut", "noise"])
def test_a_start_with_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path, how: str) -> None:
    runtime = started(tmp_path)
    put(Api(runtime), edited(3))
    runtime.close()
    path = tmp_path / "state" / FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3] if how == "cut" else whole[:8192] + b"\x5a" * (len(whole) - 8192))
    done = subprocess.run(
        [sys.executable, "-m", "controller_app.cli.manager", "--topology", str(tmp_path / "network.yaml"),
         "--policy", str(tmp_path / "campus.yaml"), "--state", str(tmp_path / "state"),
         "--api-listen", "127.0.0.1:0", "--ofp-tcp-listen-port", "0"],
        capture_output=True, text=True, timeout=60, cwd=examples.ROOT,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("chain-manager: ")]
    assert line.startswith(f"chain-manager: {path}: damaged: ")
    assert "move it away and start again with the policies as files" in line and "another --state" in line
    assert "Traceback" not in done.stderr


def test_a_revision_outlives_its_controller(kept: Api, tmp_path: Path) -> None:
    """As a crash leaves it: the file as it is while the controller runs, without a last word of its own."""
    put(kept, edited(3))
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in (tmp_path / "state").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    store = SqliteStore(copy)
    assert store.policies()["campus"].text == edited(3)
    assert store.revisions(1)[0].number == 2
    store.close()


def test_nothing_kept_is_no_plan_whatever_the_network(tmp_path: Path) -> None:
    """Two hosts may have one address because a policy puts them into two tenants: without that policy nothing fits."""
    hosts = "version: 1\nswitches: {s1: {dpid: 1}}\nhosts:\n" + "".join(
        f"  {name}: {{attach: s1:{port}, ip: 10.0.0.1, mac: 02:00:00:00:00:0{port}}}\n"
        for port, name in enumerate("ab", 1))
    apart = "version: 1\ntenant: {0}\nnetworks: {{n: {{subnet: 10.0.0.0/24}}}}\n"
    apart += "endpoints: {{e: {{host: {0}, network: n}}}}\n"
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text(apart.format(name))
    both = tuple(str(tmp_path / f"{name}.yaml") for name in "ab")
    settings = replace(files(tmp_path, None), policy=both, state=str(tmp_path / "state"))
    (tmp_path / "network.yaml").write_text(hosts)
    for start in range(2):
        runtime = Runtime(settings)
        runtime.start()
        (kept,) = Api(runtime).get("/revisions")["revisions"]
        assert (kept["number"], kept["plan"]) == (1, None), start
        runtime.close()
