"""All services of a policy: a book that is carried on from one compile to the next, so that a provider that changes
costs a look at its services, and not at all there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from controller_app.balancing.membership import Membership
from controller_app.model.allocation import Allocation
from controller_app.model.policy import Endpoint, Policy
from controller_app.model.topology import Switch, Topology
from controller_app.pipeline.ids import Numbers
from controller_app.pipeline.memory import Memory
from controller_app.pipeline.providers import Made, Source, hosts_down, out_of_service
from controller_app.pipeline.service_addresses import Addresses
from controller_app.pipeline.views import HostView, ServiceView, Shelf, shelf_of
from controller_app.policy.membership import leaving
from controller_app.routing.distances import Routes


class _Known(NamedTuple):
    """What every service depends on. unready: by service, as in `Topology.unready`; down: hosts whose port is."""

    members: Mapping[str, Membership]
    ids: Mapping[str, int]
    given: Addresses
    hosts: Mapping[str, HostView]
    down: frozenset[str]
    unready: Mapping[str, tuple[str, ...]]
    switches: Mapping[str, Switch]
    routes: Routes


class Book:
    """The services by their key (`tenant/name`): `services`; `ids` are their numbers, `addresses` their addresses as
    texts. `shelves` hold the same services by a part of their number: the same tuple as long as nothing on it changed.
    `served`, `served_by` and `providers` are what the allocation says of them. `leaving` are, by service, the endpoints
    that its selector does not match any more, and whose connections go on. `slots` are all tables of the compile
    this was made in, in which theirs are."""

    def __init__(
        self,
        policy: Policy,
        known: _Known,
        previous: Allocation,
        slots: dict[str, tuple[str, ...]],
        before: Book | None,
    ) -> None:
        self.slots = slots
        self._known, self._tenants = known, policy.tenants
        self.hosts, self.ids, self.addresses = known.hosts, known.ids, known.given.texts
        # what follows just from the allocation that came of the book before is carried on
        then = before if before is not None and before._led_to(previous) and before._numbered(policy, known) else None
        touched = known.ids if then is None else then._touched(policy, known)
        made = {} if before is None else before._made
        self._made: dict[str, Made] = dict(made) if then else {key: made[key] for key in known.ids if key in made}
        self.services: dict[str, ServiceView] = dict(then.services) if then else {}
        self.shelves: dict[int, Shelf] = dict(then.shelves) if then else {}
        self.served: dict[str, tuple[int, ...]] = dict(then.served) if then else {}
        self.served_by: dict[str, tuple[str, ...]] = dict(then.served_by) if then else {}
        self.providers: dict[str, dict[str, str]] = dict(then.providers) if then else {}
        self.leaving: dict[str, tuple[str, ...]] = dict(then.leaving) if then else {}
        self._renew(touched, previous)
        for key in touched:
            slots.update(self._made[key].tables)

    def near(self, key: str) -> Mapping[str, tuple[str, ...]]:
        """Of a service that prefers the near: switch -> the 256 slots of its clients, where these are other ones than
        the service's."""
        made = self._made.get(key)
        return {} if made is None else made.view.near

    # -- what changed ----------------------------------------------------------------------------------------

    def _led_to(self, previous: Allocation) -> bool:
        """Whether an allocation says of services just what this does."""
        return (
            previous.served is self.served
            and previous.served_by is self.served_by
            and previous.providers is self.providers
            and previous.slots is self.slots
        )

    def _numbered(self, policy: Policy, known: _Known) -> bool:
        """Whether all is as it was but for endpoints, their state, and words of services."""
        then = self._known
        return (
            known.ids is then.ids
            and known.given is then.given
            and known.hosts is then.hosts
            and known.down == then.down
            and policy.tenants.keys() == self._tenants.keys()
        )

    def _touched(self, policy: Policy, known: _Known) -> Collection[str]:
        """The services that may be others now."""
        then = self._known
        found: dict[str, None] = dict.fromkeys(self.leaving)
        nearness = known.routes is not then.routes or known.switches != then.switches
        for tenant in policy.tenants.values():
            old = self._tenants[tenant.name].services
            if tenant.services is not old:
                found.update(
                    (f"{tenant.name}/{name}", None)
                    for name, service in tenant.services.items()
                    if service is not old[name] and service != old[name]
                )
            if nearness:
                found.update((f"{tenant.name}/{n}", None) for n, s in tenant.services.items() if s.prefer is not None)
            members = known.members[tenant.name]
            if members is not then.members.get(tenant.name):
                found.update((f"{tenant.name}/{name}", None) for name in members.touched)
        for key in known.unready.keys() | then.unready.keys():
            if known.unready.get(key) != then.unready.get(key):
                found[key] = None
        return [key for key in found if key in known.ids]

    # -- making ----------------------------------------------------------------------------------------------

    def _renew(self, touched: Iterable[str], previous: Allocation) -> None:
        shelves: dict[int, dict[str, ServiceView]] = {}
        for key in touched:
            made = self._service(key, previous)
            if made is self._made.get(key) and key in self.services:
                continue
            self._made[key] = made
            self.services[key], self.providers[key] = made.view, made.providers
            self.served[key], self.served_by[key] = made.served, made.served_by
            if made.leaving:
                self.leaving[key] = made.leaving
            else:
                self.leaving.pop(key, None)
            shelves.setdefault(shelf_of(made.view.id), {})[key] = made.view
        for number, views in shelves.items():
            held = {view.key: view for view in self.shelves.get(number, ())} | views
            self.shelves[number] = tuple(sorted(held.values(), key=lambda view: view.id))

    def _service(self, key: str, previous: Allocation) -> Made:
        known = self._known
        tenant_name, _, name = key.partition("/")
        tenant = self._tenants[tenant_name]
        matched = known.members[tenant_name].of(name)
        service = tenant.services[name]
        gone: tuple[Endpoint, ...] = ()
        if any(port.protocol == "tcp" for port in service.ports):  # nothing else has an end that could be waited for
            gone = leaving(matched, tenant.endpoints, previous.providers.get(key, {}))
        source = Source(
            service,
            matched,
            gone,
            known.ids[key],
            known.given.ips[key],
            known.hosts,
            out_of_service((*matched, *gone), known.unready.get(key, ()), known.down),
            (known.switches, known.routes) if service.prefer is not None else None,
        )
        kept = self._made.get(key)
        return kept if kept is not None and kept.fits(source, previous) else Made(source, key, tenant_name, previous)


