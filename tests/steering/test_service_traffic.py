"""Services on real switches: itself among its clients, refusals, echo, affinity, and providers that come and go."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from typing import Any

import pytest
from bed import Bed
from dummy_ovs import DummyOvs
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from service_examples import PLACES, network, policy, with_endpoint

from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.compile import compile
from controller_app.pipeline.tables import NUMBER
from controller_app.policy.topology_file import parse_topology

GATEWAY = "0a:00:00:00:00:01"
VIP, VIP6 = "100.1.1.1", "fd03::1"
NETWORK = network()
PROVIDERS = ("p1", "p2", "p3", "p4")


def bed(ovs: DummyOvs, wanted: Policy, topology: Topology = NETWORK, portable: bool = False) -> Bed:
    made = Bed(ovs, topology, wanted)
    made.load(compile(wanted, topology, portable=portable)[0])
    return made


def ip_of(host: str, version: int = 4) -> str:
    return next(str(ip) for ip in NETWORK.hosts[host].ips if ip.version == version)


def asking(host: str, sport: int, layer: Any = None, version: int = 4) -> bytes:
    """A frame of a host to the service."""
    ends = (IP(src=ip_of(host), dst=VIP) if version == 4 else IPv6(src=ip_of(host, 6), dst=VIP6))
    return bytes(Ether(src=NETWORK.hosts[host].mac, dst=GATEWAY) / ends / (layer or TCP(sport=sport, dport=8080)))


def got(made: Bed, host: str, frame: bytes) -> dict[str, list[Any]]:
    """Who receives something of a frame that a host sends, and what."""
    seen = made.send(host, frame)
    return {to: [Ether(found) for found in seen.at(to)] for to in (*PROVIDERS, "c1", "c4") if seen.at(to)}


def answer(frame: Any) -> bytes:
    """What a server says to what it got."""
    ends = frame.getlayer(IP) or frame.getlayer(IPv6)
    back = (IP if isinstance(ends, IP) else IPv6)(src=ends.dst, dst=ends.src)
    layer = frame.getlayer(TCP) or frame.getlayer(UDP)
    said = TCP(sport=layer.dport, dport=layer.sport, flags="SA") if isinstance(layer, TCP) else UDP(
        sport=layer.dport, dport=layer.sport)
    return bytes(Ether(src=frame.dst, dst=GATEWAY) / back / said)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("host", ["c1", "c4"])
def test_a_service_is_asked_and_answers(dummy_ovs: DummyOvs, host: str, version: int) -> None:
    made = bed(dummy_ovs, policy())
    counted = set()
    for sport in range(40_000, 40_012):
        found = got(made, host, asking(host, sport, version=version))
        (provider,) = found
        (frame,) = found[provider]
        assert (frame[TCP].dport, frame[TCP].sport) == (80, sport)
        assert (frame.payload.src, frame.payload.dst) == (ip_of(host, version), ip_of(provider, version))
        (reply,) = got(made, provider, answer(frame))[host]
        assert (reply.payload.src, reply[TCP].sport) == (VIP if version == 4 else VIP6, 8080)
        counted.add(provider)
    assert len(counted) > 1


@pytest.mark.parametrize("version", [4, 6])
def test_a_provider_that_asks_itself_is_answered(dummy_ovs: DummyOvs, version: int) -> None:
    alone = replace(NETWORK, unready=frozenset(f"services/default/app/{name}" for name in ("p1", "p3", "p4")))
    made = bed(dummy_ovs, policy(), alone)
    for protocol, port in ((TCP, 8080), (UDP, 53)):
        asked = asking("p2", 41_000, protocol(sport=41_000, dport=port), version)
        for again in range(3):
            (frame,) = got(made, "p2", asked)["p2"]
            service = VIP if version == 4 else VIP6
            assert (frame.payload.src, frame.payload.dst) == (service, ip_of("p2", version)), again
            assert frame[protocol].dport == (80 if protocol is TCP else 5353)
            (reply,) = got(made, "p2", answer(frame))["p2"]
            assert (reply.payload.src, reply.payload.dst) == (service, ip_of("p2", version))
            assert (reply[protocol].sport, reply[protocol].dport) == (port, 41_000)


def test_a_provider_asks_others_and_itself_and_is_asked(dummy_ovs: DummyOvs) -> None:
    made = bed(dummy_ovs, policy())
    met = set()
    for sport in range(42_000, 42_016):
        found = got(made, "p2", asking("p2", sport))
        (provider,) = found
        (reply,) = got(made, provider, answer(found[provider][0]))["p2"]
        assert (reply[IP].src, reply[IP].dst, reply[TCP].sport, reply[TCP].dport) == (VIP, ip_of("p2"), 8080, sport)
        met.add(provider)
        found = got(made, "c1", asking("c1", sport))
        (provider,) = found
        (reply,) = got(made, provider, answer(found[provider][0]))["c1"]
        assert (reply[IP].src, reply[TCP].dport) == (VIP, sport)
    assert "p2" in met
    assert len(met) > 1


def test_the_address_answers_an_echo(dummy_ovs: DummyOvs) -> None:
    made = bed(dummy_ovs, policy())
    (reply,) = got(made, "c1", asking("c1", 0, ICMP(type=8, id=7, seq=1)))["c1"]
    assert (reply[IP].src, reply[ICMP].type, reply[ICMP].id) == (VIP, 0, 7)
    (reply,) = got(made, "c1", asking("c1", 0, ICMPv6EchoRequest(id=9, seq=2), 6))["c1"]
    assert reply[IPv6].src == VIP6


@pytest.mark.parametrize("portable", [False, True])
def test_all_connections_of_a_client_have_one_provider(dummy_ovs: DummyOvs, portable: bool) -> None:
    made = bed(dummy_ovs, policy(session_affinity=600.0), portable=portable)
    for host in ("c1", "c4", "p3"):
        met = {name for sport in range(43_000, 43_015) for name in got(made, host, asking(host, sport))}
        assert len(met) == 1, host


def test_connections_stay_while_providers_come_and_go(dummy_ovs: DummyOvs) -> None:
    wanted = policy()
    made = bed(dummy_ovs, wanted)
    _, allocation = compile(wanted, NETWORK)
    at = {}
    for sport in range(44_000, 44_016):
        (at[sport],) = got(made, "c1", asking("c1", sport))
    assert len(set(at.values())) > 1
    gone = next(name for name in PROVIDERS if name in at.values())
    for unready, changed in (
        (frozenset({f"services/default/app/{gone}"}), wanted),
        (frozenset[str](), with_endpoint(wanted, gone, drain=True)),
        (frozenset[str](), with_endpoint(wanted, gone, weight=9)),
    ):
        state, allocation = compile(changed, replace(NETWORK, unready=unready), allocation)
        made.load(state)
        for sport, provider in at.items():
            found = set(got(made, "c1", asking("c1", sport, TCP(sport=sport, dport=8080, flags="A"))))
            assert found == (set() if unready and provider == gone else {provider})


def refused(made: Bed, switch: str) -> int:
    """How many packets an edge sent up for the controller to refuse."""
    made.ovs.appctl("revalidator/purge")  # what the datapath counted is told
    flows = made.ovs.ofctl("dump-flows", made.bridges[switch], f"table={NUMBER['reject']}")
    return sum(int(count) for count in re.findall(r"n_packets=(\d+)", flows))


@pytest.mark.parametrize(("host", "stickiness"), [("c1", "none"), ("c4", "connection")])
@pytest.mark.parametrize("affinity", [None, 600.0])
@pytest.mark.parametrize("portable", [False, True])
def test_what_is_left_of_a_connection_is_refused_and_all_else_moves(
    dummy_ovs: DummyOvs, host: str, stickiness: str, affinity: float | None, portable: bool
) -> None:
    """c4 comes through a chain. Nobody but its provider gets anything of a connection; its port may open another."""
    wanted = policy(session_affinity=affinity)
    tenant = wanted.tenants["default"]
    chains = {"walled": replace(tenant.chains["walled"], stickiness=stickiness)}
    wanted = Policy({"default": replace(tenant, chains=chains)})
    made = bed(dummy_ovs, wanted, portable=portable)
    _, allocation = compile(wanted, NETWORK, portable=portable)
    edge = NETWORK.hosts[host].attach[""].switch
    opened = [(version, 44_100 + number) for version in (4, 6) for number in range(5)]

    def segment(of: tuple[int, int], flags: str, payload: bytes = b"") -> bytes:
        return asking(host, of[1], TCP(sport=of[1], dport=8080, flags=flags, seq=7, ack=9) / payload, of[0])

    def datagram(of: tuple[int, int]) -> bytes:
        return asking(host, of[1], UDP(sport=of[1], dport=53), of[0])

    at = {each: next(iter(got(made, host, segment(each, "S")))) for each in opened}
    asked = {each: next(iter(got(made, host, datagram(each)))) for each in opened}
    gone = at[opened[0]]
    lost = [each for each in opened if at[each] == gone]
    ended = replace(NETWORK, unready=frozenset({f"services/default/app/{gone}"}))
    without, allocation = compile(wanted, ended, allocation, portable)
    made.load(without)
    before = refused(made, edge)
    segments = ("A", b""), ("PA", b"secret"), ("FA", b""), ("RA", b""), ("R", b""), ("SA", b"")
    frames = [segment(each, flags, payload) for each in lost for flags, payload in segments]
    assert made.send(host, *frames).hosts() == set()
    assert refused(made, edge) - before == len(frames)
    for each in opened:
        if each not in lost:
            assert set(got(made, host, segment(each, "A"))) == {at[each]}
        (now,) = got(made, host, datagram(each))
        assert now == asked[each] if asked[each] != gone else now != gone
    state, later = compile(wanted, NETWORK, allocation, portable)
    made.load(state)
    assert set(got(made, host, segment(lost[0], "A"))) == {gone}, "what was refused changed nothing that is remembered"
    made.load(compile(wanted, ended, later, portable)[0])
    (anew,) = got(made, host, segment(lost[0], "S"))
    assert anew != gone
    assert set(got(made, host, segment(lost[0], "A"))) == {anew}


def test_a_provider_that_moves_keeps_its_connections(dummy_ovs: DummyOvs) -> None:
    """To another switch; what is remembered of it is where it was. When it has left, they end like any other's."""
    wanted = policy()
    places = parse_topology(PLACES.replace("p2: {attach: s2:12", "p2: {attach: s3:13"), "places.yaml")
    both = replace(NETWORK, hosts={**NETWORK.hosts, "p2-there": replace(places.hosts["p2"], name="p2-there")})
    made = Bed(dummy_ovs, both, wanted)
    state, allocation = compile(wanted, NETWORK)
    made.load(state)
    at = {sport: next(iter(got(made, "c1", asking("c1", sport)))) for sport in range(44_200, 44_216)}
    mine = [sport for sport, provider in at.items() if provider == "p2"]
    assert mine
    # others would be chosen now, but for whom it has
    heavier = with_endpoint(wanted, "p1", weight=50)
    for again in range(2):
        state, allocation = compile(heavier, places, allocation)
        made.load(state)
        for sport in mine:
            seen = made.send("c1", asking("c1", sport, TCP(sport=sport, dport=8080, flags="A")))
            (frame,) = seen.at("p2-there")
            assert Ether(frame)[IP].dst == ip_of("p2")
            assert seen.hosts() == {"p2-there"}, again
    left, allocation = compile(heavier, replace(places, unready=frozenset({"services/default/app/p2"})), allocation)
    made.load(left)
    frames = [asking("c1", sport, TCP(sport=sport, dport=8080, flags="A")) for sport in mine]
    assert made.send("c1", *frames).hosts() == set()
    assert refused(made, "s1") == len(frames)


