"""What one compile leaves to the next: parts, each with what it was made from, so that what did not change is not made
again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Part = TypeVar("Part")


class Memory:
    """Parts by name. A part is kept while what it was made from (`source`) is equal; one that a compile does not ask
    for is forgotten with it. Parts are never changed once made."""

    def __init__(self, previous: Memory | None = None) -> None:
        self._before: dict[Hashable, tuple[object, Any]] = {} if previous is None else previous._parts
        self._parts: dict[Hashable, tuple[object, Any]] = {}

    def part(self, name: Hashable, source: object, make: Callable[..., Part], *args: object) -> Part:
        """The part of this name, by `make(*args)` unless it was made from the same before."""
        kept = self._parts.get(name)
        if kept is None:
            kept = self._before.get(name)
        if kept is None or not (kept[0] is source or kept[0] == source):
            kept = source, make(*args)
        else:  # who asks again compares with what is at hand now: the same objects, which need no comparing
            kept = source, kept[1]
        self._parts[name] = kept
        found: Part = kept[1]
        return found

    def latest(self, name: Hashable, fits: Callable[[Any], bool], make: Callable[[], Part]) -> Part:
        """The part of this name that the compile before left, if it still fits; otherwise by `make`."""
        kept = self._before.get(name)
        if kept is None or not fits(kept[1]):
            kept = None, make()
        self._parts[name] = kept
        found: Part = kept[1]
        return found

    def kept(self, name: Hashable) -> Any:
        """The part of this name, None where there is none; to be looked at only."""
        return self._parts.get(name, (None, None))[1]

    def following(
        self, name: Hashable, follow: Callable[[Any, Any], Part], make: Callable[[Any], Part], source: object
    ) -> Part:
        """What comes after the part of this name that the compile before left, by `follow(kept, source)`; by
        `make(source)` where there was none."""
        kept = self._before.get(name)
        found = make(source) if kept is None else follow(kept[1], source)
        self._parts[name] = None, found
        return found

    def seal(self) -> None:
        """Forget what was there before: only this compile's parts are left to the next."""
        self._before = {}
