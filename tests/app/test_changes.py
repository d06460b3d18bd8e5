"""Changes while the network changes too, and several at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from test_conductor import POLICY, Bench

from controller_app.api import changes
from controller_app.api.problems import Refused
from controller_app.discovery.ports import Port
from controller_app.runtime import changing
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.intent import Intent

OTHER = POLICY.replace("weight: 2", "weight: 3")


class Unquiet:
    """A runtime whose network is another one after each question."""

    def __init__(self, quiet: bool = False) -> None:
        self.bench, self.quiet, self.up = Bench(), quiet, True
        self.changing = threading.Lock()
        self.events = self.bench.conductor.events
        self.calls = 0

    def call(self, action: Callable[[Conductor], Any]) -> Any:
        self.calls += 1
        found = action(self.bench.conductor)
        if not self.quiet:
            self.up = not self.up
            self.bench.conductor._discovery.port(1, Port(1, "p1", 1, self.up), self.bench.now)
            self.bench.run(1)
        return found

    def wait_confirmed(self, seconds: float) -> list[str]:
        return []


def put(text: str, intent: Intent) -> Intent:
    return intent.put({"test": text})


@pytest.mark.parametrize("quiet", [True, False])
def test_a_network_that_never_holds_still_keeps_no_change_waiting(quiet: bool) -> None:
    assert OTHER != POLICY
    runtime = Unquiet(quiet)
    answer = changes.change(runtime, partial(put, OTHER), "put test", False)  # type: ignore[arg-type]
    assert answer["verification"]["ok"] and answer["confirmed"]
    assert runtime.bench.conductor.intent.text("test") == OTHER
    assert (runtime.calls > 4) == (not quiet)
    assert not runtime.changing.locked()


def test_a_dry_run_of_what_is_wanted_waits_for_nobody() -> None:
    runtime = Unquiet(quiet=True)
    with runtime.changing:
        answer = changes.change(runtime, partial(put, OTHER), "put test", True)  # type: ignore[arg-type]
    assert answer["verification"]["ok"]
    assert runtime.bench.conductor.intent.text("test") == POLICY


def test_one_change_is_made_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changing, "LONGEST_QUEUE", 0.05)
    runtime = Unquiet(quiet=True)
    with runtime.changing, pytest.raises(Refused) as refused:
        changes.change(runtime, partial(put, OTHER), "put test", False)  # type: ignore[arg-type]
    assert refused.value.status == 503 and "try again" in str(refused.value.detail)
    with pytest.raises(ValueError, match="no such"):
        changes.change(runtime, partial(_fails), "put test", False)  # type: ignore[arg-type]
    assert not runtime.changing.locked()


def _fails(intent: Intent) -> Intent:
    raise ValueError("no such thing")
