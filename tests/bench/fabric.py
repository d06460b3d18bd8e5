"""Switches that are a machine each: a namespace with an Open vSwitch of its own, hosts in namespaces of theirs, and a
network for management. What steers the switches, Chainsteer or OVN, is somebody else's part (`steered`, `ovn`).

    switch namespaces: `manage` (172.31.0.N, to the management bridge) and the other end of every host's `eth0`
    the lab's namespace: 172.31.0.254, where controllers listen

Cards compute checksums themselves, and take 1,400 bytes, so that a tunnel's header fits. Needs root.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mininet_scenarios.harness.isolation import private_network
from mininet_scenarios.harness.lab import clear_results, undisturbed
from mininet_scenarios.harness.ovs import SCHEMA
from mininet_scenarios.harness.processes import Process, Processes, run, wait_for
from mininet_scenarios.harness.state import LabError, LabState
from mininet_scenarios.harness.traffic import PYTHON

PROGRAMS = Path(__file__).parent / "programs"
MANAGER = "172.31.0.254"
MTU = 1400  # bytes
_QUIET = "for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $f; done; ip link set lo up"


@dataclass(frozen=True, slots=True)
class Place:
    """A host: the switch it is at, and what its card has."""

    name: str
    switch: str
    ip: str  # of a /24 whose .254 is the gateway
    mac: str

    @property
    def gateway(self) -> str:
        return self.ip.rpartition(".")[0] + ".254"

    @property
    def network(self) -> str:
        """Hosts called c… are clients, and hosts called p… are servers, which may be providers."""
        return "clients" if self.name.startswith("c") else "servers"


class Fabric:
    """Running namespaces and Open vSwitches; bridges have to be made."""

    def __init__(
        self, switches: Sequence[str], places: Sequence[Place], out: Path, state: LabState, processes: Processes
    ) -> None:
        """Start everything. LabError when something does not come up."""
        self.switches, self.out, self.processes = tuple(switches), out, processes
        self.places = {place.name: place for place in places}
        self.directory, self.remember = state.directory, state.remember
        self._pids: dict[str, int] = {}
        self._daemons: list[Process] = []
        for name in (*self.switches, *self.places):
            self._pids[name] = processes.start(f"in-{name}", ["unshare", "--net", "sleep", "infinity"]).identity.pid
        here = os.readlink("/proc/thread-self/ns/net")
        wait_for("namespaces", lambda: all(self._namespace(pid) not in ("", here) for pid in self._pids.values()))
        self._connect()
        for place in places:
            self.on(place.name, "sh", "-c", _host(place))
        for name in self.switches:
            self._start_switch(name)

    @staticmethod
    def _namespace(pid: int) -> str:
        try:
            return os.readlink(f"/proc/{pid}/ns/net")
        except OSError:
            return ""

    def _connect(self) -> None:
        lines = ["link add manage type bridge", f"addr add {MANAGER}/24 dev manage", "link set manage up"]
        for number, name in enumerate(self.switches, 1):
            lines += [f"link add m{number} type veth peer name manage netns {self._pids[name]}",
                      f"link set m{number} master manage up"]  # fmt: skip
        for place in self.places.values():
            here, there = self._pids[place.switch], self._pids[place.name]
            lines.append(f"link add {place.name} netns {here} type veth peer name eth0 netns {there}")
        self.batch(lines)
        for number, name in enumerate(self.switches, 1):
            ports = "".join(
                f"; {_card(place.name)}; ip link set {place.name} up"
                for place in self.places.values()
                if place.switch == name
            )
            up = f"{_QUIET}; ip addr add {management(number)}/24 dev manage; ip link set manage up"
            self.on(name, "sh", "-c", f"set -e; {up}{ports}")

    @staticmethod
    def batch(lines: Sequence[str]) -> None:
        """Many commands of ip(8), from the lab's namespace."""
        run(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")

    def pid(self, name: str) -> int:
        """The process whose namespace is a switch's or a host's."""
        return self._pids[name]

    def on(self, name: str, *command: str, timeout: float = 60.0) -> str:
        """Run a command in the namespace of a switch or host; LabError when it fails."""
        return run(list(command), self._pids[name], timeout=timeout)

    def program(self, host: str, name: str, *words: str) -> Process:
        """Start one of the programs of the bench on a host."""
        command = [*PYTHON, str(PROGRAMS / f"{name}.py"), *words]
        return self.processes.start(f"{name}-{host}", command, self._pids[host])

    # -- Open vSwitch ----------------------------------------------------------------------------------------

    def home(self, switch: str) -> Path:
        """Its Open vSwitch's run directory."""
        return self.directory / switch

    def environment(self, switch: str) -> Mapping[str, str]:
        """In which Open vSwitch's and OVN's programs find the daemons of this switch."""
        kinds = ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVN_RUNDIR", "OVN_LOGDIR", "OVN_DBDIR")
        return {**os.environ, **dict.fromkeys(kinds, str(self.home(switch)))}

    def _start_switch(self, name: str) -> None:
        home = self.home(name)
        home.mkdir()
        database, socket = home / "conf.db", home / "db.sock"
        run(["ovsdb-tool", "create", str(database), str(SCHEMA)])
        self.daemon(name, "ovsdb-server", str(database), f"--remote=punix:{socket}",
                    f"--unixctl={home}/ovsdb.ctl")  # fmt: skip
        wait_for(f"{socket}", socket.exists)
        self.vsctl(name, "--no-wait", "init")
        self._daemons.append(
            self.daemon(name, "ovs-vswitchd", f"unix:{socket}", "--disable-system", f"--unixctl={home}/vswitchd.ctl")
        )
        wait_for(f"{home}/vswitchd.ctl", (home / "vswitchd.ctl").exists)

    def daemon(self, switch: str, program: str, *words: str) -> Process:
        """Start one in a switch's namespace; it says little."""
        command = [program, *words, "-vconsole:warn", "-vsyslog:off"]
        return self.processes.start(f"{program}-{switch}", command, self._pids[switch], self.environment(switch))

    def vsctl(self, switch: str, *words: str) -> str:
        """`ovs-vsctl` to a switch's database."""
        return run(["ovs-vsctl", "--timeout=20", f"--db=unix:{self.home(switch)}/db.sock", *words])

    def appctl(self, switch: str, *words: str) -> str:
        """`ovs-appctl` to a switch's ovs-vswitchd."""
        return run(["ovs-appctl", "--timeout=30", "-t", f"{self.home(switch)}/vswitchd.ctl", *words])

    def flush(self) -> None:
        """Let every switch forget the connections it tracked."""
        for name in self.switches:
            self.appctl(name, "dpctl/flush-conntrack")

    def check_alive(self) -> None:
        """LabError when an ovs-vswitchd died, or another daemon of a switch."""
        for process in self._daemons:
            if not process.alive:
                raise LabError(f"{process.identity.name} died; see {process.log}")


def management(number: int) -> str:
    """The management address of the N-th switch, from 1."""
    return f"172.31.0.{number}"


def _card(name: str) -> str:
    """Checksums and segments as they were sent, in packets a tunnel can carry."""
    offloads = "rx off tx off sg off tso off gso off gro off"
    return f"ethtool -K {name} {offloads} >/dev/null 2>&1; ip link set {name} mtu {MTU}"


def _host(place: Place) -> str:
    lines = ["set -e", _QUIET, _card("eth0"), f"ip link set eth0 address {place.mac} up",
             f"ip addr add {place.ip}/24 dev eth0", f"ip route add default via {place.gateway}",
             "echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range",
             # no host keeps closed connections (tcp(7)): through the service and past it the same pair of ports may
             # come soon again, and what kernels make of that is not the network's doing
             "echo 0 > /proc/sys/net/ipv4/tcp_max_tw_buckets", "echo 4096 > /proc/sys/net/core/somaxconn"]  # fmt: skip
    return "\n".join(lines)


@contextmanager
def fabric(name: str, switches: Sequence[str], places: Sequence[Place], out: Path) -> Iterator[Fabric]:
    """Build one, run the body, take everything down again. Logs go to `out`."""
    if os.geteuid() != 0:
        raise LabError("this makes network namespaces, which needs root; run it with sudo")
    clear_results(out)
    (out / "logs").mkdir(parents=True)
    with private_network():
        state = LabState.create(name)
        processes = Processes(state, out / "logs")
        try:
            built = Fabric(switches, places, out, state, processes)
            yield built
            built.check_alive()
        finally:
            with undisturbed():
                processes.stop_all()
                state.remove()
