"""What a store can do, whatever keeps it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from controller_app.model.allocation import Allocation


class StoreError(RuntimeError):
    """The store cannot be used; the text says why and what to do."""


def digest(text: str) -> str:
    """What tells whether a file is still the one that was read."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """A policy as it was applied last. `text` is None once it was deleted; `file` is where it was first read
    from and `file_digest` tells that file's content at that time (both empty when it came by the API)."""

    name: str
    text: str | None
    file: str = ""
    file_digest: str = ""


@dataclass(frozen=True, slots=True)
class Revision:
    """One applied change: its number, when (seconds since 1970), and in a few words what."""

    number: int
    at: float
    what: str


class Store(Protocol):
    """Keeps one controller's memory. Every method raises StoreError when it cannot."""

    def policies(self) -> dict[str, StoredPolicy]:
        """The policies applied last, by name."""

    def save(self, policies: Mapping[str, StoredPolicy], what: str, at: float) -> int:
        """Keep policies as a new revision, and return its number."""

    def revisions(self) -> list[Revision]:
        """All revisions, the newest first."""

    def allocation(self) -> Allocation:
        """The allocation kept last; an empty one at first."""

    def save_allocation(self, allocation: Allocation) -> None:
        """Keep an allocation."""

    def hosts(self) -> list[dict[str, Any]]:
        """The hosts seen, as JSON."""

    def save_hosts(self, hosts: Sequence[Mapping[str, Any]]) -> None:
        """Keep the hosts seen."""

    def drains(self) -> dict[str, float]:
        """Since when endpoints drain: "TENANT/ENDPOINT" -> seconds since 1970."""

    def save_drains(self, drains: Mapping[str, float]) -> None:
        """Keep since when endpoints drain."""

    def close(self) -> None:
        """Let go of it."""
