"""chain-manager as a process, real switches, real frames, and chainctl against it."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import bed
import dummy_ovs as dummy
import examples
import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from controller_app.cli import chainctl
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.topology_file import parse_topology

POLICY = examples.POLICY.replace("STICKINESS", "connection").replace("RETURN", "symmetric")
GATEWAY = "0a:00:00:00:00:01"


class Controller:
    """chain-manager with the example network, and chainctl to speak to it."""

    def __init__(self, path: Path, *apps: str, network: str = examples.NETWORK, policy: str = POLICY) -> None:
        (path / "network.yaml").write_text(network)
        self.policy = path / "campus.yaml"
        self.policy.write_text(policy)
        self.log = path / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "controller_app.cli.manager",
                    "--topology",
                    str(path / "network.yaml"),
                    "--policy",
                    str(self.policy),
                    "--state",
                    str(path / "state dir"),
                    "--api-listen",
                    "127.0.0.1:0",
                    "--ofp-tcp-listen-port",
                    "0",
                    *apps,
                ],
                stderr=log,
                cwd=examples.ROOT,
            )
        self.port = int(self._said(r"listening on \S+?:(\d+)"))
        self.url = "http://127.0.0.1:" + self._said(r"REST API is at 127.0.0.1 port (\d+)")

    def _said(self, pattern: str) -> str:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.log.read_text()):
                return found[1]
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def ctl(self, *argv: str, code: int = 0) -> Any:
        """chainctl's JSON answer. It runs in this process: to start one takes longer than all that it does."""
        said, complained = io.StringIO(), io.StringIO()
        with mock.patch.dict(os.environ, CHAINCTL_URL=self.url), redirect_stdout(said), redirect_stderr(complained):
            done = chainctl.run([*argv, "-o", "json"])
        return self._answer(done, said.getvalue(), complained.getvalue(), code)

    def ctl_process(self, *argv: str, code: int = 0) -> Any:
        """The same by a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "controller_app.cli.chainctl", *argv, "-o", "json"],
            capture_output=True,
            text=True,
            cwd=examples.ROOT,
            env={**os.environ, "CHAINCTL_URL": self.url},
        )
        return self._answer(done.returncode, done.stdout, done.stderr, code)

    @staticmethod
    def _answer(done: int, said: str, complained: str, code: int) -> Any:
        assert done == code, complained
        return json.loads(said) if said else complained

    def wait_in_sync(self) -> None:
        deadline = time.monotonic() + 20
        while not all(s["in_sync"] for s in self.ctl("get", "switches")["switches"]):
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)


@contextmanager
def running(ovs: dummy.DummyOvs, network: bed.Bed, folder: Path) -> Iterator[Controller]:
    """A controller in a process of its own, whose rules all switches hold; it has to end well."""
    controller = Controller(folder)
    try:
        with ovs.transaction():
            for bridge in network.bridges.values():
                ovs.set_controller(bridge, "127.0.0.1", controller.port)
        controller.wait_in_sync()
        yield controller
    finally:
        controller.process.terminate()
        assert controller.process.wait(10) == 0
        assert "Traceback" not in controller.log.read_text(), controller.log.read_text()


@pytest.fixture
def lab(dummy_ovs: dummy.DummyOvs, tmp_path: Path) -> Iterator[tuple[bed.Bed, Controller]]:
    """The example network with a controller that all switches hold the rules of."""
    network = bed.Bed(dummy_ovs, examples.network(), examples.policy())
    controller = Controller(tmp_path)
    try:
        with dummy_ovs.transaction():
            for bridge in network.bridges.values():
                dummy_ovs.set_controller(bridge, "127.0.0.1", controller.port)
        controller.wait_in_sync()
        dummy_ovs.follow_flows()
        yield network, controller
    finally:
        controller.process.terminate()
        assert controller.process.wait(10) == 0
        assert "Traceback" not in controller.log.read_text(), controller.log.read_text()


def syn(sport: int) -> bytes:
    return bytes(
        Ether(src="02:00:00:00:01:11", dst=GATEWAY)
        / IP(src="10.1.0.11", dst="100.1.1.3")
        / TCP(sport=sport, dport=8080)
    )


def test_a_live_trace_says_what_the_packet_really_does(
    lab: tuple[bed.Bed, Controller], dummy_ovs: dummy.DummyOvs
) -> None:
    """The switch is asked which slot its hash picks; the frame itself then goes exactly there."""
    network, controller = lab
    ways = set()
    for sport in range(40000, 40012):
        document = controller.ctl(
            "trace", "--from", "h1", "--to", "100.1.1.3", "--dport", "8080", "--sport", str(sport)
        )
        assert "candidates" not in document, document.get("note")
        assert document["verdict"] == "delivered"
        (firewall,) = document["functions"]
        ways.add((firewall, document["host"]))
        for port in network.ports.values():
            dummy_ovs.sent(port)
        dummy_ovs.receive(network.ports["h1", ""], syn(sport))
        handed = [f for f in dummy_ovs.sent(network.ports[firewall, "in"], 1) if TCP in Ether(f)]
        assert len(handed) == 1
        dummy_ovs.receive(network.ports[firewall, "out"], handed[0])
        arrived = [f for f in dummy_ovs.sent(network.ports[document["host"], ""], 1) if TCP in Ether(f)]
        assert [Ether(f)[TCP].dport for f in arrived] == [80]
        # and there is nothing that a question leaves behind: one frame went the way, one only
        assert [f for f in dummy_ovs.sent(network.ports[firewall, "in"]) if TCP in Ether(f)] == []
    assert len({firewall for firewall, _ in ways}) == 2
    assert len({host for _, host in ways}) == 3


def test_plan_apply_delete_and_restart(
    lab: tuple[bed.Bed, Controller], dummy_ovs: dummy.DummyOvs, tmp_path: Path
) -> None:
    _, controller = lab
    assert controller.ctl_process("plan", str(controller.policy))["changes"] == {}
    without = tmp_path / "without.yaml"
    without.write_text(
        POLICY.replace("traffic: [tcp/8080], then: {chain: inspect}", "traffic: [tcp/8080], then: allow")
    )
    plan = controller.ctl_process("plan", str(without), "--name", "campus", code=2)
    assert plan["changes"]
    assert plan["verification"]["ok"]
    assert plan["affected"]["chains"] == ["inspect"]
    done = controller.ctl("apply", str(without), "--name", "campus")
    assert done["confirmed"]
    assert done["connected"] == len(examples.network().switches)
    assert done["changes"] == plan["changes"]
    trace = controller.ctl("trace", "--from", "h1", "--to", "100.1.1.3", "--dport", "8080")
    assert (trace["verdict"], trace["functions"]) == ("delivered", [])
    # another name for the same objects is refused, with both places
    assert "campus" in controller.ctl("apply", str(without), code=1)
    broken = tmp_path / "broken.yaml"
    broken.write_text(POLICY.replace("then: deny", "then: denied"))
    said = controller.ctl("apply", str(broken), "--name", "campus", code=1)
    assert said.startswith(f"{broken}:")
    assert controller.ctl("apply", str(controller.policy))["changes"]
    assert controller.ctl("apply", str(controller.policy))["changes"] == {}
    controller.process.send_signal(signal.SIGHUP)
    assert controller.ctl("get", "policies")["policies"][0]["name"] == "campus"
    assert controller.ctl("delete", "campus")["affected"]["services"] == ["app-svc"]
    assert controller.ctl("get", "policies")["policies"] == []


def test_switches_tell_of_themselves_and_captures_are_read_by_name(
    lab: tuple[bed.Bed, Controller], dummy_ovs: dummy.DummyOvs, tmp_path: Path
) -> None:
    network, controller = lab
    version = dummy_ovs.appctl("version").split()[-1]
    deadline = time.monotonic() + 20
    while True:
        switches = {s["name"]: s for s in controller.ctl("get", "switches")["switches"]}
        if all(switches[name]["symmetric"] is not None for name in ("s1", "s3", "s4")):
            break
        assert time.monotonic() < deadline, controller.log.read_text()
        time.sleep(0.05)
    assert {s["version"] for s in switches.values()} == {version}
    assert switches["s1"]["hash"] == "dp_hash, the same in both directions"
    assert all(s["meters"] for s in switches.values())
    # what a firewall is handed, read back
    dummy_ovs.receive(network.ports["h1", ""], syn(40001))
    firewall = next(name for name in ("fw1", "fw2") if dummy_ovs.sent(network.ports[name, "in"], 1, 0.5))
    capture = dummy_ovs.dir / f"{network.ports[firewall, 'in']}.pcap"
    frame = controller.ctl("decode", str(capture))["frames"][-1]
    assert (frame["names"], frame["path"][0], frame["direction"]) == (["inspect"], firewall, "forward")
    assert (frame["next"]["name"], frame["position"]) == (f"{firewall}:in", 0)
    assert frame["exit"]["name"] in ("w1", "w2", "w3")
    assert frame["packet"] == "10.1.0.11:40001 > 100.1.1.3:8080 tcp"


ONE_SWITCH = """\
version: 1
switches: {s1: {dpid: 1}}
hosts:
  h1: {attach: s1:1, ip: 10.0.0.1, mac: 02:00:00:00:00:01}
  h2: {attach: s1:2, ip: 10.0.0.2, mac: 02:00:00:00:00:02}
  fw1: {attach: {in: s1:3, out: s1:4}}
