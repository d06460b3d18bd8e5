"""Functions whose instances are whoever a selector matches: the instances, from the labels of all files together."""

from __future__ import annotations

from dataclasses import replace

from controller_app.model.policy import Function, Instance, Tenant
from controller_app.policy.membership import matching


def with_pools(tenant: Tenant) -> Tenant:
    """The tenant with the instances of every function that has a selector: one for each endpoint it matches, with the
    endpoint's name, host, weight and place, but for those that drain."""
    if all(function.selector is None for function in tenant.functions.values()):
        return tenant
    return replace(
        tenant, functions={name: _filled(function, tenant) for name, function in tenant.functions.items()}
    )


def _filled(function: Function, tenant: Tenant) -> Function:
    if function.selector is None:
        return function
    instances = {
        endpoint.name: Instance(endpoint.name, endpoint.host, endpoint.weight, endpoint.where)
        for endpoint in matching(function.selector, tenant.endpoints)
        if not endpoint.drain
    }
    return replace(function, instances=instances)
