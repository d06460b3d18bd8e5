"""Does a policy fit a topology? Everything that needs both."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_network

from controller_app.model.policy import (
    Classifier,
    Endpoint,
    Function,
    Instance,
    Network,
    Party,
    Policy,
    Service,
    Tenant,
)
from controller_app.model.position import Diagnostic, Position
from controller_app.model.topology import Host, IPAddress, IPNetwork, Topology
from controller_app.modes import MODES
from controller_app.policy.by_edges import check_labels, check_required
from controller_app.policy.consistency import instance_hosts
from controller_app.policy.diagnostics import Findings, meant
from controller_app.policy.function_health import check_asked
from controller_app.policy.members import Members
from controller_app.policy.membership import holders, memberships
from controller_app.policy.placement import check_instance
from controller_app.policy.providers import check_providers_on
from controller_app.policy.routability import check_classifier, check_insertions, parts
from controller_app.policy.segments import check_segments
from controller_app.policy.wires import check_transports


def check_against(
    policy: Policy, topology: Topology, *, discovering: bool = False, standing: Collection[Diagnostic] = ()
) -> tuple[Diagnostic, ...]:
    """Errors and warnings about the policy on this topology.

    With `discovering`, hosts the topology does not know may still be learned: they are warnings. What holds
    whatever the topology (`consistency.check_policy`) is not repeated here. `standing`: what chains require in vain
    already, which is no reason to refuse another change.
    """
    found = Findings()
    found.all += _Fitting(policy, topology, discovering).run()
    check_labels(policy, topology, found)
    check_required(policy, topology, found, standing)
    return tuple(found.all)


class _Fitting:
    def __init__(self, policy: Policy, topology: Topology, discovering: bool) -> None:
        self.policy = policy
        self.topology = topology
        self.discovering = discovering
        self.findings = Findings()
        self.instances = instance_hosts(policy)
        self.members = memberships(policy, topology)

    def torn(self) -> None:
        """Hosts that networks of two tenants claim belong to neither unless an endpoint says so."""
        placed = {e.host for tenant in self.policy.tenants.values() for e in tenant.endpoints.values() if e.network}
        for name, member in self.members.items():
            host = self.topology.hosts[name]
            tenants = dict.fromkeys(each.tenant for each in holders(self.policy, host))
            if len(tenants) > 1 and name not in placed:
                self.findings.warning(
                    host.where,
                    f"hosts.{name}",
                    f"it has addresses in networks of the tenants {' and '.join(tenants)}, so it belongs to "
                    f"{member.tenant}",
                    "give it addresses in the networks of one tenant, or declare it as two hosts",
                )

    def run(self) -> list[Diagnostic]:
        self.torn()
        part_of = parts(self.topology)
        for tenant in self.policy.tenants.values():
            for function in tenant.functions.values():
                for instance in function.instances.values():
                    self.instance(function, instance)
            for endpoint in tenant.endpoints.values():
                self.endpoint(tenant, endpoint)
            check_providers_on(tenant, self.topology, self.members, self.findings)
            check_asked(tenant, self.topology, self.discovering, self.findings)
            for service in tenant.services.values():
                self.exposed(tenant, service)
            self.addresses(tenant)
            members = Members(tenant, self.topology, self.members)
            check_segments(tenant, members, self.findings)
            check_insertions(tenant, self.topology, part_of, members, self.findings)
            for classifier in tenant.classifiers.values():
                self.classifier(tenant, classifier)
                check_classifier(tenant, classifier, self.topology, part_of, members, self.findings)
        check_transports(self.policy, self.topology, self.findings)
        return self.findings.all

    def host(self, name: str, where: Position, path: str) -> Host | None:
        """The host, or None with the problem said."""
        host = self.topology.hosts.get(name)
        if host is None:
            say = self.findings.warning if self.discovering else self.findings.error
            say(
                where,
                path,
                f"no host named {name!r} in the topology",
                meant(name, self.topology.hosts, "declare it under `hosts:` of the topology"),
            )
        return host

    def instance(self, function: Function, instance: Instance) -> None:
        path = f"functions.{function.name}.instances.{instance.name}.host"
        host = self.host(instance.host, instance.where, path)
        if host is None:
            return
        check_instance(function, instance, host, self.discovering, self.findings)

    def endpoint(self, tenant: Tenant, endpoint: Endpoint) -> None:
        path = f"endpoints.{endpoint.name}"
        host = self.host(endpoint.host, endpoint.where, f"{path}.host")
        network = tenant.networks.get(endpoint.network) if endpoint.network else None
        if host is None or network is None or not host.ips:
            return
        inside = [address for address in host.ips if _inside(address, network)]
        families = {subnet.version for subnet in network.subnets}
        for address in host.ips:
            if address not in inside and (address.version in families or not inside):
                subnets = " and ".join(str(item) for item in network.subnets)
                self.findings.error(
                    endpoint.where,
                    f"{path}.network",
                    f"{address} of host {host.name!r} is in no "
                    f"subnet of network {network.name!r} ({subnets})",
                    "name the network it is in, or correct the address in the topology",
                )

    def classifier(self, tenant: Tenant, classifier: Classifier) -> None:
        at = f"classifiers.{classifier.name}"
        # The source is known by its port. The destination is known by its address, and so is the source where
        # replies are classified too.
        returning = classifier.then.action == "chain"
        self.party(tenant, classifier.source, classifier.where, f"{at}.from", needs_address=returning)
        self.party(tenant, classifier.destination, classifier.where, f"{at}.to", needs_address=True)

    def exposed(self, tenant: Tenant, service: Service) -> None:
        for index, party in enumerate(() if isinstance(service.expose, str) else service.expose):
            at = f"services.{service.name}.expose[{index}]"
            self.party(tenant, party, service.where, at, needs_address=True)

    def party(self, tenant: Tenant, party: Party, whole: Position, path: str, *, needs_address: bool) -> None:
        """A party that is one host. `whole` is where the object begins that the party belongs to."""
        where = party.where if party.where.line else whole
        name = str(party.value)
        if party.kind == "endpoint" and name in tenant.endpoints:
            self.not_a_box(tenant.endpoints[name].host, where, path)
            return
        if party.kind != "host":
            return
        host = self.host(name, where, path)
        if host is None or self.not_a_box(name, where, path):
            return
        owner = self.tenant_of(name)
        if owner is not None and owner != tenant.name:
            self.findings.error(
                where,
                path,
                f"host {name!r} belongs to tenant {owner!r}, not {tenant.name!r}",
                f"give it an endpoint in tenant {tenant.name!r}, or name another host",
            )
        elif not host.ips and not host.prefixes and needs_address:
            what = path.split(".")[0]
            works = "the classifier works" if what == "classifiers" else "it may reach the service"
            self.findings.warning(
                where,
                path,
                f"host {name!r} has no address yet: {works} once it is learned",
                "write its `ip` in the topology to have it at once",
            )

    def not_a_box(self, name: str, where: Position, path: str) -> bool:
        """A function's instance that has no traffic of its own is no party: says so. Whether it is one."""
        if name not in self.instances or MODES[self.instances[name][1].mode].is_host:
            return False
        function = self.instances[name][1].name
        self.findings.error(
            where,
            path,
            f"host {name!r} is an instance of function {function!r}",
            "name the machines whose traffic it is to see",
        )
        return True

    def addresses(self, tenant: Tenant) -> None:
        """Within a tenant an IP address, all that a prefix stands for, and a MAC address has one owner. What lies in a
        wider prefix of somebody else's is its own."""
        owners: dict[IPAddress, str] = {}
        ranges: dict[IPNetwork, str] = {}
        for network in tenant.networks.values():
            for gateway in network.gateways:
                owners.setdefault(gateway, f"the gateway of network {network.name!r} ({network.where})")
            for subnet in network.subnets if network.kind == "service" else ():
                ranges[subnet] = f"the services of network {network.name!r} ({network.where})"
        preferred = {address: service for service in tenant.services.values() for address in service.ips}
        macs: dict[str, str] = {}
        for host in self.topology.hosts.values():
            if self.tenant_of(host.name) != tenant.name:
                continue
            itself = f"host {host.name!r} ({host.where})"
            for address in (*host.ips, *host.out_ips):
                if address in preferred:
                    self.taken(preferred[address], address, host)
                owner = owners.get(address) or ranges.get(ip_network(address))
                if owner is not None:
                    self.duplicate(tenant, host, str(address), owner)
                owners.setdefault(address, itself)
            for prefix in host.prefixes:
                alone = prefix.prefixlen == prefix.max_prefixlen
                owner = ranges.get(prefix) or (owners.get(prefix.network_address) if alone else None)
                if owner is not None and owner != itself:
                    self.duplicate(tenant, host, str(prefix), owner)
                ranges.setdefault(prefix, itself)
            for mac in dict.fromkeys((host.mac, host.out_mac)):  # both arms may have the same
                if mac is None:
                    continue
                if mac in macs:
                    self.duplicate(tenant, host, mac, macs[mac])
                macs.setdefault(mac, f"host {host.name!r} ({host.where})")

    def taken(self, service: Service, address: IPAddress, host: Host) -> None:
        """A service asks for an address that a host has."""
        self.findings.error(
            service.where,
            f"services.{service.name}.ip",
            f"{address} belongs to host {host.name!r} ({host.where})",
            "choose another address, or leave `ip` out",
        )

    def duplicate(self, tenant: Tenant, host: Host, address: str, owner: str) -> None:
        self.findings.error(
            host.where,
            f"hosts.{host.name}",
            f"{address} belongs to {owner} in tenant {tenant.name!r} too",
            "give one of them another address, or put them into two tenants",
        )

    def tenant_of(self, host: str) -> str | None:
        if host in self.instances:
            return self.instances[host][0].name
        return self.members[host].tenant if host in self.members else None


def _inside(address: IPAddress, network: Network) -> bool:
    return any(address in subnet for subnet in network.subnets)
