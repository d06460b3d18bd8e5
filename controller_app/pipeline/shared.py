"""Flows that many switches hold alike, built once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from controller_app.pipeline.build import Rules
from controller_app.pipeline.views import World


class Shared:
    """Collections of flows, each made when first asked for. objects: as for `Rules`."""

    def __init__(self, world: World, objects: Mapping[str, int]) -> None:
        self._world = world
        self._objects = objects
        self._blocks: dict[tuple[object, ...], Rules] = {}

    def block(self, make: Callable[..., None], *args: object) -> Rules:
        """What `make(world, rules, *args)` adds to empty rules."""
        key = make, *args
        found = self._blocks.get(key)
        if found is None:
            found = self._blocks[key] = Rules(f"all that share {make.__name__}", self._objects)
            make(self._world, found, *args)
        return found
