"""`chainctl trace` and Open vSwitch's own `ofproto/trace` agree, for every example policy: the same rules, in the same
order, the same buckets of groups and the same ports, when the hash is told to both (`dp_hash=0x100+slot`).

`ofproto/trace` knows no connections: after each `ct` it takes the packet for the first of one, and plays only the
translation that the rule itself says. So it is asked for first packets, piece by piece: from a host to the first
function, from there to the next one, and so on.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from bed import Bed
from dummy_ovs import DummyOvs

sys.path.append(str(Path(__file__).parents[1] / "steering"))
from test_example_policies import POLICIES, real, topology_for

from controller_app.model.flow import CT_EST, CT_REL, CT_RPL, IN_PORT, Flow, Group
from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from controller_app.pipeline.compile import compile
from controller_app.verification.classes import packet_classes
from controller_app.verification.explain import Explainer, Told
from controller_app.verification.headers import NSH
from controller_app.verification.packet import Packet
from controller_app.verification.verify import Checker
from controller_app.verification.walk import Fate, Hop, walk_from

MOST = 40  # packets of each policy
SLOTS = (0, 5, 100, 171, 255)
_RULE = re.compile(r"^ *(\d+)\. (?:.*, )?priority (\d+)(?:, cookie (0x[0-9a-f]+))?$")
Rule = tuple[str, int, int, int]  # bridge, table, priority, cookie


@dataclass
class Said:
    """What `ofproto/trace` printed: the rules that were hit, in order; buckets by bridge and group; outputs by
    bridge."""

    rules: list[Rule] = field(default_factory=list)
    buckets: set[tuple[str, int, int]] = field(default_factory=set)
    outputs: set[tuple[str, int]] = field(default_factory=set)


def said_by(text: str) -> Said:
    found = Said()
    bridge, group = "", 0
    depth: list[tuple[int, str]] = []  # the bridges that it is in, by their indentation
    frozen: list[tuple[str, str]] = []  # from which table on which bridge goes on with a packet: it names the first one
    for line in text.splitlines():
        indented = len(line) - len(line.lstrip())
        words = line.strip()
        if named := re.fullmatch(r'bridge\("(.*)"\)', words):
            while depth and depth[-1][0] >= indented:
                depth.pop()
            depth.append((indented, named[1]))
        while len(depth) > 1 and indented < depth[-1][0]:
            depth.pop()
        bridge = depth[-1][1] if depth else ""
        if named := re.search(r"will be resumed at table (\d+)", words):
            frozen.append((named[1], bridge))
        elif named := re.match(r"Resuming from table (\d+)", words):
            place = next(each for each in frozen if each[0] == named[1])
            frozen.remove(place)
            bridge = place[1]
            depth[-1] = depth[-1][0], bridge
        if rule := _RULE.match(line):
            found.rules.append((bridge, int(rule[1]), int(rule[2]), int(rule[3] or "0", 16)))
        elif named := re.fullmatch(r"group:(\d+)", words):
            group = int(named[1])
        elif named := re.fullmatch(r"-> using bucket (\d+)", words):
            found.buckets.add((bridge, group, int(named[1])))
        elif named := re.fullmatch(r"output:(\d+)", words):
            found.outputs.add((bridge, int(named[1])))
        elif words == "IN_PORT":
            found.outputs.add((bridge, IN_PORT))
    return found


def frame_of(packet: Packet) -> bytes:
    """The frame on the wire, also behind a service header."""
    if packet.get("eth_type") != NSH:
        return real(packet)
    inside = frame_of({name[1:]: value for name, value in packet.items() if name.startswith("/")})
    head = packet["eth_dst"].to_bytes(6, "big") + packet["eth_src"].to_bytes(6, "big")
    path = packet["nsh_spi"] << 8 | packet["nsh_si"]
    header = struct.pack("!5I", packet.get("nsh_ttl", 63) << 22 | 6 << 16 | 1 << 8 | 3, path, packet["nsh_c1"], 0, 0)
    return head + NSH.to_bytes(2, "big") + header + bytes(4) + inside


def pieces(fate: Fate) -> Iterator[tuple[Hop, ...]]:
    """The hops of a packet, cut where it was handed to a function."""
    cuts = sorted({visit.hop for visit in fate.visits} | {0, len(fate.hops)})
    for start, end in pairwise(cuts):
        yield fate.hops[start:end]


def rules_of(bed: Bed, hops: tuple[Hop, ...]) -> list[Rule]:
    return [(bed.bridges[hop.switch], rule.table, rule.priority, rule.cookie) for hop in hops for rule in hop.rules]


def is_subsequence(wanted: list[Any], of: list[Any]) -> bool:
    rest = iter(of)
    return all(item in rest for item in wanted)


def knowable(hops: tuple[Hop, ...]) -> tuple[Hop, ...]:
    """The hops as far as `ofproto/trace` can know: up to the first rule that looks for what conntrack remembers."""
    found: list[Hop] = []
    for hop in hops:
        rules: list[Flow] = []
        for rule in hop.rules:
            fields = {each.field: each.value for each in rule.match}
            remembered = fields.get("ct_state", 0) & (CT_EST | CT_RPL | CT_REL)
            if remembered or "ct_label" in fields or "ct_mark" in fields:
                return (*found, replace(hop, rules=tuple(rules), out_port=None))
            rules.append(rule)
        found.append(hop)
    return tuple(found)


def buckets_of(bed: Bed, told: list[Told]) -> set[tuple[str, int, int]]:
    """The buckets that a document says were taken, of choices by hash or by a port that works."""
    return {
        (bed.bridges[each.switch], each.what.id, each.document["bucket"])
        for each in told
        if isinstance(each.what, Group) and each.document["type"] in ("select", "ff")
    }


@pytest.mark.parametrize("file", POLICIES, ids=lambda path: path.stem)
def test_a_trace_is_that_of_open_vswitch(dummy_ovs: DummyOvs, file: Path) -> None:
    topology, policy = Topology.load(str(topology_for(file))), Policy.load(str(file))
    state, allocation = compile(policy, topology)
    bed = Bed(dummy_ovs, topology, policy)
    bed.load(state)
    checker = Checker(policy, topology, state, allocation)
    every = list(packet_classes(checker.evaluator, topology))
    compared = walked = 0
    for number, each in enumerate(islice(every, 0, None, max(1, len(every) // MOST))):
        packet, _ = checker.frame(each)
        slot = SLOTS[number % len(SLOTS)]
        (walk, *_) = walk_from(checker.network, packet, each.host, arm=checker.arm(each), slots=1 << slot)
        assert walk.main is not None
        for hops in pieces(walk.main):
            at = f"in_port={hops[0].in_port},dp_hash={0x100 + slot:#x}"
            bridge = bed.bridges[hops[0].switch]
            said = said_by(dummy_ovs.appctl("ofproto/trace", bridge, at, frame_of(hops[0].packet).hex()))
            known = knowable(hops)
            assert is_subsequence(rules_of(bed, known), said.rules), f"{each}, slot {slot}: {said.rules}"
            for hop in known:
                if hop.out_port is not None and hop.out_port < IN_PORT:
                    ports = {hop.out_port, IN_PORT} if hop.out_port == hop.in_port else {hop.out_port}
                    here = {port for where, port in said.outputs if where == bed.bridges[hop.switch]}
                    assert ports & here, f"{each}, slot {slot}, {hop.switch}: {here}"
            explainer = Explainer(policy, checker.network, allocation)
            explainer.hops(known, walk)
            if not walk.main.visits or not known[0].packet.get("nsh_spi"):
                assert buckets_of(bed, explainer.told) <= said.buckets, f"{each}, slot {slot}: {said.buckets}"
            compared += len(rules_of(bed, known))
            walked += len(rules_of(bed, hops))
    assert compared > 0.8 * walked, f"{compared} of {walked} rules"
