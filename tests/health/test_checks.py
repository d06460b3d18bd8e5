"""All checks together, on a clock of the test's own, against played servers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import ip_address
from itertools import pairwise

import pytest
from checked_server import GATEWAY_MAC, Server
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether

from controller_app.discovery.hosts import mac_number
from controller_app.discovery.ports import PortId, SendFrame
from controller_app.health.checks import BURST, FIRST_PORT, PORTS, RATE, Checks, Turn
from controller_app.health.standing import RECOVERIES, Standing
from controller_app.health.targets import Address, Target
from controller_app.model.policy import Health

TICK = 0.02
V4 = Address(ip_address("10.2.0.21"), ip_address("10.2.0.254"))
V6 = Address(ip_address("fd02::21"), ip_address("fd02::fe"))
NAME = "services/default/app-svc/web1"


def target(
    number: int = 1, probe: str = "tcp", interval: float = 1.0, misses: int = 3, *, both: bool = False
) -> Target:
    address = V4 if number == 1 else Address(ip_address(0x0A02_0000 + number), V4.gateway)
    return Target(
        f"w{number}",
        Health(probe, 80, "/", interval, misses),
        0 if probe == "arp" else 80,
        (address, V6) if both else (address,),
        "s4",
        PortId(4, 10 + number),
        mac_number("02:00:00:00:02:21"),
        None,
        (f"services/default/app-svc/web{number}",),
    )


class Net:
    """Checks with a server at every port."""

    def __init__(self, *targets: Target) -> None:
        self.now = 0.0
        self.checks = Checks(b"s" * 16, mac_number(GATEWAY_MAC))
        self.ready = {"s4"}
        self.servers: dict[int, Server] = {}
        self.mode = "listening"
        self.modes: dict[int, str] = {}  # by version
        self.sent: list[tuple[float, SendFrame]] = []
        self.turns: list[tuple[float, Turn]] = []
        self.deaf = False  # what comes up is lost
        self.carry(self.checks.aim(targets, 0.0))

    def carry(self, frames: list[SendFrame]) -> None:
        while frames:
            frame, *frames = frames
            self.sent.append((self.now, frame))
            packet = Ether(frame.frame)
            version = 6 if packet.type == 0x86DD else 4
            server = Server(mode=self.modes.get(version, self.mode))
            key = hash((frame.ports, version, packet[TCP].sport if TCP in packet else 0))
            server = self.servers.setdefault(key, server)
            server.mode = self.modes.get(version, self.mode)
            for answer in server.take(frame.frame) if not self.deaf else ():
                frames += self.checks.hear(PortId(frame.dpid, frame.ports[0]), answer) or []
        self.turns += [(self.now, turn) for turn in self.checks.turns]
        self.checks.turns.clear()

    def run(self, seconds: float, step: float = TICK) -> None:
        for _ in range(round(seconds / step)):
            self.now += step
            self.carry(self.checks.tick(self.now, self.ready))

    def turned(self) -> list[tuple[str, bool]]:
        return [(turn.name, turn.ready) for _, turn in self.turns]

    def syns(self) -> list[tuple[float, int, int]]:
        """Time, source port and sequence number of every SYN."""
        found = []
        for at, sent in self.sent:
            packet = Ether(sent.frame)
            if TCP in packet and packet[TCP].flags == "S":
                found.append((at, packet[TCP].sport, packet[TCP].seq))
        return found


@pytest.mark.parametrize("probe", ["tcp", "http", "arp"])
@pytest.mark.parametrize("both", [False, True])
def test_a_provider_that_falls_silent_and_comes_back(probe: str, both: bool) -> None:
    net = Net(target(probe=probe, both=both))
    net.run(5)
    assert not net.turns and not net.checks.failing
    net.mode, since = "silent", net.now
    net.run(5)
    assert net.turned() == [(NAME, False)]
    assert 2 < net.turns[0][0] - since <= 4 + 2 * TICK, "three misses, one an interval"
    words = "answer ARP" if probe == "arp" else "no answer from 10.2.0.21:80"
    assert words in net.turns[0][1].reason
    assert net.checks.failing == {NAME: net.turns[0][1].reason}
    net.mode, since = "listening", net.now
    net.run(4)
    assert net.turned() == [(NAME, False), (NAME, True)]
    # the first of them may be answered when it is asked again, half an interval after it began
    assert 0.5 < net.turns[1][0] - since <= 2 + 2 * TICK, f"{RECOVERIES} successes in a row"
    assert not net.checks.failing


def test_one_version_that_does_not_answer_is_enough() -> None:
    net = Net(target(both=True))
    net.modes[6] = "refusing"
    net.run(5)
    assert net.turned() == [(NAME, False)]
    assert net.turns[0][1].reason == "connection refused by [fd02::21]:80"


def test_a_refusal_counts_once_an_interval() -> None:
    net = Net(target(misses=4))
    net.mode = "refusing"
    net.run(10)
    syns = net.syns()
    assert len(syns) == 10 or len(syns) == 9
    assert all(0.9 < later[0] - earlier[0] < 1.1 for earlier, later in pairwise(syns))
    assert 3 < net.turns[0][0] < 5
    assert net.turns[0][1].reason == "connection refused by 10.2.0.21:80"


def test_every_check_has_a_port_and_a_number_of_its_own_and_asks_twice_at_most() -> None:
    net = Net(target(probe="http"), target(2))
    net.mode = "silent"
    net.run(30)
    by_port: dict[tuple[int, ...], set[int]] = {}
    for _, sent in net.sent:
        segment = Ether(sent.frame)[TCP]
        if segment.flags == "S":
            assert FIRST_PORT <= segment.sport < FIRST_PORT + PORTS
            by_port.setdefault((*sent.ports, segment.sport), set()).add(segment.seq)
    assert len(by_port) in (59, 60, 58)
    assert all(len(numbers) == 1 for numbers in by_port.values()), "sent again, it is the same segment"
    assert len({number for numbers in by_port.values() for number in numbers}) == len(by_port)
    counts = Counter((port, number) for _, port, number in net.syns())
    assert set(counts.values()) <= {1, 2} and list(counts.values()).count(2) >= len(counts) - 2


def test_checks_are_spread_over_the_interval() -> None:
    net = Net(*(target(number, interval=2.0) for number in range(1, 201)))
    net.run(2)
    begun = Counter(int(at / 0.2) for at, _, _ in net.syns())
    assert sum(begun.values()) == 200
    assert max(begun.values()) <= 25, "twenty in each tenth of the interval"


def test_all_together_have_a_limit_and_everybody_gets_his_turn() -> None:
    many = [replace(target(number, probe="arp"), place=PortId(4, number)) for number in range(1, 5001)]
    checks = Checks(b"s" * 16, mac_number(GATEWAY_MAC))
    checks.aim(many, 0.0)
    assert checks.demand == 5000
    seen: Counter[int] = Counter()
    rates = []
    for tick in range(1, 501):
        found = checks.tick(tick * TICK, {"s4"})
        rates.append(len(found))
        for sent in found:
            seen[sent.ports[0]] += 1
            frame = Server().take(sent.frame)[0] if tick <= 5 else None
            if frame is not None:
                checks.hear(PortId(4, sent.ports[0]), frame)
    assert len(seen) == 5000
    assert max(seen.values()) - min(seen.values()) <= 2
    # each is asked once more while it is silent
    assert sum(rates) <= 2 * (RATE * 10 + BURST)
    assert max(map(sum, zip(rates[::2], rates[1::2], strict=True))) <= 4 * RATE * 2 * TICK + BURST


def test_who_vanishes_is_dropped_and_hung_up_on() -> None:
    net = Net(target(probe="http"), target(2))
    net.mode = "mute"
    while not net.checks._at:
        net.run(TICK)
    net.run(0.5)
    assert [Ether(sent.frame)[TCP].flags for sent in net.checks.aim((), net.now)] == ["RA"]
    assert not (net.checks._at or net.checks._heap or net.checks._runs or net.checks._waiting or net.checks.failing)
    before = len(net.sent)
    net.run(5)
    assert len(net.sent) == before and not net.turns


def test_nothing_is_asked_through_a_switch_that_is_not_there_and_nobody_is_blamed() -> None:
    net = Net(target())
    net.ready = set()
    net.mode = "silent"
    net.run(10)
    assert not net.sent and not net.turns
    net.ready = {"s4"}
    for _ in range(10):  # each check is cut off by the switch
        net.run(1)
        net.ready = set()
        net.checks.away({"s4"})
        net.run(1)
        net.ready = {"s4"}
    assert net.sent and not net.turns


def test_what_the_controller_loses_or_hears_late_is_nobodys_miss() -> None:
    net = Net(target(misses=1))
    net.deaf = True
    for _ in range(100):
        net.checks.lossy(net.now)
        net.run(0.1)
    assert not net.turns
    net.deaf = False
    net.run(3)
    for _ in range(20):  # the controller computes for two seconds; the answers wait in its queue
        asked: list[SendFrame] = []
        while not asked:
            net.now += TICK
            asked = net.checks.tick(net.now, net.ready)
        net.now += 2.0
        net.checks.tick(net.now, net.ready)
        for answer in Server().take(asked[0].frame):
            assert net.checks.hear(PortId(asked[0].dpid, asked[0].ports[0]), answer) is not None
    assert not net.checks.turns
    net.mode = "silent"
    net.run(3)
    assert net.turned() == [(NAME, False)]


def test_flapping_does_not_turn_a_provider_each_time() -> None:
    net = Net(target())
    for round in range(20):
        net.mode = "silent" if round % 3 else "listening"  # two misses, then a success
        net.run(1)
    assert not net.turns
    net.mode = "silent"
    net.run(5)
    for round in range(20):
        net.mode = "listening" if round % 2 else "silent"
        net.run(1)
    assert net.turned() == [(NAME, False)], "one success does not bring it back"


def test_who_is_checked_in_another_way_stands_as_before() -> None:
    net = Net(target())
    net.mode = "refusing"
    net.run(5)
    net.carry(net.checks.aim([target(probe="arp", interval=5.0)], net.now))
    assert net.checks.failing == {NAME: "connection refused by 10.2.0.21:80"}
    assert len(net.turns) == 1
    net.run(12)
    assert net.turned() == [(NAME, False), (NAME, True)]


def test_who_moves_is_asked_where_he_is() -> None:
    net = Net(target(interval=0.5))
    net.run(2)
    moved = replace(target(interval=0.5), place=PortId(7, 3), switch="s7", mac=mac_number("02:00:00:00:02:99"))
    net.checks.aim([moved], net.now)
    net.ready = {"s7"}
    before = len(net.sent)
    frames: list[SendFrame] = []
    for _ in range(50):
        net.now += TICK
        frames += net.checks.tick(net.now, net.ready)
    assert len(net.sent) == before
    assert {(sent.dpid, sent.ports, Ether(sent.frame).dst) for sent in frames} == {(7, (3,), "02:00:00:00:02:99")}


def test_an_answer_at_another_port_is_nobodys() -> None:
    net = Net(target(misses=1))
    net.deaf = True
    net.run(1)
    (sent,) = [sent for _, sent in net.sent][:1]
    answer = Server().take(sent.frame)[0]
    assert net.checks.hear(PortId(4, 99), answer) is None
    assert net.checks.hear(PortId(4, 11), b"") is None
    net.run(2)
    assert net.turned() == [(NAME, False)]


class Planned(Net):
    """One provider; `plan` says how it is during each check, the last of it for ever."""

    def __init__(self, aimed: Target, plan: list[str]) -> None:
        self.plan, self.first = plan, 0
        super().__init__(aimed)
        self.first = self.rounds

    @property
    def rounds(self) -> int:
        """Checks that began."""
        return next(iter(self.checks._runs.values())).rounds - self.first

    def carry(self, frames: list[SendFrame]) -> None:
        if self.first:
            self.mode = self.plan[min(max(self.rounds, 1), len(self.plan)) - 1]
        super().carry(frames)
        assert len(self.checks._at) <= 1 >= len(self.checks._heap) + len(self.checks._waiting)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["tcp", "http", "arp"]),
    st.integers(1, 4),
    st.lists(st.sampled_from(["listening", "refusing", "silent", "mute"]), min_size=1, max_size=25),
)
def test_standing_follows_the_last_checks(probe: str, misses: int, plan: list[str]) -> None:
    """A model of it: what every check found, counted by hand."""
    net = Planned(target(probe=probe, misses=misses), plan)
    while net.rounds <= len(plan):
        net.run(TICK)
    good = {"tcp": ("listening", "mute"), "http": ("listening",), "arp": ("listening", "mute", "refusing")}[probe]
    expected, ready, row = [], True, 0
    for mode in (*plan, plan[-1]):
        before = list(expected)
        well = mode in good
        row = row + 1 if well != ready else 0
        if row == (RECOVERIES if well else misses):
            ready, row = well, 0
            expected.append(ready)
    assert [turn.ready for _, turn in net.turns] in (before, expected)  # the check after the last may be out yet


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5))
def test_a_provider_turns_only_after_so_many_in_a_row(outcomes: list[bool], misses: int) -> None:
    standing = Standing()
    for index, well in enumerate(outcomes):
        before = standing.ready
        turned = standing.count(well, str(index), misses)
        assert turned == (before != standing.ready)
        needed = RECOVERIES if well else misses
        row = outcomes[max(0, index + 1 - needed) : index + 1]
        if turned:
            assert row == [well] * needed
        if len(row) == needed and all(each == well for each in row):
            assert standing.ready == well
