"""What hosts may send, on real switches: forged frames, VLAN tags, floods, other tenants' addresses, long packets."""

from __future__ import annotations

from bed import Bed
from dummy_ovs import DummyOvs
from more_examples import hosts
from scapy.contrib.mpls import MPLS
from scapy.contrib.nsh import NSH
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

from controller_app.pipeline.compile import compile

GATEWAY = "0a:00:00:00:00:01"
A, B, V1, V2, V3 = (f"02:00:00:00:01:{n}" for n in (11, 12, 21, 22, 23))


def lab(ovs: DummyOvs, transport: str = "mac", mtu: str = "") -> Bed:
    topology, policy = hosts(transport, mtu)
    bed = Bed(ovs, topology, policy)
    bed.load(compile(policy, topology)[0])
    return bed


def to_b(**others: str) -> Ether:
    return Ether(src=A, dst=B) / IP(src=others.get("source", "10.1.0.11"), dst="10.1.0.12") / UDP(dport=5)


def dropped(bed: Bed, name: str, text: str) -> int:
    """Frames that a flow of table 0 without actions counted."""
    found = bed.ovs.ofctl("dump-flows", bed.bridges[name], "table=0")
    lines = [line for line in found.splitlines() if text in line and "actions=drop" in line]
    return sum(int(line.split("n_packets=")[1].split(",")[0]) for line in lines)


def test_another_hosts_address_is_dropped_and_counted(dummy_ovs: DummyOvs) -> None:
    bed = lab(dummy_ovs)
    assert len(bed.send("a", bytes(to_b())).at("b")) == 1
    for frame in (
        to_b(source="10.1.0.21"),
        Ether(src=A, dst=B) / IPv6(src="fd01::99", dst="fd01::12") / UDP(dport=5),
        Ether(src=A, dst="ff:ff:ff:ff:ff:ff") / ARP(psrc="10.1.0.254", pdst="10.1.0.12", hwsrc=A),
    ):
        seen = bed.send("a", bytes(frame))
        assert seen.hosts() == set(), frame
    assert dropped(bed, "s1", "in_port=11") == 3


def test_what_only_switches_write_is_dropped_and_counted(dummy_ovs: DummyOvs) -> None:
    bed = lab(dummy_ovs)
    inner = Ether(src=A, dst="0e:00:08:00:00:08") / IP(src="10.1.0.11", dst="10.1.0.12") / TCP(dport=80)
    for ether_type, payload in ((0x8847, MPLS(label=40) / inner[IP]), (0x894F, NSH(spi=2, si=255) / inner)):
        for first in (0x0E, 0x1E, 0x02):
            frame = Ether(src=A, dst=f"{first:02x}:00:08:00:00:08", type=ether_type) / payload
            assert bed.send("a", bytes(frame)).hosts() == set()
    assert dropped(bed, "s1", "dl_type=0x894f") == dropped(bed, "s1", "mpls") == 1  # those with no label's address
    for first in (0x0E, 0x1E):
        forged = Ether(src=A, dst=f"{first:02x}:00:08:00:00:08") / inner[IP]
        assert bed.send("a", bytes(forged)).hosts() == set()
    assert dropped(bed, "s1", "in_port=11") == 6


def test_hosts_with_tags(dummy_ovs: DummyOvs) -> None:
    """Each host sees its own tag, whoever it speaks to; behind one port they are told apart by it."""
    bed = lab(dummy_ovs)
    frame = Ether(src=V1, dst=V2) / Dot1Q(vlan=7) / IP(src="10.1.0.21", dst="10.1.0.22") / TCP(dport=80)
    seen = bed.send("v1", bytes(frame))
    assert len(seen.at("fw", "in")) == 1
    assert Dot1Q not in Ether(seen.at("fw", "in")[0])
    (got,) = (Ether(raw) for raw in seen.at("v2"))
    assert got[Dot1Q].vlan == 9
    assert got[TCP].dport == 80
    untagged = Ether(src=V1, dst=B) / IP(src="10.1.0.21", dst="10.1.0.12") / UDP(dport=5)
    assert "b" not in bed.send("v1", bytes(untagged)).hosts()
    (got,) = bed.send("v1", bytes(Ether(src=V1, dst=B) / Dot1Q(vlan=7) / untagged[IP])).at("b")
    assert Dot1Q not in Ether(got)
    back = Ether(src=B, dst=V3) / IP(src="10.1.0.12", dst="10.1.0.23") / UDP(dport=5)
    assert [Ether(raw)[Dot1Q].vlan for raw in bed.send("b", bytes(back)).at("v2")] == [8]
    asked = Ether(src=V1, dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=7) / ARP(psrc="10.1.0.21", pdst="10.1.0.12", hwsrc=V1)
    (answer,) = (Ether(raw) for raw in bed.send("v1", bytes(asked)).at("v1"))
    assert (answer[ARP].hwsrc, answer[Dot1Q].vlan) == (B, 7)


def test_a_hosts_own_tag_stays_on_the_frame(dummy_ovs: DummyOvs) -> None:
    bed = lab(dummy_ovs)
    frame = Ether(src=A, dst=B) / Dot1Q(vlan=100) / IP(src="10.1.0.11", dst="10.1.0.12") / TCP(dport=80)
    seen = bed.send("a", bytes(frame))
    assert len(seen.at("fw", "in")) == 1
    assert seen.at("b") == [bytes(frame)]


def test_floods_reach_the_network_once(dummy_ovs: DummyOvs) -> None:
    bed = lab(dummy_ovs)
    discover = Ether(src=A, dst="ff:ff:ff:ff:ff:ff") / IP(src="0.0.0.0", dst="255.255.255.255")
    discover = discover / UDP(sport=68, dport=67) / BOOTP() / DHCP(options=[("message-type", "discover"), "end"])
    group = Ether(src=A, dst="01:00:5e:01:02:03") / IP(src="10.1.0.11", dst="239.1.2.3") / UDP(dport=5)
    for frame in (discover, group):
        seen = bed.send("a", bytes(frame))
        assert seen.hosts() == {"b", "v1", "v2"}, frame  # not the sender, not another network or tenant
        assert seen.at("b") == [bytes(frame)]
        assert [Ether(raw)[Dot1Q].vlan for raw in seen.at("v1")] == [7]
        assert sorted(Ether(raw)[Dot1Q].vlan for raw in seen.at("v2")) == [8, 9]


def test_two_tenants_with_the_same_addresses(dummy_ovs: DummyOvs) -> None:
    bed = lab(dummy_ovs)
    frame = Ether(src="02:00:00:00:09:01", dst="02:00:00:00:09:02") / IP(src="10.9.0.1", dst="10.9.0.2") / UDP(dport=5)
    assert bed.send("x1", bytes(frame)).hosts() == {"x2"}
    assert bed.send("y1", bytes(frame)).hosts() == {"y2"}


def test_too_long_for_the_links(dummy_ovs: DummyOvs) -> None:
    """With what the transport adds; on its own switch a host is not concerned."""
    bed = lab(dummy_ovs, "mpls", ", mtu: 1500")

    def sized(size: int, to: str, address: str) -> bytes:
        head = Ether(src=A, dst=to) / IP(src="10.1.0.11", dst=address) / TCP(dport=80)
        return bytes(head / bytes(size - len(head[IP])))

    assert bed.send("a", sized(1492, B, "10.1.0.12")).hosts() >= {"b"}
    assert bed.send("a", sized(1493, B, "10.1.0.12")).hosts() == set()
    assert ICMP  # the answer is the controller's: tests/app
