"""Rules of `classify`: which list of functions a packet of an edge's hosts takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from controller_app.model.flow import Action
from controller_app.model.policy import Tenant
from controller_app.pipeline import labels
from controller_app.pipeline.build import Fields, Rules, put
from controller_app.pipeline.ids import too_many
from controller_app.pipeline.regions import PORTS, Box, Prefix, Region, port_masks, prefix_of, protocol_number
from controller_app.pipeline.tables import BACKWARD_REG, CLASSIFIER_RANKS, IP, IPV6, LIST, TENANT
from controller_app.pipeline.world import World

# Which lists an edge's packets can take: (list key, or "" for none; backward; service key, or "" for none)
Choices = dict[tuple[str, bool, str], None]


def sources(world: World, switch: str) -> dict[str, list[Prefix]]:
    """Per tenant, the addresses that packets entering at this switch can come from: its hosts', the
    prefixes behind them, and those of services with a provider here."""
    found: dict[str, list[Prefix]] = defaultdict(list)
    for host in world.hosts.values():
        if host.switch == switch:
            found[host.tenant] += [prefix_of(value) for value in (*host.ips, *host.prefixes)]
    for service in world.services.values():
        if any(provider.switch == switch for provider in service.providers.values()):
            found[service.tenant] += [prefix_of(ip) for ip in service.ips]
    return found


def classify(world: World, found: list[Region], rules: Rules, here: Mapping[str, list[Prefix]]) -> Choices:
    """Add the classifiers that can meet packets of this switch's hosts (`here`, from `sources`), and each
    tenant's default. Returns what the groups have to offer."""
    choices: Choices = {}
    exact = {tenant: set(prefixes) for tenant, prefixes in here.items()}
    for region in found:
        prefixes = here.get(region.tenant)
        if not prefixes:
            continue
        for box in region.boxes:
            # most boxes name one host: looked up; the others are compared
            if box.source not in exact[region.tenant] and not any(box.source.meets(p) for p in prefixes):
                continue
            _add(world, rules, region, box)
            decision = region.decision
            if decision.action != "deny":
                for service in _services_met(world, region.tenant, box.destination):
                    choices[(decision.list_key, decision.backward, service)] = None
    for tenant in here:
        declared = world.policy.tenants.get(tenant, Tenant())
        rules.add(
            "classify",
            "rest",
            f"policies/{tenant}/default",
            goto="remember" if declared.default_allow else None,
            reg0=labels.bits(TENANT, world.tenants[tenant]),
        )
        if declared.default_allow:
            for key, service_view in world.services.items():
                if service_view.tenant == tenant:
                    choices[("", False, key)] = None
    return choices


def _services_met(world: World, tenant: str, destination: Prefix) -> list[str]:
    keys = [
        key
        for key, view in world.services.items()
        if view.tenant == tenant and any(destination.holds(prefix_of(ip)) for ip in view.ips)
    ]
    exactly_one = destination.length in (32, 128) and bool(keys)
    return keys if exactly_one else [*keys, ""]


def _add(world: World, rules: Rules, region: Region, box: Box) -> None:
    decision = region.decision
    actions: tuple[Action, ...] = ()
    goto: str | None = None
    if decision.action == "chain":
        view = world.lists[decision.list_key]
        actions = (put(LIST, view.id), put(BACKWARD_REG, 1)) if decision.backward else (put(LIST, view.id),)
        goto = "remember"
    elif decision.action == "allow":
        goto = "remember"
    if region.rank > CLASSIFIER_RANKS:
        raise too_many("different sizes of classifiers", CLASSIFIER_RANKS)
    for fields in box_fields(box):
        fields["reg0"] = labels.bits(TENANT, world.tenants[region.tenant])
        rules.add("classify", "classifier", region.name, actions, goto, plus=region.rank, **fields)


def box_fields(box: Box) -> Iterator[Fields]:
    """The matches that together are exactly the box."""
    version = box.source.version or box.destination.version
    plain = not box.protocol
    for chosen in (version,) if version or plain else (4, 6):
        fields: Fields = {}
        if chosen:
            fields["eth_type"] = IP if chosen == 4 else IPV6
            for side, prefix in (("src", box.source), ("dst", box.destination)):
                if prefix.length:
                    width = 32 if chosen == 4 else 128
                    mask = ((1 << prefix.length) - 1) << (width - prefix.length)
                    fields[f"ipv{chosen}_{side}"] = (prefix.base, mask)
        if plain:
            yield fields
            continue
        fields["ip_proto"] = protocol_number(box.protocol, chosen)
        if box.protocol == "icmp":
            yield fields
            continue
        for source_value, source_mask in _masks(box.source_ports):
            for value, mask in _masks(box.destination_ports):
                yield {
                    **fields,
                    f"{box.protocol}_src": (source_value, source_mask),
                    f"{box.protocol}_dst": (value, mask),
                }


def _masks(ports: tuple[int, int]) -> list[tuple[int, int]]:
    return [(0, 0)] if ports == PORTS else port_masks(*ports)
