"""`chainctl export`: what comes out goes in again and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import bed
import dummy_ovs as dummy
import examples
import pytest
from test_live_control import apply, running
from test_rest import POLICY, files

from controller_app.api import views
from controller_app.cli.chainctl import run
from controller_app.cli.client import Client
from controller_app.runtime.control import Runtime

LIMITED = POLICY.replace("traffic: [tcp/22], then: allow}", "traffic: [tcp/22], then: {allow: true, limit: 1Mbps}}")
QUESTIONS = (13, 18)  # packet-outs and multipart requests: what is not about the policy


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    running = Runtime(files(tmp_path, LIMITED))
    running.start()
    host, port = running.api_address
    monkeypatch.setenv("CHAINCTL_URL", f"http://{host}:{port}")
    yield running
    running.close()


def test_what_is_exported_and_applied_again_sends_nothing(dummy_ovs: dummy.DummyOvs) -> None:
    bed.Bed(dummy_ovs, examples.network(), examples.policy())
    with running(dummy_ovs, LIMITED) as controller:
        texts = controller.do(lambda: views.export(controller.conductor)["policies"])
        assert texts == {"test": LIMITED.replace("version: 1\n", "version: 1\nmust_understand: [limits]\n", 1)}
        before = {dpid: len(log) for dpid, log in controller.sent.items()}
        apply(controller, texts["test"])
        sent = [raw for dpid, log in controller.sent.items() for raw in log[before[dpid] :] if raw[1] not in QUESTIONS]
        assert sent == []


def test_one_policy_is_printed_as_a_file_and_several_are_written(
    runtime: Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export"]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[:2] == ["version: 1", "must_understand: [limits]"]
    folder = tmp_path / "exported"
    assert run(["export", "--out", str(folder)]) == 0
    assert capsys.readouterr().err == f"1 file in {folder}\n"
    assert (folder / "campus.yaml").read_text() == text
    assert run(["plan", str(folder / "campus.yaml")]) == 0  # 2 where anything would change
    assert "no changes" in capsys.readouterr().out
    assert Client(None, None).put("/policies/campus", text)["changes"] == {}
    Client(None, None).put("/policies/extra", '{"version": 1, "flood": ["dhcp"]}')
    assert run(["export", "extra"]) == 0
    assert json.loads(capsys.readouterr().out)["must_understand"] == ["flood"]
    assert run(["export"]) == 0
    shown = capsys.readouterr().out
    assert "# campus.yaml\n" in shown
    assert "# extra.json\n" in shown
    assert run(["export", "-o", "json"]) == 0
    assert sorted(json.loads(capsys.readouterr().out)["policies"]) == ["campus", "extra"]
    assert run(["export", "nobody"]) == 1
    assert capsys.readouterr().err == "there is no policy named nobody; there are campus, extra\n"


def test_a_plan_says_what_changes_what_moves_and_what_space_is_left(
    runtime: Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lighter = tmp_path / "campus.yaml"
    lighter.write_text(LIMITED.replace("host: fw1, weight: 2", "host: fw1"))
    assert run(["plan", str(lighter)]) == 2
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["switch", "groups", "slots", "fullest", "table", "afterwards"]
    assert "function fw: 43 of 256 slots change hands; connections that are there stay" in out
    assert "verification: ok" in out
    assert run(["plan", str(lighter), "-o", "json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert {"changes", "affected", "moves", "space", "foreign", "warnings", "verification"} <= set(document)
    assert document["changes"]["s1"]["slots"]["modify"] > 0
