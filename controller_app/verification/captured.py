"""Frames of a capture as packets of the model, and what flows a capture holds.

The reverse of what a switch puts on the wire: Ethernet II with 802.1Q tags, MPLS entries (RFC 3032), a Network Service
Header with a frame inside (RFC 8300), ARP (RFC 826), IPv4, IPv6 with a fragment header, TCP, UDP, ICMP. What is behind
MPLS and NSH has names that begin with "/" (see `headers`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from struct import unpack_from
from types import MappingProxyType

from controller_app.model.topology import IPAddress
from controller_app.verification.headers import MPLS, NSH, TAGGED, TAGS, VLAN
from controller_app.verification.packet import ICMP, ICMPV6, IPV4, IPV6, TCP, UDP, Packet, addresses, ports
from controller_app.verification.pcap import CaptureError

ARP, _PROVIDER_VLAN = 0x0806, 0x88A8
_FRAGMENT, _NSH_ETHERNET = 44, 3
_ENTRIES = {4: IPV4, 6: IPV6}  # behind the last MPLS entry, by the version in the first byte
_SKIPPED = (0, 43, 60)  # IPv6 hop-by-hop options, routing, destination options: of the length they say


@dataclass(frozen=True, slots=True)
class FlowKey:
    """One direction of a connection: addresses, protocol (IANA), ports; of an echo its id stands in both."""

    source: IPAddress
    destination: IPAddress
    protocol: int
    sport: int = 0
    dport: int = 0

    def turned(self) -> FlowKey:
        """The other direction."""
        return FlowKey(self.destination, self.source, self.protocol, self.dport, self.sport)


@dataclass(slots=True)
class CapturedFlow:
    """A connection in a capture: its first frame (`line`, from 1) and how many went that way and back."""

    key: FlowKey
    line: int
    frame: bytes
    packets: int = 1
    answers: int = 0


def read_frame(frame: bytes) -> Packet:
    """The packet of a frame. CaptureError when it is cut short within what a switch looks at."""
    try:
        fields = _ethernet(frame)
    except (IndexError, ValueError) as error:
        raise CaptureError(f"a frame of {len(frame)} bytes ends too early ({error}); capture whole frames: "
                           "`tcpdump -s 0 -w FILE -i PORT`") from None
    return MappingProxyType({**fields, "length": len(frame)})


def inner(packet: Packet) -> Packet:
    """What is in the innermost of its headers: the packet that a host sent."""
    fields = dict(packet)
    while fields.get("eth_type") in (MPLS, NSH) and "/eth_type" in fields:
        outer = {name: fields[name] for name in ("eth_dst", "eth_src") if name in fields}
        fields = outer | {name[1:]: value for name, value in fields.items() if name.startswith("/")}
    return MappingProxyType(fields)


def key_of(packet: Packet) -> FlowKey | None:
    """The flow of a packet, what is around it taken off; None for what is not IP."""
    found = inner(packet)
    ends = addresses(found)
    if ends is None:
        return None
    sides = ports(found)
    if sides is None:
        sides = (found.get("icmp_id", 0),) * 2
    return FlowKey(*ends, found.get("ip_proto", 0), *sides)


def flows_in(frames: Iterable[tuple[int, bytes]]) -> tuple[list[CapturedFlow], int]:
    """Every connection of a capture's frames, given with their lines, in the order of their first frames, and how many
    frames belong to none: they are not IP, or cut short."""
    found: dict[FlowKey, CapturedFlow] = {}
    others = 0
    for line, frame in frames:
        try:
            key = key_of(read_frame(frame))
        except CaptureError:
            key = None
        if key is None:
            others += 1
        elif key in found:
            found[key].packets += 1
        elif key.turned() in found:
            found[key.turned()].answers += 1
        else:
            found[key] = CapturedFlow(key, line, frame)
    return list(found.values()), others


# -- headers -----------------------------------------------------------------------------------------------


def _ethernet(data: bytes) -> dict[str, int]:
    fields = {"eth_dst": _number(data, 0, 6), "eth_src": _number(data, 6, 6)}
    kind, at = _number(data, 12, 2), 14
    for name in TAGS:
        if kind not in (VLAN, _PROVIDER_VLAN):
            break
        fields[name] = TAGGED | _number(data, at, 2)
        kind, at = _number(data, at + 2, 2), at + 4
    return {**fields, "eth_type": kind, **_payload(kind, data[at:])}


def _payload(kind: int, data: bytes) -> dict[str, int]:
    if kind == MPLS:
        return _mpls(data)
    if kind == NSH:
        return _nsh(data)
    if kind == IPV4:
        return _ipv4(data)
    if kind == IPV6:
        return _ipv6(data)
    if kind == ARP and len(data) >= 28:
        names = (("arp_op", 6, 2), ("arp_sha", 8, 6), ("arp_spa", 14, 4), ("arp_tha", 18, 6), ("arp_tpa", 24, 4))
        return {name: _number(data, at, size) for name, at, size in names}
    return {}


def _mpls(data: bytes) -> dict[str, int]:
    entry = _number(data, 0, 4)
    bottom = entry >> 8 & 1
    fields = {"mpls_label": entry >> 12, "mpls_tc": entry >> 9 & 7, "mpls_bos": bottom, "mpls_ttl": entry & 0xFF}
    kind = MPLS if not bottom else _ENTRIES.get(data[4] >> 4, 0) if len(data) > 4 else 0
    return fields | _behind({"eth_type": kind, **_payload(kind, data[4:])})


def _nsh(data: bytes) -> dict[str, int]:
    first, path, context = unpack_from("!III", data.ljust(12, b"\0")) if len(data) >= 8 else (0, 0, 0)
    length = (first >> 16 & 0x3F) * 4
    if length < 8 or len(data) < length:
        raise ValueError("within its service header")
    fields = {"nsh_ttl": first >> 22 & 0x3F, "nsh_spi": path >> 8, "nsh_si": path & 0xFF, "nsh_c1": context}
    return fields | (_behind(_ethernet(data[length:])) if first & 0xFF == _NSH_ETHERNET else {})


def _ipv4(data: bytes) -> dict[str, int]:
    header, fragment = (data[0] & 15) * 4, _number(data, 6, 2)
    fields = {"ipv4_src": _number(data, 12, 4), "ipv4_dst": _number(data, 16, 4), "ip_proto": data[9],
              "ttl": data[8], "ip_dscp": data[1] >> 2}
    later = bool(fragment & 0x1FFF)
    if fragment & 0x3FFF:
        fields["ip_frag"] = 3 if later else 1
    return fields if later else fields | _transport(data[9], data[header:])


def _ipv6(data: bytes) -> dict[str, int]:
    fields = {"ipv6_src": _number(data, 8, 16), "ipv6_dst": _number(data, 24, 16), "ttl": data[7],
              "ip_dscp": _number(data, 0, 2) >> 6 & 0x3F}
    protocol, at, later = data[6], 40, False
    while protocol in (*_SKIPPED, _FRAGMENT):
        if protocol == _FRAGMENT:
            placed = _number(data, at + 2, 2)
            later = placed > 7
            fields["ip_frag"] = 3 if later else 1
            if later:  # of no protocol that a switch sees
                break
            protocol, at = data[at], at + 8
        else:
            protocol, at = data[at], at + (data[at + 1] + 1) * 8
    fields["ip_proto"] = protocol
    return fields if later else fields | _transport(protocol, data[at:])


def _transport(protocol: int, data: bytes) -> dict[str, int]:
    if protocol == TCP:
        return {"tcp_src": _number(data, 0, 2), "tcp_dst": _number(data, 2, 2),
                "tcp_flags": _number(data, 12, 2) & 0xFFF}
    if protocol == UDP:
        return {"udp_src": _number(data, 0, 2), "udp_dst": _number(data, 2, 2)}
    if protocol in (ICMP, ICMPV6):
        name, echo = ("icmp_type", (0, 8)) if protocol == ICMP else ("icmpv6_type", (128, 129))
        kind = data[0]
        fields = {name: kind, **({"icmp_id": _number(data, 4, 2)} if kind in echo else {})}
        if protocol == ICMPV6 and kind in (135, 136):
            fields["nd_target"] = _number(data, 8, 16)
        return fields
    return {}


def _behind(fields: dict[str, int]) -> dict[str, int]:
    return {f"/{name}": value for name, value in fields.items()}


def _number(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise ValueError(f"{at + size} bytes of a header are needed, {len(data)} are there")
    return int.from_bytes(data[at:at + size], "big")


def text_of(key: FlowKey) -> str:
    """A flow for people, as tcpdump writes it."""
    name = {TCP: "tcp", UDP: "udp", ICMP: "icmp", ICMPV6: "icmpv6"}.get(key.protocol, f"protocol {key.protocol}")
    if key.protocol not in (TCP, UDP):
        return f"{name} {key.source} > {key.destination}"
    return f"{name} {_end(key.source, key.sport)} > {_end(key.destination, key.dport)}"


def _end(address: IPv4Address | IPv6Address, port: int) -> str:
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"
