"""Whom an internal service is open to, and which classifiers look as if they opened one and do not."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from controller_app.model.policy import Classifier, Party, Service, Tenant
from controller_app.model.topology import IPAddress, IPNetwork
from controller_app.policy.diagnostics import Findings

_PASSES = ("allow", "chain")  # verdicts that let packets pass

def openers(tenant: Tenant) -> dict[str, list[Party]]:
    """By service, the sources of the classifiers that would open it if it were internal: those that name it, name who
    (not `any`), and let pass."""
    found: dict[str, list[Party]] = {}
    for classifier in tenant.classifiers.values():
        named = classifier.destination
        if named.kind == "service" and classifier.source.kind != "any" and classifier.then.action in _PASSES:
            found.setdefault(str(named.value), []).append(classifier.source)
    return found


def check_exposure(tenant: Tenant, findings: Findings) -> None:
    """Warn of internal services that nobody can reach, and of wildcards that open none."""
    internal = {name: service for name, service in tenant.services.items() if service.expose == "internal"}
    if not internal:
        return
    opened = openers(tenant)
    for service in internal.values():
        if service.name not in opened:
            findings.warning(
                service.where,
                f"services.{service.name}.expose",
                "nobody can reach it: it is internal, and no classifier names it and who may",
                f"add one such as {{from: {{network: NAME}}, to: {{service: {service.name}}}, then: allow}}",
            )
    for classifier in tenant.classifiers.values():
        if classifier.then.action not in _PASSES:
            continue
        anybody = classifier.source.kind == "any"
        closed = [
            service.name
            for service in _covered(classifier.destination, internal, tenant)
            if anybody or classifier.source not in opened.get(service.name, ())
        ]
        if closed:
            _say(classifier, anybody, closed, findings)


def _say(classifier: Classifier, anybody: bool, closed: list[str], findings: Findings) -> None:
    side, party = ("from", classifier.source) if anybody else ("to", classifier.destination)
    written = "any" if party.kind == "any" else f"{{{party.kind}: {party.value}}}"
    names = ", ".join(repr(name) for name in closed[:4]) + (", ..." if len(closed) > 4 else "")
    which = f"the internal service{'s' * (len(closed) > 1)} {names}"
    naming = "that names who may reach it in `from`" if anybody else f"with `to: {{service: {closed[0]}}}`"
    findings.warning(
        party.where if party.where.line else classifier.where,
        f"classifiers.{classifier.name}.{side}",
        f"`{side}: {written}` does not open {which}",
        f"add a classifier {naming}, or write `expose: everyone` at the service",
    )


def _covered(party: Party, services: Mapping[str, Service], tenant: Tenant) -> list[Service]:
    """The services of which packets may be among those to a party."""
    match party.kind, party.value:
        case "any", _:
            return list(services.values())
        case "service", str(name):
            return [services[name]] if name in services else []
        case "network", name:
            return [service for service in services.values() if service.network == name]
        case "cidr", prefix:
            return [
                service
                for service in services.values()
                if any(_among(item, prefix) for item in service.ips or _pool(tenant, service))
            ]
    return []


def _pool(tenant: Tenant, service: Service) -> tuple[IPNetwork, ...]:
    network = tenant.networks.get(service.network)
    return network.subnets if network is not None else ()


def _among(item: IPAddress | IPNetwork, prefix: object) -> bool:
    """Whether an address is in a prefix, or a pool has addresses in it."""
    if not isinstance(prefix, IPv4Network | IPv6Network) or item.version != prefix.version:
        return False
    return item in prefix if isinstance(item, IPv4Address | IPv6Address) else item.overlaps(prefix)
