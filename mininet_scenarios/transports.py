"""The same policy over mac, vlan, mpls and nsh, over cables and over VXLAN and Geneve tunnels: one word changes.

For each word: connections reach their servers, both ways through the firewalls; the frames between switches carry what
the word says and nothing else; full packets pass. For links that do not take them see the lab `narrow_tunnels`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import count
from typing import Any

from controller_app.pipeline import labels
from mininet_scenarios.harness.captures import Capture, settle
from mininet_scenarios.harness.evidence import Arms, passages
from mininet_scenarios.harness.lab import Lab
from mininet_scenarios.harness.live import LivePolicy
from mininet_scenarios.harness.traffic import Outcome, connect, tally

TOPOLOGY = "transports.yaml"
POLICY = "transports.yaml"
GENEVE = ("s3:5",)

TRANSPORTS = ("mac", "vlan", "mpls", "nsh")
SERVERS = {"near": ("10.2.0.21", "fd02::21"), "far1": ("10.2.0.22", "fd02::22"), "far2": ("10.2.0.23", "fd02::23")}
CLIENT, EACH, PAGE = "10.1.0.11", 8, 60_000
OUTER = 50  # bytes of a tunnel in front of the frame
LINKS = {"a cable": ("s1", 1, 0), "the VXLAN tunnel": ("s4", 1, OUTER), "the Geneve tunnel": ("s5", 1, OUTER)}
OURS = {bytes([byte]) for byte in (labels.PREFIX, labels.WRAPPED)}
CARRIED = {0x0800: "mac", 0x86DD: "mac", 0x8100: "vlan", 0x8847: "mpls", 0x894F: "nsh"}  # by ether type

Check = Callable[..., bool]
_ports = count(20001)


def run(lab: Lab) -> None:
    """The same checks for every transport."""
    every_transport(lab, full_packets)


def every_transport(lab: Lab, sizes: Callable[[Lab, Check], None]) -> None:
    """Connections and frames for every transport, and what `sizes` checks."""
    live = LivePolicy(lab)
    for name in SERVERS:
        lab.web_server(name, 80).ready()
    arms = {name: Arms(lab.capture(name, "in"), lab.capture(name, "out")) for name in ("fw1", "fw2")}
    links = {name: (lab.capture_port(switch, port), skip) for name, (switch, port, skip) in LINKS.items()}
    inner = (capture for pair in arms.values() for capture in (pair.inner, pair.outer))
    for capture in (*inner, *(capture for capture, _ in links.values())):
        capture.ready()
    for transport in TRANSPORTS:
        live.apply(transport, partial(_carried_by, transport))
        lab.say(f"transport {transport}")
        check = partial(lab.checks.that, f"transport: {transport}")
        since = lab.now()
        connections(lab, check, arms)
        settle()
        for name, (capture, skip) in links.items():
            check(f"what frames between switches carry, on {name}", _carriers(capture, since, skip), transport)
        sizes(lab, check)


def _carried_by(transport: str, policy: dict[str, Any]) -> None:
    policy["chains"]["inspect"]["transport"] = transport


def connections(lab: Lab, check: Check, arms: Mapping[str, Arms]) -> None:
    """Pages of many full packets, over IPv4 and IPv6, through both firewalls both ways."""
    for name, addresses in SERVERS.items():
        since = lab.now()
        for address in addresses:
            outcomes = connect(lab.network, "c1", address, 80, _next(), path=f"/?size={PAGE}", timeout=8)
            check(f"{name}, {address}: pages of {PAGE:,} bytes", _told(outcomes), f"{EACH} {name}")
        settle()
        for firewall, witness in arms.items():
            passed = passages({firewall: witness}, {CLIENT}, since)
            both = sum(passage.instance is not None for passage in passed.values())
            check(f"{name}: connections both ways through {firewall}", both, EACH)


def _next() -> list[int]:
    return [next(_ports) for _ in range(EACH)]


def _told(outcomes: Iterable[Outcome]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(tally(outcomes).items()))


def _carriers(capture: Capture, since: float, skip: int) -> str:
    """What frames with a label carry. Frames without one are the controller's own; the first byte of the destination
    MAC tells."""
    found = set[str]()
    for when, frame in capture.frames():
        inner = frame[skip:]
        if when >= since and inner[:1] in OURS:
            kind = int.from_bytes(inner[12:14], "big")
            found.add(CARRIED.get(kind, hex(kind)))
    return ", ".join(sorted(found))


def full_packets(lab: Lab, check: Check) -> None:
    for addresses in SERVERS.values():
        for address in addresses:
            check(f"{address}: a packet of 1,500 bytes", ping(lab, address, 1500), "passed")


def ping(lab: Lab, to: str, size: int) -> str:
    """One ICMP echo of this many bytes that no router may cut: passed, lost, or `too big` and the size its sender was
    told. What the sender had learned before about the way is forgotten first."""
    node, header = lab.network.mininet.nameToNode["c1"], 48 if ":" in to else 28  # IP and ICMP
    node.cmd("ip route flush cache; ip -6 route flush cache")
    said = str(node.cmd(f"ping -c 1 -W 2 -M do -s {size - header} {to}"))
    if " 1 received" in said:
        return "passed"
    told = re.search(r"mtu ?= ?(\d+)", said)
    return f"too big, {told[1]}" if told else "lost"
