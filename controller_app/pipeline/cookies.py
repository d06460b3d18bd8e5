"""What the 64-bit cookie of a flow says, and which groups and meters are ours.

    0xC5 (8) | pipeline layout (8) | object kind (8) | object id (40)

The top byte marks a flow as ours; everything else on a switch is foreign and never touched. Kind and id name
the policy or topology object that wanted the flow, through the allocation's "objects" ids.
"""

from __future__ import annotations

from controller_app.model.allocation import Allocation

COOKIE_MARK = 0xC5
LAYOUT = 1  # of tables, registers and label; a change makes every flow a new one
OURS_COOKIE = COOKIE_MARK << 56
OURS_COOKIE_MASK = 0xFF << 56
GROUP_MARK = 0xC5  # the top byte of the 32-bit ids of groups, and of meters
# Open vSwitch has numbers of its own for meters inside (2.10 and later), so that ids may be any up to 0xffff0000 on
# the userspace datapath and the kernel's; only how many there are at once is limited (262,144 and less).
METER_MARK = 0xC5

KINDS = (
    "pipeline",
    "hosts",
    "switches",
    "links",
    "networks",
    "classifiers",
    "chains",
    "functions",
    "services",
    "policies",
)


def cookie(name: str, number: int) -> int:
    """The cookie of an object named `kind/tenant/name` (or `kind/name`) with its allocated number."""
    kind = KINDS.index(name.split("/", 1)[0])
    return OURS_COOKIE | LAYOUT << 48 | kind << 40 | number


def is_ours(value: int) -> bool:
    """Whether a flow with this cookie belongs to us."""
    return value >> 56 == COOKIE_MARK


def is_our_group(group: int) -> bool:
    """Whether a group id lies in our range."""
    return group >> 24 == GROUP_MARK


def is_our_meter(meter: int) -> bool:
    """Whether a meter id lies in our range."""
    return meter >> 24 == METER_MARK


def object_name(value: int, allocation: Allocation) -> str | None:
    """The object behind a cookie, e.g. `classifiers/default/clients-to-web`; None for a foreign one."""
    if not is_ours(value):
        return None
    return allocation.object_names.get(value & (1 << 40) - 1)
