"""What compile makes, loaded with plain ovs-ofctl into real switches, carries real frames as the policy says."""

from __future__ import annotations

from collections import Counter

import examples
import pytest
from bed import Bed, Seen
from dummy_ovs import DummyOvs
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from controller_app.pipeline.compile import compile
from controller_app.policy.topology_file import parse_topology

GATEWAY = "0a:00:00:00:00:01"
H1, H2, W1 = "02:00:00:00:01:11", "02:00:00:00:01:12", "02:00:00:00:02:21"
SERVERS = ("w1", "w2", "w3")
FIREWALLS = ("fw1", "fw2")


def frame(packet: Ether) -> bytes:
    return bytes(packet)


def tcp(source: str, destination: str, sport: int, dport: int, flags: str = "S", mac: str = H1) -> bytes:
    return frame(
        Ether(src=mac, dst=GATEWAY) / IP(src=source, dst=destination) / TCP(sport=sport, dport=dport, flags=flags)
    )


def only(seen: Seen, names: tuple[str, ...], arm: str = "") -> str:
    """The one of `names` that got exactly one frame."""
    got = [name for name in names if seen.at(name, arm)]
    assert len(got) == 1, f"expected one of {names}, got {got}; all: {seen.hosts()}"
    assert len(seen.at(got[0], arm)) == 1
    return got[0]


def lab(ovs: DummyOvs, stickiness: str = "connection", returns: str = "symmetric") -> Bed:
    topology, policy = examples.network(), examples.policy(stickiness, returns)
    bed = Bed(ovs, topology, policy)
    bed.load(compile(policy, topology)[0])
    return bed


@pytest.mark.parametrize("stickiness", ["connection", "none"])
def test_service_through_firewall_and_ids_both_ways(dummy_ovs: DummyOvs, stickiness: str) -> None:
    bed = lab(dummy_ovs, stickiness)
    chosen: Counter[tuple[str, str]] = Counter()
    for port in range(40000, 40040):
        sent = tcp("10.1.0.11", "100.1.1.3", port, 8080)
        there = bed.send("h1", sent)
        firewall, server = only(there, FIREWALLS, "in"), only(there, SERVERS)
        handed = Ether(there.at(firewall, "in")[0])
        assert (handed[IP].dst, handed[TCP].dport) == ("100.1.1.3", 8080)
        assert there.at("ids1") == [sent]  # the original frame, to the byte
        got = Ether(there.at(server)[0])
        assert got.src == GATEWAY
        assert (got[TCP].dport, got[IP].ttl) == (80, 63)
        back = bed.send(server, tcp(got[IP].dst, "10.1.0.11", 80, port, "SA", got.dst))
        assert only(back, FIREWALLS, "out") == firewall
        handed = Ether(back.at(firewall, "out")[0])
        assert (handed[IP].src, handed[TCP].sport) == ("100.1.1.3", 8080)
        reply = Ether(back.at("h1")[0])
        assert (reply[IP].src, reply[TCP].sport, reply.dst, reply[IP].ttl) == ("100.1.1.3", 8080, H1, 63)
        assert len(back.at("ids1")) == 1
        chosen[firewall, server] += 1
    assert {f for f, _ in chosen} == set(FIREWALLS)
    assert {s for _, s in chosen} == set(SERVERS)
    tracked = dummy_ovs.appctl("dpctl/dump-conntrack").count("\n")
    # none: only the provider's translation is kept; connection: the client's edge as well
    assert tracked == (80 if stickiness == "connection" else 40)


def test_direct_return_touches_no_function(dummy_ovs: DummyOvs) -> None:
    bed = lab(dummy_ovs, returns="direct")
    there = bed.send("h1", tcp("10.1.0.11", "10.2.0.22", 1000, 21))
    only(there, FIREWALLS, "in")
    assert there.at("w2")
    back = bed.send("w2", tcp("10.2.0.22", "10.1.0.11", 21, 1000, "SA", "02:00:00:00:02:22"))
    assert set(back.hosts()) == {"h1"}


def test_deny_allow_and_unclassified(dummy_ovs: DummyOvs) -> None:
    bed = lab(dummy_ovs)
    assert bed.send("h1", tcp("10.1.0.11", "10.2.0.21", 1000, 23)).hosts() == set()
    assert bed.send("h1", tcp("10.1.0.11", "10.2.0.21", 1000, 443)).hosts() == {"w1"}
    assert bed.send("h2", tcp("10.1.0.12", "10.2.0.21", 1000, 22, mac=H2)).hosts() == {"w1"}
    back = bed.send("w1", tcp("10.2.0.21", "10.1.0.12", 22, 1000, "SA", W1))
    assert back.hosts() == {"h2"}  # the reply of what was allowed, not the other classifier's mirror
    same = bed.send("h1", frame(Ether(src=H1, dst=H2) / IP(src="10.1.0.11", dst="10.1.0.12", ttl=9) / ICMP()))
    assert same.hosts() == {"h2"}
    assert Ether(same.at("h2")[0])[IP].ttl == 9  # within a network it is bridged
    assert Ether(same.at("h2")[0]).src == H1


