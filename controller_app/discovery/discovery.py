"""Everything switches and hosts say, turned into one picture of the network.

No sockets and no clock: events come in by method calls with `now` (a monotonic clock in seconds), what is to
be done comes back as effects. `revision` grows whenever the picture is another one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from controller_app.discovery import frames
from controller_app.discovery.arms import Arms
from controller_app.discovery.asking import Asking, Edge, flood
from controller_app.discovery.damping import Damping
from controller_app.discovery.hosts import Expected, FoundHost, Hosts
from controller_app.discovery.links import INTERVAL, Links, Pair
from controller_app.discovery.merge import Observed
from controller_app.discovery.ports import Effect, Notice, Port, PortId
from controller_app.model.topology import IPAddress

MAX_WAITING_FRAMES = 1024  # at ports of which it is not yet known whether a host is there
LONGEST_WAIT = 3.0  # seconds until such a frame is dropped: who sent it has asked again by then
LATE = 1.0  # seconds between two ticks after which what was said meanwhile may still wait to be heard


class Declared(NamedTuple):
    """What topology and policy say, as far as discovery needs it.

    host_ports and links are those the topology file gives; quiet are ports where nobody is asked for an address
    (functions, and hosts of other networks); arms are ports of functions that have addresses of their own, but send
    other hosts' packets too.
    """

    host_ports: frozenset[PortId] = frozenset()
    links: frozenset[Pair] = frozenset()
    quiet: frozenset[PortId] = frozenset()
    expected: Expected = Expected()
    arms: frozenset[PortId] = frozenset()


class Discovery:
    """The picture of the network. `key` seals our LLDP frames; without `observe` no links are looked for."""

    def __init__(self, key: bytes, gateway_mac: int, observe: bool = True, interval: float = INTERVAL) -> None:
        self.damping = Damping()
        self._links = Links(key, observe, interval)
        self._observing = observe
        self._ticked: float | None = None
        self._lossy = False
        self._hosts = Hosts(gateway_mac)
        self._asking = Asking(self._hosts)
        self._arms = Arms(gateway_mac)
        self._gateway_mac = gateway_mac
        self._declared = Declared()
        self._waiting: deque[tuple[PortId, bytes, float]] = deque(maxlen=MAX_WAITING_FRAMES)

    @property
    def revision(self) -> int:
        """Grows with every change of ports, links or hosts."""
        return self._links.revision + self._hosts.revision + self.damping.revision

    @property
    def hosts_revision(self) -> int:
        """Grows with every change of hosts; see `confirmed`."""
        return self._hosts.revision

    @property
    def switches(self) -> frozenset[int]:
        """The datapath ids connected now."""
        return self._links.switches

    @property
    def ports(self) -> Mapping[int, Mapping[int, Port]]:
        """Every port of every switch that ever connected, by datapath id and number."""
        return self._links.ports

    @property
    def dropped(self) -> Mapping[tuple[PortId, str], int]:
        """Discovery frames that were not believed, by port and reason (see `guard`)."""
        return self._links.guard.dropped

    def observed(self) -> Observed:
        """The picture as a value."""
        links = self._links
        return Observed(
            {dpid: dict(ports) for dpid, ports in links.ports.items()},
            links.links,
            links.lost_links,
            tuple(self._hosts.all()),
            {key: self.damping.ripe(key) for key in self.damping.held()},
            links.unseen,
            links.one_way,
            self._observing,
        )

    def declare(self, declared: Declared) -> None:
        """What is declared from now on."""
        if declared != self._declared:
            self._declared = declared
            self._links.declare(declared.host_ports, declared.links)
            self._hosts.expect(declared.expected)
            self._hosts.forget(self._links.is_link)

    def restore(self, hosts: Iterable[FoundHost]) -> None:
        """Hosts known from an earlier run."""
        self._hosts.restore(hosts)

    def forget_hosts(self) -> None:
        """Whoever is there is to be learned again."""
        self._hosts.forget(lambda place: True)

    # -- events --------------------------------------------------------------------------------------------

    def connected(self, dpid: int, ports: Iterable[Port], now: float) -> None:
        """A switch came, or came back, and described its ports."""
        self._links.connected(dpid, ports, now)
        self._watch(now)
        self._forget_hosts(dpid)

    def lost(self, dpid: int) -> None:
        """The connection to a switch is gone."""
        self._links.lost(dpid)

    def ready(self, dpid: int, now: float) -> None:
        """A switch holds our rules."""
        self._links.ready(dpid, now)

    def port(self, dpid: int, port: Port, now: float) -> None:
        """A port is new or changed."""
        self._links.port(dpid, port, now)
        self._watch(now)
        if not port.up:
            self._forget_hosts(dpid)

    def emptied(self, dpid: int, now: float) -> None:
        """A switch came back without the rules it had: it was started anew, and forwarded nothing meanwhile."""
        self.damping.saw(dpid, False, now)
        self.damping.saw(dpid, True, now)

    def lossy(self) -> None:
        """Frames of switches were lost on their way to us: what was not heard says nothing."""
        self._lossy = True

    def port_gone(self, dpid: int, number: int, now: float) -> None:
        """A port was deleted."""
        self._links.port_gone(dpid, number)
        self._watch(now)
        self._forget_hosts(dpid)

    def frame(self, place: PortId, data: bytes, now: float) -> list[Effect]:
        """A frame came to the controller from a port."""
        if data[12:14] == b"\x88\xcc":
            before = self._links.revision
            self._links.frame(place, data, now)
            if self._links.revision != before:
                self._watch(now)
                self._hosts.forget(self._links.is_link)
            return [Notice(said) for said in self._links.guard.notices()]
        return self._at_port(place, data, now, now)

    def tick(self, now: float) -> list[Effect]:
        """Time went by. Call it a few times a second."""
        gap = 0.0 if self._ticked is None else now - self._ticked
        if gap > LATE or self._lossy:
            self._links.shift(gap, now)
        self._ticked, self._lossy = now, False
        effects: list[Effect] = list(self._links.tick(now))
        self._watch(now)
        self.damping.tick(now)
        effects += self._asking.tick(now)
        expected = self._declared.expected
        arms = {place: expected.at[place] for place in self._declared.arms}
        effects += self._arms.tick(arms, self._links.switches, self._heard_of, expected.gateway_for, now)
        for _ in range(len(self._waiting)):
            place, data, since = self._waiting.popleft()
            if now - since <= LONGEST_WAIT:
                effects += self._at_port(place, data, since, now)
        return effects

    def confirmed(self, revision: int, now: float) -> list[Effect]:
        """Every connected switch holds what follows from this `hosts_revision`."""
        return self._asking.confirmed(revision, now)

    def _watch(self, now: float) -> None:
        """What came or went is penalized for it."""
        for link in self._links.touched():
            self.damping.saw(link, self._links.works(link), now)

    # -- hosts ---------------------------------------------------------------------------------------------

    def _heard_of(self, ip: IPAddress) -> bool:
        return self._hosts.at(ip) is not None

    def _at_port(self, place: PortId, data: bytes, since: float, now: float) -> list[Effect]:
        at_edge = self._links.at_edge(place, now)
        if at_edge is None:
            self._waiting.append((place, data, since))
            return []
        return self._from_host(place, data, now) if at_edge else []

    def _forget_hosts(self, dpid: int) -> None:
        """Whoever was at a port that is down or gone is not there any more."""
        ports = self._links.ports.get(dpid, {})
        self._hosts.forget(lambda place: place.dpid == dpid and (place.port not in ports or not ports[place.port].up))

    def _from_host(self, place: PortId, data: bytes, now: float) -> list[Effect]:
        frame = frames.parse(data)
        if frame is None or frame.content is None:
            return []
        before = self._hosts.revision
        content = frame.content
        speaker, own = frame.eth_src, _own_address(frame)
        if place in self._declared.arms and own not in self._declared.expected.at[place].ips:
            own = None  # it sends on what others sent
        moved = own is not None and (known := self._hosts.at(own)) is not None and known.mac != speaker
        believed, said = self._hosts.learn(place, speaker, own, now)
        effects: list[Effect] = [Notice(said)] if said else []
        if not believed:
            return effects
        if own is not None:
            effects += self._asking.learned(own, now)
        if isinstance(content, frames.Asks):
            if content.target == own:
                if moved:  # an address went to another machine: everybody may have the old one in mind
                    effects += flood(data, place, self._edge(content.target, now))
            elif content.target.is_multicast or not self._may_ask(content):
                pass
            else:
                effects += self._asking.ask(place, content, data, self._edges_for(content.target), now)
        elif isinstance(content, frames.Carries) and _to_one(frame, content.destination):
            if self._hosts.revision != before:
                effects += self._asking.resume(place, data, now)
            elif frame.eth_dst == self._gateway_mac:
                effects += self._seek(place, data, content.destination, now)
        return effects

    def _seek(self, place: PortId, data: bytes, target: IPAddress, now: float) -> list[Effect]:
        gateway = self._declared.expected.gateway_for(target)
        asker = None if gateway is None else (gateway, self._gateway_mac)
        if target in self._declared.expected.taken:
            return []
        return self._asking.seek(place, data, target, asker, self._edges_for(target), now)

    def _may_ask(self, asks: frames.Asks) -> bool:
        """Hosts find each other by address resolution within one network, not across."""
        networks = self._declared.expected.network_of
        if asks.target in self._declared.expected.taken:
            return False
        return asks.sender is None or networks(asks.sender) == networks(asks.target)

    def _edges_for(self, target: IPAddress) -> Edge:
        return lambda now: self._edge(target, now)

    def _edge(self, target: IPAddress, now: float) -> dict[int, list[int]]:
        """Where `target` may be: at the edge, but no function's port and no host's of another network."""
        network_of = self._declared.expected.network_of
        wanted = network_of(target)

        def allowed(place: PortId) -> bool:
            if place in self._declared.quiet:
                return False
            host = self._declared.expected.at.get(place)
            ips = [ip for ip in host.ips if ip.version == target.version] if host is not None else []
            return not ips or any(network_of(ip) == wanted for ip in ips)

        edge = self._links.edge_ports(now)
        return {dpid: [n for n in numbers if allowed(PortId(dpid, n))] for dpid, numbers in edge.items()}


def _own_address(frame: frames.Frame) -> IPAddress | None:
    """The address a frame's sender shows to be its own."""
    match frame.content:
        case frames.Asks(sender=sender, sender_mac=mac):
            return sender if mac == frame.eth_src else None
        case frames.Tells(address=address, mac=mac):
            return address if mac == frame.eth_src else None
        case frames.Carries(source=source):
            return source
    return None


def _to_one(frame: frames.Frame, destination: IPAddress) -> bool:
    return not frame.eth_dst >> 40 & 1 and not destination.is_multicast
