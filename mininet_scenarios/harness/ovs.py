"""An Open vSwitch of the lab's own: a database and a vswitchd in a temporary OVS_RUNDIR.

Userspace datapath only: the kernel's is one for the whole machine, so a second vswitchd beside a system
one would fight for its ports. Nothing of a system Open vSwitch is read or touched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from mininet_scenarios.harness.processes import Processes, run
from mininet_scenarios.harness.state import LabError

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
OPENFLOW = "OpenFlow13"


class PrivateOvs:
    """Running daemons. While they run, os.environ names them, so that Mininet's ovs-vsctl finds them."""

    VARIABLES = ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR")

    def __init__(self, directory: Path, processes: Processes) -> None:
        if not SCHEMA.exists():
            raise LabError(f"{SCHEMA} is missing: Open vSwitch is not installed; run `make build`")
        directory.mkdir()
        self.directory = directory
        self._before = {name: os.environ.get(name) for name in self.VARIABLES}
        os.environ.update(dict.fromkeys(self.VARIABLES, str(directory)))
        database, socket = directory / "conf.db", directory / "db.sock"
        run(["ovsdb-tool", "create", str(database), str(SCHEMA)])
        server = processes.start(
            "ovsdb-server", ["ovsdb-server", str(database), f"--remote=punix:{socket}", "--pidfile"]
        )
        self._await(server.log, socket)
        run(["ovs-vsctl", "--no-wait", "init"])
        self.vswitchd = processes.start(
            "ovs-vswitchd", ["ovs-vswitchd", f"unix:{socket}", "--pidfile", "--disable-system"]
        )
        self._await(self.vswitchd.log, directory / "ovs-vswitchd.pid")
        run(["ovs-vsctl", "--timeout=10", "show"])

    @staticmethod
    def _await(log: Path, appears: Path) -> None:
        from mininet_scenarios.harness.processes import wait_for

        wait_for(f"{appears.name} (see {log})", appears.exists)

    def forget(self) -> None:
        """Give the environment back as it was."""
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def alive(self) -> bool:
        """Does vswitchd still answer? (A crashed one may linger as a zombie, so its number says nothing.)"""
        try:
            run(["ovs-appctl", "--timeout=5", "version"])
        except LabError:
            return False
        return True


def port_numbers() -> Mapping[str, int]:
    """The OpenFlow port number Open vSwitch gave each interface, by interface name."""
    text = run(
        [
            "ovs-vsctl",
            "--timeout=10",
            "--format=csv",
            "--no-headings",
            "--data=bare",
            "--columns=name,ofport",
            "list",
            "Interface",
        ]
    )
    rows = (line.split(",") for line in text.splitlines())
    return {name: int(number) for name, number in rows if number}


def connected(bridges: Iterable[str]) -> Mapping[str, bool]:
    """Whether each of these bridges has a controller that it is connected to."""
    found = {}
    for bridge in bridges:
        states = run(["ovs-vsctl", "--timeout=10", "--", "get", "Bridge", bridge, "Controller"]).strip(
            "[]\n "
        )
        found[bridge] = any(
            run(["ovs-vsctl", "--timeout=10", "get", "Controller", uuid.strip(), "is_connected"]).strip()
            == "true"
            for uuid in states.split(",")
            if uuid.strip()
        )
    return found


def dump_flows(bridge: str) -> list[str]:
    """The bridge's flows as ovs-ofctl prints them, without counters, sorted: equal lists, equal behaviour."""
    text = run(["ovs-ofctl", "-O", OPENFLOW, "--no-stats", "dump-flows", bridge])
    return sorted(line.strip() for line in text.splitlines() if "actions=" in line)


def dump_groups(bridge: str) -> list[str]:
    """The bridge's groups as ovs-ofctl prints them, sorted by text."""
    text = run(["ovs-ofctl", "-O", OPENFLOW, "dump-groups", bridge])
    return sorted(line.strip() for line in text.splitlines() if re.search(r"group_id=", line))


def connections_tracked() -> list[str]:
    """What conntrack of the userspace datapath holds, one connection a line."""
    return [line for line in run(["ovs-appctl", "--timeout=10", "dpctl/dump-conntrack"]).splitlines() if line.strip()]


def dropped_in_table(bridge: str, table: int) -> int:
    """Packets that flows of this table which do nothing have counted so far."""
    # counters in Open vSwitch's cache are added to the flows' own now and then; this does it now
    run(["ovs-appctl", "--timeout=10", "revalidator/purge"])
    text = run(["ovs-ofctl", "-O", OPENFLOW, "dump-flows", bridge, f"table={table}"])
    found = re.finditer(r"n_packets=(\d+).*actions=drop", text)
    return sum(int(flow[1]) for flow in found)
