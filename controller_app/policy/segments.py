"""Segments of one network that have hosts in common: one of them must hold the other, which is then the part
that counts.

Two prefixes are the same, which `references` refuses, or one holds the other, or they have nothing in common.
Two selectors are compared by endpoints, which needs no topology. A prefix may hold a selector's hosts, never the
other way round: it has addresses whose hosts nobody has labelled yet.
"""

from __future__ import annotations

from collections.abc import Set
from ipaddress import ip_network
from itertools import product

from controller_app.model.policy import Segment, Tenant
from controller_app.policy.diagnostics import Findings
from controller_app.policy.members import Members
from controller_app.policy.membership import segment_endpoints


def check_segments(tenant: Tenant, members: Members, findings: Findings) -> None:
    """Report a selector that matches some hosts of a prefix, and others of the same network."""
    prefixes = {(each.network, each.cidr): each for each in tenant.segments.values() if each.cidr is not None}
    lengths = sorted({(cidr.version, cidr.prefixlen) for _, cidr in prefixes})
    for chosen in tenant.segments.values():
        hosts = members.segment(chosen) if chosen.selector is not None else ()
        addresses = {ip for host in hosts for ip in host.ips}
        around = {
            (chosen.network, ip_network((ip, length), strict=False))
            for ip, (version, length) in product(addresses, lengths)
            if ip.version == version
        }
        for network, cidr in sorted(around & prefixes.keys(), key=str):
            prefix = prefixes[network, cidr]
            inside = {host.name for host in hosts if any(ip in cidr for ip in host.ips)}
            outside = {
                host.name for host in hosts if any(ip.version == cidr.version and ip not in cidr for ip in host.ips)
            }
            if outside:
                findings.error(
                    chosen.where,
                    f"segments.{chosen.name}",
                    f"{_some(inside)} in segment {prefix.name!r} too ({prefix.where}), and {_some(outside)} not",
                    "change one of them so that they have no host in common, or the prefix holds all of them",
                )


def check_selected_segments(tenant: Tenant, findings: Findings) -> None:
    """Report two selectors that match hosts in common although neither is a part of the other; each with one other."""
    hosts = {
        name: {endpoint.host for endpoint in segment_endpoints(each, tenant.endpoints)}
        for name, each in tenant.segments.items()
    }
    order = {name: number for number, name in enumerate(tenant.segments)}
    found = []
    nearest: dict[tuple[str, str], Segment] = {}  # network and host -> the smallest so far that holds the host
    for each in sorted(tenant.segments.values(), key=lambda segment: -len(hosts[segment.name])):
        mine = hosts[each.name]
        around = {other.name: other for host in mine if (other := nearest.get((each.network, host))) is not None}
        if around:
            other = min(around.values(), key=lambda segment: (len(hosts[segment.name]), order[segment.name]))
            if not mine < hosts[other.name]:
                found.append(sorted((each, other), key=lambda segment: order[segment.name]))
        for host in mine:
            nearest[each.network, host] = each
    for one, other in sorted(found, key=lambda pair: [order[segment.name] for segment in pair]):
        findings.error(
            other.where,
            f"segments.{other.name}",
            f"{_some(hosts[one.name] & hosts[other.name])} in segment {one.name!r} too ({one.where}), and neither "
            "segment is a part of the other",
            "change one of them so that they have no host in common, or one holds all of the other",
        )


def _some(names: Set[str]) -> str:
    first, *more = sorted(names)
    return f"host {first!r} is" if not more else f"hosts {first!r} and {len(more)} more are"
