"""What names there are, for each tenant: a value made of the policy and the addresses that were given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller_app.model.allocation import Allocation
from controller_app.model.policy import Policy, ServicePort, Tenant
from controller_app.naming.names import DOMAIN, domain, fqdn

# A name as labels in lower case, without the root's
Key = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """A service that has a name. `ips`: its addresses, as texts."""

    key: Key
    ips: tuple[str, ...]
    ports: tuple[ServicePort, ...]


@dataclass(frozen=True, slots=True)
class View:
    """The names that a tenant's hosts see. `nodes` are all below and at `domain`: what is no service only lies on the
    way to one. `owners`: by address, as a text."""

    domain: Key | None = None
    nodes: Mapping[Key, Named | None] = field(default_factory=dict)
    owners: Mapping[str, Named] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Zone:
    """All names, by tenant. Who is no tenant sees none."""

    views: Mapping[str, View] = field(default_factory=dict)

    def view(self, tenant: str) -> View:
        """What a tenant's hosts see."""
        return self.views.get(tenant, View())


def key(name: str) -> Key:
    """A name of ASCII letters as its labels."""
    return tuple(name.lower().encode().split(b"."))


def build_zone(policy: Policy, allocation: Allocation) -> Zone:
    """The zone. A service without an address yet has a name all the same."""
    return Zone({tenant.name: _view(tenant, allocation.addresses) for tenant in policy.tenants.values()})


def _view(tenant: Tenant, addresses: Mapping[str, tuple[str, ...]]) -> View:
    of_tenant = domain(tenant.name)
    if of_tenant is None:
        return View()
    top, above = key(of_tenant), key(DOMAIN)
    nodes: dict[Key, Named | None] = {top[n:]: None for n in range(len(top) - len(above))}
    owners: dict[str, Named] = {}
    # Names that differ in case alone are one name: it stands for the service that is written in lower case.
    for name in sorted(tenant.services, key=lambda name: (name != name.lower(), name)):
        full = fqdn(tenant.name, name)
        if full is None or nodes.get(key(full)) is not None:
            continue
        service = tenant.services[name]
        named = Named(key(full), addresses.get(f"{tenant.name}/{name}", ()), service.ports)
        nodes[named.key] = named
        for n in range(1, len(named.key) - len(top)):
            nodes.setdefault(named.key[n:], None)
        for ip in named.ips:
            owners.setdefault(ip, named)
    return View(top, nodes, owners)
