"""Everything that leaves a network goes through functions in another rack, and no host is told.

Insertion by network and by segment, with the controller as the gateway; two tenants with the same addresses side by
side, hosts in a VLAN, IPv6; DHCP and multicast along a tree; and hosts that forge what they send.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from typing import Any

from mininet_scenarios.harness import ovs
from mininet_scenarios.harness.captures import settle
from mininet_scenarios.harness.controller import chainctl_json
from mininet_scenarios.harness.evidence import Arms, met, passages
from mininet_scenarios.harness.hops import trace
from mininet_scenarios.harness.lab import Lab
from mininet_scenarios.harness.live import LivePolicy
from mininet_scenarios.harness.processes import run as command
from mininet_scenarios.harness.routes import changed, routes
from mininet_scenarios.harness.traffic import PROGRAMS, PYTHON, Outcome, connect, tally

TOPOLOGY = "insertion.yaml"
POLICY = "insertion"

DESK, DESK2, KIOSK, SERVER, OUTSIDE = "10.1.0.11", "10.1.0.12", "10.1.0.130", "10.2.0.21", "198.51.100.9"
DESK6, SERVER6 = "fd01::11", "fd02::21"
ROUTERS = {"gw1": {"10.9.0.11", "fd09::11"}, "gw2": {"10.9.0.12", "fd09::12"}}
WEB, MONITORING, EACH = 80, 9100, 16
GROUP = "239.1.2.3"

Check = Callable[..., bool]
_ports = count(20001)


class Bench:
    """The running lab: servers and witnesses."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.network = lab, lab.network
        for line in (f"ip addr add {OUTSIDE}/32 dev lo", "ip -6 addr add 2001:db8::9/128 dev lo"):
            lab.network.on("wan", *line.split())
        self.servers = {name: lab.web_server(name, WEB, MONITORING) for name in ("srv", "bsrv", "wan", "d1", "d2")}
        self.routers = {name: lab.capture(name) for name in ROUTERS}
        self.wires = {name: Arms(lab.capture(name, "in"), lab.capture(name, "out")) for name in ("scan", "bfw")}
        inner = (capture for arms in self.wires.values() for capture in (arms.inner, arms.outer))
        for capture in (*self.routers.values(), *inner):
            capture.ready()
        for server in self.servers.values():
            server.ready()

    def browse(self, client: str, to: str, port: int = WEB, number: int = EACH) -> list[Outcome]:
        outcomes = connect(self.network, client, to, port, [next(_ports) for _ in range(number)], timeout=4)
        settle()
        return outcomes

    def met_routers(self, clients: set[str], since: float) -> int:
        """Connections of these addresses that passed one and the same router both ways."""
        return sum(passage.instance is not None for passage in met(self.routers, clients, since).values())

    def passed(self, wire: str, clients: set[str], since: float) -> int:
        """Connections of these addresses that passed a two-armed function both ways."""
        return sum(p.instance is not None for p in passages({wire: self.wires[wire]}, clients, since).values())


def run(lab: Lab) -> None:
    """The lab, check by check."""

    def about(topic: str) -> Check:
        lab.say(topic)
        return partial(lab.checks.that, topic)

    bench, live = Bench(lab), LivePolicy(lab, "red")
    live.apply("without-insertion", without_insertion)
    before = routes(lab)
    check = about("without insertion")
    since = lab.now()
    check("a desk to the server", _told(bench.browse("d1", SERVER)), f"{EACH} srv")
    check("connections that met a router", bench.met_routers({DESK}, since), 0)
    live.apply("as-written")
    of_networks(bench, about("insertion by network"))
    of_segments(bench, about("insertion by segment"))
    about("no host was told")("hosts whose addresses or routes changed", changed(before, routes(lab)), "none")
    service_routers(about("chainctl get service-routers"))
    tenants(bench, about("two tenants with the same addresses"))
    discovery(bench, about("DHCP"))
    multicast(bench, about("multicast"))
    forgeries(bench, about("forged frames"))


def without_insertion(policy: dict[str, Any]) -> None:
    del policy["segments"], policy["networks"]["desks"]["insert"]


def _told(outcomes: Iterable[Outcome]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(tally(outcomes).items()))


