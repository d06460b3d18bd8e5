"""Services with real connections: what breaks while providers come and go, how soon a new provider is reached, how many
connections a second go through. The last two beside OVN: the same hosts and as many switches, each with an Open vSwitch
of its own, built afresh for each in turns."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

from bench import ovn
from bench.fabric import PROGRAMS, Fabric, Place, fabric
from bench.ovn import Ovn
from bench.report import Line, Spread
from bench.steered import ADDRESS, PORT, TARGET, Steered
from mininet_scenarios.harness.processes import Process, wait_for
from mininet_scenarios.harness.state import LabError
from mininet_scenarios.harness.traffic import PYTHON

Subject = Steered | Ovn
SUBJECTS: tuple[Callable[[Fabric], Subject], ...] = (Steered, Ovn)

# connections that break
CHURN_SECONDS, CLIENTS, CONNECTIONS, PAUSE, LIFE = 60.0, 2, 100, 0.2, 10.0
STAYING, CHURNING = ("p1", "p2"), ("p3", "p4")

# how soon
SWITCHES, BLOCKS, PER_BLOCK = 20, 4, 50
KNOCK = 0.002  # seconds between two connections
QUIET = 0.1  # seconds without the provider that left
AT_MOST = 0.5

# how many
TURNS, PAIRS, SECONDS, WARM_UP, PARALLEL = 4, 4, 2.0, 0.5, 16
AT_LEAST = 0.9


def leaf_spine(leaves: int, clients: int, providers: int) -> tuple[list[str], list[Place]]:
    """Names of switches, the spine last; clients c1, c2, … at the leaves from the first on, providers p1, p2, … at
    the leaves from the second on."""
    switches = [f"s{number}" for number in range(1, leaves + 2)]
    places = [
        Place(f"{kind}{n}", switches[(n + shift) % leaves], f"10.{net}.0.{n}", f"02:00:00:00:0{net}:{n:02x}")
        for kind, net, number, shift in (("c", 1, clients, -1), ("p", 2, providers, 0))
        for n in range(1, number + 1)
    ]
    return switches, places


@contextmanager
def running(
    make: Callable[[Fabric], Subject], switches: Sequence[str], places: Sequence[Place], out: Path, server: str
) -> Iterator[Subject]:
    """One of the two, with a server program on every provider."""
    with fabric(f"bench-{make.name}".lower(), switches, places, out) as built:  # type: ignore[attr-defined]
        subject = make(built)
        for place in places:
            if place.network == "servers":
                built.program(place.name, server, place.name, str(TARGET)).wait_for_output("listening")
        yield subject


# -- connections that break ----------------------------------------------------------------------------------------


def churn(out: Path) -> Iterator[Line]:
    """Two of four providers lose and get their label, one change a second, under load."""
    with running(Steered, *leaf_spine(3, CLIENTS, 4), out, "echo_server") as subject:
        subject.serve((*STAYING, *CHURNING))
        plan = [ADDRESS, str(PORT), str(CONNECTIONS), str(PAUSE), str(LIFE), str(CHURN_SECONDS)]
        holders = [subject.fabric.program(f"c{n}", "hold", *plan) for n in range(1, CLIENTS + 1)]
        times, due = [], time.monotonic() + 2
        until = due - 2 + CHURN_SECONDS - 2
        while due < until:
            time.sleep(max(0.0, due - time.monotonic()))
            times.append(time.monotonic())
            subject.change(CHURNING[(len(times) - 1) // 2 % 2], serves=len(times) % 2 == 0)
            due += 1
        told = [_told(holder, CHURN_SECONDS) for holder in holders]
    broken = Counter[str](provider for one in told for provider, *_ in one["broken"])
    hung = sum(what == "TimeoutError" for one in told for provider, what, *_ in one["broken"] if provider in CHURNING)
    stayed = sum(broken[name] for name in STAYING)
    ended = sum(one["ended"].get(name, 0) for one in told for name in STAYING)
    opened, answers = (sum(one[key] for one in told) for key in ("opened", "answers"))
    refused = sum((Counter(one["refused"]) for one in told), Counter[str]())
    yield Line(
        f"connections broken on remaining providers, one change of a provider's label a second for "
        f"{CHURN_SECONDS:.0f} s ({len(times)} changes)",
        f"{stayed} of {ended + stayed:,}",
        "0",
        stayed == 0,
        f"load: {CLIENTS * CONNECTIONS} connections held at a time, {opened:,} in all, {answers / CHURN_SECONDS:,.0f} "
        f"requests a second; of providers that left {sum(broken[name] for name in CHURNING):,} ended, {hung} of them "
        f"only by a time-out of 5 s; not opened: "
        f"{refused.total()}{''.join(f', {what}' for what in refused)}",
        {"told": told, "changes": times},
    )


def _told(process: Process, seconds: float) -> dict:  # type: ignore[type-arg]
    """What a program printed as JSON at its end."""
    wait_for(f"{process.identity.name} to end", lambda: not process.alive, seconds + 30, 0.2)
    try:
        return dict(json.loads(process.output()))
    except ValueError:
        raise LabError(f"{process.identity.name}: {process.output().strip()[-2000:]}") from None


# -- how soon ------------------------------------------------------------------------------------------------------


class Knocks:
    """What `knock` printed: who answered, and when."""

    def __init__(self, process: Process) -> None:
        self._file = open(process.log, encoding="utf-8")  # noqa: SIM115  read until the end
        self._rest = ""

    def new(self) -> list[tuple[float, str]]:
        """What came since the last call."""
        *whole, self._rest = (self._rest + self._file.read()).split("\n")
        return [(float(at), answer) for at, _, answer in (line.partition(" ") for line in whole)]

    def wait_quiet(self, provider: str, seconds: float = 20.0) -> None:
        """Until others answered, and this one did not for a while."""
        until, last, heard = time.monotonic() + seconds, time.monotonic(), False
        while time.monotonic() < last + QUIET or not heard:
            for at, answer in self.new():
                if answer == provider:
                    last = at
                heard = heard or not answer.startswith("!")
            if time.monotonic() > until:
                raise LabError(f"{provider} left the service and still gets connections after {seconds:g} s")
            time.sleep(0.01)

    def wait_for(self, provider: str, since: float, seconds: float = 20.0) -> float:
        """When it first answered after that time."""
        while time.monotonic() < since + seconds:
            for at, answer in self.new():
                if answer == provider and at > since:
                    return at
            time.sleep(0.001)
        raise LabError(f"{provider} joined the service and got no connection for {seconds:g} s")


def soon(out: Path) -> Iterator[Line]:
    """A provider joins a service of one other; the first connection that it answers."""
    found, failed, why = _in_turns(BLOCKS, lambda make: _joins(make, out), "how soon")
    what = f"label change to first connection on the new provider, {SWITCHES} switches, p99 of {BLOCKS * PER_BLOCK}"
    ours, theirs = found["Chainsteer"], found.get("OVN", [])
    numbers = {name: {"seconds": seconds, "connections_failed": failed[name]} for name, seconds in found.items()}
    mine = f"{_p99(ours) * 1e3:.0f} ms (median {_ms(ours)})"
    if why:
        yield Line(f"{what} ÷ OVN's", mine, f"≤ {AT_MOST}", None, why, numbers)
        return
    ratio = _p99(ours) / _p99(theirs)
    yield Line(
        f"{what} ÷ OVN's change of a load balancer to the same",
        f"{ratio:.2f}: {mine} ÷ {_p99(theirs) * 1e3:.0f} ms (median {_ms(theirs)})",
        f"≤ {AT_MOST}",
        ratio <= AT_MOST,
        f"{os.cpu_count()} cores for {SWITCHES} Open vSwitches and what steers them ({ovn.version()}); a connection "
        f"every {KNOCK * 1e3:g} ms, every second one has the new provider; asked by HTTP and by the socket of "
        f"ovn-nbctl's daemon; connections that failed meanwhile: {failed['Chainsteer']} and {failed['OVN']}",
        numbers,
    )


def _joins(make: Callable[[Fabric], Subject], out: Path) -> tuple[list[float], int]:
    """Seconds, a block of them, and how many connections failed."""
    drawn, found, failed = random.Random(), [], 0
    with running(make, *leaf_spine(SWITCHES - 1, SWITCHES - 1, 2), out, "name_server") as subject:
        subject.serve(["p1"])
        process = subject.fabric.program("c1", "knock", ADDRESS, str(PORT), str(KNOCK))
        knocks = Knocks(process)
        subject.change("p2", serves=True)
        knocks.wait_for("p2", time.monotonic())
        for _ in range(PER_BLOCK):
            subject.change("p2", serves=False)
            knocks.wait_quiet("p2")
            time.sleep(drawn.uniform(0, 0.1))
            asked = time.monotonic()
            subject.change("p2", serves=True)
            found.append(knocks.wait_for("p2", asked) - asked)
        failed = sum(line.partition(" ")[2].startswith("!") for line in process.output().splitlines())
    return found, failed


def _p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]


def _ms(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{Spread(tuple(values)).median * 1e3:.0f} ms, {low * 1e3:.0f} to {high * 1e3:.0f}"


# -- how many ------------------------------------------------------------------------------------------------------


def rate(out: Path) -> Iterator[Line]:
    """New connections a second, through the service and past it."""
    found, _, why = _in_turns(TURNS, lambda make: (_rates(make, out), 0), "connections a second")
    shares = {name: Spread(tuple(one["service"] / one["direct"] for one in turns)) for name, turns in found.items()}
    medians = {
        name: {kind: Spread(tuple(one[kind] for one in turns)).median for kind in ("service", "direct")}
        for name, turns in found.items()
    }
    ours = shares["Chainsteer"]
    told = "; ".join(f"{name}: {m['service']:,.0f} ÷ {m['direct']:,.0f} a second" for name, m in medians.items())
    load = f"one client, {PARALLEL} at a time, two servers, {os.cpu_count()} cores for everything; without a service "
    load += "nothing is tracked: that is what direct is"
    yield Line(
        "new connections a second through the service ÷ direct",
        str(ours),
        f"≥ {AT_LEAST}",
        ours.median >= AT_LEAST,
        f"{told}; {load}",
        {"turns": found},
    )
    theirs = shares.get("OVN")
    yield Line(
        "the same ÷ OVN's",
        "" if theirs is None else f"{ours.median / theirs.median:.2f} (OVN: {theirs})",
        "≥ 1",
        None if theirs is None else ours.median >= theirs.median,
        why or f"connections a second through the service, ours ÷ OVN's: "
        f"{medians['Chainsteer']['service'] / medians['OVN']['service']:.2f}",
    )


def _rates(make: Callable[[Fabric], Subject], out: Path) -> list[dict[str, float]]:
    """Connections a second, some pairs in turns: past the service while there is none, and through it."""
    found = []
    with running(make, *leaf_spine(3, 1, 2), out, "name_server") as subject:
        for pair in range(PAIRS):
            kinds = ("direct", "service")
            found.append({kind: _rate(subject, kind) for kind in (kinds if pair % 2 == 0 else kinds[::-1])})
    return found


def _rate(subject: Subject, kind: str) -> float:
    providers = {name: place.ip for name, place in subject.fabric.places.items() if place.network == "servers"}
    if kind == "direct":
        subject.alone()
        to = [str(TARGET), *providers.values()]
    else:
        subject.serve(list(providers))
        to = [str(PORT), ADDRESS]
    subject.fabric.flush()
    _open(subject.fabric, WARM_UP, to)
    told = _open(subject.fabric, SECONDS, to)
    if told["failed"] or set(told["answers"]) != set(providers):
        raise LabError(f"{subject.name}, {kind}: connections ended so: {told}")
    return float(told["opened"] / told["seconds"])


def _open(built: Fabric, seconds: float, to: Sequence[str]) -> dict:  # type: ignore[type-arg]
    text = built.on("c1", *PYTHON, str(PROGRAMS / "open_rate.py"), str(seconds), str(PARALLEL), *to)
    return dict(json.loads(text))


# -- in turns ------------------------------------------------------------------------------------------------------


def _in_turns(times: int, measure: Callable, what: str) -> tuple[dict[str, list], Counter[str], str]:  # type: ignore[type-arg]
    """Measure both, the other one first every second time. Measurements and failures by name, and why OVN has none
    where it has not: a fault of its own does not stop ours from being measured."""
    found: dict[str, list] = defaultdict(list)  # type: ignore[type-arg]
    failed, why = Counter[str](), ovn.missing() or ""
    for turn in range(times):
        for make in SUBJECTS if turn % 2 == 0 else SUBJECTS[::-1]:
            name = make.name  # type: ignore[attr-defined]
            if name == "OVN" and why:
                continue
            try:
                values, failures = measure(make)
            except LabError as problem:
                if name != "OVN":
                    raise
                why = f"OVN did not get through it ({what}): {problem}"
                found.pop(name, None)
                continue
            found[name] += values
            failed[name] += failures
    return dict(found), failed, why


def beside_ovn(out: Path) -> Iterator[Line]:
    """How soon and how many."""
    yield from soon(out / "soon")
    yield from rate(out / "rate")
