"""What `ovs-appctl dpctl/dump-flows -m` prints, read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controller_app.pipeline.labels import Label

Mask = frozenset[tuple[str, str]]
_FIELD = re.compile(r"(\w+)\(([^()]*)\)")


@dataclass(frozen=True, slots=True)
class Megaflow:
    """One entry of the datapath: where its packets come in, what it matches, and under which mask."""

    in_port: str
    fields: Mapping[str, str]  # "eth.dst" -> value; fields without parts by their own name
    mask: Mask  # of what is matched at all: (field, mask), the mask "exact" where none is printed

    @property
    def is_ipv4(self) -> bool:
        return self.fields.get("eth_type") == "0x0800"

    @property
    def label(self) -> Label | None:
        return Label.read(int(self.fields.get("eth.dst", "0").replace(":", ""), 16))


def parse(dump: str) -> list[Megaflow]:
    """What `ovs-appctl dpctl/dump-flows -m` printed (ovs-dpctl(8): ports by name, fields as value/mask)."""
    return [_megaflow(line.partition(", packets:")[0]) for line in dump.splitlines() if "in_port(" in line]


def _megaflow(text: str) -> Megaflow:
    fields, mask = {}, set()
    for name, content in _FIELD.findall(text):
        for part in content.split(","):
            key, has_parts, value = part.rpartition("=")
            field = f"{name}.{key}" if has_parts else name
            value, masked, bits = value.partition("/")
            if masked and not re.search(r"[1-9a-f]", bits.removeprefix("0x")):
                continue  # it matches anything
            fields[field] = value
            mask.add((field, bits if masked else "exact"))
    return Megaflow(fields["in_port"], fields, frozenset(mask))


def per_next_waypoint(megaflows: Iterable[Megaflow]) -> Counter[tuple[str, bool, int]]:
    """Of labelled traffic: megaflows by port they come in by, direction and next waypoint."""
    found = Counter[tuple[str, bool, int]]()
    for megaflow in megaflows:
        label = megaflow.label
        if label is not None:
            found[megaflow.in_port, label.backward, label.waypoint] += 1
    return found
