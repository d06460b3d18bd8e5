"""A function that changes addresses: source NAT, or a proxy that ends connections and opens its own.

The chain is cut after it. Up to it packets have the sender's addresses; what it sends on comes from its own and
takes the rest of the chain as the traffic of any host does. Answers reach it as a host; with the addresses put
back they come out of it like a routed function's and take the first part of the chain backward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controller_app.model.topology import Host, IPAddress
from controller_app.modes.mode import ONE_ARM, TWO_ARMS, Mode
from controller_app.modes.routed import serve_by_mac
from controller_app.verification.conntrack import Connection, Connections, Tuple, tuple_of
from controller_app.verification.packet import IPV4, Packet, addresses
from controller_app.verification.players import Played, Player, arms_of, for_itself, refusal, routed
from controller_app.verification.stations import Station

MAX_PORT = 0xFFFF

@dataclass(frozen=True, slots=True)
class Translating:
    """A router that sends what it passes on from an address of its own (source NAT), and puts the addresses of
    answers back. What comes in by its far arm and answers nothing ends there.

    Its translations are connections under its own name; an echo's id is kept, a port is moved where it is taken.
    """

    name: str
    arms: Mapping[str, Station]
    known: tuple[Station, ...]
    addresses: tuple[IPAddress, ...]
    swallows: bool = False

    def play(self, frame: Packet, arm: str, connections: Connections) -> Played:
        refused = refusal(self.arms[arm], frame)
        if refused is not None:
            return Played(connections, reason=refused)
        place, seen, ends = (f"function {self.name}", 0), tuple_of(frame), addresses(frame)
        found = None if seen is None else connections.find(place, seen)
        if found is None and for_itself(self.arms, frame):
            return Played(connections, own=True)
        if seen is None or ends is None:
            return Played(connections, reason=f"{self.name} cannot translate it")
        if frame.get("ttl", 0) <= 1:
            return Played(connections, reason="its TTL is used up, as its sender is told")
        if found is not None:
            connection, is_reply = found
            other = (connection.original if is_reply else connection.reply).reverse()
            leaving = ("in" if is_reply else "out") if len(self.arms) > 1 else arm
        elif len(self.arms) > 1 and arm == "out":
            return Played(connections, reason=f"{self.name} has no translation for it")
        else:
            source = next((ip for ip in self._sources() if ip.version == ends[0].version), None)
            if source is None:
                return Played(connections, reason=f"{self.name} has no address to send it from")
            other = self._free(connections, place, seen._replace(source=int(source)))
            connections = connections.put(place, Connection(seen, other.reverse()))
            leaving = "out" if len(self.arms) > 1 else arm
        sent = _with(frame, other)
        return Played(connections, leaving, routed(sent, self.arms[leaving], self.known), translated=True)

    def _sources(self) -> tuple[IPAddress, ...]:
        """Its addresses, those of the arm it sends by first."""
        far = self.arms["out"].ips if "out" in self.arms else ()
        return (*far, *self.addresses)

    def _free(self, connections: Connections, place: tuple[str, int], wanted: Tuple) -> Tuple:
        while connections.find(place, wanted.reverse()) is not None and wanted.sport < MAX_PORT:
            wanted = wanted._replace(sport=wanted.sport + 1)
        return wanted


def _with(frame: Packet, seen: Tuple) -> Packet:
    """The packet with the addresses and ports of a tuple."""
    version = 4 if seen.eth_type == IPV4 else 6
    new = {**frame, f"ipv{version}_src": seen.source, f"ipv{version}_dst": seen.destination}
    for name, value in (("tcp_src", seen.sport), ("udp_src", seen.sport), ("icmp_id", seen.sport),
                        ("tcp_dst", seen.dport), ("udp_dst", seen.dport)):
        if name in new:
            new[name] = value
    return new


def _plays(host: Host, known: tuple[Station, ...]) -> Player:
    pool = tuple(net[min(1, net.num_addresses - 1)] for net in host.prefixes)
    return Translating(host.name, arms_of(host, known), known, (*host.ips, *host.out_ips, *pool))


MODE = Mode(
    word="translating",
    says="NAT or a terminating proxy: the chain is cut there and goes on from its addresses",
    arms=ONE_ARM | TWO_ARMS,
    plays=_plays,
    serve=serve_by_mac,
    brings_label=False,
    is_host=True,
    cuts=True,
    needs_mac=True,
    needs_address=True,
)
