"""A network nobody declared, on real switches: found, and usable from the first packet after ARP on."""

from __future__ import annotations

import time

import dummy_ovs as dummy
from plain_controller import PlainController
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether

BROADCAST = "ff:ff:ff:ff:ff:ff"


def tree(ovs: dummy.DummyOvs) -> None:
    """Mininet's tree,2: s1 above s2 and s3, each with two hosts on ports 1 and 2."""
    with ovs.transaction():
        for n in (1, 2, 3):
            ovs.add_bridge(f"s{n}", dpid=n)
        ovs.patch("s1", 1, "s2", 3)
        ovs.patch("s1", 2, "s3", 3)
        for host in range(4):
            ovs.add_port(f"s{2 + host // 2}", f"h{host + 1}", 1 + host % 2, tx_pcap=True)


def mac(host: int) -> str:
    return f"02:00:00:00:00:{host:02x}"


def ask(source: int, target: int) -> bytes:
    return bytes(
        Ether(src=mac(source), dst=BROADCAST)
        / ARP(op=1, hwsrc=mac(source), psrc=f"10.0.0.{source}", pdst=f"10.0.0.{target}")
    )


def answer(source: int, target: int) -> bytes:
    return bytes(
        Ether(src=mac(source), dst=mac(target))
        / ARP(op=2, hwsrc=mac(source), psrc=f"10.0.0.{source}", hwdst=mac(target), pdst=f"10.0.0.{target}")
    )


def ping(source: int, target: int) -> bytes:
    return bytes(
        Ether(src=mac(source), dst=mac(target))
        / IP(src=f"10.0.0.{source}", dst=f"10.0.0.{target}")
        / ICMP()
        / (b"x" * 20)
    )


