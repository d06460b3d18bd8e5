"""By which hash connections get their slots: the switches' own, or the portable one that all compute alike."""

from __future__ import annotations

from collections.abc import Iterable

from controller_app.runtime.probing import Facts, why_portable

FORBIDDEN = "--no-symmetric-hash"


class HashChoice:
    """The way chosen, by what switches show of themselves. `why`: the reason for the portable way, or None."""

    def __init__(self, symmetric_hash: bool) -> None:
        """Without `symmetric_hash` the portable way is chosen, whatever switches show."""
        self.why = None if symmetric_hash else FORBIDDEN
        self._open = symmetric_hash
        self._facts: dict[str, Facts] = {}

    @property
    def portable(self) -> bool:
        """Is it the portable way?"""
        return self.why is not None

    def look(self, switches: Iterable[tuple[str, Facts]]) -> str | None:
        """Choose anew where a switch shows something new; answers what a person should know, if the way changed."""
        fresh = {name: facts for name, facts in switches if facts is not self._facts.get(name)}
        if not fresh or not self._open:
            return None
        self._facts.update(fresh)
        before, self.why = self.why, why_portable({name: self._facts[name] for name in sorted(self._facts)})
        if (before is None) == (self.why is None):
            return None
        if self.why is None:
            return "connections are hashed by the switches themselves again"
        return f"connections are hashed the portable way from now on: {self.why}"