def test_draining_keeps_what_there_is_and_gets_nothing_new(dummy_ovs: DummyOvs) -> None:
    wanted = policy()
    made = bed(dummy_ovs, wanted)
    _, allocation = compile(wanted, NETWORK)
    at = {sport: next(iter(got(made, "c1", asking("c1", sport)))) for sport in range(45_000, 45_012)}
    gone = at[45_000]
    made.load(compile(with_endpoint(wanted, gone, drain=True), NETWORK, allocation)[0])
    for sport, provider in at.items():
        assert set(got(made, "c1", asking("c1", sport, TCP(sport=sport, dport=8080, flags="A")))) == {provider}
    fresh = {name for sport in range(46_000, 46_016) for name in got(made, "c1", asking("c1", sport))}
    assert gone not in fresh


def test_an_error_about_a_reply_comes_to_the_provider(dummy_ovs: DummyOvs) -> None:
    made = bed(dummy_ovs, policy())
    asked = asking("c1", 47_000, UDP(sport=47_000, dport=53))
    ((provider, (frame,)),) = got(made, "c1", asked).items()
    ((_, (reply,)),) = got(made, provider, answer(frame)).items()
    told = Ether(src=NETWORK.hosts["c1"].mac, dst=GATEWAY) / IP(src=ip_of("c1"), dst=VIP) / ICMP(type=3, code=3)
    whole = bytes(told / (bytes(reply[IP]) + bytes(60)))
    ((who, (error,)),) = got(made, "c1", whole).items()
    assert who == provider
    assert error[IP].dst == ip_of(provider)
    short = bytes(told / bytes(reply[IP])[:28])
    assert got(made, "c1", short) == {}


