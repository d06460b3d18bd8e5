"""One lab: an Open vSwitch, a controller, a network, checks, and nothing of it left afterwards."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console

from controller_app.model.policy import Policy
from controller_app.model.topology import Topology
from mininet_scenarios.harness.captures import Capture
from mininet_scenarios.harness.checks import Checks
from mininet_scenarios.harness.controller import API_PORT, OPENFLOW_PORT, ControllerProcess
from mininet_scenarios.harness.hosts import check_names
from mininet_scenarios.harness.instances import Instances
from mininet_scenarios.harness.isolation import private_network
from mininet_scenarios.harness.net import LabNetwork
from mininet_scenarios.harness.ovs import PrivateOvs
from mininet_scenarios.harness.processes import Processes
from mininet_scenarios.harness.state import LabError, LabState
from mininet_scenarios.harness.topology_text import write_topology
from mininet_scenarios.harness.traffic import PROGRAMS, PYTHON, WebServer


class Lab:
    """What a scenario works with. Everything it writes goes to `out`."""

    network: LabNetwork
    instances: Instances

    def __init__(self, name: str, topology: Topology, policy: Policy, out: Path, console: Console) -> None:
        self.name, self.topology, self.policy, self.out = name, topology, policy, out
        self.checks = Checks()
        self.topology_file = out / "topology.yaml"
        self.controller: ControllerProcess | None = None
        self.policy_file: Path | None = None
        self.outside_url = ""
        self._console = console
        self._ovs: PrivateOvs | None = None
        clear_results(out)
        (out / "logs").mkdir(parents=True)
        self._state = LabState.create(name)
        self.processes = Processes(self._state, out / "logs")

    def build(
        self,
        policies: Sequence[Path],
        controlled: bool,
        listener: socket.socket | None,
        options: Sequence[str],
        geneve: Collection[str],
    ) -> None:
        """Start everything; see `running_lab`."""
        self.policy_file = policies[0] if policies else None
        self.say("starting an Open vSwitch of our own")
        self._ovs = PrivateOvs(self.ovs_directory, self.processes)
        write_topology(self.topology, self.topology_file)
        if controlled:
            self.say("starting the controller")
            self.controller = ControllerProcess(
                self.processes, self.topology_file, policies, self.out / "state", options
            )
            self.controller.wait_listening()
        if controlled and listener is not None:
            self.outside_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            self.processes.start(
                "relay",
                [*PYTHON, str(PROGRAMS / "relay.py"), str(listener.fileno()), str(API_PORT)],
                keep_fds=(listener.fileno(),),
            )
        self.say(
            f"building {len(self.topology.switches)} switches, {len(self.topology.links)} links and "
            f"{len(self.topology.hosts)} hosts"
        )
        self.network = LabNetwork(
            self.topology, self.policy, self._state, OPENFLOW_PORT if controlled else None, geneve
        )
        self.instances = Instances(self.topology, self.network, self.processes, self.out / "logs")
        if self.controller is not None:
            self.network.wait_connected()
            self.controller.wait_ready()

    @property
    def ovs_directory(self) -> Path:
        """What OVS_RUNDIR has to be for ovs-vsctl and ovs-ofctl to find this lab's Open vSwitch."""
        return self._state.directory / "ovs"

    def check_alive(self) -> None:
        """Raises LabError if Open vSwitch or the controller died on the way."""
        if self._ovs is not None and not self._ovs.alive():
            raise LabError(f"ovs-vswitchd died during the lab; see {self._ovs.vswitchd.log}")
        if self.controller is not None and not self.controller.process.alive:
            raise LabError(f"the controller died during the lab; see {self.controller.process.log}")

    def take_down(self) -> None:
        """End everything that was started, unless `keep` was called. Interfaces go with their namespaces."""
        if self._ovs is not None:
            self._ovs.forget()
        if self._state.namespaces:
            return
        if hasattr(self, "network"):
            self.network.stop()
        self.processes.stop_all()
        self._state.remove()

    def say(self, text: str) -> None:
        """Tell the person at the terminal what is going on (stderr: results go to stdout)."""
        self._console.print(f"[dim]·[/dim] {text}", highlight=False)

    def capture(self, host: str, interface: str = "eth0") -> Capture:
        """Record what passes a host's interface, until the lab ends. Call `ready()` on it before traffic."""
        label = host if interface == "eth0" else f"{host}-{interface}"
        return self._capture(label, self.network.pid(host), interface)

    def capture_port(self, switch: str, port: int | str) -> Capture:
        """The same for what passes a switch port, between switches for instance. Of a tunnel: its outer frames."""
        return self._capture(f"{switch}-port{port}", None, self.network.cable(switch, port))

    def _capture(self, label: str, pid: int | None, interface: str) -> Capture:
        pcaps = self.out / "pcaps"
        pcaps.mkdir(exist_ok=True)
        return Capture(self.processes, label, pid, interface, pcaps / f"{label}.pcap")

    def web_server(self, host: str, *ports: int) -> WebServer:
        """Start a server that answers with the host's name. Call `ready()` on it before traffic."""
        log = self._state.directory / f"web-{host}.jsonl"
        return WebServer(self.network, self.processes, host, ports, log)

    @staticmethod
    def now() -> float:
        """The time as captures write it: what they recorded `since` then."""
        return time.time()

    def keep(self) -> dict[str, str]:
        """Let the network live on; returns the name in /run/netns of the lab ("") and of each host."""
        return self.network.keep(self._state)


