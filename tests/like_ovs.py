"""The same frames through a real Open vSwitch and through the walker, to see where they differ.

One switch with a host at each of the ports 1 to 4. Where the walker leaves open what a hash decides, one of its
ways has to be that of the switch, and the slots of that way hold for the later packets of the same connection.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address

import pytest
from dummy_ovs import DummyOvs, missing
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from controller_app.model.flow import SwitchState
from controller_app.model.topology import End, Host, Topology
from controller_app.pipeline.ofctl import format_meter, format_state
from controller_app.verification.conntrack import Connections
from controller_app.verification.faults import UNSAFE
from controller_app.verification.headers import TAGS
from controller_app.verification.packet import Packet
from controller_app.verification.walk import ALL_SLOTS, FlowOf, Network, Walk, flow_of, walk_packet

PORTS = (1, 2, 3, 4)
TOPOLOGY = Topology({}, (), {f"h{port}": Host(f"h{port}", {"": End("s1", port)}) for port in PORTS})
Delivered = Counter[tuple[str | None, bytes]]


@contextmanager
def one_switch() -> Iterator[DummyOvs]:
    """The real switch, s1, with ports p1 to p4."""
    if missing():
        pytest.skip(missing() or "")
    with DummyOvs() as started:
        with started.transaction():
            started.add_bridge("s1", dpid=1)
            for port in PORTS:
                started.add_port("s1", f"p{port}", port, tx_pcap=True)
        yield started


def disagreement(ovs: DummyOvs, state: SwitchState, sent: Sequence[tuple[int, Packet]]) -> str | None:
    """Send packets, each into a port, to both and say where they first differ. One that a switch mishandles,
    as the walker knows, ends it."""
    flows, groups = format_state(state)
    for command in ("del-flows", "del-groups", "del-meters"):
        ovs.ofctl(command, "s1")
    ovs.appctl("dpctl/flush-conntrack")
    for meter in state.meters.values():
        ovs.ofctl("add-meter", "s1", format_meter(meter))
    ovs.ofctl("add-groups", "s1", "-", stdin=groups)
    ovs.ofctl("add-flows", "s1", "-", stdin=flows)
    ovs.appctl("revalidator/purge")  # what the datapath cached of the flows before
    for port in PORTS:
        ovs.sent(f"p{port}", 0)  # what is left of an earlier disagreement
    network = Network(TOPOLOGY, {"s1": state})
    connections, hashes = Connections(), dict[FlowOf, int]()
    for in_port, packet in sent:
        flow = flow_of(packet)
        walks = walk_packet(network, packet, ("s1", in_port), connections=connections,
                            slots=hashes.get(flow, ALL_SLOTS), hashes=hashes)
        if any(fate.reason in UNSAFE for walk in walks for fate in walk.fates):
            return None
        expected = [_deliveries(walk) for walk in walks]
        ovs.receive(f"p{in_port}", wire(packet))
        ovs.settle()
        found = Counter((f"h{port}", data) for port in PORTS for data in ovs.sent(f"p{port}", 0))
        taken = [walk for walk, way in zip(walks, expected, strict=True) if way == found]
        if not taken:
            ways = [_say(way - found) for way in expected]
            return f"{in_port} {packet}: only OVS: {_say(found - expected[0])}; only walked: {ways}\n{flows}{groups}"
        connections = taken[0].connections
        hashes[flow] = 0
        for walk in taken:
            hashes[flow] |= walk.hashes[flow]
    return None


def _deliveries(walk: Walk) -> Delivered:
    return Counter((fate.host, wire(fate.packet)) for fate in walk.of("delivered"))


def _say(frames: Delivered) -> list[str]:
    return [f"{host} {Ether(data).summary()} {data.hex()}" for host, data in frames.elements()]


def wire(fields: Packet) -> bytes:
    """A packet of the walker as the bytes of a frame: TCP over IPv4, behind tags, MPLS and NSH."""
    tags = b"".join(struct.pack("!HH", 0x8100, fields[name] & ~0x1000)
                    for name in TAGS if fields.get(name, 0) & 0x1000)
    addresses = fields["eth_dst"].to_bytes(6, "big") + fields["eth_src"].to_bytes(6, "big")
    return addresses + tags + struct.pack("!H", fields["eth_type"]) + _body(fields)


def _body(fields: Packet) -> bytes:
    behind = {name[1:]: value for name, value in fields.items() if name.startswith("/")}
    if fields["eth_type"] == 0x8847:
        entry = fields["mpls_label"] << 12 | fields["mpls_tc"] << 9 | fields["mpls_bos"] << 8 | fields["mpls_ttl"]
        return struct.pack("!I", entry) + _body(behind)
    if fields["eth_type"] == 0x894F:
        # Version 0, TTL, length in words; MD type 1; next protocol Ethernet (RFC 8300, 2.2)
        first = fields["nsh_ttl"] << 22 | 6 << 16 | 1 << 8 | 3
        path = fields["nsh_spi"] << 8 | fields["nsh_si"]
        return struct.pack("!6I", first, path, fields["nsh_c1"], 0, 0, 0) + wire(behind)
    ip = IP(src=str(IPv4Address(fields["ipv4_src"])), dst=str(IPv4Address(fields["ipv4_dst"])), ttl=fields["ttl"],
            tos=fields.get("ip_dscp", 0) << 2)
    tcp = TCP(sport=fields["tcp_src"], dport=fields["tcp_dst"], flags=fields["tcp_flags"], seq=100, ack=101)
    return bytes(ip / tcp / b"0123456789")
