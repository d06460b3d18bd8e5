"""Everything that is known about one object: where it is declared, what it became on the switches, how it is, who uses
it, what was counted for it, what happened to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from controller_app.api import views
from controller_app.api.counting import traffic_at
from controller_app.api.described_flows import flows
from controller_app.api.refused import Refused
from controller_app.api.tenants import check, listed
from controller_app.model.policy import Policy, Tenant
from controller_app.model.position import NOWHERE, Position
from controller_app.model.topology import End
from controller_app.openflow.counted import ALL_BITS
from controller_app.pipeline.cookies import OURS_COOKIE, OURS_COOKIE_MASK, object_name
from controller_app.pipeline.paths import paths
from controller_app.pipeline.tables import TABLE_NAMES
from controller_app.policy.diagnostics import nearest
from controller_app.policy.users import SECTIONS, used
from controller_app.runtime.computed import Computed
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.control import Runtime
from controller_app.runtime.live_counters import Read, Wanted, read
from controller_app.verification.explain import Places, groups_in, shortened

Document = dict[str, Any]
KINDS = ("switches", "links", "hosts", "functions", "chains", "classifiers", "networks", "endpoints", "services",
         "policies", "flows")  # fmt: skip
EVENTS = 10  # of the newest that are told
REVISIONS = 10


@dataclass(frozen=True)
class Object:
    """What is described: its document in the list of its kind; the tenant, where it is a tenant's; the names that
    rules are made for it under, or `all` rules of this switch; the ports whose traffic is its own."""

    kind: str
    name: str
    document: Document
    tenant: str | None = None
    owners: frozenset[str] = frozenset()
    all: str | None = None
    ends: tuple[End, ...] = ()


def describe(runtime: Runtime, kind: str, name: str, tenant: str | None) -> Document:
    """The document. Refused where there is no such object."""
    found, computed = runtime.call(lambda conductor: (find(conductor, kind, name, tenant), conductor.computed))
    became = _became(computed, found)
    wanted = {switch: Wanted(sums=[*sums]) for switch, sums in became.items()}
    for end in found.ends:
        asked = wanted.get(end.switch, Wanted())
        wanted[end.switch] = Wanted(sums=asked.sums, ports=True)
    counted = read(runtime, wanted)
    document = runtime.call(lambda conductor: _document(conductor, found, became, counted))
    return {**document, "paths": _paths(computed, found)}


Became = dict[str, dict[tuple[int, int, int], tuple[int, set[int]]]]  # switch -> (table, cookie, mask) -> rules, groups


def _became(computed: Computed, found: Object) -> Became:
    """The rules and groups that are there for an object."""
    numbers = computed.allocation.ids.get("objects", {})
    cookies = {numbers[owner]: owner for owner in found.owners if owner in numbers}
    became: Became = {}
    for switch, held in computed.state.items():
        whole = switch == found.all
        for flow in held.flows.values():
            if whole:
                place = flow.table, OURS_COOKIE, OURS_COOKIE_MASK
            elif flow.cookie & (1 << 40) - 1 in cookies:
                place = flow.table, flow.cookie, ALL_BITS
            else:
                continue
            rules, groups = became.setdefault(switch, {}).get(place, (0, set()))
            became[switch][place] = rules + 1, groups | set(groups_in(flow.actions))
    return became


# -- which object ------------------------------------------------------------------------------------------


def find(conductor: Conductor, kind: str, name: str, tenant: str | None) -> Object:
    """The object. Refused, with near-miss names, where there is none, or more than one tenant has it."""
    if kind not in KINDS or kind == "flows":
        guess = nearest(kind, KINDS)
        raise Refused(404, "No such kind", f"there is no kind {kind!r}; "
                      + (f"did you mean {guess!r}?" if guess else f"there are {listed(KINDS)}"))  # fmt: skip
    items: list[Document] = views.KINDS[kind](conductor)[kind]
    if tenant is not None:
        check(conductor.intent.policy, tenant)
        if items and "tenant" not in items[0]:
            raise Refused(404, "No such object", f"{kind} are no tenant's: leave the tenant out")
        items = [item for item in items if item["tenant"] == tenant]
    same = [item for item in items if item["name"] == name]
    if not same:
        names = [str(item["name"]) for item in items]
        guess = nearest(name, names)
        some = listed(names[:10]) + (f", and {len(names) - 10} more" if len(names) > 10 else "")
        meant = f"did you mean {guess!r}?" if guess else f"there {'is none' if not names else f'is {some}'}"
        raise Refused(404, "No such object", f"none of the {kind} is named {name!r}; {meant}")
    if len(same) > 1:
        owners = sorted(item["tenant"] for item in same)
        what = f"tenants {listed(owners)} have one named {name!r}"
        raise Refused(409, "More than one", f"{what}: ?tenant={owners[0]}", f"{what}: --tenant {owners[0]}")
    return _placed(conductor, kind, name, same[0])


def _placed(conductor: Conductor, kind: str, name: str, document: Document) -> Object:
    """With the names of its rules and its ports."""
    computed, tenant = conductor.computed, document.get("tenant")
    own: set[str] = set()
    hosts: list[str] = []
    ends: list[End] = []
    if kind == "chains":
        own = {f"classifiers/{tenant}/{each}" for each in document["classifiers"]}
    elif kind == "functions":
        hosts = [each["host"] for each in document["instances"]]
        own = {f"functions/{tenant}/{name}", *(f"functions/{tenant}/{name}/{e['name']}" for e in document["instances"])}
    elif kind in ("classifiers", "services", "networks"):
        own = {f"{kind}/{tenant}/{name}"}
    elif kind == "policies":
        own = {f"{section}/{owner.name}/{each}" for owner, section, each, _ in _declared_by(conductor, name)}
    elif kind == "links":
        (state,) = [each for each in conductor.links if f"{each.link.a}-{each.link.b}" == name]
        own, ends = {f"links/{name}"}, [state.link.a, state.link.b]
    else:
        own = {f"{kind}/{name}"}
        hosts = [name] if kind == "hosts" else [document["host"]] if kind == "endpoints" else []
        own |= {f"hosts/{host}" for host in hosts}
    for host in hosts:
        known = computed.topology.hosts.get(host)
        ends += known.attach.values() if known is not None else ()
    whole = name if kind == "switches" else None
    return Object(kind, name, document, tenant if kind != "hosts" else None, frozenset(own), whole, tuple(ends))


def _declared_by(conductor: Conductor, policy: str) -> Iterator[tuple[Tenant, str, str, Position]]:
    """What a policy declares: whose, section, name, place."""
    intent = conductor.intent
    for tenant in intent.policy.tenants.values():
        for section in SECTIONS:
            for name, item in getattr(tenant, section).items():
                if intent.owner(tenant.name, section, name) == policy:
                    yield tenant, section, name, item.where


# -- the document ------------------------------------------------------------------------------------------


def _document(conductor: Conductor, found: Object, became: Became, counted: Read) -> Document:
    talks = conductor.talks()
    behind = [name for name in became if (talk := talks.get(name)) is None or not talk.connected
              or not talk.sync.in_sync]  # fmt: skip
    document: Document = {
        "kind": found.kind,
        "name": found.name,
        "tenant": found.tenant,
        "declared": _declared(conductor, found),
        "object": found.document,
        "rules": [
            {
                "switch": switch,
                "table": TABLE_NAMES.get(table, str(table)),
                "object": None if found.all else _object_of(conductor, cookie),
                "rules": rules,
                "groups": len(groups),
                **_sum(counted, switch, (table, cookie, mask)),
            }
            for switch, places in became.items()
            for (table, cookie, mask), (rules, groups) in sorted(places.items())
        ],
        "in_sync": not behind,
        "waiting": behind,
        "slots": _slots(conductor, found),
        "uses": _uses(conductor, found),
        "used_by": _used_by(conductor, found),
        "traffic": _traffic(conductor, found, counted),
        "events": _events(conductor, found),
        "silent": dict(counted.silent),
    }
    if found.kind == "policies":
        document["declares"] = [
            {"kind": section, "name": name, "tenant": tenant.name, "position": str(where)}
            for tenant, section, name, where in _declared_by(conductor, found.name)
        ]
        document["revisions"] = [
            {key: revision[key] for key in ("number", "at", "who", "what", "state")}
            for one in conductor.store.revisions(100)
            if found.name in (revision := conductor.outcomes.current(one).to_json())["policies"]
        ][:REVISIONS]
    return document


def _object_of(conductor: Conductor, cookie: int) -> str | None:
    name = object_name(cookie, conductor.computed.allocation)
    return None if name is None else shortened(name)


def _sum(counted: Read, switch: str, place: tuple[int, int, int]) -> Document:
    answers = counted.counted.get(switch)
    found = None if answers is None else answers.sums.get(place)
    return {"packets": None if found is None else found.packets, "bytes": None if found is None else found.octets}


def _declared(conductor: Conductor, found: Object) -> Document | None:
    """Where it is written, and in which policy; None for what was found by discovery."""
    if found.kind == "policies":
        return {"position": found.document["file"], "policy": found.name}
    if found.tenant is not None:
        item = getattr(conductor.intent.policy.tenants[found.tenant], found.kind).get(found.name)
        where = NOWHERE if item is None else item.where
        policy = conductor.intent.owner(found.tenant, found.kind, found.name)
        return None if where == NOWHERE else {"position": str(where), "policy": policy}
    text = Places(conductor.intent.policy, conductor.topology).text(f"{found.kind}/{found.name}")
    return None if text is None else {"position": text, "policy": None}


def _slots(conductor: Conductor, found: Object) -> dict[str, int] | None:
    """How many of 256 slots each member has, of what is chosen among."""
    if found.kind == "functions":
        return {each["name"]: each["slots"] for each in found.document["instances"]}
    if found.kind == "services":
        return {each["endpoint"]: each["slots"] for each in found.document["providers"]}
    return None


def _paths(computed: Computed, found: Object) -> list[Document] | None:
    """The ways of a chain between its edges, as `chainctl path` lists them."""
    if found.kind != "chains":
        return None
    alone = Policy({name: tenant for name, tenant in computed.policy.tenants.items() if name == found.tenant})
    every: list[Document] = paths(alone, computed.topology, computed.allocation, found.name)["chains"]
    return every


def _uses(conductor: Conductor, found: Object) -> list[Document]:
    """What it names."""
    if found.tenant is None:
        return []
    tenant = conductor.intent.policy.tenants[found.tenant]
    me = found.kind, found.name
    named = [name for name, by in used(tenant).items() if any((user.section, user.name) == me for user in by)]
    hosts = [each["host"] for each in found.document["instances"]] if found.kind == "functions" else []
    hosts += [found.document["host"]] if found.kind == "endpoints" else []
    chosen = [each["endpoint"] for each in found.document["providers"]] if found.kind == "services" else []
    return [
        *(_named(section, name, getattr(tenant, section)[name].where) for section, name in named
          if name in getattr(tenant, section)),
        *(_named("endpoints", name, tenant.endpoints[name].where) for name in chosen),
        *(_named("hosts", name, conductor.topology.hosts[name].where) for name in hosts
          if name in conductor.topology.hosts),
    ]  # fmt: skip


def _used_by(conductor: Conductor, found: Object) -> list[Document]:
    """Who names it; at a switch, what is attached to it."""
    topology, tenants = conductor.topology, conductor.intent.policy.tenants
    if found.kind == "switches":
        here = [host for host in topology.hosts.values() if any(e.switch == found.name for e in host.attach.values())]
        links = [link for link in topology.links if found.name in (link.a.switch, link.b.switch)]
        return [*(_named("links", f"{link.a}-{link.b}", link.where) for link in links),
                *(_named("hosts", host.name, host.where) for host in here)]  # fmt: skip
    if found.kind == "hosts":
        return [
            _named(section, name, where)
            for tenant in tenants.values()
            for section, name, where in _naming_host(tenant, found.name)
        ]
    if found.tenant is None:
        return []
    tenant = tenants[found.tenant]
    users = used(tenant).get((found.kind, found.name), ())
    return [_named(user.section, user.name, user.where) for user in users]


def _naming_host(tenant: Tenant, host: str) -> Iterator[tuple[str, str, Position]]:
    for endpoint in tenant.endpoints.values():
        if endpoint.host == host:
            yield "endpoints", endpoint.name, endpoint.where
    for function in tenant.functions.values():
        if any(instance.host == host for instance in function.instances.values()):
            yield "functions", function.name, function.where
    for classifier in tenant.classifiers.values():
        if any((party.kind, party.value) == ("host", host) for party in (classifier.source, classifier.destination)):
            yield "classifiers", classifier.name, classifier.where


def _named(kind: str, name: str, where: Position) -> Document:
    return {"kind": kind, "name": name, "position": None if where == NOWHERE else str(where)}


def _traffic(conductor: Conductor, found: Object, counted: Read) -> list[Document]:
    """What went over its ports: into the network (`in`), and out of it."""
    ports = []
    for end in found.ends:
        port = traffic_at(end, counted)
        ports.append(
            {
                "port": str(end),
                "packets_in": None if port is None else port.packets_in,
                "bytes_in": None if port is None else port.octets_in,
                "packets_out": None if port is None else port.packets_out,
                "bytes_out": None if port is None else port.octets_out,
            }
        )
    return ports


def _events(conductor: Conductor, found: Object) -> list[Document]:
    """The newest events about it."""
    concerns = _concerns(conductor, found)
    every, _ = conductor.events.after(0)
    mine = [event for event in every if concerns(event.kind, event.data)]
    return [{"at": event.at, "kind": event.kind, **event.data} for event in mine[-EVENTS:]]


def _concerns(conductor: Conductor, found: Object) -> Callable[[str, Mapping[str, Any]], bool]:
    if found.kind == "switches":
        return lambda kind, data: data.get("switch") == found.name
    if found.kind == "links":
        return lambda kind, data: data.get("link") == " - ".join(found.document["ends"])
    if found.kind in ("functions", "services"):
        begin = f"{found.kind}/{found.tenant}/{found.name}/"
        return lambda kind, data: str(data.get("name", "")).startswith(begin)
    if found.kind == "policies":
        numbers = {one.number for one in conductor.store.revisions(100) if found.name in one.policies}
        return lambda kind, data: kind.startswith("change.") and data.get("revision") in numbers
    return lambda kind, data: False


def install(app: FastAPI, runtime: Runtime) -> None:
    """Add the path."""

    @app.get("/api/v1/describe")
    def describe_one(kind: str, name: str, tenant: str | None = None) -> Document:
        """Everything about one object: where it is declared, what it became on the switches, with counters, how it is,
        what it uses and who uses it, and what happened to it. `kind` is one of the lists' names, or flows, whose
        `name` is a switch or the object that rules are for."""
        if kind == "flows":
            return flows(runtime, name)
        return describe(runtime, kind, name, tenant)
