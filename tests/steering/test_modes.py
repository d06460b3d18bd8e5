"""Every mode of function, on real switches: packets go in as the mode says, and their way is known after it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from bed import Bed, Seen
from bed_players import GATEWAY, Nsh, Router
from dummy_ovs import DummyOvs
from more_examples import B2, FIREWALL, NAT, ORIGINAL, ROUTED, SPEAKER, STICKINESS, TAP, TWO_ARMED, A, B, both
from scapy.contrib.nsh import NSH
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import Ether

from controller_app.pipeline.compile import compile


def lab(ovs: DummyOvs, *args: str, portable: bool = False) -> Bed:
    topology, policy = both(*args)
    bed = Bed(ovs, topology, policy)
    bed.load(compile(policy, topology, portable=portable)[0])
    return bed


def tcp(source: str, destination: str, sport: int, dport: int, mac: str, to: str = GATEWAY, flags: str = "S") -> bytes:
    return bytes(Ether(src=mac, dst=to) / IP(src=source, dst=destination) / TCP(sport=sport, dport=dport, flags=flags))


def met(seen: Seen, *instances: str) -> list[str]:
    """Which of these were handed a frame."""
    return [name for name in instances if any(seen.at(name, arm) for arm in ("", "in", "out"))]


def there_and_back(bed: Bed, port: int) -> tuple[Seen, Ether, Seen, Ether]:
    there = bed.send("a", tcp("10.1.0.11", "10.2.0.21", port, 80, A))
    assert len(there.at("b")) == 1, there.frames
    got = Ether(there.at("b")[0])
    back = bed.send("b", tcp("10.2.0.21", got[IP].src, 80, got[TCP].sport, B, flags="SA"))
    assert len(back.at("a")) == 1, back.frames
    return there, got, back, Ether(back.at("a")[0])


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("stickiness", STICKINESS)
def test_routed_one_armed(dummy_ovs: DummyOvs, stickiness: str, portable: bool) -> None:
    bed = lab(dummy_ovs, ROUTED, "router", stickiness, portable=portable)
    chosen: Counter[str] = Counter()
    for port in range(1000, 1020):
        there, got, back, answer = there_and_back(bed, port)
        (one,) = met(there, "r1", "r2")
        assert met(back, "r1", "r2") == [one]
        assert Ether(there.at(one)[0]).dst == bed.topology.hosts[one].mac
        assert (got[IP].ttl, answer[IP].ttl) == (62, 62)  # the router and the way out
        assert (got.dst, answer.dst) == (B, A)
        chosen[one] += 1
    assert len(chosen) == 2
    if stickiness == "none":
        assert dummy_ovs.appctl("dpctl/dump-conntrack") == ""


def test_routed_within_a_network(dummy_ovs: DummyOvs) -> None:
    """Sent to the host's own MAC, by a router that knows it: TTL goes down once, in the router."""
    bed = lab(dummy_ovs, ROUTED, "router")
    for player in bed.players.values():
        assert isinstance(player, Router)
        player.neighbours = {"10.1.0.11": A, "10.1.0.22": B2}
    there = bed.send("a", tcp("10.1.0.11", "10.1.0.22", 1000, 80, A, B2))
    assert Ether(there.at("b2")[0])[IP].ttl == 63
    back = bed.send("b2", tcp("10.1.0.22", "10.1.0.11", 80, 1000, B2, A, "SA"))
    assert Ether(back.at("a")[0])[IP].ttl == 63
    assert met(there, "r1", "r2") == met(back, "r1", "r2") != []


def test_a_router_tells_that_the_time_is_up(dummy_ovs: DummyOvs) -> None:
    bed = lab(dummy_ovs, ROUTED, "router")
    frame = Ether(tcp("10.1.0.11", "10.2.0.21", 1000, 80, A))
    frame[IP].ttl = 1
    seen = bed.send("a", bytes(frame))
    assert not seen.at("b")
    (told,) = seen.at("a")
    assert Ether(told)[ICMP].type == 11
    assert Ether(told)[IP].src in ("10.1.0.101", "10.1.0.102")


@pytest.mark.parametrize("stickiness", STICKINESS)
def test_routed_two_armed(dummy_ovs: DummyOvs, stickiness: str) -> None:
    bed = lab(dummy_ovs, TWO_ARMED, "router", stickiness)
    there, got, back, _ = there_and_back(bed, 1000)
    assert (len(there.at("r3", "in")), len(there.at("r3", "out"))) == (1, 0)
    assert (len(back.at("r3", "in")), len(back.at("r3", "out"))) == (0, 1)
    assert Ether(there.at("r3", "in")[0]).dst == "02:00:00:00:03:13"
    assert got[IP].ttl == 62


