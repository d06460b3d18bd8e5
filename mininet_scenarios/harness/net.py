"""A topology becomes a Mininet network: the same names, the same port numbers, real packets.

A host with one arm is a network namespace with interface `eth0`. A host with two arms (`in`, `out`) is a
namespace whose interfaces `in` and `out` are joined by a Linux bridge: a wire that a function can be put on.
"""

from __future__ import annotations

from functools import partial
from ipaddress import IPv6Address
from pathlib import Path

from mininet.net import Mininet
from mininet.node import Host as MininetHost
from mininet.node import OVSSwitch, RemoteController

from controller_app.model.policy import Policy
from controller_app.model.topology import End, Host, IPAddress, Topology
from mininet_scenarios.harness.ovs import connected, port_numbers
from mininet_scenarios.harness.processes import run, wait_for
from mininet_scenarios.harness.state import LabError, LabState

NUMBERING = 10.0  # seconds Open vSwitch has to number its ports
LONGEST_NAME = 15  # characters in an interface name (IFNAMSIZ - 1, linux/if.h)


class _Switch(OVSSwitch):  # type: ignore[misc]  # Mininet has no types
    """A switch of an Open vSwitch that is not ten years old: Mininet asks again for every port, by way of a
    module that Python is about to lose."""

    @classmethod
    def isOldOVS(cls) -> bool:
        return False


class _Controller(RemoteController):  # type: ignore[misc]  # Mininet has no types
    """The controller, which is known to listen already: Mininet would poke at its port with telnet."""

    def checkListening(self) -> None:  # Mininet's name
        return


