"""How the running controller steers, as JSON documents: service routers, label names, switches' facts, metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from controller_app.api import service_views
from controller_app.health.instances import STATES, InstanceState
from controller_app.model.policy import Function, Network, Segment, Tenant
from controller_app.model.topology import Host
from controller_app.openflow.versions import faults_of, read_version
from controller_app.policy.membership import Membership, memberships, segment_endpoints
from controller_app.routing.distances import Routes
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.conversation import Conversation
from controller_app.verification.decode_label import names_of

Document = dict[str, Any]


def service_routers(conductor: Conductor) -> Document:
    """Per network and segment whose traffic is led through functions: its gateways, the functions in the order
    they are met when leaving, and each instance's ports with the way's cost from the edge switches inside."""
    policy, topology = conductor.computed.policy, conductor.computed.topology
    routes = Routes(topology)
    members = memberships(policy, topology)
    listed = []
    for tenant in policy.tenants.values():
        places: list[Network | Segment] = [*tenant.networks.values(), *tenant.segments.values()]
        for place in places:
            if not place.insert:
                continue
            network = tenant.networks[place.network] if isinstance(place, Segment) else place
            edges = sorted(set(_edges(conductor, members, tenant, place)))
            listed.append(
                {
                    "name": place.name,
                    "kind": "segment" if isinstance(place, Segment) else "network",
                    "tenant": tenant.name,
                    "network": network.name,
                    "covers": _covers(place),
                    "gateways": [str(gateway) for gateway in network.gateways],
                    "edges": edges,
                    "functions": [
                        _function(conductor, routes, tenant, tenant.functions[name], edges) for name in place.insert
                    ],
                }
            )
    return {"service-routers": listed}


def _covers(place: Network | Segment) -> list[str]:
    """The addresses, or the selector, that say who is inside."""
    if isinstance(place, Network):
        return [str(subnet) for subnet in place.subnets]
    if place.cidr is not None:
        return [str(place.cidr)]
    return [] if place.selector is None else [place.selector.text]


def _edges(
    conductor: Conductor, members: Mapping[str, Membership], tenant: Tenant, place: Network | Segment
) -> Iterator[str]:
    """The switches of the hosts inside."""
    network = place.network if isinstance(place, Segment) else place.name
    chosen: set[str] = set()
    if isinstance(place, Segment):
        chosen = {endpoint.host for endpoint in segment_endpoints(place, tenant.endpoints)}
    for name, member in members.items():
        if (member.tenant, member.network) != (tenant.name, network):
            continue
        host: Host = conductor.computed.topology.hosts[name]
        inside = isinstance(place, Network) or name in chosen
        if isinstance(place, Segment) and place.cidr is not None:
            inside = any(ip in place.cidr for ip in host.ips)
        if inside:
            yield from (end.switch for end in host.attach.values())


def _function(conductor: Conductor, routes: Routes, tenant: Tenant, function: Function, edges: list[str]) -> Document:
    computed = conductor.computed
    slots = Counter(computed.allocation.slots.get(f"functions/{tenant.name}/{function.name}"))
    states = conductor.checking.instance_states(computed)
    instances = []
    for instance in function.instances.values():
        host = computed.topology.hosts.get(instance.host)
        attach = {} if host is None else host.attach
        entry = attach.get("in") or attach.get("")
        cost = {} if entry is None or entry.switch not in computed.topology.switches else routes.row(entry.switch).cost
        instances.append(
            {
                "name": instance.name,
                "host": instance.host,
                "slots": slots[instance.name],
                "ports": {arm or "in": str(end) for arm, end in attach.items()},
                "down": any(end in computed.topology.down for end in attach.values()),
                "state": states[tenant.name, function.name, instance.name].word,
                "costs": {edge: cost.get(edge) for edge in edges},
            }
        )
    return {"name": function.name, "mode": function.mode, "instances": instances}


def function(conductor: Conductor, tenant: Tenant, function: Function) -> Document:
    """A function, how it is checked, and what its instances are."""
    slots = Counter(conductor.computed.allocation.slots.get(f"functions/{tenant.name}/{function.name}"))
    states = conductor.checking.instance_states(conductor.computed)
    instances = []
    for each in function.instances.values():
        state = states.get((tenant.name, function.name, each.name), InstanceState("down", "not computed yet"))
        instances.append(
            {
                "name": each.name,
                "host": each.host,
                "state": state.word,
                "reason": state.reason,
                "weight": each.weight,
                # who does not work keeps his place in a table that nobody reads
                "slots": slots[each.name] if state.word == "working" or function.mode == "tap" else 0,
            }
        )
    return {
        "name": function.name,
        "tenant": tenant.name,
        "kind": function.kind,
        "mode": function.mode,
        "handover": function.handover,
        "on_failure": function.on_failure,
        "health": None if function.health is None else service_views.health(function.health),
        "instances": instances,
    }


def labels(conductor: Conductor) -> Document:
    """The names behind the numbers in labels, for reading captures."""
    computed = conductor.computed
    return names_of(computed.policy, computed.topology, computed.allocation).to_json()


def facts(conductor: Conductor, conversation: Conversation | None) -> Document:
    """What is known of one switch, and how it hashes connections to slots."""
    known = None if conversation is None else conversation.facts
    version = None if known is None or known.version is None else read_version(known.version)
    if conductor.computed.portable:
        way = f"portable: {conductor.hashing.why}"
    elif known is None or known.symmetric is None:
        way = "dp_hash, not tried yet"
    else:
        way = "dp_hash, the same in both directions" if known.symmetric else "dp_hash, not the same in both directions"
    return {
        "version": None if known is None else known.version,
        "meters": None if known is None else known.meters,
        "capabilities": None if conversation is None else conversation.capabilities.to_json(),
        "lacks": [] if conversation is None else list(conversation.capabilities.lacking),
        "hash": way,
        "symmetric": None if known is None else known.symmetric,
        "faults": [] if version is None else [fault.name for fault in faults_of(version)],
        "fault_notes": [] if version is None else [fault.what for fault in faults_of(version)],
        "refused": [] if conversation is None else _refused(conversation),
    }


def _refused(conversation: Conversation) -> list[Document]:
    return [
        {"port": place.port, "reason": place.reason, "frames": frames}
        for place, frames in sorted(
            conversation.refused.totals.items(), key=lambda item: (item[0].port or 0, item[0].reason)
        )
        if frames
    ]


def refused_of(conductor: Conductor, host: Host) -> int:
    """How many frames were refused at the ports of a host."""
    total = 0
    for end in host.attach.values():
        switch = conductor.topology.switches.get(end.switch)
        conversation = None if switch is None else conductor.conversations.get(switch.dpid)
        if conversation is not None and isinstance(end.port, int):
            total += conversation.refused.at(end.port)
    return total


def metrics(conductor: Conductor) -> str:
    """Prometheus' text format, version 0.0.4."""
    lines = [
        "# HELP chainsteer_refused_frames_total Frames dropped at admission, as of the last audit.",
        "# TYPE chainsteer_refused_frames_total counter",
    ]
    for dpid, conversation in sorted(conductor.conversations.items()):
        for place, frames in sorted(
            conversation.refused.totals.items(), key=lambda item: (item[0].port or 0, item[0].reason)
        ):
            port = "" if place.port is None else str(place.port)
            name = quoted(conductor.name_of(dpid))
            lines.append(
                f'chainsteer_refused_frames_total{{switch="{name}",port="{port}",reason="{place.reason}"}} {frames}'
            )
    lines += [
        "# HELP chainsteer_answers_total Senders told that a packet ended in the network, or held back.",
        "# TYPE chainsteer_answers_total counter",
    ]
    lines += [f'chainsteer_answers_total{{kind="{kind}"}} {n}' for kind, n in sorted(conductor.teller.told.items())]
    lines += [
        "# HELP chainsteer_switch_in_sync Whether a switch is connected and holds what it should.",
        "# TYPE chainsteer_switch_in_sync gauge",
    ]
    for dpid, conversation in sorted(conductor.conversations.items()):
        held = int(conversation.connected and conversation.sync.in_sync)
        lines.append(f'chainsteer_switch_in_sync{{switch="{quoted(conductor.name_of(dpid))}"}} {held}')
    lines += [
        "# HELP chainsteer_function_instances Instances of a function, by state.",
        "# TYPE chainsteer_function_instances gauge",
    ]
    found = Counter(
        (tenant, function, state.word)
        for (tenant, function, _), state in conductor.checking.instance_states(conductor.computed).items()
    )
    for tenant, name in dict.fromkeys((tenant, name) for tenant, name, _ in found):
        for word in STATES:
            named = f'tenant="{quoted(tenant)}",function="{quoted(name)}",state="{word}"'
            lines.append(f"chainsteer_function_instances{{{named}}} {found[tenant, name, word]}")
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """A label's value: backslash, quotation mark and line feed are escaped."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