@pytest.mark.parametrize("stickiness", STICKINESS)
@pytest.mark.parametrize("order", ["router, fw, ids", "fw, router", "ids, router, fw"])
def test_routed_among_others(dummy_ovs: DummyOvs, stickiness: str, order: str) -> None:
    bed = lab(dummy_ovs, f"{ROUTED}\n  {FIREWALL}\n  {TAP}", order, stickiness)
    for port in range(1000, 1012):
        there, _, back, _ = there_and_back(bed, port)
        every = ("r1", "r2", "fw1", "fw2")
        assert len(met(there, *every)) == 2
        assert met(there, *every) == met(back, *every)
        assert len(there.at("ids1")) == len(back.at("ids1")) == order.count("ids")


@pytest.mark.parametrize("stickiness", STICKINESS)
def test_the_original_address_is_handed_over(dummy_ovs: DummyOvs, stickiness: str) -> None:
    bed = lab(dummy_ovs, ORIGINAL, "fw", stickiness)
    sent = tcp("10.1.0.11", "10.2.0.21", 1000, 80, A)
    there, _, back, _ = there_and_back(bed, 1000)
    (one,) = met(there, "fw1", "fw2")
    assert there.at(one, "in") == [sent]
    assert met(back, "fw1", "fw2") == [one]
    assert Ether(back.at(one, "out")[0]).dst == GATEWAY


@pytest.mark.parametrize("transport", ["mac", "nsh"])
@pytest.mark.parametrize("stickiness", STICKINESS)
def test_nsh(dummy_ovs: DummyOvs, stickiness: str, transport: str) -> None:
    bed = lab(dummy_ovs, f"{SPEAKER}\n  {FIREWALL}", "nsh, fw", stickiness, transport)
    spis: set[int] = set()
    for port in range(1000, 1016):
        there, got, back, _ = there_and_back(bed, port)
        (one,) = met(there, "n1", "n2")
        assert met(back, "n1", "n2") == [one]
        handed = Ether(there.at(one, next(iter(bed.topology.hosts[one].attach)))[0])
        header = handed[NSH]
        assert handed.dst == bed.topology.hosts[one].mac
        assert (header.mdtype, header.nextproto, header.si) == (1, 3, 255)
        assert (header.ttl == 63) == (transport == "mac")
        assert Ether(bytes(header.payload))[TCP].dport == 80
        assert got[IP].ttl == 63
        spis.add(header.spi)
        returned = Ether(back.at(one, list(bed.topology.hosts[one].attach)[-1])[0])[NSH]
        assert (returned.si, returned.spi) == (254, header.spi | 1)
    assert len(spis) == 4


def test_nsh_that_is_not_decremented_is_dropped(dummy_ovs: DummyOvs) -> None:
    bed = lab(dummy_ovs, SPEAKER, "nsh")
    for player in bed.players.values():
        assert isinstance(player, Nsh)
        player.decrements = False
    there = bed.send("a", tcp("10.1.0.11", "10.2.0.21", 1000, 80, A))
    assert met(there, "n1", "n2")
    assert not there.at("b")


@pytest.mark.parametrize("stickiness", STICKINESS)
@pytest.mark.parametrize("order", ["nat", "fw, nat", "nat, fw"])
def test_translating(dummy_ovs: DummyOvs, stickiness: str, order: str) -> None:
    bed = lab(dummy_ovs, f"{NAT}\n  {FIREWALL}", order, stickiness)
    used: set[str] = set()
    for port in range(1000, 1016):
        there, got, back, answer = there_and_back(bed, port)
        (one,) = met(there, "r1", "r2")
        assert met(back, "r1", "r2") == [one]
        assert got[IP].src == str(bed.topology.hosts[one].ips[0])
        assert (answer[IP].src, answer[IP].dst) == ("10.2.0.21", "10.1.0.11")
        walls = met(there, "fw1", "fw2")
        assert len(walls) == order.count("fw")
        assert met(back, "fw1", "fw2") == walls
        if walls:
            seen = Ether(there.at(walls[0], "in")[0])[IP].src
            assert (seen == "10.1.0.11") == order.startswith("fw")
        used.add(one)
    assert len(used) == 2