class LabNetwork:
    """The running network. `mininet` is the Mininet object behind it, for its command line."""

    def __init__(
        self, topology: Topology, policy: Policy, state: LabState, openflow_port: int | None
    ) -> None:
        """Build and start it. Without `openflow_port` the switches stand alone and hold no flows.

        Raises LabError when a switch port did not get its number.
        """
        self.topology = topology
        self._policy = policy
        # Mininet would raise sysctl limits of the whole machine before its first network.
        Mininet.inited = True
        switch = partial(
            _Switch, datapath="user", batch=True, failMode="secure", protocols="OpenFlow10,OpenFlow13"
        )
        self.mininet = Mininet(topo=None, build=False, switch=switch, controller=None, waitConnected=False)
        self._ports: dict[End, str] = {}
        try:
            self._add_nodes(state)
            self._add_links()
            if openflow_port is not None:
                self.mininet.addController("c0", controller=_Controller, ip="127.0.0.1", port=openflow_port)
            self.mininet.start()
            self._check_ports()
            for host in topology.hosts.values():
                self._configure(host)
        except BaseException:  # whatever it was, Ctrl-C included: end the nodes' shells, then let it go on
            self.stop()
            raise

    def _add_nodes(self, state: LabState) -> None:
        for name, switch in self.topology.switches.items():
            node = self.mininet.addSwitch(name, dpid=f"{switch.dpid:016x}")
            state.remember(f"switch {name}", node.pid)
        for name in self.topology.hosts:
            node = self.mininet.addHost(name, cls=MininetHost, ip=None)
            state.remember(f"host {name}", node.pid)

    def _add_links(self) -> None:
        for link in self.topology.links:
            self._add_link(link.a, link.b)
        for host in self.topology.hosts.values():
            for arm, end in host.attach.items():
                port, name = self._number(end), self._interface(end)
                self.mininet.addLink(
                    end.switch, host.name, port1=port, intfName1=name, intfName2=arm or "eth0"
                )

    def _add_link(self, a: End, b: End) -> None:
        self.mininet.addLink(
            a.switch,
            b.switch,
            port1=self._number(a),
            port2=self._number(b),
            intfName1=self._interface(a),
            intfName2=self._interface(b),
        )

    def _number(self, end: End) -> int:
        """The OpenFlow port number of an end. Ports known by name get the next free numbers."""
        if isinstance(end.port, int):
            return end.port
        ends = {
            *self.topology.link_ports,
            *(e for host in self.topology.hosts.values() for e in host.attach.values()),
        }
        here = [e.port for e in ends if e.switch == end.switch]
        numbers = [port for port in here if isinstance(port, int)]
        names = sorted(port for port in here if isinstance(port, str))
        return max(numbers, default=0) + 1 + names.index(end.port)

    def _interface(self, end: End) -> str:
        """The name of a switch port: Mininet's own, or the one the topology gives it."""
        name = end.port if isinstance(end.port, str) else f"{end.switch}-eth{end.port}"
        if len(name) > LONGEST_NAME:
            name = f"sw{list(self.topology.switches).index(end.switch)}-eth{end.port}"
        if name in self._ports.values() and self._ports.get(end) != name:
            raise LabError(
                f"two switch ports are called {name}; Linux interfaces need names of their own: "
                f"rename port {end} in the topology file"
            )
        self._ports[end] = name
        return name

    def _check_ports(self) -> None:
        wanted = {name: self._number(end) for end, name in self._ports.items()}

        def wrong() -> list[str]:
            numbers = port_numbers()
            return [
                f"{name} has number {numbers.get(name)}, not {number}"
                for name, number in wanted.items()
                if numbers.get(name) != number
            ]

        wait_for("Open vSwitch to number the ports as the topology says", lambda: not wrong(), NUMBERING)

    def _configure(self, host: Host) -> None:
        """Addresses, routes, and a network card that computes checksums itself.

        In the userspace datapath a checksum left to be filled in by hardware never is (and TCP dies of it),
        and merged segments would not be the packets that were sent.
        """
        pid = self.pid(host.name)
        lines = ["set -e", "ip link set lo up"]
        if not any(isinstance(ip, IPv6Address) for ip in host.ips):
            lines.append("for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $f; done")
        for arm in host.attach:
            interface = arm or "eth0"
            lines.append(
                f"ethtool -K {interface} rx off tx off sg off tso off gso off gro off >/dev/null 2>&1 || "
                f"ethtool -K {interface} tx off >/dev/null"
            )
            if host.mac and not arm:
                lines.append(f"ip link set {interface} address {host.mac}")
            lines.append(f"ip link set {interface} up")
        if set(host.attach) == {"in", "out"}:
            lines.append("ip link add br0 type bridge stp_state 0 mcast_snooping 0 forward_delay 0")
            lines += [
                f"ip link set {arm} master br0 && bridge link set dev {arm} learning off"
                for arm in host.attach
            ]
            lines.append("ip link set br0 up")
        for ip in host.ips:
            lines += self._routes(ip)
        run(["sh", "-c", "\n".join(lines)], pid)
        # Mininet's command line puts a host's address in place of its name: `h1 ping h2`
        interface = self.mininet.nameToNode[host.name].defaultIntf()
        interface.mac = host.mac
        for ip in reversed(host.ips):
            interface.ip, interface.prefixLen = str(ip), str(ip.max_prefixlen)

    def _routes(self, ip: IPAddress) -> list[str]:
        """Its network's prefix and gateway where the policy names them; else everything is on the link."""
        family = "-6 " if isinstance(ip, IPv6Address) else ""
        nodad = " nodad" if family else ""
        for tenant in self._policy.tenants.values():
            for network in tenant.networks.values():
                for subnet in network.subnets:
                    if ip not in subnet:
                        continue
                    lines = [f"ip {family}addr add {ip}/{subnet.prefixlen} dev eth0{nodad}"]
                    lines += [
                        f"ip {family}route add default via {gateway}"
                        for gateway in network.gateways
                        if gateway in subnet
                    ]
                    return lines
        return [
            f"ip {family}addr add {ip}/{ip.max_prefixlen} dev eth0{nodad}",
            f"ip {family}route add default dev eth0",
        ]

    def pid(self, host: str) -> int:
        """The process whose namespaces are the host's."""
        return int(self.mininet.nameToNode[host].pid)

    def on(self, host: str, *command: str, timeout: float = 60.0) -> str:
        """Run a command in a host and return its output; LabError when it fails."""
        return run(list(command), self.pid(host), timeout=timeout)

    def wait_connected(self, seconds: float = 20.0) -> None:
        wait_for("every switch to connect to the controller", lambda: all(connected().values()), seconds, 0.2)

    def set_link(self, switch: str, port: int, up: bool) -> None:
        """Take a switch port's cable out, or plug it in."""
        run(["ip", "link", "set", self._ports[End(switch, port)], "up" if up else "down"])

    def keep(self, state: LabState) -> dict[str, str]:
        """Name every namespace in /run/netns, so that the network outlives this process. Returns names."""
        lab = state.directory.name
        names = {"": lab, **{host: f"{lab}.{host}" for host in self.topology.hosts}}
        for host, name in names.items():
            pid = self.pid(host) if host else self.mininet.nameToNode[next(iter(self.topology.switches))].pid
            state.namespaces.append(name)
            state.save()
            run(["ip", "netns", "attach", name, str(pid)])
        return names

    def stop(self) -> None:
        """End every node's shell. Interfaces go with the namespaces, so none is deleted one by one."""
        for node in (*self.mininet.hosts, *self.mininet.switches, *self.mininet.controllers):
            node.terminate()


def write_topology(topology: Topology, path: Path) -> None:
    """Write a topology as a file the controller reads: what a lab really built, invented hosts included."""
    import yaml

    document: dict[str, object] = {"version": 1, "switches": {}, "links": [], "hosts": {}}
    document["switches"] = {name: {"dpid": f"{switch.dpid:#x}"} for name, switch in topology.switches.items()}
    document["links"] = [{"ends": [str(link.a), str(link.b)], "cost": link.cost} for link in topology.links]
    hosts: dict[str, object] = {}
    for name, host in topology.hosts.items():
        attach: object = {arm: str(end) for arm, end in host.attach.items() if arm} or str(host.attach[""])
        hosts[name] = {
            "attach": attach,
            **({"ip": [str(ip) for ip in host.ips]} if host.ips else {}),
            **({"mac": host.mac} if host.mac else {}),
            **({"prefixes": [str(prefix) for prefix in host.prefixes]} if host.prefixes else {}),
        }
    document["hosts"] = hosts
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
