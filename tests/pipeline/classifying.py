"""The table `classify` on its own: what it decides of a packet, by its rules as values and on a real switch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from ipaddress import ip_address

import examples
from dummy_ovs import DummyOvs

from controller_app.model.allocation import Allocation
from controller_app.model.flow import Conjunction, Flow, FlowKey, SetField
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.classify import Classification, Classified, sources
from controller_app.pipeline.ofctl import format_flow
from controller_app.pipeline.shelves import places
from controller_app.pipeline.tables import NUMBER
from controller_app.pipeline.views import World
from controller_app.pipeline.world import build_world

Packet = dict[str, int]
PORTS = {"tcp": 6, "udp": 17}
ALLOW, REJECT, FIRST_LIST = 2, 3, 10
MARKER = bytes.fromhex("020000000001020000000002" + "88b5")


class Lab:
    """A policy's classification on the example network, or another."""

    def __init__(
        self, policy: Policy, topology: Topology | None = None, allocation: Allocation | None = None
    ) -> None:
        before = allocation or Allocation()
        self.world: World
        self.world, made = build_world(policy, topology or examples.network(), before)
        self.made = Classification(self.world, made.ids["objects"], before.ids.get("ranks", {}))
        self.here = sources(self.world, [places(shelf).addresses for shelf in self.world.shelves.values()])
        self.allocation = Allocation.from_json(
            {**made.to_json(), "ids": {**made.to_json()["ids"], "ranks": self.made.ranks}}
        )

    def at(self, switch: str) -> Classified:
        resumed = self.world.resumes.get(switch, frozenset())
        return self.made.at(switch, self.here.get(switch, {}), resumed)

    def decided(self, switch: str, packet: Packet, tenant: str = "default") -> str:
        """What the rules of a switch say: a list's key (with "<" backward), allow, deny or reject."""
        found = winner(self.at(switch).flows, {"reg0": self.world.tenants[tenant], **packet})
        return "deny" if found is None else self.said(found)

    def said(self, flow: Flow) -> str:
        if flow.goto != NUMBER["remember"]:
            return "reject" if flow.goto == NUMBER["reject"] else "deny"
        register = 0
        for action in flow.actions:
            if isinstance(action, SetField) and action.field == "reg2":
                register |= action.value
        return self.of_register(register)

    def of_register(self, register: int) -> str:
        if not register:
            return "allow"
        keys = {view.id: view.key for view in self.world.lists.values()}
        return keys[register & 0xFFFF] + ("<" if register >> 16 else "")


def parse(text: str) -> Policy:
    return examples.policy(text=text)


def winner(flows: Mapping[FlowKey, Flow], packet: Packet) -> Flow | None:
    """The rule that a packet meets (ovs-actions(7) for conjunctions)."""
    packet = {**packet, "conj_id": 0}
    best: Flow | None = None
    for flow in flows.values():
        if any(isinstance(action, Conjunction) for action in flow.actions):
            continue
        if _matches(flow, packet) and (best is None or flow.priority > best.priority):
            best = flow
    met: dict[tuple[int, int], set[int]] = {}
    sizes: dict[int, int] = {}
    for flow in flows.values():
        for action in flow.actions:
            if isinstance(action, Conjunction) and _matches(flow, packet):
                met.setdefault((flow.priority, action.id), set()).add(action.clause)
                sizes[action.id] = action.of
    for (priority, number), clauses in sorted(met.items(), reverse=True):
        if len(clauses) == sizes[number] and (best is None or priority > best.priority):
            return next(
                flow for flow in flows.values()
                if flow.priority == priority and any(c.field == "conj_id" and c.value == number for c in flow.match)
            )
    return best


def _matches(flow: Flow, packet: Packet) -> bool:
    return all(packet.get(c.field, 0) & c.mask == c.value and _present(c.field, packet) for c in flow.match)


def _present(field: str, packet: Packet) -> bool:
    """Fields that are there only with what carries them."""
    if field.startswith(("ipv", "tcp", "udp", "icmp")):
        return field in packet
    return True


