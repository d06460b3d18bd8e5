"""`chainctl lab`: Mininet experiments, from building the network to the report."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from controller_app.model.position import PolicyError

app = typer.Typer(no_args_is_help=True, help="Experiments in Mininet, on an Open vSwitch of their own.")

_complaints = Console(stderr=True, highlight=False, soft_wrap=True)

OutOption = Annotated[Path | None, typer.Option("--out", help="Directory for results (default: out/NAME).")]
PolicyOption = Annotated[
    Path | None, typer.Option("--policy", help="Use this policy instead of the lab's own.")
]
TopologyOption = Annotated[
    list[str], typer.Option("--topology", "-t", help="Topology file, or lab.py:MyTopo.")
]


@contextmanager
def _errors() -> Iterator[None]:
    """Say what is wrong in one paragraph and exit 1; say nothing but that on Ctrl-C."""
    try:
        from mininet_scenarios.harness.state import LabError
    except ImportError as problem:
        _complaints.print(f"Labs need {problem.name}, which is not installed: run `make build`.")
        raise typer.Exit(1) from problem
    try:
        yield
    except (LabError, PolicyError) as problem:
        _complaints.print(str(problem), markup=False)
        raise typer.Exit(1) from problem
    except KeyboardInterrupt as problem:
        _complaints.print("Interrupted; the lab is taken down.")
        raise typer.Exit(130) from problem


def _wide() -> Console:
    """stdout; in a log, where no terminal says how wide it is, wide enough for a table's lines."""
    console = Console()
    return console if console.is_terminal else Console(width=132)


def _need_root(what: str) -> None:
    if os.geteuid() != 0:
        _complaints.print(
            f"`chainctl lab {what}` makes network namespaces and interfaces, which needs root: "
            f"run it with sudo."
        )
        raise typer.Exit(1)


@app.command("list")
def list_labs() -> None:
    """The labs there are, and the idea of each."""
    with _errors():
        from mininet_scenarios.harness.scenarios import scenarios

        table = Table(box=None, header_style="bold")
        table.add_column("lab", no_wrap=True)
        table.add_column("files", no_wrap=True)  # below each other: side by side they leave nothing of 80 columns
        table.add_column("idea")
        for scenario in scenarios().values():
            files = f"topologies/{scenario.topology_file.name}\npolicies/{scenario.policy_file.name}"
            table.add_row(scenario.name, files, scenario.idea)
        _wide().print(table)


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="A lab's name; see `chainctl lab list`.")],
    cli: Annotated[bool, typer.Option("--cli", help="Open Mininet's command line after the checks.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the network running afterwards.")] = False,
    policy: PolicyOption = None,
    out: OutOption = None,
    repeat: Annotated[int, typer.Option("--repeat", min=1, help="Run it this often.")] = 1,
    symmetric_hash: Annotated[
        bool, typer.Option(help="As for chain-manager; without it connections are hashed the portable way.")
    ] = True,
) -> None:
    """Build a lab, run its traffic, check, report. Exit 0 when every check passed."""
    _need_root("run")
    if keep and repeat > 1:
        _complaints.print("--keep leaves one lab running, so it does not go with --repeat.")
        raise typer.Exit(1)
    with _errors():
        from mininet_scenarios.harness.scenarios import run_repeatedly, termination_as_interrupt

        with termination_as_interrupt():
            passed = run_repeatedly(
                name, repeat, _wide(), Console(stderr=True), policy=policy, out=out, cli=cli, keep=keep,
                options=() if symmetric_hash else ("--no-symmetric-hash",),
            )  # fmt: skip
    raise typer.Exit(0 if passed else 1)


@app.command()
def up(
    topology: TopologyOption,
    policy: Annotated[
        list[Path] | None, typer.Option("--policy", "-p", help="Policy file or directory.")
    ] = None,
    out: OutOption = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running instead of a command line.")] = False,
) -> None:
    """Any topology file as a running network with our controller, and Mininet's command line on it."""
    _need_root("up")
    with _errors():
        from mininet_scenarios.harness.scenarios import bring_up, termination_as_interrupt

        with termination_as_interrupt():
            bring_up(topology, policy or [], Console(stderr=True), out=out, keep=keep)


@app.command()
def clean() -> None:
    """Remove what labs left behind or were told to keep, and nothing else. Running labs are left alone."""
    _need_root("clean")
    with _errors():
        from mininet_scenarios.harness.state import clean as clean_labs

        for line in clean_labs() or ["nothing to clean"]:
            typer.echo(line)


if __name__ == "__main__":
    app()
