"""What MAC has this function? Functions that packets are sent to by their MAC, where nobody wrote it down.

A host tells its MAC by itself sooner or later, but no packet reaches such a function before it is known, so it is
asked: by ARP or neighbour solicitation, out of its own port only. What it answers is learned as a host's. No sockets
and no clock: `now` is a monotonic clock in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address

from controller_app.discovery import frames
from controller_app.discovery.ports import Effect, PortId, SendFrame
from controller_app.model.topology import Host, IPAddress

FIRST_PAUSE, LAST_PAUSE = 0.5, 30.0  # seconds between two questions, doubled each time


class Arms:
    """The open questions, by the port they go out of."""

    def __init__(self, gateway_mac: int) -> None:
        self._gateway_mac = gateway_mac
        self._pauses: dict[PortId, tuple[float, float]] = {}  # when to ask next, and the pause after that

    def tick(
        self,
        arms: Mapping[PortId, Host],
        switches: Iterable[int],
        known: Callable[[IPAddress], bool],
        gateway_for: Callable[[IPAddress], IPAddress | None],
        now: float,
    ) -> list[Effect]:
        """Ask each arm of which no address has been heard yet, at the switches that are connected."""
        effects: list[Effect] = []
        connected = frozenset(switches)
        for place, host in arms.items():
            if host.mac is not None or place.dpid not in connected or any(map(known, host.ips)):
                self._pauses.pop(place, None)
                continue
            due, pause = self._pauses.get(place, (now, FIRST_PAUSE))
            if now < due:
                continue
            self._pauses[place] = now + pause, min(LAST_PAUSE, 2 * pause)
            for ip in host.ips:
                question = frames.question(ip, self._asker(ip, gateway_for), self._gateway_mac)
                effects.append(SendFrame(place.dpid, (place.port,), question))
        for place in [place for place in self._pauses if place not in arms]:
            del self._pauses[place]
        return effects

    def _asker(self, target: IPAddress, gateway_for: Callable[[IPAddress], IPAddress | None]) -> IPAddress:
        """The address to ask from: the gateway's, else none (a probe, RFC 5227 2.1.1) or a link-local one."""
        gateway = gateway_for(target)
        if gateway is not None:
            return gateway
        if target.version == 4:
            return IPv4Address(0)
        mac = self._gateway_mac.to_bytes(6, "big")
        identifier = bytes((mac[0] ^ 2, *mac[1:3], 0xFF, 0xFE, *mac[3:]))  # modified EUI-64 (RFC 4291, appendix A)
        return IPv6Address(b"\xfe\x80" + bytes(6) + identifier)
