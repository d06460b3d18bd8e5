"""Programs that make hosts of a lab what the policy says they are: NSH functions, proxies, and VLAN tags.

Routers, translators and wires need none: Linux does that by itself (see `host_setup`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from controller_app.model.topology import Topology
from mininet_scenarios.harness.host_setup import PROXY_PORT, cable, interface
from mininet_scenarios.harness.net import LabNetwork
from mininet_scenarios.harness.processes import Process, Processes
from mininet_scenarios.harness.traffic import PROGRAMS, PYTHON

NSH_AT = 14  # bytes of the outer Ethernet header


class NshHeader(NamedTuple):
    """What an NSH says (RFC 8300 2.2, 2.3)."""

    ttl: int
    path: int  # service path identifier
    service: int  # service index
    metadata: bytes

    @staticmethod
    def of(frame: bytes) -> NshHeader:
        header = frame[NSH_AT:]
        length = (header[1] & 0x3F) * 4
        return NshHeader(
            (header[0] & 0x0F) << 2 | header[1] >> 6, int.from_bytes(header[4:7], "big"), header[7], header[8:length]
        )


class NshFunction:
    """A function that speaks NSH itself; its program writes down every frame."""

    def __init__(self, network: LabNetwork, processes: Processes, name: str, arms: Sequence[str], logs: Path) -> None:
        self.name, self.log = name, logs / f"nsh-{name}.jsonl"
        self.process: Process = processes.start(
            f"nsh-{name}",
            [*PYTHON, str(PROGRAMS / "nsh_function.py"), str(self.log), *map(interface, arms)],
            network.pid(name),
        )
        self.process.wait_for_output("listening")

    def frames(self) -> list[dict[str, Any]]:
        """One entry a frame: `arm`, `got` and `sent` (bytes up to the end of the NSH, `sent` None where the frame was
        not sent on), `inner` (the first bytes of what is inside), `why` (what was wrong with it, or None)."""
        if not self.log.exists():
            return []
        rows = [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]
        return [
            {
                **row,
                "got": bytes.fromhex(row["got"]),
                "sent": bytes.fromhex(row["sent"]) if row["sent"] else None,
                "inner": bytes.fromhex(row["inner"]),
            }
            for row in rows
        ]


class TcpProxy:
    """A terminating proxy; its program writes down every connection."""

    def __init__(self, network: LabNetwork, processes: Processes, name: str, logs: Path) -> None:
        self.name, self.log = name, logs / f"proxy-{name}.jsonl"
        self.process: Process = processes.start(
            f"proxy-{name}", [*PYTHON, str(PROGRAMS / "proxy.py"), str(PROXY_PORT), str(self.log)], network.pid(name)
        )
        self.process.wait_for_output("listening")

    def connections(self) -> list[dict[str, Any]]:
        """One entry a connection: `client`, `client_port`, `to`, `to_port`, and the proxy's `own_port`."""
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]


class Instances:
    """Every running program of this kind in a lab, by host."""

    def __init__(self, topology: Topology, network: LabNetwork, processes: Processes, directory: Path) -> None:
        """Start them all. Their logs go to `directory`, so that they outlive the lab."""
        self.nsh: Mapping[str, NshFunction] = {
            name: NshFunction(network, processes, name, tuple(topology.hosts[name].attach), directory)
            for name, function in network.functions.items()
            if function.mode == "nsh"
        }
        self.proxies: Mapping[str, TcpProxy] = {
            name: TcpProxy(network, processes, name, directory)
            for name, function in network.functions.items()
            if function.mode == "translating" and function.kind == "proxy"
        }
        for host in topology.hosts.values():
            if host.vlan is not None:
                words = [cable(host, ""), interface(""), str(host.vlan)]
                tagger = processes.start(
                    f"tagger-{host.name}", [*PYTHON, str(PROGRAMS / "tagger.py"), *words], network.pid(host.name)
                )
                tagger.wait_for_output("tagging")
