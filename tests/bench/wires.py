"""A lab without a controller: switches that hold exactly the flows they are given, real cables, real hosts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from controller_app.model.flow import FlowState
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.ofctl import format_meters, format_state
from mininet_scenarios.harness.lab import Lab, running_lab
from mininet_scenarios.harness.ovs import OPENFLOW
from mininet_scenarios.harness.processes import run

HERE = Path(__file__).parent


@contextmanager
def wired(name: str, out: Path) -> Iterator[tuple[Lab, Topology, Policy]]:
    """The network of NAME.topology.yaml, running, with empty switches; and its policy. Needs root."""
    topology = Topology.load(str(HERE / f"{name}.topology.yaml"))
    policy_file = HERE / f"{name}.policy.yaml"
    console = Console(stderr=True)
    with running_lab(f"bench-{name}", topology, [policy_file], out, console, controlled=False) as lab:
        yield lab, topology, Policy.load(str(policy_file))


def fill(state: FlowState) -> None:
    """Make every switch hold exactly this."""
    for switch, held in state.items():
        flows, groups = format_state(held)
        _replace(switch, flows, groups, format_meters(held))


def fill_plain(flows: Mapping[str, str], groups: Mapping[str, str] | None = None) -> None:
    """The same from text: flows and groups, one a line, by switch."""
    for switch, text in flows.items():
        _replace(switch, text, (groups or {}).get(switch, ""), "")


def _replace(switch: str, flows: str, groups: str, meters: str) -> None:
    for kind in ("flows", "groups", "meters"):
        ofctl(f"del-{kind}", switch)
    for meter in meters.splitlines():
        ofctl("add-meter", switch, meter)
    if groups:
        ofctl("add-groups", switch, "-", stdin=groups)
    ofctl("add-flows", switch, "-", stdin=flows)


def ofctl(*words: str, stdin: str | None = None) -> str:
    """`ovs-ofctl` on a switch of the lab."""
    return run(["ovs-ofctl", "-O", OPENFLOW, *words], stdin=stdin)


def appctl(*words: str) -> str:
    """`ovs-appctl` to the lab's Open vSwitch."""
    return run(["ovs-appctl", "--timeout=60", *words])


def vsctl(*words: str) -> str:
    """`ovs-vsctl` on the lab's database."""
    return run(["ovs-vsctl", "--timeout=20", "--", *words])
