"""What names refer to, and what must fit within one tenant: references, addresses, ports, chains.

Works on entries, which know their document, so that every problem is placed at the very value.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from controller_app.model.policy import Chain, Classifier, Endpoint, Network, Party, Service
from controller_app.model.position import Position
from controller_app.model.topology import IPAddress, IPNetwork
from controller_app.policy.diagnostics import Findings, Path, meant
from controller_app.policy.reading import ALL
from controller_app.policy.yaml_positions import Document

Entries = Mapping[str, Mapping[str, "Entry"]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a file: where it is, and what became of it."""

    document: Document
    path: Path
    value: Any

    @property
    def position(self) -> Position:
        return self.document.locate(self.path)

    @property
    def where(self) -> Position:
        """Where the object begins: its key, or the item of a list."""
        return self.document.locate(self.path, key=True)

    def at(self, *rest: str | int, key: bool = False) -> Position:
        return self.document.locate((*self.path, *rest), key=key)

    def walk(self, *rest: str | int, key: bool = False) -> tuple[str, Position]:
        return self.document.walk((*self.path, *rest), key=key)


def check_tenant(entries: Entries, faulty: Mapping[str, Set[str]], findings: Findings) -> None:
    """Check one tenant. `faulty` names what is declared but could not be read: that is not unknown."""
    checker = _Checker(entries, faulty, findings)
    for entry in entries["networks"].values():
        checker.network(entry)
    checker.overlaps()
    for entry in entries["endpoints"].values():
        checker.endpoint(entry)
    for entry in entries["chains"].values():
        checker.chain(entry)
    for entry in entries["classifiers"].values():
        checker.classifier(entry)
    for entry in entries["services"].values():
        checker.service(entry)


class _Checker:
    def __init__(self, entries: Entries, faulty: Mapping[str, Set[str]], findings: Findings) -> None:
        self.entries = entries
        self.faulty = faulty
        self.findings = findings

    def problem(self, entry: Entry, rest: Path, what: str, remedy: str) -> None:
        path, position = entry.walk(*rest)
        self.findings.error(position, path, what, remedy)

    def known(self, section: str, name: str, entry: Entry, rest: Path) -> bool:
        """Is there such an object? Says so where there is not."""
        if name in self.entries[section]:
            return True
        broken = self.faulty[section]
        if name not in broken and ALL not in broken:
            names = [*self.entries[section], *broken]
            self.problem(
                entry,
                rest,
                f"no {section[:-1]} named {name!r}",
                meant(name, names, f"declare it under `{section}:`"),
            )
        return False

    def network(self, entry: Entry) -> None:
        network: Network = entry.value
        self.one_a_family(entry, "subnet", network.subnets)
        self.one_a_family(entry, "gateway", network.gateways)
        for index, gateway in enumerate(network.gateways):
            subnet = next((item for item in network.subnets if gateway in item), None)
            if subnet is None:
                self.problem(
                    entry,
                    ("gateway", index),
                    f"gateway {gateway} is outside {_list(network.subnets)}",
                    "write an address of the subnet",
                )
            elif (
                subnet.version == 4
                and subnet.prefixlen < 31
                and gateway in (subnet.network_address, subnet.broadcast_address)
            ):
                self.problem(
                    entry,
                    ("gateway", index),
                    f"gateway {gateway} is the network or broadcast address",
                    "write another address of the subnet",
                )

    def overlaps(self) -> None:
        """Two networks of one kind with common addresses: a host would be in both. A pool of service
        addresses may lie within a network of hosts."""
        seen: list[tuple[Entry, IPNetwork]] = []
        for entry in self.entries["networks"].values():
            for index, subnet in enumerate(entry.value.subnets):
                for other, taken in seen:
                    if (
                        other is not entry
                        and other.value.kind == entry.value.kind
                        and taken.version == subnet.version
                        and taken.overlaps(subnet)
                    ):
                        self.problem(
                            entry,
                            ("subnet", index),
                            f"{subnet} overlaps {taken} of network {other.value.name!r} ({other.where})",
                            "give each network addresses of its own",
                        )
                seen.append((entry, subnet))

    def endpoint(self, entry: Entry) -> None:
        endpoint: Endpoint = entry.value
        if endpoint.network is not None and self.known("networks", endpoint.network, entry, ("network",)):
            network: Network = self.entries["networks"][endpoint.network].value
            if network.kind == "service":
                self.problem(
                    entry,
                    ("network",),
                    f"network {network.name!r} is a pool of service addresses",
                    "put the endpoint into a network of kind hosts",
                )

    def chain(self, entry: Entry) -> None:
        chain: Chain = entry.value
        for index, name in enumerate(chain.through):
            self.known("functions", name, entry, ("through", index))
            if name in chain.through[:index]:
                self.problem(
                    entry,
                    ("through", index),
                    f"function {name!r} is in the chain twice",
                    "name each function once",
                )

    def classifier(self, entry: Entry) -> None:
        classifier: Classifier = entry.value
        for side, party in (("from", classifier.source), ("to", classifier.destination)):
            self.party(entry, side, party)
        if classifier.then.chain is not None:
            self.known("chains", classifier.then.chain, entry, ("then", "chain"))

    def party(self, entry: Entry, side: str, party: Party) -> None:
        if party.kind == "service" and side == "from":
            self.problem(
                entry,
                (side, "service"),
                "a service cannot be the source of traffic",
                "name the host, network or endpoint that connects",
            )
        elif party.kind in ("network", "endpoint", "service"):
            self.known(f"{party.kind}s", str(party.value), entry, (side, party.kind))

    def service(self, entry: Entry) -> None:
        service: Service = entry.value
        self.one_a_family(entry, "ip", service.ips)
        seen: set[tuple[int, str]] = set()
        for index, port in enumerate(service.ports):
            if (port.port, port.protocol) in seen:
                self.problem(
                    entry,
                    ("ports", index),
                    f"port {port.port}/{port.protocol} is written twice",
                    "keep one target for each port",
                )
            seen.add((port.port, port.protocol))
        if not self.known("networks", service.network, entry, ("network",)):
            return
        network: Network = self.entries["networks"][service.network].value
        if network.kind != "service":
            self.problem(
                entry,
                ("network",),
                f"network {network.name!r} is not a pool of service addresses",
                f"add `kind: service` to {network.name!r}, or name another network",
            )
        for index, address in enumerate(service.ips):
            if not any(address in subnet for subnet in network.subnets):
                self.problem(
                    entry,
                    ("ip", index),
                    f"{address} is outside {_list(network.subnets)}, the addresses of "
                    f"network {network.name!r}",
                    "write an address of it, or leave `ip` out",
                )

    def one_a_family(
        self, entry: Entry, key: str, values: tuple[IPAddress, ...] | tuple[IPNetwork, ...]
    ) -> None:
        families: set[int] = set()
        for index, value in enumerate(values):
            if value.version in families:
                self.problem(
                    entry, (key, index), f"a second {key} of IPv{value.version}", "write one a family"
                )
            families.add(value.version)


def _list(values: tuple[IPNetwork, ...]) -> str:
    return " and ".join(str(item) for item in values)
