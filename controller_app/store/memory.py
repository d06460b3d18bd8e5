"""A store that forgets when the process ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

from controller_app.model.allocation import Allocation
from controller_app.store.interface import KEPT, Kept, Outcome, Revision, StoredPolicy, changed, texts_of


class MemoryStore:
    """For a controller without `--state`."""

    def __init__(self) -> None:
        self._policies: dict[str, StoredPolicy] = {}
        self._revisions: dict[int, tuple[Revision, dict[str, str]]] = {}  # the oldest first; texts are shared
        self._allocation = Allocation()
        self._hosts: list[dict[str, Any]] = []
        self._drains: dict[str, float] = {}

    def policies(self) -> dict[str, StoredPolicy]:
        return dict(self._policies)

    def save(self, policies: Mapping[str, StoredPolicy], what: str, at: float, **kept: Unpack[Kept]) -> int:
        newest = max(self._revisions, default=0)
        texts = texts_of(policies)
        names = changed(texts_of(self._policies), texts)
        self._policies = dict(policies)
        if newest and not names:
            return newest
        if newest and self._revisions[newest][0].state != "confirmed":
            self.outcome(newest, "superseded", self._revisions[newest][0].waiting)
        made = Revision(newest + 1, at, what, policies=names, **kept)
        self._revisions[made.number] = made, texts
        while len(self._revisions) > KEPT:
            del self._revisions[min(self._revisions)]
        return made.number

    def outcome(self, number: int, state: Outcome, waiting: Sequence[str] = ()) -> None:
        if number in self._revisions:
            revision, texts = self._revisions[number]
            self._revisions[number] = replace(revision, state=state, waiting=tuple(waiting)), texts

    def revisions(self, most: int = KEPT) -> list[Revision]:
        return [revision for revision, _ in reversed(self._revisions.values())][:most]

    def revision(self, number: int) -> Revision | None:
        return self._revisions[number][0] if number in self._revisions else None

    def texts(self, number: int) -> dict[str, str]:
        return dict(self._revisions[number][1]) if number in self._revisions else {}

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
