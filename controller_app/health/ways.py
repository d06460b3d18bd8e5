"""One check of one target, taken apart: a probe for each address, or for each way through it, with the ports that its
frames go out of and its answers come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from controller_app.discovery.frames import Tells
from controller_app.discovery.ports import PortId, SendFrame
from controller_app.health.crossing import Crossed, datagram, seal, wrapped
from controller_app.health.function_probes import Crossing, Pinging
from controller_app.health.outcome import Heard, Probe
from controller_app.health.probes import Asking, Connecting, Fetching
from controller_app.health.segments import Echo, Ends, Wire
from controller_app.health.targets import Address, Spot, Target, Through

# Whose answer it is: place, address, its port (0 without ports), ours (of an echo its identifier, of a frame that goes
# through its number; 0 without).
Key = tuple[PortId, object, int, int]
Free = Callable[[PortId, object, int, int], int]  # place, address, its port, how many checks were: a port of ours
_PING = 32  # bytes of data in an echo


@dataclass(eq=False)
class Way:
    """A probe whose frames go out of `place`. `then`: what begins once it went well."""

    probe: Probe
    place: PortId
    then: Way | None = None

    def out(self, frames: list[bytes]) -> list[SendFrame]:
        """The probe's frames on their way."""
        return [SendFrame(self.place.dpid, (self.place.port,), frame) for frame in frames]


def key_of(place: PortId, said: Heard) -> Key:
    """Whose answer it may be."""
    if isinstance(said, Crossed):
        return place, None, 0, said.number
    if isinstance(said, Tells):
        return place, said.address, 0, 0
    if isinstance(said, Echo):
        return place, said.remote, 0, said.identifier
    return place, said.ends.remote, said.ends.remote_port, said.ends.local_port


def ways(target: Target, rounds: int, gateway_mac: int, secret: bytes, free: Free) -> dict[Key, Way]:
    """Everything a check of this target is made of. rounds: how many there were, plus one."""
    own = target.spots[0]
    if target.through is not None:
        return _through(target, target.through, own, rounds, secret, free)
    found = {}
    for asked in target.addresses:
        spot = asked.spot or own
        key, probe = _asked(target, asked, spot, Wire(spot.mac, gateway_mac, spot.vlan), rounds, secret, free)
        found[key] = Way(probe, spot.place)
    return found


def _asked(
    target: Target, asked: Address, spot: Spot, wire: Wire, rounds: int, secret: bytes, free: Free
) -> tuple[Key, Probe]:
    address, gateway = asked.address, asked.gateway
    if target.health.probe == "arp":
        return (spot.place, address, 0, 0), Asking(wire, address, gateway)
    port = free(spot.place, address, target.port, rounds)
    key: Key = (spot.place, address, target.port, port)
    ends = Ends(gateway, port, address, target.port)
    made = blake2b(f"{ends} {rounds}".encode(), key=secret[:64], digest_size=_PING).digest()
    first = number(secret, f"{ends} {rounds}")
    if target.health.probe == "icmp":
        return key, Pinging(wire, Echo(gateway, address, port, rounds & 0xFFFF, made))
    if target.health.probe == "http":
        return key, Fetching(wire, ends, first, path=target.health.path)
    return key, Connecting(wire, ends, first)


def _through(
    target: Target, through: Through, into: Spot, rounds: int, secret: bytes, free: Free
) -> dict[Key, Way]:
    out = through.out
    port = free(into.place, None, 0, rounds)  # another one each time: a firewall is to open something new
    count = number(secret, target.host) << 32 | rounds  # no other target's frames have it
    there = _crossing(count, into, out, through, secret, port, None)
    key: Key = (out.place, None, 0, count)
    found = {key: Way(there, into.place)}
    if through.both and out.place != into.place:
        back = _crossing(count, out, into, through, secret, port, there)
        found[into.place, None, 0, count] = found[key].then = Way(back, out.place)
    return found


def _crossing(
    count: int, into: Spot, out: Spot, through: Through, secret: bytes, port: int, first: Crossing | None
) -> Crossing:
    awaited = seal(secret, count, into.place, out.place, first is not None)
    frame = datagram(awaited, port)
    words = "from arm out to arm in"
    if first is None:
        words = "and back by its one arm" if into.place == out.place else "from arm in to arm out"
    return Crossing(wrapped(frame, into.mac) if through.nsh else frame, awaited, words, first)


def number(secret: bytes, text: str) -> int:
    """A number of 32 bits that nobody without the secret can tell."""
    return int.from_bytes(blake2b(text.encode(), key=secret[:64], digest_size=4).digest(), "big")
