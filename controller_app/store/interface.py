"""What a store can do, whatever keeps it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, TypedDict, Unpack

from controller_app.model.allocation import Allocation

KEPT = 1000  # revisions; older ones are forgotten
Outcome = Literal["confirmed", "waiting", "failed", "superseded"]


class StoreError(RuntimeError):
    """The store cannot be used; the text says why and what to do. `full`: only for want of space, so that it works
    again as soon as there is some."""

    def __init__(self, text: str, full: bool = False) -> None:
        super().__init__(text)
        self.full = full


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
    """One change of the policies: its number, when (seconds since 1970), in a few words what, who made it, and the
    names of the policies whose texts it changed.

    `state` is what became of it. waiting: switches have not confirmed it yet, `waiting` names them with reasons;
    failed: one of them cannot do it for now, and is asked again and again; confirmed: at one time every switch held it;
    superseded: the next revision came before that. `plan` and `verification` are the documents that `chainctl plan`
    shows, None where an earlier version kept none.
    """

    number: int
    at: float
    what: str
    who: str = ""
    policies: tuple[str, ...] = ()
    state: Outcome = "waiting"
    waiting: tuple[str, ...] = ()
    plan: Mapping[str, Any] | None = None
    verification: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """As REST and `chainctl` show it; the time in UTC."""
        return {
            "number": self.number,
            "at": datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "who": self.who,
            "what": self.what,
            "policies": list(self.policies),
            "state": self.state,
            "waiting": list(self.waiting),
            "plan": None if self.plan is None else dict(self.plan),
            "verification": None if self.verification is None else dict(self.verification),
        }


class Kept(TypedDict, total=False):
    """What a revision keeps besides the policies, if it is known."""

    who: str
    plan: Mapping[str, Any] | None
    verification: Mapping[str, Any] | None


def texts_of(policies: Mapping[str, StoredPolicy]) -> dict[str, str]:
    """The texts that are in force, by policy."""
    return {name: policy.text for name, policy in policies.items() if policy.text is not None}


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """The policies that are new, gone, or written otherwise, by their texts or the digests of those."""
    return tuple(name for name in {**before, **after} if before.get(name) != after.get(name))


class Store(Protocol):
    """Keeps one controller's memory. Every method raises StoreError when it cannot, and has changed nothing then."""

    def policies(self) -> dict[str, StoredPolicy]:
        """The policies applied last, by name."""

    def save(self, policies: Mapping[str, StoredPolicy], what: str, at: float, **kept: Unpack[Kept]) -> int:
        """Keep policies as a new revision that waits for its switches, and return its number. Where no text changed the
        newest revision stays the newest. The one before, if it waits, is superseded; of all the last KEPT stay."""

    def outcome(self, number: int, state: Outcome, waiting: Sequence[str] = ()) -> None:
        """Keep what became of a revision."""

    def revisions(self, most: int = KEPT) -> list[Revision]:
        """The newest revisions, the newest first."""

    def revision(self, number: int) -> Revision | None:
        """One revision; None where there is none of that number."""

    def texts(self, number: int) -> dict[str, str]:
        """The texts that were in force with a revision, by policy."""

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
