"""The service functions of a lab, made of what Debian ships: nftables on a Linux bridge, and ngrep."""

from __future__ import annotations

import json
from pathlib import Path

from mininet_scenarios.harness.net import LabNetwork
from mininet_scenarios.harness.processes import Process, Processes

_RULES = """
table bridge edge {{
  counter dropped {{ }}
  counter passed {{ }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    ether type ip tcp dport {{ {ports} }} counter name "dropped" drop
    ether type ip tcp sport {{ {ports} }} counter name "dropped" drop
    ether type ip counter name "passed"
  }}
}}
"""


class TransparentFirewall:
    """A two-armed host with nftables on the bridge between its arms: no address, and nothing is changed."""

    def __init__(self, network: LabNetwork, name: str, drop_ports: tuple[int, ...]) -> None:
        self.name = name
        self._pid, self._network = network.pid(name), network
        self._load(_RULES.format(ports=", ".join(map(str, drop_ports))))

    def _load(self, rules: str) -> None:
        from mininet_scenarios.harness.processes import run

        run(["nft", "-f", "-"], self._pid, stdin=rules)

    def open_all(self) -> None:
        """Remove the dropping rules; what is left counts and passes everything."""
        self._load(
            "flush chain bridge edge forward\n"
            'add rule bridge edge forward ether type ip counter name "passed"\n'
        )

    def close(self, *ports: int) -> None:
        """Put the dropping rules back, for these TCP ports."""
        self._load("delete table bridge edge\n" + _RULES.format(ports=", ".join(map(str, ports))))

    def packets(self) -> dict[str, int]:
        """IPv4 packets `dropped` and `passed` so far, by nftables' own count."""
        text = self._network.on(self.name, "nft", "-j", "list", "counters", "table", "bridge", "edge")
        return {
            item["counter"]["name"]: item["counter"]["packets"]
            for item in json.loads(text)["nftables"]
            if "counter" in item
        }


class Detector:
    """ngrep on a tap: writes every packet whose payload matches the pattern to its log."""

    def __init__(
        self, network: LabNetwork, processes: Processes, name: str, pattern: str, traffic: str
    ) -> None:
        """`pattern` is a regular expression, `traffic` a capture filter (pcap-filter(7))."""
        self.name = name
        self._process: Process = processes.start(
            f"ngrep-{name}",
            ["ngrep", "-l", "-q", "-t", "-i", "-d", "eth0", "-W", "single", pattern, traffic],
            network.pid(name),
        )
        self._process.wait_for_output("interface:")

    @property
    def log(self) -> Path:
        return self._process.log

    def alerts(self) -> list[str]:
        """The packets that matched: time, addresses and payload on one line each."""
        return [line for line in self._process.output().splitlines() if line.startswith("T ")]

    def crash(self) -> None:
        """End it without a word."""
        self._process.kill()
