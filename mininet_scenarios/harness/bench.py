"""Two firewalls, an IDS, web servers and witnesses, set up and running: what a steering lab works on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import yaml

from mininet_scenarios.harness.controller import chainctl
from mininet_scenarios.harness.evidence import Arms
from mininet_scenarios.harness.functions import Detector, TransparentFirewall
from mininet_scenarios.harness.lab import Lab
from mininet_scenarios.harness.state import LabError
from mininet_scenarios.harness.traffic import Outcome, connect


class Bench:
    """The lab's functions, servers and witnesses, all running, and the client's end of the wire."""

    def __init__(
        self,
        lab: Lab,
        *,
        firewalls: Iterable[str],
        drop_ports: tuple[int, ...],
        tap: str,
        signature: str,
        clients: Iterable[str],
        servers: Mapping[str, tuple[int, ...]],
        service: tuple[str, int],
    ) -> None:
        """Set everything up and wait until it runs.

        `firewalls` are two-armed hosts that drop TCP `drop_ports`; `tap` is the host of the detector, which
        looks for the regular expression `signature`; `clients` are hosts whose wire is recorded; `servers`
        are hosts and the TCP ports they answer on; `service` is the address and port clients connect to.
        """
        if lab.policy_file is None:
            raise LabError("this lab needs a policy")
        self.lab, self.network, self.checks = lab, lab.network, lab.checks
        self.service = service
        self._policy_file = lab.policy_file
        self._policies = lab.out / "policies"
        self._policies.mkdir()
        lab.say("starting servers, firewalls, the IDS and witnesses")
        self.firewalls = {name: TransparentFirewall(lab.network, name, drop_ports) for name in firewalls}
        self.ids = Detector(lab.network, lab.processes, tap, signature, "tcp")
        self.arms = {name: Arms(lab.capture(name, "in"), lab.capture(name, "out")) for name in self.firewalls}
        self.seen_by_client = {name: lab.capture(name) for name in clients}
        self.seen_by_ids = lab.capture(tap)
        self.servers = {name: lab.web_server(name, *ports) for name, ports in servers.items()}
        captures = [capture for arms in self.arms.values() for capture in (arms.inner, arms.outer)]
        for capture in (*captures, *self.seen_by_client.values(), self.seen_by_ids):
            capture.ready()
        for server in self.servers.values():
            server.ready()

    def browse(
        self, client: str, source_ports: Iterable[int], port: int | None = None, **options: Any
    ) -> list[Outcome]:
        """Connections to the service, on its first port unless told otherwise; options as for `connect`."""
        address, usual = self.service
        return connect(self.network, client, address, port or usual, source_ports, **options)

    def firewall_packets(self) -> int:
        """Packets that any firewall passed or dropped so far, by nftables' own count."""
        return sum(sum(firewall.packets().values()) for firewall in self.firewalls.values())

    def apply(self, name: str, change: Callable[[dict[str, Any]], None] | None) -> None:
        """Replace the running policy by a changed copy of the lab's (None: by the lab's own)."""
        policy = yaml.safe_load(self._policy_file.read_text(encoding="utf-8"))
        if change is not None:
            change(policy)
        file = self._policies / f"{name}.yaml"
        file.write_text(yaml.safe_dump(policy, sort_keys=False), encoding="utf-8")
        self.lab.say(f"chainctl apply {file.name}")
        chainctl("apply", str(file), "--name", self._policy_file.stem)
        if self.lab.controller is not None:
            self.lab.controller.wait_ready()
