"""Every example policy on real switches: what becomes of real frames is what the model of a switch says, and that is
what the evaluator of the policy says.

The frames are the packet classes that `verify` walks through its model, so the model is measured against Open
vSwitch here as well.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import examples
import pytest
from bed import Bed, Seen
from dummy_ovs import DummyOvs
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet as Frame
from scapy.packet import Raw

from controller_app.cli.chainctl import run
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.compile import compile
from controller_app.verification.classes import packet_classes
from controller_app.verification.packet import Packet, addresses, mac_text
from controller_app.verification.verify import Checker
from controller_app.verification.walk import Walk, walk_from

# a directory is several policies at once
POLICIES = sorted(path for path in (examples.ROOT / "policies").iterdir() if path.is_dir() or path.suffix == ".yaml")
MOST = 150  # frames tried for each policy


def topology_for(policy: Path) -> Path:
    return examples.ROOT / "topologies" / f"{policy.stem}.yaml"


def real(packet: Packet) -> bytes:
    """The frame on the wire for a packet of the model."""
    ends = addresses(packet)
    assert ends is not None
    source, destination = str(ends[0]), str(ends[1])
    fragment, dscp = packet.get("ip_frag", 0), packet.get("ip_dscp", 0)
    ether: Frame = Ether(src=mac_text(packet["eth_src"]), dst=mac_text(packet["eth_dst"]))
    if packet.get("vlan_tci", 0):
        ether = ether / Dot1Q(vlan=packet["vlan_tci"] & 0xFFF)
    four = ends[0].version == 4
    network: Frame = IP(src=source, dst=destination, tos=dscp << 2) if four else IPv6(src=source, dst=destination,
                                                                                      tc=dscp << 2)
    protocol = packet["ip_proto"]
    if fragment and four:
        network.proto = protocol
        network.frag, network.flags = (100, 0) if fragment == 3 else (0, "MF")
        return bytes(ether / network / _transport(packet, fragment != 3) / bytes(24))
    if fragment:
        header = IPv6ExtHdrFragment(nh=6 if protocol == 44 else protocol, offset=100 if fragment == 3 else 0,
                                    m=int(fragment != 3), id=7)
        return bytes(ether / network / header / _transport(packet, fragment != 3) / bytes(24))
    if protocol not in (1, 6, 17, 58):
        network.__setattr__("proto" if four else "nh", protocol)
    return bytes(ether / network / _transport(packet, True) / bytes(20))


def _transport(packet: Packet, first: bool) -> Frame:
    """What follows the IP header; `first`: it is there."""
    ends = addresses(packet)
    assert ends is not None
    here, there = str(ends[0]), str(ends[1])
    match packet["ip_proto"]:
        case 6 if first:
            return TCP(sport=packet.get("tcp_src", 40001), dport=packet.get("tcp_dst", 80))
        case 17 if first:
            return UDP(sport=packet.get("udp_src", 40001), dport=packet.get("udp_dst", 80))
        case 1 if packet.get("icmp_type", 8) == 3:
            return ICMP(type=3, code=3) / IP(src=there, dst=here) / UDP(sport=1, dport=2) / bytes(80)
        case 58 if packet.get("icmpv6_type", 128) == 1:
            return ICMPv6DestUnreach(code=4) / IPv6(src=there, dst=here) / UDP(sport=1, dport=2) / bytes(80)
        case 1:
            return ICMP()
        case 58:
            return ICMPv6EchoRequest()
    return Raw(bytes(20))


Met = Counter[tuple[str, str]]  # how often each host, by each arm, gets the packet


def met(walk: Walk) -> Met:
    """Who gets a packet in a walk."""
    visits = {(visit.host, visit.arm, visit.hop): None for fate in walk.fates for visit in fate.visits}
    found = Counter((host, arm) for host, arm, _ in visits)
    found.update((str(fate.host), fate.arm) for fate in walk.of("delivered"))
    return found


def check(seen: Seen, walks: list[Walk], said: str, held: bool) -> None:
    """Everyone got the frame who gets it in one of the walks, and nobody else. `held`: or nobody, since Open vSwitch
    keeps fragments of which others are missing where connections are tracked."""
    got = Counter({place: len(frames) for place, frames in seen.frames.items() if frames})
    right = [walk for walk in walks if met(walk) == got]
    assert right or (held and not got), f"{said}: {dict(got)} got it, and not {[dict(met(walk)) for walk in walks]}"
    for fate in right[0].of("delivered") if right else ():
        (frame,) = seen.frames[str(fate.host), fate.arm]
        ends, network = addresses(fate.packet), Ether(frame).payload
        network = network.payload if isinstance(network, Dot1Q) else network
        assert ends is not None
        assert (network.src, network.dst) == (str(ends[0]), str(ends[1])), said
        for name in ("tcp_dst", "udp_dst"):
            assert name not in fate.packet or network.payload.dport == fate.packet[name], said


@pytest.mark.parametrize("file", POLICIES, ids=lambda path: path.stem)
def test_real_frames_go_as_the_policy_says(dummy_ovs: DummyOvs, file: Path, tmp_path: Path) -> None:
    topology, policy = Topology.load(str(topology_for(file))), Policy.load(str(file))
    state, allocation = compile(policy, topology)
    bed = Bed(dummy_ovs, topology, policy)
    assert run(["compile", "-t", str(topology_for(file)), "-p", str(file), "-o", "ovs", "--out", str(tmp_path)]) == 0
    bed.load_files(tmp_path)
    checker = Checker(policy, topology, state, allocation)
    every = list(packet_classes(checker.evaluator, topology))
    tried = 0
    for each in islice(every, 0, None, max(1, len(every) // MOST)):
        found = checker.check(each)
        assert not found, found[0].document(allocation)
        packet, _ = checker.frame(each)
        arm = checker.arm(each)
        walks = walk_from(checker.network, packet, each.host, arm=arm)
        check(bed.send(each.host, real(packet), arm=arm), walks, str(each), "fragment" in each.kind)
        tried += 1
    assert tried >= min(len(every), 10)


def test_every_policy_has_its_topology() -> None:
    assert len(POLICIES) >= 3
    for policy in POLICIES:
        assert topology_for(policy).exists()
