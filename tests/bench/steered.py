"""The bench's fabric steered by this project: leaves around a spine, a bridge a switch, one chain-manager."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable

from bench.fabric import MANAGER, Fabric
from mininet_scenarios.harness.controller import API_PORT, OPENFLOW_PORT, ControllerProcess
from mininet_scenarios.harness.processes import wait_for
from mininet_scenarios.harness.state import LabError

ADDRESS, PORT, TARGET = "100.1.1.3", 8080, 80  # of the service, and where its providers listen
HOST_PORT = 100  # port numbers of hosts, on a leaf, begin after this one


class Steered:
    """Running. The last switch of the fabric is the spine. Hosts `p…` are endpoints whose label `app=yes` makes them
    providers of the one service."""

    name = "Chainsteer"

    def __init__(self, fabric: Fabric) -> None:
        """Build bridges and cables, start the controller, and wait until every switch holds its policy."""
        self.fabric = fabric
        *self._leaves, self._spine = fabric.switches
        self._ports = {place.name: HOST_PORT + n for n, place in enumerate(fabric.places.values(), 1)}
        topology, policy = fabric.out / "topology.yaml", fabric.out / "base.yaml"
        topology.write_text(json.dumps(self._topology()), encoding="utf-8")
        policy.write_text(json.dumps(self._policy()), encoding="utf-8")
        self.controller = ControllerProcess(
            fabric.processes, topology, [policy], fabric.out / "state", ["--ofp-listen-host", MANAGER]
        )
        self.controller.wait_listening()
        self._wire()
        wait_for("every switch to connect to the controller", self._connected, 60, 0.2)
        self.controller.wait_ready(60)
        self._connection = http.client.HTTPConnection("127.0.0.1", API_PORT, timeout=60)

    def _wire(self) -> None:
        pid = self.fabric.pid
        self.fabric.batch([
            f"link add cable netns {pid(leaf)} type veth peer name down{n} netns {pid(self._spine)}"
            for n, leaf in enumerate(self._leaves, 1)
        ])  # fmt: skip
        downs = {f"down{n}": n for n in range(1, len(self._leaves) + 1)}
        self._bridge(self._spine, downs)
        for leaf in self._leaves:
            hosts = {name: number for name, number in self._ports.items() if self.fabric.places[name].switch == leaf}
            self._bridge(leaf, {"cable": 1, **hosts})

    def _bridge(self, switch: str, ports: dict[str, int]) -> None:
        dpid = self.fabric.switches.index(switch) + 1
        words = ["add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev", "fail_mode=secure",
                 "protocols=OpenFlow10,OpenFlow13", f"other-config:datapath-id={dpid:016x}"]  # fmt: skip
        for name, number in ports.items():
            words += ["--", "add-port", "br0", name, "--", "set", "Interface", name, f"ofport_request={number}"]
        words += ["--", "set-controller", "br0", f"tcp:{MANAGER}:{OPENFLOW_PORT}", "--",
                  "set", "Controller", "br0", "connection-mode=out-of-band", "max-backoff=1000"]  # fmt: skip
        if links := [name for name in ports if name not in self._ports]:
            self.fabric.on(switch, "sh", "-c", "; ".join(f"ip link set {name} up" for name in links))
        self.fabric.vsctl(switch, *words)

    def _connected(self) -> bool:
        return all(
            self.fabric.vsctl(switch, "get", "Controller", "br0", "is_connected").strip() == "true"
            for switch in self.fabric.switches
        )

    def _topology(self) -> dict[str, object]:
        links = [[f"{leaf}:1", f"{self._spine}:{n}"] for n, leaf in enumerate(self._leaves, 1)]
        hosts = {
            place.name: {"attach": f"{place.switch}:{self._ports[place.name]}", "ip": place.ip, "mac": place.mac}
            for place in self.fabric.places.values()
        }
        switches = {name: {"dpid": number} for number, name in enumerate(self.fabric.switches, 1)}
        return {"version": 1, "switches": switches, "links": links, "hosts": hosts}

    def _policy(self) -> dict[str, object]:
        """Networks and endpoints, and nothing in front of them."""
        found, endpoints = {}, {}
        for place in self.fabric.places.values():
            network = place.network
            subnet = place.gateway.removesuffix(".254") + ".0/24"
            found[network] = {"subnet": subnet, "gateway": place.gateway}
            endpoints[place.name] = {"host": place.name, "network": network}
        return {"version": 1, "networks": found, "endpoints": endpoints}

    # -- the service -----------------------------------------------------------------------------------------

    def serve(self, providers: Iterable[str]) -> None:
        """Have the service, with these providers; and wait for it."""
        policy = self._policy()
        endpoints = policy["endpoints"]
        assert isinstance(endpoints, dict)
        for name in providers:
            endpoints[name]["labels"] = {"app": "yes"}
        policy["networks"]["vips"] = {"subnet": "100.1.1.0/24", "kind": "service"}  # type: ignore[index]
        policy["services"] = {
            "app": {"network": "vips", "ip": ADDRESS, "selector": "app=yes", "ports": [f"{PORT}:{TARGET}/tcp"]}
        }
        self._apply(policy)

    def alone(self) -> None:
        """Have no service; and wait for it."""
        self._apply(self._policy())

    def change(self, provider: str, serves: bool) -> None:
        """What is timed: a label."""
        body = json.dumps({"app": "yes" if serves else None})
        self._ask("POST", f"/api/v1/endpoints/{provider}/labels", body)

    def _apply(self, policy: dict[str, object]) -> None:
        self._ask("PUT", "/api/v1/policies/base", json.dumps(policy))
        self.controller.wait_ready(60)

    def _ask(self, method: str, path: str, body: str) -> None:
        self._connection.request(method, path, body, {"Content-Type": "application/json"})
        reply = self._connection.getresponse()
        text = reply.read().decode(errors="replace")
        if reply.status >= 300:
            raise LabError(f"{method} {path}: {reply.status}: {text}")
