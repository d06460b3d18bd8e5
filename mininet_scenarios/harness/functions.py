"""The service functions of a lab, made of what Debian ships: nftables on a Linux bridge, and ngrep."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mininet_scenarios.harness.net import LabNetwork
from mininet_scenarios.harness.processes import Process, Processes, run

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


class Tally:
    """Counters of what an instance passes, by nftables: on a wire's bridge, or in a router."""

    def __init__(
        self, network: LabNetwork, name: str, conditions: Mapping[str, Sequence[str]], family: str = "bridge"
    ) -> None:
        """`conditions` are matches in nftables' language, any of them, by the name of their counter; `family` is
        `bridge` for transparent instances, `inet` for routers."""
        self.name, self._family = name, family
        self._network = network
        counters = "".join(f"counter {key} {{ }}\n" for key in conditions)
        rules = "".join(f'{match} counter name "{key}"\n' for key, any_of in conditions.items() for match in any_of)
        chain = f"chain passing {{ type filter hook forward priority -10; policy accept;\n{rules}}}\n"
        run(["nft", "-f", "-"], network.pid(name), stdin=f"table {family} tally {{\n{counters}{chain}}}\n")

    def read(self, key: str) -> tuple[int, int]:
        """Packets and bytes (from the network header on) that the counter saw so far."""
        text = self._network.on(self.name, "nft", "-j", "list", "counters", "table", self._family, "tally")
        found = {item["counter"]["name"]: item["counter"] for item in json.loads(text)["nftables"] if "counter" in item}
        return int(found[key]["packets"]), int(found[key]["bytes"])