def test_nothing_that_clients_and_providers_send_harms_the_switch(dummy_ovs: DummyOvs) -> None:
    """10,000 TCP packets with any flags over few ports, to the service and to its providers directly, both ways."""
    made = bed(dummy_ovs, policy())
    drawn = random.Random(4)
    hosts = ("c1", "p1", "p2")
    frames: dict[str, list[bytes]] = {host: [] for host in hosts}
    for _ in range(10_000):
        host = drawn.choice(hosts)
        target, port = drawn.choice([(VIP, 8080), (ip_of("p1"), 80), (ip_of("p2"), 80), (ip_of("c1"), 40_001)])
        sport = drawn.choice([80, 8080, 40_001, 40_002])
        layer = TCP(sport=sport, dport=drawn.choice([port, 40_001, 40_002]), flags=drawn.randrange(256),
                    seq=drawn.randrange(1 << 32), ack=drawn.randrange(1 << 32))
        frames[host].append(bytes(Ether(src=NETWORK.hosts[host].mac, dst=GATEWAY) / IP(src=ip_of(host), dst=target)
                                  / layer))
    for start in range(0, 4_000, 200):
        for host in hosts:
            made.send(host, *frames[host][start:start + 200])
    assert list(got(made, "c4", asking("c4", 48_000)))  # it lives


def test_what_comes_before_its_provider_is_ready_is_lost_and_not_refused(dummy_ovs: DummyOvs) -> None:
    """Switches change one after the other. Lost, it is sent again."""
    wanted = policy()
    made = bed(dummy_ovs, wanted)
    alone = replace(NETWORK, unready=frozenset(f"services/default/app/{name}" for name in PROVIDERS if name != "p4"))
    old = compile(wanted, replace(NETWORK, unready=frozenset({"services/default/app/p4"})))
    new, _ = compile(wanted, alone, old[1])
    mixed = {**new, "s4": old[0]["s4"]}  # the client's edge knows the provider, whose own switch does not yet
    made.load(mixed)
    assert got(made, "c1", asking("c1", 49_500)) == {}
    made.load(new)
    assert set(got(made, "c1", asking("c1", 49_500))) == {"p4"}
