"""Measures every number that the steering engine has to reach, and tells them in one table.

Usage: PYTHONPATH=tests python -m bench [--out DIR] [--only NAME]...    `make bench` builds first. Writes DIR/bench.json
and DIR/bench.md. Only the labs need root; run by others they ask for it with sudo. `ovn` measures services beside OVN,
which scripts/install-bench.sh installs. Numbers are ratios and counts; what a ratio is made of was measured in turns.
Exit 0 also where a number is not reached: it is told.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import (
    fuzzed,
    live_changes,
    mutants,
    paths,
    repair,
    report,
    rules,
    service_speed,
    services,
    slots,
    speed,
    verification,
)
from bench.report import Line

ROOT = Path(__file__).parents[2]
LABS = {  # module and function of each: imported where they run, since Mininet is needed for some
    "megaflows": ("bench.megaflows", "lines"),
    "throughput": ("bench.throughput", "lines"),
    "failover": ("bench.failover", "lines"),
    "churn": ("bench.service_labs", "churn"),
    "ovn": ("bench.service_labs", "beside_ovn"),
    "function_health": ("bench.function_health", "lines"),
}


def _lab(name: str, out: Path) -> Iterator[Line]:
    """A lab's lines: here, or by another process of root's."""
    if os.geteuid() == 0:
        module, function = LABS[name]
        yield from getattr(import_module(module), function)(out / name)
    else:
        yield from _as_root(name, out / name)


def _as_root(name: str, out: Path) -> Iterator[Line]:
    """The same with sudo. Without, a line that says so."""
    words = ["sudo", "env", f"PYTHONPATH={os.environ.get('PYTHONPATH', '')}", "PYTHONDONTWRITEBYTECODE=1"]
    words += [sys.executable, "-m", "bench", "--only", name, "--quiet", "--out", str(out)]
    if shutil.which("sudo") is None or subprocess.run(words, cwd=ROOT, check=False).returncode:
        yield Line(f"{name} (a lab)", "", "", None, "needs root: run make bench as root, or with sudo")
    else:
        yield from report.load((out / "bench.json").read_text(encoding="utf-8"))


def _give_back(out: Path) -> None:
    """Results belong to the user who called sudo, not to root."""
    user, group = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
    if os.geteuid() == 0 and user and group:
        for path in (out, *out.rglob("*")):
            os.chown(path, int(user), int(group), follow_symlinks=False)


def _measures(out: Path) -> dict[str, Callable[[], Iterator[Line]]]:
    """What there is to measure, by name; the labs first, while somebody who may be asked for a password is there."""
    return {
        **{name: (lambda name=name: _lab(name, out)) for name in LABS},  # type: ignore[misc]
        "slots": slots.lines,
        "rules": rules.lines,
        "speed": speed.lines,
        "repair": repair.lines,
        "services": _services,
        "paths": paths.lines,
        "mutants": mutants.lines,
        "verification": verification.lines,
        "live_changes": live_changes.lines,
        "fuzzed": fuzzed.lines,
    }


def _services() -> Iterator[Line]:
    yield from services.lines()
    yield from service_speed.lines()


ORDER = (  # of the table
    "rules", "megaflows", "throughput", "failover", "repair", "slots", "speed", "paths", "services", "churn", "ovn",
    "function_health", "mutants", "verification", "fuzzed", "live_changes",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description="Measure what the steering engine costs.")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "bench", help="directory for the results")
    parser.add_argument("--only", action="append", choices=ORDER, help="measure only this; may be repeated")
    parser.add_argument("--quiet", action="store_true", help="print no table")
    options = parser.parse_args()
    out: Path = options.out.resolve()
    stderr = Console(stderr=True)
    found: dict[str, list[Line]] = {}
    for name, measure in _measures(out).items():
        if options.only and name not in options.only:
            continue
        start = time.monotonic()
        stderr.print(f"[dim]·[/dim] measuring: {name}", highlight=False)
        found[name] = list(measure())
        stderr.print(f"[dim]·[/dim] {name} took {time.monotonic() - start:.0f} s", highlight=False)
    lines = [line for name in ORDER for line in found.get(name, ())]
    report.save(lines, out)
    _give_back(out)
    if not options.quiet:
        _print(lines)
        print(f"Written to {out}/bench.md and bench.json")


def _print(lines: list[Line]) -> None:
    table = Table(*report.HEADINGS, show_lines=True)
    for line in lines:
        table.add_row(*line.cells())
    Console(width=None if sys.stdout.isatty() else 160).print(table, highlight=False, markup=False)


if __name__ == "__main__":
    main()
