"""doctor: what it reads from others' output, and that it always answers."""

from __future__ import annotations

import json
import socket

import pytest

from controller_app.cli import doctor
from controller_app.cli.chainctl import run


def test_versions_are_read() -> None:
    assert doctor.parse_version("ovs-vswitchd (Open vSwitch) 3.1.0\nDPDK 22.11.5\n") == (3, 1, 0)
    assert doctor.parse_version("something else 3.1.0") is None
    assert doctor.parse_release("6.1.0-18-amd64") == (6, 1)
    assert doctor.parse_release("strange") is None


def found(**answers: str | None) -> dict[str, doctor.Finding]:
    return {item.check: item for item in doctor.examine()}


def pretend(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    answers = {
        "ovs-vswitchd": None if version is None else f"ovs-vswitchd (Open vSwitch) {version}\n",
        "ovs-vsctl": "",
        "ovs-appctl": "",
        "mn": "2.3.0",
    }
    monkeypatch.setattr(doctor, "_run", lambda *command: answers.get(command[0]))
    monkeypatch.setattr(
        doctor.shutil, "which", lambda name, path=None: None if answers.get(name, "") is None else f"/usr/bin/{name}"
    )


def test_a_version_with_a_known_fault_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "3.1.0")
    assert "conntrack" in found()["Open vSwitch faults"].what
    pretend(monkeypatch, "2.13.8")
    assert "256" in found()["Open vSwitch faults"].what
    pretend(monkeypatch, "3.3.0")
    assert "Open vSwitch faults" not in found()
    assert found()["Open vSwitch"].state == "ok"


def test_what_is_missing_comes_with_the_command_that_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, None)
    assert found()["Open vSwitch"] == doctor.Finding(
        "Open vSwitch", "error", "not installed", "apt-get install openvswitch-switch"
    )
    monkeypatch.setattr(doctor.shutil, "which", lambda name, path=None: None)
    assert found()["Mininet"].remedy == "apt-get install mininet"
    assert "nftables" in found()["tools"].remedy
    for item in doctor.examine():
        assert item.state == "ok" or item.remedy


def test_a_port_in_use_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(doctor, "PORTS", {port: "a test"})
        assert found()[f"port {port}"].state == "warning"
    assert found()[f"port {port}"].state == "ok"


def test_it_runs_here(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["doctor", "-o", "json"])
    document = json.loads(capsys.readouterr().out)
    assert code == (0 if document["ok"] else 1)
    assert {"Open vSwitch", "Mininet", "MTU", "rights"} <= {item["check"] for item in document["checks"]}
    run(["doctor"])
    assert "Open vSwitch" in capsys.readouterr().out
