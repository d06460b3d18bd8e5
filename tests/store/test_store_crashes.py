"""A process that is killed while it saves leaves one of two whole states."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from crashing import policies

from controller_app.store.sqlite import FILE, SqliteStore

HERE = Path(__file__).parent


def killed(directory: Path, first: int, after: float) -> int:
    """Let a process save, kill it so many seconds after its first revision, and answer the last number it said."""
    command = [sys.executable, str(HERE / "crashing.py"), str(directory), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE.parents[1]) as process:
        assert process.stdout is not None
        said = int(process.stdout.readline())
        time.sleep(after)
        process.kill()
        rest = process.stdout.read().split("\n")[:-1]  # a last line without an end was cut off
    return int(rest[-1]) if rest else said


@pytest.mark.parametrize("seed", range(6))
def test_what_was_said_to_be_kept_is_there_and_nothing_is_half(tmp_path: Path, seed: int) -> None:
    points = random.Random(seed)
    last = 0
    for kills in range(1, 5):
        last = killed(tmp_path, last + 1, points.uniform(0, 0.15))
        store = SqliteStore(tmp_path)
        (newest,) = store.revisions(1)
        assert newest.number in (last, last + 1)  # the next may have been kept, and not been said yet
        assert (newest.what, newest.who, newest.plan) == (f"save {newest.number}", "crash", {"changes": {}})
        assert store.policies() == policies(newest.number)
        assert store.texts(newest.number) == {name: each.text for name, each in policies(newest.number).items()}
        assert [revision.number for revision in store.revisions()] == list(range(newest.number, 0, -1))
        states = [revision.state for revision in store.revisions()[1:]]
        assert set(states) <= {"confirmed", "superseded"}
        assert states.count("superseded") < kills  # each killed before it could be confirmed
        store.close()
        last = newest.number


def test_a_process_that_is_killed_while_it_makes_the_store_leaves_none_or_a_whole_one(tmp_path: Path) -> None:
    made = 0
    for number in range(12):
        directory = tmp_path / str(number)
        process = subprocess.Popen(
            [sys.executable, "-c",
             "import sys; from controller_app.store.sqlite import SqliteStore; print(flush=True); "
             "SqliteStore(sys.argv[1])", str(directory)],
            stdout=subprocess.PIPE, cwd=HERE.parents[1],
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(number * 0.002)
        process.kill()
        process.communicate()
        made += (directory / FILE).exists()
        store = SqliteStore(directory)
        assert store.policies() == {} and store.revisions() == []
        store.close()
    assert made < 12  # some were killed before
