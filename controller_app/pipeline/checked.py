"""Answers to health checks come up: what a service's provider, or a function's instance, sends to its gateway from the
port that is checked, and instances' echo replies.

Checks themselves are sent out of the checked one's port by the controller; see `controller_app.health`. Answers to ARP
and neighbour solicitations come up without rules of their own (`answers`). Frames that go through a function come up by
rules of `crossed`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from controller_app.balancing.labelled import Labelled
from controller_app.model.flow import CONTROLLER, Output
from controller_app.model.topology import IPAddress
from controller_app.pipeline import labels
from controller_app.pipeline.build import Fields, Rules
from controller_app.pipeline.tables import GATEWAY_MAC, IP, IPV6, ZONE
from controller_app.pipeline.views import World
from controller_app.policy.health import FROM_A_GATEWAY, asked_of, checked_port, gateway_for


class Reply(NamedTuple):
    """What answers a check: from the TCP port (0: an echo reply) of the host at the port with this zone, to this
    gateway. `owner`, a service or a function, wants it."""

    zone: int
    port: int
    gateway: IPAddress
    owner: str


def replies(world: World) -> Mapping[str, tuple[Reply, ...]]:
    """By switch, the replies of all that services with connecting checks match, and of the instances that are asked:
    also of those that do not serve now, since that is how they come back."""
    found: dict[str, dict[Reply, None]] = {}
    for switch, reply in (*_replies(world), *_of_functions(world)):
        found.setdefault(switch, {})[reply] = None
    return {switch: tuple(here) for switch, here in found.items()}


def depends(world: World) -> tuple[object, ...]:
    """What `replies` is made of."""
    tenants = [t for t in world.policy.tenants.values() if any(map(checked_port, t.services.values()))]
    parts: list[object] = [(tenant.name, tenant.services, tenant.endpoints, tenant.networks) for tenant in tenants]
    parts += [world.services[f"{t.name}/{s.name}"].providers for t in tenants for s in t.services.values() if s.health]
    parts += [
        (tenant.name, tenant.functions, tenant.networks)
        for tenant in world.policy.tenants.values()
        if any(function.health is not None for function in tenant.functions.values())
    ]
    return (world.hosts, world.topology.hosts, tuple(parts)) if parts else ()


def _replies(world: World) -> Iterator[tuple[str, Reply]]:
    for tenant in world.policy.tenants.values():
        if not any(map(checked_port, tenant.services.values())):
            continue
        labelled = Labelled(tenant.endpoints)
        for service in tenant.services.values():
            port = checked_port(service)
            if port is None:
                continue
            found = [world.hosts.get(endpoint.host) for endpoint in labelled.matching(service.selector)]
            found += world.services[f"{tenant.name}/{service.name}"].providers.values()  # also of those who leave
            for host in found:
                for version in (4, 6) if host is not None else ():
                    assert host is not None
                    ip = host.ip(version)
                    gateway = None if ip is None else gateway_for(tenant, host.network, ip)
                    if gateway is not None:
                        yield host.switch, Reply(host.zone, port, gateway, f"services/{tenant.name}/{service.name}")


def _of_functions(world: World) -> Iterator[tuple[str, Reply]]:
    for tenant in world.policy.tenants.values():
        for function in tenant.functions.values():
            health = function.health
            if health is None or health.probe not in FROM_A_GATEWAY:
                continue
            for instance in function.instances.values():
                host = world.topology.hosts.get(instance.host)
                for asked in asked_of(tenant, function, host) if host is not None else ():
                    at = world.hosts.get(f"{instance.host}:out" if asked.arm == "out" else instance.host)
                    if at is not None and asked.gateway is not None:
                        owner = f"functions/{tenant.name}/{function.name}"
                        yield at.switch, Reply(at.zone, health.port, asked.gateway, owner)


def checked(rules: Rules, here: tuple[Reply, ...]) -> None:
    """Let the replies that are to be had at one switch come up."""
    wanted: dict[Reply, str] = {}
    for reply in here:  # services that share a port's checks share the rule
        wanted.setdefault(reply._replace(owner=""), reply.owner)
    for reply, owner in wanted.items():
        version = reply.gateway.version
        where: Fields = {f"ipv{version}_dst": int(reply.gateway)}
        if reply.port:
            protocol, where["tcp_src"] = 6, reply.port
        else:
            protocol, kind, number = (1, "icmp_type", 0) if version == 4 else (58, "icmpv6_type", 129)
            where[kind] = number
        rules.add(
            "respond",
            "exact",
            owner,
            (Output(CONTROLLER),),
            reg1=labels.bits(ZONE, reply.zone),
            eth_dst=GATEWAY_MAC,
            eth_type=IP if version == 4 else IPV6,
            ip_proto=protocol,
            **where,
        )
