"""What must hold within a policy, whatever the topology: who is attached as what, and who owns an address."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller_app.balancing.labelled import Labelled
from controller_app.model.policy import Endpoint, Function, Policy, Selector, Tenant
from controller_app.model.position import Diagnostic, Position
from controller_app.model.topology import IPAddress
from controller_app.policy.diagnostics import Findings
from controller_app.policy.exposure import check_exposure
from controller_app.policy.function_health import check_probes
from controller_app.policy.membership import matching, segment_endpoints
from controller_app.policy.providers import check_providers
from controller_app.policy.segments import check_selected_segments

MANY, TOO_MANY = 64, 256  # instances of a function, providers of a service: the slot table has 256 slots


def check_policy(policy: Policy) -> tuple[Diagnostic, ...]:
    """Errors and warnings that need no topology, for all tenants together."""
    findings = Findings()
    hosts = instance_hosts(policy)
    _instances(policy, findings)
    _endpoints(policy, hosts, findings)
    for tenant in policy.tenants.values():
        _service_addresses(tenant, findings)
        _selectors(tenant, findings)
        check_selected_segments(tenant, findings)
        check_providers(tenant, hosts, findings)
        check_exposure(tenant, findings)
        check_probes(tenant, findings)
    return tuple(findings.all)


def instance_hosts(policy: Policy) -> dict[str, tuple[Tenant, Function, Position]]:
    """Every host that is an instance of a function: whose, of which, and where it was written first."""
    found: dict[str, tuple[Tenant, Function, Position]] = {}
    for tenant in policy.tenants.values():
        for function in tenant.functions.values():
            for instance in function.instances.values():
                found.setdefault(instance.host, (tenant, function, instance.where))
    return found


def _instances(policy: Policy, findings: Findings) -> None:
    seen: dict[str, tuple[str, Position]] = {}
    for tenant in policy.tenants.values():
        for function in tenant.functions.values():
            at = f"functions.{function.name}.instances"
            for instance in function.instances.values():
                owner = f"{function.name}.{instance.name}"
                if instance.host in seen:
                    other, where = seen[instance.host]
                    chosen = f", and {function.selector.text!r} matches its endpoint" if function.selector else ""
                    findings.error(
                        instance.where,
                        f"{at}.{instance.name}",
                        f"host {instance.host!r} is attached as instance {other!r} already ({where}){chosen}",
                        "give each instance a host of its own",
                    )
                else:
                    seen[instance.host] = owner, instance.where
            if function.selector is not None:
                _pool(function, function.selector, tenant, findings)
            _count(len(function.instances), "instances", function.where, at, findings)


def _pool(function: Function, selector: Selector, tenant: Tenant, findings: Findings) -> None:
    """A function whose selector gives it no instance: that may change with the labels."""
    path = f"functions.{function.name}.instances.selector"
    found = matching(selector, tenant.endpoints)
    if not found:
        _nothing(function.where, path, selector, tenant.endpoints, findings)
    elif not function.instances:
        findings.warning(
            function.where,
            path,
            f"all {len(found)} endpoints that {selector.text!r} matches drain: the function has no instance",
            "end the `drain` of one of them",
        )


def _count(number: int, what: str, where: Position, path: str, findings: Findings) -> None:
    if number > TOO_MANY:
        findings.error(where, path, f"{number} {what}; at most {TOO_MANY} can share traffic", "split them up")
    elif number > MANY:
        findings.warning(
            where,
            path,
            f"{number} {what}: with more than {MANY} the shares of 1/256 get coarse",
            "use fewer where even shares matter",
        )


def _endpoints(
    policy: Policy, hosts: Mapping[str, tuple[Tenant, Function, Position]], findings: Findings
) -> None:
    seen: dict[str, tuple[Tenant, Endpoint]] = {}
    for tenant in policy.tenants.values():
        for endpoint in tenant.endpoints.values():
            path = f"endpoints.{endpoint.name}"
            if endpoint.host in hosts and hosts[endpoint.host][1].selector is None:
                _, function, where = hosts[endpoint.host]
                findings.error(
                    endpoint.where,
                    path,
                    f"host {endpoint.host!r} is an instance of function "
                    f"{function.name!r} ({where}) and cannot be an endpoint too",
                    "remove the endpoint or the instance",
                )
            other = seen.setdefault(endpoint.host, (tenant, endpoint))
            if other[0] is not tenant:
                findings.error(
                    endpoint.where,
                    path,
                    f"host {endpoint.host!r} belongs to tenant {other[0].name!r} ({other[1].where})",
                    "a host belongs to one tenant: remove one of the endpoints",
                )
            elif other[1] is not endpoint and other[1].network == endpoint.network:
                findings.error(
                    endpoint.where,
                    path,
                    f"host {endpoint.host!r} is endpoint {other[1].name!r} of the "
                    f"same network already ({other[1].where})",
                    "put the labels of both on one of them",
                )


def _service_addresses(tenant: Tenant, findings: Findings) -> None:
    owners: dict[IPAddress, tuple[str, Position]] = {}
    for network in tenant.networks.values():
        for gateway in network.gateways:
            owners.setdefault(gateway, (f"the gateway of network {network.name!r}", network.where))
    for service in tenant.services.values():
        for address in service.ips:
            if address in owners:
                owner, where = owners[address]
                findings.error(
                    service.where,
                    f"services.{service.name}.ip",
                    f"{address} belongs to {owner} ({where})",
                    "choose another address, or leave `ip` out",
                )
            else:
                owners[address] = f"service {service.name!r}", service.where


def _selectors(tenant: Tenant, findings: Findings) -> None:
    labelled = Labelled(tenant.endpoints)
    for service in tenant.services.values():
        found = labelled.matching(service.selector)
        path = f"services.{service.name}.selector"
        if not found:
            _nothing(service.where, path, service.selector, tenant.endpoints, findings)
        _count(len(found), "providers", service.where, path, findings)
        for index, party in enumerate(() if isinstance(service.expose, str) else service.expose):
            if isinstance(party.value, Selector) and not labelled.matching(party.value):
                at = f"services.{service.name}.expose[{index}]"
                _nothing(party.where, at, party.value, tenant.endpoints, findings)
    for classifier in tenant.classifiers.values():
        for side, party in (("from", classifier.source), ("to", classifier.destination)):
            if isinstance(party.value, Selector) and not labelled.matching(party.value):
                _nothing(
                    party.where,
                    f"classifiers.{classifier.name}.{side}",
                    party.value,
                    tenant.endpoints,
                    findings,
                )
    for segment in tenant.segments.values():
        if segment.selector is not None and not segment_endpoints(segment, tenant.endpoints):
            path = f"segments.{segment.name}.selector"
            own = {name: each for name, each in tenant.endpoints.items() if each.network in (None, segment.network)}
            _nothing(segment.where, path, segment.selector, own, findings)


def _nothing(
    where: Position, path: str, selector: Selector, endpoints: Mapping[str, Endpoint], findings: Findings
) -> None:
    carried = sorted(
        {f"{key}={value}" for endpoint in endpoints.values() for key, value in endpoint.labels.items()}
    )
    remedy = f"labels in use: {_some(carried)}" if carried else "give endpoints the labels it asks for"
    findings.warning(where, path, f"the selector {selector.text!r} matches no endpoint", remedy)


def _some(words: Iterable[str]) -> str:
    known = list(words)
    return ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
