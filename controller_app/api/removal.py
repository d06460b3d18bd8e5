"""Why something cannot be taken away yet: what others name of it, and where."""

from __future__ import annotations

from collections.abc import Iterable

from controller_app.api.refused import Refused
from controller_app.api.tenants import listed, of
from controller_app.model.policy import Tenant
from controller_app.policy.users import SECTIONS, User, used, users
from controller_app.runtime.intent import Intent

_MOST = 5  # names of one kind in one policy that are said


def check_unused(intent: Intent, tenant: str, section: str, name: str) -> None:
    """Refused where other objects name one that is to go."""
    found = users(intent.policy.tenants.get(tenant, Tenant()), section, name)
    if found:
        one = section[:-1]
        raise Refused(
            409,
            f"The {one} is in use",
            f"{one} {name!r}{of(tenant)} is used by {_said(intent, tenant, found)}: remove them first",
        )


def check_policy_unused(intent: Intent, policy: str) -> None:
    """Refused where objects of other policies name objects of one that is to go."""
    said = []
    for tenant in intent.policy.tenants.values():
        for (section, name), by in used(tenant).items():
            if intent.owner(tenant.name, section, name) != policy:
                continue
            others = [user for user in by if intent.owner(tenant.name, user.section, user.name) != policy]
            if others:
                said.append(f"its {section[:-1]} {name!r}{of(tenant.name)} by {_said(intent, tenant.name, others)}")
    if said:
        more = f"; and {len(said) - _MOST} more" if len(said) > _MOST else ""
        raise Refused(
            409,
            "The policy is in use",
            f"objects of policy {policy!r} are used by others: {'; '.join(said[:_MOST])}{more}: remove them first",
        )


def _said(intent: Intent, tenant: str, found: Iterable[User]) -> str:
    """`services app, stable (policy red, red.yaml:12)`: by kind and policy, with the place of each."""
    groups: dict[tuple[str, str | None], list[User]] = {}
    for user in sorted(found, key=lambda user: (SECTIONS.index(user.section), user.where)):
        groups.setdefault((user.section, intent.owner(tenant, user.section, user.name)), []).append(user)
    said = []
    for (section, policy), members in groups.items():
        names = [user.name for user in members[:_MOST]]
        if len(members) > _MOST:
            names.append(f"{len(members) - _MOST} more")
        places = ", ".join(f"{user.where.file}:{max(1, user.where.line)}" for user in members[:_MOST])
        what = section if len(members) > 1 else section[:-1]
        said.append(f"{what} {', '.join(names)} (policy {policy}, {places})")
    return listed(said)
