"""Rules of `transit`: towards any waypoint, knowing switches and not chains."""

from __future__ import annotations

from controller_app.model.flow import Output
from controller_app.pipeline import labels
from controller_app.pipeline.build import Rules
from controller_app.pipeline.labels import IS_LABEL, both
from controller_app.pipeline.tables import IP, IPV6, TRANSPORT
from controller_app.pipeline.views import World
from controller_app.transports import TRANSPORTS
from controller_app.transports.transport import Target


def transit(world: World, rules: Rules, switch: str) -> None:
    """One rule for each block of waypoints: deliver here, or out towards its switch, by what transport it may
    be."""
    used = [TRANSPORTS[word] for word in dict.fromkeys(view.transport for view in world.lists.values())]
    wrapping = [transport for transport in used if transport.number]
    starts_here = switch in world.starts
    for name, blocks in world.blocks.items():
        out: int | None = None
        if name != switch:
            hop = world.routes.row(name).hop.get(switch)
            if hop is None:
                continue  # no way there; the packet is dropped by having no rule
            out = hop[0]
        owner = f"switches/{name}"
        for base, size in blocks:
            towards = both(IS_LABEL, labels.block(base, size))
            if out is None:
                rules.add("transit", "exact", owner, (), "deliver", eth_dst=towards)
                continue
            rules.add("transit", "exact", owner, (Output(out),), eth_dst=towards)
            for transport in wrapping if starts_here else ():
                assert transport.put_on is not None
                target = Target(name, world.switch_numbers[name], blocks)
                for eth_type in (IP, IPV6):
                    rules.add(
                        "transit",
                        "exact",
                        owner,
                        (*transport.put_on(target, eth_type), Output(out)),
                        plus=1,
                        reg5=labels.bits(TRANSPORT, transport.number),
                        eth_dst=towards,
                        eth_type=eth_type,
                    )
        for transport in wrapping:
            assert transport.carry is not None
            transport.carry(rules, Target(name, world.switch_numbers[name], blocks), out)
