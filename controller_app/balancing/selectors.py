"""Label selectors, with the meaning they have in Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping

from controller_app.model.policy import Requirement, Selector


def matches(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether every requirement of the selector holds for these labels. One without requirements holds for
    everything. An absent key satisfies notin and not-exists, and nothing else."""
    return all(_holds(requirement, labels) for requirement in selector.requirements)


def _holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "in":
            return value is not None and value in requirement.values
        case "notin":
            return value is None or value not in requirement.values
        case "exists":
            return value is not None
        case "not-exists":
            return value is None
    raise ValueError(f"{requirement.operator!r} is no operator of a selector")
