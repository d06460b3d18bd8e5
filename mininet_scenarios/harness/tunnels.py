"""Tunnels between the switches of one Open vSwitch, whose packets really cross a cable between two "hypervisors".

All switches of a lab live in one ovs-vswitchd, which would hand a tunnelled packet straight to the other end. So each
end has an underlay bridge of its own that owns the end's address; a veth pair joins the two; and a router's MAC, which
neither bridge has, stands between them, so that Open vSwitch takes a packet for arrived only after the cable.
(ovs-vswitchd.conf.db(5), Interface options; the userspace tunnelling guide of Open vSwitch, `ovs/route/add`.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass

from controller_app.model.topology import Link
from mininet_scenarios.harness.processes import run

ROUTER = "02:fe:fe:fe:fe:fe"
OVERHEAD = {"vxlan": 50, "geneve": 50}  # bytes: Ethernet, IPv4, UDP and tunnel header (RFC 7348 5, RFC 8926 3)


def encapsulation(link: Link, geneve: Collection[str]) -> str:
    """geneve where an end's port has a name that starts with `gn` or `geneve`, or an end is among those listed
    ("s1:3"); else vxlan."""
    ends = (link.a, link.b)
    named = any(isinstance(end.port, str) and re.match(r"gn|geneve", end.port) for end in ends)
    return "geneve" if named or any(str(end) in geneve for end in ends) else "vxlan"


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A tunnel link. `cables` are the underlay's interfaces at its two ends: what is captured there is outer frames."""

    link: Link
    kind: str
    bridges: tuple[str, str]
    cables: tuple[str, str]


def build_tunnel(number: int, link: Link, kind: str, ports: tuple[tuple[str, int], tuple[str, int]]) -> Tunnel:
    """Build a tunnel between two running switches. `number` tells this lab's tunnels apart (0 to 255); `kind` is vxlan
    or geneve; `ports` are name and OpenFlow number of the tunnel port at each end. The link's MTU is the inner one: the
    cable's is larger."""
    tunnel = Tunnel(link, kind, (f"hv{number}a", f"hv{number}b"), (f"hv{number}a-w", f"hv{number}b-w"))
    addresses = tuple(f"10.255.{number}.{end}" for end in (1, 2))
    mtu = 1500 if link.mtu is None else link.mtu + OVERHEAD[kind]
    run(["ip", "link", "add", tunnel.cables[0], "type", "veth", "peer", "name", tunnel.cables[1]])
    for here in (0, 1):
        run(["ip", "link", "set", tunnel.cables[here], "mtu", str(mtu), "up"])
        _underlay(tunnel.bridges[here], tunnel.cables[here], addresses[here])
    for here, end in enumerate((link.a, link.b)):
        (name, ofport), there = ports[here], addresses[1 - here]
        options = [f"ofport_request={ofport}", f"options:remote_ip={there}", f"options:key={number + 1}"]
        add = ["add-port", end.switch, name, "--", "set", "Interface", name, f"type={kind}", *options]
        run(["ovs-vsctl", "--timeout=10", "--", *add])
        run(["ovs-appctl", "--timeout=10", "ovs/route/add", f"{there}/32", tunnel.bridges[here]])
        run(["ovs-appctl", "--timeout=10", "tnl/neigh/set", tunnel.bridges[here], there, ROUTER])
    return tunnel


def _underlay(bridge: str, cable: str, address: str) -> None:
    run([
        "ovs-vsctl", "--timeout=10", "--", "add-br", bridge,
        "--", "set", "Bridge", bridge, "datapath_type=netdev", "fail_mode=secure", "--", "add-port", bridge, cable,
    ])  # fmt: skip
    run(["ip", "addr", "add", f"{address}/24", "dev", bridge])
    run(["ip", "link", "set", bridge, "up"])
    # both ends are this machine's: without its route the kernel, and so Open vSwitch, does not take the shortcut
    run(["ip", "route", "del", "table", "local", "local", address])
    mac = json.loads(run(["ip", "-json", "link", "show", bridge]))[0]["address"]
    for flow in (
        f"in_port=LOCAL,udp,actions=output:{cable}",
        f"in_port={cable},udp,actions=mod_dl_src:{ROUTER},mod_dl_dst:{mac},LOCAL",
    ):
        run(["ovs-ofctl", "add-flow", bridge, flow])
