"""Packets that the links cannot take, with what their transport adds, are told so at their edge.

Only where links declare their `mtu`. The smallest one counts for every way, so that a packet that goes in also comes
out, whichever way it takes.
"""

from __future__ import annotations

from controller_app.model.flow import CONTROLLER, CheckPacketLarger, Meter, Output
from controller_app.model.topology import Topology
from controller_app.pipeline import labels
from controller_app.pipeline.build import Rules
from controller_app.pipeline.labels import IS_LABEL, both
from controller_app.pipeline.tables import ANSWERS_METER, BASE, IP, IPV6, TOO_BIG, TRANSPORT
from controller_app.pipeline.views import World
from controller_app.transports import TRANSPORTS

_ETHERNET = 14


def smallest_mtu(topology: Topology) -> int | None:
    """The largest IP packet, in bytes, that every link takes; None where no link says."""
    return min((link.mtu for link in topology.links if link.mtu is not None), default=None)


def largest_packet(topology: Topology, transport: str) -> int | None:
    """The largest IP packet, in bytes, that a transport carries over every link; None where no link says."""
    mtu = smallest_mtu(topology)
    return None if mtu is None else mtu - TRANSPORTS[transport].overhead


def fits(world: World, rules: Rules, switch: str) -> None:
    """The check, at a switch where packets start."""
    if smallest_mtu(world.topology) is None:
        rules.add("copies", "rest", BASE, goto="transit")
        return
    rules.add("copies", "rest", BASE, goto="fits")
    rules.add("fits", "rest", BASE, goto="transit")
    for base, size in world.blocks.get(switch, ()):  # these cross no link
        rules.add("fits", "trusted", BASE, goto="transit", eth_dst=both(IS_LABEL, labels.block(base, size)))
    for word in dict.fromkeys(("mac", *(view.transport for view in world.lists.values()))):
        largest = largest_packet(world.topology, word)
        assert largest is not None
        for eth_type in (IP, IPV6):
            rules.add(
                "fits",
                "exact",
                BASE,
                (CheckPacketLarger(largest + _ETHERNET, TOO_BIG),),
                "too-big",
                reg5=labels.bits(TRANSPORT, TRANSPORTS[word].number),
                eth_type=eth_type,
            )
    rules.add("too-big", "rest", BASE, goto="transit")
    told = (Meter(ANSWERS_METER), Output(CONTROLLER))
    rules.add("too-big", "exact", BASE, told, reg5=labels.bits(TOO_BIG, 1))
