"""Objects of policy files together with the place they were written at, for messages about any part of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controller_app.model.position import Position
from controller_app.policy.diagnostics import Path
from controller_app.policy.yaml_positions import Document


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a file: where it is, and what became of it."""

    document: Document
    path: Path
    value: Any

    @property
    def position(self) -> Position:
        return self.document.locate(self.path)

    @property
    def where(self) -> Position:
        """Where the object begins: its key, or the item of a list."""
        return self.document.locate(self.path, key=True)

    def at(self, *rest: str | int, key: bool = False) -> Position:
        return self.document.locate((*self.path, *rest), key=key)

    def walk(self, *rest: str | int, key: bool = False) -> tuple[str, Position]:
        return self.document.walk((*self.path, *rest), key=key)


Entries = Mapping[str, Mapping[str, Entry]]  # by section and name
