"""Which hosts are where, learned from what they send.

What is declared counts more than what is seen: a declared host's address is never learned elsewhere, and
what the declaration leaves open (its MAC, its addresses) is filled in from its own port.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, ip_address
from typing import Any

from controller_app.discovery.ports import PortId
from controller_app.model.topology import Host, IPAddress, IPNetwork

MAX_HOSTS_AT_PORT = 1024
MAX_ADDRESSES = 16  # of one host
# Seconds a host stays where it is, and an address with its machine, at least: neither looping frames nor two
# machines with one address must change the network with every frame.
MOVE_PAUSE = 1.0
SILENT = 5.0  # seconds after which another machine may take a declared host's place


def mac_text(mac: int) -> str:
    """A MAC address as people write it."""
    return mac.to_bytes(6, "big").hex(":")


def mac_number(text: str) -> int:
    """The inverse of `mac_text`; ValueError when it is not one."""
    return int(text.replace(":", ""), 16)


@dataclass(frozen=True, slots=True)
class FoundHost:
    """A host: its MAC, where it is, and its addresses in the order they were seen. `declared` is the name of
    the declared host that this is, None for one nobody declared. `spoke` is when it became the machine that
    speaks for a declared host: of several, the last counts."""

    mac: int
    place: PortId
    ips: tuple[IPAddress, ...] = ()
    declared: str | None = None
    moved: float = field(default=0.0, compare=False)
    spoke: float = field(default=0.0, compare=False)

    @property
    def name(self) -> str:
        """How it is called: by its MAC, unless someone named it."""
        return self.declared or f"host-{self.mac:012x}"

    def to_json(self) -> dict[str, Any]:
        return {
            "mac": mac_text(self.mac),
            "dpid": self.place.dpid,
            "port": self.place.port,
            "ips": [str(ip) for ip in self.ips],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> FoundHost:
        """The inverse of `to_json`; ValueError or KeyError when it is not."""
        mac = mac_number(data["mac"])
        if not _is_one_machine(mac) or mac >> 48:
            raise ValueError(f"{data['mac']} is no machine's address")
        return FoundHost(
            mac,
            PortId(int(data["dpid"]), int(data["port"])),
            tuple(ip_address(ip) for ip in data["ips"]),
        )


@dataclass(frozen=True)
class Expected:
    """What is declared, as far as learning is concerned.

    at: declared hosts with one port, by that port; deaf: ports where nothing is learned (functions, uplinks);
    elsewhere: the declared hosts that are not in `at`, whose addresses are therefore learned nowhere; taken:
    addresses of gateways and services; networks: the IP networks of the policy and their gateways.
    """

    at: Mapping[PortId, Host] = field(default_factory=dict)
    deaf: frozenset[PortId] = frozenset()
    elsewhere: tuple[Host, ...] = ()
    taken: frozenset[IPAddress] = frozenset()
    networks: tuple[tuple[IPNetwork, IPAddress | None], ...] = ()

    def network_of(self, ip: IPAddress) -> frozenset[IPNetwork]:
        """The declared networks an address lies in; hosts ask for each other within the same ones."""
        return frozenset(net for net, _ in self.networks if ip.version == net.version and ip in net)

    def gateway_for(self, ip: IPAddress) -> IPAddress | None:
        """The gateway of the network an address lies in."""
        return next(
            (
                gateway
                for net, gateway in self.networks
                if gateway is not None and ip.version == net.version and ip in net
            ),
            None,
        )


class Hosts:
    """The hosts seen so far. `revision` grows whenever something new was learned."""

    def __init__(self, gateway_mac: int = 0) -> None:
        self._gateway_mac = gateway_mac
        self._by_mac: dict[int, FoundHost] = {}
        self._at_port: Counter[PortId] = Counter()
        self._by_ip: dict[IPAddress, int] = {}
        self._expected = Expected()
        self._declared_ip: dict[IPAddress, set[PortId]] = {}
        self._declared_mac: dict[int, set[PortId]] = {}
        self._changed_hands: dict[IPAddress, float] = {}  # when an address went to another machine last
        self._speaks: dict[PortId, tuple[int, float]] = {}  # who speaks for a declared host, and when it last did
        self._said: set[str] = set()
        self.revision = 0

    def all(self) -> list[FoundHost]:
        """Every host, by MAC."""
        return sorted(self._by_mac.values(), key=lambda host: host.mac)

    def at(self, ip: IPAddress) -> FoundHost | None:
        """The host seen with an address."""
        mac = self._by_ip.get(ip)
        return None if mac is None else self._by_mac[mac]

    def expect(self, expected: Expected) -> None:
        """What is declared from now on. What contradicts it is forgotten."""
        self._expected = expected
        self._declared_ip, self._declared_mac = {}, {}
        for declared, places in [
            *((host, {place}) for place, host in expected.at.items()),
            *((host, set()) for host in expected.elsewhere),
        ]:
            for ip in declared.ips:
                self._declared_ip.setdefault(ip, set()).update(places)
            if declared.mac is not None:
                self._declared_mac.setdefault(mac_number(declared.mac), set()).update(places)
        for host in list(self._by_mac.values()):
            here = expected.at.get(host.place)
            name = here.name if here is not None and self._is(here, host) else None
            misplaced = host.place in expected.deaf or not self._mac_allowed(host.mac, host.place)
            if misplaced or (here is not None and name is None):
                self._remove(host)
                continue
            allowed = tuple(ip for ip in host.ips if self._allowed(ip, host.place))
            if (name, allowed) != (host.declared, host.ips):
                self._put(replace(host, declared=name, ips=allowed))

    def restore(self, hosts: Iterable[FoundHost]) -> None:
        """Hosts known from an earlier run; what could not be learned now is left out."""
        for host in hosts:
            if _is_one_machine(host.mac) and host.mac != self._gateway_mac and host.mac not in self._by_mac:
                self._put(replace(host, ips=tuple(ip for ip in host.ips if _is_one_machines(ip))[-MAX_ADDRESSES:]))
        self.expect(self._expected)

    def learn(self, place: PortId, mac: int, ip: IPAddress | None, now: float) -> tuple[bool, str | None]:
        """A frame from `mac` (and `ip`, which it claims as its own) came in at an edge port. Answers whether
        it is believed, and what a person should know, if anything."""
        if not _is_one_machine(mac) or place in self._expected.deaf:
            return False, None
        if mac == self._gateway_mac:
            return False, self._once(
                f"a host at {place} uses {mac_text(mac)}, the gateways' own address: give it another"
            )
        if not self._mac_allowed(mac, place):
            return False, self._once(f"a host at {place} uses {mac_text(mac)}, which is declared to be elsewhere")
        if ip is not None and not _is_one_machines(ip):
            ip = None
        if ip is not None and not self._allowed(ip, place):
            return False, self._once(
                f"a host at {place} ({mac_text(mac)}) uses {ip}, which is declared to be elsewhere"
            )
        here = self._expected.at.get(place)
        known = self._by_mac.get(mac)
        if here is not None and not self._may_be(here, mac, ip):
            return False, self._once(
                f"{mac_text(mac)} ({ip}) sends at {place}, which is declared to be host {here.name}'s"
            )
        if known is None:
            if ip is None:
                return True, None
            if self._at_port[place] >= MAX_HOSTS_AT_PORT:
                return False, self._once(f"{MAX_HOSTS_AT_PORT} hosts at {place}: no more are learned there")
            known = FoundHost(mac, place, (), here.name if here else None, now)
        holder = None if ip is None else self.at(ip)
        disputed = ip is not None and now - self._changed_hands.get(ip, -MOVE_PAUSE) < MOVE_PAUSE
        if disputed and holder is not None and holder.mac != mac:
            both = " and ".join(mac_text(each) for each in sorted((mac, holder.mac)))
            return False, self._once(f"{ip} is used by two machines, {both}: give one of them another address")
        host = known
        if host.place != place:
            if now - host.moved < MOVE_PAUSE:
                return False, None
            host = replace(host, place=place, declared=here.name if here else None, moved=now)
        elsewise = here is not None and here.ips and ip not in here.ips
        if ip is not None and ip not in host.ips and not elsewise:
            host = replace(host, ips=(*host.ips, ip)[-MAX_ADDRESSES:])
            if holder is not None:
                self._changed_hands[ip] = now
        speaks = here is not None and here.mac is None and self._speaks_for(place, host, now)
        if speaks:
            host = replace(host, spoke=now)
        if speaks or host != self._by_mac.get(mac):
            self._put(host)
        return True, None

    def _speaks_for(self, place: PortId, host: FoundHost, now: float) -> bool:
        """Is this machine from now on the declared host at `place`, whose MAC the declaration leaves open? Only
        when the one before has fallen silent: two that speak by turns must not change the network each time."""
        mac, last = self._speaks.get(place, (None, now))
        if mac is not None and mac != host.mac and now - last < SILENT:
            return False
        self._speaks[place] = host.mac, now
        return mac != host.mac

    def forget(self, gone: Callable[[PortId], bool]) -> None:
        """Forget hosts at ports that are down, deleted, or turned out to be links."""
        for host in [host for host in self._by_mac.values() if gone(host.place)]:
            self._remove(host)

    def _allowed(self, ip: IPAddress, place: PortId) -> bool:
        if ip in self._expected.taken:
            return False
        places = self._declared_ip.get(ip)
        return places is None or place in places

    def _mac_allowed(self, mac: int, place: PortId) -> bool:
        places = self._declared_mac.get(mac)
        return places is None or place in places

    def _may_be(self, declared: Host, mac: int, ip: IPAddress | None) -> bool:
        """Can a frame from `mac` and `ip` be this declared host's?"""
        if declared.mac is not None:
            return mac_number(declared.mac) == mac
        if ip is None:
            return True
        return not declared.ips or ip in declared.ips or ip.is_link_local

    def _is(self, declared: Host, host: FoundHost) -> bool:
        return all(self._may_be(declared, host.mac, ip) for ip in host.ips)

    def _put(self, host: FoundHost) -> None:
        before = self._by_mac.get(host.mac)
        for ip in host.ips:
            other = self._by_mac.get(self._by_ip.get(ip, host.mac))
            if other is not None and other.mac != host.mac:  # the address moved to another machine
                self._by_mac[other.mac] = replace(other, ips=tuple(i for i in other.ips if i != ip))
            self._by_ip[ip] = host.mac
        for ip in before.ips if before else ():
            if ip not in host.ips:
                self._by_ip.pop(ip, None)
                self._changed_hands.pop(ip, None)
        if before is not None:
            self._at_port[before.place] -= 1
        self._at_port[host.place] += 1
        self._by_mac[host.mac] = host
        self.revision += 1

    def _remove(self, host: FoundHost) -> None:
        del self._by_mac[host.mac]
        self._at_port[host.place] -= 1
        for ip in host.ips:
            if self._by_ip.get(ip) == host.mac:
                del self._by_ip[ip]
                self._changed_hands.pop(ip, None)
        if self._speaks.get(host.place, (None,))[0] == host.mac:
            del self._speaks[host.place]
        self.revision += 1

    def _once(self, what: str) -> str | None:
        """Say a thing once, not with every frame."""
        if what in self._said or len(self._said) > 4096:
            return None
        self._said.add(what)
        return what


def _is_one_machine(mac: int) -> bool:
    return mac != 0 and not mac >> 40 & 1


def _is_one_machines(ip: IPAddress) -> bool:
    """An address that a machine can have on a network."""
    return not (ip.is_multicast or ip.is_unspecified or ip.is_loopback or ip == IPv4Address("255.255.255.255"))
