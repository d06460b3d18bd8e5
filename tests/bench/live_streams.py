"""Numbered TCP and UDP streams through service functions on real Open vSwitch, while a controller changes the rules.

Six switches in a ring on the dummy datapath, each hop of it a lookup of its own (cables, not patch ports). Clients send
numbered segments and datagrams at an even pace, servers answer each one, functions hand on what they get and write down
which number it was. Nothing is sent twice: what does not arrive was lost.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product

from app.plain_controller import PlainController
from bed import Bed
from dummy_ovs import DummyOvs

from controller_app.model.flow import FlowState
from controller_app.model.topology import Topology
from controller_app.policy.policy_file import parse_policy
from controller_app.policy.topology_file import parse_topology
from controller_app.reconcile.reconciler import Want
from controller_app.runtime.rollout import Rollout, Syncs

MARK = b"\xa5#\x5a!"  # in front of a packet's number
RING = 6
DEAR = 10  # what the one dear link of the ring costs
CLIENTS, SERVERS = ("c1", "c2", "c3", "c4"), ("w1", "w2")
QUIET = 4.0  # seconds that packets have to arrive after the last was sent, on a busy machine


def network(dear: int) -> Topology:
    """The ring, with one link that costs more than going round. dear: 0 to 5, from s1-s2 to s6-s1."""
    return parse_topology(network_text(dear), "ring.yaml")


def network_text(dear: int) -> str:
    """The same as a file has it."""
    links = ", ".join(
        f"{{ends: [s{n + 1}:1, s{(n + 1) % RING + 1}:2], cost: {DEAR if n == dear else 1}}}" for n in range(RING)
    )
    switches = ", ".join(f"s{n}: {{dpid: {n}}}" for n in range(1, RING + 1))
    clients = "".join(
        f"  {name}: {{attach: s1:1{n}, ip: 10.0.0.1{n}, mac: 02:00:00:00:01:0{n}}}\n" for n, name in enumerate(CLIENTS)
    )
    servers = "".join(
        f"  {name}: {{attach: s4:1{n}, ip: 10.0.0.2{n}, mac: 02:00:00:00:02:0{n}}}\n" for n, name in enumerate(SERVERS)
    )
    return (
        f"version: 1\nswitches: {{{switches}}}\nlinks: [{links}]\nhosts:\n{clients}{servers}"
        "  fw1: {attach: {in: s2:21, out: s2:22}}\n  fw2: {attach: {in: s5:21, out: s5:22}}\n"
        "  dpi1: {attach: {in: s6:21, out: s6:22}}\n  dpi2: {attach: {in: s3:21, out: s3:22}}\n"
    )


def policy(*through: str, stickiness: str = "connection") -> str:
    """Everything between clients and servers through these functions."""
    pairs = "".join(
        f"  - {{from: {{host: {a}}}, to: {{host: {b}}}, then: {{chain: guard}}}}\n"
        for a, b in product(CLIENTS, SERVERS)
    )
    return (
        "version: 1\nnetworks: {lan: {subnet: 10.0.0.0/24}}\nfunctions:\n"
        "  fw: {kind: firewall, instances: {fw1: {host: fw1}, fw2: {host: fw2}}}\n"
        "  dpi: {kind: ids, instances: {dpi1: {host: dpi1}, dpi2: {host: dpi2}}}\n"
        f"chains: {{guard: {{through: [{', '.join(through)}], stickiness: {stickiness}}}}}\nclassifiers:\n{pairs}"
    )


class AtOnce(Rollout):
    """The order that is not safe: every switch gets all of a change as soon as it is wanted, and nothing waits."""

    def begin(self, wanted: FlowState, syncs: Syncs, topology: Topology, now: float) -> Rollout:
        del syncs, topology, now
        return replace(self, wanted=wanted)

    def on(self, syncs: Syncs, topology: Topology, now: float) -> Rollout:
        del syncs, topology, now
        return self

    def want(self, switch: str) -> Want:
        return Want(self.wanted[switch])


@dataclass
class Stream:
    """One connection. `next`: sequence numbers of either side, for TCP."""

    client: str
    server: str
    tcp: bool
    port: int
    begun: bool = False
    next: dict[str, int] = field(default_factory=lambda: {"client": 1000, "server": 5000})


@dataclass(frozen=True)
class Told:
    """What became of packets: sent, lost, and those that met other functions than a chain, with an example."""

    sent: int
    lost: int
    wrong: int
    example: str = ""


class Streams:
    """Traffic, in a thread of its own between `start` and `stop`. rate: packets a second, of all clients together;
    answers come on top."""

    def __init__(self, ovs: DummyOvs, bed: Bed, rate: float) -> None:
        self._ovs, self._bed, self._pause = ovs, bed, 1 / rate
        self._hosts = bed.topology.hosts
        pairs = product(CLIENTS, SERVERS, (False, True))
        self._streams = [Stream(a, b, tcp, 40000 + n) for n, (a, b, tcp) in enumerate(pairs)]
        self._of: dict[int, tuple[Stream, bool, int]] = {}  # number -> its stream, whether it is an answer, TCP flags
        self._met: dict[int, list[str]] = defaultdict(list)
        self._came: dict[int, int] = defaultdict(int)
        self._boxes = [name for name, host in self._hosts.items() if set(host.attach) == {"in", "out"}]
        self._sending = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failure: BaseException | None = None

    def start(self) -> None:
        self._sending.set()
        self._thread.start()

    def stop(self, *chains: tuple[str, ...]) -> Told:
        """End the traffic, and tell. chains: the functions that packets may have met, in order, one of these."""
        self._sending.clear()
        time.sleep(QUIET)
        self._ended.set()
        self._thread.join(10)
        if self.failure is not None:
            raise self.failure
        allowed = {False: [list(chain) for chain in chains], True: [list(chain[::-1]) for chain in chains]}
        lost = [number for number in self._of if number not in self._came]
        wrong = []
        for number, times in self._came.items():
            functions = [name.rstrip("0123456789") for name in self._met[number]]
            if times != 1 or functions not in allowed[self._of[number][1]]:
                wrong.append(number)
        kinds = {False: "a packet", True: "an answer"}
        example = next((f"{kinds[self._of[n][1]]} met {self._met[n]}" for n in wrong), "")
        return Told(len(self._of), len(lost), len(wrong), example)

    def _run(self) -> None:
        try:
            due, turn = time.monotonic(), 0
            while not self._ended.is_set():
                now = time.monotonic()
                while self._sending.is_set() and due <= now:
                    self._say(self._streams[turn % len(self._streams)])
                    turn, due = turn + 1, max(due + self._pause, now - 5 * self._pause)
                self._look()
                time.sleep(0.002)
        except BaseException as error:  # told by who waits
            self.failure = error

    def _look(self) -> None:
        for (host, arm), port in self._bed.ports.items():
            for frame in self._ovs.sent(port, 0):
                number = _number(frame)
                if number is None:
                    continue
                if host in self._boxes:
                    self._met[number].append(host)
                    self._inject(host, "out" if arm == "in" else "in", frame)
                else:
                    self._came[number] += 1
                    self._arrived(number)

    def _arrived(self, number: int) -> None:
        stream, answer, flags = self._of[number]
        if not answer:
            self._send(stream, True, (flags & 2) | 0x10)
        elif flags & 2:
            stream.begun = True
            self._send(stream, False, 0x10)

    def _say(self, stream: Stream) -> None:
        if stream.tcp and not stream.begun:
            if stream.next["client"] == 1000:
                self._send(stream, False, 0x02)
        else:
            self._send(stream, False, 0x18)

    def _send(self, stream: Stream, answer: bool, flags: int) -> None:
        number = len(self._of) + 1
        self._of[number] = stream, answer, flags
        here, there = (stream.server, stream.client) if answer else (stream.client, stream.server)
        payload = MARK + struct.pack("!I", number)
        if stream.tcp:
            me, other = ("server", "client") if answer else ("client", "server")
            ports = (80, stream.port) if answer else (stream.port, 80)
            acknowledged = stream.next[other] if flags & 0x10 else 0
            segment = struct.pack("!HHIIBBHHH", *ports, stream.next[me], acknowledged, 5 << 4, flags, 0xFFFF, 0, 0)
            stream.next[me] += len(payload) + (flags >> 1 & 1)
        else:
            ports = (53, stream.port) if answer else (stream.port, 53)
            segment = struct.pack("!HHHH", *ports, 8 + len(payload), 0)
        self._inject(here, "", self._frame(here, there, stream.tcp, segment + payload))

    def _frame(self, here: str, there: str, tcp: bool, segment: bytes) -> bytes:
        source, target = self._hosts[here], self._hosts[there]
        addresses = source.ips[0].packed + target.ips[0].packed
        protocol = 6 if tcp else 17
        at = 16 if tcp else 6
        total = _checksum(addresses + struct.pack("!HH", protocol, len(segment)) + segment)
        segment = segment[:at] + struct.pack("!H", total or 0xFFFF) + segment[at + 2 :]
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0x4000, 64, protocol, 0) + addresses
        head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
        macs = bytes.fromhex(f"{target.mac}{source.mac}".replace(":", ""))
        return macs + b"\x08\x00" + head + segment

    def _inject(self, host: str, arm: str, frame: bytes) -> None:
        self._ovs.appctl("netdev-dummy/receive", self._bed.ports[host, arm], frame.hex())


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _number(frame: bytes) -> int | None:
    at = frame.rfind(MARK)
    return None if at < 0 else int.from_bytes(frame[at + 4 : at + 8], "big")


class Ring:
    """The ring with a controller that all switches hold the rules of."""

    def __init__(self, ovs: DummyOvs, bed: Bed, controller: PlainController) -> None:
        self.ovs, self.bed, self.controller = ovs, bed, controller

    def change(self, text: str | None = None, topology: Topology | None = None) -> None:
        """Want another policy, or another network."""

        def adopt() -> None:
            conductor = self.controller.conductor
            intent = conductor.intent if text is None else conductor.intent.put({"test": text})
            computed, _ = conductor.check(intent, topology)
            conductor.adopt(intent, computed, "bench", 0.0, topology)

        self.controller.do(adopt)

    def wait(self, seconds: float = 30) -> None:
        """Until every switch holds what it is to hold, and nothing of the past."""
        self.controller.wait(lambda c: c.settled() and c._rollout.over, seconds)

    def streams(self, rate: float) -> Streams:
        return Streams(self.ovs, self.bed, rate)


@contextmanager
def ring(text: str, safe: bool = True) -> Iterator[Ring]:
    """Build it and take it down. safe: stage by stage; otherwise all at once."""
    topology = network(0)
    with DummyOvs() as ovs, PlainController(topology, text, observe_links=False) as controller:
        bed = Bed(ovs, topology, parse_policy({"test": text}).policy, cables=True)
        with ovs.transaction():
            for bridge in bed.bridges.values():
                ovs.set_controller(bridge, "127.0.0.1", controller.port)
        made = Ring(ovs, bed, controller)
        controller.wait(lambda c: len(c.conversations) == RING, 20)
        made.wait()
        if not safe:
            at_once: Callable[[], None] = lambda: setattr(  # noqa: E731
                controller.conductor, "_rollout", AtOnce(controller.conductor.computed.state)
            )
            controller.do(at_once)
        yield made
