"""What is typed in a host's namespace to make it what the policy says it is: a machine, or a function of some mode.

A function's mode decides (`Function.mode`): transparent, two arms: a wire (Linux bridge); routed: a Linux router; nsh:
bare interfaces that a program reads; translating: a router that translates (kind `proxy`: a machine that takes TCP
connections which are not for it); tap: an interface without an address. Everything else is a machine with addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address

from controller_app.model.policy import Function, Network, Policy
from controller_app.model.topology import Host, IPAddress, IPNetwork

PROXY_PORT = 3129  # where a terminating proxy listens for what nftables redirects to it
NSH_MTU = 1600  # bytes: a full IP packet, its Ethernet header and an NSH of MD type 1 (24 bytes, RFC 8300 2)
TABLES = {"in": 101, "out": 102}  # routing tables: what came in by this arm looks into this one (ip-rule(8))
_CARD = "rx off tx off sg off tso off gso off gro off"


def functions_by_host(policy: Policy) -> dict[str, Function]:
    """The function that each host is an instance of."""
    return {
        instance.host: function
        for tenant in policy.tenants.values()
        for function in tenant.functions.values()
        for instance in function.instances.values()
    }


def interface(arm: str) -> str:
    """The name of an arm's interface in its host."""
    return arm or "eth0"


def cable(host: Host, arm: str) -> str:
    """The interface that the switch port's cable ends in: of a host with a VLAN another than its `eth0`."""
    return "wire" if host.vlan is not None else interface(arm)


def setup(host: Host, function: Function | None, policy: Policy) -> str:
    """A shell script for the host's namespace. Interfaces are there already, and down."""
    return "\n".join(["set -e", "ip link set lo up", *_lines(host, function, policy)])


def _lines(host: Host, function: Function | None, policy: Policy) -> Iterator[str]:
    mode = function.mode if function is not None else None
    ips = (*host.ips, *host.out_ips)
    if not any(isinstance(ip, IPv6Address) for ip in ips):
        yield "for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $f; done"
    else:  # addresses are there at once, not a second later (duplicate address detection, RFC 4862 5.4)
        yield "for f in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 > $f; done"
    for limit in ("ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"):  # a traceroute asks faster than once a second
        yield f"test ! -e /proc/sys/net/{limit} || echo 0 > /proc/sys/net/{limit}"
    for arm in host.attach:
        yield from _card(host, arm, NSH_MTU if mode == "nsh" else None)
    if mode in ("routed", "translating") and ips:
        yield from _router(host)
    elif set(host.attach) == {"in", "out"} and mode != "nsh":
        yield from _wire(host)
    yield from _addresses(host, policy)
    if mode in ("routed", "translating") and set(host.attach) == {"in", "out"}:
        yield from _straight_through(host, policy)
    if mode == "translating" and function is not None:
        yield _nft(_redirect(host) if function.kind == "proxy" else _translation(host))


def _card(host: Host, arm: str, mtu: int | None) -> Iterator[str]:
    """A network card that computes checksums itself: in the userspace datapath one left to be filled in by hardware
    never is (and TCP dies of it), and merged segments would not be the packets that were sent."""
    name, wire = interface(arm), cable(host, arm)
    yield f"ethtool -K {wire} {_CARD} >/dev/null 2>&1 || ethtool -K {wire} tx off >/dev/null"
    if wire != name:  # the program that tags its frames sits between the two
        yield f"ip link set {wire} up"
        yield f"ip tuntap add dev {name} mode tap"
    if mtu is not None:
        yield f"ip link set {name} mtu {mtu}"
    mac = host.arm_mac(arm)
    if mac and (arm != "out" or host.out_mac):
        yield f"ip link set {name} address {mac}"
    yield f"ip link set {name} up"


def _wire(host: Host) -> Iterator[str]:
    """What goes in by one arm comes out of the other, as it is."""
    yield "ip link add br0 type bridge stp_state 0 mcast_snooping 0 forward_delay 0"
    for arm in host.attach:
        yield f"ip link set {arm} master br0 && bridge link set dev {arm} learning off"
    yield "ip link set br0 up"


