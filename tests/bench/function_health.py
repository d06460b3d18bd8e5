"""How soon after an instance of a function was killed no packet is lost any more, by what its health check says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from bench.function_lab import STREAMS, FunctionLab, function_lab
from bench.report import Line, Spread

INTERVAL, MISSES = 0.2, 3
TIMES = 20
AT_MOST = 1.4
SECONDS = 1.0 + 2 * INTERVAL * MISSES  # a run: a while before, and as long as it can take


def lines(out: Path) -> Iterator[Line]:
    """One of two instances is killed under streams of datagrams, over and over."""
    with function_lab(out, f"{INTERVAL * 1000:.0f}ms", MISSES) as lab:
        runs = [_killed(lab, turn) for turn in range(TIMES)]
    found = Spread(tuple(seconds / (INTERVAL * MISSES) for seconds, _ in runs))
    met = sum(streams for _, streams in runs)
    yield Line(
        "function instance killed to last packet lost ÷ (interval × misses), median",
        str(found),
        f"≤ {AT_MOST}",
        found.median <= AT_MOST,
        f"interval {INTERVAL:g} s, {MISSES} misses: where between two checks the kill falls makes it misses - 1/4 to "
        f"misses + 3/4 intervals until the instance is out; {met} of {TIMES * STREAMS} streams lost any",
        {"seconds": [seconds for seconds, _ in runs], "interval": INTERVAL, "misses": MISSES},
    )


def _killed(lab: FunctionLab, turn: int) -> tuple[float, int]:
    """Seconds from the kill to the last datagram lost, and how many streams went through the instance."""
    lab.lab.say(f"killing an instance, turn {turn + 1} of {TIMES}")
    since = len(lab.events())
    with lab.streams(SECONDS) as told:
        time.sleep(0.5 + INTERVAL * turn / TIMES)  # anywhere between two checks
        at = lab.kill("fw2")
    (lost,) = told
    lab.start("fw2")
    lab.await_event(since, "instance fw2 of function fw works again", 20)
    time.sleep(0.3)
    return lost.last(at), len(lost.streams)
