"""Every example policy on real switches: what becomes of real frames is what the evaluator of the policy says.

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
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet as Frame

from controller_app.cli.chainctl import run
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.compile import compile
from controller_app.verification.classes import packet_classes
from controller_app.verification.evaluate import Expectation
from controller_app.verification.packet import Packet, addresses, mac_text
from controller_app.verification.verify import Checker

POLICIES = sorted((examples.ROOT / "policies").glob("*.yaml"))
MOST = 150  # frames tried for each policy


def topology_for(policy: Path) -> Path:
    return examples.ROOT / "topologies" / policy.name


def real(packet: Packet) -> bytes:
    """The frame on the wire for a packet of the model."""
    ends = addresses(packet)
    assert ends is not None
    network: Frame = (IP if ends[0].version == 4 else IPv6)(src=str(ends[0]), dst=str(ends[1]))
    transport: Frame
    match packet["ip_proto"]:
        case 6:
            transport = TCP(sport=packet["tcp_src"], dport=packet["tcp_dst"])
        case 17:
            transport = UDP(sport=packet["udp_src"], dport=packet["udp_dst"])
        case 1:
            transport = ICMP()
        case 58:
            transport = ICMPv6EchoRequest()
        case other:
            network.__setattr__("proto" if ends[0].version == 4 else "nh", other)
            transport = Frame()
    ether = Ether(src=mac_text(packet["eth_src"]), dst=mac_text(packet["eth_dst"]))
    return bytes(ether / network / transport / bytes(20))


def check(seen: Seen, wanted: Expectation, policy: Policy, said: str) -> None:
    tenant = policy.tenants[wanted.tenant]
    member = {i.host: name for name, f in tenant.functions.items() for i in f.instances.values()}
    receivers = {host for host in seen.hosts() if host not in member}
    met = Counter(
        member[host] for (host, arm), frames in seen.frames.items() for _ in frames if host in member
    )
    if wanted.verdict == "deny" or not wanted.targets:
        assert receivers == set(), said
        if wanted.verdict == "deny":
            assert not met, said
        return
    assert len(receivers) == 1, f"{said}: {receivers or 'nobody'} got it"
    (receiver,) = receivers
    targets = {target.host: target for target in wanted.targets}
    assert receiver in targets, said
    assert met == Counter((*wanted.functions, *wanted.taps)), said
    entered = {arm for (host, arm), frames in seen.frames.items() if frames and member.get(host) in wanted.functions}
    assert entered <= {"out" if wanted.reversed else "in"}, said
    (got,) = seen.at(receiver)
    network = Ether(got).getlayer(1)
    assert network.dst == str(targets[receiver].address), said
    if targets[receiver].port is not None:
        assert network.payload.dport == targets[receiver].port, said


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
        packet, wanted = checker.frame(each)
        host = topology.hosts[each.host]
        if each.source not in host.ips and not host.prefixes:
            continue
        check(bed.send(each.host, real(packet)), wanted, policy, f"{each} should be {wanted.verdict}")
        tried += 1
    assert tried >= min(len(every), 10)


def test_every_policy_has_its_topology() -> None:
    assert len(POLICIES) >= 3
    for policy in POLICIES:
        assert topology_for(policy).exists()
