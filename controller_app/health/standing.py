"""What the outcomes of checks make of a provider."""

from __future__ import annotations

from dataclasses import dataclass

RECOVERIES = 2  # checks in a row that go well until one that was unready serves again


@dataclass
class Standing:
    """Whether a provider is taken to serve. At first it is; `misses` failed checks in a row and it is not any more,
    RECOVERIES good ones in a row and it is again. `reason` is what the check found that counted last."""

    ready: bool = True
    reason: str = ""
    run: int = 0  # checks in a row that speak against the way it stands

    def count(self, well: bool, reason: str, misses: int) -> bool:
        """A check came to its end; answers whether the provider stands differently now."""
        if well == self.ready:
            self.run = 0
            if not well:
                self.reason = reason
            return False
        self.run += 1
        if self.run < (RECOVERIES if well else max(1, misses)):
            return False
        self.ready, self.reason, self.run = well, reason, 0
        return True
