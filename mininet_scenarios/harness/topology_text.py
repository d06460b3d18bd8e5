"""A topology written as a file the controller reads: what a lab really built, invented hosts included."""

from __future__ import annotations

from pathlib import Path

import yaml

from controller_app.model.topology import Host, IPAddress, Link, Switch, Topology


def write_topology(topology: Topology, path: Path) -> None:
    """Write it so that `Topology.load` reads an equal one (latencies, bandwidths and coordinates apart)."""
    document = {
        "version": 1,
        "switches": {name: _switch(switch) for name, switch in topology.switches.items()},
        "links": [_link(link) for link in topology.links],
        "hosts": {name: _host(host) for name, host in topology.hosts.items()},
    }
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def _switch(switch: Switch) -> dict[str, object]:
    places = {"rack": switch.rack, "zone": switch.zone, "region": switch.region}
    return {"dpid": f"{switch.dpid:#x}", **{key: value for key, value in places.items() if value is not None}}


def _link(link: Link) -> dict[str, object]:
    return {
        "ends": [str(link.a), str(link.b)],
        "cost": link.cost,
        **({"kind": link.kind} if link.kind != "wire" else {}),
        **({"mtu": link.mtu} if link.mtu is not None else {}),
    }


def _host(host: Host) -> dict[str, object]:
    attach: object
    if "" in host.attach:
        attach = str(host.attach[""])
    else:
        arms: dict[str, dict[str, object]] = {arm: {"port": str(end)} for arm, end in host.attach.items()}
        if "out" in arms:
            arms["out"].update(_addresses(host.out_mac, host.out_ips))
        attach = {arm: spec if len(spec) > 1 else spec["port"] for arm, spec in arms.items()}
    return {
        "attach": attach,
        **_addresses(host.mac, host.ips),
        **({"prefixes": [str(prefix) for prefix in host.prefixes]} if host.prefixes else {}),
        **({"vlan": host.vlan} if host.vlan is not None else {}),
    }


def _addresses(mac: str | None, ips: tuple[IPAddress, ...]) -> dict[str, object]:
    return {**({"ip": [str(ip) for ip in ips]} if ips else {}), **({"mac": mac} if mac else {})}
