"""Which labs there are, and running one: the machinery behind `chainctl lab`."""

from __future__ import annotations

import importlib
import pkgutil
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType

from rich.console import Console

import mininet_scenarios
from controller_app.policy.topology_file import load_topologies
from mininet_scenarios.harness.checks import Checks
from mininet_scenarios.harness.hosts import with_hosts
from mininet_scenarios.harness.lab import Lab, give_back, running_lab
from mininet_scenarios.harness.state import LabError

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A lab: a module with TOPOLOGY, POLICY (names in `topologies/`, `policies/`: a file, or a directory of policies)
    and `run(lab)`; where it has tunnels that are not to be VXLAN also GENEVE, their ends ("s1:3")."""

    name: str
    idea: str  # the first line of its docstring
    module: ModuleType

    @property
    def topology_file(self) -> Path:
        return ROOT / "topologies" / str(self.module.TOPOLOGY)

    @property
    def policy_file(self) -> Path:
        return ROOT / "policies" / str(self.module.POLICY)


def scenarios() -> dict[str, Scenario]:
    """Every lab there is, by name."""
    found = {}
    for info in pkgutil.iter_modules(mininet_scenarios.__path__):
        if not info.ispkg:
            module = importlib.import_module(f"mininet_scenarios.{info.name}")
            idea = (module.__doc__ or "").strip().partition("\n")[0]
            found[info.name] = Scenario(info.name, idea, module)
    return found


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP take the lab down the way Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_scenario(
    name: str,
    console: Console,
    *,
    policy: Path | None = None,
    out: Path | None = None,
    cli: bool = False,
    keep: bool = False,
    options: Sequence[str] = (),
) -> tuple[Checks, Path]:
    """Run a lab and return its checks and the directory of its results. `options` are chain-manager's.

    Raises LabError when there is no such lab or it could not be built; a check that failed is no error here.
    """
    known = scenarios()
    if name not in known:
        raise LabError(f"there is no lab called {name}; there are: {', '.join(sorted(known))}")
    scenario = known[name]
    results = (out or Path("out") / name).resolve()
    topology = load_topologies([str(scenario.topology_file)])
    policies = [(policy or scenario.policy_file).resolve()]
    try:
        with running_lab(
            name,
            topology,
            policies,
            results,
            console,
            reachable=cli or keep,
            options=options,
            geneve=getattr(scenario.module, "GENEVE", ()),
        ) as lab:
            try:
                scenario.module.run(lab)
            finally:
                lab.checks.save(results / "checks.csv")
            if cli:
                command_line(lab)
            if keep:
                say_kept(lab)
    finally:
        give_back(results)
    return lab.checks, results


def run_repeatedly(
    name: str,
    times: int,
    stdout: Console,
    stderr: Console,
    *,
    policy: Path | None,
    out: Path | None,
    cli: bool,
    keep: bool,
    options: Sequence[str] = (),
) -> bool:
    """Run a lab `times` times, print each table and where the results are. Did every check pass?"""
    base = out or Path("out") / name
    failed: dict[str, int] = {}
    for number in range(1, times + 1):
        results = base if times == 1 else base / str(number)
        checks, results = run_scenario(
            name, stderr, policy=policy, out=results, cli=cli, keep=keep, options=options
        )
        heading = name if times == 1 else f"{name}, run {number} of {times}"
        passed = len(checks.all) - len(checks.failed)
        checks.print(f"{heading}: {passed} of {len(checks.all)} checks passed", stdout)
        for check in checks.failed:
            failed[check.claim] = failed.get(check.claim, 0) + 1
        for picture in sorted(results.glob("*.png")):
            stdout.print(f"Picture: {picture}", soft_wrap=True, highlight=False)
        stdout.print(f"Results: {results}", soft_wrap=True, highlight=False)
        if not checks.all:
            failed["no check was made"] = failed.get("no check was made", 0) + 1
    for claim, count in failed.items():
        stderr.print(f"[bold red]failed[/bold red] {count} of {times}: {claim}", highlight=False)
    return not failed


def bring_up(
    topologies: Sequence[str], policies: Sequence[Path], console: Console, *, out: Path | None, keep: bool
) -> None:
    """Run any topology with our controller; Mininet's command line, or with `keep` left running at once."""
    topology = with_hosts(load_topologies(list(topologies)))
    results = (out or Path("out") / "up").resolve()
    try:
        with running_lab(
            "up", topology, [path.resolve() for path in policies], results, console, reachable=True
        ) as lab:
            if keep:
                say_kept(lab)
            else:
                command_line(lab)
    finally:
        give_back(results)


def command_line(lab: Lab) -> None:
    """Mininet's command line on the running lab, until the user leaves it."""
    from mininet.cli import CLI
    from mininet.log import setLogLevel

    setLogLevel("info")
    if lab.outside_url:
        lab.say(f"the controller: CHAINCTL_URL={lab.outside_url} chainctl get switches")
    hosts = [name for name, host in lab.topology.hosts.items() if host.ips]
    example = f"`{hosts[0]} ping {hosts[-1]}`, " if hosts else ""
    lab.say(f"Mininet's command line: {example}`net`, `exit`, …")
    CLI(lab.network.mininet)
    setLogLevel("warning")


def say_kept(lab: Lab) -> None:
    names = lab.keep()
    host = next(iter(lab.topology.hosts), None)
    lab.say("left running; `chainctl lab clean` removes it")
    if host is not None:
        lab.say(f"a shell on {host}: ip netns exec {names[host]} bash")
    lab.say(f"the switches: OVS_RUNDIR={lab.ovs_directory} ovs-vsctl show")
    if lab.outside_url:
        lab.say(f"the controller: CHAINCTL_URL={lab.outside_url} chainctl get switches")
