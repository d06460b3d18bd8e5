"""Servers and clients of services, connections that go on while things change, and what the controller says."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from mininet_scenarios.harness.captures import settle
from mininet_scenarios.harness.controller import ControllerProcess
from mininet_scenarios.harness.evidence import Arms, Passage, passages
from mininet_scenarios.harness.lab import Lab
from mininet_scenarios.harness.live import LivePolicy
from mininet_scenarios.harness.processes import Process, wait_for
from mininet_scenarios.harness.processes import run as command
from mininet_scenarios.harness.state import LabError
from mininet_scenarios.harness.traffic import PROGRAMS, PYTHON, Outcome, connect, tally

RED, BLUE = ("p1", "p2", "p3", "p4"), ("bp1", "bp2")
VIP, VIP6 = "100.1.1.10", "fd03::10"
WEB, OTHER, DNS = 8080, 9090, 53  # ports of service `app`: 80/tcp, 81/tcp and 5353/udp at its providers
UNHEARD, UNHEARD_UDP = 7070, 54  # ports of it whose targets nobody listens on
ADDRESSES = {"c1": ("10.1.0.11", "fd01::11"), "c2": ("10.1.0.12", "fd01::12"), "g1": ("10.3.0.11", "fd04::11")}
AT_ONCE = 1.0  # seconds
TOLD = 1.0  # seconds after which Open vSwitch knows of packets: its datapath tells it twice a second
PAUSE = 0.2  # seconds between two requests on a connection that goes on

Check = Callable[..., bool]
Change = Callable[[dict[str, Any]], None]


class Event(NamedTuple):
    """An answer on a connection that goes on, or its error. `at` in seconds since 1970."""

    at: float
    source_port: int
    answered_by: str | None
    error: str | None


@dataclass(frozen=True)
class Talk:
    """Connections of one client that go on."""

    process: Process
    source_ports: tuple[int, ...]

    def events(self, since: float = 0.0) -> list[Event]:
        """What happened on them, in order."""
        found = []
        for line in self.process.output().splitlines():
            if line.startswith("{") and line.endswith("}"):
                row = json.loads(line)
                if row["at"] >= since:
                    found.append(Event(row["at"], row["source_port"], row.get("answered_by"), row.get("error")))
        return found

    def answered_by(self, since: float = 0.0) -> dict[int, str]:
        """Who answered last, by source port."""
        return {event.source_port: event.answered_by for event in self.events(since) if event.answered_by}

    def errors(self, since: float = 0.0) -> dict[int, Event]:
        """The first error of each connection that had one, by source port."""
        found: dict[int, Event] = {}
        for event in self.events(since):
            if event.error is not None:
                found.setdefault(event.source_port, event)
        return found

    def of(self, *providers: str) -> set[int]:
        """The connections that these providers have now."""
        return {port for port, name in self.answered_by().items() if name in providers}

    def well(self, wanted: Iterable[int], since: float) -> int:
        """How many of these had no error since then, and were answered in the last second."""
        end = Lab.now()
        broken, answered = self.errors(since).keys(), self.answered_by(end - 1.0).keys()
        return sum(port in answered and port not in broken for port in wanted)

    def end(self) -> None:
        self.process.stop()


class Bench:
    """The running lab: servers at every provider, witnesses at the firewalls."""

    def __init__(self, lab: Lab) -> None:
        assert lab.controller is not None
        self.lab, self.network, self.controller = lab, lab.network, lab.controller
        self.red, self.blue = LivePolicy(lab, "red"), LivePolicy(lab, "blue")
        self._ports, self._talks = count(20001), count(1)
        self.web = {name: lab.web_server(name, 80, 81) for name in (*RED, *BLUE)}
        self._udp = {name: self._udp_server(name) for name in (*RED, *BLUE)}
        self.walls = {name: Arms(lab.capture(name, "in"), lab.capture(name, "out")) for name in ("fw1", "fw2")}
        for arms in self.walls.values():
            arms.inner.ready()
            arms.outer.ready()
        for server in self.web.values():
            server.ready()
        for process, _ in self._udp.values():
            process.wait_for_output("listening")

    def _udp_server(self, name: str) -> tuple[Process, Path]:
        log = self.lab.processes.logs / f"udp-{name}.jsonl"
        words = [*PYTHON, str(PROGRAMS / "udp_server.py"), name, str(log), "5353"]
        return self.lab.processes.start(f"udp-{name}", words, self.network.pid(name)), log

    def asked_over_udp(self, name: str) -> list[tuple[str, int, int]]:
        """Every datagram that reached a provider: peer address, peer port, the port it came in at."""
        _, log = self._udp[name]
        rows = (json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()) if log.exists() else ()
        return [(row["peer"], row["peer_port"], row["port"]) for row in rows]

    def about(self, topic: str) -> Check:
        self.lab.say(topic)
        return partial(self.lab.checks.that, topic)

    # -- traffic -------------------------------------------------------------------------------------------

    def ports(self, number: int) -> list[int]:
        """Source ports that nobody used yet."""
        return [next(self._ports) for _ in range(number)]

    def browse(self, client: str, to: str = VIP, port: int = WEB, number: int = 16, **options: Any) -> list[Outcome]:
        """TCP connections; options as for `connect`."""
        return connect(self.network, client, to, port, self.ports(number), **{"timeout": 4.0, **options})

    def ask(self, client: str, to: str = VIP, port: int = DNS, number: int = 16) -> list[Outcome]:
        """UDP datagrams, each from a source port of its own."""
        plan = {"to": to, "port": port, "source_ports": self.ports(number), "timeout": 2.0}
        text = self.network.on(client, *PYTHON, str(PROGRAMS / "ask.py"), json.dumps(plan), timeout=300.0)
        return [Outcome(client, **row) for row in json.loads(text)]

    def talk(self, client: str, to: str = VIP, port: int = WEB, number: int = 24, protocol: str = "tcp") -> Talk:
        """Start connections that go on. Returns when each was answered, or LabError."""
        ports = tuple(self.ports(number))
        plan = {"protocol": protocol, "to": to, "port": port, "source_ports": ports, "pause": PAUSE, "patience": 4.0}
        words = [*PYTHON, str(PROGRAMS / "talk.py"), json.dumps(plan)]
        name = f"talk-{next(self._talks)}-{client}"
        talk = Talk(self.lab.processes.start(name, words, self.network.pid(client)), ports)
        wait_for(f"{number} connections of {client} to {to}:{port}", lambda: len(talk.answered_by()) == number, 15)
        return talk

    def pinged(self, client: str, to: str) -> int:
        """Echoes that came back, of three."""
        said = str(self.network.mininet.nameToNode[client].cmd(f"ping -c 3 -i 0.1 -W 1 {to}"))
        return said.count(" bytes from ")

    def passed(self, client: str, since: float) -> dict[int, Passage]:
        """Which firewalls the client's connections passed, by source port."""
        settle()
        found = passages(self.walls, {ADDRESSES[client][0]}, since)
        return {port: passage for (_, port), passage in found.items()}

    # -- what changes --------------------------------------------------------------------------------------

    def change(self, name: str, *changes: Change) -> None:
        """Replace red's policy by its file's with these changes; none: by the file's own."""

        def all_of_them(policy: dict[str, Any]) -> None:
            for each in changes:
                each(policy)

        self.red.apply(name, all_of_them)

    def refused(self, name: str, change: Change) -> str:
        """What is said against a change of red's policy; nothing when it is obeyed."""
        try:
            self.red.apply(name, change)
        except LabError as problem:
            return str(problem)
        return ""

    def effective(self) -> None:
        """Wait until the switches hold what the controller wants now, and act on it."""
        self.controller.wait_ready()
        command(["ovs-appctl", "--timeout=30", "revalidator/purge"])

    def freeze(self, host: str, frozen: bool = True) -> None:
        """The machine hangs: it hears and says nothing, and its port stays up; or it is itself again."""
        rules = "delete table inet frozen"
        if frozen:
            chain = "add chain inet frozen {0} {{ type filter hook {0} priority -300; policy drop; }}"
            rules = "\n".join(["add table inet frozen", *(chain.format(hook) for hook in ("input", "output"))])
        command(["nft", "-f", "-"], self.network.pid(host), stdin=rules + "\n")

    # -- what the controller says --------------------------------------------------------------------------

    def service(self, name: str, tenant: str = "red") -> dict[str, Any]:
        """What the controller says of a service."""
        with urllib.request.urlopen(f"{ControllerProcess.url}/api/v1/services", timeout=10) as reply:
            found = json.load(reply)["services"]
        return next(item for item in found if (item["tenant"], item["name"]) == (tenant, name))

    def counted(self, name: str, tenant: str = "red") -> dict[str, tuple[int, int | None]]:
        """Of each provider of a service, how many connections it was given and how many are left, as switches know by
        now."""
        time.sleep(TOLD)
        with urllib.request.urlopen(
            f"{ControllerProcess.url}/api/v1/services/{name}?tenant={tenant}", timeout=10
        ) as reply:
            return {item["endpoint"]: (item["opened"], item["left"]) for item in json.load(reply)["providers"]}

    def address(self, name: str) -> str:
        """The service's IPv4 address."""
        return str(self.service(name)["ips"][0])

    def states(self, name: str) -> dict[str, str]:
        """The state of each provider of a service."""
        return {item["endpoint"]: item["state"] for item in self.service(name)["providers"]}

    def wait_states(self, name: str, wanted: Mapping[str, str], seconds: float = 10.0) -> None:
        """Wait until these providers are in these states, and the switches know."""
        said = ", ".join(f"{provider} {state}" for provider, state in wanted.items())
        wait_for(f"{name}: {said}", lambda: wanted.items() <= self.states(name).items(), seconds)
        self.effective()


