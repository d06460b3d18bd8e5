"""Which ports there are, which are joined by links, and which are at the edge.

No sockets and no clock: every call takes `now`, a monotonic clock in seconds, and what is to be sent is
returned. The object keeps its state in place, because every port of the network is heard every few seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from controller_app.discovery import lldp
from controller_app.discovery.guard import Guard
from controller_app.discovery.ports import Port, PortId, SendFrame

INTERVAL = 5.0  # seconds between frames out of each port
MISSES = 3  # frames that may be lost before a link is
SETTLE = 0.4  # seconds a port must be without a neighbour before hosts are believed to be there
NOT_SEEN = 20.0  # seconds after which a declared link that could have been seen is said not to be there

Pair = tuple[PortId, PortId]  # the smaller first


def pair(a: PortId, b: PortId) -> Pair:
    """A link by its ends, whichever way round they are given."""
    return (a, b) if a < b else (b, a)


class Links:
    """What is known about ports and links. `revision` grows whenever the topology is another one."""

    def __init__(self, key: bytes, observe: bool = True, interval: float = INTERVAL) -> None:
        self.guard = Guard(key, interval * MISSES + SETTLE)
        self._key = key
        self._observe = observe
        self._interval = interval
        self._ports: dict[int, dict[int, Port]] = {}
        self._connected: set[int] = set()
        self._ready: set[int] = set()  # switches that hold our rules, so that they tell what they hear
        self._heard: dict[PortId, tuple[PortId, float]] = {}
        self._hearers: dict[PortId, set[PortId]] = {}  # the same, by sender
        self._both_ways: set[Pair] = set()
        self._lost: set[Pair] = set()
        self._past: dict[PortId, set[Pair]] = {}  # what was ever in these two, by both ends
        self._settles: dict[PortId, float] = {}
        self._hosts: frozenset[PortId] = frozenset()
        self._declared: frozenset[Pair] = frozenset()
        self._declared_at: dict[PortId, Pair] = {}
        self._touched: dict[Pair, None] = {}  # links that may have come or gone since someone looked
        self._unseen: frozenset[Pair] = frozenset()
        self._one_way: frozenset[Pair] = frozenset()
        self._next_round = 0.0
        self._ask_soon = False
        self._up: set[Pair] = set()
        self._link_ports: Counter[PortId] = Counter()  # how many links there are at a port
        self.revision = 0

    # -- what is declared ----------------------------------------------------------------------------------

    def declare(self, hosts: frozenset[PortId], links: frozenset[Pair]) -> None:
        """Ports that the topology file gives to hosts and functions (they never become links), and its links (no host
        is ever looked for at their ports)."""
        self._hosts, self._declared = hosts, links
        self._declared_at = {place: link for link in links for place in link}
        self._unseen &= links
        for place in [at for at, (sender, _) in self._heard.items() if at in hosts or sender in hosts]:
            self._silence(place)

    # -- what switches say ---------------------------------------------------------------------------------

    def connected(self, dpid: int, ports: Iterable[Port], now: float) -> None:
        """A switch came, or came back, and described all its ports."""
        described = {port.number: port for port in ports}
        before = self._ports.get(dpid, {})
        self._ports[dpid] = described
        for number in before:
            if number not in described or (before[number].up and not described[number].up):
                self._forget(PortId(dpid, number))
            elif not before[number].up:
                self._touch_declared(PortId(dpid, number))
        self._connected.add(dpid)
        self._ready.discard(dpid)  # it may hold other rules now, and new ports settle when it is ready again
        # Nothing could be heard while it was away, so what was heard before counts as heard now.
        for place, (sender, _) in list(self._heard.items()):
            if dpid in (place.dpid, sender.dpid):
                self._heard[place] = (sender, now)
        self.revision += 1

    def lost(self, dpid: int) -> None:
        """The connection to a switch is gone. Its ports and links are taken to be as they were."""
        self._connected.discard(dpid)
        self._ready.discard(dpid)
        self.revision += 1

    def ready(self, dpid: int, now: float) -> None:
        """A switch holds our rules now: what arrives at its ports is told from here on."""
        if dpid in self._ready or dpid not in self._connected:
            return
        self._ready.add(dpid)
        for number, port in self._ports[dpid].items():
            if port.up:
                self._settles.setdefault(PortId(dpid, number), now + self._settle_time)
        self._ask_soon = True

    def port(self, dpid: int, port: Port, now: float) -> None:
        """A port is new or changed."""
        ports = self._ports.setdefault(dpid, {})
        before = ports.get(port.number)
        if before == port:
            return
        ports[port.number] = port
        place = PortId(dpid, port.number)
        if not port.up:
            if before is not None:
                self._forget(place)
        elif before is None or not before.up:
            self._touch_declared(place)
            if dpid in self._ready:
                self._settles[place] = now + self._settle_time
            self._ask_soon = True
        self.revision += 1

    def port_gone(self, dpid: int, number: int) -> None:
        """A port was deleted."""
        if self._ports.get(dpid, {}).pop(number, None) is not None:
            self._forget(PortId(dpid, number))
            self.revision += 1

    def frame(self, place: PortId, data: bytes, now: float) -> None:
        """An LLDP frame came in. What is not believed is counted by the guard."""
        if not self._observe:
            return
        sender = self.guard.judge(place, data, self._hosts, now)
        if sender is None:
            return
        before = self._heard.get(place)
        if before is not None and before[0] != sender:
            self._silence(place)  # the cable was moved
        self._heard[place] = (sender, now)
        self._hearers.setdefault(sender, set()).add(place)
        link = pair(place, sender)
        back = self._heard.get(sender)
        if back is not None and back[0] == place:
            self._both_ways.add(link)
            self._remember(link)
        elif back is not None:
            self._review(pair(sender, back[0]))
        self._review(link)

    # -- time ----------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[SendFrame]:
        """What is to be sent now. Call it a few times a second."""
        if not self._observe:
            return []
        self._expire(now)
        if now >= self._next_round:
            self._next_round = now + self._interval
            self._ask_soon = False
            self._compare(now)
            return self._frames(True, now)
        if self._ask_soon:
            self._ask_soon = False
            return self._frames(False, now)
        return []

    def shift(self, seconds: float, now: float) -> None:
        """Nothing could be heard for the last `seconds`, so what was not heard then says nothing."""
        self._heard = {at: (sender, heard + seconds) for at, (sender, heard) in self._heard.items()}
        for place, at in self._settles.items():
            if at > now - seconds:
                self._settles[place] = at + seconds
        self.guard.shift(seconds)

    def _frames(self, linked: bool, now: float) -> list[SendFrame]:
        """One frame out of every port a link may be at; those known to be links only with `linked`."""
        lifetime = max(1, round(self._interval * (MISSES + 1)))
        serial = self.guard.begin(now)
        return [
            SendFrame(dpid, (number,), lldp.frame(PortId(dpid, number), port.mac, lifetime, serial, self._key))
            for dpid in sorted(self._connected)
            for number, port in sorted(self._ports[dpid].items())
            if port.up
            and port.physical
            and PortId(dpid, number) not in self._hosts
            and (linked or PortId(dpid, number) not in self._link_ports)
        ]

    def _expire(self, now: float) -> None:
        oldest = now - self._interval * MISSES - SETTLE
        late = [
            place
            for place, (sender, at) in self._heard.items()
            if at < oldest and place.dpid in self._connected and sender.dpid in self._connected
        ]
        for place in late:
            link = self._silence(place)
            self._lost.add(link)
            self._remember(link)

    def _compare(self, now: float) -> None:
        """Which declared links should have been seen by now, and which links are heard in one direction only?"""

        def waited(place: PortId) -> bool:
            settles = self._settles.get(place)
            return place.dpid in self._ready and settles is not None and now - settles >= NOT_SEEN

        heard = {pair(place, sender) for place, (sender, _) in self._heard.items()}
        unseen = frozenset(
            link for link in self._declared - heard if link not in self._lost and waited(link[0]) and waited(link[1])
        )
        one_way = frozenset(
            link for link in self._up - self._both_ways if waited(link[0]) and waited(link[1])
        )
        self.revision += (unseen, one_way) != (self._unseen, self._one_way)
        self._unseen, self._one_way = unseen, one_way

    # -- answers -------------------------------------------------------------------------------------------

    @property
    def _settle_time(self) -> float:
        return SETTLE if self._observe else 0.0

    @property
    def ports(self) -> Mapping[int, Mapping[int, Port]]:
        """Every port of every switch that ever connected, by datapath id and number."""
        return self._ports

    @property
    def switches(self) -> frozenset[int]:
        """The switches connected now."""
        return frozenset(self._connected)

    @property
    def links(self) -> tuple[Pair, ...]:
        """The links found, in order."""
        return tuple(sorted(self._up))

    @property
    def lost_links(self) -> frozenset[Pair]:
        """Links that were seen and then no longer, although both their ports are up."""
        return frozenset(self._lost)

    @property
    def unseen(self) -> frozenset[Pair]:
        """Declared links that were never seen, although they should have been by now."""
        return self._unseen

    @property
    def one_way(self) -> frozenset[Pair]:
        """Links that were heard in one direction only, although there was time for both."""
        return self._one_way

    def touched(self) -> list[Pair]:
        """The links that may have come or gone since this was last asked."""
        links, self._touched = list(self._touched), {}
        return links

    def works(self, link: Pair) -> bool:
        """Is a link there, as far as known? A declared one is until something speaks against it."""
        for place in link:
            port = self._ports.get(place.dpid, {}).get(place.port)
            if place.dpid in self._ports and (port is None or not port.up):
                return False
        return link in self._up or (link in self._declared and link not in self._lost)

    def is_link(self, place: PortId) -> bool:
        """Is the port an end of a link, declared or found?"""
        return place in self._link_ports or place in self._declared_at

    def at_edge(self, place: PortId, now: float) -> bool | None:
        """May a host be there? None: too early to say."""
        port = self._ports.get(place.dpid, {}).get(place.port)
        if port is None or not port.up or not port.physical or self.is_link(place):
            return False
        if place in self._hosts:
            return True
        settles = self._settles.get(place)
        return True if settles is not None and now >= settles else None

    def edge_ports(self, now: float) -> dict[int, list[int]]:
        """Every port of the connected switches that is surely at the edge, by datapath id."""
        found = {
            dpid: [number for number in sorted(self._ports[dpid]) if self.at_edge(PortId(dpid, number), now)]
            for dpid in sorted(self._connected)
        }
        return {dpid: numbers for dpid, numbers in found.items() if numbers}

    def _forget(self, place: PortId) -> None:
        """Start anew with a port: what was heard there or came from there says nothing any more."""
        self._settles.pop(place, None)
        for at in [place, *self._hearers.get(place, ())]:
            if at in self._heard:
                self._silence(at)
        self._touch_declared(place)
        self.guard.release(place)
        for link in self._past.pop(place, ()):
            self._both_ways.discard(link)
            self._lost.discard(link)

    def _touch_declared(self, place: PortId) -> None:
        if place in self._declared_at:
            self._touched[self._declared_at[place]] = None

    def _silence(self, at: PortId) -> Pair:
        """Nothing is heard at a port any more; answers which link that was."""
        sender, _ = self._heard.pop(at)
        self._hearers[sender].discard(at)
        self.guard.release(sender)
        link = pair(at, sender)
        self._review(link)
        return link

    def _remember(self, link: Pair) -> None:
        for place in link:
            self._past.setdefault(place, set()).add(link)

    def _review(self, link: Pair) -> None:
        """Does a link stand? One heard both ways once must be heard both ways: a fibre can break in one
        direction. Where a port has two neighbours, what the port itself hears counts."""
        ways = 0
        for at, other in (link, link[::-1]):
            heard = self._heard.get(at)
            if heard is not None and heard[0] != other:
                ways = 0
                break
            ways += heard is not None
        stands = ways == 2 or (ways == 1 and link not in self._both_ways)
        if stands:
            self._lost.discard(link)
        if stands == (link in self._up):
            return
        self._touched[link] = None
        if stands:
            self._up.add(link)
            self._link_ports.update(link)
        else:
            self._up.remove(link)
            self._link_ports.subtract(link)
            for place in link:
                if not self._link_ports[place]:
                    del self._link_ports[place]
        self.revision += 1
