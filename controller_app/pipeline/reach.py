"""Who reaches a service: at the edges of those who may, packets for its address are for the service; packets of others,
and for ports it has not, are refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

from controller_app.model.policy import Party
from controller_app.pipeline import labels
from controller_app.pipeline.answers import answer, echo
from controller_app.pipeline.boxes import Prefix, address_fields, prefix_of
from controller_app.pipeline.build import Fields, Rules, put, write
from controller_app.pipeline.functions import write_in_port_none
from controller_app.pipeline.labels import Label
from controller_app.pipeline.parties import Parties
from controller_app.pipeline.regions import protocol_number
from controller_app.pipeline.serving import ICMP_ERRORS
from controller_app.pipeline.tables import GATEWAY_MAC, IP, IPV6, RESUMED, SERVICE, TENANT
from controller_app.pipeline.views import HostView, ServiceView, World
from controller_app.policy.exposure import openers

Grants = tuple[Prefix, ...] | None  # who may reach a service; None: everyone


class Reach:
    """Which services the packets of a switch can be for."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._parties: dict[str, Parties] = {}
        self._granted: dict[str, tuple[Prefix, ...]] = {}

    def grants(self, view: ServiceView) -> Grants:
        """Where the packets of a service's clients come from."""
        if view.service.expose == "everyone":
            return None
        found = self._granted.get(view.key)
        if found is None:
            named = _named(view, self._opened[view.tenant])
            parties = self._parties.get(view.tenant)
            if parties is None:
                parties = self._parties[view.tenant] = Parties(self._world, self._world.policy.tenants[view.tenant])
            found = tuple(dict.fromkeys(prefix for party in named for prefix in parties.prefixes(party)))
            self._granted[view.key] = found
        return found

    @cached_property
    def _opened(self) -> Mapping[str, Mapping[str, list[Party]]]:
        return {name: openers(tenant) for name, tenant in self._world.policy.tenants.items()}

    def sources(self, view: ServiceView, switch: str) -> tuple[Prefix | None, ...]:
        """Where packets of this switch's hosts may come from to reach the service; (None,): they all may."""
        here = self._here.get(switch, {}).get(view.tenant)
        if here is None:
            return ()
        grants = self.grants(view)
        if grants is None:
            return (None,)
        return tuple(dict.fromkeys(_common(here, grants)))

    def at(self, view: ServiceView, switch: str) -> bool:
        """Whether any packet can start its way to the service there."""
        return bool(self.sources(view, switch)) or self.again(view, switch)

    def again(self, view: ServiceView, switch: str) -> bool:
        """Whether packets come back there from functions without their label, so that they are addressed again."""
        return view.tenant in self._again.get(switch, ())

    @cached_property
    def _again(self) -> Mapping[str, frozenset[str]]:
        world = self._world
        return {switch: frozenset(world.lists[key].tenant for key in keys) for switch, keys in world.resumes.items()}

    @cached_property
    def _here(self) -> Mapping[str, Mapping[str, list[Prefix]]]:
        """By switch and tenant, the addresses of hosts."""
        return {
            switch: {
                tenant: _addresses(host for host in hosts if host.tenant == tenant)
                for tenant in {host.tenant for host in hosts}
            }
            for switch, hosts in self._world.hosts_of.items()
        }


def _named(view: ServiceView, opened: Mapping[str, list[Party]]) -> list[Party]:
    """Who may reach a service that not everyone does. opened: by whom internal ones are (`openers`)."""
    service = view.service
    if not isinstance(service.expose, str):
        return list(service.expose)
    return opened.get(service.name, [])


def _addresses(hosts: Iterable[HostView]) -> list[Prefix]:
    return [prefix_of(value) for host in hosts for value in (*host.ips, *host.prefixes)]


def _common(here: list[Prefix], grants: tuple[Prefix, ...]) -> Iterable[Prefix]:
    for own in here:
        for grant in grants:
            if grant.holds(own):
                yield own
            elif own.holds(grant):
                yield grant


def reachable(world: World, rules: Rules, view: ServiceView, sources: tuple[Prefix | None, ...], again: bool) -> None:
    """The rules of a service at an edge. sources: whose packets may be for it (`Reach.sources`); again: also those that
    come back from functions, wherever they are from."""
    register = labels.bits(TENANT, world.tenants[view.tenant])
    owner = f"services/{view.key}"
    label = Label(0, routed=True).mac()  # the group fills in who answers
    taken = write("eth_dst", label), put(SERVICE, view.id), write_in_port_none()
    for ip in view.ips:
        answer(rules, register, ip, GATEWAY_MAC, owner)
        if view.slots:
            echo(rules, register, ip, owner)
        target: Fields = {
            "reg0": register,
            "eth_dst": GATEWAY_MAC,
            "eth_type": IP if ip.version == 4 else IPV6,
            f"ipv{ip.version}_dst": int(ip),
        }
        rules.add("addressing", "exact", owner, (), "reject", **target)  # no such port: its sender is told
        who: list[Fields] = [
            {} if source is None else address_fields("src", source)
            for source in sources
            if source is None or source.version in (0, ip.version)
        ]
        if again and None not in sources:
            who.append({"reg6": labels.bits(RESUMED, 1)})
        what: list[Fields] = [
            {"ip_proto": protocol_number(port.protocol, ip.version), f"{port.protocol}_dst": port.port}
            for port in view.service.ports
        ]
        kind, protocol = ("icmp_type", 1) if ip.version == 4 else ("icmpv6_type", 58)
        what += [{"ip_proto": protocol, kind: number} for number in ICMP_ERRORS[ip.version]]
        for source in who:
            for each in what:
                rules.add("addressing", "exact", owner, taken, "branch", plus=1, **target, **source, **each)
