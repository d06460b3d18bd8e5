"""The running controller's state as JSON documents."""

from __future__ import annotations

from typing import Any

from controller_app.api import link_views, object_views, service_views, steering_views, warning_views
from controller_app.api.parties import written
from controller_app.api.preconditions import etag
from controller_app.model.flow import Flow
from controller_app.model.policy import Require, Verdict
from controller_app.model.position import Diagnostic
from controller_app.pipeline.cookies import object_name
from controller_app.pipeline.ofctl import format_actions, format_match
from controller_app.pipeline.tables import TABLE_NAMES
from controller_app.policy.exporting import exported
from controller_app.policy.membership import memberships
from controller_app.routing.constraints import bits, seconds
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.intent import source_name

Document = dict[str, Any]


def topology(conductor: Conductor) -> Document:
    """The network as it is taken to be."""
    found = conductor.topology
    return {
        "switches": [
            {"name": s.name, "dpid": f"{s.dpid:#x}", "rack": s.rack, "zone": s.zone, "region": s.region}
            for s in found.switches.values()
        ],
        "links": link_views.used(conductor),
        "hosts": hosts(conductor)["hosts"],
        "disagreements": list(conductor.disagreements),
    }


def switches(conductor: Conductor) -> Document:
    """Every switch, with what it holds and whether that is what it should."""
    listed = []
    ports = conductor.ports
    for switch in conductor.topology.switches.values():
        conversation = conductor.conversations.get(switch.dpid)
        wanted = conductor.computed.state.get(switch.name)
        listed.append(
            {
                "name": switch.name,
                "dpid": f"{switch.dpid:#x}",
                "connected": conversation is not None and conversation.connected,
                "in_sync": conversation is not None and conversation.sync.in_sync,
                "problem": conductor.shortfall.of(switch.name)
                or (None if conversation is None else conversation.sync.problem),
                "flows": 0 if wanted is None else len(wanted.flows),
                "groups": 0 if wanted is None else len(wanted.groups),
                "foreign_flows": 0 if conversation is None else conversation.foreign_flows,
                **steering_views.facts(conductor, conversation),
                "dropped_discovery": link_views.dropped(conductor, switch.dpid),
                "restarts": conductor.discovery.damping.failures[switch.dpid],
                "ports": [
                    {"number": port.number, "name": port.name, "up": port.up, "speed": port.speed}
                    for _, port in sorted(ports.get(switch.dpid, {}).items())
                    if port.physical
                ],
            }
        )
    return {"switches": listed}


def hosts(conductor: Conductor) -> Document:
    """Every host, declared or found."""
    found = conductor.topology
    members = memberships(conductor.intent.policy, found)
    listed = []
    for host in found.hosts.values():
        member = members.get(host.name)
        listed.append(
            {
                "name": host.name,
                "attach": {arm: str(end) for arm, end in host.attach.items()}
                if len(host.attach) > 1
                else str(next(iter(host.attach.values()))),
                "ips": [str(ip) for ip in host.ips],
                "mac": host.mac,
                "declared": conductor.is_declared(host.name),
                "refused": steering_views.refused_of(conductor, host),
                "tenant": None if member is None else member.tenant,
                "network": None if member is None else member.network,
            }
        )
    return {"hosts": listed}


def functions(conductor: Conductor) -> Document:
    """Functions, how they are checked, their instances with their states, and how many of 256 slots each has."""
    return {
        "functions": [
            steering_views.function(conductor, tenant, function)
            for tenant in conductor.intent.policy.tenants.values()
            for function in tenant.functions.values()
        ]
    }


def chains(conductor: Conductor) -> Document:
    """Chains, and the classifiers that lead into them."""
    return {
        "chains": [
            {
                "name": chain.name,
                "tenant": tenant.name,
                "through": list(chain.through),
                "return": chain.returns if isinstance(chain.returns, str) else list(chain.returns),
                "transport": chain.transport,
                "stickiness": chain.stickiness,
                "spread": chain.spread,
                "require": None if chain.require is None else _required(chain.require),
                "unmet": [
                    item.what
                    for item in conductor.computed.compiled.unmet
                    if item.position in (chain.where, chain.require.where if chain.require is not None else None)
                ],
                "classifiers": [c.name for c in tenant.classifiers.values() if c.then.chain == chain.name],
            }
            for tenant in conductor.intent.policy.tenants.values()
            for chain in tenant.chains.values()
        ]
    }


