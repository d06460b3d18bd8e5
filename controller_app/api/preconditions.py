"""ETag, If-Match and If-None-Match of policies (RFC 9110 section 13): two people do not overwrite each other.

The entity tag of a policy is strong, and made of its text alone: one that was changed and changed back is the same.
It is compared inside the change itself, so nobody gets in between.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Header, Request
from fastapi.routing import APIRoute

from controller_app.api.refused import Refused
from controller_app.runtime.control import Runtime
from controller_app.runtime.intent import Intent
from controller_app.store.interface import digest

DIGITS = 32  # of the text's SHA-256, hexadecimal
LONGEST = 4000  # characters of a header that are looked at: some hundred tags
_TAGS = re.compile(r'\s*(?:(?P<weak>W/)?(?P<tag>"[\x21\x23-\x7e\x80-\xff]*")\s*(?:,|\Z)|,)')

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="Only where the policy has this entity tag (GET sends it as ETag); *: only where there is one.",
    ),
]
IfNoneMatch = Annotated[
    str | None,
    Header(alias="If-None-Match", description="Only where the policy has not this entity tag; *: only a new one."),
]


def etag(text: str) -> str:
    """The entity tag of a policy's text, in quotation marks."""
    return f'"{digest(text)[:DIGITS]}"'


class Unmet(Exception):
    """A policy is not what a client took it for. `now`: its entity tag, None where there is none of its name."""

    def __init__(self, policy: str, now: str | None) -> None:
        super().__init__(policy)
        self.policy, self.now = policy, now


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a client wants a policy to be before its change. None: anything. `any`, of `match`: there has to be one; of
    `none_match`: there must be none."""

    match: frozenset[str] | None = None
    none_match: frozenset[str] | None = None

    def check(self, intent: Intent, policy: str) -> None:
        """Raises Unmet where a policy is otherwise."""
        text = intent.text(policy)
        now = None if text is None else etag(text)
        if self.match is not None and (now is None or not self.match & {now, "*"}):
            raise Unmet(policy, now)
        if self.none_match is not None and now is not None and self.none_match & {now, "*"}:
            raise Unmet(policy, now)


def conditions(match: str | None = None, none_match: str | None = None) -> Conditions:
    """From the headers' values. Refused (400) where one cannot be read."""
    return Conditions(_tags("If-Match", match, strong=True), _tags("If-None-Match", none_match, strong=False))


@contextmanager
def explained(runtime: Runtime) -> Iterator[None]:
    """Whoever is told that a policy is not what he took it for is told who changed it, and when."""
    try:
        yield
    except Unmet as unmet:
        raise _refused(runtime, unmet) from None


async def check_read(request: Request) -> None:
    """A dependency of every path: Refused for a condition of a change that the path would pass over."""
    route = request.scope.get("route")
    if request.method in ("GET", "HEAD") or not isinstance(route, APIRoute):
        return
    known = {field.alias for field in route.dependant.header_params}
    for name in ("If-Match", "If-None-Match"):
        if name in request.headers and name not in known:
            what = f"{request.method} {route.path} does not look at {name}: leave it out"
            raise Refused(400, "No condition here", what)


def _tags(header: str, value: str | None, strong: bool) -> frozenset[str] | None:
    """The tags of a header that count: weak ones never match strongly."""
    if value is None:
        return None
    if value.strip() == "*":
        return frozenset("*")
    found, at = set(), 0
    while at < len(value) <= LONGEST:
        part = _TAGS.match(value, at)
        if part is None:
            break
        at = part.end()
        if part["tag"] is not None and not (strong and part["weak"]):
            found.add(part["tag"])
    if at != len(value) or not value.strip(" \t,"):
        raise Refused(400, "Not an entity tag", f'{header}: write "TAG" in quotation marks, as ETag has it, or *')
    return frozenset(found)


def _refused(runtime: Runtime, unmet: Unmet) -> Refused:
    revisions = runtime.call(lambda conductor: conductor.store.revisions())
    last = next((revision for revision in revisions if unmet.policy in revision.policies), None)
    by = "" if last is None else (
        f", changed last by {last.who or 'somebody'} at {datetime.fromtimestamp(last.at, UTC):%Y-%m-%dT%H:%M:%SZ} "
        f"(revision {last.number}: {last.what})"
    )  # fmt: skip
    if unmet.now is None:
        what = f"there is no policy {unmet.policy!r}{by}"
        return Refused(412, "No such policy any more", f"{what}: nothing was changed; leave If-Match out to make it",
                       f"{what}: nothing was changed; leave --if-match out to make it")  # fmt: skip
    what = f"policy {unmet.policy!r} has the ETag {unmet.now}{by}: nothing was changed"
    return Refused(
        412,
        "The policy is not what you took it for",
        f"{what}; GET /api/v1/policies/{unmet.policy}, look at it, and send your change again",
        f"{what}; `chainctl get policies {unmet.policy}` shows it, --if-match {unmet.now} replaces it",
        headers={"ETag": unmet.now},
        more={"etag": unmet.now},
    )
