"""chainctl history, diff and rollback against a controller without switches, and what following a change says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from controller_app.cli import live, progress
from controller_app.cli.chainctl import run
from controller_app.cli.client import Client
from controller_app.runtime.control import Runtime
from controller_app.settings import Settings

NETWORK = "version: 1\nnetworks:\n  clients: {subnet: 10.1.0.0/24, gateway: 10.1.0.254}\n"


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A controller that discovers everything, and finds nothing: each change is confirmed by all switches there are."""
    runtime = Runtime(Settings(api_listen="127.0.0.1:0", state=str(tmp_path / "state")))
    runtime.start()
    host, port = runtime.api_address
    monkeypatch.setenv("CHAINCTL_URL", f"http://{host}:{port}")
    yield f"http://{host}:{port}"
    runtime.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "campus.yaml"
    path.write_text(NETWORK)
    return path


Capture = pytest.CaptureFixture[str]


def test_before_anything_was_changed(url: str, capsys: Capture) -> None:
    assert run(["history", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"revisions": []}
    for command in (["diff"], ["rollback"]):
        assert run(command) == 1
        assert capsys.readouterr().err == "nothing was changed so far: there is no revision\n"
    assert run(["history", "1"]) == 1
    said = capsys.readouterr().err
    assert said == "No such revision: there is no revision 1; nothing was changed so far: see `chainctl history`\n"


def test_the_way_there_and_back(url: str, file: Path, capsys: Capture) -> None:
    assert run(["apply", str(file)]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "accepted: campus, revision 1",
        "verified: 0 classes of packets",
        "applied campus; nothing to change on the switches",
    ]
    assert run(["rollback"]) == 1
    assert "one revision only" in capsys.readouterr().err
    assert run(["net", "create", "servers", "-s", "10.2.0.0/24", "-g", "10.2.0.254"]) == 0
    file.write_text(NETWORK.replace("10.1", "10.3"))
    assert run(["apply", str(file)]) == 0
    capsys.readouterr()

    assert run(["history"]) == 0
    shown = capsys.readouterr()
    rows = [line.split() for line in shown.out.splitlines()[2:]]
    assert [row[0] for row in rows] == ["3", "2", "1"]
    assert rows[1][2:] == ["loopback", "put", "network", "servers", "cli", "confirmed", "-"]
    assert run(["history", "-n", "2"]) == 0
    shown = capsys.readouterr()
    assert [line.split()[0] for line in shown.out.splitlines()[2:]] == ["3", "2"]
    assert shown.err == "the newest 2; -n NUMBER shows more\n"
    assert run(["history", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "revision 2: put network servers" and "policies changed: cli" in lines
    assert "state: confirmed" in lines and lines[1].startswith("by loopback at 20")
    assert run(["history", "2", "-o", "yaml"]) == 0
    document = yaml.safe_load(capsys.readouterr().out)
    assert document["texts"]["campus"] == NETWORK and "servers" in document["texts"]["cli"]

    assert run(["diff"]) == 0
    diff = capsys.readouterr().out
    assert diff.startswith("--- campus@2\n+++ campus@3\n@@ -1,3 +1,3 @@\n version: 1\n networks:\n-  clients:")
    assert run(["diff", "1"]) == 0
    assert capsys.readouterr().out.startswith("--- /dev/null\n+++ campus@1\n")
    assert run(["-o", "json", "diff", "3", "1"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["from"], document["to"]) == (3, 1)
    assert "--- cli@3\n+++ /dev/null\n" in document["diff"] and "--- campus@3\n+++ campus@1\n" in document["diff"]
    assert run(["diff", "2", "2"]) == 0
    assert capsys.readouterr() == ("", "no text differs\n")

    assert run(["rollback", "--dry-run", "1"]) == 0
    assert "verification: ok" in capsys.readouterr().out
    assert run(["rollback", "-o", "json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["revision"] == 4
    assert shown.err.startswith("revision 2: put network servers, by loopback at 20")
    assert shown.err.endswith("rolled back to 2; nothing to change on the switches\n")
    assert run(["get", "policies", "campus"]) == 0
    assert capsys.readouterr().out == NETWORK
    assert run(["rollback", "1"]) == 0
    capsys.readouterr()
    assert run(["get", "policies", "-o", "json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)["policies"]] == ["campus"]


@pytest.mark.parametrize("argv", [["history", "0"], ["diff", "x"], ["rollback", "-1"], ["history", "-n", "0"]])
def test_numbers_that_are_none(argv: list[str], capsys: Capture) -> None:
    assert run(argv) == 1
    assert "--help" in capsys.readouterr().err


# -- following --------------------------------------------------------------------------------------------------


@dataclass
class Told:
    """A controller that says one thing after the other of a revision, the last for ever."""

    states: list[tuple[str, list[str]]]
    asked: list[str] = field(default_factory=list)

    def get(self, path: str, **query: Any) -> Any:
        self.asked.append(path)
        state, waiting = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {"state": state, "waiting": waiting}


ANSWER = {
    "revision": 7, "changes": {f"s{n}": {"add": 2, "modify": 1, "delete": 0} for n in (1, 2, 3)}, "confirmed": False,
    "waiting": ["s1"], "verification": {"ok": True, "classes": 12},
}  # fmt: skip


def follow(*states: tuple[str, list[str]], wait: float = 30.0) -> tuple[dict[str, Any], str | None]:
    return progress.followed(cast(Client, Told(list(states))), ANSWER, "applied web", wait)


def test_who_acknowledged_is_said_as_it_does(capsys: Capture) -> None:
    progress.begun(ANSWER, "web")
    done, unfinished = follow(
        ("waiting", []),
        ("waiting", ["s1 (no answer yet)", "s2 (no answer yet)", "s3 (no answer yet)"]),
        ("waiting", ["s1 (no answer yet)", "s3 (waits for other switches)"]),
        ("failed", ["s1 (the switch refused a change: BAD_ACTION)"]),
        ("confirmed", []),
    )
    assert (done["confirmed"], done["waiting"], unfinished) == (True, [], None)
    assert capsys.readouterr().err.splitlines() == [
        "accepted: web, revision 7", "verified: 12 classes of packets",
        "sent: 6 rules and groups added, 3 modified, 0 deleted, for s1, s2, s3",
        "acknowledged: s2", "acknowledged: s3", "acknowledged: s1",
    ]  # fmt: skip


def test_who_does_not_is_named_with_the_reason() -> None:
    slow = ("waiting", ["s1 (no answer yet)", "s2 (not connected)"])
    answer, said = follow(slow, wait=0.3)
    assert said == (
        "applied web, and revision 7 is in force, but not on every switch: s1 (no answer yet), s2 (not connected); "
        "they are given it as soon as they take it: `chainctl history 7` says who is left"
    )
    assert (answer["confirmed"], answer["waiting"], answer["changes"]) == (False, slow[1], ANSWER["changes"])
    _, said = follow(("waiting", ["s2 (not connected)"]))  # long before its time is over
    assert said is not None and ": s2 (not connected);" in said
    _, said = follow(slow, ("superseded", ["s1 (no answer yet)"]))
    assert said is not None and "another change came before every switch acknowledged it" in said


def test_what_is_unfinished_is_a_failure_and_machines_read_it_all_the_same(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, url: str, file: Path
) -> None:
    monkeypatch.setattr(live, "followed", lambda *_: ({**ANSWER, "warnings": []}, "not by s1"))
    assert run(["apply", str(file), "-o", "json"]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["waiting"] == ["s1"] and shown.err.endswith("not by s1\n")


def test_there_may_be_no_revision_to_follow() -> None:
    answer = {**ANSWER, "revision": None}
    assert progress.followed(cast(Client, None), answer, "applied web") == (answer, None)
