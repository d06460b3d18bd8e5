"""Which endpoints each service's selector matches, kept from one policy to the next: a label that changes costs a look
at the services that ask for it, not at all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import compress, count
from operator import eq, is_not

from controller_app.balancing.labelled import Labelled
from controller_app.balancing.selectors import matches
from controller_app.model.policy import Endpoint, Service, Tenant

Members = tuple[Endpoint, ...]  # in order of declaration


class Membership:
    """The members of every service of a tenant. A value: `following` makes the next one. `touched` are the services
    that may have others than the one before had; `attached` is the same object as long as no endpoint's host or network
    changes, `placed` as long as no labels do either."""

    def __init__(self, tenant: Tenant) -> None:
        labelled = Labelled(tenant.endpoints)
        self._endpoints, self._services = tenant.endpoints, tenant.services
        self._of = {name: tuple(labelled.matching(each.selector)) for name, each in tenant.services.items()}
        self._asking = _Asking(tenant.services)
        self.touched: tuple[str, ...] = tuple(tenant.services)
        self.attached, self.placed = object(), object()

    def of(self, service: str) -> Members:
        """The endpoints that a service's selector matches."""
        return self._of[service]

    def following(self, tenant: Tenant) -> Membership:
        """The membership of a tenant that may have changed since."""
        old, new = self._endpoints, tenant.endpoints
        same = self._same_services(tenant.services)
        if old is new and same:
            return self
        changed, gone = _differences(old, new)
        if same:
            found = Membership.__new__(Membership)
            found._endpoints, found._services, found._asking = new, tenant.services, self._asking
            anew = self._anew([*changed, *gone], new) if changed or gone else {}
            found._of = {**self._of, **anew} if anew else self._of
            found.touched = tuple(anew)
        else:
            found = Membership(tenant)
        before_after = [(old.get(name), new[name]) for name in changed]
        attached = not gone and all(_attached(one) == _attached(other) for one, other in before_after)
        placed = attached and all(one is not None and one.labels == other.labels for one, other in before_after)
        found.attached = self.attached if attached else object()
        found.placed = self.placed if placed else object()
        return found

    def _same_services(self, services: Mapping[str, Service]) -> bool:
        known = self._services
        return known is services or (
            known.keys() == services.keys()
            and all(known[name] is each or known[name].selector == each.selector for name, each in services.items())
        )

    def _anew(self, names: list[str], new: Mapping[str, Endpoint]) -> dict[str, Members]:
        touched: dict[str, None] = {}
        for name in names:
            for each in (self._endpoints.get(name), new.get(name)):
                if each is not None:
                    touched.update(dict.fromkeys(self._asking.for_(each)))
        place = dict(zip(new, count(), strict=False))
        result = {}
        for service in touched:
            selector = self._services[service].selector
            stay = [new[each.name] for each in self._of[service] if each.name in new and each.name not in names]
            come = [new[name] for name in names if name in new and matches(selector, new[name].labels)]
            result[service] = tuple(sorted((*stay, *come), key=lambda each: place[each.name]))
        return result


def _differences(old: Mapping[str, Endpoint], new: Mapping[str, Endpoint]) -> tuple[list[str], list[str]]:
    """Who is another one or new, and who is gone."""
    if len(old) == len(new) and all(map(eq, old, new)):  # nearly always: without a step of Python for each
        others = compress(new, map(is_not, old.values(), new.values()))
        return [name for name in others if old[name] != new[name]], []
    changed = [name for name, each in new.items() if old.get(name) is not each and old.get(name) != each]
    return changed, [name for name in old if name not in new]


def _attached(endpoint: Endpoint | None) -> object:
    return None if endpoint is None else (endpoint.host, endpoint.network)


class _Asking:
    """The services that an endpoint with some labels can be a member of."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        self._services = services
        self._by_label: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._others: list[str] = []  # which no single label leads to
        for name, service in services.items():
            first = next((each for each in service.selector.requirements if each.operator == "in"), None)
            if first is None:
                self._others.append(name)
                continue
            for value in dict.fromkeys(first.values):
                self._by_label[first.key, value].append(name)

    def for_(self, endpoint: Endpoint) -> Iterable[str]:
        asked = [name for label in endpoint.labels.items() for name in self._by_label.get(label, ())]
        return [name for name in (*asked, *self._others) if matches(self._services[name].selector, endpoint.labels)]
