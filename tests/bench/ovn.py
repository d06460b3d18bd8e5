"""The bench's fabric steered by OVN: a chassis a switch, Geneve between them, and the databases and ovn-northd in the
lab's namespace. Nothing of a system OVN is read or touched.

The load balancer is on the clients' logical switch: on a logical router it works only where that is a gateway's
(ovn-nb(5), Logical_Router, load_balancer). Every packet goes from the clients' network through the logical router.
OVN 23.03 with Open vSwitch 3.1.0 crashes when connections to providers themselves and through the service meet in one
zone, so callers keep the two apart.
"""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path

from bench.fabric import MANAGER, Fabric
from bench.steered import ADDRESS, PORT, TARGET
from mininet_scenarios.harness.processes import Process, run, wait_for
from mininet_scenarios.harness.state import LabError

SCHEMAS = Path("/usr/share/ovn")
PROGRAMS = ("ovn-northd", "ovn-controller", "ovn-nbctl", "ovsdb-server", "ovsdb-tool")
SOUTH_PORT = 6642
ROUTER_MACS = {"clients": "0a:00:00:00:01:fe", "servers": "0a:00:00:00:02:fe"}


def missing() -> str | None:
    """What OVN lacks on this machine; None when it can be run."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            return f"OVN is not installed here (no {program}); scripts/install-bench.sh installs it"
    return None


def version() -> str:
    """What runs, in a few words."""
    return run(["ovn-controller", "--version"]).splitlines()[0].removeprefix("ovn-controller ")


class Ovn:
    """Running, with the fabric's hosts as ports of two logical switches that a logical router joins. Hosts `p…` are
    servers, hosts `c…` clients."""

    name = "OVN"

    def __init__(self, fabric: Fabric) -> None:
        """Start it, and wait until every chassis holds the network."""
        self.fabric = fabric
        self._home = fabric.directory / "ovn"
        self._home.mkdir()
        self._environment = {**fabric.environment(fabric.switches[0])}
        for kind in ("OVN_RUNDIR", "OVN_LOGDIR", "OVN_DBDIR", "OVS_RUNDIR"):
            self._environment[kind] = str(self._home)
        self._daemons: list[Process] = []
        self._start_databases()
        self._underlay()
        for number, switch in enumerate(fabric.switches, 1):
            self._chassis(number, switch)
        self._network()
        self._now: tuple[str, ...] | None = None  # who serves; None: there is no service
        wait_for("every port to be bound to its chassis", self._bound, 60, 0.2)
        self.wait()

    # -- daemons -----------------------------------------------------------------------------------------------

    def _start_databases(self) -> None:
        for kind in ("nb", "sb"):
            database, listening = self._home / f"{kind}.db", self._home / f"{kind}.sock"
            run(["ovsdb-tool", "create", str(database), str(SCHEMAS / f"ovn-{kind}.ovsschema")])
            more = [f"--remote=ptcp:{SOUTH_PORT}:{MANAGER}"] if kind == "sb" else []
            self._start(f"ovsdb-{kind}", "ovsdb-server", str(database), f"--remote=punix:{listening}", *more,
                        f"--unixctl={self._home}/ovsdb-{kind}.ctl")  # fmt: skip
            wait_for(str(listening), listening.exists)
        databases = [f"--ovn{kind}-db=unix:{self._home}/{kind}.sock" for kind in ("nb", "sb")]
        self._start("ovn-northd", "ovn-northd", *databases, f"--unixctl={self._home}/northd.ctl")
        # ovn-nbctl as a daemon, which is asked over its socket: no process is started for what is timed
        control, pidfile = self._home / "nbctl.ctl", self._home / "nbctl.pid"
        run(["env", *(f"{k}={v}" for k, v in self._environment.items() if k.startswith("OV")), "ovn-nbctl",
             f"--db=unix:{self._home}/nb.sock", "--detach", f"--pidfile={pidfile}", f"--unixctl={control}",
             "-vsyslog:off", f"--log-file={self._home}/nbctl.log"])  # fmt: skip
        self.fabric.remember("ovn-nbctl", int(pidfile.read_text()))
        wait_for(str(control), control.exists)
        self._control = socket.socket(socket.AF_UNIX)
        self._control.settimeout(120)
        self._control.connect(str(control))

    def _start(self, name: str, *command: str) -> None:
        words = [*command, "-vconsole:warn", "-vsyslog:off"]
        self._daemons.append(self.fabric.processes.start(name, words, environment=self._environment))

    def _underlay(self) -> None:
        """A switch of Linux's own between the chassis: Geneve needs no more."""
        lines = ["link add under type bridge", "link set under up"]
        for number, switch in enumerate(self.fabric.switches, 1):
            lines += [f"link add u{number} type veth peer name cable netns {self.fabric.pid(switch)}",
                      f"link set u{number} master under up"]  # fmt: skip
        self.fabric.batch(lines)

    def _chassis(self, number: int, switch: str) -> None:
        address = f"172.30.0.{number}"
        self.fabric.on(switch, "ip", "link", "set", "cable", "up")
        words = ["add-br", "br-phy", "--", "set", "Bridge", "br-phy", "datapath_type=netdev", "--",
                 "add-port", "br-phy", "cable", "--",
                 "set", "Open_vSwitch", ".", f"external-ids:system-id={switch}",
                 f"external-ids:ovn-remote=tcp:{MANAGER}:{SOUTH_PORT}", "external-ids:ovn-encap-type=geneve",
                 f"external-ids:ovn-encap-ip={address}", "external-ids:ovn-bridge-datapath-type=netdev", "--",
                 "add-br", "br-int", "--", "set", "Bridge", "br-int", "datapath_type=netdev",
                 "fail_mode=secure"]  # fmt: skip
        for place in self.fabric.places.values():
            if place.switch == switch:
                words += ["--", "add-port", "br-int", place.name, "--",
                          "set", "Interface", place.name, f"external-ids:iface-id={place.name}"]  # fmt: skip
        self.fabric.vsctl(switch, *words)
        self.fabric.on(switch, "sh", "-c", f"ip addr add {address}/24 dev br-phy && ip link set br-phy mtu 1500 up")
        self._daemons.append(
            self.fabric.daemon(switch, "ovn-controller", f"unix:{self.fabric.home(switch)}/db.sock")
        )

    def _network(self) -> None:
        self._nbctl("lr-add", "router")
        for network, mac in ROUTER_MACS.items():
            inside = [place for place in self.fabric.places.values() if place.network == network]
            self._nbctl("ls-add", network)
            self._nbctl("lrp-add", "router", f"router-{network}", mac, f"{inside[0].gateway}/24")
            port = f"{network}-router"
            self._nbctl("lsp-add", network, port)
            self._nbctl("lsp-set-type", port, "router")
            self._nbctl("lsp-set-addresses", port, "router")
            self._nbctl("lsp-set-options", port, f"router-port=router-{network}")
            for place in inside:
                self._nbctl("lsp-add", network, place.name)
                self._nbctl("lsp-set-addresses", place.name, f"{place.mac} {place.ip}")

    def _bound(self) -> bool:
        for process in self._daemons:
            if not process.alive:
                raise LabError(f"{process.identity.name} ended: {process.output().strip()[-2000:]}")
        return all(self._nbctl("lsp-get-up", name).strip() == "up" for name in self.fabric.places)

    def wait(self) -> None:
        """Until every chassis holds what the databases say (ovn-nbctl(8), --wait=hv)."""
        self._nbctl("--wait=hv", "sync")

    # -- the service -------------------------------------------------------------------------------------------

    def serve(self, providers: Iterable[str]) -> None:
        """Have the service, with these providers; and wait for it."""
        new = self._now is None
        self._balance(tuple(providers))
        if new:
            self._nbctl("ls-lb-add", "clients", "app")
        self.wait()

    def alone(self) -> None:
        """Have no service; and wait for it."""
        if self._now is not None:
            self._nbctl("lb-del", "app")
            self._now = None
        self.wait()

    def change(self, provider: str, serves: bool) -> None:
        """What is timed: the load balancer with one server more, or less."""
        others = tuple(name for name in self._now or () if name != provider)
        self._balance((*others, provider) if serves else others)

    def _balance(self, providers: tuple[str, ...]) -> None:
        servers = ",".join(f"{self.fabric.places[name].ip}:{TARGET}" for name in providers)
        self._nbctl("--may-exist", "lb-add", "app", f"{ADDRESS}:{PORT}", servers)
        self._now = providers

    def _nbctl(self, *words: str) -> str:
        """A command of ovn-nbctl(8), by its daemon's socket (JSON-RPC, method `run`)."""
        self._control.sendall(json.dumps({"method": "run", "params": list(words), "id": 1}).encode())
        text = ""
        while True:
            piece = self._control.recv(1 << 16)
            text += piece.decode()
            try:
                reply = json.loads(text)
                break
            except json.JSONDecodeError:
                if not piece:
                    raise LabError(f"ovn-nbctl ended during {' '.join(words)}; see {self._home}/nbctl.log") from None
        if reply.get("error") is not None:
            raise LabError(f"ovn-nbctl {' '.join(words)}: {reply['error']}")
        return str(reply["result"])
