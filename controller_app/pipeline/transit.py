"""Rules of `transit`: towards any waypoint, knowing switches and not chains."""

from __future__ import annotations

from controller_app.model.flow import Output
from controller_app.pipeline import labels
from controller_app.pipeline.build import Rules
from controller_app.pipeline.labels import IS_LABEL, both
from controller_app.pipeline.world import World


def transit(world: World, rules: Rules, switch: str) -> None:
    """One rule for each block of waypoints: deliver here, or out towards its switch."""
    for target, blocks in world.blocks.items():
        out: tuple[Output, ...] = ()
        if target != switch:
            hop = world.routes.row(target).hop.get(switch)
            if hop is None:
                continue  # no way there; the packet is dropped by having no rule
            out = (Output(hop[0]),)
        for base, size in blocks:
            prefix = (
                base << labels.WAYPOINT.offset,
                (labels.WAYPOINTS - size) << labels.WAYPOINT.offset,
            )
            rules.add(
                "transit",
                "exact",
                f"switches/{target}",
                out,
                None if out else "deliver",
                eth_dst=both(IS_LABEL, prefix),
            )
