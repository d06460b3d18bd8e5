"""What `make bench` measures of ways, on a small fat-tree: all sides give the same answers there, and wrong ones are
caught."""

from __future__ import annotations

import pytest
from bench import paths

from controller_app.routing.layered import Layered


def test_all_sides_agree_and_every_line_is_there() -> None:
    told = [
        *paths.cold(k=4, queries=40, times=2, sample=10, sample_scipy=10),
        *paths.failed_link(k=4, times=6, sample=5),
    ]
    assert [line.must_reach for line in told] == ["≥ 10,000 times", "≥ 300 times", "≥ 15 times", "≥ 200 times"]


def test_memory_is_that_of_a_process_of_its_own() -> None:
    hoard = bytearray(b"x" * 400_000_000)
    (line,) = paths.memory(k=4, queries=40)
    assert 20 < line.numbers["network"] <= line.numbers["peak"] < len(hoard) / 1e6
    assert line.numbers["ways"] == 40


def test_wrong_ways_are_caught() -> None:
    task = paths.Task.drawn(4, 3)
    answers, ways = task.solve()
    costs = answers.cost.tolist()
    paths.check(task, costs, ways)
    for broken in (
        [[*ways[0], ways[0][0]], *ways[1:]],  # ends elsewhere
        [[ways[0][0], ways[0][-1]], *ways[1:]],  # not over links
        [ways[1], ways[1], ways[2]],  # another query's
    ):
        with pytest.raises(RuntimeError, match=r"is no way|not go over links"):
            paths.check(task, costs, broken)
    with pytest.raises(RuntimeError, match="other costs"):
        paths.agree("somebody", [1.0], [2.0])
    short = Layered(answers.routes, task.chain[:1]).least(task.ingress, task.egress)
    with pytest.raises(RuntimeError, match="by all functions"):
        paths.check(task, short.cost.tolist(), short.ways().lists())
