"""`--hypothesis-profile=fuzz` (`make fuzz`): many random examples, instead of the small fixed share."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("fuzz", settings.get_profile("default"), print_blob=True, deadline=None)
