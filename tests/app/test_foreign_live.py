"""Flows of others on real switches, found by the controller and by what it is asked to apply."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bed
import dummy_ovs as dummy
import examples
import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from test_end_to_end import POLICY, Controller, running

from controller_app.pipeline.compile import compile as compile_policy

INSIDE = "  - {name: inside, from: {host: h1}, to: {host: h2}, traffic: [tcp/80-89], then: {chain: inspect}}\n"
MORE = POLICY.replace("  - {name: ssh,", INSIDE + "  - {name: ssh,")
BYPASS = (
    "cookie=0x77,table=0,priority=60500,in_port=11,tcp,nw_dst=10.1.0.12,tp_dst=85,"
    "actions=mod_dl_dst:02:00:00:00:01:12,output:12"
)
HARMLESS = (
    "cookie=0x78,table=0,priority=0,actions=NORMAL",
    "cookie=0x78,table=0,priority=60500,in_port=11,udp,tp_dst=9999,actions=output:12",
    "cookie=0x78,table=7,priority=9,actions=FLOOD",
)
NOBODY = 1  # a port where no controller listens


def chainctl(controller: Controller, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "controller_app.cli.chainctl", *argv],
        capture_output=True, text=True, cwd=examples.ROOT, env={**os.environ, "CHAINCTL_URL": controller.url},
    )  # fmt: skip


@pytest.fixture
def lab(dummy_ovs: dummy.DummyOvs, tmp_path: Path) -> Iterator[tuple[bed.Bed, Controller]]:
    """Switches that hold flows of others before the controller sees them."""
    network = bed.Bed(dummy_ovs, examples.network(), examples.policy())
    dummy_ovs.set_controller("b0", "127.0.0.1", NOBODY)  # a bridge's first controller empties its tables
    for flow in (BYPASS, *HARMLESS):
        dummy_ovs.ofctl("add-flow", "b0", flow)
    with running(dummy_ovs, network, tmp_path) as controller:
        yield network, controller


def test_a_policy_that_a_foreign_flow_gets_past_is_refused_until_it_is_gone_or_allowed(
    lab: tuple[bed.Bed, Controller], dummy_ovs: dummy.DummyOvs, tmp_path: Path
) -> None:
    network, controller = lab
    assert controller.ctl("get", "switches", "s1")["foreign_flows"] == 4
    # What is there now is not about the packets it takes: nothing to find.
    same = controller.ctl("plan", str(controller.policy))
    assert (same["foreign"], same["changes"]) == ([], {})
    more = tmp_path / "more" / "campus.yaml"
    more.parent.mkdir()
    more.write_text(MORE)
    planned = controller.ctl("plan", str(more), code=2)
    (found,) = planned["foreign"]
    assert (found["switch"], found["lost"], found["classifier"]) == ("s1", False, "inside")
    assert f"tcp_dst={85:#x}" in found["flow"]
    refused = chainctl(controller, "apply", str(more))
    assert refused.returncode == 1
    line = 1 + MORE.splitlines().index(INSIDE.rstrip())
    assert f"{more}:{line}:" in refused.stderr
    for word in ("classifiers.inside", "foreign flow on s1", "cookie=0x77", "output:12", "--allow-foreign"):
        assert word in refused.stderr
    assert "inside" not in str(controller.ctl("get", "classifiers"))
    # The switch agrees: the frame gets to h2 with no firewall on its way.
    ethernet = Ether(src="02:00:00:00:01:11", dst="02:00:00:00:01:12")
    frame = ethernet / IP(src="10.1.0.11", dst="10.1.0.12") / TCP(sport=5, dport=85)
    assert network.send("h1", bytes(frame)).hosts() == {"h2"}
    allowed = chainctl(controller, "apply", str(more), "--allow-foreign")
    assert allowed.returncode == 0, allowed.stderr
    assert "foreign flow on s1" in allowed.stderr
    assert "inside" in str(controller.ctl("get", "classifiers"))


def test_a_dump_with_a_foreign_flow_is_refused_by_name(dummy_ovs: dummy.DummyOvs, tmp_path: Path) -> None:
    (tmp_path / "network.yaml").write_text(examples.NETWORK)
    (tmp_path / "policy.yaml").write_text(MORE)
    network = bed.Bed(dummy_ovs, examples.network(), examples.policy(text=MORE))
    network.load(compile_policy(examples.policy(text=MORE), examples.network())[0])

    def verified(*flows: str) -> subprocess.CompletedProcess[str]:
        for flow in flows:
            dummy_ovs.ofctl("add-flow", "b0", flow)
        for name, bridge in network.bridges.items():
            for kind in ("flows", "groups"):
                (tmp_path / f"{name}.{kind}").write_text(dummy_ovs.ofctl(f"dump-{kind}", bridge))
        files = ["-t", str(tmp_path / "network.yaml"), "-p", str(tmp_path / "policy.yaml"), "--dump", str(tmp_path)]
        argv = [sys.executable, "-m", "controller_app.cli.chainctl", "verify", *files]
        return subprocess.run(argv, capture_output=True, text=True, cwd=examples.ROOT)

    fine = verified(HARMLESS[0], HARMLESS[2])
    assert (fine.returncode, fine.stdout[:3]) == (0, "ok:"), fine.stdout + fine.stderr
    assert "foreign" not in fine.stdout
    found = verified(BYPASS)
    assert found.returncode == 1
    for word in ("classifier: inside", "foreign flow on s1", "cookie=0x77", "85"):
        assert word in found.stdout, found.stdout
