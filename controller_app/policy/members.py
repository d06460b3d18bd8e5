"""Which hosts of the topology a party of a classifier stands for."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network

from controller_app.model.policy import Party, Segment, Selector, Tenant
from controller_app.model.topology import Host, IPNetwork, Topology
from controller_app.policy.membership import Membership, matching


class Members:
    """Looks up the hosts of one tenant. Function instances belong to no party but one that names them."""

    def __init__(self, tenant: Tenant, topology: Topology, members: Mapping[str, Membership]) -> None:
        self.tenant = tenant
        self.topology = topology
        self.members = members
        self.own = [
            host
            for name, host in topology.hosts.items()
            if name in members and members[name].tenant == tenant.name
        ]

    def hosts(self, party: Party) -> list[Host]:
        """The hosts known now. An empty list may fill when hosts are learned."""
        match party.kind:
            case "any":
                return list(self.own)
            case "host":
                return self._named([str(party.value)])
            case "endpoint":
                endpoint = self.tenant.endpoints.get(str(party.value))
                return self._named([endpoint.host] if endpoint else [])
            case "network":
                return self._network(str(party.value))
            case "segment":
                segment = self.tenant.segments.get(str(party.value))
                return self.segment(segment) if segment else []
            case "service":
                service = self.tenant.services.get(str(party.value))
                return self._selected(service.selector) if service else []
            case _:
                if isinstance(party.value, Selector):
                    return self._selected(party.value)
                if isinstance(party.value, IPv4Network | IPv6Network):
                    return self._prefix(party.value)
                return []

    def segment(self, segment: Segment) -> list[Host]:
        """The hosts of a segment: those of its network that its prefix or its selector names."""
        chosen = self._prefix(segment.cidr) if segment.cidr is not None else []
        if segment.selector is not None:
            chosen = self._selected(segment.selector)
        names = {host.name for host in chosen}
        return [host for host in self._network(segment.network) if host.name in names]

    def _named(self, names: list[str]) -> list[Host]:
        return [self.topology.hosts[name] for name in names if name in self.topology.hosts]

    def _selected(self, selector: Selector) -> list[Host]:
        return self._named(
            list(dict.fromkeys(endpoint.host for endpoint in matching(selector, self.tenant.endpoints)))
        )

    def _network(self, name: str) -> list[Host]:
        return [host for host in self.own if self.members[host.name].network == name]

    def _prefix(self, prefix: IPNetwork) -> list[Host]:
        return [
            host
            for host in self.own
            if any(address in prefix for address in host.ips)
            or any(item.version == prefix.version and item.overlaps(prefix) for item in host.prefixes)
        ]
