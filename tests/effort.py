"""How many examples a property is tried with: a fixed few by `make test`, many others by `make fuzz`."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings

STEADY, FUZZ = "steady", "fuzz"


def register_profiles() -> None:
    """`steady`: the same examples each time, so that a failure is somebody's and not chance. `fuzz`: others each time.
    How long one takes says more of the machine than of what is tested."""
    settings.register_profile(STEADY, deadline=None, derandomize=True, max_examples=50)
    settings.register_profile(FUZZ, settings.get_profile("default"), print_blob=True, deadline=None, max_examples=300)


def effort(share: int, many: int) -> Any:
    """Settings for a property that is worth another number of examples than most, even if they are slow to make."""
    common: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}
    if settings.get_current_profile_name() == FUZZ:
        return settings(max_examples=many, **common)
    return settings(max_examples=share, derandomize=True, database=None, **common)
