"""The main lab, run once for real."""

from __future__ import annotations

import csv
from pathlib import Path

from machine import look, look_again
from rich.console import Console

from mininet_scenarios.harness.scenarios import run_scenario


def test_every_check_of_the_main_lab_passes(tmp_path: Path) -> None:
    before = look()
    checks, results = run_scenario("firewall_ids", Console(stderr=True), out=tmp_path / "results")
    assert [
        f"{check.topic}: {check.claim}: {check.measured}, wanted {check.wanted}" for check in checks.failed
    ] == []
    assert len(checks.all) >= 40
    with open(results / "checks.csv", encoding="utf-8", newline="") as file:
        assert [row["passed"] for row in csv.DictReader(file)] == ["yes"] * len(checks.all)
    assert (results / "firewall_ids.png").read_bytes().startswith(b"\x89PNG")
    assert (results / "pcaps" / "ids1.pcap").stat().st_size > 100_000
    assert look_again(before) == before, "the lab left something on the machine, or took something away"
