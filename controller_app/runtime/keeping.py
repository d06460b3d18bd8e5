"""What the controller remembers over a restart: written when it changed, a little later."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Unpack

from controller_app.discovery.discovery import Discovery
from controller_app.discovery.hosts import FoundHost
from controller_app.health.drains import Drains
from controller_app.model.allocation import Allocation
from controller_app.store.interface import Kept, Store, StoredPolicy, StoreError

LOG = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds between two writes


class Keeping:
    """The store, and what of it is out of date."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._allocation: Allocation | None = None  # as it was written
        self._hosts = 0  # revision of the hosts, as they were written
        self._due = 0.0
        self.problem: str | None = None  # why nothing can be kept, as long as that is so

    def hosts(self) -> list[FoundHost]:
        """The hosts of an earlier run; what cannot be read is learned again."""
        found = []
        for data in self._store.hosts():
            try:
                found.append(FoundHost.from_json(data))
            except (KeyError, ValueError, TypeError, AttributeError):
                LOG.warning("a stored host cannot be read and is left out: %r", data)
        return found

    def tick(self, now: float, allocation: Allocation, discovery: Discovery, drains: Drains) -> None:
        """Write what changed, if it is time to. What cannot be written is tried again the next time, and said once."""
        if now < self._due:
            return
        self._due = now + INTERVAL
        with suppress(StoreError):  # said already
            self.save(allocation, discovery, drains)

    def revision(self, policies: Mapping[str, StoredPolicy], what: str, at: float, **kept: Unpack[Kept]) -> int:
        """Keep policies as a revision; answers the number of the newest. StoreError when that fails."""
        with self._said():
            return self._store.save(policies, what, at, **kept)

    def save(self, allocation: Allocation, discovery: Discovery, drains: Drains) -> None:
        """Write what changed. StoreError when that fails; it is then still to be written."""
        with self._said():
            self._save(allocation, discovery, drains)

    @contextmanager
    def _said(self) -> Iterator[None]:
        """That something cannot be kept is said once, and that it can be again."""
        try:
            yield
        except StoreError as error:
            if str(error) != self.problem:
                LOG.error("nothing can be kept, so nothing can be changed; what runs goes on: %s", error)
            self.problem = str(error)
            raise

    def _save(self, allocation: Allocation, discovery: Discovery, drains: Drains) -> None:
        if allocation is not self._allocation or self.problem is not None:
            if allocation != self._allocation or self.problem is not None:
                self._store.save_allocation(allocation)
            self._allocation = allocation
        if discovery.hosts_revision != self._hosts:
            self._store.save_hosts([host.to_json() for host in discovery.observed().hosts if not host.declared])
            self._hosts = discovery.hosts_revision
        if drains.unsaved:
            self._store.save_drains(drains.stored())
            drains.unsaved = False
        if self.problem is not None:
            LOG.warning("what changes is kept again")
            self.problem = None
