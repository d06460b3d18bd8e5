"""Questions for names of services: gateways take them, the controller answers (`controller_app/naming`)."""

from __future__ import annotations

from controller_app.model.flow import CONTROLLER, Meter, Output, PopVlan
from controller_app.model.policy import Tenant
from controller_app.pipeline import labels
from controller_app.pipeline.build import Fields, Rules
from controller_app.pipeline.tables import ANSWERS_METER, GATEWAY_MAC, IP, IPV6, TAGGED, TENANT
from controller_app.pipeline.views import World

_PORT = 53  # RFC 1035 4.2
_TCP, _UDP = 6, 17


def ask_names(world: World, rules: Rules, tenant: str) -> None:
    """A tenant's questions, where it has names. By TCP they are refused at once: answers are small."""
    if not world.policy.tenants.get(tenant, Tenant()).services:
        return
    tagged: Fields = {"reg5": labels.bits(TAGGED, 1), "vlan_tci": (0x1000, 0x1000)}
    any_tagged = any(host.tenant == tenant and host.vlan is not None for host in world.hosts.values())
    for network in world.policy.tenants.get(tenant, Tenant()).networks.values():
        for gateway in network.gateways:
            owner = f"networks/{tenant}/{network.name}"
            to: Fields = {
                "reg0": labels.bits(TENANT, world.tenants[tenant]),
                "eth_dst": GATEWAY_MAC,
                "eth_type": IP if gateway.version == 4 else IPV6,
                f"ipv{gateway.version}_dst": int(gateway),
            }
            up = Meter(ANSWERS_METER), Output(CONTROLLER)
            rules.add("respond", "exact", owner, up, **to, ip_proto=_UDP, udp_dst=_PORT)
            by_tcp: Fields = {**to, "ip_proto": _TCP, "tcp_dst": _PORT}
            rules.add("respond", "exact", owner, goto="reject", **by_tcp)
            if any_tagged:  # who is told that it is refused puts the tag on again
                rules.add("respond", "exact", owner, (PopVlan(),), "reject", plus=1, **by_tcp, **tagged)