def heard(ovs: dummy.DummyOvs, host: int, protocol: str, seconds: float = 3) -> bytes:
    """The next frame of a protocol that came to a host; what else came is passed over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for frame in ovs.sent(f"h{host}"):
            if any(layer.__name__.startswith(protocol) for layer in Ether(frame).layers()):
                return frame
    raise AssertionError(f"h{host} heard no {protocol}")


def ask6(source: int, target: int) -> bytes:
    return bytes(
        Ether(src=mac(source), dst=f"33:33:ff:00:00:{target:02x}")
        / IPv6(src=f"fd00::{source}", dst=f"ff02::1:ff00:{target}")
        / ICMPv6ND_NS(tgt=f"fd00::{target}")
        / ICMPv6NDOptSrcLLAddr(lladdr=mac(source))
    )


def answer6(source: int, target: int) -> bytes:
    return bytes(
        Ether(src=mac(source), dst=mac(target))
        / IPv6(src=f"fd00::{source}", dst=f"fd00::{target}")
        / ICMPv6ND_NA(tgt=f"fd00::{source}", S=1, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=mac(source))
    )


def test_ipv6_hosts_find_each_other_too(dummy_ovs: dummy.DummyOvs) -> None:
    tree(dummy_ovs)
    with PlainController() as controller:
        for n in (1, 2, 3):
            dummy_ovs.set_controller(f"s{n}", "127.0.0.1", controller.port)
        controller.wait(lambda c: len(c.topology.links) == 2)
        controller.wait_switches(3)
        dummy_ovs.follow_flows()
        dummy_ovs.receive("h1", ask6(1, 4))
        assert Ether(heard(dummy_ovs, 4, "ICMPv6ND_N"))[ICMPv6ND_NS].tgt == "fd00::4"
        dummy_ovs.receive("h4", answer6(4, 1))
        advert = Ether(heard(dummy_ovs, 1, "ICMPv6ND_N"))
        assert advert[ICMPv6NDOptDstLLAddr].lladdr == mac(4)
        ping = bytes(Ether(src=mac(1), dst=mac(4)) / IPv6(src="fd00::1", dst="fd00::4") / ICMPv6EchoRequest())
        dummy_ovs.receive("h1", ping)
        assert heard(dummy_ovs, 4, "ICMPv6Echo") == ping
        # asked again, a flow answers: nothing goes to the controller
        dummy_ovs.receive("h1", ask6(1, 4))
        again = Ether(heard(dummy_ovs, 1, "ICMPv6ND_N"))
        assert (again[ICMPv6ND_NA].tgt, again[ICMPv6NDOptDstLLAddr].lladdr) == ("fd00::4", mac(4))


def test_the_first_packet_of_a_host_with_a_fixed_neighbour_table_is_not_lost(
    dummy_ovs: dummy.DummyOvs,
) -> None:
    """Nobody asked anything: a packet of an unknown host is held back until its flows are there."""
    tree(dummy_ovs)
    with PlainController() as controller:
        for n in (1, 2, 3):
            dummy_ovs.set_controller(f"s{n}", "127.0.0.1", controller.port)
        controller.wait(lambda c: len(c.topology.links) == 2)
        controller.wait_switches(3)
        dummy_ovs.follow_flows()
        dummy_ovs.receive("h3", ask(3, 99))
        controller.wait(lambda c: len(c.topology.hosts) == 1)
        dummy_ovs.receive("h1", ping(1, 3))
        assert heard(dummy_ovs, 3, "ICMP") == ping(1, 3)


def test_a_host_that_moves_is_found_where_it_went(dummy_ovs: dummy.DummyOvs) -> None:
    tree(dummy_ovs)
    with PlainController() as controller:
        for n in (1, 2, 3):
            dummy_ovs.set_controller(f"s{n}", "127.0.0.1", controller.port)
        controller.wait(lambda c: len(c.topology.links) == 2)
        controller.wait_switches(3)
        dummy_ovs.follow_flows()
        dummy_ovs.receive("h3", ask(3, 99))
        dummy_ovs.receive("h1", ask(1, 99))
        controller.wait(lambda c: len(c.topology.hosts) == 2)
        time.sleep(1.1)  # it stays where it is for a second at least
        dummy_ovs.receive(
            "h4", bytes(Ether(src=mac(1), dst=BROADCAST) / ARP(op=1, hwsrc=mac(1), psrc="10.0.0.1", pdst="10.0.0.1"))
        )
        controller.wait(lambda c: str(c.topology.hosts["host-020000000001"].attach[""]) == "s3:2")
        controller.wait_switches(3)
        dummy_ovs.follow_flows()
        dummy_ovs.receive("h3", ping(3, 1))
        assert heard(dummy_ovs, 4, "ICMP") == ping(3, 1)


def test_every_pair_of_hosts_reaches_each_other(dummy_ovs: dummy.DummyOvs) -> None:
    tree(dummy_ovs)
    with PlainController() as controller:
        for n in (1, 2, 3):
            dummy_ovs.set_controller(f"s{n}", "127.0.0.1", controller.port)
        controller.wait(lambda c: len(c.topology.switches) == 3 and len(c.topology.links) == 2)
        for source in range(1, 5):
            for target in range(1, 5):
                if source == target:
                    continue
                dummy_ovs.receive(f"h{source}", ask(source, target))
                if source == 1:  # nobody knows the target yet: it is asked itself, and plays its part
                    assert Ether(heard(dummy_ovs, target, "ARP"))[ARP].pdst == f"10.0.0.{target}"
                    dummy_ovs.receive(f"h{target}", answer(target, source))
                reply = Ether(heard(dummy_ovs, source, "ARP"))[ARP]
                assert (reply.op, reply.hwsrc, reply.psrc) == (2, mac(target), f"10.0.0.{target}")
                # the first packet after the answer finds its way: nothing is left to be installed
                dummy_ovs.follow_flows()
                dummy_ovs.receive(f"h{source}", ping(source, target))
                assert heard(dummy_ovs, target, "ICMP") == ping(source, target)
                for other in range(1, 5):
                    dummy_ovs.sent(f"h{other}")
