"""Segments of one network that have hosts in common: one of them must hold the other, which is then the part
that counts.

Two prefixes are the same, which `references` refuses, or one holds the other, or they have nothing in common.
Two selectors are compared by endpoints, which needs no topology. A prefix may hold a selector's hosts, never the
other way round: it has addresses whose hosts nobody has labelled yet.
"""

from __future__ import annotations

from collections.abc import Set
from itertools import combinations, product

from controller_app.model.policy import Tenant
from controller_app.policy.diagnostics import Findings
from controller_app.policy.members import Members
from controller_app.policy.membership import segment_endpoints


def check_segments(tenant: Tenant, members: Members, findings: Findings) -> None:
    """Report a selector that matches some hosts of a prefix, and others of the same network."""
    prefixes = [each for each in tenant.segments.values() if each.cidr is not None]
    selected = {name: members.segment(each) for name, each in tenant.segments.items() if each.selector is not None}
    for name, prefix in product(selected, prefixes):
        chosen, hosts, cidr = tenant.segments[name], selected[name], prefix.cidr
        if cidr is None or prefix.network != chosen.network:
            continue
        inside = {host.name for host in hosts if any(ip in cidr for ip in host.ips)}
        outside = {host.name for host in hosts if any(ip.version == cidr.version and ip not in cidr for ip in host.ips)}
        if inside and outside:
            findings.error(
                chosen.where,
                f"segments.{chosen.name}",
                f"{_some(inside)} in segment {prefix.name!r} too ({prefix.where}), and {_some(outside)} not",
                "change one of them so that they have no host in common, or the prefix holds all of them",
            )


def check_selected_segments(tenant: Tenant, findings: Findings) -> None:
    """Report two selectors that match hosts in common although neither is a part of the other."""
    hosts = {
        name: {endpoint.host for endpoint in segment_endpoints(each, tenant.endpoints)}
        for name, each in tenant.segments.items()
    }
    for one, other in combinations(tenant.segments.values(), 2):
        mine, others = hosts[one.name], hosts[other.name]
        common = mine & others
        if one.network == other.network and common and not (mine < others or others < mine):
            findings.error(
                other.where,
                f"segments.{other.name}",
                f"{_some(common)} in segment {one.name!r} too ({one.where}), and neither segment is a part of "
                "the other",
                "change one of them so that they have no host in common, or one holds all of the other",
            )


def _some(names: Set[str]) -> str:
    first, *more = sorted(names)
    return f"host {first!r} is" if not more else f"hosts {first!r} and {len(more)} more are"
