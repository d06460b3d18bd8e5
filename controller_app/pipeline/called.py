"""Which services the packets of a list of functions may be sent to, as far as the policy's words tell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

from controller_app.model.policy import Party, Policy, Selector, Tenant
from controller_app.model.topology import IPNetwork
from controller_app.pipeline.lists import insertion_list, lists_of
from controller_app.pipeline.views import HostView, ServiceView


def called(
    policy: Policy,
    hosts: Mapping[str, HostView],
    services: Mapping[str, ServiceView],
    left_out: Set[tuple[str, str]],
) -> dict[str, tuple[str, ...]]:
    """List's key -> keys of services. left_out: `World.left_out`. Either side of a classifier counts, since mirrors
    send the other way."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for tenant in policy.tenants.values():
        own = {key: view for key, view in services.items() if view.tenant == tenant.name}
        if not own:
            continue
        behind = [prefix for host in hosts.values() if host.tenant == tenant.name for prefix in host.prefixes]
        known: dict[Party, tuple[str, ...]] = {}
        for classifier in tenant.classifiers.values():
            if classifier.then.chain is None:
                continue
            for party in (classifier.source, classifier.destination):
                if party not in known:
                    known[party] = tuple(_named(tenant, party, own, behind))
                for key in lists_of(tenant, tenant.chains[classifier.then.chain], left_out) if known[party] else ():
                    found[key].update(dict.fromkeys(known[party]))
        for key in _inserted(tenant):
            found[key].update(dict.fromkeys(own))
    return {key: tuple(names) for key, names in found.items()}


def _named(
    tenant: Tenant, party: Party, services: Mapping[str, ServiceView], behind: Sequence[IPNetwork]
) -> Iterable[str]:
    value = party.value
    prefixes = behind  # hosts, which have no service's address but behind an uplink
    if party.kind == "any":
        return services
    if party.kind == "service":
        return [key for key in (f"{tenant.name}/{value}",) if key in services]
    if party.kind == "network":
        prefixes = tenant.networks[str(value)].subnets
    elif party.kind == "cidr" and not isinstance(value, str | Selector | None):
        prefixes = (value,)
    return [key for key, view in services.items() if any(ip in prefix for ip in view.ips for prefix in prefixes)]


def _inserted(tenant: Tenant) -> Iterator[str]:
    inserts = [network.insert for network in tenant.networks.values() if network.insert]
    inserts += [segment.insert for segment in tenant.segments.values() if segment.insert]
    for leaving in inserts:
        for entering in ((), *inserts):
            yield insertion_list(tenant.name, leaving, entering).key
