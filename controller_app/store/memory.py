"""A store that forgets when the process ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controller_app.model.allocation import Allocation
from controller_app.store.interface import Revision, StoredPolicy


class MemoryStore:
    """For a controller without `--state`."""

    def __init__(self) -> None:
        self._policies: dict[str, StoredPolicy] = {}
        self._revisions: list[Revision] = []
        self._allocation = Allocation()
        self._hosts: list[dict[str, Any]] = []
        self._drains: dict[str, float] = {}

    def policies(self) -> dict[str, StoredPolicy]:
        return dict(self._policies)

    def save(self, policies: Mapping[str, StoredPolicy], what: str, at: float) -> int:
        self._policies = dict(policies)
        self._revisions.insert(0, Revision(len(self._revisions) + 1, at, what))
        return self._revisions[0].number

    def revisions(self) -> list[Revision]:
        return list(self._revisions)

    def allocation(self) -> Allocation:
        return self._allocation

    def save_allocation(self, allocation: Allocation) -> None:
        self._allocation = allocation

    def hosts(self) -> list[dict[str, Any]]:
        return list(self._hosts)

    def save_hosts(self, hosts: Sequence[Mapping[str, Any]]) -> None:
        self._hosts = [dict(host) for host in hosts]

    def drains(self) -> dict[str, float]:
        return dict(self._drains)

    def save_drains(self, drains: Mapping[str, float]) -> None:
        self._drains = dict(drains)

    def close(self) -> None:
        """Nothing to let go of."""
