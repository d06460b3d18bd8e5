"""Services as JSON documents: addresses, ports, names, providers with their state, and what they were used for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from controller_app.api.parties import written
from controller_app.balancing.usage import Provider, Used
from controller_app.health.states import ProviderState
from controller_app.model.policy import Health, Policy, Service, Tenant
from controller_app.model.topology import Host, IPAddress
from controller_app.naming import fqdn
from controller_app.policy.membership import matching
from controller_app.runtime.computed import Computed
from controller_app.runtime.conductor import Conductor

Document = dict[str, Any]
_SUMMED = ("opened", "left", "packets_in", "packets_out", "bytes_in", "bytes_out")
States = Mapping[tuple[str, str, str], ProviderState]


def services(conductor: Conductor) -> Document:
    """Services, their addresses, and everyone their selectors match (`providers`), or did and has connections
    (`leaving`)."""
    known = states(conductor)
    return {
        "services": [
            _service(conductor, tenant, each, known)
            for tenant in conductor.intent.policy.tenants.values()
            for each in tenant.services.values()
        ]
    }


def service(conductor: Conductor, tenant: str, name: str) -> Document | None:
    """One service; None when there is none of that name."""
    owner = conductor.intent.policy.tenants.get(tenant, Tenant())
    if name not in owner.services:
        return None
    computed = conductor.computed
    running = computed.policy.tenants.get(tenant, Tenant())
    alone = replace(running, services={key: each for key, each in running.services.items() if key == name})
    only = replace(computed, policy=Policy({**computed.policy.tenants, tenant: alone}))
    return _service(conductor, owner, owner.services[name], states(conductor, only))


def states(conductor: Conductor, of: Computed | None = None) -> States:
    """The state of every provider of every service (of those of a part of what was computed), by tenant, service and
    endpoint."""
    return conductor.checking.states(of or conductor.computed, conductor.stats.now)


def _service(conductor: Conductor, tenant: Tenant, service: Service, known: States) -> Document:
    allocation = conductor.computed.allocation
    key = f"{tenant.name}/{service.name}"
    slots = Counter(allocation.slots.get(f"services/{key}"))
    ips = allocation.addresses.get(key, ())
    providers: list[Document] = []
    left: list[Document] = []
    total = Counter[str]()
    gone = [tenant.endpoints[name] for name in conductor.computed.leaving.get(key, ()) if name in tenant.endpoints]
    for endpoint in (*matching(service.selector, tenant.endpoints), *gone):
        state = known.get((tenant.name, service.name, endpoint.name), ProviderState("down", "not computed yet"))
        used = conductor.stats.of(Provider(tenant.name, service.name, endpoint.name))
        counts = _used(used, conductor.stats.now)
        total.update({name: counts[name] for name in _SUMMED if counts[name] is not None})
        host = conductor.computed.topology.hosts.get(endpoint.host)
        (left if state.word == "leaving" else providers).append(
            {
                "endpoint": endpoint.name,
                "host": endpoint.host,
                "ips": [] if host is None else [str(ip) for ip in _ips(host)],
                "state": state.word,
                "reason": _reason(state, used),
                "weight": endpoint.weight,
                # who does not serve keeps his place in a table that nobody reads
                "slots": slots[endpoint.name] if state.word in ("serving", "draining") else 0,
                **counts,
            }
        )
    return {
        "name": service.name,
        "tenant": tenant.name,
        "network": service.network,
        "ips": list(ips),
        "dns": fqdn(tenant.name, service.name),
        "ports": [str(port) for port in service.ports],
        "selector": service.selector.text,
        "session_affinity": None if service.session_affinity is None else f"{service.session_affinity:g}s",
        "prefer": service.prefer,
        "health": None if service.health is None else health(service.health),
        "expose": service.expose if isinstance(service.expose, str) else [written(each) for each in service.expose],
        "policy": conductor.intent.owner(tenant.name, "services", service.name),
        "providers": providers,
        "leaving": left,
        "near": _near(conductor, key),
        "total": {"left": None, **total} if providers or left else {},
    }


def _near(conductor: Conductor, key: str) -> list[Document]:
    """Where clients have other slots than those of the providers' list, because they are near to some."""
    places: dict[tuple[str, ...], list[str]] = {}
    for switch, table in conductor.computed.compiled.services.near(key).items():
        places.setdefault(table, []).append(switch)
    return [{"switches": switches, "slots": dict(Counter(table))} for table, switches in places.items()]


def _ips(host: Host) -> tuple[IPAddress, ...]:
    return host.arm_ips(next(iter(host.attach), ""))


def _used(used: Used, now: float) -> Document:
    return {
        "opened": used.opened,
        "left": used.left,
        "active": used.active(now),
        "packets_per_second": round(used.rate, 1) if used.active(now) else 0.0,
        "packets_in": used.packets_in,
        "packets_out": used.packets_out,
        "bytes_in": used.bytes_in,
        "bytes_out": used.bytes_out,
    }


def _reason(state: ProviderState, used: Used) -> str:
    """Why a provider is in its state; of one that drains or leaves, what is left too."""
    if state.word not in ("draining", "leaving") or used.left is None:
        return state.reason
    return f"{used.left} left; {state.reason}"


def health(health: Health) -> Document:
    """How providers or instances are checked, as it is written."""
    probe = {"tcp": f"tcp/{health.port}", "http": f"http://:{health.port}{health.path}"}.get(health.probe, health.probe)
    held = {} if health.hold is None else {"hold": f"{health.hold:g}s"}
    return {"probe": probe, "interval": f"{health.interval:g}s", "misses": health.misses, **held}