def test_default_deny(dummy_ovs: DummyOvs) -> None:
    topology = examples.network()
    policy = examples.policy(text=examples.POLICY.replace("version: 1\n", "version: 1\ndefault: deny\n", 1))
    bed = Bed(dummy_ovs, topology, policy)
    bed.load(compile(policy, topology)[0])
    assert bed.send("h1", tcp("10.1.0.11", "10.2.0.21", 1000, 443)).hosts() == set()
    assert bed.send("h2", tcp("10.1.0.12", "10.2.0.21", 1000, 22, mac=H2)).hosts() == {"w1"}
    assert bed.send("w1", tcp("10.2.0.21", "10.1.0.12", 22, 1000, "SA", W1)).hosts() == {"h2"}
    assert bed.send("w1", tcp("10.2.0.21", "10.1.0.12", 2222, 1000, "S", W1)).hosts() == set()


def test_gateway_answers(dummy_ovs: DummyOvs) -> None:
    bed = lab(dummy_ovs)
    for target, mac in (("10.1.0.254", GATEWAY), ("100.1.1.3", GATEWAY), ("10.1.0.12", H2)):
        request = Ether(src=H1, dst="ff:ff:ff:ff:ff:ff") / ARP(
            op=1, hwsrc=H1, psrc="10.1.0.11", pdst=target, hwdst="00:00:00:00:00:00"
        )
        (answer,) = bed.send("h1", frame(request)).at("h1")
        arp = Ether(answer)[ARP]
        assert (arp.op, arp.hwsrc, arp.psrc, arp.hwdst, arp.pdst) == (2, mac, target, H1, "10.1.0.11")
    (pong,) = bed.send("h1", frame(Ether(src=H1, dst=GATEWAY) / IP(src="10.1.0.11", dst="10.1.0.254") / ICMP())).at(
        "h1"
    )
    assert (Ether(pong)[ICMP].type, Ether(pong)[IP].src) == (0, "10.1.0.254")
    assert IP(bytes(Ether(pong)[IP])).chksum == Ether(pong)[IP].chksum


def test_ipv6_is_routed_classified_and_answered(dummy_ovs: DummyOvs) -> None:
    bed = lab(dummy_ovs)
    solicit = (
        Ether(src=H1, dst="33:33:ff:00:00:fe")
        / IPv6(src="fd01::11", dst="ff02::1:ff00:fe", hlim=255)
        / ICMPv6ND_NS(tgt="fd01::fe")
        / ICMPv6NDOptSrcLLAddr(lladdr=H1)
    )
    (answer,) = bed.send("h1", frame(solicit)).at("h1")
    advert = Ether(answer)
    assert advert[ICMPv6ND_NA].tgt == "fd01::fe"
    assert (advert[ICMPv6ND_NA].S, advert[ICMPv6ND_NA].O, advert[ICMPv6ND_NA].R) == (1, 1, 0)
    assert advert[IPv6].dst == "fd01::11"
    assert bytes(advert[ICMPv6ND_NA].payload)[:8].hex() == "0201" + GATEWAY.replace(":", "")
    rebuilt = Ether(answer)
    del rebuilt[ICMPv6ND_NA].cksum
    assert Ether(bytes(rebuilt))[ICMPv6ND_NA].cksum == advert[ICMPv6ND_NA].cksum

    ping = Ether(src=H1, dst=GATEWAY) / IPv6(src="fd01::11", dst="fd02::22") / ICMPv6EchoRequest()
    assert bed.send("h1", frame(ping)).hosts() == {"w2"}
    query = Ether(src=H1, dst=GATEWAY) / IPv6(src="fd01::11", dst="fd02::22") / UDP(sport=5, dport=53) / b"?"
    there = bed.send("h1", frame(query))
    firewall = only(there, FIREWALLS, "in")
    assert Ether(there.at("w2")[0])[IPv6].hlim == 63
    reply = Ether(src="02:00:00:00:02:22", dst=GATEWAY) / IPv6(src="fd02::22", dst="fd01::11") / UDP(sport=53, dport=5)
    back = bed.send("w2", frame(reply))
    assert only(back, FIREWALLS, "out") == firewall
    assert back.at("h1")


def test_forged_labels_are_dropped(dummy_ovs: DummyOvs) -> None:
    bed = lab(dummy_ovs)
    for source, destination in ((H1, "0e:00:48:00:00:12"), (H1, "0e:00:40:00:00:10"), (GATEWAY, W1)):
        forged = Ether(src=source, dst=destination) / IP(src="10.1.0.11", dst="10.2.0.21") / ICMP()
        assert bed.send("h1", frame(forged)).hosts() == set()


