"""What functions do with real frames, played by the test: one player for each mode.

A player is called with the arm a frame was handed to and the frame, and returns what it sends: (arm, frame) pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from scapy.contrib.nsh import NSH
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from controller_app.model.policy import Policy
from controller_app.model.topology import Host, Topology

GATEWAY = "0a:00:00:00:00:01"
Sent = list[tuple[str, bytes]]
Player = Callable[[str, bytes], Sent]


def players(topology: Topology, policy: Policy) -> dict[str, Player]:
    """A player for every host that is an instance of a function on the path."""
    found: dict[str, Player] = {}
    for tenant in policy.tenants.values():
        for function in tenant.functions.values():
            for instance in function.instances.values():
                host = topology.hosts[instance.host]
                match function.mode:
                    case "transparent":
                        found[host.name] = _transparent
                    case "routed":
                        found[host.name] = Router(host)
                    case "nsh":
                        found[host.name] = Nsh(host)
                    case "translating":
                        found[host.name] = Nat(host)
    return found


def _transparent(arm: str, frame: bytes) -> Sent:
    return [("out" if arm == "in" else "in", frame)]


def _other(host: Host, arm: str) -> str:
    others = [name for name in host.attach if name != arm]
    return others[0] if others else arm


@dataclass
class Router:
    """Takes IP frames to its MAC, and sends them to the gateway, or directly to `neighbours` (address -> MAC)."""

    host: Host
    neighbours: dict[str, str] = field(default_factory=dict)

    def __call__(self, arm: str, frame: bytes) -> Sent:
        packet = Ether(frame)
        layer = packet.getlayer(IP) or packet.getlayer(IPv6)
        if layer is None or packet.dst != self.host.arm_mac(arm):
            return []
        if layer.dst in [str(ip) for name in self.host.attach for ip in self.host.arm_ips(name)]:
            return []  # for itself
        out = _other(self.host, arm)
        if isinstance(layer, IP):
            if layer.ttl <= 1:
                own = next(ip for ip in self.host.arm_ips(arm) if ip.version == 4)
                told = Ether(src=packet.dst, dst=packet.src) / IP(src=str(own), dst=layer.src)
                return [(arm, bytes(told / ICMP(type=11, code=0) / bytes(layer)[:28]))]
            layer.ttl -= 1
            del layer.chksum
        else:
            layer.hlim -= 1
        packet.src = self.host.arm_mac(out)
        packet.dst = self.neighbours.get(layer.dst, GATEWAY)
        return [(out, bytes(packet))]


@dataclass
class Nsh:
    """Decrements the service index and gives the frame back. `seen`: the headers, as (spi, si, ttl)."""

    host: Host
    seen: list[tuple[int, int, int]] = field(default_factory=list)
    decrements: bool = True

    def __call__(self, arm: str, frame: bytes) -> Sent:
        packet = Ether(frame)
        if packet.type != 0x894F:
            return []
        header = packet[NSH]
        self.seen.append((header.spi, header.si, header.ttl))
        if self.decrements:
            header.si -= 1
        packet.src, packet.dst = packet.dst, packet.src
        return [(_other(self.host, arm), bytes(packet))]


@dataclass
class Nat:
    """Source NAT to its own address, ports kept, and back."""

    host: Host
    table: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)

    def __call__(self, arm: str, frame: bytes) -> Sent:
        packet = Ether(frame)
        if IP not in packet or packet.dst != self.host.arm_mac(arm):
            return []
        ip = packet[IP]
        transport = packet.getlayer(TCP) or packet.getlayer(UDP)
        if transport is None:
            return []  # it translates ports
        out = _other(self.host, arm)
        outside = out if self.host.arm_ips(out) else arm
        own = str(next(address for address in self.host.arm_ips(outside) if address.version == 4))
        mine = [str(address) for name in self.host.attach for address in self.host.arm_ips(name)]
        if ip.dst in mine:
            known = self.table.get((ip.src, transport.dport))
            if known is None:
                return []
            ip.dst, transport.dport = known
        else:
            self.table[ip.dst, transport.sport] = ip.src, transport.sport
            ip.src = own
        ip.ttl -= 1
        del ip.chksum
        del transport.chksum
        packet.src, packet.dst = self.host.arm_mac(out), GATEWAY
        return [(out, bytes(packet))]
