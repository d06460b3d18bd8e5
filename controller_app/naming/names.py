"""The domain name of a service: SERVICE.TENANT.svc.internal (`.internal` is reserved for private use, ICANN
resolution 2024.07.29.06).

Names of tenants and services may be more than labels are: a dot in one separates labels, and case does not count
(RFC 4343).
"""

from __future__ import annotations

DOMAIN = "svc.internal"


def fqdn(tenant: str, service: str) -> str | None:
    """A service's domain name, in lower case, without the last dot; None where an empty label (a dot at the end, or
    two in a row) leaves it without one."""
    return _name(service, tenant, DOMAIN)


def domain(tenant: str) -> str | None:
    """The domain that a tenant's hosts search; None as for `fqdn`."""
    return _name(tenant, DOMAIN)


def _name(*parts: str) -> str | None:
    name = ".".join(parts).lower()
    return name if all(name.split(".")) else None
