"""Labs and the files they read and write; nothing here needs root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from controller_app.cli.lab import app
from controller_app.model.policy import Policy
from controller_app.model.topology import End, Host, Link, Switch, Topology
from controller_app.pipeline.paths import paths
from mininet_scenarios import firewall_ids
from mininet_scenarios.harness.chain_picture import draw_chain
from mininet_scenarios.harness.checks import Checks
from mininet_scenarios.harness.hosts import check_names, with_hosts
from mininet_scenarios.harness.lab import clear_results, running_lab
from mininet_scenarios.harness.scenarios import scenarios
from mininet_scenarios.harness.state import LabError, LabState, ProcessId, clean, end
from mininet_scenarios.harness.topology_text import write_topology


def test_every_lab_says_its_idea_and_its_files_load() -> None:
    known = scenarios()
    assert "firewall_ids" in known
    for scenario in known.values():
        assert scenario.idea.endswith(".")
        assert Topology.load(str(scenario.topology_file)).switches
        assert Policy.load(str(scenario.policy_file)).tenants
        assert callable(scenario.module.run)


def test_list_names_the_labs() -> None:
    shown = CliRunner().invoke(app, ["list"])
    assert shown.exit_code == 0
    assert "firewall_ids" in shown.stdout


@pytest.mark.parametrize("words", [["run", "firewall_ids"], ["up", "-t", "x.yaml"], ["clean"]])
def test_without_root_labs_say_what_to_do(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 1
    assert "sudo" in said.output


def test_a_lab_that_is_not_there_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    said = CliRunner().invoke(app, ["run", "firewal_ids"])
    assert said.exit_code == 1
    assert "firewall_ids" in said.output


def test_running_needs_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with (
        pytest.raises(LabError, match="root"),
        running_lab("x", Topology(), [], tmp_path, Console(quiet=True)),
    ):
        pass


def test_checks_hold_or_fail_and_are_kept(tmp_path: Path) -> None:
    checks = Checks()
    assert checks.that("a", "equal", 3, 3)
    assert not checks.that("a", "not equal", 3, 4)
    assert checks.that("b", "said, with a comma", 3, "more than 2", 3 > 2)
    assert [check.claim for check in checks.failed] == ["not equal"]
    checks.save(tmp_path / "checks.csv")
    assert (tmp_path / "checks.csv").read_text(encoding="utf-8").splitlines() == [
        "topic,claim,measured,wanted,passed",
        "a,equal,3,3,yes",
        "a,not equal,3,4,no",
        'b,"said, with a comma",3,more than 2,yes',
    ]
    console = Console(width=100, record=True, quiet=False, file=open(os.devnull, "w"))  # noqa: SIM115
    checks.print("title", console)
    assert "FAILED" in console.export_text()


def test_results_replace_a_labs_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "mine.log").touch()
    with pytest.raises(LabError, match="logs"):
        clear_results(tmp_path)
    assert (tmp_path / "logs" / "mine.log").exists()
    fresh = tmp_path / "fresh"
    clear_results(fresh)
    (fresh / "pcaps").mkdir()
    (fresh / "a.png").touch()
    (fresh / "notes.txt").touch()
    clear_results(fresh)
    assert sorted(path.name for path in fresh.iterdir() if not path.name.startswith(".")) == ["notes.txt"]


def test_a_written_topology_reads_as_the_same(tmp_path: Path) -> None:
    for scenario in scenarios().values():
        topology = Topology.load(str(scenario.topology_file))
        write_topology(topology, tmp_path / "written.yaml")
        again = Topology.load(str(tmp_path / "written.yaml"))
        assert (again.switches, again.links, again.hosts) == (
            topology.switches,
            topology.links,
            topology.hosts,
        )


def test_bare_switches_get_a_host_each() -> None:
    link = Link(End("x", 3), End("h1", 1))
    topology = with_hosts(Topology({"x": Switch("x", 1), "h1": Switch("h1", 2)}, (link,)))
    assert [str(host.attach[""]) for host in topology.hosts.values()] == ["x:4", "h1:2"]
    assert not set(topology.hosts) & set(topology.switches)
    check_names(topology)
    assert with_hosts(topology) is topology


def test_a_name_for_a_switch_and_a_host_is_refused() -> None:
    with pytest.raises(LabError, match="a1"):
        check_names(Topology({"a1": Switch("a1", 1)}, (), {"a1": Host("a1", {"": End("a1", 1)})}))


def test_the_picture_of_the_main_lab(tmp_path: Path) -> None:
    scenario = scenarios()["firewall_ids"]
    topology, policy = Topology.load(str(scenario.topology_file)), Policy.load(str(scenario.policy_file))
    ways = paths(policy, topology)["chains"]
    assert set(firewall_ids.PLACES) == {*topology.switches, *topology.hosts}
    draw_chain(topology, policy, ways, firewall_ids.PLACES, ("s1", "s5"), tmp_path / "a.png")
    width, height = (int.from_bytes((tmp_path / "a.png").read_bytes()[at : at + 4], "big") for at in (16, 20))
    assert width > 1500 and height > 800


def test_a_process_is_told_from_a_later_one_with_its_number() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = ProcessId.of("child", child.pid)
    assert process.alive
    assert not ProcessId("child", child.pid, process.started + 1).alive
    assert end([ProcessId("child", child.pid, process.started + 1)]) == []
    assert end([process]) == [f"process child ({child.pid})"]
    assert not process.alive  # a zombie by now
    child.communicate()


def test_clean_ends_what_a_dead_lab_left_and_spares_a_living_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mininet_scenarios.harness.state.HOME", tmp_path / "labs")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    state = LabState.create("one")
    state.remember("child", child.pid)
    assert "left alone" in clean()[0]
    assert child.poll() is None
    state.runner = ProcessId("lab", 1, 0)
    state.save()
    (tmp_path / "labs" / "empty").mkdir()
    report = clean()
    child.communicate()
    assert len(report) == 2 and "process child" in " ".join(report) and "empty record" in " ".join(report)
    assert clean() == []
    assert list((tmp_path / "labs").iterdir()) == []


def test_two_labs_do_not_write_to_one_directory(tmp_path: Path) -> None:
    code = "import sys, pathlib; from mininet_scenarios.harness.lab import *; clear_results(pathlib.Path(sys.argv[1]))"
    holder = subprocess.Popen(
        [sys.executable, "-c", f"{code}; print('held', flush=True); sys.stdin.read()", str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LabError, match="another lab is writing to"):
        clear_results(tmp_path)
    holder.communicate("")
    clear_results(tmp_path)
    clear_results(tmp_path)  # the same process again, as with --repeat
