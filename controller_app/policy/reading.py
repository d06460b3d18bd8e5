"""One file through one schema: all its problems, and still every object in it that is sound.

An object with a fault is reported and left out, so that the faults of others are found in the same run.
Its name stays known: what refers to it is not called unknown on top.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from controller_app.policy.diagnostics import Findings, Path, schema_problems
from controller_app.policy.yaml_positions import Document

ALL = "*"  # among faulty names: the section as a whole cannot be read

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Checked(Generic[M]):
    """What a file holds: `value` without faulty objects; `faulty` names those, by section; `indices` says
    for list sections which place in the file each kept item had."""

    document: Document
    value: M
    faulty: Mapping[str, frozenset[str]] = field(default_factory=dict)
    indices: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def index(self, section: str, position: int) -> int:
        """Where the item at `position` in `value` stands in the file's list."""
        return self.indices[section][position] if section in self.indices else position


def check(
    document: Document,
    data: dict[str, Any],
    model: type[M],
    findings: Findings,
) -> Checked[M] | None:
    """Validate. Problems go to `findings`; None where nothing of the file can be used."""
    try:
        return Checked(document, model.model_validate(data))
    except ValidationError as error:
        findings.all.extend(schema_problems(document, model, error))
        paths = [details["loc"] for details in error.errors(include_url=False, include_context=False)]
    rest, faulty, indices = _without(data, paths)
    try:
        return Checked(document, model.model_validate(rest), faulty, indices)
    except ValidationError:
        return None  # everything wrong with it is reported already


def _without(
    data: dict[str, Any], paths: list[Path]
) -> tuple[dict[str, Any], dict[str, frozenset[str]], dict[str, tuple[int, ...]]]:
    rest = dict(data)
    faulty: dict[str, frozenset[str]] = {}
    indices: dict[str, tuple[int, ...]] = {}
    for section in {str(path[0]) for path in paths if path}:
        items = {path[1] for path in paths if path[0] == section and len(path) > 1}
        content = data.get(section)
        if items and isinstance(content, dict):
            rest[section] = {key: value for key, value in content.items() if key not in items}
            faulty[section] = frozenset(str(item) for item in items)
        elif items and isinstance(content, list):
            indices[section] = tuple(i for i in range(len(content)) if i not in items)
            rest[section] = [content[i] for i in indices[section]]
            faulty[section] = frozenset(str(item) for item in items)
        else:
            rest.pop(section, None)
            faulty[section] = frozenset({ALL})
    if "version" in data or any(path[:1] == ("version",) for path in paths):
        rest["version"] = 1
    return rest, faulty, indices
