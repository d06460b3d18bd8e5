"""Membership that follows changes is what looking at everything anew gives."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from controller_app.balancing.membership import Membership
from controller_app.model.policy import Endpoint, Requirement, Selector, Service, ServicePort, Tenant

VALUES = st.sampled_from("abc")
LABELS = st.dictionaries(st.sampled_from(["k", "l"]), VALUES, max_size=2)
NAMES = st.sampled_from(["e1", "e2", "e3", "e4"])
REQUIREMENTS = st.builds(
    Requirement, st.sampled_from(["k", "l"]), st.sampled_from(["in", "notin", "exists", "not-exists"]),
    st.lists(VALUES, min_size=1, max_size=2).map(tuple))
SELECTORS = st.lists(REQUIREMENTS, min_size=1, max_size=2).map(tuple).map(Selector)


@st.composite
def tenants(draw: st.DrawFn) -> Tenant:
    endpoints = {name: Endpoint(name, draw(st.sampled_from(["h1", "h2"])), None, draw(LABELS), draw(st.integers(0, 2)))
                 for name in draw(st.lists(NAMES, unique=True))}
    services = {name: Service(name, "vips", draw(SELECTORS), (ServicePort(80, 80),))
                for name in draw(st.lists(st.sampled_from(["s1", "s2"]), unique=True))}
    return Tenant(endpoints=endpoints, services=services)


@given(st.lists(tenants(), min_size=2, max_size=4), st.booleans())
def test_following_is_looking_anew(steps: list[Tenant], same_services: bool) -> None:
    if same_services:
        steps = [Tenant(endpoints=step.endpoints, services=steps[0].services) for step in steps]
    found = Membership(steps[0])
    for before, step in itertools.pairwise(steps):
        last, found = found, found.following(step)
        anew = Membership(step)
        for name in step.services:
            assert found.of(name) == anew.of(name)
        where = [{e.name: (e.host, e.network, e.labels) for e in each.endpoints.values()} for each in (before, step)]
        assert (found.placed is last.placed) == (where[0] == where[1])


def test_what_does_not_change_is_the_same_object() -> None:
    endpoints = {name: Endpoint(name, "h1", None, {"k": "a"}) for name in ("e1", "e2")}
    services = {"s": Service("s", "vips", Selector((Requirement("k", "in", ("a",)),)), (ServicePort(80, 80),))}
    first = Membership(Tenant(endpoints=endpoints, services=services))
    assert first.following(Tenant(endpoints=endpoints, services=services)) is first
    copied = first.following(Tenant(endpoints=dict(endpoints), services=dict(services)))
    assert copied.of("s") is first.of("s")
