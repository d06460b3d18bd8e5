"""Open vSwitch's versions, and the faults that are known of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of the versions from `since` to before `until`. `name` is one word for tables."""

    since: Version
    until: Version
    name: str
    what: str


FAULTS = (
    Fault(
        (3, 1, 0),
        (3, 1, 1),
        "conntrack",
        "userspace conntrack of this version can abort ovs-vswitchd: never commit connections with source NAT on it "
        "(Chainsteer does not)",
    ),
    Fault(
        (0,),
        (2, 17, 0),
        "slots",
        "select groups have fewer than 256 slots in this version, and chains need 256",
    ),
)


def read_version(text: str) -> Version | None:
    """(3, 1, 0) from what a switch or a program tells of itself; None when it starts with no version."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return None if found is None else tuple(int(part or 0) for part in found.groups())


def faults_of(version: Version) -> tuple[Fault, ...]:
    """What is known to be wrong with a version."""
    return tuple(fault for fault in FAULTS if fault.since <= version < fault.until)