def of_networks(bench: Bench, check: Check) -> None:
    for what, to, name in (("the server", SERVER, "srv"), ("the outside", OUTSIDE, "wan")):
        since = bench.lab.now()
        check(f"a desk to {what}", _told(bench.browse("d1", to)), f"{EACH} {name}")
        check(f"a desk to {what}: by one router, both ways", bench.met_routers({DESK}, since), EACH)
    for to, name in ((SERVER6, "srv"), ("2001:db8::9", "wan")):
        check(f"a desk to {to}", _told(bench.browse("d1", to)), f"{EACH} {name}")
    for to in (SERVER, SERVER6):
        found = trace(bench.network, "d1", to, "udp", next(_ports))
        routers = [hop for hop in found if any(hop in addresses for addresses in ROUTERS.values())]
        check(f"traceroute from a desk to {to}", " ".join(map(str, found)), f"one of the routers, {to}",
              found[-1] == to and len(routers) == 1)  # fmt: skip
    since = bench.lab.now()
    check("the server to a desk", _told(bench.browse("srv", DESK)), f"{EACH} d1")
    check("the server to a desk: by one router, both ways", bench.met_routers({SERVER}, since), EACH)
    since = bench.lab.now()
    check("a desk to its neighbour", _told(bench.browse("d1", DESK2)), f"{EACH} d2")
    check("a desk to its neighbour: by a router", bench.met_routers({DESK}, since), 0)
    since = bench.lab.now()
    check("what a classifier allows", _told(bench.browse("d1", SERVER, MONITORING)), f"{EACH} srv")
    check("what a classifier allows: by a router", bench.met_routers({DESK}, since), 0)


def of_segments(bench: Bench, check: Check) -> None:
    """A kiosk, whose frames carry a VLAN tag."""
    since = bench.lab.now()
    check("a kiosk to the server", _told(bench.browse("k1", SERVER)), f"{EACH} srv")
    check("a kiosk to the server: by one router, both ways", bench.met_routers({KIOSK}, since), EACH)
    check("a kiosk to the server: by the scanner, both ways", bench.passed("scan", {KIOSK}, since), EACH)
    check("desks' connections that met the scanner", bench.passed("scan", {DESK}, 0.0), 0)
    check("a kiosk to the server, IPv6", _told(bench.browse("k1", SERVER6)), f"{EACH} srv")
    since = bench.lab.now()
    refused = sum("111" in (outcome.error or "") for outcome in bench.browse("srv", KIOSK, number=2))  # ECONNREFUSED
    check("the server to a kiosk, where nobody listens: refused by the kiosk itself", refused, 2)
    check("the server to a kiosk: by the scanner, both ways", bench.passed("scan", {SERVER}, since), 2)


def service_routers(check: Check) -> None:
    items = chainctl_json("get", "service-routers")["service-routers"]
    listed = {"/".join((item["tenant"], item["kind"], item["name"])): item for item in items}
    check("service routers", ", ".join(sorted(listed)), "blue/network/desks, red/network/desks, red/segment/kiosks")
    kiosks = listed.get("red/segment/kiosks", {"gateways": [], "functions": []})
    check("the kiosks' gateways", ", ".join(kiosks["gateways"]), "10.1.0.254, fd01::fe")
    check("their functions", ", ".join(one["name"] for one in kiosks["functions"]), "edge-router, scanner")


def tenants(bench: Bench, check: Check) -> None:
    """The same addresses at the same time."""
    since = bench.lab.now()
    check("red's desk to its server", _told(bench.browse("d1", SERVER)), f"{EACH} srv")
    red = bench.met_routers({DESK}, since)
    check("red's connections through red's router, through blue's firewall",
          f"{red}, {bench.passed('bfw', {DESK}, since)}", f"{EACH}, 0")  # fmt: skip
    since = bench.lab.now()
    check("blue's desk to its server", _told(bench.browse("b1", SERVER)), f"{EACH} bsrv")
    check("blue's connections through blue's firewall, through red's router",
          f"{bench.passed('bfw', {DESK}, since)}, {bench.met_routers({DESK}, since)}", f"{EACH}, 0")  # fmt: skip
    check("blue's desk to its server, IPv6", _told(bench.browse("b1", SERVER6)), f"{EACH} bsrv")
    check("blue's desk to an address that only red has", _told(bench.browse("b1", OUTSIDE, number=1)).count("wan"), 0)


def discovery(bench: Bench, check: Check) -> None:
    """A host without an address asks for one. There are two servers: one is not in the network."""
    mac = str(bench.lab.topology.hosts["new"].mac)
    for name, offered in (("dhcp", "10.1.0.77"), ("bsrv", "10.66.6.6")):
        words = [*PYTHON, str(PROGRAMS / "dhcp.py"), "serve", offered]
        bench.lab.processes.start(f"dhcp-{name}", words, bench.network.pid(name)).wait_for_output("listening")
    found = bench.network.on("new", *PYTHON, str(PROGRAMS / "dhcp.py"), "discover", mac).strip()
    check("a host without an address is offered", found, "10.1.0.77")