def told(outcomes: Iterable[Outcome]) -> str:
    """Who answered how many, or why not."""
    return ", ".join(f"{number} {name}" for name, number in sorted(tally(outcomes).items()))


def who(outcomes: Iterable[Outcome]) -> str:
    """Who answered, or why not."""
    return ", ".join(sorted(tally(outcomes)))


def answered(outcomes: Sequence[Outcome], *by: str) -> int:
    """How many were answered, by one of these if any are named."""
    return sum(outcome.answered_by is not None and (not by or outcome.answered_by in by) for outcome in outcomes)


def refused_at_once(outcomes: Sequence[Outcome]) -> bool:
    """By a reset, or an ICMP port unreachable."""
    return all(
        ("[Errno 111]" in str(outcome.error) or outcome.error == "refused") and outcome.seconds < AT_ONCE
        for outcome in outcomes
    )


def labelled(endpoint: str, **labels: str | None) -> Change:
    """An endpoint gets these labels, or loses them (None)."""

    def change(policy: dict[str, Any]) -> None:
        own = policy["endpoints"][endpoint].setdefault("labels", {})
        for name, value in labels.items():
            own.pop(name, None)
            if value is not None:
                own[name] = value

    return change


def endpoint(name: str, **words: Any) -> Change:
    """Words of an endpoint, such as `weight`."""
    return lambda policy: policy["endpoints"][name].update(words)


def service(name: str, **words: Any) -> Change:
    """Words of a service, which is new where there is none of the name."""
    return lambda policy: policy["services"].setdefault(name, {"network": "vips"}).update(words)