def build_services(
    policy: Policy,
    topology: Topology,
    routes: Routes,
    hosts: Mapping[str, HostView],
    previous: Allocation,
    slots: dict[str, tuple[str, ...]],
    numbers: Numbers,
    memory: Memory,
    members: Mapping[str, Membership],
) -> Book:
    """The services. `slots` gets their tables; members: by tenant. What did not change since the last compile is the
    same object."""
    hosts = memory.part("service hosts", hosts, lambda: hosts)
    keys = [f"{t.name}/{s.name}" for t in policy.tenants.values() for s in t.services.values()]
    ids = numbers.assign("services", keys, previous.ids.get("services", {}), limit=1 << 14)
    ids = memory.part("service numbers", ids, lambda: ids)
    given = memory.latest(
        "addresses",
        lambda kept: kept.fits(policy, hosts, previous),
        lambda: Addresses(policy, hosts, previous),
    )
    unready: dict[str, list[str]] = defaultdict(list)
    for name in sorted(topology.unready):
        kind, _, rest = name.partition("/")
        if kind == "services":
            unready[rest.rpartition("/")[0]].append(name)
    known = _Known(
        members,
        ids,
        given,
        hosts,
        hosts_down(hosts, topology),
        {key: tuple(names) for key, names in unready.items()},
        topology.switches,
        routes,
    )
    return memory.following(
        "services",
        lambda kept, now: Book(policy, now, previous, slots, kept),
        lambda now: Book(policy, now, previous, slots, None),
        known,
    )
