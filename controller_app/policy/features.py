"""What a file can demand with `must_understand`: the features beyond the base language, and who uses which.

The base is what every controller that reads `version: 1` has: networks, endpoints and services chosen by selectors;
functions that are transparent or taps and fail closed; chains with their stickiness, and replies the same way or none;
classifiers by address, protocol and port, with priorities, that allow, deny or steer. A controller may have fewer of
the features named here, so that a file that uses one says so; one that uses none says nothing (`policy.exporting`).
What of it a switch must be able to do is another question: `runtime.shortfall`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from controller_app.model.policy import Policy, Tenant
from controller_app.model.topology import Topology
from controller_app.modes import MODES
from controller_app.transports import TRANSPORTS


def _mode(mode: str, tenant: Tenant) -> bool:
    return any(function.mode == mode for function in tenant.functions.values())


def _transport(transport: str, tenant: Tenant) -> bool:
    return any(chain.transport == transport for chain in tenant.chains.values())


def _require(word: str, tenant: Tenant) -> bool:
    asked = [chain.require for chain in tenant.chains.values() if chain.require is not None]
    return any(getattr(each, word) not in (None, False) for each in asked)


_REQUIRED = ("latency", "bandwidth", "within", "avoid", "prefer", "apart", "backup")
_BASE = frozenset({"transparent", "tap", "mac"})  # the modes and the transport that every version has
_IN_POLICY: Mapping[str, Callable[[Tenant], bool]] = {
    **{f"{word}-functions": partial(_mode, word) for word in MODES if word not in _BASE},
    **{f"transport-{word}": partial(_transport, word) for word in TRANSPORTS if word not in _BASE},
    "original-handover": lambda tenant: any(each.handover == "original" for each in tenant.functions.values()),
    "failure-open": lambda tenant: any(each.on_failure == "open" for each in tenant.functions.values()),
    "failure-reject": lambda tenant: any(each.on_failure == "reject" for each in tenant.functions.values()),
    "return-lists": lambda tenant: any(isinstance(each.returns, tuple) for each in tenant.chains.values()),
    "spread-cost": lambda tenant: any(each.spread == "cost" for each in tenant.chains.values()),
    **{f"require-{word}": partial(_require, word) for word in _REQUIRED},
    "flood": lambda tenant: bool(tenant.flood),
    "segments": lambda tenant: bool(tenant.segments),
    "insertion": lambda tenant: any(
        each.insert for section in (tenant.networks, tenant.segments) for each in section.values()
    ),
    "after": lambda tenant: any(each.after is not None for each in tenant.classifiers.values()),
    "dscp-match": lambda tenant: any(each.dscp for each in tenant.classifiers.values()),
    "limits": lambda tenant: any(each.then.limit is not None for each in tenant.classifiers.values()),
    "dscp-marks": lambda tenant: any(each.then.dscp is not None for each in tenant.classifiers.values()),
    "queues": lambda tenant: any(each.then.queue is not None for each in tenant.classifiers.values()),
    "session-affinity": lambda tenant: any(each.session_affinity is not None for each in tenant.services.values()),
    "prefer": lambda tenant: any(each.prefer is not None for each in tenant.services.values()),
    "service-health": lambda tenant: any(each.health is not None for each in tenant.services.values()),
    "expose": lambda tenant: any(each.expose != "everyone" for each in tenant.services.values()),
    "drain": lambda tenant: any(each.drain for each in tenant.endpoints.values()),
    "function-health": lambda tenant: any(each.health is not None for each in tenant.functions.values()),
    "selector-functions": lambda tenant: any(each.selector is not None for each in tenant.functions.values()),
    "reject": lambda tenant: any(each.then.action == "reject" for each in tenant.classifiers.values()),
}
_IN_TOPOLOGY: Mapping[str, Callable[[Topology], bool]] = {
    "tunnel-links": lambda topology: any(link.kind == "tunnel" for link in topology.links),
    "switch-labels": lambda topology: any(switch.labels for switch in topology.switches.values()),
    "link-mtu": lambda topology: any(link.mtu is not None for link in topology.links),
    "host-vlans": lambda topology: any(host.vlan is not None for host in topology.hosts.values()),
    "arm-addresses": lambda topology: any(host.out_mac or host.out_ips for host in topology.hosts.values()),
}
FEATURES = frozenset((*_IN_POLICY, *_IN_TOPOLOGY))
DEMANDED_OF_TOPOLOGIES = frozenset(_IN_TOPOLOGY)  # what a policy can demand, and does not show itself


def used_features(policy: Policy, topology: Topology | None = None) -> list[str]:
    """The features that the policy, and the topology where one is given, make use of, by name."""
    used = [name for name, uses in _IN_POLICY.items() if any(map(uses, policy.tenants.values()))]
    if topology is not None:
        used += [name for name, uses in _IN_TOPOLOGY.items() if uses(topology)]
    return sorted(used)