@pytest.mark.parametrize("stickiness", STICKINESS)
def test_answers_of_a_translating_function_are_known_without_their_label(dummy_ovs: DummyOvs, stickiness: str) -> None:
    """They come out of it, and then out of a function that saw the address their sender wrote."""
    bed = lab(dummy_ovs, f"{NAT}\n  {ORIGINAL}\n  {TAP}", "ids, fw, nat", stickiness)
    for port in range(1000, 1012):
        there, _, back, answer = there_and_back(bed, port)
        assert met(there, "r1", "r2", "fw1", "fw2") == met(back, "r1", "r2", "fw1", "fw2")
        assert len(met(back, "fw1", "fw2")) == len(there.at("ids1")) == len(back.at("ids1")) == 1
        assert Ether(back.at("ids1")[0])[IP].dst == answer[IP].dst == "10.1.0.11"


@pytest.mark.parametrize("transport", ["vlan", "mpls", "nsh"])
@pytest.mark.parametrize("stickiness", STICKINESS)
def test_transports(dummy_ovs: DummyOvs, stickiness: str, transport: str) -> None:
    """The same as with the label alone: bytes, functions, taps."""
    bed = lab(dummy_ovs, f"{FIREWALL}\n  {ROUTED}\n  {TAP}", "fw, ids, router", stickiness, transport)
    plain_topology, plain = both(f"{FIREWALL}\n  {ROUTED}\n  {TAP}", "fw, ids, router", stickiness)
    state, allocation = compile(plain, plain_topology)
    for port in range(1000, 1012):
        there, got, back, answer = there_and_back(bed, port)
        assert len(met(there, "fw1", "fw2", "r1", "r2")) == 2
        assert met(there, "fw1", "fw2", "r1", "r2") == met(back, "fw1", "fw2", "r1", "r2")
        assert len(there.at("ids1")) == len(back.at("ids1")) == 1
        assert Ether(there.at("ids1")[0])[TCP].sport == port
        assert got[IP].ttl == answer[IP].ttl == 62
    assert state
    assert allocation


@pytest.mark.parametrize(("on_failure", "arrives"), [("open", True), ("closed", False)])
def test_when_no_instance_is_left(dummy_ovs: DummyOvs, on_failure: str, arrives: bool) -> None:
    topology, policy = both(FIREWALL.replace("kind: firewall", f"kind: firewall, on_failure: {on_failure}"), "fw")
    ends = [end for name in ("fw1", "fw2") for end in topology.hosts[name].attach.values()]
    bed = Bed(dummy_ovs, topology, policy)
    bed.load(compile(policy, replace(topology, down=frozenset(ends)))[0])
    there = bed.send("a", tcp("10.1.0.11", "10.2.0.21", 1000, 80, A))
    assert bool(there.at("b")) == arrives


@pytest.mark.parametrize(
    ("functions", "through", "instances"),
    [
        (ROUTED, "router", ("r1", "r2")),
        (f"{ROUTED}\n  {FIREWALL}", "fw, router", ("fw1", "fw2", "r1", "r2")),
        (ORIGINAL, "fw", ("fw1", "fw2")),
        (SPEAKER, "nsh", ("n1", "n2")),
        (NAT, "nat", ("r1", "r2")),
    ],
)
def test_running_connections_stay_when_weights_change(
    dummy_ovs: DummyOvs, functions: str, through: str, instances: tuple[str, ...]
) -> None:
    """About half of the slots go to other instances: what was opened before goes on as it did, both ways."""
    topology, policy = both(functions, through, "connection")
    state, allocation = compile(policy, topology)
    bed = Bed(dummy_ovs, topology, policy)
    bed.load(state)

    def exchange(port: int, flags: str, answer: str) -> tuple[list[str], list[str]]:
        there = bed.send("a", tcp("10.1.0.11", "10.2.0.21", port, 80, A, flags=flags))
        assert len(there.at("b")) == 1, there.frames
        got = Ether(there.at("b")[0])
        back = bed.send("b", tcp("10.2.0.21", got[IP].src, 80, got[TCP].sport, B, flags=answer))
        assert len(back.at("a")) == 1, back.frames
        return met(there, *instances), met(back, *instances)

    opened = {}
    for port in range(1000, 1012):
        opened[port] = exchange(port, "S", "SA")
        assert exchange(port, "A", "A") == opened[port]
    slots = {key: table[::-1] for key, table in allocation.slots.items()}
    changed = compile(policy, topology, replace(allocation, slots=slots))[0]
    assert all(changed[switch].groups != state[switch].groups for switch in ("s1", "s3"))
    bed.load(changed)
    moved = sum(exchange(port, "A", "A") != opened[port] for port in opened)
    assert moved == 0
