"""What chains require of the network and cannot have any more, or again: in words, once when it changes."""

from __future__ import annotations

from collections.abc import Iterable

from controller_app.model.position import Diagnostic


def unmet_now(before: Iterable[Diagnostic], now: Iterable[Diagnostic]) -> list[str]:
    """What is to be said after a change of what cannot be met."""
    known = {(item.path, item.what): None for item in before}
    wanted = {(item.path, item.what): None for item in now}
    said = [f"{path}: {what}; nothing passes there until it fits" for path, what in wanted if (path, what) not in known]
    places = {path for path, _ in wanted}
    said += [f"{path}: it is met again" for path in dict.fromkeys(p for p, _ in known) if path not in places]
    return said