def _required(require: Require) -> Document:
    """What a chain requires, in the units of the policy language."""
    found: Document = {
        "latency": None if require.latency is None else seconds(require.latency),
        "bandwidth": None if require.bandwidth is None else bits(require.bandwidth),
        "within": require.within,
        "avoid": None if require.avoid is None else require.avoid.text,
        "prefer": None if require.prefer is None else require.prefer.text,
        "apart": require.apart or None,
        "backup": require.backup or None,
    }
    return {word: value for word, value in found.items() if value is not None}


def classifiers(conductor: Conductor) -> Document:
    """Classifiers, with where they are written."""
    return {
        "classifiers": [
            {
                "name": item.name,
                "tenant": tenant.name,
                "from": written(item.source),
                "to": written(item.destination),
                "traffic": [_traffic(t.protocol, t.low, t.high) for t in item.traffic],
                "dscp": list(item.dscp),
                "after": item.after,
                "then": _verdict(item.then),
                "priority": item.priority,
                "position": str(item.where),
            }
            for tenant in conductor.intent.policy.tenants.values()
            for item in tenant.classifiers.values()
        ]
    }


def policies(conductor: Conductor) -> Document:
    """The applied policies."""
    return {
        "policies": [
            {"name": name, "file": conductor.intent.stored[name].file or None, "etag": etag(text)}
            for name in conductor.intent.names
            if (text := conductor.intent.text(name)) is not None
        ]
    }


def export(conductor: Conductor) -> Document:
    """Every applied policy as a file for another controller: its text by its name, with `must_understand` as what it
    uses needs it. POST /policies takes it as it is."""
    intent = conductor.intent
    texts = {
        name: exported(stored.text, source_name(stored) or name, intent.policy)
        for name, stored in intent.stored.items()
        if stored.text is not None
    }
    return {"policies": texts}


def flows(conductor: Conductor, switch: str | None = None) -> Document:
    """What the switches are to hold, readable."""
    allocation = conductor.computed.allocation
    return {
        "flows": [
            flow(name, each, object_name(each.cookie, allocation))
            for name, state in conductor.computed.state.items()
            if switch in (None, name)
            for each in sorted(state.flows.values(), key=lambda f: (f.table, -f.priority, f.match))
        ]
    }


def problem(diagnostic: Diagnostic) -> Document:
    """A diagnostic with its position."""
    place = diagnostic.position
    return {
        "file": place.file,
        "line": max(1, place.line),
        "column": max(1, place.column),
        "path": diagnostic.path,
        "what": diagnostic.what,
        "remedy": diagnostic.remedy,
        "severity": diagnostic.severity,
    }


KINDS = {
    "switches": switches,
    "links": link_views.links,
    "hosts": hosts,
    "functions": functions,
    "chains": chains,
    "classifiers": classifiers,
    "networks": object_views.networks,
    "endpoints": object_views.endpoints,
    "services": service_views.services,
    "service-routers": steering_views.service_routers,
    "policies": policies,
    "export": export,
    "warnings": warning_views.warnings,
}


def flow(switch: str, flow: Flow, owner: str | None) -> Document:
    """A rule, readable."""
    return {
        "switch": switch,
        "table": TABLE_NAMES.get(flow.table, str(flow.table)),
        "priority": flow.priority,
        "match": ",".join(format_match(flow.match)),
        "object": owner,
        "actions": format_actions(flow.actions, flow.goto, TABLE_NAMES),
    }


def _verdict(verdict: Verdict) -> str | Document:
    """As it is written: one word, or what is done with what passes."""
    more = {"limit": verdict.limit, "dscp": verdict.dscp, "queue": verdict.queue}
    marks = {key: value for key, value in more.items() if value is not None}
    if verdict.chain is not None:
        return {"chain": verdict.chain, **marks}
    return {verdict.action: True, **marks} if marks else verdict.action


def _traffic(protocol: str, low: int, high: int) -> str:
    if protocol == "icmp" or (low, high) == (0, 65535):
        return protocol
    return f"{protocol}/{low}" if low == high else f"{protocol}/{low}-{high}"
