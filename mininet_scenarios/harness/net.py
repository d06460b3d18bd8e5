"""A topology becomes a Mininet network: the same names, the same port numbers, real packets.

A host with one arm is a network namespace with interface `eth0`, one with two arms has interfaces `in` and `out`.
What else is in it, its part in the policy decides: see `host_setup`. Tunnel links: see `tunnels`.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from mininet.net import Mininet
from mininet.node import Host as MininetHost
from mininet.node import OVSSwitch, RemoteController

from controller_app.model.policy import Policy
from controller_app.model.topology import End, Host, Link, Topology
from mininet_scenarios.harness.host_setup import NSH_MTU, cable, functions_by_host, setup
from mininet_scenarios.harness.ovs import connected, port_numbers
from mininet_scenarios.harness.processes import run, wait_for
from mininet_scenarios.harness.state import LabError, LabState
from mininet_scenarios.harness.tunnels import Tunnel, build_tunnel, encapsulation

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
        self,
        topology: Topology,
        policy: Policy,
        state: LabState,
        openflow_port: int | None,
        geneve: Collection[str] = (),
    ) -> None:
        """Build and start it. Without `openflow_port` the switches stand alone and hold no flows. `geneve` are ends
        ("s1:3") of tunnel links that are not to be VXLAN.

        Raises LabError when a switch port did not get its number.
        """
        self.topology = topology
        self.tunnels: list[Tunnel] = []
        self._policy = policy
        self.functions = functions_by_host(policy)  # by host
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
            self._add_tunnels(geneve)
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
            if link.kind != "tunnel":
                self._add_link(link)
        for host in self.topology.hosts.values():
            for arm, end in host.attach.items():
                port, name = self._number(end), self._interface(end)
                self.mininet.addLink(end.switch, host.name, port1=port, intfName1=name, intfName2=cable(host, arm))
                function = self.functions.get(host.name)
                if function is not None and function.mode == "nsh":
                    run(["ip", "link", "set", name, "mtu", str(NSH_MTU)])

    def _add_link(self, link: Link) -> None:
        a, b = link.a, link.b
        names = self._interface(a), self._interface(b)
        self.mininet.addLink(
            a.switch, b.switch, port1=self._number(a), port2=self._number(b), intfName1=names[0], intfName2=names[1]
        )
        if link.mtu is not None:
            for name in names:
                run(["ip", "link", "set", name, "mtu", str(link.mtu)])

    def _add_tunnels(self, geneve: Collection[str]) -> None:
        for number, link in enumerate(link for link in self.topology.links if link.kind == "tunnel"):
            a, b = ((self._interface(end), self._number(end)) for end in (link.a, link.b))
            self.tunnels.append(build_tunnel(number, link, encapsulation(link, geneve), (a, b)))

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
        run(["sh", "-c", setup(host, self.functions.get(host.name), self._policy)], self.pid(host.name))
        # Mininet's command line puts a host's address in place of its name: `h1 ping h2`
        interface = self.mininet.nameToNode[host.name].defaultIntf()
        interface.mac = host.mac
        for ip in reversed(host.ips):
            interface.ip, interface.prefixLen = str(ip), str(ip.max_prefixlen)

    def pid(self, host: str) -> int:
        """The process whose namespaces are the host's."""
        return int(self.mininet.nameToNode[host].pid)

    def on(self, host: str, *command: str, timeout: float = 60.0) -> str:
        """Run a command in a host and return its output; LabError when it fails."""
        return run(list(command), self.pid(host), timeout=timeout)

    def wait_connected(self, seconds: float = 20.0) -> None:
        def all_are() -> bool:
            return all(connected(self.topology.switches).values())

        wait_for("every switch to connect to the controller", all_are, seconds, 0.2)

    def set_link(self, switch: str, port: int | str, up: bool) -> None:
        """Take a switch port's cable out, or plug it in."""
        run(["ip", "link", "set", self.cable(switch, port), "up" if up else "down"])

    def cable(self, switch: str, port: int | str) -> str:
        """The interface, in the lab's own namespace, that frames of a switch port pass; a tunnel's outer frames."""
        end = End(switch, port)
        for tunnel in self.tunnels:
            if end in (tunnel.link.a, tunnel.link.b):
                return tunnel.cables[(tunnel.link.a, tunnel.link.b).index(end)]
        return self._ports[end]

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
