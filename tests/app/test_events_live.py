"""Events of real switches: an upload until every one of them confirmed, and what becomes of them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bed
import dummy_ovs as dummy
import examples
import pytest
from test_end_to_end import POLICY, Controller, running


@pytest.fixture
def lab(dummy_ovs: dummy.DummyOvs, tmp_path: Path) -> Iterator[tuple[bed.Bed, Controller]]:
    network = bed.Bed(dummy_ovs, examples.network(), examples.policy(), cables=True)
    with running(dummy_ovs, network, tmp_path) as controller:
        yield network, controller


class Follower:
    """`chainctl events --follow -o json` as a process."""

    def __init__(self, url: str) -> None:
        argv = ["-m", "controller_app.cli.chainctl", "--controller", url, "events", "--follow", "-o", "json"]
        self.process = subprocess.Popen([sys.executable, *argv], stdout=subprocess.PIPE, text=True, cwd=examples.ROOT)
        self.found: list[dict[str, Any]] = []

    def until(self, kind: str, **data: Any) -> dict[str, Any]:
        """The next event like this; all of them are remembered."""
        assert self.process.stdout is not None
        too_long = threading.Timer(60, self.process.terminate)
        too_long.start()
        try:
            for line in self.process.stdout:
                self.found.append(json.loads(line))
                if self.found[-1]["kind"] == kind and data.items() <= self.found[-1].items():
                    return self.found[-1]
        finally:
            too_long.cancel()
        raise AssertionError(f"no {kind} {data}: {self.found}")

    def had(self, kind: str, times: int) -> None:
        """Wait until so many of a kind came, counting those that did before."""
        for _ in range(times - [event["kind"] for event in self.found].count(kind)):
            self.until(kind)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def test_an_upload_and_its_switches(
    lab: tuple[bed.Bed, Controller], dummy_ovs: dummy.DummyOvs, tmp_path: Path
) -> None:
    network, controller = lab
    follower = Follower(controller.url)
    try:
        follower.until("change.confirmed", revision=1)
        follower.had("switch.synced", 4)
        follower.had("link.up", 1)  # found by looking, not only declared
        assert [event["kind"] for event in follower.found].count("switch.connected") == 4

        edited = tmp_path / "edited.yaml"
        edited.write_text(POLICY.replace("tcp/22", "tcp/24"))
        controller.ctl("apply", str(edited), "--name", "campus")
        confirmed = follower.until("change.confirmed", revision=2)
        own = [event for event in follower.found if event.get("change") == confirmed["change"]]
        assert [event["kind"] for event in own if event["kind"] != "change.waiting"] == [
            "change.accepted",
            "change.verified",
            "change.sent",
            "change.confirmed",
        ]
        assert own[0]["who"] == "loopback"

        again = controller.ctl("apply", str(edited), "--name", "campus")
        assert again["changes"] == {}
        same = follower.until("change.confirmed", revision=2)
        assert same["change"] != confirmed["change"]

        with dummy_ovs.transaction():
            dummy_ovs.vsctl("del-controller", network.bridges["s1"])
        assert follower.until("switch.lost")["switch"] == "s1"
        controller.ctl("apply", str(controller.policy), code=1)
        waiting = follower.until("change.waiting", revision=3)
        assert any(said.startswith("s1 (") for said in waiting["waiting"])
        with dummy_ovs.transaction():
            dummy_ovs.set_controller(network.bridges["s1"], "127.0.0.1", controller.port)
        assert follower.until("switch.connected")["switch"] == "s1"
        assert follower.until("change.confirmed", revision=3)["change"] == waiting["change"]

        dummy_ovs.ofctl("add-flow", network.bridges["s2"], "table=0,priority=7,in_port=9,actions=drop")
        assert follower.until("foreign.flow") == {**follower.found[-1], "switch": "s2", "flows": 1}
    finally:
        follower.close()


def test_a_follower_goes_on_when_the_controller_comes_back(tmp_path: Path) -> None:
    controller = Controller(tmp_path)
    port = controller.url.rpartition(":")[2]
    follower = Follower(controller.url)
    try:
        controller.ctl("endpoint", "drain", "web1")
        follower.until("change.sent")
    finally:
        controller.process.terminate()
        controller.process.wait(10)
    argv = ["--topology", str(tmp_path / "network.yaml"), "--policy", str(controller.policy)]
    argv += ["--api-listen", f"127.0.0.1:{port}", "--ofp-tcp-listen-port", "0"]
    log = open(tmp_path / "second log", "wb")  # noqa: SIM115 - the process writes it
    second = subprocess.Popen(
        [sys.executable, "-m", "controller_app.cli.manager", *argv], stderr=log, cwd=examples.ROOT
    )
    try:
        follower.until("change.waiting", revision=1)
    finally:
        follower.close()
        second.terminate()
        second.wait(10)
        log.close()
