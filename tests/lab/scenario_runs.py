"""A lab run for real: every check passes, and the machine is as it was."""

from __future__ import annotations

import csv
from pathlib import Path

from machine import look, look_again
from rich.console import Console

from mininet_scenarios.harness.scenarios import run_scenario

LABS = {  # and the fewest checks each has to make
    "branching": 14,
    "chain_cases": 800,
    "contiv_walkthrough": 28,
    "function_modes": 80,
    "insertion": 40,
    "layer7": 15,
    "narrow_tunnels": 100,
    "service_cases": 240,
    "transports": 80,
}
PORTABLE = ("--no-symmetric-hash",)


def run(name: str, out: Path, *options: str) -> Path:
    """Run a lab: every check passes, and nothing is left on the machine. Returns where its results are."""
    before = look()
    checks, results = run_scenario(name, Console(stderr=True), out=out, options=options)
    assert [
        f"{check.topic}: {check.claim}: {check.measured}, wanted {check.wanted}" for check in checks.failed
    ] == []
    assert len(checks.all) >= LABS[name]
    with open(results / "checks.csv", encoding="utf-8", newline="") as file:
        assert [row["passed"] for row in csv.DictReader(file)] == ["yes"] * len(checks.all)
    assert look_again(before) == before, "the lab left something on the machine, or took something away"
    return results
