"""Words of the command line that people stumbled over."""

from __future__ import annotations

import logging
import re
import threading
from pathlib import Path
from typing import Any

import examples
import pytest

from controller_app.cli.chainctl import run
from controller_app.cli.client import Client
from controller_app.cli.common import Failure
from controller_app.cli.live import report
from controller_app.cli.manager import OUR_APP
from controller_app.cli.manager import run as run_manager
from controller_app.settings import Settings

POLICY = examples.POLICY.replace("STICKINESS", "connection").replace("RETURN", "symmetric")


@pytest.mark.parametrize(
    ("url", "guess"),
    [
        ("foo", "http://foo"),
        ("lab7.example:8080", "http://lab7.example:8080"),
        ("http://:80", "http://127.0.0.1:8080"),
        ("http://a:b", "http://127.0.0.1:8080"),
        ("ftp://127.0.0.1", "http://127.0.0.1:8080"),
    ],
)
def test_what_is_no_address_is_not_taken_for_a_controller_that_is_down(
    url: str, guess: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINCTL_URL", url)
    assert run(["get", "hosts"]) == 1
    assert capsys.readouterr().err == (
        f"{url!r} is not a controller's address (--controller, CHAINCTL_URL): write it like {guess}\n"
    )


@pytest.mark.parametrize(
    ("policy", "to", "said"),
    [
        (POLICY, ("100.1.1.3", "99"), "refused: service app-svc has no such port; the sender is told"),
        (POLICY, ("100.1.1.9", "80"), "refused: no service has this address of the pool vips; the sender is told"),
        (
            POLICY.replace("selector: tier=web, ports", "selector: tier=none, ports"),
            ("100.1.1.3", "8080"),
            "refused: nobody can take it: no provider of the service serves, or no instance works",
        ),
        (
            POLICY.replace("selector: tier=web, ports: [8080", "selector: tier=none, ports: [8081"),
            ("100.1.1.3", "8081"),
            "refused: nobody serves in app-svc; the sender is told",
        ),
        (POLICY.replace("then: deny", "then: reject"), ("10.2.0.21", "23"), "refused: classifier no-telnet rejects it"),
        (POLICY, ("10.2.0.21", "23"), "dropped"),
        (POLICY, ("10.2.0.21", "443"), "delivered to w1"),
    ],
)
def test_a_trace_says_who_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], policy: str, to: tuple[str, str], said: str
) -> None:
    (tmp_path / "network.yaml").write_text(examples.NETWORK)
    (tmp_path / "campus.yaml").write_text(policy)
    files = ("-t", str(tmp_path / "network.yaml"), "-p", str(tmp_path / "campus.yaml"))
    assert run(["trace", *files, "--from", "h1", "--to", to[0], "--dport", to[1]]) == 0
    (verdict,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("verdict:")]
    assert verdict.startswith(f"verdict:    {said}")


def test_a_trace_of_a_question_for_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "network.yaml").write_text(examples.NETWORK)
    (tmp_path / "campus.yaml").write_text(POLICY)
    files = ("-t", str(tmp_path / "network.yaml"), "-p", str(tmp_path / "campus.yaml"))
    assert run(["trace", *files, "--from", "h1", "--to", "10.1.0.254", "--proto", "udp", "--dport", "53"]) == 0
    assert "verdict:    answered by the controller: a question for a name\n" in capsys.readouterr().out


def test_names_of_files_are_whole_in_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    assert run(["lab", "list"]) == 0
    lines = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("contiv_walkthrough  topologies/contiv_walkthrough.yaml" in line for line in lines)
    assert any(line.split()[0] == "policies/contiv_walkthrough.yaml" for line in lines if line.split())


def changed(**more: Any) -> dict[str, Any]:
    """An answer to a change."""
    counts = {"s1": {"add": 1, "modify": 0, "delete": 0}}
    affected: dict[str, list[str]] = {"chains": [], "services": []}
    answer = {"changes": counts, "affected": affected, "warnings": [], "confirmed": True, "waiting": [], "connected": 1}
    return {**answer, **more}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (changed(), "done; every connected switch confirmed"),
        (changed(connected=0), "done; no switch is connected"),
        (changed(changes={}), "done; nothing to change on the switches"),
    ],
)
def test_what_switches_did(answer: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    report(Client("http://127.0.0.1:1", None), answer, "done", None)
    printed = capsys.readouterr()
    assert printed.err == f"{said}\n"
    assert ("s1" in printed.out) == bool(answer["changes"])


def test_switches_that_have_not_confirmed_are_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Failure, match="done, but not confirmed yet by s1"):
        report(Client("http://127.0.0.1:1", None), changed(confirmed=False, waiting=["s1"]), "done", None)


@pytest.mark.parametrize("state", [True, False])
def test_who_forgets_at_a_restart_says_so_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, state: bool
) -> None:
    stop = threading.Event()
    settings = Settings(
        api_listen="127.0.0.1:0", ofp_tcp_listen_port=0, state=str(tmp_path / "state") if state else None
    )
    with caplog.at_level(logging.WARNING):
        run_manager(settings, [OUR_APP], stop, lambda _: stop.set())
    said = [record.getMessage() for record in caplog.records if "--state DIR" in record.getMessage()]
    assert len(said) == (not state)
    assert all("addresses" in line and "service" in line for line in said)
