"""Where a service's providers are: the service's address becomes theirs, and theirs the service's in replies.

A port has four conntrack zones, apart by their two upper bits, since one connection can be in all of them: what its
host chose as a client; what it is asked as a provider; and, where it is asked by itself, the translation of the
destination and that of the source. A host does not answer itself: it is asked from the address of the service.

Packets are counted where they are translated (see `balancing.usage`): all of them, new connections, and apart from
these what ends a TCP connection, FIN and RST. These flows make the megaflows of a service's TCP look at both flags (and
at ACK, which all but the first packet have), so packets with one of them get a megaflow of their own, one each way and
not one for each connection; all others go on sharing theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controller_app.model.flow import (
    CT_EST,
    CT_NEW,
    CT_RPL,
    CT_TRK,
    TCP_ACK,
    TCP_FIN,
    TCP_RST,
    CheckPacketLarger,
    Ct,
    Move,
    Nat,
    SetField,
)
from controller_app.model.policy import Tenant
from controller_app.model.topology import IPAddress
from controller_app.pipeline import labels
from controller_app.pipeline.build import Fields, Rules, put
from controller_app.pipeline.regions import protocol_number
from controller_app.pipeline.tables import (
    BASE,
    IP,
    IPV6,
    LARGE,
    LEAVING,
    NUMBER,
    SERVED_PORT,
    SERVICE,
    SERVING,
    TENANT,
    ZONE,
    ZONES,
)
from controller_app.pipeline.views import HostView, ServiceView, World

# What a short ICMP error is: less than Ethernet + IP + ICMP + the inner IP and TCP headers.
_SHORT = {4: 81, 6: 121}
ICMP_ERRORS = {4: (3, 11, 12), 6: (1, 2, 3, 4)}

# What ends a TCP connection: value and mask of its flags, and the rank of the flow that counts it. A host that aborts
# a connection, or refuses one, says so once, with ACK set (Linux, BSD and Windows all do). A reset without ACK answers
# what came for a connection that is over already, as often as something comes (RFC 9293, 3.5.2).
FIN: tuple[tuple[int, int], int] = (TCP_FIN, TCP_FIN), 1
RESET: tuple[tuple[int, int], int] = (TCP_RST | TCP_ACK, TCP_RST | TCP_ACK), 2
ANSWERING_RESET: tuple[tuple[int, int], int] = (TCP_RST, TCP_RST | TCP_ACK), 2

LEARN: tuple[Move | SetField, ...] = (
    Move(labels.PATH, labels.LEARNED_PATH),
    Move(labels.EXIT, labels.LEARNED_WAYPOINT),
    put(labels.LEARNED_VALID, 1),
)


def serving_zone(host: HostView) -> int:
    """Where connections to a provider are translated."""
    return host.zone | ZONES << 1


def _own_zones(host: HostView) -> tuple[int, int]:
    """Where a provider's connections to itself are: destination translated, then source translated."""
    return host.zone | ZONES, host.zone | ZONES << 1 | ZONES


def always_untranslate(rules: Rules) -> None:
    """What is the same wherever hosts are."""
    rules.add("guard", "rest", BASE, goto="addressing")


def serve_at(rules: Rules, providers: Iterable[HostView]) -> None:
    """What a switch with these providers has, whatever the services: their packets pass by the translation back.

    Short ICMP errors are dropped before translation: Open vSwitch 3.1.0 writes past such a packet.
    """
    for eth_type in (IP, IPV6):
        rules.add(
            "returning", "rest", BASE, (Ct(zone=ZONE, nat=Nat(), table=NUMBER["returned"]),), eth_type=eth_type
        )
    rules.add("returned", "rest", BASE, goto="addressing")
    rules.add("guard-size", "exact", BASE, goto="returning", reg5=labels.bits(LARGE, 1))
    rules.add("hairpin-reply", "rest", BASE, goto="returning")
    rules.add("served", "rest", BASE, goto="leave")
    for provider in providers:
        _pass_by(rules, provider)


