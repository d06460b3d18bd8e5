"""What the contract names and this version does not have: one line each, deleted when it arrives.

A key or value listed here is refused at its place, in words that differ from those for a misspelling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controller_app.policy.diagnostics import Findings, Path
from controller_app.policy.yaml_positions import Document
from controller_app.policy.yaml_scalars import kind_name

ANY_NAME = "*"  # any key of a mapping, any item of a list


@dataclass(frozen=True, slots=True)
class Absent:
    """A key (refused None) or some of its values (refused given) that this version does not have."""

    path: tuple[str, ...]
    supported: str
    refused: tuple[object, ...] | None = None


ABSENT: tuple[Absent, ...] = (
    Absent(("functions", "*", "health"), "up while its ports are up"),
    Absent(("chains", "*", "spread"), "weight", ("cost",)),
    Absent(("chains", "*", "require"), "through, return, transport, stickiness, spread"),
)


def take_out(
    document: Document, data: dict[str, Any], findings: Findings
) -> tuple[dict[str, Any], set[Path]]:
    """Report every absent key and value. Returns the data without them, so that the schema speaks of other
    things only, and the paths taken out."""
    taken: set[Path] = set()
    for absent in ABSENT:
        data = _visit(document, data, absent, (), findings, taken)
    return data, taken


def _visit(
    document: Document, value: Any, absent: Absent, at: Path, findings: Findings, taken: set[Path]
) -> Any:
    """`value` at path `at`, or a changed copy of it (aliases share values: nothing is changed in place)."""
    part = absent.path[len(at)]
    if isinstance(value, list) and part == ANY_NAME:
        return [
            _visit(document, item, absent, (*at, index), findings, taken) for index, item in enumerate(value)
        ]
    if not isinstance(value, dict):
        return value
    if part == ANY_NAME:
        return {
            key: _visit(document, item, absent, (*at, key), findings, taken) for key, item in value.items()
        }
    if part not in value:
        return value
    path = (*at, part)
    if len(path) < len(absent.path):
        return {**value, part: _visit(document, value[part], absent, path, findings, taken)}
    if not _refused(value[part], absent.refused):
        return value
    if absent.refused is None:
        text, position = document.walk(path, key=True)
        what = f"'{part}' is"
    else:
        text, position = document.walk(path)
        what = f"'{part}: {_said(value[part])}' is"
    findings.error(
        position, text, f"{what} not supported by this version (supported: {absent.supported})", "remove it"
    )
    taken.add(path)
    return {key: item for key, item in value.items() if key != part}


def _refused(value: Any, refused: tuple[object, ...] | None) -> bool:
    if refused is None:
        return True
    return any(value is item or (isinstance(value, str) and value == item) for item in refused)


def _said(value: Any) -> str:
    return value if isinstance(value, str) else kind_name(value)
