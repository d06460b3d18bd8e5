"""From captures and dumps to findings: who was passed, what was copied, how well choices fit their tables."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controller_app.model.flow import SubField
from controller_app.pipeline import labels
from controller_app.pipeline.tables import TABLE_NAMES
from mininet_scenarios.harness.captures import Capture, TcpPacket

Connection = tuple[str, int]  # client address and source port


@dataclass(frozen=True, slots=True)
class Passage:
    """Which instances a connection's packets came out of: towards the server, and back."""

    forward: set[str] = field(default_factory=set)
    backward: set[str] = field(default_factory=set)

    @property
    def instance(self) -> str | None:
        """The one instance that both directions passed, if it was one."""
        both = self.forward | self.backward
        return next(iter(both)) if len(both) == 1 and self.forward == self.backward else None


@dataclass(frozen=True, slots=True)
class Arms:
    """The witnesses of one two-armed instance."""

    inner: Capture  # on the arm towards the clients (`in`)
    outer: Capture  # on the arm towards the servers (`out`)


def passages(arms: Mapping[str, Arms], clients: set[str], since: float) -> dict[Connection, Passage]:
    """For every connection of these client addresses, which instances it passed.

    Passed means that the packet left the instance by its far arm: `out` forward, `in` backward.
    """
    found: dict[Connection, Passage] = defaultdict(Passage)
    for name, witness in arms.items():
        for packet in witness.outer.tcp(since):
            if packet.source in clients:
                found[packet.source, packet.source_port].forward.add(name)
        for packet in witness.inner.tcp(since):
            if packet.target in clients:
                found[packet.target, packet.target_port].backward.add(name)
    return dict(found)


def servers_seen(arms: Mapping[str, Arms], clients: set[str], since: float) -> tuple[set[str], set[str]]:
    """The server addresses and ports ("address:port") that the instances saw, on either arm: as the target
    of clients' packets, and as the source of packets to clients."""
    forward, backward = set(), set()
    for witness in arms.values():
        for packet in (*witness.inner.tcp(since), *witness.outer.tcp(since)):
            if packet.source in clients:
                forward.add(f"{packet.target}:{packet.target_port}")
            elif packet.target in clients:
                backward.add(f"{packet.source}:{packet.source_port}")
    return forward, backward


@dataclass(frozen=True, slots=True)
class Copies:
    """What of a client's packets a tap saw. `original` counts the client's packets, `equal` those of them
    that the tap has byte by byte, `strange` what the tap has and the client does not."""

    original: int
    equal: int
    strange: int

    @property
    def complete(self) -> bool:
        return self.original > 0 and self.equal == self.original and self.strange == 0


def compare(originals: Iterable[bytes], copies: Iterable[bytes]) -> Copies:
    """Compare two piles of frames, each frame as often as it was there."""
    wanted, seen = Counter(originals), Counter(copies)
    return Copies(wanted.total(), (wanted & seen).total(), (seen - wanted).total())


def sent_by(packets: Iterable[TcpPacket], address: str, service: str, port: int) -> list[TcpPacket]:
    return [
        packet
        for packet in packets
        if packet.source == address and packet.target == service and packet.target_port == port
    ]


def received_by(packets: Iterable[TcpPacket], address: str, service: str, port: int) -> list[TcpPacket]:
    return [
        packet
        for packet in packets
        if packet.target == address and packet.source == service and packet.source_port == port
    ]


def chi_square(counted: Mapping[str, int], shares: Mapping[str, int]) -> float:
    """The probability that counts this far from the shares (or farther) come of chance alone: Pearson's
    test. 0 when something was counted that has no share."""
    from scipy.stats import chisquare

    if set(counted) - set(shares):
        return 0.0
    total, whole = sum(counted.values()), sum(shares.values())
    if total == 0:
        return 0.0
    names = sorted(shares)
    observed = [counted.get(name, 0) for name in names]
    expected = [total * shares[name] / whole for name in names]
    return float(chisquare(observed, expected).pvalue)


def portable_choices(flows: Iterable[str]) -> list[str]:
    """What a switch without groups chooses from, in the form of groups: one text for each choice, with one `bucket=` a
    slot. `flows` as ovs-ofctl prints them; those of other tables than `slot` do not count."""
    table = next(number for number, name in TABLE_NAMES.items() if name == "slot")
    found: dict[str, list[str]] = defaultdict(list)
    for flow in flows:
        match, _, actions = flow.partition(" actions=")
        slot = re.search(r"reg7=(?:0x)?[0-9a-f]+/(0x[0-9a-f]+)", match)
        if f"table={table}," in match and slot is not None:
            free = 8 - int(slot[1], 16).bit_count()
            found[match.replace(slot[0], "")] += [f"bucket={actions}"] * (1 << free)
    return [" ".join(buckets) for buckets in found.values()]


def slots_on_switch(group: str) -> tuple[Counter[int], Counter[int]]:
    """How many of a group's slots hold each path, and each exit, read from the line ovs-ofctl printed.

    Path and exit are numbers within the label (`controller_app.pipeline.labels`); an exit is a provider.
    """
    ways, exits = Counter[int](), Counter[int]()
    for bucket in group.split("bucket=")[1:]:
        value = _label(bucket)
        ways[_part(value, labels.PATH)] += 1
        exits[_part(value, labels.EXIT)] += 1
    return ways, exits


def _part(value: int, part: SubField) -> int:
    return value >> part.offset & ((1 << part.bits) - 1)


def _label(bucket: str) -> int:
    """The destination MAC a bucket writes; ovs-ofctl prints it as `load` or as `set_field`."""
    value = 0
    for number, low in re.findall(r"load:(0x[0-9a-f]+|\d+)->NXM_OF_ETH_DST\[(\d+)\.\.\d+\]", bucket):
        value |= int(number, 0) << int(low)
    for mac in re.findall(r"set_field:([0-9a-f:]{17})(?:/[0-9a-f:]{17})?->eth_dst", bucket):
        value |= int(mac.replace(":", ""), 16)
    return value


def table_of_slots(chains: Sequence[Mapping[str, Any]], chain: str, ingress: str) -> list[dict[str, int]]:
    """From the document `chainctl path -o json` prints: slots by instances, once for each way from this
    ingress switch (its egress switches, forward)."""
    return [
        {"+".join(path["instances"]): path["slots"] for path in item["paths"]}
        for item in chains
        if item["name"] == chain and item["ingress"] == ingress and item["direction"] == "forward"
    ]


def met(captures: Mapping[str, Capture], clients: set[str], since: float) -> dict[Connection, Passage]:
    """For every connection of these client addresses, at which one-armed instances its packets were seen: from the
    client, and to it. An instance that translates is seen with the client's own address on the client's side."""
    found: dict[Connection, Passage] = defaultdict(Passage)
    for name, capture in captures.items():
        for packet in capture.tcp(since):
            if packet.source in clients:
                found[packet.source, packet.source_port].forward.add(name)
            elif packet.target in clients:
                found[packet.target, packet.target_port].backward.add(name)
    return dict(found)


def hop_limits(packets: Iterable[TcpPacket]) -> set[int]:
    """The TTLs of these packets."""
    return {packet.frame[22] for packet in packets}