def _pass_by(rules: Rules, provider: HostView) -> None:
    owner, serves = f"hosts/{provider.host}", put(SERVING, 1)
    register = labels.bits(ZONE, provider.zone)
    rules.add("guard", "exact", owner, (serves,), "returning", reg1=register)
    for version, fields in _errors():
        check = CheckPacketLarger(_SHORT[version], LARGE)
        rules.add("guard", "exact", owner, (serves, check), "guard-size", plus=1, reg1=register, **fields)
    destination, _ = _own_zones(provider)
    for eth_type in (IP, IPV6):
        rules.add(
            "hairpin-reply",
            "known",
            owner,
            (Ct(zone=destination, nat=Nat(), table=NUMBER["returned"]),),
            reg1=labels.bits(ZONE, serving_zone(provider)),
            ct_state=(CT_TRK | CT_EST | CT_RPL, CT_TRK | CT_EST | CT_RPL),
            eth_type=eth_type,
        )
        rules.add(
            "translate-error",
            "exact",
            owner,
            (Ct(zone=serving_zone(provider), nat=Nat(), table=NUMBER["served"]),),
            reg4=labels.bits(LEAVING, provider.waypoint),
            reg5=labels.bits(LARGE, 1),
            eth_type=eth_type,
        )


def provide(rules: Rules, view: ServiceView, provider: HostView) -> None:
    """What a provider's switch has for one of its services: translation there and back, with what counts it."""
    _count_replies(rules, view, provider)
    _reply_to_itself(rules, view, provider)
    for ip in view.ips:
        own = provider.ip(ip.version)
        if own is not None:
            _translate(rules, view, provider, ip, own)


def _errors() -> Iterator[tuple[int, Fields]]:
    """The matches for ICMP errors (RFC 792; RFC 4443 3), with their IP version."""
    for version, kinds in ICMP_ERRORS.items():
        for kind in kinds:
            name = "icmp_type" if version == 4 else "icmpv6_type"
            yield version, {"eth_type": _eth_type(version), "ip_proto": 1 if version == 4 else 58, name: kind}


def _eth_type(version: int) -> int:
    return IP if version == 4 else IPV6


def _to(ip: IPAddress) -> Fields:
    return {f"ipv{ip.version}_dst": int(ip)}


def _from(ip: IPAddress) -> Fields:
    return {f"ipv{ip.version}_src": int(ip)}


def _count_replies(rules: Rules, view: ServiceView, provider: HostView) -> None:
    """Counters of what a provider answers: by port, and of all TCP ports together what ends connections."""
    for ip in view.ips:
        for port in view.service.ports:
            asked: Fields = {**_from(ip), f"{port.protocol}_src": port.port}
            rules.add(
                "returned",
                "exact",
                f"services/{view.key}",
                goto="addressing",
                reg1=labels.bits(ZONE, serving_zone(provider)),
                eth_type=_eth_type(ip.version),
                ip_proto=protocol_number(port.protocol, ip.version),
                **asked,
            )
        if any(port.protocol == "tcp" for port in view.service.ports):
            for flags, rank in (FIN, RESET):
                rules.add(
                    "returned",
                    "exact",
                    f"services/{view.key}",
                    goto="addressing",
                    plus=rank,
                    reg1=labels.bits(ZONE, serving_zone(provider)),
                    eth_type=_eth_type(ip.version),
                    ip_proto=protocol_number("tcp", ip.version),
                    tcp_flags=flags,
                    **_from(ip),
                )


def _reply_to_itself(rules: Rules, view: ServiceView, provider: HostView) -> None:
    """What a provider sends to its own service: perhaps the reply to what it asked itself."""
    _, source = _own_zones(provider)
    owner = f"services/{view.key}"
    for ip in view.ips:
        for protocol in dict.fromkeys(port.protocol for port in view.service.ports):
            rules.add(
                "guard",
                "exact",
                owner,
                (put(SERVING, 1), Ct(zone=source, nat=Nat(), table=NUMBER["hairpin-reply"])),
                plus=2,
                reg1=labels.bits(ZONE, provider.zone),
                eth_type=_eth_type(ip.version),
                ip_proto=protocol_number(protocol, ip.version),
                **_to(ip),
            )


