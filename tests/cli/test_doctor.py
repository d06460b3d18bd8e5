"""doctor: what it reads from others' output, and that it always answers."""

from __future__ import annotations

import json
import socket
import time

import dummy_ovs as dummy
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


def ovsdb(monkeypatch: pytest.MonkeyPatch, **tables: tuple[list[str], list[list[object]]]) -> None:
    """Let Open vSwitch's database answer with these tables."""

    def answer(*command: str) -> str | None:
        if command[0] == "ovs-vsctl" and command[-2] == "list" and command[-1] in tables:
            headings, rows = tables[command[-1]]
            return json.dumps({"headings": headings, "data": rows})
        return None

    monkeypatch.setattr(doctor, "_run", answer)


def test_ports_without_room_for_a_transport_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    headings = ["name", "type", "mtu"]
    ovsdb(monkeypatch, Interface=(headings, [
        ["s1", "internal", 1500], ["p1", "patch", 1500], ["s1-eth1", "", 1500], ["vx1", "vxlan", ["set", []]],
    ]))  # fmt: skip
    finding = found()["port MTU"]
    assert finding.state == "warning"
    assert finding.what.startswith("s1-eth1: ")
    assert finding.remedy.startswith("ovs-vsctl set interface s1-eth1 mtu_request=1600")
    ovsdb(monkeypatch, Interface=(headings, [["s1-eth1", "", 1600], ["s1-eth2", "", 9000]]))
    assert found()["port MTU"].state == "ok"
    ovsdb(monkeypatch)
    assert "port MTU" not in found()


def test_tunnels_that_nobody_watches_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    headings = ["name", "type", "bfd", "bfd_status"]
    nothing, enabled = ["map", []], ["map", [["enable", "true"]]]
    up, down = (["map", [["forwarding", state], ["state", "up"]]] for state in ("true", "false"))
    rows = [["s1-eth1", "", nothing, nothing], ["vx1", "vxlan", nothing, nothing], ["vx2", "geneve", enabled, up]]
    ovsdb(monkeypatch, Interface=(headings, rows))
    assert found()["tunnel liveness"].what.startswith("vx1: ")
    assert found()["tunnel liveness"].remedy.startswith("ovs-vsctl set interface vx1 bfd:enable=true")
    assert found()["BFD"] == doctor.Finding("BFD", "ok", "vx2 up")
    ovsdb(monkeypatch, Interface=(headings, [rows[0], ["vx3", "vxlan", enabled, down]]))
    assert "tunnel liveness" not in found()
    assert (found()["BFD"].state, "vx3" in found()["BFD"].what) == ("warning", True)
    ovsdb(monkeypatch, Interface=(headings, rows[:1]))
    assert not {"BFD", "tunnel liveness"} & found().keys()


@pytest.mark.parametrize(
    ("capabilities", "hash_state", "others"),
    [
        ({"max_hash_alg": "0", "ct_state": "true"}, "warning", "ok"),
        ({"max_hash_alg": "1", "ct_state": "true"}, "ok", "ok"),
        ({"max_hash_alg": "1", "ct_state": "false"}, "ok", "warning"),
    ],
)
def test_what_datapaths_can_is_read(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, str], hash_state: str, others: str
) -> None:
    listed = ["map", [list(item) for item in capabilities.items()]]
    ovsdb(monkeypatch, Datapath=(["capabilities"], [[listed], [["map", []]]]))
    checks = found()
    assert f"max_hash_alg={capabilities['max_hash_alg']}" in checks["datapath hash"].what
    assert checks["datapath hash"].state == hash_state
    assert checks["datapath capabilities"].state == others


@pytest.mark.parametrize("text", ["", "[]", "no json", '{"headings": ["name"]}', '{"data": 3}'])
def test_a_strange_database_is_no_problem(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(doctor, "_run", lambda *command: text)
    assert "port MTU" not in found()


def test_a_real_database_is_read(monkeypatch: pytest.MonkeyPatch, dummy_ovs: dummy.DummyOvs) -> None:
    dummy_ovs.add_bridge("s1", dpid=1)
    dummy_ovs.add_port("s1", "p1", 1)
    run_command = doctor._run

    def here(*command: str) -> str | None:
        if command[0] != "ovs-vsctl":
            return run_command(*command)
        return dummy_ovs.vsctl(*command[1:])

    monkeypatch.setattr(doctor, "_run", here)
    assert found()["port MTU"].state == "warning"
    dummy_ovs.vsctl("set", "interface", "p1", "mtu_request=1600")
    deadline = time.monotonic() + 5
    while found()["port MTU"].state != "ok":
        assert time.monotonic() < deadline, dummy_ovs.vsctl("list", "interface", "p1")
