"""Answers by flows: ARP, neighbour discovery and echo, so that hosts keep working while the controller is
away."""

from __future__ import annotations

from controller_app.model.flow import CONTROLLER, IN_PORT, Move, Output, PopVlan, SubField
from controller_app.model.policy import Tenant
from controller_app.model.topology import IPAddress
from controller_app.pipeline import labels
from controller_app.pipeline.build import Fields, Rules, write
from controller_app.pipeline.names import ask_names
from controller_app.pipeline.shared import Shared
from controller_app.pipeline.tables import ARP, BASE, EXEMPT, GATEWAY_MAC, IP, IPV6, TAGGED, TENANT
from controller_app.pipeline.views import World


def respond(world: World, rules: Rules, switch: str, shared: Shared) -> None:
    """Answers to ARP, ND and echo by flows."""
    rules.include(shared.block(_base))
    here = world.hosts_of.get(switch, ())
    for tenant in dict.fromkeys(host.tenant for host in here):
        rules.include(shared.block(_of_tenant, tenant))
        for network in dict.fromkeys(host.network for host in here if host.tenant == tenant):
            rules.include(shared.block(_of_network, tenant, network))
    for host in here:
        for ip in host.ips if host.mac is not None else ():
            if ip.version == 4:
                _announced(rules, labels.bits(TENANT, world.tenants[host.tenant]), ip, f"hosts/{host.host}")


def _base(world: World, rules: Rules) -> None:
    del world
    rules.add("respond", "learn", BASE, (Output(CONTROLLER),), eth_type=ARP)
    for kind in (135, 136):
        rules.add(
            "respond", "learn", BASE, (Output(CONTROLLER),), eth_type=IPV6, ip_proto=58, icmpv6_type=kind
        )
    # duplicate address detection (RFC 4862 5.4) has no sender to answer
    rules.add(
        "respond", "exact", BASE, (Output(CONTROLLER),), plus=1,
        eth_type=IPV6, ip_proto=58, icmpv6_type=135, ipv6_src=0,
    )  # fmt: skip
    # a function that routes must not teach hosts a way around it
    redirected: Fields = {"reg5": labels.bits(EXEMPT, 1)}
    rules.add("respond", "refuse", BASE, eth_type=IP, ip_proto=1, icmp_type=5, **redirected)
    rules.add("respond", "refuse", BASE, eth_type=IPV6, ip_proto=58, icmpv6_type=137, **redirected)
    rules.add("respond", "rest", BASE, goto="guard")
    # answers go back with the tag that the question had
    tagged: Fields = {"reg5": labels.bits(TAGGED, 1), "vlan_tci": (0x1000, 0x1000)}
    rules.add("respond", "rest", BASE, (PopVlan(),), "guard", plus=1, **tagged)
    rules.add(
        "advertise",
        "exact",
        BASE,
        (Move(SubField("eth_src", 0, 48), SubField("nd_tll", 0, 48)), Output(IN_PORT)),
        eth_type=IPV6,
        ip_proto=58,
        icmpv6_type=136,
    )


def _of_tenant(world: World, rules: Rules, tenant: str) -> None:
    """For its gateways and services."""
    register = labels.bits(TENANT, world.tenants[tenant])
    for network in world.policy.tenants.get(tenant, Tenant()).networks.values():
        for gateway in network.gateways:
            owner = f"networks/{tenant}/{network.name}"
            answer(rules, register, gateway, GATEWAY_MAC, owner)
            echo(rules, register, gateway, owner)
    ask_names(world, rules, tenant)


def _of_network(world: World, rules: Rules, tenant: str, network: str | None) -> None:
    """For its hosts."""
    for host in world.hosts.values():
        if host.tenant == tenant and host.network == network and host.mac is not None:
            for ip in host.ips:
                answer(
                    rules, labels.bits(TENANT, world.tenants[tenant]), ip, host.mac, f"hosts/{host.host}"
                )


def answer(rules: Rules, register: tuple[int, int], ip: IPAddress, mac: int, owner: str) -> None:
    """Answer ARP requests or neighbour solicitations (RFC 826, RFC 4861 4.3 and 4.4) for one address."""
    if ip.version == 4:
        rules.add(
            "respond",
            "exact",
            owner,
            (
                Move(SubField("eth_src", 0, 48), SubField("eth_dst", 0, 48)),
                write("eth_src", mac),
                write("arp_op", 2),
                Move(SubField("arp_sha", 0, 48), SubField("arp_tha", 0, 48)),
                write("arp_sha", mac),
                Move(SubField("arp_spa", 0, 32), SubField("arp_tpa", 0, 32)),
                write("arp_spa", int(ip)),
                Output(IN_PORT),
            ),
            reg0=register,
            eth_type=ARP,
            arp_op=1,
            arp_tpa=int(ip),
        )
        return
    solicitation: Fields = {"eth_type": IPV6, "ip_proto": 58, "icmpv6_type": 135, "nd_target": int(ip)}
    rules.add(
        "respond",
        "exact",
        owner,
        (
            Move(SubField("eth_src", 0, 48), SubField("eth_dst", 0, 48)),
            write("eth_src", mac),
            Move(SubField("ipv6_src", 0, 128), SubField("ipv6_dst", 0, 128)),
            write("ipv6_src", int(ip)),
            write("icmpv6_type", 136),
            write("nd_options_type", 2),  # the option now is the target's link-layer address
            write("nd_reserved", 0x60000000),  # solicited, override
        ),
        "advertise",
        reg0=register,
        **solicitation,
    )


def _announced(rules: Rules, register: tuple[int, int], ip: IPAddress, owner: str) -> None:
    """What a host says of itself (RFC 5227 3) is for the controller to learn from. Only at its own switch does it
    come this far."""
    asked: Fields = {"eth_type": ARP, "arp_op": 1, "arp_tpa": int(ip), "arp_spa": int(ip)}
    rules.add("respond", "exact", owner, (Output(CONTROLLER),), plus=1, reg0=register, **asked)


def echo(rules: Rules, register: tuple[int, int], gateway: IPAddress, owner: str) -> None:
    """The gateway answers ping."""
    version = gateway.version
    width = 32 if version == 4 else 128
    kind, request, reply = ("icmp_type", 8, 0) if version == 4 else ("icmpv6_type", 128, 129)
    source, destination = SubField(f"ipv{version}_src", 0, width), SubField(f"ipv{version}_dst", 0, width)
    asked: Fields = {kind: request, f"ipv{version}_dst": int(gateway)}
    rules.add(
        "respond",
        "exact",
        owner,
        (
            Move(SubField("eth_src", 0, 48), SubField("eth_dst", 0, 48)),
            write("eth_src", GATEWAY_MAC),
            Move(source, destination),
            write(f"ipv{version}_src", int(gateway)),
            write(kind, reply),
            Output(IN_PORT),
        ),
        reg0=register,
        eth_dst=GATEWAY_MAC,
        eth_type=IP if version == 4 else IPV6,
        ip_proto=1 if version == 4 else 58,
        **asked,
    )
