"""What services cost in slots and rules: how few slots a change moves, how even they are, and what switches hold for a
service that none of their endpoints may reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from bench.fat_tree import SUBNET, fat_tree
from bench.report import Line
from bench.slots import bound, moved, unevenness
from controller_app.balancing.slots import fill
from controller_app.model.allocation import Allocation
from controller_app.model.flow import FlowState
from controller_app.model.policy import (
    Endpoint,
    Network,
    Party,
    Policy,
    Requirement,
    Selector,
    Service,
    ServicePort,
    Tenant,
)
from controller_app.model.topology import End, Host, Switch, Topology
from controller_app.pipeline.compile import compile
from controller_app.pipeline.cookies import object_name

POOL = IPv4Network("100.64.0.0/14")
MOST_MOVING, MOST_EVEN = 200, 100
WHOLE_SERVICES = (2, 3, 7, 16, 50, 128, 200)  # providers, where the tables of compiled services are looked at
KEY = "services/default/v0"  # where an allocation keeps the slots of the first service


def one_switch(hosts: int) -> Topology:
    """A switch with so many hosts."""
    found = {
        f"h{number}": Host(
            f"h{number}", {"": End("s1", number + 1)}, (SUBNET[number + 1],),
            f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}", declared=True,
        )
        for number in range(hosts)
    }  # fmt: skip
    return Topology({"s1": Switch("s1", 1)}, (), found)


def services(
    number: int, providers: int, hosts: Sequence[str], expose: str | tuple[Party, ...] = "everyone"
) -> Policy:
    """So many services v0, v1, … of port 80, each of so many providers of its own; those are spread over the hosts.
    Endpoint `e{S}x{I}` is the I-th provider of service S and says so by its label `app`."""
    endpoints = {
        f"e{s}x{i}": Endpoint(f"e{s}x{i}", hosts[(s * 7 + i) % len(hosts)], "servers", {"app": f"a{s}"})
        for s in range(number)
        for i in range(providers)
    }
    found = {
        f"v{s}": Service(
            f"v{s}", "vips", Selector((Requirement("app", "in", (f"a{s}",)),)), (ServicePort(80, 8080),), expose=expose
        )
        for s in range(number)
    }
    networks = {
        "servers": Network("servers", (SUBNET,), (IPv4Address("10.0.255.254"),)),
        "vips": Network("vips", (POOL,), kind="service"),
    }
    return Policy({"default": Tenant(networks=networks, endpoints=endpoints, services=found)})


def with_endpoint(policy: Policy, changed: Endpoint) -> Policy:
    """The policy with one endpoint as given."""
    tenant = policy.tenants["default"]
    return Policy({"default": replace(tenant, endpoints={**tenant.endpoints, changed.name: changed})})


# -- slots ---------------------------------------------------------------------------------------------------------


def needless(before: Sequence[str], after: Sequence[str]) -> int:
    """Slots that moved though nothing asked for it, between two tables of which one has one member more: when it goes,
    those that were not its own; when it comes, those that did not become its own."""
    gone, come = set(before) - set(after), set(after) - set(before)
    if len(gone) + len(come) != 1:
        raise ValueError(f"one member goes or comes, not {sorted(gone)} and {sorted(come)}")
    if gone:
        return moved(before, after, gone.pop())
    return moved(after, before, come.pop())


def leaving_and_joining(members: int) -> Iterator[tuple[int, int]]:
    """For each of so many equal providers: (slots moved needlessly when it goes, and when it comes back)."""
    weights = {f"p{number}": 1 for number in range(members)}
    table = fill(weights)
    for name in weights:
        left = fill({other: 1 for other in weights if other != name}, table)
        yield needless(table, left), needless(left, fill(weights, left))


def in_a_service(members: int) -> tuple[int, int]:
    """The same for one provider of a service as it is compiled: its label goes, and comes back."""
    topology = one_switch(members)
    whole = services(1, members, list(topology.hosts))
    one = whole.tenants["default"].endpoints[f"e0x{members // 2}"]
    _, first = compile(whole, topology)
    _, without = compile(with_endpoint(whole, replace(one, labels={})), topology, first)
    _, again = compile(whole, topology, without)
    return needless(first.slots[KEY], without.slots[KEY]), needless(without.slots[KEY], again.slots[KEY])


def _moving() -> Line:
    found = {members: list(leaving_and_joining(members)) for members in range(2, MOST_MOVING + 1)}
    worst = max(number for pairs in found.values() for pair in pairs for number in pair)
    compiled = {members: in_a_service(members) for members in WHOLE_SERVICES}
    in_services = max(number for pair in compiled.values() for number in pair)
    return Line(
        f"slots moved needlessly when a provider leaves, and when it joins; each of N, N = 2 to {MOST_MOVING}",
        f"{worst} (in compiled services of {', '.join(map(str, WHOLE_SERVICES))}: {in_services})",
        "0",
        worst == in_services == 0,
        "",
        {"changes": 2 * sum(map(len, found.values())), "compiled": {str(n): pair for n, pair in compiled.items()}},
    )


def shares(members: int) -> Sequence[str]:
    """The slots of a compiled service of so many equal providers."""
    topology = one_switch(members)
    return compile(services(1, members, list(topology.hosts)), topology)[1].slots[KEY]


def _even() -> Line:
    found = {members: unevenness(fill({f"p{n}": 1 for n in range(members)})) for members in range(1, MOST_EVEN + 1)}
    compiled = {members: unevenness(shares(members)) for members in WHOLE_SERVICES if members <= MOST_EVEN}
    off = sorted({n for some in (found, compiled) for n, share in some.items() if share != bound(n)})
    largest = max(found, key=lambda members: found[members])
    return Line(
        f"largest ÷ mean share of equal providers, N = 1 to {MOST_EVEN}",
        f"ceil(256/N)·N/256 for {len(found) - len(set(off) & set(found))} of {len(found)}; "
        f"most: {float(found[largest]):.3f} (N = {largest})",
        "ceil(256/N)·N/256",
        not off,
        f"another share for N = {', '.join(map(str, off))}" if off else "",
        {"largest_to_mean": {str(members): float(share) for members, share in found.items()}},
    )


# -- switches that have nothing to do with a service ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Idle:
    """What services cost on switches without a provider of theirs and without anyone who may reach them."""

    switches: int
    rules: int  # with the cookie of a service, or added by all services but the first
    groups: int
    once: int  # rules that the first service added, on all these switches, which are none of its own
    elsewhere: int  # rules that services added on the other switches: not 0, or nothing was measured


def idle(k: int = 4, number: int = 10, providers: int = 3) -> Idle:
    """On a k-ary fat-tree: so many services, exposed to the hosts of the last edge switch, with their providers on the
    first two. What the other switches hold for them."""
    tree = fat_tree(k)
    at = {name: next(iter(tree.topology.hosts[name].attach.values())).switch for name in tree.hosts}
    concerned = {*tree.edge[:2], tree.edge[-1]}
    servers = [name for name in tree.hosts if at[name] in tree.edge[:2]]
    allowed = tuple(Party("host", name) for name in tree.hosts if at[name] == tree.edge[-1])
    policy = services(number, providers, servers, allowed)
    tenant = policy.tenants["default"]
    rest = {f"o{name}": Endpoint(f"o{name}", name, "servers") for name in tree.hosts if name not in servers}
    tenant = replace(tenant, endpoints={**tenant.endpoints, **rest})

    def held(some: int) -> tuple[FlowState, Allocation]:
        kept = {f"v{number}": tenant.services[f"v{number}"] for number in range(some)}
        return compile(Policy({"default": replace(tenant, services=kept)}), tree.topology)

    none, one, (all_of_them, made) = held(0)[0], held(1)[0], held(number)
    others = [name for name in tree.topology.switches if name not in concerned]
    owned = sum(
        (object_name(flow.cookie, made) or "").startswith("services/")
        for name in others
        for flow in all_of_them[name].flows.values()
    )
    return Idle(
        len(others),
        owned + _more(one, all_of_them, others)[0],
        _more(none, all_of_them, others)[1],
        _more(none, one, others)[0],
        _more(none, all_of_them, concerned)[0],
    )


def _more(before: FlowState, after: FlowState, switches: Iterable[str]) -> tuple[int, int]:
    """(rules, groups) that these switches hold more after than before."""
    pairs = [(before[name], after[name]) for name in switches]
    rules = sum(len(held.flows) - len(had.flows) for had, held in pairs)
    return rules, sum(len(held.groups) - len(had.groups) for had, held in pairs)


def _idle(k: int = 16, number: int = 10) -> Line:
    found = idle(k, number)
    return Line(
        f"rules and groups for {number} services on a switch with no endpoint allowed to reach them and no provider, "
        f"fat-tree k={k}, {found.switches} such switches together",
        f"{found.rules} rules, {found.groups} groups",
        "0",
        found.rules == found.groups == 0,
        f"beside: {found.once} rules of the tenant's networks on all of them together, which its first service brings "
        f"(its names, what strays from its pool), and no other; on the 3 switches concerned: {found.elsewhere:,} rules",
        asdict(found),
    )


def lines() -> Iterator[Line]:
    """The counts."""
    yield _moving()
    yield _even()
    yield _idle()
