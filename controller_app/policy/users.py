"""Who names an object of a tenant, and so has to go, or name another, before the object can."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from controller_app.model.policy import Party, Tenant
from controller_app.model.position import Position

SECTIONS = ("networks", "segments", "endpoints", "functions", "chains", "classifiers", "services")


class User(NamedTuple):
    """An object that names another: the section it is declared in, its name, and where it is written."""

    section: str
    name: str
    where: Position


def users(tenant: Tenant, section: str, name: str) -> tuple[User, ...]:
    """The objects of a tenant that name one of its objects, those of one section together. Selectors name nobody."""
    return tuple(dict.fromkeys(user for user, named in _references(tenant) if named == (section, name)))


def used(tenant: Tenant) -> dict[tuple[str, str], tuple[User, ...]]:
    """`users` of every object of a tenant that has some, by section and name."""
    found: dict[tuple[str, str], dict[User, None]] = {}
    for user, named in _references(tenant):
        found.setdefault(named, {})[user] = None
    return {named: tuple(by) for named, by in found.items()}


def _references(tenant: Tenant) -> Iterator[tuple[User, tuple[str, str]]]:
    """Every user with the section and name of what it names."""
    for network in tenant.networks.values():
        user = User("networks", network.name, network.where)
        yield from ((user, ("functions", name)) for name in network.insert)
    for segment in tenant.segments.values():
        user = User("segments", segment.name, segment.where)
        yield user, ("networks", segment.network)
        yield from ((user, ("functions", name)) for name in segment.insert)
    for endpoint in tenant.endpoints.values():
        if endpoint.network is not None:
            yield User("endpoints", endpoint.name, endpoint.where), ("networks", endpoint.network)
    for chain in tenant.chains.values():
        user = User("chains", chain.name, chain.where)
        back = () if isinstance(chain.returns, str) else chain.returns
        yield from ((user, ("functions", name)) for name in (*chain.through, *back))
    for service in tenant.services.values():
        user = User("services", service.name, service.where)
        yield user, ("networks", service.network)
        yield from ((user, named) for named in _parties(() if isinstance(service.expose, str) else service.expose))
    for classifier in tenant.classifiers.values():
        user = User("classifiers", classifier.name, classifier.where)
        yield from ((user, named) for named in _parties((classifier.source, classifier.destination)))
        if classifier.then.chain is not None:
            yield user, ("chains", classifier.then.chain)
        if classifier.after is not None:
            yield user, ("functions", classifier.after)


def _parties(parties: tuple[Party, ...]) -> Iterator[tuple[str, str]]:
    for party in parties:
        if party.kind in ("network", "segment", "endpoint", "service"):
            yield f"{party.kind}s", str(party.value)