def _router(host: Host) -> Iterator[str]:
    """It forwards, believes no source address over another, and tells nobody of shorter ways (RFC 1812 5.2.7.2
    redirects would, for a router whose packets leave by the interface they came in by)."""
    yield "echo 1 > /proc/sys/net/ipv4/ip_forward"
    yield "test ! -e /proc/sys/net/ipv6/conf/all/forwarding || echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"
    for scope in ("all", "default", *map(interface, host.attach)):
        for key, value in {"rp_filter": 0, "send_redirects": 0, "accept_redirects": 0, "arp_ignore": 1,
                           "arp_announce": 2}.items():  # fmt: skip
            yield f"echo {value} > /proc/sys/net/ipv4/conf/{scope}/{key}"
    if any(isinstance(ip, IPv6Address) for ip in (*host.ips, *host.out_ips)):
        yield _nft(
            "table ip6 quiet { chain out { type filter hook output priority 0; icmpv6 type nd-redirect drop; }; }"
        )


def _addresses(host: Host, policy: Policy) -> Iterator[str]:
    """Each with its network's prefix, and the first gateway, as the policy names them; else everything is on the
    link."""
    away = set[str]()  # families that have a way out already
    for arm in host.attach:
        name = interface(arm)
        for ip in host.arm_ips(arm):
            place = _place(ip, policy)
            subnet, gateway = place if place is not None else (None, None)
            family, nodad = ("-6 ", " nodad") if isinstance(ip, IPv6Address) else ("", "")
            yield f"ip {family}addr add {ip}/{subnet.prefixlen if subnet else ip.max_prefixlen} dev {name}{nodad}"
            if family not in away and (gateway is not None or subnet is None):
                via = f"via {gateway} " if gateway is not None else ""
                yield f"ip {family}route add default {via}dev {name}"
                away.add(family)


def _straight_through(host: Host, policy: Policy) -> Iterator[str]:
    """What came in by one arm leaves by the other, whatever the destination; what it says itself does not."""
    for arm, other in (("in", "out"), ("out", "in")):
        table = TABLES[arm]
        families = set()
        for ip in host.arm_ips(other) or host.ips:
            family = "-6 " if isinstance(ip, IPv6Address) else ""
            place = _place(ip, policy)
            if place is not None:
                yield f"ip {family}route replace {place[0]} dev {other} table {table}"
            via = f"via {place[1]} " if place is not None and place[1] is not None else ""
            yield f"ip {family}route replace default {via}dev {other} table {table}"
            families.add(family)
        for family in sorted(families):
            yield f"ip {family}rule add iif {arm} lookup {table}"


def _place(ip: IPAddress, policy: Policy) -> tuple[IPNetwork, IPAddress | None] | None:
    """The subnet an address is in and that subnet's gateway, by the policy's networks."""
    for subnet, network in _subnets(policy):
        if ip in subnet:
            return subnet, next((gateway for gateway in network.gateways if gateway in subnet), None)
    return None


def _subnets(policy: Policy) -> Iterator[tuple[IPNetwork, Network]]:
    for tenant in policy.tenants.values():
        for network in tenant.networks.values():
            for subnet in network.subnets:
                yield subnet, network


def _translation(host: Host) -> str:
    """Source translation of all that is forwarded: to the host's pool (`prefixes`), else to its own address."""
    out = "out" if "out" in host.attach else "eth0"
    rules = []
    for version, family in ((4, "ip"), (6, "ip6")):
        pool = next((prefix for prefix in host.prefixes if prefix.version == version), None)
        if pool is None and not any(ip.version == version for ip in (*host.ips, *host.out_ips)):
            continue
        to = f"snat to {pool[0]}-{pool[-1]}" if pool is not None else "masquerade"
        rules.append(
            f"table {family} translation {{ chain leaving {{ type nat hook postrouting priority 100; "
            f'oifname "{out}" fib saddr type != local {to}; }}; }}'
        )
    return "\n".join(rules)


def _redirect(host: Host) -> str:
    """TCP connections to others end here; nothing else passes."""
    into = "in" if "in" in host.attach else "eth0"
    rules = [
        f"table {family} proxy {{ chain arriving {{ type nat hook prerouting priority -100; "
        f'iifname "{into}" meta l4proto tcp fib daddr type != local redirect to :{PROXY_PORT}; }}\n'
        f"chain passing {{ type filter hook forward priority 0; policy drop; }}; }}"
        for version, family in ((4, "ip"), (6, "ip6"))
        if any(ip.version == version for ip in (*host.ips, *host.out_ips))
    ]
    return "\n".join(rules)


def _nft(rules: str) -> str:
    return f"nft -f - <<'RULES'\n{rules}\nRULES"
