"""Damaged files (`mutated_yaml`), by the hundred thousand: each is refused with its places or does what it says, soon.

Every file goes the way of an upload, in processes of their own (`damage_trial`). Some also go to a controller with real
switches by REST, to be applied or only tried: what is refused or only tried leaves revision and policy as they were,
and every flow and group on the switches, which are read now and then; what is accepted makes one revision, and the next
upload puts the old policy back.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import httpx
from damage_trial import ACCEPTED, HUNG, LONGEST, REFUSED, WRONG, Became, bound_memory, sources, tried
from dummy_ovs import DummyOvs, missing
from mutated_yaml import ROOT, Damaged, damaged

from bench.repair import Switches
from bench.report import Line
from controller_app.model.topology import Topology

FILES, PROCESSES, CHUNK = 100_000, 2, 200
UPLOADS = 2000  # of them half to replace the running example, half of others
RUNNING = "firewall_ids"
POLICY = ROOT / "policies" / f"{RUNNING}.yaml"
ANSWER_TIME = 60.0  # seconds: beyond, the controller hangs
LOOK = 25  # uploads between two looks at the switches
REVISIONS = "/api/v1/revisions?limit=1"


def outcomes(numbers: range, processes: int = PROCESSES) -> Iterator[Became]:
    """What becomes of the files of these numbers. A process that dies is a finding of all the files it had."""
    chunks = [numbers[start : start + CHUNK] for start in range(0, len(numbers), CHUNK)]
    with ProcessPoolExecutor(processes, initializer=bound_memory) as pool:
        waiting = [(chunk, pool.submit(_all, chunk)) for chunk in chunks]
        for chunk, future in waiting:
            try:
                yield from future.result()
            except BrokenProcessPool:
                yield Became(chunk[0], WRONG, 0.0, f"a process died at one of {chunk}")


def _all(numbers: range) -> list[Became]:
    return [tried(number) for number in numbers]


class Controller:
    """A controller of the example RUNNING in a process of its own, with real switches, and a client of it."""

    def __init__(self, ovs: DummyOvs, folder: Path) -> None:
        self._ovs = ovs
        topology = Topology.load(str(ROOT / "topologies" / f"{RUNNING}.yaml"))
        self._switches = Switches(ovs, topology)
        self._log = folder / "log"
        words = [sys.executable, "-m", "controller_app.cli.manager", "--state", str(folder / "state")]
        words += ["--topology", str(ROOT / "topologies" / f"{RUNNING}.yaml"), "--policy", str(POLICY)]
        words += ["--api-listen", "127.0.0.1:0", "--ofp-tcp-listen-port", "0"]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log, env={**os.environ})
        try:
            self._switches.connect(int(self._said("listening on 127.0.0.1:")))
            url = "http://127.0.0.1:" + self._said("REST API is at 127.0.0.1 port ")
            self.client = httpx.Client(base_url=url, trust_env=False, timeout=ANSWER_TIME)
            self._until_ready()
        except BaseException:
            self.close()
            raise

    def _said(self, words: str) -> str:
        """The number behind these words in the log."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
            _, found, behind = self.log().partition(words)
            if found and "\n" in behind:
                return behind.split()[0].rstrip(".,;:")
            time.sleep(0.02)
        raise RuntimeError(f"the controller did not start: {self.log()}")

    def _until_ready(self) -> None:
        deadline = time.monotonic() + 60
        count = len(self._switches.bridges)
        while True:
            switches = self.client.get("/api/v1/switches").json()["switches"]
            if sum(switch["connected"] and switch["in_sync"] for switch in switches) == count:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"the switches are not in sync: {self.log()}")
            time.sleep(0.05)

    def log(self) -> str:
        """What it wrote so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def applied(self) -> tuple[int, str]:
        """The revision in force, and the policy."""
        revision = self.client.get(REVISIONS).json()["revisions"][0]["number"]
        return revision, self.client.get(f"/api/v1/policies/{RUNNING}").text

    def held(self) -> list[str]:
        """What every switch holds."""
        return [
            self._ovs.ofctl(f"dump-{what}", bridge, *more)
            for bridge in self._switches.bridges.values()
            for what, more in (("flows", ("--no-stats",)), ("groups", ()))
        ]

    def put(self, data: bytes, dry_run: bool) -> httpx.Response:
        """Upload, again when it was too soon."""
        while True:
            answer = self.client.put(
                f"/api/v1/policies/{RUNNING}", content=data, params={"dry_run": "true"} if dry_run else {}
            )
            if answer.status_code != 429:
                return answer
            time.sleep(float(answer.headers["retry-after"]))

    @property
    def alive(self) -> bool:
        """It answers, and no exception got as far as the log."""
        return self.client.get("/healthz").status_code == 200 and "Traceback" not in self.log()

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def uploads(count: int) -> Iterator[Damaged]:
    """Damaged policies: every other one is the running example."""
    wanted = {True: (count + 1) // 2, False: count // 2}
    number = 0
    while any(wanted.values()):
        found = damaged(number)
        number += 1
        mine = found.source == str(POLICY.relative_to(ROOT))
        if found.kind == "policy" and wanted[mine]:
            wanted[mine] -= 1
            yield found


def live(controller: Controller, count: int) -> tuple[Counter[str], list[str], float]:
    """Answers by kind, what was wrong, and the slowest answer in seconds. Three of four are only tried at first."""
    found: Counter[str] = Counter()
    wrong: list[str] = []
    slowest = 0.0
    applied, held = controller.applied(), controller.held()
    for turn, upload in enumerate(uploads(count), 1):
        what = f"{upload.source} {upload.number} ({', '.join(upload.how)})"
        started, dry_run = time.monotonic(), turn % 4 != 0
        try:
            answer = controller.put(upload.data, dry_run)
        except httpx.TimeoutException:
            wrong.append(f"{what}: no answer within {ANSWER_TIME:g} s")
            break
        slowest = max(slowest, time.monotonic() - started)
        found[f"{answer.status_code // 100}xx"] += 1
        if answer.status_code >= 500:
            wrong.append(f"{what}: {answer.status_code} {answer.text[:500]}")
        if dry_run or answer.status_code != 200:
            if (after := controller.applied()) != applied:
                found["changed"] += 1
                wrong.append(f"{what}: {answer.status_code}, and yet the policy changed")
                applied = after
            if answer.status_code == 200:
                answer = controller.put(upload.data, dry_run=False)
        if answer.status_code == 200:
            found["applied"] += 1
            wrong += [f"{what}: {problem}" for problem in _taken_back(controller, applied, answer)]
            applied, held = controller.applied(), controller.held()
        if turn % LOOK == 0 or turn == count:
            if (now := controller.held()) != held:
                found["changed"] += 1
                wrong.append(f"{what}, or one of {LOOK} before it, changed what switches hold")
                held = now
            if not controller.alive:
                wrong.append(f"{what}, or one of {LOOK} before it: {controller.log()[-2000:]}")
                break
    return found, wrong, slowest


def _taken_back(controller: Controller, before: tuple[int, str], accepted: httpx.Response) -> Iterator[str]:
    """What was accepted made a revision, if it says anything else; the old policy comes back whole."""
    revision, after = accepted.json()["revision"], controller.applied()
    if after[0] != revision or revision - before[0] != (after[1] != before[1]):
        yield f"revision {before[0]} became {after[0]}, and {revision} was told"
    again = controller.put(POLICY.read_bytes(), dry_run=False)
    if again.status_code != 200 or controller.applied()[1] != before[1]:
        yield f"the policy before it was not taken again: {again.status_code} {again.text[:500]}"


def lines(files: int = FILES, count: int = UPLOADS) -> Iterator[Line]:
    """Both ways."""
    started = time.monotonic()
    verdicts: Counter[str] = Counter()
    told: list[str] = []
    slowest = Became(0, REFUSED, 0.0)
    for became in outcomes(range(files)):
        verdicts[became.verdict] += 1
        slowest = max(slowest, became, key=lambda each: each.seconds)
        told += [became.told] if became.told else []
    bad = verdicts[WRONG] + verdicts[HUNG]
    yield Line(
        f"of {files:,} damaged files of {sources()} examples, uploaded: tracebacks; beyond {LONGEST:g} s",
        f"{verdicts[WRONG]}; {verdicts[HUNG]}",
        "0; 0",
        not bad,
        "; ".join(told[:3]) or f"{verdicts[REFUSED]:,} refused, {verdicts[ACCEPTED]:,} accepted; the slowest "
        f"{slowest.seconds:.1f} s (number {slowest.number})",
        {**verdicts, "slowest": slowest.seconds, "seconds": time.monotonic() - started},
    )
    what = f"of {count:,} of them to a running controller: 5xx, tracebacks, hangs, states changed"
    if problem := missing():
        yield Line(what, "", "0", None, problem)
        return
    with tempfile.TemporaryDirectory() as folder, DummyOvs() as ovs:
        controller = Controller(ovs, Path(folder))
        try:
            found, wrong, longest = live(controller, count)
        finally:
            controller.close()
    yield Line(
        what,
        str(len(wrong)),
        "0",
        not wrong,
        "; ".join(wrong[:3]) or f"{found['4xx']:,} refused, {found['2xx']:,} accepted, {found['applied']:,} of them "
        f"applied and taken back; the slowest answer {longest:.1f} s",
        {**found, "slowest": longest},
    )
