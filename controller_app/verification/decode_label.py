"""What the label of a captured frame says, in names: chain, path, direction, position, next waypoint, exit.

The label is the destination MAC (see `pipeline.labels`), also inside an 802.1Q tag, MPLS entries or a Network
Service Header (RFC 8300). The names behind its numbers are the allocation's: `Names` holds them, and goes to JSON
and back, so that captures are read with the numbers of the controller that ran.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address
from typing import Any

from controller_app.model.allocation import Allocation
from controller_app.model.policy import Policy, Tenant
from controller_app.model.topology import Topology
from controller_app.pipeline.labels import PREFIX, PREFIXES, WRAPPED, Label
from controller_app.pipeline.lists import list_key, pieces
from controller_app.pipeline.views import InstanceView, ListView
from controller_app.pipeline.world import build_world
from controller_app.transports.mpls import FIRST_SEGMENT, INSIDE

IPV4, IPV6, VLAN, PROVIDER_VLAN, MPLS, NSH = 0x0800, 0x86DD, 0x8100, 0x88A8, 0x8847, 0x894F
_TCP, _UDP = 6, 17
_NSH_ETHERNET = 3  # next protocol (RFC 8300 2.2)


@dataclass(frozen=True, slots=True)
class Step:
    """One function of a path: the instance met, and the waypoints of its arms (forward in, forward out)."""

    function: str
    instance: str
    into: int
    out: int
    on_path: bool = True


@dataclass(frozen=True, slots=True)
class Path:
    """What a path's number stands for: the functions asked for, the chains that ask, the instances met."""

    tenant: str
    functions: tuple[str, ...]
    chains: tuple[str, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Names:
    """The names behind the numbers in labels. waypoints: number -> (HOST or HOST:ARM, SWITCH:PORT)."""

    paths: Mapping[int, Path] = field(default_factory=dict)
    waypoints: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    switches: Mapping[int, str] = field(default_factory=dict)  # by the number that vlan and mpls carry

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `from_json` is the inverse."""
        return {
            "paths": {str(number): asdict(path) for number, path in self.paths.items()},
            "waypoints": {str(number): list(place) for number, place in self.waypoints.items()},
            "switches": {str(number): name for number, name in self.switches.items()},
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Names:
        """Read what `to_json` made. KeyError, TypeError or ValueError when it is something else."""
        return Names(
            {
                int(number): Path(
                    path["tenant"],
                    tuple(path["functions"]),
                    tuple(path["chains"]),
                    tuple(Step(**step) for step in path["steps"]),
                )
                for number, path in data["paths"].items()
            },
            {int(number): (place[0], place[1]) for number, place in data["waypoints"].items()},
            {int(number): str(name) for number, name in data["switches"].items()},
        )


def names_of(policy: Policy, topology: Topology, allocation: Allocation | None = None) -> Names:
    """The names that labels have under a policy on a topology, with the numbers of an allocation (without one,
    those that `chainctl compile` gives)."""
    world, made = build_world(policy, topology, allocation or Allocation())
    paths = {
        number: Path(view.tenant, view.functions, _chains(policy.tenants[view.tenant], view), _steps(instances))
        for view in world.lists.values()
        for number, instances in view.paths.items()
    }
    waypoints: dict[int, tuple[str, str]] = {}
    for host in topology.hosts.values():
        for arm, end in host.attach.items():
            name = f"{host.name}:{arm}" if arm else host.name
            for kind in ("host", "own"):
                if (number := made.waypoints.get(f"{kind}:{name}")) is not None:
                    waypoints[number] = name, str(end)
    switches = {number: name for name, number in made.ids.get("switches", {}).items()}
    return Names(paths, waypoints, switches)


def _chains(tenant: Tenant, view: ListView) -> tuple[str, ...]:
    """The chains of which this list is the whole, a piece, or the way back; and places where it is inserted."""
    found = []
    for chain in tenant.chains.values():
        ways = [chain.through, *([chain.returns] if isinstance(chain.returns, tuple) else [])]
        keys = {list_key(tenant.name, piece, chain) for way in ways for piece in pieces(tenant.functions, way)}
        if view.key in keys:
            found.append(chain.name)
    return tuple(found)


def _steps(instances: tuple[InstanceView, ...]) -> tuple[Step, ...]:
    return tuple(
        Step(i.function, i.name, i.entry(False).waypoint, i.exit(False).waypoint, i.mode.on_path) for i in instances
    )


def decode(frame: bytes, names: Names) -> dict[str, Any] | None:
    """What a frame's label says, as JSON values; None for a frame without one.

    `position` counts the functions that are behind the packet, in the direction it goes; `next` is where it goes
    now, `exit` where it leaves the network. Numbers without a name are given as `#number`.
    """
    found = _find(frame)
    if found is None:
        return None
    label, transport, extra, packet = found
    path = names.paths.get(label.path)
    steps = () if path is None else path.steps[::-1] if label.backward else path.steps
    entered = [step.out if label.backward else step.into for step in steps]
    last = next((step.into if label.backward else step.out for step in reversed(steps) if step.on_path), None)
    exit_ = label.waypoint if label.exit == last else label.exit
    position: int | None = len(steps)
    if label.waypoint in entered:
        position = entered.index(label.waypoint)
    elif label.waypoint != exit_:
        position = None
    unknown = [f"#{label.path}"] if path is None and label.path else []
    return {
        "label": label.mac().to_bytes(6, "big").hex(":"),
        "transport": transport,
        "tenant": None if path is None else path.tenant,
        "chain": [] if path is None else list(path.functions),
        "names": [] if path is None else list(path.chains),
        "path": unknown or [step.instance for step in (() if path is None else path.steps)],
        "direction": "backward" if label.backward else "forward",
        "position": position,
        "next": _waypoint(label.waypoint, names),
        "exit": _waypoint(exit_, names),
        "routed": label.routed,
        **{key: names.switches.get(value, f"#{value}") if key == "segment" else value for key, value in extra.items()},
        "packet": summary(packet),
    }


def _waypoint(number: int, names: Names) -> dict[str, str | None]:
    name, at = names.waypoints.get(number, (f"#{number}", None))
    return {"name": name, "at": at}


_Found = tuple[Label, str, dict[str, int], bytes]


def _find(frame: bytes) -> _Found | None:
    """A frame's label, what carries it, what that says, and the IP packet with its ether type in front."""
    if len(frame) < 14:
        return None
    label, wrapped = _label(frame), bool(frame[0] & WRAPPED & ~PREFIX)
    kind, at = int.from_bytes(frame[12:14], "big"), 14
    if kind == NSH:
        return _in_nsh(frame[at:], label)
    if label is None:
        return None
    if not wrapped:
        return label, "mac", {}, frame[12:]
    if kind == VLAN and len(frame) >= 18:
        return label, "vlan", {"segment": int.from_bytes(frame[14:16], "big") & 0xFFF}, frame[16:]
    if kind == MPLS:
        return _in_mpls(frame, label)
    return label, "unknown", {}, frame[12:]


def _label(frame: bytes) -> Label | None:
    """The label in a destination MAC, whichever of its prefixes it has."""
    if len(frame) < 6 or frame[0] not in PREFIXES:
        return None
    return Label.read(int.from_bytes(bytes((PREFIX,)) + frame[1:6], "big"))


def _in_mpls(frame: bytes, label: Label) -> _Found:
    """A stack of entries (RFC 3032): the upper one is a segment, the last one says what is inside."""
    entries = []
    at = 14
    while at + 4 <= len(frame):
        entry = int.from_bytes(frame[at : at + 4], "big")
        entries.append(entry >> 12)
        at += 4
        if entry & 0x100:
            break
    extra = {"segment": entries[0] - FIRST_SEGMENT} if entries else {}
    inside = next((kind for kind, bottom in INSIDE.items() if entries and entries[-1] == bottom), 0)
    return label, "mpls", extra, inside.to_bytes(2, "big") + frame[at:]


def _in_nsh(header: bytes, outer: Label | None) -> _Found | None:
    """A service header with an Ethernet frame inside: the outer label is the newer one, where there is one."""
    length = (header[1] & 0x3F) * 4 if len(header) >= 8 else 0
    if length < 8 or header[3] != _NSH_ETHERNET or len(header) < length + 14:
        return None
    inner = header[length:]
    label = outer or _label(inner)
    if label is None:
        return None
    ttl = (header[0] & 0x0F) << 2 | header[1] >> 6
    extra = {"spi": int.from_bytes(header[4:7], "big"), "si": header[7], "ttl": ttl}
    return label, "nsh", extra, inner[12:]


def summary(packet: bytes) -> str:
    """Addresses, protocol and ports of a packet that its ether type stands in front of."""
    kind, ip = int.from_bytes(packet[:2], "big"), packet[2:]
    if kind in (VLAN, PROVIDER_VLAN) and len(ip) >= 4:
        return summary(packet[4:])
    if kind == IPV4 and len(ip) >= 20:
        source, destination, protocol = ip[12:16], ip[16:20], ip[9]
        upper = ip[(ip[0] & 15) * 4 :] if not int.from_bytes(ip[6:8], "big") & 0x1FFF else b""
    elif kind == IPV6 and len(ip) >= 40:
        source, destination, protocol, upper = ip[8:24], ip[24:40], ip[6], ip[40:]
    else:
        return f"ether type {kind:#06x}"
    name = {1: "icmp", _TCP: "tcp", _UDP: "udp", 58: "icmpv6"}.get(protocol, f"protocol {protocol}")
    ends = ip_address(source), ip_address(destination)
    if protocol in (_TCP, _UDP) and len(upper) >= 4:
        ports = int.from_bytes(upper[:2], "big"), int.from_bytes(upper[2:4], "big")
        wrap = "[{}]:{}" if kind == IPV6 else "{}:{}"
        return f"{wrap.format(ends[0], ports[0])} > {wrap.format(ends[1], ports[1])} {name}"
    return f"{ends[0]} > {ends[1]} {name}"


def decode_all(frames: Iterator[tuple[float, bytes]], names: Names) -> Iterator[dict[str, Any]]:
    """What the labels of a capture say, in its order, with each frame's number (from 1) and time in seconds."""
    for number, (time, frame) in enumerate(frames, 1):
        said = decode(frame, names)
        if said is not None:
            yield {"number": number, "time": time, **said}