def multicast(bench: Bench, check: Check) -> None:
    listeners = {}
    for name in ("d2", "k1", "srv", "bsrv"):
        words = [*PYTHON, str(PROGRAMS / "multicast.py"), "listen", GROUP, "5000"]
        listeners[name] = bench.lab.processes.start(f"multicast-{name}", words, bench.network.pid(name))
        listeners[name].wait_for_output("listening")
    bench.network.on("d1", *PYTHON, str(PROGRAMS / "multicast.py"), "say", GROUP, "5000", "one", "two", "three")
    settle()
    heard = {name: " ".join(listener.output().split()[1:]) for name, listener in listeners.items()}
    for name, what in (("d2", "by a host of the network"), ("k1", "and by one in a VLAN")):
        check(f"heard {what}", heard[name], "one two three")
    check("heard in another network, by another tenant", heard["srv"] + heard["bsrv"], "")


def forgeries(bench: Bench, check: Check) -> None:
    """Frames that d1 sends and no other host may get."""
    witnesses = {name: bench.lab.capture(name) for name in ("srv", "d2", "wan", "bsrv")}
    for witness in witnesses.values():
        witness.ready()
    gateway = bench.network.on("d1", "ip", "neigh", "show", "10.1.0.254").split("lladdr ")[1].split()[0]
    own, other = str(bench.lab.topology.hosts["d1"].mac), str(bench.lab.topology.hosts["d2"].mac)
    address = bytes(map(int, DESK.split(".")))
    stolen = bytes(map(int, DESK2.split(".")))
    target = bytes(map(int, SERVER.split(".")))
    arp = bytes.fromhex("0001080006040001") + _mac(own) + stolen + bytes(6) + target
    frames = {
        "another's address": _ether(gateway, own) + b"\x08\x00" + _packet(stolen, target),
        "another's address in ARP": _ether("ff:ff:ff:ff:ff:ff", own) + b"\x08\x06" + arp,
        "a label": _ether("0e:00:10:00:00:02", own) + b"\x08\x00" + _packet(address, target),
        "MPLS": _ether(gateway, own) + b"\x88\x47" + bytes.fromhex("000131ff") + _packet(address, target),
        "NSH": _ether(gateway, own) + b"\x89\x4f" + bytes.fromhex("0fc60103000001ff") + bytes(16)
               + _ether(other, own) + b"\x08\x00" + _packet(address, target),
        "the gateway's MAC": _ether(other, gateway) + b"\x08\x00" + _packet(address, target),
    }  # fmt: skip
    for what, frame in frames.items():
        before = ovs.dropped_in_table("s1", 0)
        _send(bench, frame, 10)
        check(f"{what}: frames dropped at admission, of 10", ovs.dropped_in_table("s1", 0) - before, 10)
    _send(bench, _ether(gateway, other) + b"\x08\x00" + _packet(stolen, target), 10)
    known = {host["name"]: host["attach"] for host in chainctl_json("get", "hosts")["hosts"]}
    check("another's MAC and address: the controller still knows where that host is", known["d2"], "s2:11")
    arrived = sum(MARK in frame for witness in witnesses.values() for _, frame in witness.frames())
    check("forged packets that anybody got", arrived, 0)


MARK = b"this was forged"


def _send(bench: Bench, frame: bytes, number: int) -> None:
    words = [*PYTHON, str(PROGRAMS / "send_frames.py"), "eth0"]
    command(words, bench.network.pid("d1"), stdin=f"{frame.hex()}\n" * number)
    settle()


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _ether(to: str, source: str) -> bytes:
    return _mac(to) + _mac(source)


def _packet(source: bytes, target: bytes) -> bytes:
    """A UDP packet over IPv4, without checksum in UDP and with one in IP."""
    data = MARK * 3
    udp = (5000).to_bytes(2, "big") * 2 + (8 + len(data)).to_bytes(2, "big") + bytes(2) + data
    length = (20 + len(udp)).to_bytes(2, "big")
    head = bytes([0x45, 0]) + length + bytes(4) + bytes([64, 17]) + bytes(2) + source + target
    total = sum(int.from_bytes(head[at : at + 2], "big") for at in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = 0xFFFF - ((total & 0xFFFF) + (total >> 16))
    return head[:10] + checksum.to_bytes(2, "big") + head[12:] + udp
