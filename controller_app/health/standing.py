"""What the outcomes of checks make of a provider, or of a function's instance."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from controller_app.model.policy import Health

RECOVERIES = 2  # checks in a row that go well until a provider that was unready serves again


def recoveries(health: Health) -> int:
    """The same of whatever is checked so: with `hold` as many as make up that time, and at least `misses`."""
    if health.hold is None:
        return RECOVERIES
    return max(health.misses, ceil(round(health.hold / health.interval, 6)))


@dataclass
class Standing:
    """Whether somebody is taken to serve. At first he is; `misses` failed checks in a row and he is not any more,
    `recoveries` good ones in a row and he is again. `reason` is what the check found that counted last; `seen`: a
    check of him went well, ever."""

    ready: bool = True
    reason: str = ""
    run: int = 0  # checks in a row that speak against the way he stands
    seen: bool = False

    def count(self, well: bool, reason: str, misses: int, recoveries: int = RECOVERIES) -> bool:
        """A check came to its end; answers whether he stands differently now."""
        self.seen = self.seen or well
        if well == self.ready:
            self.run = 0
            if not well:
                self.reason = reason
            return False
        self.run += 1
        if self.run < (max(1, recoveries) if well else max(1, misses)):
            return False
        self.ready, self.reason, self.run = well, reason, 0
        return True
