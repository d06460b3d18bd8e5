"""A packet as the switches see it: a frozen mapping of field names to numbers.

The names are those of model.flow, and some that no flow can match: `length` (bytes without FCS), `icmp_id` (of
an echo), `tcp_flags` (RFC 9293, 3.1), `mpls_tc`, `mpls_ttl` and `nsh_ttl`. IP TTL or hop limit is `ttl`, which a
flow matches as ip_ttl. A field that is absent is 0. What is behind an MPLS label or an NSH has names beginning
with "/": see `headers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType

from controller_app.model.flow import FIELD_BITS
from controller_app.model.topology import IPAddress

Packet = Mapping[str, int]

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
IPV4, IPV6 = 0x0800, 0x86DD
PROTOCOLS: Mapping[str, int] = {"tcp": TCP, "udp": UDP}
_PORTS: Mapping[int, str] = {TCP: "tcp", UDP: "udp"}

# What a switch keeps about a packet and what does not cross a cable.
METADATA = frozenset({"in_port", "metadata", "conj_id", "ct_state", "ct_zone", "ct_mark", "ct_label",
                      *(name for name in FIELD_BITS if name.startswith("reg"))})
SYN, ACK = 0x02, 0x10
_TTL, _LENGTH = 64, 100


def packet(**fields: int) -> Packet:
    """Build a packet from its fields."""
    return MappingProxyType(fields)


def on_wire(fields: Packet) -> Packet:
    """The frame without what only the switch knew."""
    return MappingProxyType({name: value for name, value in fields.items() if name not in METADATA})


def ip_packet(source: IPAddress, destination: IPAddress, protocol: int, sport: int = 0, dport: int = 0, *,
              eth_src: int, eth_dst: int, ttl: int = _TTL, length: int = _LENGTH) -> Packet:
    """An IP frame. Ports are those of TCP (a SYN) and UDP; for ICMP an echo request is built with `sport` as
    its id, or a reply when `dport` is 1."""
    version = 4 if isinstance(source, IPv4Address) else 6
    fields = {"eth_src": eth_src, "eth_dst": eth_dst, "eth_type": IPV4 if version == 4 else IPV6,
              f"ipv{version}_src": int(source), f"ipv{version}_dst": int(destination), "ip_proto": protocol,
              "ttl": ttl, "length": length}
    if protocol in _PORTS:
        fields[f"{_PORTS[protocol]}_src"] = sport
        fields[f"{_PORTS[protocol]}_dst"] = dport
        if protocol == TCP:
            fields["tcp_flags"] = SYN
    elif protocol == ICMP:
        fields |= {"icmp_type": 0 if dport == 1 else 8, "icmp_id": sport}
    elif protocol == ICMPV6:
        fields |= {"icmpv6_type": 129 if dport == 1 else 128, "icmp_id": sport}
    return MappingProxyType(fields)


def addresses(fields: Packet) -> tuple[IPAddress, IPAddress] | None:
    """(source, destination) of an IP packet, else None."""
    eth_type = fields.get("eth_type")
    if eth_type == IPV4:
        return _ipv4(fields["ipv4_src"]), _ipv4(fields["ipv4_dst"])
    if eth_type == IPV6:
        return _ipv6(fields["ipv6_src"]), _ipv6(fields["ipv6_dst"])
    return None


_ipv4, _ipv6 = lru_cache(1 << 16)(IPv4Address), lru_cache(1 << 16)(IPv6Address)  # the same few are asked for often


def ports(fields: Packet) -> tuple[int, int] | None:
    """(source, destination) port of a TCP or UDP packet, else None."""
    name = _PORTS.get(fields.get("ip_proto", 0))
    if name is None or addresses(fields) is None:
        return None
    return fields.get(f"{name}_src", 0), fields.get(f"{name}_dst", 0)


def changed(fields: Packet, *, source: IPAddress | None = None, destination: IPAddress | None = None,
            sport: int | None = None, dport: int | None = None, **others: int) -> Packet:
    """The same packet with other addresses, ports or fields."""
    version = 4 if fields["eth_type"] == IPV4 else 6
    name = _PORTS.get(fields["ip_proto"])
    new = {**fields, **others}
    for key, value in ((f"ipv{version}_src", source), (f"ipv{version}_dst", destination)):
        if value is not None:
            new[key] = int(value)
    for key, port in ((f"{name}_src", sport), (f"{name}_dst", dport)):
        if port is not None and name is not None:
            new[key] = port
    return MappingProxyType(new)


def reply_to(fields: Packet, *, eth_src: int, eth_dst: int) -> Packet:
    """What the receiver of an IP packet answers: addresses and ports swapped, a SYN and an echo answered."""
    ends = addresses(fields)
    if ends is None:
        raise ValueError("only IP packets have replies")
    sides = ports(fields) or (0, 0)
    answer = dict(changed(fields, source=ends[1], destination=ends[0], sport=sides[1], dport=sides[0],
                          eth_src=eth_src, eth_dst=eth_dst, ttl=_TTL))
    if "tcp_flags" in answer:
        answer["tcp_flags"] |= ACK
    for name, asked, answered in (("icmp_type", 8, 0), ("icmpv6_type", 128, 129)):
        if name in answer:
            answer[name] = answered if answer[name] == asked else asked
    return MappingProxyType(answer)


def mac_int(mac: str) -> int:
    """`02:00:00:00:01:11` as a number."""
    return int(mac.replace(":", ""), 16)


def mac_text(mac: int) -> str:
    return ":".join(f"{mac >> shift & 0xFF:02x}" for shift in range(40, -1, -8))


def describe(fields: Packet) -> str:
    """The packet in one line for people."""
    frame = f"{mac_text(fields.get('eth_src', 0))} > {mac_text(fields.get('eth_dst', 0))}"
    for name, word in (("mpls_label", "MPLS label"), ("nsh_spi", "NSH path")):
        if name in fields:
            behind = describe({"eth_dst": fields.get("eth_dst", 0), "eth_src": fields.get("eth_src", 0)}
                              | {key[1:]: value for key, value in fields.items() if key.startswith("/")})
            index = f" index {fields.get('nsh_si', 0)}" if name == "nsh_spi" else ""
            return f"{word} {fields[name]:#x}{index}, {frame}, with: {behind}"
    ends = addresses(fields)
    if ends is None:
        return f"frame of type {fields.get('eth_type', 0):#06x}, {frame}"
    protocol = fields.get("ip_proto", 0)
    sides = ports(fields)
    if sides is not None:
        source, destination = (f"[{address}]" if address.version == 6 else str(address) for address in ends)
        return f"{_PORTS[protocol]} {source}:{sides[0]} > {destination}:{sides[1]}, {frame}"
    name = {ICMP: "icmp", ICMPV6: "icmp6"}.get(protocol, f"IP protocol {protocol}")
    return f"{name} {ends[0]} > {ends[1]}, {frame}"