def _outside_socket() -> socket.socket:
    """A listening socket on the machine's own loopback: port 8080 where it is free, any other where not."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", API_PORT))
    except OSError:
        listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


@contextmanager
def undisturbed() -> Iterator[None]:
    """While taking down, a second Ctrl-C must not leave half of the lab behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def running_lab(
    name: str,
    topology: Topology,
    policies: Sequence[Path],
    out: Path,
    console: Console,
    *,
    controlled: bool = True,
    reachable: bool = False,
    options: Sequence[str] = (),
    geneve: Collection[str] = (),
) -> Iterator[Lab]:
    """Build a lab, run the body, take everything down again, whatever happened.

    `controlled`: start chain-manager and wait until the switches hold the policy; without, switches are
    empty. `reachable`: the controller's API can be reached from outside the lab too (`lab.outside_url`).
    `options` are chain-manager's, beside those that every lab gives it. `geneve` are ends ("s1:3") of tunnel links
    that are to be Geneve, not VXLAN.
    A body that called `lab.keep()` leaves everything running.
    """
    if os.geteuid() != 0:
        raise LabError("labs make network namespaces and interfaces, which needs root; run it with sudo")
    check_names(topology)
    policy = Policy.load(*map(str, policies)) if policies else Policy()
    listener = _outside_socket() if reachable else None
    try:
        with private_network():
            lab = Lab(name, topology, policy, out, console)
            try:
                lab.build(policies, controlled, listener, options, geneve)
                yield lab
                lab.check_alive()
            finally:
                with undisturbed():
                    lab.take_down()
    finally:
        if listener is not None:
            listener.close()


RESULTS = ("logs", "pcaps", "state", "policies", "topology.yaml", "checks.csv")  # and pictures, *.png
MARK = ".chainsteer-lab"  # tells a directory of results from one that is the user's


def clear_results(out: Path) -> None:
    """Make the directory, and remove what an earlier run wrote there. A lab starts with a controller that
    knows nothing.

    Raises LabError when the directory holds things under the same names that are not a lab's.
    """
    new = [path for path in (out, *out.parents) if not path.exists()]
    out.mkdir(parents=True, exist_ok=True)
    _give(new)
    old = [path for path in (*(out / name for name in RESULTS), *out.glob("*.png")) if path.exists()]
    if old and not (out / MARK).exists():
        raise LabError(
            f"{out} has a {old[0].name} that no lab wrote; name another directory with --out, or an empty one"
        )
    _claim(out)
    for path in old:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


_claimed: dict[Path, TextIO] = {}  # directories of results that this process holds until it ends


def _claim(out: Path) -> None:
    """Two labs that write to one directory would spoil each other's results. LabError when another does."""
    if out in _claimed:
        return
    mark = open(out / MARK, "w")  # noqa: SIM115  it is held until the process ends
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        mark.close()
        raise LabError(f"another lab is writing to {out}: wait for it, or name another directory with --out") from None
    _claimed[out] = mark


def give_back(out: Path) -> None:
    """Results belong to the user who called sudo, not to root."""
    if (out / MARK).exists():
        found = [path for path in (*(out / name for name in RESULTS), *out.glob("*.png")) if path.exists()]
        _give([out / MARK, *found, *(inner for path in found for inner in path.rglob("*"))])


def _give(paths: Iterable[Path]) -> None:
    user, group = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
    if user and group:
        for path in paths:
            os.chown(path, int(user), int(group), follow_symlinks=False)
