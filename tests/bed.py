"""A whole network on dummy Open vSwitch: switches real, hosts and functions played by the test."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from bed_players import players
from dummy_ovs import DummyOvs

from controller_app.model.flow import FlowState
from controller_app.model.policy import Policy
from controller_app.model.topology import End, Link, Topology
from controller_app.pipeline.ofctl import format_meters, format_state


@dataclass
class Seen:
    """What left the switches: frames by (host, arm). A function's frames are those it was handed."""

    frames: dict[tuple[str, str], list[bytes]] = field(default_factory=lambda: defaultdict(list))

    def at(self, host: str, arm: str = "") -> list[bytes]:
        return self.frames.get((host, arm), [])

    def hosts(self) -> set[str]:
        return {host for (host, _), frames in self.frames.items() if frames}


class Bed:
    """Bridges, patch ports for links, a dummy port for every arm of every host."""

    def __init__(self, ovs: DummyOvs, topology: Topology, policy: Policy, cables: bool = False) -> None:
        """cables: links that can be down, at the cost of more time for a frame to arrive."""
        self.ovs = ovs
        self._cables = cables
        self._filled: set[str] = set()  # switches that have flows
        self.topology = topology
        self.bridges = {name: f"b{number}" for number, name in enumerate(topology.switches)}
        self.ports: dict[tuple[str, str], str] = {}
        self.players = players(topology, policy)
        with ovs.transaction():
            for name, switch in topology.switches.items():
                ovs.add_bridge(self.bridges[name], switch.dpid)
            for link in topology.links:
                assert isinstance(link.a.port, int)
                assert isinstance(link.b.port, int)
                connect = ovs.cable if cables else ovs.patch
                connect(self.bridges[link.a.switch], link.a.port, self.bridges[link.b.switch], link.b.port)
            shared: dict[End, str] = {}
            for number, host in enumerate(topology.hosts.values()):
                for arm, end in host.attach.items():
                    assert isinstance(end.port, int)
                    port = f"p{number}{arm}"
                    if end not in shared:  # what comes out of a port is seen by the first of its hosts
                        ovs.add_port(self.bridges[end.switch], port, end.port, tx_pcap=True)
                    self.ports[host.name, arm] = shared.setdefault(end, port)

    def load(self, state: FlowState) -> None:
        """Fill the bridges with plain ovs-ofctl, no controller anywhere."""
        for name, held in state.items():
            self._fill(name, *format_state(held), format_meters(held))

    def load_files(self, folder: Path) -> None:
        """The same from what `chainctl compile -o ovs --out FOLDER` wrote."""
        for name in self.topology.switches:
            files = [folder / f"{name}.{kind}" for kind in ("flows", "groups", "meters")]
            self._fill(name, *(file.read_text() if file.exists() else "" for file in files))

    def _fill(self, name: str, flows: str, groups: str, meters: str) -> None:
        bridge = self.bridges[name]
        if name in self._filled:
            for command in ("del-flows", "del-groups", "del-meters"):
                self.ovs.ofctl(command, bridge)
        self._filled.add(name)
        for meter in meters.splitlines():
            self.ovs.ofctl("add-meter", bridge, meter)
        if groups:
            self.ovs.ofctl("add-groups", bridge, "-", stdin=groups)
        self.ovs.ofctl("add-flows", bridge, "-", stdin=flows)
        self.ovs.purge()  # what the datapath had cached answers no more

    def set_link(self, link: Link, state: str) -> None:
        """Both ends of a cable "up" or "down"."""
        for end in (link.a, link.b):
            bridge = self.bridges[end.switch]
            self.ovs.ofctl("mod-port", bridge, f"{bridge}-{end.port}", state)

    def send(self, host: str, *frames: bytes, arm: str = "") -> Seen:
        """Frames from a host, and everything that came of them, with functions played (`bed_players`). They meet the
        flows that the switches hold by now."""
        self.ovs.follow_flows()
        seen = Seen()
        for start in range(0, len(frames), 20):
            self.ovs.receive(self.ports[host, arm], *frames[start : start + 20])
            while self._round(seen):
                pass
        return seen

    def _round(self, seen: Seen) -> bool:
        busy = False
        if self._cables:
            time.sleep(0.07)  # what a frame may need for its way over sockets
        self.ovs.settle()
        for (host, arm), port in self.ports.items():
            frames = self.ovs.sent(port, 0)
            seen.frames[host, arm] += frames
            play = self.players.get(host)
            for answered, answer in [found for frame in frames for found in play(arm, frame)] if play else ():
                self.ovs.receive(self.ports[host, answered], answer)
                busy = True
        return busy