def _translate(rules: Rules, view: ServiceView, provider: HostView, ip: IPAddress, own: IPAddress) -> None:
    owner, version = f"services/{view.key}", ip.version
    leaving = labels.bits(LEAVING, provider.waypoint)
    destination, source = _own_zones(provider)
    for number, port in enumerate(view.service.ports):
        asked: Fields = {
            "reg4": leaving,
            "eth_type": _eth_type(version),
            "ip_proto": protocol_number(port.protocol, version),
            f"ipv{version}_dst": int(ip),
            f"{port.protocol}_dst": port.port,
        }
        named = put(SERVICE, view.id), put(SERVED_PORT, number)
        nat = Nat(int(own), port.target, version)
        there = Ct(zone=serving_zone(provider), commit=True, table=NUMBER["served"], nat=nat, exec=LEARN)
        rules.add("translate", "exact", owner, (*named, there), **asked)
        there = Ct(zone=destination, commit=True, table=NUMBER["hairpin"], nat=nat, exec=LEARN)
        asked[f"ipv{version}_src"] = int(own)
        rules.add("translate", "exact", owner, (*named, there), plus=1, **asked)
        opened: Fields = {
            "reg3": labels.bits(SERVICE, view.id),
            "reg4": leaving,
            "reg7": labels.bits(SERVED_PORT, number),
            "ct_state": (CT_TRK | CT_NEW, CT_TRK | CT_NEW),
        }
        rules.add("served", "exact", owner, goto="leave", **opened)
    if any(port.protocol == "tcp" for port in view.service.ports):
        _count_ends(rules, view, leaving, version)
    as_service = Ct(zone=source, commit=True, table=NUMBER["served"], nat=Nat(int(ip), None, version, source=True))
    itself: Fields = {"reg3": labels.bits(SERVICE, view.id), "reg4": leaving, "eth_type": _eth_type(version)}
    rules.add("hairpin", "exact", owner, (as_service,), **itself)
    for of, fields in _errors():
        if of != version:
            continue
        to: Fields = {"reg4": leaving, f"ipv{version}_dst": int(ip), **fields}
        check = CheckPacketLarger(_SHORT[version], LARGE)
        rules.add("translate", "exact", owner, (check,), "translate-error", **to)


def _count_ends(rules: Rules, view: ServiceView, leaving: tuple[int, int], version: int) -> None:
    """Counters of what clients end connections with."""
    for flags, rank in (FIN, RESET, ANSWERING_RESET):
        rules.add(
            "served",
            "exact",
            f"services/{view.key}",
            goto="leave",
            plus=rank,
            reg3=labels.bits(SERVICE, view.id),
            reg4=leaving,
            ct_state=(CT_TRK | CT_EST, CT_TRK | CT_EST),
            eth_type=_eth_type(version),
            ip_proto=protocol_number("tcp", version),
            tcp_flags=flags,
        )


def stray(world: World, rules: Rules, switch: str) -> None:
    """What is for a service and comes to a host that does not serve it, or not yet, or not any more, ends here: while
    switches change one after the other it is sent again, and finds who serves. (Clients' edges refuse what nobody
    serves, and do not take again who left.)"""
    served = {name for name, tenant in world.policy.tenants.items() if tenant.services}
    for tenant in sorted(served & {host.tenant for host in world.hosts_of.get(switch, ())}):
        for network in world.policy.tenants.get(tenant, Tenant()).networks.values():
            for subnet in network.subnets if network.kind == "service" else ():
                within: Fields = {f"ipv{subnet.version}_dst": (int(subnet.network_address), int(subnet.netmask))}
                rules.add(
                    "translate",
                    "prefix",
                    f"networks/{tenant}/{network.name}",
                    plus=subnet.prefixlen,
                    reg0=labels.bits(TENANT, world.tenants[tenant]),
                    eth_type=_eth_type(subnet.version),
                    **within,
                )
