"""What becomes of a change on real switches: all acknowledge it, one is away, one refuses it, the controller dies."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import bed
import dummy_ovs as dummy
import examples
import pytest
from test_end_to_end import POLICY, Controller

from controller_app.cli import chainctl

OTHER = POLICY.replace("weight: 2", "weight: 3")
MORE = POLICY.replace("networks:", "networks:\n  extra: {subnet: 10.77.0.0/24, gateway: 10.77.0.254}", 1)  # not on s2


class Lab:
    """The example network, a controller, and chainctl as a person uses it."""

    def __init__(self, ovs: dummy.DummyOvs, path: Path) -> None:
        self.ovs, self.path = ovs, path
        self.network = bed.Bed(ovs, examples.network(), examples.policy())
        self.controller = Controller(path)
        self.connect(*self.network.bridges)
        self.controller.wait_in_sync()

    def connect(self, *switches: str) -> None:
        with self.ovs.transaction():
            for name in switches:
                self.ovs.set_controller(self.network.bridges[name], "127.0.0.1", self.controller.port)

    def disconnect(self, switch: str) -> None:
        self.ovs.vsctl("del-controller", self.network.bridges[switch])
        self.until(lambda: not self.connected(switch))

    def connected(self, switch: str) -> bool:
        listed = self.controller.ctl("get", "switches")["switches"]
        return bool(next(each["connected"] for each in listed if each["name"] == switch))

    def until(self, condition: object, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not condition():  # type: ignore[operator]
            assert time.monotonic() < deadline, self.controller.log.read_text()
            time.sleep(0.05)

    def ctl(self, *argv: str, code: int = 0) -> tuple[str, str]:
        """What chainctl prints as data, and what it says."""
        said, complained = io.StringIO(), io.StringIO()
        with mock.patch.dict(os.environ, CHAINCTL_URL=self.controller.url), redirect_stdout(said), \
                redirect_stderr(complained):  # fmt: skip
            done = chainctl.run(argv)
        assert done == code, complained.getvalue()
        return said.getvalue(), complained.getvalue()

    def apply(self, text: str, *more: str, code: int = 0) -> list[str]:
        """Apply a policy under the name of the one there is; answers the lines that are said."""
        (self.path / "new.yaml").write_text(text)
        return self.ctl("apply", str(self.path / "new.yaml"), "--name", "campus", *more, code=code)[1].splitlines()

    def state(self, number: int) -> tuple[str, list[str]]:
        revision = self.controller.ctl("history", str(number))
        return revision["state"], revision["waiting"]

    def end(self) -> None:
        self.controller.process.terminate()
        assert self.controller.process.wait(10) is not None
        assert "Traceback" not in self.controller.log.read_text(), self.controller.log.read_text()


@pytest.fixture
def lab(dummy_ovs: dummy.DummyOvs, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(dummy_ovs, tmp_path)
    try:
        yield made
    finally:
        made.end()


def test_apply_says_what_was_accepted_verified_sent_and_acknowledged(lab: Lab) -> None:
    lab.until(lambda: lab.state(1) == ("confirmed", []))
    said = lab.apply(OTHER)
    changed = lab.controller.ctl("history", "2")["plan"]["changes"]
    assert said[0] == "accepted: campus, revision 2"
    assert said[1].startswith("verified: ") and said[1].endswith(" classes of packets")
    assert said[2].startswith("sent: ") and said[2].endswith(f" deleted, for {', '.join(changed)}")
    named = [name for line in said[3:-1] for name in line.removeprefix("acknowledged: ").split(", ")]
    assert sorted(named) == sorted(changed) and all(line.startswith("acknowledged: ") for line in said[3:-1])
    assert said[-1] == "applied campus; every connected switch confirmed"
    assert lab.state(2) == ("confirmed", [])
    # back, by one word
    _, said_back = lab.ctl("rollback")
    assert said_back.startswith("revision 1: start, by file at ")
    assert "accepted: rolled back to 1, revision 3" in said_back
    assert lab.ctl("get", "policies", "campus")[0] == POLICY
    assert lab.apply(POLICY)[-1] == "applied campus; nothing to change on the switches"
    listed = lab.ctl("history")[0].splitlines()
    assert listed[0].split() == ["number", "at", "who", "what", "policies", "state", "waiting"]
    assert [line.split()[0] for line in listed[2:]] == ["3", "2", "1"]


def test_a_switch_that_is_away_is_named_and_the_change_confirmed_when_it_is_back(lab: Lab) -> None:
    lab.until(lambda: lab.state(1) == ("confirmed", []))
    lab.disconnect("s4")
    nothing = lab.apply(POLICY + "# a word more\n")  # it holds that already
    assert nothing[-1] == "applied campus; nothing to change on the switches"
    assert lab.state(2) == ("confirmed", [])
    began = time.monotonic()
    said = lab.apply(MORE, code=1)
    assert time.monotonic() - began < 15  # it does not wait for who is not there
    left = "applied campus, and revision 3 is in force, but not on every switch: s4 (not connected);"
    assert said[-1].startswith(left)
    assert lab.state(3) == ("waiting", ["s4 (not connected)"])
    lab.connect("s4")
    lab.until(lambda: lab.state(3) == ("confirmed", []))


def test_a_switch_that_refuses_is_named_with_its_reason(lab: Lab) -> None:
    lab.until(lambda: lab.state(1) == ("confirmed", []))
    bridge = lab.network.bridges["s4"]
    limit = ("--id=@ft", "create", "Flow_Table", "flow_limit=1", "overflow_policy=refuse")
    lab.ovs.vsctl("--", *limit, "--", "set", "bridge", bridge, *(f"flow_tables:{n}=@ft" for n in range(100, 200)))
    said = lab.apply(MORE, "--wait", "5", code=1)
    assert "s4 (the switch refused a change: " in said[-1], said
    state, (waiting,) = lab.state(2)
    assert state == "failed" and waiting.startswith("s4 (the switch refused a change: ")
    lab.ovs.vsctl("clear", "bridge", bridge, "flow_tables")
    lab.until(lambda: lab.state(2) == ("confirmed", []), 40)


def test_a_controller_that_is_killed_goes_on_with_the_last_revision(lab: Lab, tmp_path: Path) -> None:
    lab.apply(OTHER)
    lab.controller.policy.write_text(OTHER.replace("through:", "trough:"))
    lab.controller.process.send_signal(signal.SIGHUP)
    lab.until(lambda: "everything stays as it is" in lab.controller.log.read_text())
    assert f"{lab.controller.policy}:" in lab.controller.log.read_text()
    assert lab.ctl("get", "policies", "campus")[0] == OTHER
    lab.controller.process.kill()
    lab.controller.process.wait()
    lab.controller = Controller(tmp_path)  # the file is again what it was at the first start
    lab.connect(*lab.network.bridges)
    lab.controller.wait_in_sync()
    assert lab.ctl("get", "policies", "campus")[0] == OTHER
    newest = lab.controller.ctl("history")["revisions"][0]
    assert (newest["number"], newest["what"], newest["state"]) == (2, "apply campus", "confirmed")
    assert lab.ctl("diff")[0].startswith("--- campus@1\n+++ campus@2\n")
    lab.controller.policy.write_text(POLICY + "# newer\n")
    lab.controller.process.send_signal(signal.SIGHUP)
    lab.until(lambda: lab.controller.ctl("history")["revisions"][0]["number"] == 3)
    assert lab.controller.ctl("history", "3")["who"] == "signal"
    lab.until(lambda: lab.state(3) == ("confirmed", []))
