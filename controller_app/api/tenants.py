"""Lists of one tenant's objects, and words about names that a tenant does not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controller_app.api.refused import Refused
from controller_app.model.policy import Policy

Document = dict[str, Any]
# whose objects belong to tenants
KINDS = frozenset(
    ("hosts", "functions", "chains", "classifiers", "networks", "endpoints", "services", "service-routers")
)
_COMMANDS = {"networks": "net", "endpoints": "endpoint", "services": "service"}


def only(document: Document, kind: str, policy: Policy, tenant: str) -> Document:
    """A list of a kind with one tenant's objects alone. Refused where there is no such tenant."""
    check(policy, tenant)
    return {kind: [item for item in document[kind] if item["tenant"] == tenant]}


def check(policy: Policy, tenant: str) -> None:
    """Refused where no policy is for this tenant."""
    known = {"default", *policy.tenants}
    if tenant not in known:
        raise Refused(404, "No such tenant", f"no policy is for a tenant {tenant!r}; there is {listed(sorted(known))}")


def unknown(policy: Policy, section: str, tenant: str, name: str) -> Refused:
    """What to say of an object that a tenant does not have, to be raised."""
    check(policy, tenant)
    one = section[:-1]
    what = f"no {one} is named {name!r}{of(tenant)}"
    others = sorted(other.name for other in policy.tenants.values() if name in getattr(other, section))
    if others:
        has = f"{what}; tenant{'s' * (len(others) > 1)} {listed(others)} {'have' if len(others) > 1 else 'has'} one"
        return Refused(404, f"No such {one}", f"{has}: ?tenant={others[0]}", f"{has}: --tenant {others[0]}")
    return Refused(
        404,
        f"No such {one}",
        f"{what}; GET /api/v1/{section} lists them",
        f"{what}; see `chainctl {_COMMANDS[section]} ls`",
    )


def of(tenant: str) -> str:
    """Whose, behind the name of an object."""
    return "" if tenant == "default" else f" in tenant {tenant}"


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)