def ip_packet(
    source: str, destination: str, protocol: str = "", sport: int = 0, dport: int = 0, frag: int = 0, dscp: int = 0
) -> Packet:
    """An IP packet as fields; protocol tcp, udp, or icmp with its type as `sport`. Fragments (`frag` as ip_frag)
    have no ports, and later ones of IPv6 no protocol, as in Open vSwitch."""
    one, other = ip_address(source), ip_address(destination)
    version = one.version
    packet: Packet = {
        "eth_type": 0x0800 if version == 4 else 0x86DD,
        f"ipv{version}_src": int(one),
        f"ipv{version}_dst": int(other),
        "ip_frag": frag,
        "ip_dscp": dscp,
        "ip_proto": 0,
    }
    if protocol == "icmp":
        packet["ip_proto"] = 1 if version == 4 else 58
        packet["icmp_type" if version == 4 else "icmpv6_type"] = sport
    elif protocol:
        packet["ip_proto"] = PORTS[protocol]
        packet[f"{protocol}_src"], packet[f"{protocol}_dst"] = (0, 0) if frag else (sport, dport)
    if version == 6 and frag & 2:
        packet = {key: value for key, value in packet.items() if not key.startswith(("tcp", "udp"))} | {"ip_proto": 44}
    return packet


class OvsTable:
    """The rules of one switch's `classify` on a real bridge; what is decided shows by the port a frame leaves."""

    def __init__(self, ovs: DummyOvs, lab: Lab, switch: str, name: str = "t0") -> None:
        self.ovs, self.lab, self.name, self._marks = ovs, lab, name, 0
        lists = [number for view in lab.world.lists.values() for number in (view.id, 1 << 16 | view.id)]
        self.ports = {ALLOW: "allow", REJECT: "reject"}
        lines = [
            f"table=0,priority=1,actions=load:{lab.world.tenants['default']}->NXM_NX_REG0[0..15],goto_table:{NUMBER['classify']}",
            f"table=0,priority=9,dl_type=0x88b5,actions=output:{ALLOW}",
            f"table={NUMBER['remember']},reg2=0,actions=output:{ALLOW}",
            f"table={NUMBER['reject']},actions=output:{REJECT}",
        ]
        with ovs.transaction():
            ovs.add_bridge(name, dpid=0x77)
            ovs.add_port(name, f"{name}in", 1)
            for index, number in enumerate(lists):
                self.ports[FIRST_LIST + index] = lab.of_register(number)
                lines.append(f"table={NUMBER['remember']},reg2={number},actions=output:{FIRST_LIST + index}")
            for port in self.ports:
                ovs.add_port(name, f"{name}p{port}", port, tx_pcap=True)
        lines += [format_flow(flow) for flow in lab.at(switch).flows.values()]
        ovs.ofctl("add-flows", name, "-", stdin="\n".join(lines))

    def decided(self, frame: bytes) -> str:
        """What the switch does with a frame."""
        return self.all_decided([frame])[0]

    def all_decided(self, frames: list[bytes]) -> list[str]:
        """The same for many: they must differ."""
        assert len(set(frames)) == len(frames)
        found: list[str] = []
        for start in range(0, len(frames), 40):
            self.ovs.receive(f"{self.name}in", *frames[start : start + 40])
            found += self._seen(frames[start : start + 40])
        return found

    def _seen(self, frames: list[bytes]) -> list[str]:
        # frames are handled in order: once the marker is out, whatever was sent before it is, or never will be
        self._marks += 1
        marker = MARKER + self._marks.to_bytes(46, "big")
        self.ovs.receive(f"{self.name}in", marker)
        said = dict.fromkeys(frames, "deny")
        deadline = time.monotonic() + 5
        allowed: list[bytes] = []
        while marker not in allowed and time.monotonic() < deadline:
            allowed += self.ovs.sent(f"{self.name}p{ALLOW}", 1, wait=0.2)
        assert marker in allowed
        for port, word in self.ports.items():
            for frame in allowed if port == ALLOW else self.ovs.sent(f"{self.name}p{port}", 0):
                if frame in said:
                    said[frame] = word
        assert self.ovs.alive
        return [said[frame] for frame in frames]
