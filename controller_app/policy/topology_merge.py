"""Put declared switches, links and hosts together into a Topology, refusing what cannot be wired.

Switches, links and hosts may come from several files of several kinds; a link in one may name a switch of
another. Named ports (`s1:vx2`) are kept as names: only the switch can say whether it has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controller_app.model.position import Position
from controller_app.model.topology import End, Host, Link, Switch, Topology
from controller_app.policy.diagnostics import Findings, meant
from controller_app.policy.values import MAX_PORT

_WHOLE = "all of it"  # what a link takes of a port


@dataclass(frozen=True, slots=True)
class PlacedLink:
    """A link with its path in its file, and where each end is written (both where the link is, if empty)."""

    link: Link
    path: str = "links"
    ends: tuple[Position, ...] = ()


@dataclass(frozen=True, slots=True)
class PlacedHost:
    """A host, and where each of its arms is written (where the host is, if not in it)."""

    host: Host
    arms: Mapping[str, Position] = field(default_factory=dict)


@dataclass
class Draft:
    """What one file declares, nothing checked across objects yet.

    `faulty` names switches that are declared but could not be read.
    """

    switches: list[Switch] = field(default_factory=list)
    links: list[PlacedLink] = field(default_factory=list)
    hosts: list[PlacedHost] = field(default_factory=list)
    faulty: set[str] = field(default_factory=set)


def merge(drafts: Iterable[Draft], findings: Findings) -> Topology:
    """One topology of all drafts. Problems go to `findings`; the result is good only if there are none."""
    merger = _Merger(findings)
    parts = list(drafts)
    for draft in parts:
        merger.faulty |= draft.faulty
        for switch in draft.switches:
            merger.switch(switch)
    for draft in parts:
        for link in draft.links:
            merger.link(link)
        for host in draft.hosts:
            merger.host(host)
    return Topology(merger.switches, tuple(merger.links), merger.hosts)


class _Merger:
    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.switches: dict[str, Switch] = {}
        self.links: list[Link] = []
        self.hosts: dict[str, Host] = {}
        self.faulty: set[str] = set()
        self.dpids: dict[int, Switch] = {}
        self.ports: dict[End, dict[str, tuple[str, Position]]] = {}  # by what they take of it, see `_part`

    def switch(self, switch: Switch) -> None:
        path = f"switches.{switch.name}"
        earlier = self.switches.setdefault(switch.name, switch)
        if earlier is not switch:
            self.findings.error(
                switch.where, path, f"switch {switch.name!r} is declared at {earlier.where} too", "keep one"
            )
            return
        other = self.dpids.setdefault(switch.dpid, switch)
        if other is not switch:
            self.findings.error(
                switch.where,
                f"{path}.dpid",
                f"dpid {switch.dpid:#x} is that of switch {other.name!r} already ({other.where})",
                "give each switch a dpid of its own",
            )

    def link(self, placed: PlacedLink) -> None:
        link, path = placed.link, placed.path
        for end, where in zip((link.a, link.b), placed.ends or (link.where, link.where), strict=True):
            self.take(end, where, path, "a link")
        if link.a.switch == link.b.switch:
            self.findings.error(
                link.where, path, f"the link joins switch {link.a.switch!r} to itself", "join two switches"
            )
        self.links.append(link)

    def host(self, placed: PlacedHost) -> None:
        host = placed.host
        path = f"hosts.{host.name}"
        earlier = self.hosts.setdefault(host.name, host)
        if earlier is not host:
            self.findings.error(
                host.where,
                path,
                f"host {host.name!r} is attached at {earlier.where} already",
                "keep one, or rename one",
            )
            return
        for arm, end in host.attach.items():
            at = f"{path}.attach.{arm}" if arm else f"{path}.attach"
            self.take(end, placed.arms.get(arm, host.where), at, f"host {host.name!r}", _part(host))

    def take(self, end: End, where: Position, path: str, user: str, part: str = _WHOLE) -> None:
        """Claim a port, or its frames with a tag: its switch must exist, and nobody else may use the same."""
        if end.switch not in self.switches:
            if end.switch not in self.faulty:
                self.findings.error(
                    where,
                    path,
                    f"no switch named {end.switch!r}",
                    meant(end.switch, [*self.switches, *self.faulty], "declare it under `switches:`"),
                )
            return
        if isinstance(end.port, int) and not 1 <= end.port <= MAX_PORT:
            self.findings.error(
                where,
                path,
                f"port {end.port} of switch {end.switch!r} does not exist",
                f"ports are numbered 1 to {MAX_PORT}",
            )
            return
        users = self.ports.setdefault(end, {})
        other = part if part in users else next((each for each in users if _WHOLE in (part, each)), None)
        if other is not None:
            owner, place = users[other]
            remedy = "use each port once"
            if _WHOLE not in (part, other):
                remedy += ", or give the hosts a `vlan` each"
            self.findings.error(where, path, f"port {end} is used by {owner} already ({place})", remedy)
            return
        users[part] = user, where


def _part(host: Host) -> str:
    """What a host takes of its port: the frames with its tag, or those without one."""
    return "untagged" if host.vlan is None else f"vlan {host.vlan}"
