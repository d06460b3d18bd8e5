"""Policies as files for other controllers: as they were applied, with the demands that they make on who reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from controller_app.model.policy import Policy, Tenant
from controller_app.model.position import PolicyError
from controller_app.policy.features import DEMANDED_OF_TOPOLOGIES, used_features
from controller_app.policy.text_edit import put, remove
from controller_app.policy.yaml_positions import mapping_document

_SECTIONS = ("networks", "segments", "endpoints", "functions", "chains", "classifiers", "services")
_KEY = "must_understand"
_VERSION = re.compile(r"^version:.*\n", re.MULTILINE)


def exported(text: str, source: str, policy: Policy) -> str:
    """A policy's text with `must_understand` as what it says needs it: left out where every controller of version 1
    reads it rightly. What it demands of topologies, which it cannot show, stays. Nothing else changes.

    source: what positions of its objects name; policy: all policies as one. Raises PolicyError for a text that is
    none.
    """
    document: Any = mapping_document(text, source).plain()
    before = document.get(_KEY)
    kept = [item for item in before or () if item in DEMANDED_OF_TOPOLOGIES]
    needed = sorted({*used_features(part_of(policy, source, document)), *kept})
    if needed == (before or []) and (needed or before is None):
        return text
    if needed and before is None:
        return _with_demand(text, source, needed, {**document, _KEY: needed})
    if needed:
        return put(text, source, (_KEY,), needed)
    return text if before is None else remove(text, source, (_KEY,))


def _with_demand(text: str, source: str, needed: list[str], wanted: Mapping[str, Any]) -> str:
    """The demand comes behind the version, or in front, where that makes the same document; otherwise wherever it
    can be put."""
    line = f"{_KEY}: [{', '.join(needed)}]\n"
    for tried in (_VERSION.sub(lambda found: found[0] + line, text, count=1), line + text):
        try:
            if tried != text and mapping_document(tried, source).plain() == wanted:
                return tried
        except PolicyError:
            continue
    return put(text, source, (_KEY,), needed)


def part_of(policy: Policy, source: str, document: Mapping[str, Any]) -> Policy:
    """What of a policy one file declares. Of what all files of a tenant say together, what this one says."""

    def declared(tenant: Tenant) -> Tenant:
        sections: dict[str, Any] = {
            section: {name: item for name, item in getattr(tenant, section).items() if item.where.file == source}
            for section in _SECTIONS
        }
        return replace(tenant, flood=tenant.flood if document.get("flood") else (), **sections)

    return Policy({name: declared(tenant) for name, tenant in policy.tenants.items()})
