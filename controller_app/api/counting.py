"""What chains, functions, services and links have counted by now: switches are asked when somebody wants to know.

Counters, not rates: who asks twice has what came in between, by `at`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from controller_app.api import link_views, service_views
from controller_app.model.flow import FlowState
from controller_app.model.topology import End, Host
from controller_app.openflow.counted import ALL_BITS, PortTraffic
from controller_app.pipeline.cookies import KINDS, is_ours, object_name
from controller_app.pipeline.tables import NUMBER
from controller_app.runtime.conductor import Conductor
from controller_app.runtime.control import Runtime
from controller_app.runtime.live_counters import Read, Wanted, read
from controller_app.runtime.service_stats import read_fresh

Document = dict[str, Any]
CLASSIFY = NUMBER["classify"]
_CLASSIFIERS = KINDS.index("classifiers")
UNITS = ("packets_in", "bytes_in", "packets_out", "bytes_out")
_OF_SERVICES = ("state", "slots", "opened", "left", "active", *UNITS)


class Counting:
    """Asks, and remembers which classifiers have rules on which switch."""

    def __init__(self) -> None:
        self._of: FlowState | None = None
        self._cookies: Mapping[str, frozenset[int]] = {}

    def read(self, runtime: Runtime) -> Document:
        """The counters of now, of the switches that tell in time."""
        counted = read(runtime, runtime.call(self._wanted))
        if runtime.call(lambda conductor: any(t.services for t in conductor.computed.policy.tenants.values())):
            read_fresh(runtime)
        return runtime.call(lambda conductor: counters(conductor, counted))

    def _wanted(self, conductor: Conductor) -> dict[str, Wanted]:
        state = conductor.computed.state
        if state is not self._of:
            self._of, self._cookies = state, classifying(state)
        return {
            name: Wanted(sums=[(CLASSIFY, cookie, ALL_BITS) for cookie in self._cookies.get(name, ())], ports=True)
            for name in conductor.topology.switches
        }


def classifying(state: FlowState) -> dict[str, frozenset[int]]:
    """The cookies of classifiers in each switch's rules that classify."""
    return {
        name: frozenset(
            flow.cookie
            for flow in held.flows.values()
            if flow.table == CLASSIFY and is_ours(flow.cookie) and flow.cookie >> 40 & 0xFF == _CLASSIFIERS
        )
        for name, held in state.items()
    }


def counters(conductor: Conductor, counted: Read) -> Document:
    """The document: `at` in seconds by the controller's clock; packets and bytes since the rules and ports are there,
    null where nobody told. Of a chain, what was classified into it at all switches; of an instance and a provider, to
    it (`in`) and from it (`out`); of a link, by direction, from its first end to the second and back. `silent`:
    switches that did not tell, and why."""
    return {
        "at": round(conductor.now(), 3),
        "chains": _chains(conductor, counted),
        "functions": _instances(conductor, counted),
        "services": _providers(conductor),
        "links": _links(conductor, counted),
        "silent": dict(counted.silent),
    }


def _chains(conductor: Conductor, counted: Read) -> list[Document]:
    allocation = conductor.computed.allocation
    sums: dict[str, list[int]] = {}
    for answers in counted.counted.values():
        for (_, cookie, _), found in answers.sums.items():
            both = sums.setdefault(object_name(cookie, allocation) or "", [0, 0])
            both[0] += found.packets
            both[1] += found.octets
    listed = []
    for tenant in conductor.intent.policy.tenants.values():
        for chain in tenant.chains.values():
            leading = [c.name for c in tenant.classifiers.values() if c.then.chain == chain.name]
            own = [sums[name] for each in leading if (name := f"classifiers/{tenant.name}/{each}") in sums]
            packets, octets = (sum(each[at] for each in own) if counted.counted else None for at in (0, 1))
            listed.append({"name": chain.name, "tenant": tenant.name, "packets": packets, "bytes": octets})
    return listed


def _instances(conductor: Conductor, counted: Read) -> list[Document]:
    computed = conductor.computed
    states = conductor.checking.instance_states(computed)
    return [
        {
            "name": function.name,
            "tenant": tenant.name,
            "instance": instance.name,
            "state": state.word if (state := states.get((tenant.name, function.name, instance.name))) else None,
            **of_host(computed.topology.hosts.get(instance.host), counted),
        }
        for tenant in computed.policy.tenants.values()
        for function in tenant.functions.values()
        for instance in function.instances.values()
    ]


def of_host(host: Host | None, counted: Read) -> dict[str, int | None]:
    """What went to a host, and came from it, over all of its arms; null where a port is not known."""
    found = [traffic_at(end, counted) for end in host.attach.values()] if host is not None else []
    known = [port for port in found if port is not None]
    if not known or len(known) < len(found):
        return dict.fromkeys(UNITS)
    # What a port sends goes to the host.
    counts = zip(*((p.packets_out, p.octets_out, p.packets_in, p.octets_in) for p in known), strict=True)
    return dict(zip(UNITS, (None if None in each else sum(n for n in each if n) for each in counts), strict=True))


def traffic_at(end: End, counted: Read) -> PortTraffic | None:
    """What a port counted, where its switch told."""
    answers = counted.counted.get(end.switch)
    return None if answers is None or not isinstance(end.port, int) else answers.ports.get(end.port)


def _providers(conductor: Conductor) -> list[Document]:
    return [
        {
            "name": service["name"],
            "tenant": service["tenant"],
            "provider": provider["endpoint"],
            **{key: provider[key] for key in _OF_SERVICES},
        }
        for service in service_views.services(conductor)["services"]
        for provider in (*service["providers"], *service["leaving"])
    ]


def _links(conductor: Conductor, counted: Read) -> list[Document]:
    listed = []
    for state in conductor.links:
        first, second = traffic_at(state.link.a, counted), traffic_at(state.link.b, counted)
        ways = ((first, second), (second, first))
        listed.append(
            {
                "name": link_views.name_of(state),
                "state": state.state,
                "capacity": conductor.load.use_of(state, conductor.ports).capacity,
                "packets": [
                    sent.packets_out if sent else received.packets_in if received else None for sent, received in ways
                ],
                "bytes": [
                    sent.octets_out if sent else received.octets_in if received else None for sent, received in ways
                ],
            }
        )
    return listed


def install(app: FastAPI, runtime: Runtime) -> None:
    """Add the path."""
    counting = Counting()

    @app.get("/api/v1/counters")
    def now() -> Document:
        """What chains, functions' instances, services' providers and links counted; switches are asked for it now."""
        return counting.read(runtime)
