"""Damaged files, as `make bench` tries them by the hundred thousand: a few, always the same; others by `make fuzz`."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import damage_trial
import pytest
from bench import fuzzed
from damage_trial import ACCEPTED, HUNG, REFUSED, WRONG, tried
from dummy_ovs import DummyOvs
from effort import FUZZ
from hypothesis import settings
from mutated_yaml import damaged, examples

FILES, UPLOADS = 400, 40


def numbers() -> range:
    """Those of `make test`; by `make fuzz` ten times as many that nobody had yet."""
    if settings.get_current_profile_name() != FUZZ:
        return range(FILES)
    start = fuzzed.FILES + time.time_ns() // 1_000_000
    return range(start, start + 10 * FILES)


def test_each_is_refused_with_its_places_or_accepted() -> None:
    found = [tried(number) for number in numbers()]
    assert [each.told for each in found if each.verdict in (WRONG, HUNG)] == []
    count = Counter(each.verdict for each in found)
    assert count[REFUSED] > count[ACCEPTED] > len(found) / 50


def test_they_are_the_same_each_time_and_come_of_every_example() -> None:
    assert damaged(7) == damaged(7) != damaged(8)
    sources = {(each.kind, each.source) for each in map(damaged, range(FILES))}
    assert sources == {(kind, name) for kind, names in examples().items() for name in names}


def test_none_changes_anything_in_a_running_controller(dummy_ovs: DummyOvs, tmp_path: Path) -> None:
    controller = fuzzed.Controller(dummy_ovs, tmp_path)
    try:
        found, wrong, _ = fuzzed.live(controller, UPLOADS)
    finally:
        controller.close()
    assert wrong == []
    assert found["4xx"] + found["2xx"] == UPLOADS
    assert found["applied"], "some are accepted, and taken back"


def test_what_hangs_or_breaks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object) -> None:
        while True:
            pass

    def fall(*_: object) -> None:
        raise ZeroDivisionError("here")

    monkeypatch.setattr(damage_trial, "LONGEST", 0.2)
    for names in ("_upload", "_start"):
        monkeypatch.setattr(damage_trial, names, hang)
    assert tried(1).verdict == HUNG
    for names in ("_upload", "_start"):
        monkeypatch.setattr(damage_trial, names, fall)
    assert (tried(1).verdict, "ZeroDivisionError: here" in tried(1).told) == (WRONG, True)


def test_a_process_that_dies_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damage_trial, "damaged", lambda _: os.kill(os.getpid(), signal.SIGKILL))
    (found,) = fuzzed.outcomes(range(3), 1)
    assert (found.verdict, "a process died" in found.told) == (WRONG, True)
