"""Function health against real machines: an instance that is a program is killed, hangs, and is started again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from bench.function_lab import POLICY, SERVER, FunctionLab, function_lab
from rich.console import Console

from controller_app.health.crossing import WORDS
from mininet_scenarios.harness.captures import read_pcap
from mininet_scenarios.harness.processes import wait_for
from mininet_scenarios.harness.traffic import connect, tally

INTERVAL, MISSES = 0.2, 3
REFUSED = "Errno 111"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FunctionLab]:
    folder: Path = tmp_path_factory.mktemp("function-health")
    with function_lab(folder, "200ms", MISSES, console=Console(quiet=True)) as lab:
        for host in ("c1", "w1"):
            lab.lab.capture(host).ready()
        lab.lab.web_server("w1", 80).ready()
        yield lab


def slots(lab: FunctionLab) -> dict[str, int]:
    return {name: state["slots"] for name, state in lab.states().items()}


def test_what_goes_through_who_was_killed_moves_and_nothing_else(lab: FunctionLab) -> None:
    before = slots(lab)
    assert before == {"fw1": 128, "fw2": 128}
    since = len(lab.events())
    with lab.streams(2.2) as told:
        time.sleep(0.5)
        at = lab.kill("fw2")
    (lost,) = told
    lab.await_event(since, "instance fw2 of function fw is out: no frame comes through from arm in to arm out")
    assert 0 < len(lost.streams) < len(lost.times), "some went through it, the others lost nothing"
    assert lost.last(at) < 2 * INTERVAL * MISSES, "all of them move"
    for name in lost.streams:
        assert min(lost.times[name]) > at - 0.2
    assert slots(lab) == {"fw1": 256, "fw2": 0}
    state = lab.states()["fw2"]
    assert (state["state"], state["reason"]) == ("unready", "no frame comes through from arm in to arm out")

    lab.start("fw2")
    lab.await_event(since, "instance fw2 of function fw works again")
    wait_for("its slots to be its own again", lambda: slots(lab) == before)


def test_who_hangs_is_out_and_comes_back(lab: FunctionLab) -> None:
    """Its port is up, and its program there."""
    since = len(lab.events())
    lab.hang("fw1")
    lab.await_event(since, "instance fw1 of function fw is out")
    wait_for("its slots to move", lambda: slots(lab) == {"fw1": 0, "fw2": 256})
    assert set(tally(connect(lab.lab.network, "c1", SERVER, 80, range(30000, 30020)))) == {"w1"}
    lab.hang("fw1", hanging=False)
    at = time.monotonic()
    lab.await_event(since, "instance fw1 of function fw works again")
    assert time.monotonic() - at > 0.6, "it is watched for a second before it gets anything"


def test_when_nobody_is_left_on_failure_decides(lab: FunctionLab) -> None:
    controller = lab.lab.controller
    assert controller is not None

    def outcomes(first: int) -> set[str]:
        found = tally(connect(lab.lab.network, "c1", SERVER, 80, range(first, first + 5), timeout=0.7))
        return set(found)

    for name in ("fw1", "fw2"):
        lab.kill(name)
    wait_for("both to be out", lambda: {each["state"] for each in lab.states().values()} == {"unready"})
    time.sleep(0.3)
    (closed,) = outcomes(31000)
    assert "w1" not in closed and REFUSED not in closed
    text = POLICY.replace("INTERVAL", "200ms").replace("MISSES", str(MISSES))
    for number, on_failure in enumerate(("open", "reject")):
        policy: dict[str, Any] = yaml.safe_load(text.replace("ON_FAILURE", on_failure))
        controller.apply("health.policy", policy)
        (what,) = outcomes(32000 + 100 * number)
        assert what == "w1" if on_failure == "open" else REFUSED in what, (on_failure, what)
    since = len(lab.events())
    for name in ("fw1", "fw2"):
        lab.start(name)
    lab.await_event(since, "instance fw1 of function fw works again")
    lab.await_event(since, "instance fw2 of function fw works again")
    wait_for("both to have slots", lambda: slots(lab) == {"fw1": 128, "fw2": 128})
    assert outcomes(33000) == {"w1"}


def test_nothing_of_a_check_came_to_a_host(lab: FunctionLab) -> None:
    for host in ("c1", "w1"):
        frames = [frame for _, frame in read_pcap(lab.lab.out / "pcaps" / f"{host}.pcap")]
        assert len(frames) > 50
        assert not [frame for frame in frames if WORDS in frame or b"\xc6\x12\x00" in frame[26:34]]
