"""What names refer to, and what must fit within one tenant: references, addresses, ports, chains.

Works on entries, which know their document, so that every problem is placed at the very value.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from ipaddress import IPv4Network, IPv6Network

from controller_app.model.policy import Chain, Classifier, Endpoint, Function, Network, Party, Segment, Service
from controller_app.model.topology import IPAddress, IPNetwork
from controller_app.modes import MODES
from controller_app.modes.mode import Mode
from controller_app.policy.branching import check_branches
from controller_app.policy.by_edges import check_by_edges
from controller_app.policy.diagnostics import Findings, Path, meant
from controller_app.policy.entries import Entries, Entry
from controller_app.policy.reading import ALL


def check_tenant(entries: Entries, faulty: Mapping[str, Set[str]], findings: Findings) -> None:
    """Check one tenant. `faulty` names what is declared but could not be read: that is not unknown."""
    checker = _Checker(entries, faulty, findings)
    for entry in entries["networks"].values():
        checker.network(entry)
    checker.overlaps()
    for entry in entries["endpoints"].values():
        checker.endpoint(entry)
    for entry in entries["segments"].values():
        checker.segment(entry)
    for entry in entries["functions"].values():
        checker.function(entry)
    for entry in entries["chains"].values():
        checker.chain(entry)
    for entry in entries["classifiers"].values():
        checker.classifier(entry)
    for entry in entries["services"].values():
        checker.service(entry)
    check_branches(entries, findings)


class _Checker:
    def __init__(self, entries: Entries, faulty: Mapping[str, Set[str]], findings: Findings) -> None:
        self.entries = entries
        self.faulty = faulty
        self.findings = findings
        self.prefixes: dict[tuple[str, IPNetwork], Entry] = {}  # of segments, by network

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
        if network.insert and network.kind == "service":
            self.problem(
                entry,
                ("insert",),
                "a pool of service addresses has no hosts whose traffic could leave it",
                "write `insert` at the network of the hosts",
            )
        self.inserted(entry, network.insert)

    def inserted(self, entry: Entry, names: tuple[str, ...]) -> None:
        """The functions that what leaves a network or segment goes through."""
        self.functions(entry, "insert", names, "list")
        modes: list[Mode] = []
        for index, name in enumerate(names):
            if name not in self.entries["functions"]:
                return
            modes.append(MODES[self.entries["functions"][name].value.mode])
            if modes[-1].cuts:
                self.problem(
                    entry,
                    ("insert", index),
                    f"function {name!r} changes addresses, so what it sends no longer comes from here",
                    "steer to it by a classifier with a chain, or insert another function",
                )
        if modes and not any(mode.on_path for mode in modes):
            path, position = entry.walk("insert")
            self.findings.warning(
                position,
                path,
                "only taps are inserted: what leaves is copied to them and nothing stands in its way",
                "add a function that is not a tap where one is meant",
            )

    def functions(self, entry: Entry, key: str, names: tuple[str, ...], what: str) -> None:
        """A list of functions: all are known, each is in it once."""
        for index, name in enumerate(names):
            self.known("functions", name, entry, (key, index))
            if name in names[:index]:
                self.problem(
                    entry, (key, index), f"function {name!r} is in the {what} twice", "name each function once"
                )

    def overlaps(self) -> None:
        """Two networks of one kind with common addresses: a host would be in both. A pool of service
        addresses may lie within a network of hosts."""
        every = [
            (subnet, number, index, entry)
            for number, entry in enumerate(self.entries["networks"].values())
            for index, subnet in enumerate(entry.value.subnets)
        ]
        # Of two prefixes that have addresses in common one holds the other, which comes later in this order.
        every.sort(key=lambda each: (each[3].value.kind, each[0].version, *_place(each[0]), *each[1:3]))
        found = []
        holding: list[tuple[IPNetwork, int, int, Entry]] = []  # the prefixes around, none twice, the nearest last
        for each in every:
            while holding and not _holds(holding[-1], each):
                holding.pop()
            other = next((one for one in reversed(holding) if one[3] is not each[3]), None)
            if other is not None:
                first, second = sorted((other, each), key=lambda one: one[1:3])
                found.append((second, first))
            if not holding or holding[-1][0] != each[0]:
                holding.append(each)
        for (subnet, _, index, entry), (taken, _, _, other_entry) in sorted(found, key=lambda pair: pair[0][1:3]):
            self.problem(
                entry,
                ("subnet", index),
                f"{subnet} overlaps {taken} of network {other_entry.value.name!r} ({other_entry.where})",
                "give each network addresses of its own",
            )

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

    def segment(self, entry: Entry) -> None:
        segment: Segment = entry.value
        self.inserted(entry, segment.insert)
        if not self.known("networks", segment.network, entry, ("network",)):
            return
        network: Network = self.entries["networks"][segment.network].value
        if network.kind == "service":
            self.problem(
                entry,
                ("network",),
                f"network {network.name!r} is a pool of service addresses",
                "name a network of kind hosts",
            )
        if segment.cidr is None:
            return
        if not any(_within(segment.cidr, subnet) for subnet in network.subnets):
            self.problem(
                entry,
                ("cidr",),
                f"{segment.cidr} is not inside {_list(network.subnets)}, the addresses of network {network.name!r}",
                "write a part of them",
            )
        other = self.prefixes.setdefault((segment.network, segment.cidr), entry)
        if other is not entry:
            self.problem(
                entry,
                ("cidr",),
                f"{segment.cidr} is segment {other.value.name!r} already ({other.where})",
                "keep one of them, or make one a part of the other",
            )

    def function(self, entry: Entry) -> None:
        function: Function = entry.value
        if function.handover == "original" and function.mode != "transparent":
            self.problem(
                entry,
                ("handover",),
                f"the handover is for transparent functions, and {function.name!r} is {function.mode}",
                "remove `handover`, or write `mode: transparent`",
            )
        path, position = entry.walk("on_failure")
        if not MODES[function.mode].on_path and path.endswith(".on_failure") and function.on_failure != "open":
            self.findings.error(
                position,
                path,
                f"function {function.name!r} is a {function.mode}: traffic passes whether it gets its copies or not",
                "remove `on_failure`, or give it a mode that traffic goes through",
            )

    def chain(self, entry: Entry) -> None:
        chain: Chain = entry.value
        self.functions(entry, "through", chain.through, "chain")
        if isinstance(chain.returns, tuple):
            self.functions(entry, "return", chain.returns, "way back")
            self.way_back(entry, chain, chain.returns)
        check_by_edges(entry, {name: each.value for name, each in self.entries["functions"].items()}, self.findings)

    def way_back(self, entry: Entry, chain: Chain, returns: tuple[str, ...]) -> None:
        """Replies are sent to the addresses of translating functions: to the last one of the way there first."""
        there = [name for name in chain.through if self.cuts(name)]
        back = [name for name in returns if self.cuts(name)]
        for index, name in enumerate(returns):
            if name in back and name not in chain.through:
                self.problem(
                    entry,
                    ("return", index),
                    f"function {name!r} changes addresses and is not on the way there: no reply is sent to it",
                    "leave it out of `return`, or put it into `through`",
                )
                return
        if back and back != there[::-1]:
            order = ", ".join(there[::-1])
            wrong = next((name for name, right in zip(back, there[::-1], strict=False) if name != right), back[-1])
            self.problem(
                entry,
                ("return", returns.index(wrong)),
                f"replies are sent to the addresses of {order}, in this order, and the list says {', '.join(back)}",
                f"name {order} in this order, or none of them: then the others are met before {there[-1]!r}",
            )

    def cuts(self, name: str) -> bool:
        """Whether it is a function that changes addresses."""
        return name in self.entries["functions"] and MODES[self.entries["functions"][name].value.mode].cuts

    def classifier(self, entry: Entry) -> None:
        classifier: Classifier = entry.value
        for side, party in (("from", classifier.source), ("to", classifier.destination)):
            self.party(entry, (side,), party)
        if classifier.then.chain is not None:
            self.known("chains", classifier.then.chain, entry, ("then", "chain"))
        if classifier.after is not None and self.known("functions", classifier.after, entry, ("after",)):
            function: Function = self.entries["functions"][classifier.after].value
            if not MODES[function.mode].on_path:
                self.problem(
                    entry,
                    ("after",),
                    f"function {function.name!r} is a {function.mode}: it gets copies, and nothing comes out of it",
                    "name a function that traffic goes through, or give this one another mode",
                )

    def party(self, entry: Entry, place: Path, party: Party) -> None:
        if party.kind == "service" and place != ("to",):
            self.problem(
                entry,
                (*place, "service"),
                "a service cannot be the source of traffic",
                "name the host, network or endpoint that connects",
            )
        elif party.kind in ("network", "segment", "endpoint", "service"):
            self.known(f"{party.kind}s", str(party.value), entry, (*place, party.kind))

    def service(self, entry: Entry) -> None:
        service: Service = entry.value
        self.one_a_family(entry, "ip", service.ips)
        if not isinstance(service.expose, str):
            for index, party in enumerate(service.expose):
                self.party(entry, ("expose", index), party)
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


def _place(subnet: IPNetwork) -> tuple[int, int]:
    return int(subnet.network_address), subnet.prefixlen


def _holds(outer: tuple[IPNetwork, int, int, Entry], inner: tuple[IPNetwork, int, int, Entry]) -> bool:
    return outer[3].value.kind == inner[3].value.kind and _within(inner[0], outer[0])


def _within(part: IPNetwork, whole: IPNetwork) -> bool:
    if isinstance(part, IPv4Network):
        return isinstance(whole, IPv4Network) and part.subnet_of(whole)
    return isinstance(whole, IPv6Network) and part.subnet_of(whole)


def _list(values: tuple[IPNetwork, ...]) -> str:
    return " and ".join(str(item) for item in values)
