"""A network nobody declared, on real switches: found, and usable from the first packet after ARP on."""

from __future__ import annotations

import time

import dummy_ovs as dummy
from plain_controller import PlainController
from scapy.layers.inet import ICMP, IP
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
            if protocol in Ether(frame):
                return frame
    raise AssertionError(f"h{host} heard no {protocol}")


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
                dummy_ovs.receive(f"h{source}", ping(source, target))
                assert heard(dummy_ovs, target, "ICMP") == ping(source, target)
                for other in range(1, 5):
                    dummy_ovs.sent(f"h{other}")
