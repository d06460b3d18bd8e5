"""What becomes of a damaged file (`mutated_yaml`) on the way that an upload takes: read, checked against the network
and the other policies, and compiled where it is accepted."""

from __future__ import annotations

import resource
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mutated_yaml
from mutated_yaml import ROOT, Damaged, damaged

from controller_app.model.position import Diagnostic, PolicyError
from controller_app.model.topology import Topology
from controller_app.pipeline.compile import compile
from controller_app.policy.source_text import decode
from controller_app.policy.topology_file import parse_topology
from controller_app.runtime.intent import Intent, build
from controller_app.store.interface import StoredPolicy

LONGEST = 10.0  # seconds of this process's own time
MEMORY = 4 << 30  # bytes of address space: an alias that grows beyond it is a MemoryError, and so a finding
NAME = "damaged.yaml"
REFUSED, ACCEPTED, WRONG, HUNG = "refused", "accepted", "wrong", "hung"


@dataclass(frozen=True, slots=True)
class Became:
    """`verdict`: refused (with places, and what to do) or accepted, as it has to be; wrong (another exception, or a
    refusal that does not say where) or hung. `told` is the finding's text."""

    number: int
    verdict: str
    seconds: float
    told: str = ""


class Hung(BaseException):
    """It took too long. No Exception: nobody on the way may take it for a problem of the file."""


@cache
def _others(source: str) -> tuple[Topology, Intent, str]:
    """The network of an example, its policies, and the name that this one has among them."""
    path = Path(source)
    folder = path.parent if path.parent.name != "policies" else None
    files = sorted((ROOT / folder).glob("*.yaml")) if folder else [ROOT / path]
    network = ROOT / "topologies" / f"{folder.name if folder else path.stem}.yaml"
    texts = {file.stem: StoredPolicy(file.stem, file.read_text(encoding="utf-8")) for file in files}
    return parse_topology(network.read_text(encoding="utf-8"), str(network)), build(texts), path.stem


def _upload(found: Damaged) -> str:
    """Name of what positions are in. Raises PolicyError."""
    topology, intent, name = _others(found.source)
    intent = intent.put({name: decode(found.data, name)})
    intent.check(topology, discovering=False)
    intent.check_required(topology)
    compile(intent.policy, topology)
    return name


def _start(found: Damaged) -> str:
    """A topology is read when the controller starts, and the policies are checked against it."""
    topology = parse_topology(decode(found.data, NAME), NAME)
    stem = Path(found.source).stem
    folder = ROOT / "policies" / stem
    source = sorted(folder.glob("*.yaml"))[0] if folder.is_dir() else folder.with_suffix(".yaml")
    _, intent, _ = _others(str(source.relative_to(ROOT)))
    intent.check(topology, discovering=False)
    intent.check_required(topology)
    compile(intent.policy, topology)
    return NAME


def _unplaced(problems: tuple[Diagnostic, ...] | list[Diagnostic], lines: int) -> str:
    """The first problem that does not say where it is, what it is or what to do; empty where all do."""
    if not problems:
        return "refused without a problem"
    for problem in problems:
        if not (problem.path and problem.what and problem.remedy and problem.position.file):
            return f"says too little: {problem}"
        if problem.position.file in (NAME, "") and not 0 <= problem.position.line <= lines:
            return f"names a line that is not there: {problem}"
        if len(problem.what) > 2000:
            return f"is no message for people: {problem.what[:200]}... ({len(problem.what)} characters)"
    return ""


@contextmanager
def _limited() -> Iterator[None]:
    """Hung after LONGEST seconds of this process's own time: how much others do beside it does not count."""

    def stop(*_: object) -> None:
        raise Hung

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def tried(number: int) -> Became:
    """What becomes of the file of this number."""
    found = damaged(number)
    lines = len(found.data.decode(errors="replace").splitlines()) + 2
    start = time.process_time()

    def became(verdict: str, told: str = "") -> Became:
        how = f"{found.source} {number} ({', '.join(found.how)}): {told}" if told else ""
        return Became(number, verdict, time.process_time() - start, how)

    try:
        with _limited():
            _upload(found) if found.kind == "policy" else _start(found)
    except PolicyError as error:
        wrong = _unplaced(error.diagnostics, lines)
        return became(WRONG if wrong else REFUSED, wrong)
    except Hung:
        return became(HUNG, f"more than {LONGEST:g} s")
    except Exception:  # what is looked for
        return became(WRONG, traceback.format_exc(limit=-4))
    return became(ACCEPTED)


def bound_memory() -> None:
    """For a process that does nothing else."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def sources() -> int:
    """How many examples there are."""
    return sum(map(len, mutated_yaml.examples().values()))