"""
PROTECTED = """\
version: 1
functions:
  firewall: {kind: firewall, instances: {fw1: {host: fw1}}}
chains:
  protected: {through: [firewall]}
classifiers:
  - {from: {host: h1}, to: {host: h2}, traffic: [tcp/80], then: {chain: protected}}
"""


def test_an_unmodified_learning_switch_gets_the_rest(dummy_ovs: dummy.DummyOvs, tmp_path: Path) -> None:
    """What no part of ours is concerned with, it forwards; what it installs or floods never leaves a chain."""
    topology, policy = parse_topology(ONE_SWITCH, "one.yaml"), parse_policy({"p.yaml": PROTECTED}).policy
    network = bed.Bed(dummy_ovs, topology, policy)
    controller = Controller(tmp_path, "tests/openflow/learning_switch_13.py", network=ONE_SWITCH, policy=PROTECTED)
    try:
        dummy_ovs.set_controller("b0", "127.0.0.1", controller.port)
        controller.wait_in_sync()
        dummy_ovs.follow_flows()

        def other(source: int, target: int) -> bytes:
            return bytes([2, 0, 0, 0, 0, target, 2, 0, 0, 0, 0, source, 0x88, 0xB5]) + bytes(50)

        for port in network.ports.values():
            dummy_ovs.sent(port)
        dummy_ovs.receive(network.ports["h1", ""], other(1, 2))
        assert other(1, 2) in dummy_ovs.sent(network.ports["h2", ""], 1, 5)
        dummy_ovs.receive(network.ports["h2", ""], other(2, 1))
        assert other(2, 1) in dummy_ovs.sent(network.ports["h1", ""], 1, 5)
        deadline = time.monotonic() + 10
        while "priority=1,in_port=2" not in dummy_ovs.ofctl("dump-flows", "b0"):
            assert time.monotonic() < deadline, "the learning switch installed nothing"
        # its flows for these two hosts are there now, and the chain holds
        mac = "02:00:00:00:00:0"
        web = bytes(Ether(src=mac + "1", dst=mac + "2") / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(dport=80))
        seen = network.send("h1", web)
        assert seen.at("fw1", "in")
        assert [Ether(f)[TCP].dport for f in seen.at("h2") if TCP in Ether(f)] == [80]
        dummy_ovs.receive(network.ports["h1", ""], web)
        assert [f for f in dummy_ovs.sent(network.ports["h2", ""]) if TCP in Ether(f)] == []  # no firewall, no way
        # and ours takes nothing of its away
        controller.ctl("delete", "campus")
        assert "priority=1,in_port=2" in dummy_ovs.ofctl("dump-flows", "b0")
    finally:
        controller.process.terminate()
        assert controller.process.wait(10) == 0
        assert "Traceback" not in controller.log.read_text(), controller.log.read_text()
