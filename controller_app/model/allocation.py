"""What must stay as it was from one compile to the next: ids, addresses, slot tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

SLOTS = 256


@dataclass(frozen=True)
class Allocation:
    """The memory of `compile`: handed in, handed back, kept by the store. An empty one gives the canonical
    tables. Keys are strings so that it is JSON as it stands.

    blocks: switch -> [base, size] runs of waypoint ids; waypoints: "host:NAME" or "host:NAME:ARM" -> id,
    "own:…" where a function gets packets for itself;
    ids: space ("lists", "services", "tenants", "groups", "ways", "zones", "objects") -> name -> number;
    paths: list name -> "fw1,ids1" -> path id;
    slots: "functions/TENANT/NAME" or "services/TENANT/NAME" -> 256 member names;
    addresses: "TENANT/SERVICE" -> address texts;
    served: "TENANT/SERVICE" -> the waypoints of its providers, those that are none any more first;
    served_by: "TENANT/SERVICE" -> the hosts at these waypoints, in the same order;
    providers: "TENANT/SERVICE" -> endpoint -> host, of all whose connections go on, also of those that the service's
    selector does not match any more;
    next: number space -> where to look for the next free number, so that numbers are not soon used again;
    retired: number space -> numbers that were given up, and that packets under way may still carry: nobody gets them
    until whoever knows when that is over empties this.
    """

    blocks: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    waypoints: Mapping[str, int] = field(default_factory=dict)
    ids: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    paths: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    slots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    served: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    served_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    providers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    next: Mapping[str, int] = field(default_factory=dict)
    retired: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def object_names(self) -> Mapping[int, str]:
        """The names behind the numbers of "objects", which cookies carry."""
        return {number: name for name, number in self.ids.get("objects", {}).items()}

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `from_json` is the inverse."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Allocation:
        """Read what `to_json` made. What is missing is empty."""
        return Allocation(
            blocks={k: tuple((int(b), int(s)) for b, s in v) for k, v in data.get("blocks", {}).items()},
            waypoints=dict(data.get("waypoints", {})),
            ids={k: dict(v) for k, v in data.get("ids", {}).items()},
            paths={k: dict(v) for k, v in data.get("paths", {}).items()},
            slots={k: tuple(v) for k, v in data.get("slots", {}).items()},
            addresses={k: tuple(v) for k, v in data.get("addresses", {}).items()},
            served={k: tuple(v) for k, v in data.get("served", {}).items()},
            served_by={k: tuple(v) for k, v in data.get("served_by", {}).items()},
            providers={k: dict(v) for k, v in data.get("providers", {}).items()},
            next=dict(data.get("next", {})),
            retired={k: tuple(v) for k, v in data.get("retired", {}).items()},
        )