def test_hosts_whose_own_addresses_look_like_labels(dummy_ovs: DummyOvs) -> None:
    """Mininet and Linux draw MACs at random: one in 64 starts as labels do."""
    odd = {H1: "0e:00:48:00:00:12", H2: "0e:00:40:00:00:10", W1: "0e:ff:ff:ff:ff:ff"}
    text = examples.NETWORK
    for mac, other in odd.items():
        text = text.replace(mac, other)
    topology, policy = parse_topology(text, "odd.yaml"), examples.policy()
    bed = Bed(dummy_ovs, topology, policy)
    bed.load(compile(policy, topology)[0])
    same = Ether(src=odd[H1], dst=odd[H2]) / IP(src="10.1.0.11", dst="10.1.0.12") / ICMP()
    assert bed.send("h1", frame(same)).hosts() == {"h2"}
    there = bed.send("h1", tcp("10.1.0.11", "10.2.0.21", 1000, 21, mac=odd[H1]))
    firewall = only(there, FIREWALLS, "in")
    assert Ether(there.at("w1")[0]).dst == odd[W1]
    back = bed.send("w1", tcp("10.2.0.21", "10.1.0.11", 21, 1000, "SA", odd[W1]))
    assert only(back, FIREWALLS, "out") == firewall
    assert back.at("h1")


def test_old_connections_stay_when_the_table_changes(dummy_ovs: DummyOvs) -> None:
    """stickiness `connection`: after weights turn round, old connections keep firewall and provider."""
    topology, policy = examples.network(), examples.policy("connection")
    state, allocation = compile(policy, topology)
    bed = Bed(dummy_ovs, topology, policy)
    bed.load(state)
    old: dict[int, tuple[str, str]] = {}
    for port in range(41000, 41030):
        there = bed.send("h1", tcp("10.1.0.11", "100.1.1.3", port, 8080))
        old[port] = only(there, FIREWALLS, "in"), only(there, SERVERS)
    turned = examples.POLICY.replace("fw1: {host: fw1, weight: 2}, fw2: {host: fw2}",
                                     "fw1: {host: fw1}, fw2: {host: fw2, weight: 9}")
    turned = turned.replace("web1: {host: w1, network: servers, ", "web1: {host: w1, network: servers, weight: 20, ")
    changed, _ = compile(examples.policy("connection", text=turned), topology, allocation)
    bed.load(changed)
    moved = 0
    for port, (firewall, server) in old.items():
        there = bed.send("h1", tcp("10.1.0.11", "100.1.1.3", port, 8080, "A"))
        assert (only(there, FIREWALLS, "in"), only(there, SERVERS)) == (firewall, server)
        got = Ether(there.at(server)[0])
        back = bed.send(server, tcp(got[IP].dst, "10.1.0.11", 80, port, "A", got.dst))
        assert only(back, FIREWALLS, "out") == firewall
        new = bed.send("h1", tcp("10.1.0.11", "100.1.1.3", port + 1000, 8080))
        moved += (only(new, FIREWALLS, "in"), only(new, SERVERS)) == ("fw2", "w1")
    assert moved > 15  # new ones follow the new weights


# a dozen of those with up to some sixty switches: hundreds would take minutes each
ZOO = sorted(p for p in examples.ZOO.glob("*.graphml") if 10_000 < p.stat().st_size < 40_000)[::8][:12]


@pytest.mark.skipif(not ZOO, reason="the Topology Zoo files (../shared/data) are not here")
@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.stem)
def test_topology_zoo(dummy_ovs: DummyOvs, path: object) -> None:
    made = examples.zoo_lab(path)  # type: ignore[arg-type]
    if made is None:
        pytest.skip("its largest connected part has fewer than four switches")
    topology, policy = made
    bed = Bed(dummy_ovs, topology, policy)
    bed.load(compile(policy, topology)[0])
    firewalls, servers = set(), set()
    for port in range(30000, 30012):
        there = bed.send("h1", tcp("10.1.0.11", "100.1.1.3", port, 8080))
        firewall, server = only(there, FIREWALLS, "in"), only(there, ("w1", "w2"))
        assert len(there.at("ids1")) == 1
        got = Ether(there.at(server)[0])
        back = bed.send(server, tcp(got[IP].dst, "10.1.0.11", 80, port, "SA", got.dst))
        assert only(back, FIREWALLS, "out") == firewall
        assert Ether(back.at("h1")[0])[TCP].sport == 8080
        assert len(back.at("ids1")) == 1
        firewalls.add(firewall)
        servers.add(server)
    assert len(firewalls) == len(servers) == 2
    assert bed.send("h1", tcp("10.1.0.11", "10.2.0.21", 1, 443)).hosts() == {"w1"}
