"""Endpoints found by their labels without looking at each: for policies with many services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller_app.balancing.selectors import matches
from controller_app.model.policy import Endpoint, Requirement, Selector


class Labelled:
    """An index of endpoints by label. What it finds is what `matches` says, in order of declaration."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._all = tuple(endpoints.values())
        self._with: dict[str, dict[str, list[int]]] = {}  # key -> value -> places in `_all`
        for place, endpoint in enumerate(self._all):
            for key, value in endpoint.labels.items():
                self._with.setdefault(key, {}).setdefault(value, []).append(place)

    def matching(self, selector: Selector) -> list[Endpoint]:
        """The endpoints a selector matches."""
        narrowest: list[int] | None = None
        for requirement in selector.requirements:
            places = self._places(requirement)
            if places is not None and (narrowest is None or len(places) < len(narrowest)):
                narrowest = places
        candidates = self._all if narrowest is None else [self._all[place] for place in sorted(narrowest)]
        return [endpoint for endpoint in candidates if matches(selector, endpoint.labels)]

    def _places(self, requirement: Requirement) -> list[int] | None:
        """Where alone an endpoint can be that fulfils it; None: anywhere."""
        values = self._with.get(requirement.key, {})
        chosen: Iterable[str]
        if requirement.operator == "in":
            chosen = dict.fromkeys(requirement.values)
        elif requirement.operator == "exists":
            chosen = values
        else:
            return None
        return [place for value in chosen for place in values.get(value, ())]
